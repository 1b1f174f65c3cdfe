/* SPDX-License-Identifier: Apache-2.0
 * The page store against a model: random operations with starts in between.
 * The model knows, for each blob, its size and whether the store may forget it. What is pinned must always be there,
 * whole; what is clean is there or not, but never wrong; what was dropped never comes back after a verdict. */
#include "cm.h"
#include "page_lib.h"
#include <unistd.h>

enum { BLOBS = 150 };
enum kind { NONE, PINNED, CLEAN };

struct model {
    struct pl_set set;
    char *dir;
    struct page_store *s;
    uint64_t seed, next;
    struct {
        uint64_t id, size;
        enum kind kind;
    } blob[BLOBS];
    struct page_range held;
    uint64_t held_id, held_off;
    uint64_t evicted, cleaned;
    unsigned no_space, wrote, reopened, pins;
};

static uint64_t pick_size(struct model *m)
{
    uint64_t r = pl_rand(&m->seed);
    switch (r % 7) {
    case 0:
        return 1 + r / 8 % 4096;
    case 1:
    case 2:
        return 1 + r / 8 % (70 * KB);
    case 3:
        return 1 + r / 8 % (300 * KB);
    case 4:
        return 1 + r / 8 % (2 * m->set.page);
    case 5:
        return 1 + r / 8 % (m->set.bytes / 12);
    default:
        return r / 8 % 3 * (uint64_t)m->set.page + r / 32 % 3;
    }
}

static void op_drop(struct model *m, int i)
{
    if (m->blob[i].kind == NONE)
        return;
    page_drop(m->s, m->blob[i].id, m->blob[i].size);
    MUST(!m->blob[i].size || !page_has(m->s, m->blob[i].id, 0, 1));
    m->blob[i].kind = NONE;
}

static void op_write(struct model *m, int i)
{
    if (m->blob[i].kind == CLEAN)
        op_drop(m, i);
    if (m->blob[i].kind != NONE)
        return;
    uint64_t n = pick_size(m), id = ++m->next;
    enum page_birth birth = pl_rand(&m->seed) % 3 ? PAGE_PINNED : PAGE_EVICTABLE;
    int r = pl_write_as(m->s, id, n, birth, pl_rand(&m->seed) % 2 ? n : 0, 1 + pl_rand(&m->seed) % (300 * KB),
                        pl_rand(&m->seed) % 4 == 0);
    if (r < 0) {
        MUST(r == ERR_NO_SPACE, "%s", err_detail(r));
        m->no_space++;
        MUST(n == 0 || !page_has(m->s, id, 0, n));
        return;
    }
    m->wrote++;
    m->blob[i].id = id;
    m->blob[i].size = n;
    m->blob[i].kind = birth == PAGE_PINNED ? PINNED : CLEAN;
}

static void op_read(struct model *m, int i)
{
    uint64_t n = m->blob[i].size;
    if (m->blob[i].kind == NONE || !n)
        return;
    uint64_t off = pl_rand(&m->seed) % n, k = 1 + pl_rand(&m->seed) % (n - off);
    int r = pl_read(m->s, m->blob[i].id, off, k, pl_rand(&m->seed) % 2);
    MUST(r == 0 || (r == ERR_NOT_CACHED && m->blob[i].kind == CLEAN), "%s", err_detail(r));
}

static void op_unpin(struct model *m, int i)
{
    if (m->blob[i].kind != PINNED)
        return;
    page_unpin(m->s, m->blob[i].id, m->blob[i].size);
    m->blob[i].kind = CLEAN;
}

static void op_pin(struct model *m, int i)
{
    if (m->blob[i].kind != CLEAN)
        return;
    int r = page_pin(m->s, m->blob[i].id, m->blob[i].size, false);
    MUST(r == 0 || r == ERR_NO_SPACE || r == ERR_NOT_CACHED);
    if (r == 0) {
        m->pins++;
        m->blob[i].kind = PINNED;
    }
}

static void op_fill(struct model *m, int i)
{
    uint64_t n = m->blob[i].size, pages = (n + m->set.page - 1) / m->set.page;
    if (m->blob[i].kind != CLEAN || !n)
        return;
    uint32_t at = (uint32_t)(pl_rand(&m->seed) % pages);
    uint64_t left = n - (uint64_t)at * m->set.page;
    int r = pl_fill(m->s, m->blob[i].id, at, m->set.page, left < m->set.page ? left : m->set.page, false);
    MUST(r == 0 || r == ERR_NO_SPACE, "%s", err_detail(r));
}

static void check_held(struct model *m)
{
    if (!m->held.hold)
        return;
    char got[4096], want[4096];
    size_t n = m->held.n < sizeof got ? m->held.n : sizeof got;
    MUST(pread(m->held.fd, got, n, m->held.off) == (ssize_t)n);
    pl_bytes(m->held_id, m->held_off, want, n);
    MUST(memcmp(got, want, n) == 0, "a held range changed");
}

