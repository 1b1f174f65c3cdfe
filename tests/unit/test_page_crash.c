/* SPDX-License-Identifier: Apache-2.0
 * The page store and kill -9: a child works until a fault point kills it; what it was told is safe must be there, every
 * rule must hold, and the store must go on working. */
#include "cm.h"
#include "page_lib.h"
#include "base/fault.h"
#include "page/layout.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOBS = 420, PAGE = 128 * KB };
static const struct pl_set TINY = {.bytes = 5 * MB, .page = PAGE, .ratio = 0.7};

/* What the child was told, in memory that outlives it. */
struct told {
    uint64_t base;
    struct {
        unsigned char sealed, unpinned, dropped; /* unpinned and dropped: set before it is asked for */
    } blob[BLOBS];
};

static uint64_t size_of(uint64_t i)
{
    static const uint64_t sizes[] = {9000, 100, 30000, 70 * KB, 3 * PAGE + 10, 4000, 20000, 50000};
    return sizes[i % 8];
}

static void one(struct page_store *s, struct told *t, uint64_t i)
{
    uint64_t id = t->base + i, n = size_of(i);
    bool lazy = i % 7 == 0;
    if (pl_write_as(s, id, n, PAGE_PINNED, i % 3 ? n : 0, 50000, lazy) < 0)
        return;
    if (i % 5 == 0 && page_sync(s) < 0)
        return;
    t->blob[i].sealed = 1;
    if (i % 16 && i % 2) {
        t->blob[i].dropped = 1;
        page_drop(s, id, n);
    } else if (i % 16) {
        t->blob[i].unpinned = 1;
        page_unpin(s, id, n);
    }
}

static void work(const char *dir, struct told *t, uint64_t blobs)
{
    struct page_store *s;
    if (pl_try_open(dir, TINY, &s) < 0)
        return;
    pl_verdict(s, PAGE_KEEP_CLEAN);
    page_walk_done(s);
    char buf[100];
    for (uint64_t i = 0; i < blobs; i++) {
        one(s, t, i);
        if (i % 6 == 0)
            pl_fill(s, t->base + 5000 + i, 1, PAGE, 10000, false);
        if (i % 4 == 0)
            page_read(s, t->base + i / 2, 0, buf, sizeof buf, false);
        if (i % 8 == 0)
            page_upkeep(s);
    }
    page_close(s);
}

