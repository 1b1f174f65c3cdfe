/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside meta_fsck(): what its files share. A check of one row runs in one view; what it finds wrong is collected there
 * (a view may run twice) and said after it, with the path of the file it concerns.
 */
#pragma once
#include "meta/tx.h"

struct fsck {
    struct meta *m;
    bool (*has)(void *arg, uint64_t blob, uint64_t off, uint64_t n);
    void *has_arg;
    void (*say)(void *arg, const char *line);
    void *say_arg;
    int breaches;

    struct buf found; /* of the row under check: inode, line ... */
    uint64_t ids;     /* the first id that was not minted */
    /* What rows before this one said; as it was when a view runs again. */
    struct fsck_state {
        /* Counted, so that a rule whose other end has no key of its own is looked for row by row only when sums differ.
         */
        uint64_t removed, tree_records;   /* directories without a parent; T records that name one */
        uint64_t building, build_records; /* contents being built; U records that name one */
        uint64_t blob_records;
        struct {
            uint64_t id, end; /* content whose C rows pass by; how far they reach without a gap */
            bool any, bad, there;
            struct content c; /* its strings are not kept */
        } chunks;
        unsigned char parts_of[16]; /* the upload whose V rows pass by */
        bool parts_any;
        uint64_t parts_content; /* 0: finished, nothing to look for */
    } s;
};

/* Remember a breach of the row under check. ino: the inode whose path is told, 0: none. */
void fsck_breach(struct fsck *f, uint64_t ino, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Run a check of one row in a view and say what it found. */
struct fsck_row {
    struct fsck *f;
    struct str key, value; /* key without its first byte */
};
int fsck_view(struct fsck *f, struct fsck_row *row, int (*check)(struct kv_tx *tx, struct fsck_row *row));

/* 0, with *ret false when the row is absent. */
int fsck_there(struct kv_tx *tx, struct str key, bool *ret);
int fsck_queued(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key, bool *ret);
/* tx_inode and tx_content with absence as a value. */
int fsck_inode(struct kv_tx *tx, uint64_t ino, struct inode *ret, bool *ret_there);
int fsck_content(struct kv_tx *tx, uint64_t id, struct content *ret, bool *ret_there);
void fsck_id(struct fsck *f, uint64_t id, const char *what);
/* A key for people: bytes that are no text are shown as \xNN; static, four at a time. */
const char *fsck_text(struct str s);

/* fsck_names.c: dentries, inodes, pairs, L rows, owner rows, mounts. */
int fsck_dentry_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_inode_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_link_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_xattr_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_unnamed_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_dir_time_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_dir_count_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_pairs_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_known_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_owner_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_prefix_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_epoch_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_mount_row(struct kv_tx *tx, struct fsck_row *r);
/* fsck_contents.c: contents, their extents and references, uploads. */
int fsck_content_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_chunk_row(struct kv_tx *tx, struct fsck_row *r);
void fsck_chunks_end(struct fsck *f); /* after the last C row of a content */
int fsck_ref_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_ref_back_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_lazy_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_upload_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_upload_index_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_part_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_answer_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_dropped_blobs(struct fsck *f); /* no content names a blob that is to be dropped */
/* fsck_queue.c: the queues. */
int fsck_queue_row(struct kv_tx *tx, struct fsck_row *r);
int fsck_turn_row(struct kv_tx *tx, struct fsck_row *r);