static void op_hold(struct model *m, int i)
{
    check_held(m);
    page_release(m->s, &m->held);
    uint64_t n = m->blob[i].size;
    if (m->blob[i].kind == NONE || !n)
        return;
    uint64_t off = pl_rand(&m->seed) % n;
    if (page_hold(m->s, m->blob[i].id, off, n - off, &m->held) == 0) {
        m->held_id = m->blob[i].id;
        m->held_off = off;
    }
}

static int judge(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    struct model *m = arg;
    for (size_t k = 0; k < n; k++) {
        verdict[k] = PAGE_DROP;
        for (int i = 0; i < BLOBS; i++)
            if (m->blob[i].kind != NONE && m->blob[i].id == b[k].blob)
                verdict[k] = m->blob[i].kind == PINNED ? PAGE_KEEP_PINNED : PAGE_KEEP_CLEAN;
    }
    return 0;
}

static int no_stranger(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    struct model *m = arg;
    for (size_t k = 0; k < n; k++) {
        bool known = false;
        for (int i = 0; i < BLOBS; i++)
            known |= m->blob[i].kind != NONE && m->blob[i].id == b[k].blob;
        MUST(known, "blob %llx is in the store and nobody knows it", (unsigned long long)b[k].blob);
        verdict[k] = PAGE_SKIP;
    }
    return 0;
}

static void all_there(struct model *m)
{
    for (int i = 0; i < BLOBS; i++)
        if (m->blob[i].kind == PINNED)
            pl_same(m->s, m->blob[i].id, m->blob[i].size);
}

static void op_reopen(struct model *m)
{
    check_held(m);
    page_release(m->s, &m->held);
    struct page_figures f = pl_figures(m->s);
    m->evicted += f.evicted_bytes;
    m->cleaned += f.cleaned_bytes;
    MUST(f.corrupt == 0);
    page_close(m->s);
    m->s = pl_open(m->dir, m->set);
    m->reopened++;
    all_there(m);
    OK(page_walk(m->s, false, 7, judge, m));
    page_walk_done(m->s);
    OK(page_walk(m->s, true, 7, no_stranger, m));
    MUST(pl_figures(m->s).unknown == 0);
    pl_check(m->s);
}

static void step(struct model *m)
{
    static void (*const ops[])(struct model *, int) = {op_write, op_write, op_write, op_write, op_read, op_read,
                                                       op_drop,  op_unpin, op_unpin, op_pin,   op_fill, op_hold};
    uint64_t r = pl_rand(&m->seed);
    if (r % 400 == 0) {
        op_reopen(m);
        return;
    }
    ops[r / 400 % (sizeof ops / sizeof *ops)](m, (int)(r / 8000 % BLOBS));
    if (r % 97 == 0)
        page_upkeep(m->s);
}

static void run(uint64_t bytes, uint32_t page, double ratio, uint64_t seed)
{
    struct model m = {.set = {.bytes = bytes, .page = page, .ratio = ratio}, .dir = pl_dir_fast(), .seed = seed};
    m.s = pl_open(m.dir, m.set);
    for (int i = 0, n = pl_quick() ? 3000 : 6000; i < n; i++) {
        step(&m);
        if (i % 500 == 0) {
            all_there(&m);
            pl_check(m.s);
        }
    }
    op_reopen(&m);
    struct page_figures f = pl_figures(m.s);
    m.evicted += f.evicted_bytes, m.cleaned += f.cleaned_bytes;
    MUST(m.wrote > 200 && m.reopened > 1 && m.pins > 0 && m.no_space > 0 && m.evicted > bytes && f.corrupt == 0,
         "%u written, %u starts, %u pins, %u times full, %lu evicted, %lu cleaned", m.wrote, m.reopened, m.pins,
         m.no_space, (unsigned long)m.evicted, (unsigned long)m.cleaned);
    for (int i = 0; i < BLOBS; i++)
        op_drop(&m, i);
    f = pl_figures(m.s);
    MUST(f.pages == 0 && f.pinned == 0 && f.evictable == 0);
    OK(pl_write(m.s, 1u << 30, page * 3, PAGE_PINNED)); /* all dropped: there is room again */
    pl_check(m.s);
    page_close(m.s);
    pl_gone(m.dir);
}

static void small_pages(void **state)
{
    (void)state;
    run(8 * MB, 128 * KB, 0.5, 11);
    run(16 * MB, 128 * KB, 1, 12);
}

static void large_pages(void **state)
{
    (void)state;
    run(24 * MB, MB, 0.6, 13);
    run(60 * MB, MB, 1, 14);
}

static void largest_pages(void **state)
{
    (void)state;
    run(100 * MB, 4 * MB, 0.9, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),
        cmocka_unit_test(large_pages),
        cmocka_unit_test(largest_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
