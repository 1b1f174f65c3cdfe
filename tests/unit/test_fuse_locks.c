/* SPDX-License-Identifier: Apache-2.0
 * The table of locks: ranges, conflicts, who waits for whom; and its copy in a book. */
#include "base/err.h"
#include "base/mem.h"
#include "cm.h"
#include "fuse/lock_table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INO = 7 };
static const uint64_t END = INT64_MAX;
static struct lock_holder here, there; /* two mounts */
static struct lock_table *t;

static int setup(void **state)
{
    (void)state;
    here = there = (struct lock_holder){0};
    t = lock_table_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    t = lock_table_free(t);
    return 0;
}

static struct lock_claim claim(uint64_t owner, int type, uint64_t start, uint64_t end)
{
    return (struct lock_claim){.holder = &here,
                               .ino = INO,
                               .owner = owner,
                               .fh = owner * 100,
                               .start = start,
                               .end = end,
                               .type = type,
                               .pid = (uint32_t)owner};
}

static int set(uint64_t owner, int type, uint64_t start, uint64_t end)
{
    struct lock_claim c = claim(owner, type, start, end);
    return lock_table_set(t, &c);
}

static int by_start(const void *a, const void *b)
{
    const struct lock_record *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->owner < y->owner ? -1 : x->owner > y->owner;
}

/* "1r0-9 2w10-19": owner, type, range, by start and owner. */
static void check(const char *want)
{
    uint32_t n;
    struct lock_record *v = lock_table_records(t, &here, &n);
    char got[1000] = "";
    qsort(v, n, sizeof *v, by_start);
    for (uint32_t i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%" PRIu64 "%c%" PRIu64 "-%" PRIu64, i ? " " : "",
                 v[i].owner, v[i].type == F_WRLCK ? 'w' : 'r', v[i].start, v[i].end);
    free(v);
    assert_string_equal(got, want);
    assert_int_equal(here.locks, n);
}

static void test_ranges(void **state)
{
    (void)state;
    assert_int_equal(set(1, F_RDLCK, 0, 9), 0);
    assert_int_equal(set(1, F_RDLCK, 20, 29), 0);
    check("1r0-9 1r20-29");
    assert_int_equal(set(1, F_RDLCK, 10, 19), 0); /* touches both */
    check("1r0-29");
    assert_int_equal(set(1, F_WRLCK, 10, 14), 0); /* upgrade of a part */
    check("1r0-9 1w10-14 1r15-29");
    assert_int_equal(set(1, F_RDLCK, 12, 12), 0); /* downgrade of a part */
    check("1r0-9 1w10-11 1r12-12 1w13-14 1r15-29");
    assert_int_equal(set(1, F_UNLCK, 5, 13), 0);
    check("1r0-4 1w14-14 1r15-29");
    assert_int_equal(set(1, F_UNLCK, 20, 22), 0);
    check("1r0-4 1w14-14 1r15-19 1r23-29");
    assert_int_equal(set(1, F_WRLCK, 0, END), 0);
    check("1w0-9223372036854775807");
    assert_int_equal(set(1, F_UNLCK, 0, 0), 0);
    assert_int_equal(set(1, F_UNLCK, END, END), 0);
    check("1w1-9223372036854775806");
    assert_int_equal(set(1, F_UNLCK, 0, END), 0);
    check("");
    assert_int_equal(set(1, F_UNLCK, 0, END), 0);
}

