/* SPDX-License-Identifier: Apache-2.0
 * The page store: limits, eviction, cleaning, held ranges, the wait for the walk. */
#include "cm.h"
#include "page_lib.h"
#include "base/fault.h"
#include "base/thread.h"
#include <unistd.h>

static const struct pl_set TINY = {.bytes = 16 * MB, .page = 256 * KB, .ratio = 0.5};

/* Twenty times its size goes through the store; what is pinned stays, whatever its kind. */
static void wraps_around(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    uint64_t size[] = {10000, 3 * 256 * KB + 5, 60000, 200 * KB, 100}, total = 0, id = 1000;
    for (uint64_t b = 0; b < 25; b++)
        OK(pl_write(s, b, size[b % 5], PAGE_PINNED));
    while (total < 20 * TINY.bytes) {
        uint64_t n = size[id % 5];
        id++;
        OK(pl_write(s, id, n, id % 3 ? PAGE_EVICTABLE : PAGE_PINNED));
        page_unpin(s, id, n);
        total += n;
    }
    for (uint64_t b = 0; b < 25; b++)
        pl_same(s, b, size[b % 5]);
    assert_true(pl_figures(s).evicted_bytes > 15 * TINY.bytes);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* Uploads are late: everything is dirty. Writes fail cleanly at the limit, fills are refused or evict clean pages only,
 * and no dirty byte goes (what JuiceFS and Alluxio lost). */
static void dirty_is_never_evicted(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = TINY;
    set.ratio = 1;
    struct page_store *s = pl_open(d, set);
    uint64_t ids = 0, n = 40000;
    int r;
    while ((r = pl_write(s, ids + 1, n, PAGE_PINNED)) == 0)
        ids++;
    assert_int_equal(r, ERR_NO_SPACE);
    assert_true(ids * n > TINY.bytes / 2);
    for (uint64_t b = 1000; b < 1100; b++) {
        r = pl_fill(s, b, 0, 256 * KB, 256 * KB, false);
        assert_true(r == 0 || r == ERR_NO_SPACE);
        FAILS(ERR_NO_SPACE, pl_write(s, b + 5000, MB, PAGE_EVICTABLE));
        while (page_upkeep(s))
            ;
    }
    for (uint64_t b = 1; b <= ids; b++)
        pl_same(s, b, n);
    pl_check(s);
    page_close(s);
    s = pl_open(d, set);
    for (uint64_t b = 1; b <= ids; b++)
        pl_same(s, b, n);
    page_close(s);
    pl_gone(d);
}

static void pinned_limit(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    struct page_figures f = pl_figures(s);
    assert_int_equal(f.pinned_limit, f.capacity / 2);
    uint64_t ids = 0;
    while (pl_write(s, ids + 1, 256 * KB, PAGE_PINNED) == 0)
        ids++;
    assert_non_null(strstr(err_detail(ERR_NO_SPACE), "pinned.file.capacity.limit.ratio"));
    assert_int_equal(ids, f.pinned_limit / (256 * KB));
    FAILS(ERR_NO_SPACE, pl_write_as(s, 999, 256 * KB, PAGE_PINNED, 0, 100, false)); /* also when the size is unknown */
    OK(pl_write(s, 1000, 256 * KB, PAGE_EVICTABLE)); /* the rest is free for what may be evicted */
    FAILS(ERR_NO_SPACE, page_pin(s, 1000, 256 * KB, false));
    OK(page_pin(s, 1000, 256 * KB, true));
    OK(page_pin(s, 1000, 256 * KB, false)); /* it is already */
    FAILS(ERR_NOT_CACHED, page_pin(s, 4444, 1, true));
    page_unpin(s, 1000, 256 * KB);
    page_unpin(s, 1, 256 * KB);
    OK(pl_write(s, 2000, 256 * KB, PAGE_PINNED));
    FAILS(ERR_NO_SPACE, pl_write(s, 2001, 1, PAGE_PINNED));
    page_drop(s, 2, 256 * KB);
    OK(pl_write(s, 2001, 1, PAGE_PINNED));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* Space reserved by a hint is taken at once, and given back whatever becomes of the writer. */
static void hint_reserves(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    uint64_t limit = pl_figures(s).pinned_limit;
    struct page_writer *w, *v;
    FAILS(ERR_NO_SPACE, page_write_begin(s, 1, 1, PAGE_PINNED, limit + 1, 0, &w));
    OK(page_write_begin(s, 1, 1, PAGE_PINNED, limit, 0, &w));
    assert_int_equal(pl_figures(s).pinned, limit);
    FAILS(ERR_NO_SPACE, page_write_begin(s, 2, 1, PAGE_PINNED, 1, 0, &v));
    OK(page_append(w, "x", 1));
    OK(page_seal(w));
    assert_int_equal(pl_figures(s).pinned, 4096);
    OK(page_write_begin(s, 2, 1, PAGE_PINNED, limit / 2, 0, &v));
    page_abort(v);
    assert_int_equal(pl_figures(s).pinned, 4096);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* A store full of small pinned records, half of them dropped here and there: cleaning brings the space together, for
 * small pages and for large ones. */
static void fragments_are_cleaned(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = TINY;
    set.ratio = 1;
    struct page_store *s = pl_open(d, set);
    uint64_t ids = 0, n = 12000, again = 0, large = 0;
    while (pl_write(s, ids + 1, n, PAGE_PINNED) == 0)
        ids++;
    for (uint64_t b = 1; b <= ids; b++)
        if (b % 4)
            page_drop(s, b, n);
    while (pl_write(s, 10000 + again, n, PAGE_PINNED) == 0)
        again++;
    assert_true(again >= ids * 3 / 4 * 8 / 10);
    assert_true(pl_figures(s).cleaned_bytes > 0);
    pl_check(s);
    for (uint64_t b = 0; b < again; b++)
        page_drop(s, 10000 + b, n);
    while (pl_write(s, 50000 + large, 256 * KB, PAGE_PINNED) == 0)
        large++;
    assert_true(large * 256 * KB > set.bytes / 2);
    for (uint64_t b = 4; b <= ids; b += 4)
        pl_same(s, b, n);
    for (uint64_t b = 0; b < large; b++)
        pl_same(s, 50000 + b, 256 * KB);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* From all large to all small and back, with a few pinned large pages strewn about. */
static void classes_change(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    for (uint64_t b = 0; b < 60; b++) {
        OK(pl_write(s, b, 256 * KB, PAGE_PINNED));
        if (b % 10)
            page_unpin(s, b, 256 * KB);
    }
    for (uint64_t b = 0; b < 1200; b++)
        OK(pl_write(s, 1000 + b, 12000, PAGE_EVICTABLE));
    for (uint64_t b = 0; b < 60; b += 10)
        pl_same(s, b, 256 * KB);
    uint64_t kept = 0;
    for (uint64_t b = 0; b < 1200; b++)
        kept += page_has(s, 1000 + b, 0, 12000);
    assert_true(kept > 600); /* they got the space */
    for (uint64_t b = 0; b < 100; b++)
        OK(pl_write(s, 5000 + b, 130 * KB, PAGE_EVICTABLE));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void recently_read_stays(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    unsigned hot = 0, cold = 0;
    for (uint64_t b = 0; b < 40; b++)
        OK(pl_write(s, b, 20000, PAGE_EVICTABLE));
    for (uint64_t b = 100; b < 1100; b++) {
        OK(pl_write(s, b, 20000, PAGE_EVICTABLE));
        for (uint64_t h = 0; h < 20; h++)
            pl_read(s, h, 0, 100, false);
        page_upkeep(s); /* what the keeper does when it gets a processor: on a busy machine it lags, and there is no
                           room to move to */
    }
    for (uint64_t b = 0; b < 20; b++) {
        hot += page_has(s, b, 0, 20000);
        cold += page_has(s, 20 + b, 0, 20000);
    }
    assert_true(hot >= 15);
    assert_true(cold <= 5); /* those that share a segment with what is read all the time */
    page_close(s);
    pl_gone(d);
}

/* Large pages go in the order in which they came, about: of the newest half of the store nothing is gone. */
static void newest_stays(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    uint64_t keep = TINY.bytes / 2 / (256 * KB);
    for (uint64_t b = 1; b <= 500; b++) {
        OK(pl_write(s, b, 256 * KB, PAGE_EVICTABLE));
        for (uint64_t k = b > keep ? b - keep : 1; k <= b; k++)
            MUST(page_has(s, k, 0, 256 * KB), "%d of %d", (int)k, (int)b);
    }
    page_close(s);
    pl_gone(d);
}

struct held {
    struct page_range r;
    uint64_t blob;
};

static void same_as_held(const struct held *h)
{
    char *got = malloc(h->r.n), *want = malloc(h->r.n);
    assert_int_equal(pread(h->r.fd, got, h->r.n, h->r.off), h->r.n);
    pl_bytes(h->blob, 0, want, h->r.n);
    assert_memory_equal(got, want, h->r.n);
    free(got);
    free(want);
}

/* A held range stays as it is whatever happens to its page: dropped, evicted, cleaned, its space wanted by others. */
static void held_stays(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    struct held h[6];
    uint64_t size[6] = {30000, 256 * KB, 30000, 256 * KB, 30000, 200 * KB};
    for (int i = 0; i < 6; i++) {
        OK(pl_write(s, (uint64_t)i + 1, size[i], i < 4 ? PAGE_EVICTABLE : PAGE_PINNED));
        h[i].blob = (uint64_t)i + 1;
        OK(page_hold(s, h[i].blob, 0, size[i], &h[i].r));
    }
    page_drop(s, 1, size[0]);
    page_drop(s, 2, size[1]);
    assert_false(page_has(s, 1, 0, 1)); /* hidden at once */
    assert_false(page_has(s, 2, 0, 1));
    for (uint64_t b = 100; b < 2000; b++) {
        OK(pl_write(s, b, b % 10 ? 9000 : 240 * KB, PAGE_EVICTABLE));
        if (b % 100 == 0)
            page_upkeep(s);
    }
    for (int i = 0; i < 6; i++)
        same_as_held(&h[i]);
    assert_int_equal(page_evict(s, 4, size[3]), 0); /* held: not now */
    for (int i = 0; i < 6; i++)
        page_release(s, &h[i].r);
    pl_same(s, 5, size[4]);
    pl_same(s, 6, size[5]);
    pl_check(s);
    for (uint64_t b = 2000; b < 4000; b++)
        OK(pl_write(s, b, b % 10 ? 9000 : 240 * KB, PAGE_EVICTABLE));
    pl_check(s); /* what was held has become free and was used again */
    page_close(s);
    pl_gone(d);
}

/* ---- after a start ---- */

struct later {
    struct page_store *s;
    enum page_verdict v;
};

static void *walk_later(void *arg)
{
    struct later *l = arg;
    usleep(50000);
    pl_verdict(l->s, l->v);
    page_walk_done(l->s);
    return NULL;
}

static uint64_t fill_up(struct page_store *s)
{
    uint64_t n = 0;
    while (pl_write(s, n + 1, 256 * KB, PAGE_PINNED) == 0)
        n++;
    return n;
}

static void unknown_is_not_evicted(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = TINY;
    set.ratio = 1;
    struct page_store *s = pl_open(d, set);
    uint64_t n = fill_up(s);
    page_close(s);
    s = pl_open(d, set);
    struct page_figures f = pl_figures(s);
    assert_int_equal(f.unknown, n * 256 * KB);
    assert_int_equal(f.pinned, 0);
    FAILS(ERR_NO_SPACE, pl_write(s, 1000, 3 * MB, PAGE_PINNED));
    for (uint64_t b = 1; b <= n; b++)
        pl_same(s, b, 256 * KB); /* readable before the walk */

    struct page_writer *w;
    uint64_t start = clock_mono_ns();
    FAILS(ERR_NO_SPACE, page_write_begin(s, 1000, 1, PAGE_PINNED, 3 * MB, start + 100 * 1000000ull, &w));
    assert_true(clock_mono_ns() >= start + 100 * 1000000ull); /* waited for the walk */

    struct later l = {s, PAGE_KEEP_CLEAN};
    pthread_t t;
    OK(thread_start(&t, "walk", walk_later, &l));
    OK(page_write_begin(s, 1000, 1, PAGE_PINNED, 3 * MB, clock_mono_ns() + 60 * 1000000000ull, &w));
    pthread_join(t, NULL);
    page_abort(w);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void known_and_full_does_not_wait(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = TINY;
    set.ratio = 1;
    struct page_store *s = pl_open(d, set);
    fill_up(s);
    page_close(s);
    s = pl_open(d, set);
    struct later l = {s, PAGE_KEEP_PINNED};
    struct page_writer *w;
    pthread_t t;
    OK(thread_start(&t, "walk", walk_later, &l));
    FAILS(ERR_NO_SPACE, page_write_begin(s, 1000, 1, PAGE_PINNED, 3 * MB, clock_mono_ns() + 600 * 1000000000ull, &w));
    pthread_join(t, NULL); /* this test would last ten minutes if it waited */
    page_close(s);
    pl_gone(d);
}

/* ---- a full disk ---- */

static void disk_is_full(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    OK(pl_write(s, 1, 5000, PAGE_PINNED));
    OK(pl_write(s, 2, 300 * KB, PAGE_PINNED));
    OK(fault_arm("page.write:error NO_SPACE@1*0"));
    for (uint64_t n = 1; n < 2 * MB; n *= 7)
        FAILS(ERR_NO_SPACE, pl_write(s, 100 + n, n, PAGE_PINNED));
    OK(fault_arm("page.write:error NO_SPACE@3*0"));
    FAILS(ERR_NO_SPACE, pl_write(s, 50, MB + 5, PAGE_PINNED)); /* in the middle */
    OK(fault_arm(NULL));
    assert_int_equal(pl_figures(s).pages, 3); /* nothing half-written is left, nothing else is lost */
    assert_int_equal(pl_figures(s).dirs_failed, 0);
    pl_same(s, 1, 5000);
    pl_same(s, 2, 300 * KB);
    OK(pl_write(s, 50, MB + 5, PAGE_PINNED));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void keeps_disk_free(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_dir_spec spec = {d, 16 * MB};
    struct page_options o = {
        .dirs = &spec, .dir_count = 1, .page_size = 256 * KB, .pinned_ratio = 1, .keep_free = 1ull << 60};
    struct page_store *s;
    OK(page_open(&o, &s));
    FAILS(ERR_NO_SPACE, pl_write(s, 1, 5000, PAGE_PINNED));
    FAILS(ERR_NO_SPACE, pl_write(s, 2, 300 * KB, PAGE_PINNED));
    pl_check(s);
    page_close(s);
    o.keep_free = 0;
    OK(page_open(&o, &s));
    OK(pl_write(s, 1, 5000, PAGE_PINNED));
    page_close(s);
    pl_gone(d);
}

/* ---- sizes that change ---- */

static void store_shrinks(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = {.bytes = 32 * MB, .page = 256 * KB, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    uint64_t before = pl_figures(s).segments;
    for (uint64_t b = 1; b <= 400; b++)
        OK(pl_write(s, b, b % 8 ? 40000 : 250 * KB, PAGE_PINNED));
    page_close(s);
    set.bytes = 12 * MB;
    s = pl_open(d, set);
    assert_true(pl_figures(s).segments < before);
    for (uint64_t b = 1; b <= 400; b++)
        pl_same(s, b, b % 8 ? 40000 : 250 * KB);
    pl_verdict(s, PAGE_KEEP_CLEAN);
    page_walk_done(s);
    for (uint64_t b = 1001; b <= 1500; b++)
        OK(pl_write(s, b, b % 8 ? 40000 : 250 * KB, PAGE_EVICTABLE));
    while (page_upkeep(s))
        ;
    pl_check(s);
    page_close(s);
    char last[600];
    snprintf(last, sizeof last, "%s/segments/%08u", d, (unsigned)before - 1);
    assert_int_not_equal(access(last, F_OK), 0); /* what is beyond the size is gone */
    s = pl_open(d, set);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void two_directories(void **state)
{
    (void)state;
    char *a = pl_dir(), *b = pl_dir();
    struct page_store *s = pl_open2(a, b, TINY);
    for (uint64_t i = 1; i <= 30; i++)
        OK(pl_write(s, i, 300 * KB, PAGE_EVICTABLE));
    struct page_dir_figures x, y;
    assert_int_equal(page_dir_count(s), 2);
    page_dir_figures(s, 0, &x);
    page_dir_figures(s, 1, &y);
    assert_true(x.used > 3 * MB && y.used > 3 * MB);
    assert_int_equal(pl_figures(s).capacity, 2 * pl_figures(s).pinned_limit);
    OK(pl_write(s, 100, 14 * MB, PAGE_PINNED)); /* more than half of all, in one directory or both */
    pl_same(s, 100, 14 * MB);
    pl_check(s);
    page_close(s);
    s = pl_open2(a, b, TINY);
    pl_same(s, 100, 14 * MB);
    page_close(s);
    pl_gone(a);
    pl_gone(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wraps_around),
        cmocka_unit_test(dirty_is_never_evicted),
        cmocka_unit_test(pinned_limit),
        cmocka_unit_test(hint_reserves),
        cmocka_unit_test(fragments_are_cleaned),
        cmocka_unit_test(classes_change),
        cmocka_unit_test(recently_read_stays),
        cmocka_unit_test(newest_stays),
        cmocka_unit_test(held_stays),
        cmocka_unit_test(unknown_is_not_evicted),
        cmocka_unit_test(known_and_full_does_not_wait),
        cmocka_unit_test(disk_is_full),
        cmocka_unit_test(keeps_disk_free),
        cmocka_unit_test(store_shrinks),
        cmocka_unit_test(two_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
