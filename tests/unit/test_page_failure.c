/* SPDX-License-Identifier: Apache-2.0
 * The page store on disks that fail or lie: EIO on write, sync and read; flipped bits; a second process. */
#include "cm.h"
#include "page_lib.h"
#include "base/fault.h"
#include "page/layout.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct pl_set TINY = {.bytes = 16 * MB, .page = 256 * KB, .ratio = 0.5};

/* Upkeep until every directory is back; a probe comes once a second. */
static void wait_well(struct page_store *s)
{
    uint64_t end = clock_mono_ns() + 60 * 1000000000ull;
    while (pl_figures(s).dirs_failed) {
        MUST(clock_mono_ns() < end, "a directory stays set aside");
        page_upkeep(s);
        usleep(20000);
    }
}

/* ---- errors ---- */

static void write_fails(const char *fault)
{
    char *a = pl_dir(), *b = pl_dir();
    struct page_store *s = pl_open2(a, b, TINY);
    for (uint64_t i = 1; i <= 20; i++)
        OK(pl_write(s, i, i % 2 ? 10000 : 400 * KB, PAGE_PINNED));
    char spec[200];
    pl_quiet(s);
    snprintf(spec, sizeof spec, "%s, page.probe:error IO*0", fault);
    OK(fault_arm(spec));
    FAILS(ERR_IO, pl_write(s, 100, 300 * KB, PAGE_PINNED));
    struct page_figures f = pl_figures(s);
    assert_int_equal(f.dirs_failed, 1);
    assert_int_equal(f.corrupt, 0);
    struct page_dir_figures x, y;
    page_dir_figures(s, 0, &x);
    page_dir_figures(s, 1, &y);
    assert_int_equal(x.failed + y.failed, 1);
    assert_true(strlen(x.failed ? x.reason : y.reason) > 5);
    for (uint64_t i = 101; i <= 110; i++) /* the other one serves, and stays in use until the probe succeeds */
        OK(pl_write(s, i, 300 * KB, PAGE_PINNED));
    page_upkeep(s);
    assert_int_equal(pl_figures(s).dirs_failed, 1);
    for (uint64_t i = 1; i <= 20; i++)
        pl_same(s, i, i % 2 ? 10000 : 400 * KB);
    OK(fault_arm(NULL));
    wait_well(s);
    uint64_t used = x.failed ? x.used : y.used;
    for (uint64_t i = 201; i <= 210; i++)
        OK(pl_write(s, i, 300 * KB, PAGE_EVICTABLE));
    page_dir_figures(s, 0, &x);
    page_dir_figures(s, 1, &y);
    assert_true(x.used > used && y.used > used); /* back in use */
    pl_check(s);
    page_close(s);
    s = pl_open2(a, b, TINY);
    for (uint64_t i = 1; i <= 20; i++)
        pl_same(s, i, i % 2 ? 10000 : 400 * KB);
    page_close(s);
    pl_gone(a);
    pl_gone(b);
}

static void eio_on_write(void **state)
{
    (void)state;
    write_fails("page.write:error IO@1*1");
    write_fails("page.write:error IO@2*1");
}

static void eio_on_sync(void **state)
{
    (void)state;
    write_fails("page.sync:error IO@1*1");
}

/* A failed sync is final for all it covered: who wrote before and seals after it fails, too, though a second sync of
 * the same file would succeed. */