static void test_conflicts(void **state)
{
    (void)state;
    assert_int_equal(set(1, F_RDLCK, 10, 19), 0);
    assert_int_equal(set(2, F_RDLCK, 15, 24), 0);
    check("1r10-19 2r15-24");
    assert_int_equal(set(1, F_WRLCK, 10, 19), ERR_LOCKED); /* what it had stays */
    check("1r10-19 2r15-24");
    assert_int_equal(set(1, F_WRLCK, 10, 14), 0);
    struct lock_claim c = claim(3, F_RDLCK, 0, 12);
    const struct lock_claim *by = lock_table_conflict(t, &c);
    assert_non_null(by);
    assert_true(by->owner == 1 && by->start == 10 && by->end == 14 && by->type == F_WRLCK && by->pid == 1);
    c = claim(3, F_WRLCK, 0, END);
    assert_int_equal(lock_table_conflict(t, &c)->start, 10);
    c = claim(3, F_RDLCK, 15, 100);
    assert_null(lock_table_conflict(t, &c));
    c = claim(1, F_RDLCK, 0, 12); /* the same number, but of another mount */
    c.holder = &there;
    assert_int_equal(lock_table_set(t, &c), ERR_LOCKED);
    c.ino++;
    assert_int_equal(lock_table_set(t, &c), 0);
    c = claim(3, F_WRLCK, 0, END); /* the kinds do not see each other */
    c.kind = LOCK_FLOCK;
    assert_int_equal(lock_table_set(t, &c), 0);
}

static void test_flock_changes_type(void **state)
{
    (void)state;
    struct lock_claim a = claim(1, F_RDLCK, 0, END), b = claim(2, F_RDLCK, 0, END);
    a.kind = b.kind = LOCK_FLOCK;
    assert_int_equal(lock_table_set(t, &a), 0);
    assert_int_equal(lock_table_set(t, &b), 0);
    a.type = F_WRLCK;
    assert_int_equal(lock_table_set(t, &a), ERR_LOCKED);
    check("2r0-9223372036854775807"); /* as flock(2) says: the old one is lost */
    b.type = F_WRLCK;
    assert_int_equal(lock_table_set(t, &b), 0);
    check("2w0-9223372036854775807");
}

static void test_closed_and_released(void **state)
{
    (void)state;
    struct lock_claim f = claim(1, F_WRLCK, 0, END);
    f.kind = LOCK_FLOCK;
    assert_int_equal(lock_table_set(t, &f), 0);
    assert_int_equal(set(1, F_RDLCK, 0, 9), 0);
    assert_int_equal(set(2, F_RDLCK, 0, 9), 0);
    lock_table_closed(t, &here, INO, 1); /* record locks only, of that owner only */
    check("1w0-9223372036854775807 2r0-9");
    lock_table_released(t, &here, INO, 100);
    check("2r0-9");
    lock_table_closed(t, &there, INO, 2);
    lock_table_closed(t, &here, INO + 1, 2);
    check("2r0-9");
    lock_table_drop(t, &here);
    check("");
}

static struct lock_waiter *waiter(struct lock_waiter *w, struct lock_claim c, uint64_t unique)
{
    *w = (struct lock_waiter){.claim = c, .unique = unique, .result = -12345};
    return w;
}

static void test_waiting(void **state)
{
    (void)state;
    struct lock_waiter a, b, c;
    assert_int_equal(set(1, F_WRLCK, 0, 99), 0);
    assert_int_equal(lock_table_wait(t, waiter(&a, claim(2, F_RDLCK, 0, 9), 2)), 0);
    assert_int_equal(lock_table_wait(t, waiter(&b, claim(3, F_RDLCK, 5, 9), 3)), 0);
    assert_int_equal(lock_table_wait(t, waiter(&c, claim(4, F_WRLCK, 0, 50), 4)), 0);
    assert_null(lock_table_granted(t));
    assert_int_equal(set(1, F_RDLCK, 0, 99), 0); /* a downgrade lets the readers in */
    struct lock_waiter *w = lock_table_granted(t);
    assert_true(w == &a && a.next == &b && !b.next && a.result == 0 && b.result == 0);
    assert_null(lock_table_granted(t));
    check("1r0-99 2r0-9 3r5-9");
    assert_null(lock_table_wait_no_more(t, &there, 4));
    assert_null(lock_table_wait_no_more(t, &here, 3));
    lock_table_closed(t, &here, INO, 1);
    lock_table_closed(t, &here, INO, 2);
    assert_null(lock_table_granted(t));
    lock_table_released(t, &here, INO, 300);
    assert_ptr_equal(lock_table_granted(t), &c);
    assert_int_equal(lock_table_wait(t, waiter(&a, claim(5, F_RDLCK, 0, 9), 5)), 0);
    assert_ptr_equal(lock_table_wait_no_more(t, &here, 5), &a);
    lock_table_drop(t, &here);
    assert_null(lock_table_granted(t));
    check("");
}

