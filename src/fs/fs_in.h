/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room. */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/md5.h"
#include "base/trace.h"
#include "conf/conf.h"
#include "data/data.h"
#include "fs/fs.h"
#include "fs/pass.h"

struct fs {
    struct meta *meta;
    struct page_store *pages;
    struct data *data;
    const struct conf *conf;
    uint64_t expire_ms;
    struct lock px_lock; /* RANK_FS - 1: px */
    struct px *px;       /* what the mounts share, NULL: there is none */
    bool degrade;        /* forebay.write.full.policy */
    struct pass_limits pass;
};

/* The path from the root, for rules and messages. */
int fs_absolute(struct fs *fs, struct fs_at at, struct buf *ret);
int fs_policy(struct fs *fs, struct fs_at at, enum meta_policy *ret);
/* ERR_READ_ONLY, ERR_DENIED (reserved names), ERR_BAD_NAME, ERR_NAME_TOO_LONG for paths nothing may be written to. */
int fs_writable(struct fs *fs, struct fs_at at, enum meta_policy *ret);
/* The same of an absolute path. */
int fs_writable_path(struct fs *fs, struct str path, enum meta_policy *ret);
void fs_fill_attr(const struct meta_found *f, struct fs_attr *ret);
/* data_lookup for the door: FOUND, or ERR_NOT_FOUND / ERR_NO_BUCKET. */
int fs_find(struct fs *fs, struct fs_at at, unsigned flags, struct meta_found *f);
int fs_encode_pairs(const struct fs_pair *p, size_t n, struct buf *ret);
struct meta_cond fs_cond_of(const struct fs_cond *c);
/* Can the UFS hold this key beside what is there? ERR_KEY_UNSUPPORTED with the reason. */
int fs_check_key(struct fs *fs, struct fs_at at);
/* Claim a key, waiting for whoever has it. */
int fs_claim(struct fs *fs, struct meta_claim *c);
/* WRITE_THROUGH of what is built in the cache: wait until the inode is in the UFS. */
int fs_wait_persisted(struct fs *fs, uint64_t ino);
/* A writer of one part, kept here under content, or, with a store's upload id, sent to the store's upload of ufs_key.
 */
struct fs_part_of {
    unsigned char id[16];
    uint64_t content;
    unsigned part;
    struct str ufs, ufs_key;
    uint64_t mount;
};
int fs_part_writer(struct fs *fs, struct fs_at at, const struct fs_write *o, const struct fs_part_of *of,
                   struct fs_writer **ret);
bool fs_is_dir_path(struct str path);
/* fs_list with the records themselves. */
int fs_list_meta(struct fs *fs, const struct fs_list *l, int (*fn)(void *arg, const struct meta_entry *e), void *arg,
                 bool *ret_more, uint64_t *ret_version);
/* fs_rmdir and fs_rename, safe from the death of the process only (lazy), as POSIX means them. over: called before a
 * rename that replaces a file, with the record of what is renamed. */
int fs_rmdir_lazy(struct fs *fs, struct fs_at at);
int fs_rename_lazy(struct fs *fs, struct fs_at from, struct fs_at to, unsigned flags,
                   int (*over)(void *arg, const struct inode *i), void *arg);
/* Do two paths lie in one mount? */
int fs_same_mount(struct fs *fs, struct fs_at a, struct fs_at b, bool *ret);