static void sync_is_not_retried(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    struct page_writer *w, *v;
    static char bytes[512 * KB]; /* whole pages: nothing but the sync is left for the seal */
    OK(page_write_begin(s, 1, 1, PAGE_PINNED, sizeof bytes, 0, &w));
    OK(page_append(w, bytes, sizeof bytes));
    OK(page_write_begin(s, 5, 1, PAGE_PINNED, sizeof bytes, 0, &v));
    OK(page_append(v, bytes, sizeof bytes));
    OK(pl_write_as(s, 3, 5000, PAGE_PINNED, 5000, 5000, true));
    pl_quiet(s);
    OK(fault_arm("page.sync:error IO@1*1, page.probe:error IO*0"));
    FAILS(ERR_IO, pl_write(s, 2, 300 * KB, PAGE_PINNED));
    FAILS(ERR_IO, page_seal(w));
    FAILS(ERR_IO, page_sync(s)); /* what was sealed lazily is in doubt as long as the disk is */
    FAILS(ERR_IO, page_sync(s));
    FAILS(ERR_IO, pl_write(s, 4, 10, PAGE_PINNED)); /* the only directory */
    OK(fault_arm(NULL));
    wait_well(s);
    FAILS(ERR_IO, page_seal(v)); /* neither when the disk is well again */
    assert_false(page_has(s, 5, 0, 1));
    assert_false(page_has(s, 1, 0, 1));
    assert_false(page_has(s, 2, 0, 1));
    pl_same(s, 3, 5000); /* read again from the disk, not from memory */
    OK(page_sync(s));
    OK(pl_write(s, 4, 10, PAGE_PINNED));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

static void eio_on_read(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    OK(pl_write(s, 1, 300 * KB, PAGE_PINNED));
    OK(pl_write(s, 2, 300 * KB, PAGE_EVICTABLE));
    OK(pl_write(s, 3, 3000, PAGE_EVICTABLE));
    OK(fault_arm("page.read:error IO@1*0"));
    FAILS(ERR_IO, pl_read(s, 1, 0, 100, false));
    FAILS(ERR_NOT_CACHED, pl_read(s, 2, 0, 100, false)); /* the under store has it */
    struct page_range r;
    FAILS(ERR_NOT_CACHED, page_hold(s, 3, 0, 100, &r));
    assert_int_equal(pl_figures(s).dirs_failed, 1);
    assert_int_equal(pl_figures(s).corrupt, 0);
    OK(fault_arm(NULL));
    wait_well(s);
    pl_same(s, 1, 300 * KB);
    assert_false(page_has(s, 2, 0, 1));
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* A directory that cannot be used at the start comes into use, with what is in it, when it can. */
static void sick_at_start(void **state)
{
    (void)state;
    char *a = pl_dir(), *b = pl_dir(), away[600];
    struct page_store *s = pl_open(b, TINY);
    OK(pl_write(s, 1, 300 * KB, PAGE_PINNED));
    OK(pl_write(s, 2, 3000, PAGE_PINNED));
    page_close(s);
    snprintf(away, sizeof away, "%s.away", b);
    assert_int_equal(rename(b, away), 0);
    close(open(b, O_CREAT | O_WRONLY, 0600)); /* a file where the directory should be */
    s = pl_open2(a, b, TINY);
    assert_int_equal(pl_figures(s).dirs_failed, 1);
    assert_false(page_has(s, 1, 0, 1));
    OK(pl_write(s, 3, 300 * KB, PAGE_PINNED));
    unlink(b);
    assert_int_equal(rename(away, b), 0);
    wait_well(s);
    pl_same(s, 1, 300 * KB);
    pl_same(s, 2, 3000);
    pl_same(s, 3, 300 * KB);
    assert_int_equal(pl_verdict(s, PAGE_KEEP_PINNED), 2);
    pl_check(s);
    page_close(s);
    pl_gone(a);
    pl_gone(b);
}

/* A segment that cannot be read at the start is read when it can. */
static void lost_segment(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    for (uint64_t i = 1; i <= 40; i++)
        OK(pl_write(s, i, i % 2 ? 10000 : 200 * KB, PAGE_PINNED));
    page_close(s);
    for (unsigned hit = 1; hit < 30; hit += 3) {
        char spec[100];
        snprintf(spec, sizeof spec, "page.read:error IO@%u*1, page.probe:error IO*0", hit);
        OK(fault_arm(spec));
        s = pl_open(d, TINY);
        OK(fault_arm(NULL));
        wait_well(s);
        for (uint64_t i = 1; i <= 40; i++)
            pl_same(s, i, i % 2 ? 10000 : 200 * KB);
        pl_check(s);
        page_close(s);
    }
    pl_gone(d);
}

/* ---- bits that flip ---- */

/* Flip a bit in every place of the directory's segments where the 16 bytes of the blob at off lie. */
static unsigned flip_at(const char *dir, const char *needle, size_t n, size_t in, bool headers_only)
{
    unsigned hits = 0;
    for (unsigned num = 0; num < 64; num++) {
        char path[600];
        snprintf(path, sizeof path, "%s/segments/%08u", dir, num);
        int fd = open(path, O_RDWR);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) != 0)
            continue;
        char *all = malloc((size_t)st.st_size);
        MUST(pread(fd, all, (size_t)st.st_size, 0) == st.st_size);
        for (size_t at = 0; at + n <= (size_t)st.st_size; at += headers_only ? 4096 : 8) {
            if (memcmp(all + at, needle, n) != 0)
                continue;
            char c = all[at + in] ^ 0x10;
            MUST(pwrite(fd, &c, 1, (off_t)(at + in)) == 1);
            hits++;
        }
        free(all);
        close(fd);
    }
    return hits;
}

