/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the page store share: a directory that goes away, blobs whose bytes follow from their id, and
 * checks that abort the process with a line of what was wrong (they also run in threads and children).
 */
#pragma once
#include "page/page.h"
#include "base/err.h"
#include "base/clock.h"

enum { KB = 1 << 10, MB = 1 << 20 };

#define MUST(cond, ...)                                                                                                \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            pl_die(__FILE__, __LINE__, #cond, " " __VA_ARGS__);                                                        \
    } while (0)
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int ok_r_ = (call);                                                                                            \
        MUST(ok_r_ == 0, "%s: %s", err_info(ok_r_)->name, err_detail(ok_r_));                                          \
    } while (0)
#define FAILS(code, call)                                                                                              \
    do {                                                                                                               \
        int fails_r_ = (call);                                                                                         \
        MUST(fails_r_ == (code), "%s", fails_r_ < 0 ? err_info(fails_r_)->name : "no error");                          \
    } while (0)

_Noreturn void pl_die(const char *file, int line, const char *expr, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

char *
pl_dir_fast(void); /* as pl_dir, in memory where that is possible: for tests of kill -9, which syncs do not matter to */
char *pl_dir(void);      /* a new temporary directory; free() the name after pl_gone */
void pl_gone(char *dir); /* remove it with all that is in it, and free the name */

struct pl_set {
    uint64_t bytes;
    uint32_t page;
    double ratio;
    bool verify_always, read_only;
};
int pl_try_open(const char *dir, struct pl_set set, struct page_store **ret);
struct page_store *pl_open(const char *dir, struct pl_set set);
struct page_store *pl_open2(const char *a, const char *b, struct pl_set set); /* set.bytes for each */

void pl_bytes(uint64_t blob, uint64_t off, void *p, size_t n); /* what the blob holds there */
int pl_write(struct page_store *s, uint64_t blob, uint64_t n, enum page_birth birth);
/* hint and piece (bytes an append) as wished; lazy: page_seal_lazy. */
int pl_write_as(struct page_store *s, uint64_t blob, uint64_t n, enum page_birth birth, uint64_t hint, size_t piece,
                bool lazy);
int pl_fill(struct page_store *s, uint64_t blob, uint32_t index, uint32_t page, size_t n, bool pin);
int pl_read(struct page_store *s, uint64_t blob, uint64_t off, size_t n, bool verify); /* and compares */
void pl_same(struct page_store *s, uint64_t blob, uint64_t n);
void pl_check(struct page_store *s); /* every rule and every block */
/* Give every unknown blob the verdict. Returns how many there were. */
size_t pl_verdict(struct page_store *s, enum page_verdict v);
/* Upkeep has nothing left to do, so that the next fault hits the caller and not the keeper. */
void pl_quiet(struct page_store *s);
struct page_figures pl_figures(struct page_store *s);
uint64_t pl_rand(uint64_t *seed);
bool pl_quick(void);