/* The child's wait status. */
static int run_child(const char *dir, struct told *t, const char *fault)
{
    pid_t pid = fork();
    if (pid == 0) {
        OK(fault_arm(fault));
        work(dir, t, fault ? BLOBS : BLOBS / 3);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    return status;
}

static int judge(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    const struct told *t = arg;
    for (size_t k = 0; k < n; k++) {
        uint64_t i = b[k].blob - t->base;
        verdict[k] = PAGE_DROP;
        if (i < BLOBS && t->blob[i].sealed && !t->blob[i].dropped)
            verdict[k] = t->blob[i].unpinned ? PAGE_KEEP_CLEAN : PAGE_KEEP_PINNED;
    }
    return 0;
}

static void promises(struct page_store *s, const struct told *t)
{
    for (uint64_t i = 0; i < BLOBS; i++) {
        uint64_t id = t->base + i, n = size_of(i);
        if (!t->blob[i].sealed || t->blob[i].dropped)
            continue;
        if (!t->blob[i].unpinned || page_has(s, id, 0, n))
            pl_same(s, id, n);
    }
}

static void after(const char *dir, struct told *t)
{
    struct page_store *s = pl_open(dir, TINY);
    pl_check(s);
    promises(s, t);
    OK(page_walk(s, false, 10, judge, t));
    page_walk_done(s);
    pl_check(s);
    promises(s, t);
    MUST(pl_figures(s).corrupt == 0);
    for (uint64_t i = 0; i < 30; i++)
        OK(pl_write(s, t->base + 9000 + i, size_of(i), PAGE_EVICTABLE));
    promises(s, t);
    pl_check(s);
    page_close(s);
    s = pl_open(dir, TINY);
    promises(s, t);
    page_close(s);
}

static struct told *told_new(void)
{
    void *p = mmap(NULL, sizeof(struct told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(p != MAP_FAILED);
    return p;
}

/* Kill at a visit of a point; false when it was not reached so often. */
static bool killed_at(const char *point, unsigned hit)
{
    char *dir = pl_dir_fast(), spec[100];
    struct told *t = told_new();
    t->base = 1 << 20;
    MUST(run_child(dir, t, NULL) == 0); /* something is there already */
    memset(t, 0, sizeof *t);
    t->base = 2 << 20;
    snprintf(spec, sizeof spec, "%s:kill@%u", point, hit);
    int status = run_child(dir, t, spec);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    MUST(killed || status == 0, "%s: status %x", spec, (unsigned)status);
    after(dir, t);
    munmap(t, sizeof *t);
    pl_gone(dir);
    return killed;
}

static bool reachable(const char *point)
{
    /* a failed disk is probed in test_page_failure; files are made by the first child only */
    return strncmp(point, "page.", 5) == 0 && strcmp(point, "page.probe") != 0 &&
           strcmp(point, "page.segment.create") != 0;
}

static void killed_everywhere(void **state)
{
    static const unsigned hits[] = {1, 9};
    (void)state;
    unsigned points = 0;
    for (int p = 0; p < FAULT_COUNT; p++) {
        if (!reachable(fault_name((enum fault_point)p)))
            continue;
        points++;
        for (size_t h = 0; h < (pl_quick() ? 1 : sizeof hits / sizeof *hits); h++)
            if (!killed_at(fault_name((enum fault_point)p), hits[h]))
                MUST(hits[h] > 1, "%s is not reached %u times", fault_name((enum fault_point)p), hits[h]);
    }
    assert_true(points >= 19);
}

/* Killed while the very first files are made. */
static void killed_at_birth(void **state)
{
    (void)state;
    for (unsigned hit = 1; hit <= 3; hit++) {
        char *dir = pl_dir_fast(), spec[100];
        struct told *t = told_new();
        t->base = 1 << 20;
        snprintf(spec, sizeof spec, "page.segment.create:kill@%u", hit);
        assert_true(WIFSIGNALED(run_child(dir, t, spec)));
        after(dir, t);
        munmap(t, sizeof *t);
        pl_gone(dir);
    }
}

/* An error instead of a crash, once at every point: whatever fails says so, and nothing else breaks. */
static void error_everywhere(void **state)
{
    (void)state;
    static const char *const codes[] = {"IO", "NO_SPACE"};
    for (int p = 0; p < FAULT_COUNT; p++)
        for (size_t c = 0; c < 2; c++) {
            if (!reachable(fault_name((enum fault_point)p)))
                continue;
            char *dir = pl_dir_fast(), spec[100];
            struct told *t = told_new();
            t->base = 1 << 20;
            snprintf(spec, sizeof spec, "%s:error %s@3*2", fault_name((enum fault_point)p), codes[c]);
            int status = run_child(dir, t, spec);
            MUST(status == 0, "%s: status %x", spec, (unsigned)status);
            after(dir, t);
            munmap(t, sizeof *t);
            pl_gone(dir);
        }
}

/* ---- the disk by hand ---- */

struct raw {
    char path[600];
    int fd;
    uint32_t payload, area;
};

static void raw_open(struct raw *r, const char *dir, unsigned num)
{
    char text[200] = "";
    unsigned version, page;
    snprintf(r->path, sizeof r->path, "%s/label", dir);
    int fd = open(r->path, O_RDONLY);
    MUST(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    MUST(sscanf(text, "forebay-pages version=%u page=%u payload=%u", &version, &page, &r->payload) == 3);
    r->area = pg_area(r->payload);
    snprintf(r->path, sizeof r->path, "%s/segments/%08u", dir, num);
    r->fd = open(r->path, O_RDWR);
}

/* The record header at a block, if there is one. */
static bool raw_record(const struct raw *r, uint32_t pos, struct disk_head *ret)
{
    return pread(r->fd, ret, sizeof *ret, (off_t)r->area + (off_t)pos * PG_BLOCK) == sizeof *ret &&
           ret->magic == PG_REC_MAGIC;
}

static void child_writes_small(const char *dir, unsigned n)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct page_store *s = pl_open(dir, TINY);
        for (unsigned i = 1; i <= n; i++)
            OK(pl_write(s, i, 5000, PAGE_PINNED));
        kill(getpid(), SIGKILL);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

static void flip(const struct raw *r, off_t at)
{
    char c;
    MUST(pread(r->fd, &c, 1, at) == 1);
    c ^= 4;
    MUST(pwrite(r->fd, &c, 1, at) == 1);
}

/* A gap, a torn payload and a torn header in the middle of an unsealed segment: all others are found. */
static void torn_middle(void **state)
{
    (void)state;
    char *dir = pl_dir_fast();
    struct raw r;
    struct disk_head h;
    child_writes_small(dir, 20); /* two blocks each */
    raw_open(&r, dir, 0);
    char zeros[2 * PG_BLOCK] = "";
    for (uint32_t i = 0; i < 20; i++)
        assert_true(raw_record(&r, 2 * i, &h) && h.page.blob == i + 1);
    MUST(pwrite(r.fd, zeros, sizeof zeros, (off_t)r.area + 6 * PG_BLOCK) == sizeof zeros); /* blob 4 never arrived */
    flip(&r, (off_t)r.area + 10 * PG_BLOCK + 4500);                                        /* blob 6: its end is torn */
    flip(&r, (off_t)r.area + 14 * PG_BLOCK + 20);                                          /* blob 8: its header */
    close(r.fd);
    struct page_store *s = pl_open(dir, TINY);
    for (uint64_t b = 1; b <= 20; b++) {
        bool torn = b == 4 || b == 6 || b == 8;
        assert_int_equal(page_has(s, b, 0, 5000), !torn);
        if (!torn)
            pl_same(s, b, 5000);
    }
    pl_check(s);
    page_close(s);
    s = pl_open(dir, TINY); /* sealed now: its table says the same */
    assert_int_equal(pl_figures(s).pages, 17);
    page_close(s);
    pl_gone(dir);
}

static int count(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    bool *seen = arg;
    for (size_t i = 0; i < n; i++) {
        if (b[i].blob < 10000)
            seen[b[i].blob] = true;
        verdict[i] = PAGE_SKIP;
    }
    return 0;
}

/* Records of a former life lie beyond what the present life wrote: none of them is taken. */
static void former_life(void **state)
{
    (void)state;
    char *dir = pl_dir_fast();
    static bool seen[10000];
    pid_t pid = fork();
    if (pid == 0) {
        struct page_store *s = pl_open(dir, TINY);
        for (uint64_t i = 1; i <= 1510; i++) {
            OK(pl_write(s, i, 5000, PAGE_PINNED));
            page_drop(s, i, 5000);
        }
        kill(getpid(), SIGKILL);
    }
    int status;
    MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    unsigned stale = 0;
    struct page_store *s = pl_open(dir, TINY);
    OK(page_walk(s, false, 100, count, seen));
    for (unsigned num = 0; num < 30; num++) {
        struct raw r;
        struct disk_seg id;
        struct disk_head h;
        raw_open(&r, dir, num);
        if (r.fd < 0)
            continue;
        MUST(pread(r.fd, &id, sizeof id, 0) == sizeof id);
        for (uint32_t pos = 0; id.cls == 0 && pos < r.payload / PG_BLOCK; pos++)
            if (raw_record(&r, pos, &h) && h.life != id.life) {
                assert_true(h.life < id.life);
                assert_false(seen[h.page.blob]);
                stale++;
            }
        close(r.fd);
    }
    assert_true(stale > 10);
    pl_check(s);
    page_close(s);
    pl_gone(dir);
}

/* A record stored inside another record's bytes (a copy of a segment file, put as an object) is not taken for one, even
 * when the record around it is torn. */
static void record_in_record(void **state)
{
    (void)state;
    char *dir = pl_dir_fast();
    char whole[2 * PG_BLOCK];
    struct raw r;
    child_writes_small(dir, 20);
    raw_open(&r, dir, 0);
    /* blob 1, header and all, lies over blobs 10 and 11; its own place is torn */
    MUST(pread(r.fd, whole, sizeof whole, r.area) == sizeof whole);
    MUST(pwrite(r.fd, whole, sizeof whole, (off_t)r.area + 19 * PG_BLOCK) == sizeof whole);
    flip(&r, (off_t)r.area + 30);
    close(r.fd);
    struct page_store *s = pl_open(dir, TINY);
    assert_false(page_has(s, 1, 0, 1));
    assert_int_equal(pl_figures(s).pages, 17); /* without 1, 10 and 11 */
    pl_same(s, 9, 5000);
    pl_same(s, 12, 5000);
    pl_check(s);
    page_close(s);
    pl_gone(dir);
}

/* Both the source and the copy of a page are found when the death came between: one page, the right bytes. */
static void found_twice(void **state)
{
    (void)state;
    assert_true(killed_at("page.clean.move", 1));
    assert_true(killed_at("page.clean.move", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_twice),      cmocka_unit_test(torn_middle),       cmocka_unit_test(former_life),
        cmocka_unit_test(record_in_record), cmocka_unit_test(killed_everywhere), cmocka_unit_test(killed_at_birth),
        cmocka_unit_test(error_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