static void test_deadlock(void **state)
{
    (void)state;
    struct lock_waiter a, b, c, d;
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(set(i, F_WRLCK, i * 10, i * 10), 0);
    assert_int_equal(lock_table_wait(t, waiter(&a, claim(1, F_WRLCK, 20, 20), 1)), 0);
    assert_int_equal(lock_table_wait(t, waiter(&b, claim(2, F_WRLCK, 30, 30), 2)), 0);
    assert_int_equal(lock_table_wait(t, waiter(&c, claim(3, F_WRLCK, 10, 10), 3)), ERR_DEADLOCK); /* 3 -> 1 -> 2 -> 3 */
    assert_int_equal(lock_table_wait(t, waiter(&c, claim(3, F_WRLCK, 0, 25), 3)), ERR_DEADLOCK);
    assert_int_equal(lock_table_wait(t, waiter(&d, claim(4, F_WRLCK, 0, 25), 4)), 0); /* waits, but nobody for it */
    lock_table_closed(t, &here, INO, 3);
    assert_ptr_equal(lock_table_granted(t), &b);
    lock_table_closed(t, &here, INO, 2);
    assert_ptr_equal(lock_table_granted(t), &a);
    lock_table_closed(t, &here, INO, 1);
    assert_ptr_equal(lock_table_granted(t), &d);
}

/* Open files are not processes: two that wait for each other may be let go by a third thread. */
static void test_no_deadlock_of_flocks(void **state)
{
    (void)state;
    struct lock_waiter w;
    struct lock_claim a = claim(1, F_WRLCK, 0, END), b = claim(2, F_WRLCK, 0, END);
    a.kind = b.kind = LOCK_FLOCK;
    b.ino++;
    assert_int_equal(lock_table_set(t, &a), 0);
    assert_int_equal(lock_table_set(t, &b), 0);
    struct lock_waiter v;
    a.ino++;
    b.ino--;
    assert_int_equal(lock_table_wait(t, waiter(&v, a, 1)), 0);
    assert_int_equal(lock_table_wait(t, waiter(&w, b, 2)), 0);
    assert_ptr_equal(lock_table_wait_no_more(t, &here, 0), &v);
    assert_ptr_equal(lock_table_wait_no_more(t, &here, 0), &w);
    assert_null(lock_table_wait_no_more(t, &here, 0));
}

static void test_limits(void **state)
{
    (void)state;
    struct lock_waiter w;
    for (uint64_t i = 0; i < LOCKS_MAX; i++) {
        struct lock_claim c = claim(1, F_RDLCK, i % 16 * 20, i % 16 * 20 + 8);
        c.ino = i / 16;
        assert_int_equal(lock_table_set(t, &c), 0);
    }
    assert_int_equal(here.locks, LOCKS_MAX);
    assert_int_equal(set(2, F_RDLCK, 1000, 1000), ERR_NO_LOCKS);
    assert_int_equal(set(1, F_UNLCK, 4, 4), ERR_NO_LOCKS); /* would make two of one */
    assert_int_equal(lock_table_wait(t, waiter(&w, claim(2, F_WRLCK, 0, 0), 1)), 0);
    assert_int_equal(set(1, F_UNLCK, 0, 8), 0);
    assert_ptr_equal(lock_table_granted(t), &w);
    assert_int_equal(w.result, 0);
    lock_table_drop(t, &here);
    assert_int_equal(here.locks, 0);
}

