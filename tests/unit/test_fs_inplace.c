/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that are changed in place, where something goes wrong: publishes that fail, pages that are lost, jobs that come
 * between; and that what they leave behind stays bounded.
 */
#include "px_rig.h"
#include "fs/px_in.h"
#include "persist/persist_in.h"
#include <pthread.h>

/* What was closed is durable, and what nothing names any more is dropped. */
static void settle(void)
{
    OK(px_settle(px->e));
}

static struct fs_attr attr_of(const char *path)
{
    struct fs_attr a;
    OK(fs_stat(fs, fs_path(str_of(path)), 0, &a, NULL, NULL));
    return a;
}

struct extents {
    struct extent e[64];
    size_t n;
};

static int note_extent(void *arg, const struct extent *e)
{
    struct extents *x = arg;
    assert_true(x->n < 64);
    x->e[x->n++] = *e;
    return 0;
}

static struct extents extents_at(const char *path)
{
    struct extents x = {.n = 0};
    OK(meta_blobs(m, attr_of(path).content, false, note_extent, &x));
    return x;
}

/* One upload; the next is not claimed. */
static void *send_one(void *arg)
{
    (void)arg;
    FAILS(persist_drain(persist), ERR_IO);
    return NULL;
}

static void wait_visit(enum fault_point p, uint64_t more_than)
{
    while (fault_visits(p) <= more_than)
        clock_sleep_ms(1);
}

/* ---- publishes that fail ---- */

/* The blob that the published content names was written over in memory only. */
static void last_close_after_failure(void **state)
{
    (void)state;
    put(dir, "f", "published");
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fault_arm("meta.change.before:error IO*0"));
    OK(fs_px_write(h, 0, "forgotten", 9, false));
    FAILS(fs_px_flush(h), ERR_IO);
    FAILS(fs_px_release(h), ERR_IO);
    OK(fault_arm(NULL));
    settle();
    fsck();
    holds(dir, "f", "published");
    persist_all();
    ufs_holds("f", "published");
}

/* A list too long for one transaction is written ahead; that of the next try is another one. */
static void next_try_has_other_rows(void **state)
{
    (void)state;
    enum { APART = 8192, RANGES = 10000 };
    char *want = calloc(RANGES, APART);
    struct fs_px_handle *h = make(dir, "f", O_RDWR);
    for (size_t i = 0; i < RANGES; i++)
        OK(fs_px_write(h, i * APART, memset(want + i * APART, 'x', 1), 1, false));
    OK(fault_arm("meta.change.before:error IO*0"));
    FAILS(fs_px_flush(h), ERR_IO);
    OK(fault_arm(NULL));
    for (size_t i = 0; i < RANGES; i += 3) {
        size_t at = i * APART + APART / 2;
        OK(fs_px_write(h, at, memset(want + at, 'y', 1), 1, false));
    }
    OK(fs_px_flush(h));
    OK(fs_px_release(h));
    settle();
    restart();
    fsck();
    has_bytes("f", want, (RANGES - 1) * APART + APART / 2 + 1);
    free(want);
}

/* ---- compaction ends ---- */

static void left_alone(struct fs_px_handle *h)
{
    struct fs_px_figures f = {.files = 1};
    OK(fs_px_release(h));
    for (int i = 0; i < 2000 && f.files; i++) { /* it is kept open until it needs no more */
        clock_sleep_ms(10);
        fs_px_figures(fs, &f);
    }
    assert_int_equal(f.files, 0);
}

/* A list that begins with what one rewriting takes, and has many short extents behind that. */
static void compaction_ends(void **state)
{
    (void)state;
    enum { LONG = 4 << 20, TAIL = 1 << 20 };
    char *p = pattern(LONG + TAIL, 1);
    for (int hole = 0; hole < 2; hole++) {
        struct fs_px_handle *h = make(dir, hole ? "hole" : "long", O_RDWR);
        if (!hole)
            OK(fs_px_write(h, 0, p, LONG, false));
        else
            memset(p, 0, LONG);
        OK(fs_px_write(h, LONG, p + LONG, TAIL, false));
        OK(fs_px_fsync(h, false));
        for (uint64_t at = LONG + 1; at + 1 < LONG + TAIL; at += TAIL / 60) {
            p[at] ^= 1;
            OK(fs_px_write(h, at, p + at, 1, false));
        }
        OK(fs_px_flush(h));
        left_alone(h);
        has_bytes(hole ? "hole" : "long", p, LONG + TAIL);
    }
    free(p);
}

/* ---- pages that are lost ---- */

/* Bytes that were written over a content that is read by somebody else have that content's number, and its object has
 * other bytes in their place. */
static void lost_is_not_old(void **state)
{
    (void)state;
    struct fs_file *reader;
    char got[16];
    size_t n;
    put(dir, "f", "old old old");
    persist_all();
    OK(fs_open(fs, fs_path(STR("/b/f")), 0, &reader));
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fs_px_write(h, 4, "new", 3, false));
    OK(fs_px_fsync(h, false));
    OK(fs_px_release(h));
    struct extents x = extents_at("/b/f");
    assert_int_equal(x.n, 3);
    assert_int_equal(x.e[1].origin, fs_file_attr(reader)->content);
    page_drop(pages, x.e[1].blob, x.e[1].len);
    for (int i = 0; i < 2; i++) {
        h = open_it(dir, "f", O_RDONLY);
        FAILS(fs_px_read(h, 0, got, sizeof got, &n), ERR_CORRUPT);
        OK(fs_px_release(h));
        OK(persist_drain(persist)); /* would keep what it needs of the object that is overwritten */
    }
    ufs_holds("f", "old old old");
    fs_close(reader);
    OK(fs_px_unlink(px, dir, STR("f")));
    persist_all();
}