static void flip_payload(const char *dir, uint64_t blob, uint64_t off)
{
    char needle[16];
    pl_bytes(blob, off, needle, sizeof needle);
    MUST(flip_at(dir, needle, sizeof needle, 3, false) == 1);
}

static void bit_in_payload(uint64_t size, uint64_t off)
{
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    OK(pl_write(s, 1, size, PAGE_PINNED));
    OK(pl_write(s, 2, size, PAGE_EVICTABLE));
    flip_payload(d, 1, off);
    flip_payload(d, 2, off);
    struct page_range r;
    FAILS(ERR_CORRUPT, page_hold(s, 1, off, 1, &r)); /* the first read finds it, wherever it looks in the page */
    assert_non_null(strstr(err_detail(ERR_CORRUPT), "checksum"));
    FAILS(ERR_CORRUPT, pl_read(s, 1, off, 1, true));
    FAILS(ERR_CORRUPT, pl_read(s, 1, off, 1, false));
    assert_true(page_has(s, 1, 0, size)); /* the only copy is not thrown away */
    FAILS(ERR_CORRUPT, pl_read(s, 2, off, 1, false));
    assert_false(page_has(s, 2, off, 1)); /* this one is fetched again */
    assert_true(pl_figures(s).corrupt >= 4);
    OK(pl_fill(s, 2, (uint32_t)(off / TINY.page), TINY.page, size < TINY.page ? size : TINY.page, false));
    pl_same(s, 2, size);
    FAILS(ERR_CORRUPT, page_check(s, true, NULL, NULL));
    OK(page_check(s, false, NULL, NULL));
    page_close(s);
    pl_gone(d);
}

static void bits_in_payload(void **state)
{
    (void)state;
    bit_in_payload(5000, 4000);
    bit_in_payload(5000, 4976);
    bit_in_payload(60000, 32 * KB);
    bit_in_payload(200 * KB, 0);
    bit_in_payload(200 * KB, 100 * KB);
    bit_in_payload(1024 * KB, 700 * KB);
}

/* A page that was read well and rots later: reads that ask are told, and so is every read after a start. */
static void rots_later(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct pl_set set = TINY;
    struct page_store *s = pl_open(d, set);
    OK(pl_write(s, 1, 100 * KB, PAGE_PINNED));
    pl_same(s, 1, 100 * KB);
    flip_payload(d, 1, 50 * KB);
    FAILS(ERR_CORRUPT, pl_read(s, 1, 0, 100 * KB, true));
    OK(pl_read(s, 1, 0, 32 * KB, true)); /* those blocks are well */
    page_close(s);
    s = pl_open(d, set);
    FAILS(ERR_CORRUPT, pl_read(s, 1, 0, 10, false));
    page_close(s);
    set.verify_always = true;
    s = pl_open(d, set);
    pl_read(s, 1, 0, 10, false);
    FAILS(ERR_CORRUPT, pl_read(s, 1, 50 * KB, 10, false));
    page_close(s);
    pl_gone(d);
}

