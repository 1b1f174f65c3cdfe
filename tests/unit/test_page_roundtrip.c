/* SPDX-License-Identifier: Apache-2.0
 * The page store: what is written is read again, at every size where the layout changes its mind. */
#include "cm.h"
#include "page_lib.h"
#include <unistd.h>

static const uint64_t sizes[] = {0,
                                 1,
                                 4000,
                                 4001,
                                 4095,
                                 4096,
                                 4097,
                                 16 * KB - 1,
                                 16 * KB,
                                 16 * KB + 1,
                                 64 * KB - 1,
                                 64 * KB,
                                 64 * KB + 1,
                                 128 * KB - 1,
                                 128 * KB,
                                 128 * KB + 1,
                                 256 * KB + 1,
                                 512 * KB + 1,
                                 MB - 1,
                                 MB,
                                 MB + 1,
                                 2 * MB + 5000,
                                 3 * MB + 70000,
                                 5 * MB};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void write_sizes(struct page_store *s, bool hint, size_t piece, bool lazy)
{
    for (size_t i = 0; i < SIZES; i++)
        OK(pl_write_as(s, 100 + i, sizes[i], PAGE_PINNED, hint ? sizes[i] : 0, piece, lazy));
}

static void read_sizes(struct page_store *s)
{
    for (size_t i = 0; i < SIZES; i++)
        pl_same(s, 100 + i, sizes[i]);
}

