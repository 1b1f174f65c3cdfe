/* SPDX-License-Identifier: Apache-2.0
 *
 * What the UFS tests share: a UFS with a root of its own for each test, on any driver, and short ways to put, read and
 * list.
 */
#pragma once
#include "../unit/cm.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "ufs/ufs.h"
#include "ufs/ufs_mem.h"

enum ufs_kind { KIND_DIR, KIND_MEM, KIND_S3 };

struct world {
    enum ufs_kind kind;
    char label[64];     /* of its test cases */
    char endpoint[128]; /* s3 */
    const char *skip;   /* why its tests cannot run, or NULL */
    char name[128];     /* dir: the root; mem: the store; s3: the prefix */
    char uri[256];
    struct map *props; /* values are str_dup()ed */
    struct ufs_mem *m;
    struct ufs *u;
    unsigned caps;
};

void world_option(struct world *w, const char *name, const char *value);
int world_open(struct world *w, uint64_t deadline_ms, struct ufs **ret);
int world_setup(void **state);
int world_teardown(void **state);
void remove_tree(const char *path);

#define ASSERT_OK(call)                                                                                                \
    do {                                                                                                               \
        int ok_ = (call);                                                                                              \
        if (ok_ != 0)                                                                                                  \
            fail_msg("%s: %s: %s", #call, err_info(ok_)->name, err_detail(ok_));                                       \
    } while (0)
#define ASSERT_CODE(call, code)                                                                                        \
    do {                                                                                                               \
        int code_ = (call), want_ = (code);                                                                            \
        if (code_ != want_)                                                                                            \
            fail_msg("%s: %s (%s), expected %s", #call, code_ ? err_info(code_)->name : "0",                           \
                     code_ ? err_detail(code_) : "", want_ ? err_info(want_)->name : "0");                             \
    } while (0)

/* Bytes that differ by seed and place. */
char *pattern(size_t n, unsigned seed);
void md5_of(const void *p, size_t n, unsigned char md5[16], char hex[33]);

struct feed { /* a source */
    const char *p;
    size_t n, at, piece; /* piece: at most so much at a time; 0: any */
    size_t fail_at;      /* after so many bytes, fail with code */
    int code;
    void (*before)(void *arg); /* called once before the first byte */
    void *arg;
};
ssize_t feed_next(void *arg, void *p, size_t n);

int put_opts(struct ufs *u, const char *key, const void *p, size_t n, struct ufs_put_opts o, struct ufs_stat *ret);
int put(struct ufs *u, const char *key, const char *text);
int put_str(struct ufs *u, struct str key, const char *text);
int sink_buf(void *arg, const void *p, size_t n); /* arg: struct buf */
int read_all(struct ufs *u, const char *key, struct buf *b);
void assert_content(struct ufs *u, const char *key, const void *p, size_t n);
void assert_text(struct ufs *u, const char *key, const char *text);

struct listed {
    struct str key[4096]; /* own memory */
    bool prefix[4096], is_dir[4096];
    struct ufs_stat st[4096];
    size_t n;
};
struct listed *listed_free(struct listed *l);
/* All pages of a listing, pages of limit. */
struct listed *list_all(struct ufs *u, struct str prefix, char delimiter, struct str after, size_t limit);
/* "a b/ c" of a listing without delimiter. */
void assert_keys(struct ufs *u, const char *prefix, char delimiter, const char *expected);