static void change_during_upload(void)
{
    pthread_t t;
    OK(fault_arm("meta.confirm.before:error IO*0, meta.mark.before:sleep 2000, "
                 "meta.persist.claim:error IO@2*0"));
    uint64_t visits = fault_visits(FAULT_META_MARK_BEFORE);
    struct fs_px_handle *h = make(dir, "f", O_RDWR);
    OK(fs_px_write(h, 0, "old old old", 11, false));
    OK(fs_px_flush(h));
    assert_int_equal(pthread_create(&t, NULL, send_one, NULL), 0);
    wait_visit(FAULT_META_MARK_BEFORE, visits);
    OK(fs_px_write(h, 4, "new", 3, false));
    OK(fs_px_flush(h));
    OK(fs_px_release(h));
    pthread_join(t, NULL); /* what was sent is the object of a dead content now */
    struct extents x = extents_at("/b/f");
    assert_int_equal(x.n, 3);
    struct page_range r;
    OK(page_hold(pages, x.e[1].blob, 0, 3, &r));
    assert_int_equal(pwrite(r.fd, "???", 3, r.off), 3);
    page_release(pages, &r);
    OK(meta_sync(m));
}

/* The pages of a lazy publish never reached the disk; the object of the content before has other bytes there. */
static void power_lost_after_upload(void **state)
{
    (void)state;
    in_child(change_during_upload);
    holds(dir, "f", "old old old");
    persist_all();
    ufs_holds("f", "old old old");
}

/* ---- what is borrowed from whom ---- */

enum { SOURCE = 300000 };

/* A copy that was persisted is changed: its bytes lie in its own old object from then on, not in the source's. */
static void changed_copy_outlives_source(void **state)
{
    (void)state;
    char *p = pattern(SOURCE, 2);
    put_bytes("source", p, SOURCE);
    persist_all();
    share_all("source", "copy", SOURCE);
    persist_all();
    put(dir, "source", "something else");
    persist_all(); /* its old object is gone, the copy has one of its own */
    struct fs_px_handle *h = open_it(dir, "copy", O_RDWR);
    OK(fs_px_write(h, 0, "new", 3, false));
    OK(fs_px_fsync(h, false));
    memcpy(p, "new", 3);
    persist->orphan_ms = 0;
    OK(run_orphan_scan(persist)); /* pages of the dead source may go: what needs them finds their bytes in the copy's */
    free_all();
    same_bytes(h, p, SOURCE);
    OK(fs_px_release(h));
    free(p);
}

/* ---- jobs that come between ---- */

static void *scan(void *arg)
{
    (void)arg;
    OK(run_orphan_scan(persist));
    return NULL;
}

/* The mark of an upload was the last that happened, its pages are pinned still; the scan finds them while a program
 * changes the file. */
static void changed_during_scan(void **state)
{
    (void)state;
    pthread_t t;
    uint64_t visits = fault_visits(FAULT_PERSIST_SCAN_JUDGED);
    put(dir, "f", "bytes of a file");
    OK(fault_arm("meta.mark.after:error IO, persist.scan.judged:sleep 2000"));
    persist_drain(persist);
    assert_true(pinned() > 0);
    ufs_holds("f", "bytes of a file");
    persist->orphan_ms = 0;
    assert_int_equal(pthread_create(&t, NULL, scan, NULL), 0);
    wait_visit(FAULT_PERSIST_SCAN_JUDGED, visits);
    struct fs_px_handle *h = open_it(dir, "f", O_RDWR);
    OK(fs_px_write(h, 0, "BYTES", 5, false));
    OK(fs_px_fsync(h, false));
    pthread_join(t, NULL);
    OK(fault_arm(NULL));
    free_all();
    assert_string_equal(handle_text(h), "BYTES of a file");
    OK(fs_px_release(h));
    persist_all();
    ufs_holds("f", "BYTES of a file");
}

/* ---- watchers ---- */

static void count_it(void *arg, uint64_t parent, struct str name, uint64_t ino)
{
    (void)parent;
    (void)name;
    (void)ino;
    ++*(unsigned *)arg;
}

static void many_watchers(void **state)
{
    (void)state;
    enum { MOST = 512 };
    static unsigned times[MOST];
    size_t n = 0;
    int r;
    while ((r = meta_watch(m, count_it, &times[n])) == 0) /* the rig's mount watches, too, twice */
        assert_true(++n < MOST);
    FAILS(r, ERR_LIMIT);
    assert_true(n > 400);
    memset(times, 0, sizeof times);
    s3_put("/b/f", "1");
    for (size_t i = 0; i < n; i++)
        assert_true(times[i] > 0);
    for (size_t i = 0; i < n; i++)
        meta_unwatch(m, &times[i]);
    struct fs_px_options o = {.uid = 0};
    struct fs_px *other;
    OK(fs_px_new(fs, &o, &other));
    fs_px_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(last_close_after_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(next_try_has_other_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(compaction_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_is_not_old, setup, teardown),
        cmocka_unit_test_setup_teardown(power_lost_after_upload, setup, teardown),
        cmocka_unit_test_setup_teardown(changed_copy_outlives_source, setup, teardown),
        cmocka_unit_test_setup_teardown(changed_during_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(many_watchers, setup, teardown),
    };
    if (getenv("ONLY"))
        cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