static void all_sizes(bool hint, size_t piece, uint32_t page)
{
    char *d = pl_dir();
    struct pl_set set = {.bytes = 100 * MB, .page = page, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    write_sizes(s, hint, piece, false);
    read_sizes(s);
    pl_check(s);
    page_close(s);
    s = pl_open(d, set);
    pl_check(s);
    read_sizes(s);
    assert_int_equal(pl_verdict(s, PAGE_KEEP_PINNED), SIZES - 1); /* a blob of no bytes has no pages */
    pl_check(s); /* and no copies of pages are under way that were unknown when they began */
    assert_int_equal(pl_figures(s).unknown, 0);
    for (size_t i = 0; i < SIZES; i++)
        page_drop(s, 100 + i, sizes[i]);
    pl_check(s);
    assert_int_equal(pl_figures(s).pinned, 0);
    assert_int_equal(pl_figures(s).pages, 0);
    page_close(s);
    pl_gone(d);
}

static void sizes_known(void **state)
{
    (void)state;
    all_sizes(true, 256 * KB, MB);
}

static void sizes_unknown(void **state)
{
    (void)state;
    all_sizes(false, 256 * KB, MB);
}

static void sizes_odd_pieces(void **state)
{
    (void)state;
    all_sizes(true, 1000, MB);
    all_sizes(false, 100001, MB);
    all_sizes(true, 5 * MB, 128 * KB);
    all_sizes(false, 300001, 4 * MB);
}

/* A hint is a hint: too long and too short are both served. */
static void hint_is_wrong(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = {.bytes = 64 * MB, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    OK(pl_write_as(s, 1, 300 * KB, PAGE_PINNED, 70 * KB, 150 * KB, false));
    OK(pl_write_as(s, 2, 3 * MB, PAGE_PINNED, 70 * KB, 128 * KB, false));
    OK(pl_write_as(s, 3, 70 * KB, PAGE_PINNED, 10 * MB, 7000, false));
    OK(pl_write_as(s, 4, 10, PAGE_PINNED, 10 * MB, 10, false));
    pl_same(s, 1, 300 * KB);
    pl_same(s, 2, 3 * MB);
    pl_same(s, 3, 70 * KB);
    pl_same(s, 4, 10);
    pl_check(s);
    /* what a wrong hint reserved is given back, and a short tail does not keep a slot of a whole page */
    assert_int_equal(pl_figures(s).pinned, 512 * KB + 3 * MB + 128 * KB + 4096);
    page_close(s);
    pl_gone(d);
}

static void ranges(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    OK(pl_write(s, 1, 2 * MB + 100, PAGE_PINNED));
    OK(pl_write(s, 2, 5000, PAGE_PINNED));
    struct page_range r = {.hold = NULL};
    FAILS(ERR_NOT_CACHED, page_hold(s, 3, 0, 1, &r));
    FAILS(ERR_NOT_CACHED, page_hold(s, 2, 5000, 1, &r));
    assert_null(r.hold);
    char got[5000], want[5000];
    for (uint64_t off = 0; off < 2 * MB + 100; off += r.n) {
        OK(page_hold(s, 1, off, 10 * MB, &r));
        size_t n = r.n < sizeof got ? r.n : sizeof got;
        assert_int_equal(pread(r.fd, got, n, r.off), n);
        pl_bytes(1, off, want, n);
        assert_memory_equal(got, want, n);
        page_release(s, &r);
    }
    OK(page_hold(s, 2, 10, 100, &r));
    assert_int_equal(r.n, 100);
    assert_int_equal(pread(r.fd, got, 100, r.off), 100);
    pl_bytes(2, 10, want, 100);
    assert_memory_equal(got, want, 100);
    page_release(s, &r);
    page_release(s, &r); /* a hold that is gone is fine */
    page_close(s);
    pl_gone(d);
}

static void reads_of_parts(void **state)
{
    (void)state;
    char *d = pl_dir();
    uint64_t seed = 5;
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    OK(pl_write(s, 1, 3 * MB + 777, PAGE_PINNED));
    for (int i = 0; i < 300; i++) {
        uint64_t off = pl_rand(&seed) % (3 * MB + 777), n = 1 + pl_rand(&seed) % (i % 2 ? 50000 : 2 * MB);
        if (off + n > 3 * MB + 777)
            n = 3 * MB + 777 - off;
        OK(pl_read(s, 1, off, n, i % 3 == 0));
    }
    FAILS(ERR_NOT_CACHED, pl_read(s, 1, 3 * MB + 700, 78, false));
    assert_true(page_has(s, 1, 3 * MB, 777));
    assert_false(page_has(s, 1, 3 * MB, 778));
    page_close(s);
    pl_gone(d);
}

static void aborted(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    static char bytes[3 * MB];
    for (size_t n = 100; n < sizeof bytes; n *= 3) {
        struct page_writer *w;
        OK(page_write_begin(s, n, 1, PAGE_PINNED, n, 0, &w));
        OK(page_append(w, bytes, n));
        assert_false(page_has(s, n, 0, n)); /* nobody sees what is not sealed */
        FAILS(ERR_NOT_CACHED, page_read(s, n, 0, bytes, 1, false));
        page_abort(w);
    }
    page_abort(NULL);
    assert_int_equal(pl_figures(s).pinned, 0);
    assert_int_equal(pl_figures(s).pages, 0);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void written_twice(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    OK(pl_write(s, 1, 5000, PAGE_PINNED));
    OK(pl_write(s, 2, 2 * MB, PAGE_PINNED));
    FAILS(ERR_EXISTS, pl_write(s, 1, 5000, PAGE_PINNED));
    FAILS(ERR_EXISTS, pl_write(s, 2, 2 * MB, PAGE_PINNED));
    pl_same(s, 1, 5000);
    pl_same(s, 2, 2 * MB);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void fills(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    OK(pl_fill(s, 1, 3, MB, MB, false));
    OK(pl_fill(s, 1, 3, MB, MB, false)); /* again: left alone */
    OK(pl_fill(s, 1, 5, MB, 700, true));
    assert_int_equal(pl_figures(s).pages, 2);
    assert_true(page_has(s, 1, 3 * MB, MB));
    assert_true(page_has(s, 1, 5 * MB, 700));
    assert_false(page_has(s, 1, 3 * MB, MB + 1));
    assert_false(page_has(s, 1, 0, 1));
    OK(pl_read(s, 1, 3 * MB, MB, true));
    OK(pl_read(s, 1, 5 * MB, 700, true));
    assert_int_equal(page_evict(s, 1, 6 * MB), MB);
    assert_false(page_has(s, 1, 3 * MB, 1));
    assert_true(page_has(s, 1, 5 * MB, 700));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void lazily(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = {.bytes = 100 * MB, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    uint64_t syncs = pl_figures(s).syncs;
    write_sizes(s, true, 256 * KB, true);
    read_sizes(s);
    OK(page_sync(s));
    assert_true(pl_figures(s).syncs > syncs);
    OK(page_sync(s)); /* nothing left to do is no error */
    page_close(s);
    s = pl_open(d, set);
    read_sizes(s);
    page_close(s);
    pl_gone(d);
}

struct found {
    size_t n, stop_at;
    struct page_blob seen[64];
};

static int look(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    struct found *f = arg;
    assert_true(n >= 1 && n <= 3);
    for (size_t i = 0; i < n; i++) {
        f->seen[f->n++] = b[i];
        verdict[i] = b[i].blob % 3 == 0 ? PAGE_DROP : b[i].blob % 3 == 1 ? PAGE_KEEP_CLEAN : PAGE_SKIP;
    }
    return f->stop_at && f->n >= f->stop_at ? 77 : 0;
}

static void walked(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = {.bytes = 100 * MB, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    uint64_t before = clock_wall_ms() - 1000;
    for (uint64_t b = 0; b < 12; b++)
        OK(pl_write(s, b, (b + 1) * 300000, PAGE_PINNED));
    OK(pl_fill(s, 100, 2, MB, MB, false)); /* lacks its first pages */
    OK(pl_fill(s, 100, 4, MB, 10, false));
    struct found f = {0};
    OK(page_walk(s, false, 3, look, &f));
    assert_int_equal(f.n, 0); /* nothing is unknown */
    page_close(s);

    s = pl_open(d, set);
    f = (struct found){.stop_at = 1};
    assert_int_equal(page_walk(s, false, 3, look, &f), 77);
    f = (struct found){0};
    OK(page_walk(s, false, 3, look, &f));
    assert_int_equal(f.n, 13);
    uint64_t ids = 0;
    for (size_t i = 0; i < f.n; i++) {
        const struct page_blob *b = &f.seen[i];
        ids |= 1ull << b->blob % 64;
        assert_true(b->unknown);
        assert_int_equal(b->content, b->blob + 7);
        assert_true(b->birth_ms >= before && b->birth_ms <= clock_wall_ms());
        assert_int_equal(b->bytes, b->blob == 100 ? MB + 10 : (b->blob + 1) * 300000);
        assert_int_equal(b->pages, b->blob == 100 ? 2 : ((b->blob + 1) * 300000 + MB - 1) / MB);
    }
    assert_int_equal(ids, 0xfff | 1ull << 36);
    for (uint64_t b = 0; b < 12; b++)
        assert_int_equal(page_has(s, b, 0, (b + 1) * 300000), b % 3 != 0);
    f = (struct found){0};
    OK(page_walk(s, false, 3, look, &f));
    assert_int_equal(f.n, 4); /* those that were skipped */
    f = (struct found){0};
    OK(page_walk(s, true, 3, look, &f));
    assert_int_equal(f.n, 9); /* 8 and the cached one; none dropped is left */
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void options_refused(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s;
    FAILS(ERR_INVALID, pl_try_open(d, (struct pl_set){.bytes = 64 * MB, .page = 100000}, &s));
    FAILS(ERR_INVALID, pl_try_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1.5}, &s));
    FAILS(ERR_INVALID, pl_try_open(d, (struct pl_set){.bytes = 1000}, &s));
    s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .page = 512 * KB});
    page_close(s);
    FAILS(ERR_INVALID, pl_try_open(d, (struct pl_set){.bytes = 64 * MB, .page = MB}, &s));
    assert_non_null(strstr(err_detail(ERR_INVALID), "alluxio.worker.page.store.page.size"));
    pl_gone(d);
}

static void read_only(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = {.bytes = 64 * MB, .ratio = 1};
    struct page_store *s = pl_open(d, set);
    OK(pl_write(s, 1, 3 * MB + 5, PAGE_PINNED));
    page_close(s);
    set.read_only = true;
    s = pl_open(d, set);
    pl_same(s, 1, 3 * MB + 5);
    pl_check(s);
    FAILS(ERR_READ_ONLY, pl_write(s, 2, 10, PAGE_PINNED));
    FAILS(ERR_READ_ONLY, pl_fill(s, 2, 0, MB, 10, false));
    assert_false(page_upkeep(s));
    page_close(s);
    pl_gone(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_known),   cmocka_unit_test(sizes_unknown), cmocka_unit_test(sizes_odd_pieces),
        cmocka_unit_test(hint_is_wrong), cmocka_unit_test(ranges),        cmocka_unit_test(reads_of_parts),
        cmocka_unit_test(aborted),       cmocka_unit_test(written_twice), cmocka_unit_test(fills),
        cmocka_unit_test(lazily),        cmocka_unit_test(walked),        cmocka_unit_test(options_refused),
        cmocka_unit_test(read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
