/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the POSIX door share: real stores in a temporary directory with a UFS that is a directory too, put
 * together and taken apart, and short words for what programs do with files. One rig a process.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "conf/conf.h"
#include "fs/fs.h"
#include "fs/posix.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "page/page.h"
#include "persist/persist.h"
#include "cm.h"
#include <fcntl.h>
#include <unistd.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int ok_r_ = (call);                                                                                            \
        if (ok_r_ < 0)                                                                                                 \
            fail_msg("%s: %s: %s", #call, err_info(ok_r_)->name, err_detail(ok_r_));                                   \
    } while (0)
#define FAILS(call, code) assert_string_equal(err_info(call)->name, err_info(code)->name)

extern char top[200];
extern uint64_t room; /* of the page store, at the next start(); setup() makes it 1 GiB */
extern struct conf *conf;
extern struct page_store *pages;
extern struct kv *kv;
extern struct meta *m;
extern struct fs *fs;
extern struct persist *persist;
extern struct fs_px *px;
extern uint64_t dir;    /* the bucket */
extern struct buf told; /* names the mount was told of, by told_of() */
void told_of(void *arg, uint64_t parent, struct str name, uint64_t ino);

/* The stores and the door; a bucket /b (dir) is there after setup() and resolve(). */
void start(void);
void stop(void);
void resolve(void);
void restart(void);
void fsck(void); /* no rule is broken */
/* Around each test. teardown() checks every rule of the metadata and of the page store. */
int setup(void **state);
int teardown(void **state);
struct fs_px_handle *make(uint64_t parent, const char *name, int flags);
void put(uint64_t parent, const char *name, const char *text);
struct fs_px_stat look(uint64_t parent, const char *name);
struct fs_px_handle *open_it(uint64_t parent, const char *name, int flags);
const char *handle_text(struct fs_px_handle *h);
void holds(uint64_t parent, const char *name, const char *text);
int into(void *arg, const void *p, size_t n);
/* As an S3 client reads it. */
void s3_holds(const char *path, const char *text);
void s3_put(const char *path, const char *text);
void persist_all(void); /* nothing is dirty after it */
void ufs_holds(const char *key, const char *text);
char *pattern(size_t n, unsigned seed);
void put_bytes(const char *name, const char *p, size_t n);
void same_bytes(struct fs_px_handle *h, const char *want, size_t n);
void has_bytes(const char *name, const char *want, size_t n);
void free_all(void); /* evict what may be */
uint64_t pinned(void);
/* Copy all of a to b, which is made. */
void share_all(const char *a, const char *b, size_t n);
size_t extents_of(const char *name);
void wait_few(const char *name, size_t most); /* until it has been compacted */
uint64_t rnd(uint64_t *s);                    /* xorshift; *s is not 0 */
/* ThreadSanitizer cannot follow threads that are started after a fork of a process that had some. */
void skip_under_tsan(void);
/* Stop, fn in a process of its own that dies of kill -9 at its end or before, and start. */
void in_child(void (*fn)(void));
