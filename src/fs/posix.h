/* SPDX-License-Identifier: Apache-2.0
 *
 * The door for POSIX clients (the FUSE mount): the same namespace and bytes as fs.h, by inode and open file description
 * instead of by path and whole object.
 *
 * Names and files. An inode number names one file or directory as long as it lives; FS_ROOT is the root, whose entries
 * are the buckets. Changes in place (write, truncate, O_TRUNC) keep the inode; an S3 PUT, Copy or Complete makes a new
 * one and replaces the name, like rename(2) over it. A file whose last name goes while it is open lives until its last
 * handle is closed; a file that is gone is ERR_STALE (the kernel looks the name up again then).
 *
 * Publishing. Handles of this process see writes at once, whichever handle made them. Everybody else (S3, persistence)
 * sees the last *published* content: published at flush (close), fsync, truncate by a name, and every
 * forebay.fuse.publish.interval while a file stays open for writing. stat through this door shows unpublished writes.
 *
 * Acknowledgement. fs_px_flush and every call that changes a name: survives the death of the process on return (lazy
 * commit, pages handed to the kernel). fs_px_fsync and fs_px_fsyncdir: survives power loss on return, with all names
 * that lead to it. WRITE_THROUGH: flush and fsync of a changed file return when the UFS holds it; READ_ONLY: changing
 * calls ERR_READ_ONLY. NO_CACHE: see docs/semantics.md.
 *
 * Permissions are the caller's (the mount uses the kernel's check of modes): nothing here asks who may. What a mode
 * change or a write does to set-user-id and set-group-id bits is done here where the kernel leaves it to us.
 *
 * Who owns what: arguments stay the caller's; callbacks' arguments are valid during the call. Threads: every call from
 * any thread, also several on one handle; concurrent writes of one file are ordered one whole write after another. No
 * lock is held across I/O that others on other files would need. Errors: err.tbl.
 */
#pragma once
#include "fs/fs.h"
#include <time.h>

#define FS_PX_LINK_MAGIC "#!forebay-symlink\n" /* a symbolic link in the UFS: this line, then its target */
enum { FS_PX_LINK_MAX = 4096 };

struct fs_px;        /* a client of this door: one mount */
struct fs_px_handle; /* an open file description */
struct fs_px_dir;    /* an open directory stream */

struct fs_px_stat {
    uint64_t ino, parent;
    enum fs_type type;
    uint32_t mode; /* permission bits, set-id and sticky, without the type */
    uint32_t uid, gid, nlink, rdev;
    uint64_t size, blocks; /* blocks of 512 bytes that hold data: holes do not count */
    struct timespec atime, mtime, ctime;
    uint64_t generation; /* moves with each change of content by others than this process's handles */
    bool persisted;
    bool guessed; /* by fs_px_readdir: seen in a listing of the UFS only, which tells no kind and no mode; fs_px_lookup
                     asks */
};

/* What others (S3, REST, another mount, a reload from the UFS) changed, after it is visible and before they are
 * answered: a name of a directory (name.n > 0) or an inode's content or attributes (name empty). Called without locks
 * held, from any thread; it must not call back into this door. */
struct fs_px_options {
    void (*changed)(void *arg, uint64_t parent, struct str name, uint64_t ino);
    void *arg;
    uint32_t uid, gid;            /* owner of what has none recorded (objects put by S3 clients) */
    uint32_t file_mode, dir_mode; /* permission bits of such; 0: 0644, 0755 */
};
int fs_px_new(struct fs *fs, const struct fs_px_options *o, struct fs_px **ret);
/* Publishes what is open; every handle is gone after it, and so is px, in every case. An error: what was written, or
 * published lazily, may be lost. NULL is fine. */
int fs_px_end(struct fs_px *px);
struct fs_px *fs_px_free(struct fs_px *px); /* the same; returns NULL */

struct fs_px_figures {
    uint64_t mounts, files,
        buffered; /* clients; files that are open or about to be published; bytes only memory holds */
};
void fs_px_figures(struct fs *fs, struct fs_px_figures *ret);

/* The inode of an absolute path ("/bucket/dir"), for mounts of a part. */
int fs_px_resolve(struct fs_px *px, struct str path, uint64_t *ret_ino);

/* ---- names ---- (name: one component, no '/', at most 255 bytes: ERR_NAME_TOO_LONG) */

int fs_px_lookup(struct fs_px *px, uint64_t parent, struct str name, struct fs_px_stat *ret);
int fs_px_mkdir(struct fs_px *px, uint64_t parent, struct str name, uint32_t mode, uint32_t uid, uint32_t gid,
                struct fs_px_stat *ret);
/* FIFO, socket, device node, or an empty regular file. */
int fs_px_mknod(struct fs_px *px, uint64_t parent, struct str name, enum fs_type type, uint32_t mode, uint32_t rdev,
                uint32_t uid, uint32_t gid, struct fs_px_stat *ret);
int fs_px_symlink(struct fs_px *px, uint64_t parent, struct str name, struct str target, uint32_t uid, uint32_t gid,
                  struct fs_px_stat *ret);
