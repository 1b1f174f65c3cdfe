/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the directory driver (dir.c, dir_write.c, dir_attr.c, dir_list.c).
 */
#pragma once
#include "base/lock.h"
#include "ufs/ufs_driver.h"
#include <sys/stat.h>

#define DIR_TMP ".forebay/tmp"
#define DIR_XATTR_ETAG "user.forebay.etag"       /* "ETAG SIZE MTIME_NS": counts only while size and mtime still fit */
#define DIR_XATTR_META "user.forebay.meta."      /* + header name */
#define DIR_XATTR_IMPLIED "user.forebay.implied" /* "1": a directory made only because a key below it needed it */

struct window;
#define DIR_WINDOWS 8

struct dir {
    struct ufs_layer l;
    int root;     /* O_RDONLY|O_DIRECTORY */
    char *path;   /* resolved; must lead to the same inode as root for ever */
    char *marker; /* a name that must exist in the root, or NULL */
    dev_t dev;
    ino_t ino;
    bool xattr;    /* the file system keeps user.* attributes */
    bool nameless; /* files can be made without a name and linked later */
    bool network;  /* an error of rename or unlink may come from a lost answer */
    uint64_t deadline_ms;
    _Atomic uint64_t temp_no;
    struct lock lock;                   /* RANK_UFS: windows, syncs */
    struct window *window[DIR_WINDOWS]; /* newest first */
    /* One syncfs at a time, each for all who had asked when it began. Askers are numbered; sync_over: outcomes up to
     * this one are known; sync_failed: the last of the newest group that failed, which takes the groups before it
     * along. */
    pthread_cond_t sync_ended;
    uint64_t sync_asked, sync_over, sync_failed;
    bool syncing;
};

/* dir.c: opening below the root, never through a symlink, never above it. -1 and errno. */
int dir_open_beneath(struct dir *d, const char *path, int flags);
int dir_reopen(int path_fd, int flags); /* a real descriptor for an O_PATH one */
/* O_PATH descriptor of the directory that holds key's last name (copied to name). */
int dir_open_parent(struct dir *d, struct str key, char name[256]);
int dir_root_check(struct dir *d); /* ERR_UNREACHABLE when the root is not what it was */
int dir_absent(struct dir *d);     /* ERR_NOT_FOUND, or ERR_UNREACHABLE when the root itself went away */
/* The code for errno of a call on key; ENOENT and its kin: dir_absent(). */
int dir_error(struct dir *d, int eno, const char *what, struct str key);
/* The same for the step that makes a change visible: on a network file system an I/O error leaves the outcome open. */
int dir_error_change(struct dir *d, int eno, const char *what, struct str key);
void dir_version(const struct stat *s, char ret[96]);
void dir_fill(struct dir *d, int path_fd, const struct stat *s, struct ufs_stat *ret);
/* O_PATH descriptor and stat of an existing object of the key's kind (file, or directory for "a/"). */
int dir_find(struct dir *d, struct str key, int *ret_fd, struct stat *ret_stat);
void dir_prune(struct dir *d, struct str key); /* remove parents of key that were implied and are empty now */

/* dir_attr.c: all take O_PATH or real descriptors */
bool dir_attr_probe(int fd);
int dir_attr_add_meta(struct dir *d, int fd, const struct ufs_meta *meta);
int dir_attr_set_meta(struct dir *d, int fd, const struct ufs_meta *meta); /* replaces all pairs */
void dir_attr_each(struct dir *d, int fd, ufs_meta_fn *fn, void *arg);
int dir_attr_copy(struct dir *d, int from, int to); /* the pairs only */
int dir_attr_set_etag(struct dir *d, int fd, const char *etag);
void dir_attr_etag(struct dir *d, int fd, const struct stat *s, char ret[72]);
void dir_attr_set_implied(struct dir *d, int fd, bool implied);
bool dir_attr_implied(struct dir *d, int fd);

/* dir_write.c */
int dir_begin(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret);
int dir_write(struct ufs_layer *l, void *w, const void *p, size_t n);
int dir_commit(struct ufs_layer *l, uint64_t until, void *w, const struct ufs_put_opts *o, struct ufs_stat *ret);
void dir_abort(struct ufs_layer *l, void *w);
int dir_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
             struct ufs_stat *ret);
int dir_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst);
int dir_tmp_open(struct dir *d, int *ret_fd); /* made when it is not there */
bool dir_nameless_probe(int tmp);             /* tried in that directory */

/* dir_list.c */
int dir_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
             bool *ret_more);
void dir_windows_free(struct dir *d);