/* Damaged headers: of a record, of a slot; found at the read, and at the start the page is simply not there. */
static void bit_in_header(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    OK(pl_write(s, 1, 100 * KB, PAGE_PINNED));
    OK(pl_write(s, 2, 200 * KB, PAGE_PINNED));
    uint32_t magic = PG_SLOT_MAGIC;
    assert_int_equal(flip_at(d, (char *)&magic, 4, 40, true), 2);
    FAILS(ERR_CORRUPT, pl_read(s, 1, 0, 10, false));
    FAILS(ERR_CORRUPT, pl_read(s, 2, 0, 10, true));
    assert_int_not_equal(page_check(s, false, NULL, NULL), 0);
    page_close(s);
    s = pl_open(d, TINY);
    assert_int_equal(pl_figures(s).pages, 0);
    OK(pl_write(s, 3, 100 * KB, PAGE_PINNED)); /* over the damaged slot */
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* Damage to what describes a segment loses nothing: identity has a copy, a table can be made again from the records. */
static void bit_in_identity_or_table(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    for (uint64_t i = 1; i <= 100; i++)
        OK(pl_write(s, i, i % 5 ? 10000 : 100 * KB, PAGE_PINNED));
    page_close(s);
    uint32_t table = PG_TABLE_MAGIC;
    assert_true(flip_at(d, (char *)&table, 4, 50, true) >= 2);
    for (unsigned num = 0; num < 8; num++) {
        char path[600], c;
        snprintf(path, sizeof path, "%s/segments/%08u", d, num);
        int fd = open(path, O_RDWR);
        if (fd < 0 || pread(fd, &c, 1, 9) != 1)
            continue;
        c ^= 1;
        MUST(pwrite(fd, &c, 1, 9) == 1);
        close(fd);
    }
    s = pl_open(d, TINY);
    for (uint64_t i = 1; i <= 100; i++)
        pl_same(s, i, i % 5 ? 10000 : 100 * KB);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

/* Cleaning moves damaged bytes with their old checksums: the damage is still found, not blessed. */
static void cleaning_blesses_nothing(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, TINY);
    for (uint64_t i = 1; i <= 200; i++)
        OK(pl_write(s, i, 10000, PAGE_PINNED));
    flip_payload(d, 30, 5000);
    for (uint64_t i = 1; i <= 200; i++)
        if (i % 30)
            page_drop(s, i, 10000);
    while (page_upkeep(s))
        ;
    assert_true(pl_figures(s).cleaned_bytes > 0);
    FAILS(ERR_CORRUPT, pl_read(s, 30, 0, 10, false));
    pl_same(s, 60, 10000);
    page_close(s);
    pl_gone(d);
}

/* ---- who owns the directory ---- */

static void one_owner(void **state)
{
    (void)state;
    char *d = pl_dir(), pid[32];
    struct page_store *s = pl_open(d, TINY), *t;
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    FAILS(ERR_BUSY, pl_try_open(d, TINY, &t)); /* not even this process twice */
    pid_t child = fork();
    if (child == 0) {
        FAILS(ERR_BUSY, pl_try_open(d, TINY, &t));
        MUST(strstr(err_detail(ERR_BUSY), pid), "%s", err_detail(ERR_BUSY));
        struct pl_set set = TINY;
        set.read_only = true;
        FAILS(ERR_BUSY, pl_try_open(d, set, &t));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    OK(pl_write(s, 1, 5000, PAGE_PINNED));
    page_close(s);
    s = pl_open(d, TINY);
    pl_same(s, 1, 5000);
    page_close(s);
    pl_gone(d);
}

static void foreign_directory(void **state)
{
    (void)state;
    char *d = pl_dir(), path[600];
    struct page_store *s;
    snprintf(path, sizeof path, "%s/label", d);
    FILE *f = fopen(path, "w");
    fputs("forebay-pages version=99 page=262144 payload=1048576\n", f);
    fclose(f);
    FAILS(ERR_VERSION, pl_try_open(d, TINY, &s));
    f = fopen(path, "w");
    fputs("my diary\n", f);
    fclose(f);
    FAILS(ERR_CORRUPT, pl_try_open(d, TINY, &s));
    pl_gone(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eio_on_write),
        cmocka_unit_test(eio_on_sync),
        cmocka_unit_test(sync_is_not_retried),
        cmocka_unit_test(eio_on_read),
        cmocka_unit_test(sick_at_start),
        cmocka_unit_test(lost_segment),
        cmocka_unit_test(bits_in_payload),
        cmocka_unit_test(rots_later),
        cmocka_unit_test(bit_in_header),
        cmocka_unit_test(bit_in_identity_or_table),
        cmocka_unit_test(cleaning_blesses_nothing),
        cmocka_unit_test(one_owner),
        cmocka_unit_test(foreign_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