int fs_px_readlink(struct fs_px *px, uint64_t ino, struct buf *ret);
int fs_px_link(struct fs_px *px, uint64_t ino, uint64_t parent, struct str name, struct fs_px_stat *ret);
int fs_px_unlink(struct fs_px *px, uint64_t parent, struct str name);
int fs_px_rmdir(struct fs_px *px, uint64_t parent, struct str name);
/* flags: FS_NOREPLACE, FS_EXCHANGE. */
int fs_px_rename(struct fs_px *px, uint64_t parent, struct str name, uint64_t to_parent, struct str to_name,
                 unsigned flags);

/* ---- attributes ---- h may be NULL; with it the file may have lost its last name. */

enum fs_px_set {
    FS_PX_MODE = 1,
    FS_PX_UID = 2,
    FS_PX_GID = 4,
    FS_PX_SIZE = 8,
    FS_PX_ATIME = 16,
    FS_PX_MTIME = 32,
    FS_PX_ATIME_NOW = 64,
    FS_PX_MTIME_NOW = 128,
    FS_PX_KILL_PRIV = 256 /* clear set-user-id, and set-group-id of group-executable files */
};
int fs_px_getattr(struct fs_px *px, uint64_t ino, struct fs_px_handle *h, struct fs_px_stat *ret);
int fs_px_setattr(struct fs_px *px, uint64_t ino, struct fs_px_handle *h, const struct fs_px_stat *to, unsigned set,
                  struct fs_px_stat *ret);

enum { FS_PX_XATTR_CREATE = 1, FS_PX_XATTR_REPLACE = 2 };
/* ERR_NO_ATTR when absent (get, remove, replace), ERR_EXISTS (create). Values to 64 KiB, all of a file to 80 KiB. */
int fs_px_getxattr(struct fs_px *px, uint64_t ino, struct str name, struct buf *ret);
int fs_px_setxattr(struct fs_px *px, uint64_t ino, struct str name, struct str value, unsigned flags);
int fs_px_removexattr(struct fs_px *px, uint64_t ino, struct str name);
/* Names, each with a NUL behind it. */
int fs_px_listxattr(struct fs_px *px, uint64_t ino, struct buf *ret);

/* ---- open files ---- flags: of open(2): access mode, O_TRUNC, O_APPEND, O_EXCL (create) */

int fs_px_create(struct fs_px *px, uint64_t parent, struct str name, uint32_t mode, uint32_t uid, uint32_t gid,
                 int flags, struct fs_px_stat *ret_stat, struct fs_px_handle **ret);
/* O_TMPFILE: a file without a name; fs_px_link gives it one. */
int fs_px_tmpfile(struct fs_px *px, uint64_t parent, uint32_t mode, uint32_t uid, uint32_t gid, int flags,
                  struct fs_px_stat *ret_stat, struct fs_px_handle **ret);
/* *ret_keep: the content is the one the last open of this inode through px saw: the kernel may keep its pages. */
int fs_px_open(struct fs_px *px, uint64_t ino, int flags, struct fs_px_handle **ret, bool *ret_keep);
/* n bytes at off, or fewer at the end of the file; holes are zeros. */
int fs_px_read(struct fs_px_handle *h, uint64_t off, void *p, size_t n, size_t *ret_n);
/* All of it or an error. O_APPEND: off is ignored. kill_priv: clear set-id bits (FUSE_WRITE_KILL_SUIDGID). */
int fs_px_write(struct fs_px_handle *h, uint64_t off, const void *p, size_t n, bool kill_priv);
int fs_px_flush(struct fs_px_handle *h);
int fs_px_fsync(struct fs_px_handle *h, bool datasync);
int fs_px_release(struct fs_px_handle *h); /* the handle is gone in every case */
/* mode: of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; others ERR_NOT_SUPPORTED. Space is reserved
 * (ERR_NO_SPACE). */
int fs_px_fallocate(struct fs_px_handle *h, int mode, uint64_t off, uint64_t n);
int fs_px_lseek(struct fs_px_handle *h, uint64_t off, int whence /* SEEK_DATA, SEEK_HOLE */, uint64_t *ret);
/* By reference from 64 KiB on: nothing is read or written but a source that was not published yet is. The copy stays
 * whole whatever becomes of the source. Bytes are copied where that is not possible, see px_copy.c. */
int fs_px_copy_range(struct fs_px_handle *in, uint64_t off_in, struct fs_px_handle *out, uint64_t off_out, uint64_t n,
                     uint64_t *ret_n);

/* ---- directories ---- */

int fs_px_opendir(struct fs_px *px, uint64_t ino, struct fs_px_dir **ret);
struct fs_px_entry {
    struct str name;
    const struct fs_px_stat *stat;
    uint64_t next; /* position behind this entry, for the next call */
};
/* From position pos on (0: the start; "." and ".." are the caller's) until fn returns non-zero (which is not an error:
 * that entry is given again from its own position) or the end. Entries that exist all the while are given exactly once.
 */
int fs_px_readdir(struct fs_px_dir *d, uint64_t pos, int (*fn)(void *arg, const struct fs_px_entry *e), void *arg);
void fs_px_closedir(struct fs_px_dir *d);
int fs_px_fsyncdir(struct fs_px *px, uint64_t ino);

struct fs_px_statfs {
    uint64_t bytes, free, avail, files, files_free;
};
int fs_px_statfs(struct fs_px *px, struct fs_px_statfs *ret);