static void test_wrote(void **state)
{
    (void)state;
    lock_table_wrote(t, &here, INO); /* without a lock: nobody is owed anything */
    assert_int_equal(set(1, F_WRLCK, 0, 9), 0);
    assert_false(lock_table_take_wrote(t, &here, INO));
    lock_table_wrote(t, &there, INO);
    assert_false(lock_table_take_wrote(t, &here, INO));
    lock_table_wrote(t, &here, INO);
    assert_int_equal(set(1, F_WRLCK, 10, 19), 0); /* merged: still known */
    assert_true(lock_table_take_wrote(t, &here, INO));
    assert_false(lock_table_take_wrote(t, &here, INO));
}

/* What a process that dies leaves in the book is what it had. */
static void test_book(void **state)
{
    (void)state;
    int fd = lock_book_create(), again = dup(fd);
    assert_true(fd >= 0);
    assert_int_equal(lock_book_open(fd, &here.book), 0);
    assert_int_equal(set(1, F_WRLCK, 0, 99), 0);
    assert_int_equal(set(1, F_UNLCK, 10, 19), 0);
    assert_int_equal(set(1, F_RDLCK, 50, 59), 0);
    assert_int_equal(set(2, F_RDLCK, 10, 12), 0);
    assert_int_equal(set(2, F_UNLCK, 0, END), 0);
    struct lock_book *b;
    uint32_t n, m;
    assert_int_equal(lock_book_open(again, &b), 0);
    struct lock_record *v = lock_book_records(b, &n), *w = lock_table_records(t, &here, &m);
    assert_int_equal(n, 4);
    assert_int_equal(m, 4);
    qsort(v, n, sizeof *v, by_start);
    qsort(w, m, sizeof *w, by_start);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(v[i].used, 1);
        v[i].used = w[i].used = 0;
        assert_memory_equal(&v[i], &w[i], sizeof v[i]);
    }
    free(v);
    free(w);
    lock_book_clear(b);
    v = lock_book_records(b, &n);
    assert_int_equal(n, 0);
    free(v);
    lock_book_close(b);
    here.book = lock_book_close(here.book);
    assert_int_equal(lock_book_open(open("/dev/null", O_RDWR), &b), ERR_INVALID);
}

/* Random changes beside an array with a cell per byte. */
static void test_model(void **state)
{
    (void)state;
    enum { OWNERS = 3, BYTES = 24, STEPS = 200000 };
    int cell[OWNERS][BYTES];
    uint64_t seed = 88172645463325252ull;
    memset(cell, -1, sizeof cell);
    for (int i = 0; i < STEPS; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        unsigned o = seed % OWNERS, a = seed / 8 % BYTES, b = seed / 512 % BYTES;
        int type = (int[]){F_RDLCK, F_WRLCK, F_UNLCK}[seed / 65536 % 3];
        if (a > b)
            continue;
        bool clash = false;
        for (unsigned p = 0; p < OWNERS; p++)
            for (unsigned x = a; x <= b && p != o && type != F_UNLCK; x++)
                clash |= cell[p][x] == F_WRLCK || (cell[p][x] == F_RDLCK && type == F_WRLCK);
        assert_int_equal(set(o, type, a, b), clash ? ERR_LOCKED : 0);
        for (unsigned x = a; x <= b && !clash; x++)
            cell[o][x] = type == F_UNLCK ? -1 : type;
        uint32_t n, runs = 0;
        struct lock_record *v = lock_table_records(t, &here, &n);
        for (unsigned p = 0; p < OWNERS; p++)
            for (unsigned x = 0; x < BYTES; x++)
                runs += cell[p][x] != -1 && (x == 0 || cell[p][x - 1] != cell[p][x]);
        assert_int_equal(n, runs);
        for (uint32_t k = 0; k < n; k++)
            for (uint64_t x = v[k].start; x <= v[k].end; x++)
                assert_int_equal(cell[v[k].owner][x], v[k].type);
        free(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flock_changes_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_and_released, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadlock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_deadlock_of_flocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_book, setup, teardown),
        cmocka_unit_test_setup_teardown(test_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
