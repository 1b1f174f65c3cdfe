/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the UFS room: what a driver or a wrapper implements.
 *
 * A mounted UFS is a stack of layers: struct ufs (the contract, ufs.c) on wrappers (parts, retry, limit) on one driver.
 * All have the same type. struct ufs_ops is optional outside: what a driver leaves out gets an honest default (copy
 * reads and writes through, delete_many loops, put runs over begin/write/commit or the other way round, the rest
 * answers ERR_NOT_IMPLEMENTED), what a wrapper leaves out goes to the layer below. It is total inside: ufs_layer_init()
 * fills every pointer, nobody tests one for NULL.
 *
 * What the contract has done before a driver is called: keys are not empty, have no NUL, and passed key_check (a stat,
 * read or delete of a key the driver cannot hold was answered "absent" already); metadata pairs can travel in HTTP
 * headers; list limits are 1..1000; rename has matching kinds of keys; src and dst differ; conditions of put, commit,
 * complete and delete that caps() does not offer were compared with a stat just before and are not passed on. A driver
 * may leave ret half written on failure: the contract shields the caller. until is the call's deadline on
 * clock_mono_ns().
 */
#pragma once
#include "base/map.h"
#include "ufs/ufs.h"
#include <stdatomic.h>

typedef void ufs_meta_fn(void *arg, struct str name, struct str value);
typedef int ufs_entry_fn(void *arg, const struct ufs_entry *e);
typedef int ufs_sink(void *arg, const void *p, size_t n);

/* Bytes on their way into the store. */
struct ufs_body {
    ufs_source *next;
    void *arg;
    int (*rewind)(void *arg); /* NULL: can be sent once only */
    uint64_t size;            /* exact, or UFS_SIZE_UNKNOWN */
    uint64_t pulled;          /* kept by ufs_pull() */
    int failed;               /* the source's own error: never retried */
};
/* Next bytes; 0 at the end; an error is remembered in failed. Never asks for more than size; an early end is an error.
 */
ssize_t ufs_pull(struct ufs_body *b, void *p, size_t n);
/* From the start again; false when that cannot be. */
bool ufs_body_again(struct ufs_body *b);

struct ufs_bytes { /* a body in memory */
    const char *p;
    size_t n, at;
};
struct ufs_body ufs_body_of(struct ufs_bytes *m);

struct ufs_list_args {
    struct str prefix, after;
    char delimiter;
    size_t limit;
};

struct ufs_layer;
struct ufs_ops {
    const char *name;
    void (*close)(struct ufs_layer *l); /* frees l; not the layer below */
    unsigned (*caps)(struct ufs_layer *l);
    int (*key_check)(struct ufs_layer *l, struct str key);
    int (*stat)(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                void *arg);
    int (*list)(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                bool *ret_more);
    int (*read)(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n, const char *if_match,
                ufs_sink *sink, void *arg);
    int (*put)(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o, struct ufs_body *b,
               struct ufs_stat *ret);
    /* The writer is the layer's own; commit and abort free it. */
    int (*begin)(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret_writer);
    int (*write)(struct ufs_layer *l, void *writer, const void *p, size_t n);
    int (*commit)(struct ufs_layer *l, uint64_t until, void *writer, const struct ufs_put_opts *o,
                  struct ufs_stat *ret);
    void (*abort)(struct ufs_layer *l, void *writer);
    int (*mpu_create)(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                      char ret_upload[1100]);
    int (*mpu_part)(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                    const unsigned char *md5, struct ufs_body *b, char ret_etag[72]);
    int (*mpu_copy)(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                    struct str src, uint64_t off, uint64_t n, const char *if_match, char ret_etag[72]);
    int (*mpu_complete)(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                        const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o, struct ufs_stat *ret);
    int (*mpu_abort)(struct ufs_layer *l, uint64_t until, struct str key, const char *upload);
    int (*copy)(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                struct ufs_stat *ret);
    int (*del)(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match);
    int (*delete_many)(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes);
    int (*rename)(struct ufs_layer *l, uint64_t until, struct str src, struct str dst);
    int (*set_meta)(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                    struct ufs_stat *ret);
    int (*sync)(struct ufs_layer *l);
};

struct ufs_counters {
    _Atomic uint64_t throttled; /* by the driver: each time the store asked to slow down */
};

struct ufs_layer { /* first member of every layer's struct */
    struct ufs_ops op;
    struct ufs_layer *below; /* NULL: a driver */
    struct ufs_counters *counters;
};

/* Fill op from ops, the defaults, and below. */
void ufs_layer_init(struct ufs_layer *l, const struct ufs_ops *ops, struct ufs_layer *below,
                    struct ufs_counters *counters);

/* Wrappers: own below on success. */
int ufs_parts_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below,
                   struct ufs_layer **ret);
int ufs_retry_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below,
                   struct ufs_layer **ret);
int ufs_limit_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below,
                   struct ufs_layer **ret);

/* Drivers. deadline_ms of o is never 0 here. */
int ufs_dir_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret);
int ufs_s3_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret);
int ufs_mem_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret);

/* --- helpers for drivers */

#define UFS_RESERVED ".forebay/"

/* A mount option, or NULL. */
const char *ufs_option(const struct ufs_options *o, const char *name);
/* A number option; ERR_INVALID with the name when it is none or above max. */
int ufs_option_u64(const struct ufs_options *o, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret);

/* The names of a POSIX tree: components of 1..255 bytes, not "." or "..", one '/' between, one allowed at the end. */
int ufs_key_posix(struct str key);

/* The default of copy: read and write through here, one version of the source, with its metadata. */
int ufs_copy_through(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                     struct ufs_stat *ret);

/* Pairs that outlive the caller's. */
struct ufs_kept_meta {
    struct ufs_meta meta;
    struct ufs_pair *pair;
    char *text;
};
void ufs_meta_keep(struct ufs_kept_meta *k, const struct ufs_meta *m);
void ufs_meta_drop(struct ufs_kept_meta *k);
void ufs_meta_add(struct ufs_kept_meta *k, struct str name, struct str value);

/* Milliseconds left until the deadline, at least 1; 0 when it has passed. */
uint64_t ufs_left_ms(uint64_t until);

/* Copy s into a fixed field, cut to fit. */
#define UFS_SET(field, s) ufs_set_field((field), sizeof(field), (s))
void ufs_set_field(char *field, size_t cap, struct str s);
