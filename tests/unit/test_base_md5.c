/* SPDX-License-Identifier: Apache-2.0
 * MD5 of several streams at a time, against the library's of one. */
#include "cm.h"
#include "base/hash.h"
#include "base/md5.h"
#include "base/md5_lanes.h"
#include "base/thread.h"

enum { MAX = 5 * MD5_PIECE };
static unsigned char text[MAX + 64];

static int make_text(void **state)
{
    (void)state;
    uint32_t x = 12345;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24);
    return 0;
}

static void by_library(const void *p, size_t n, unsigned char out[32])
{
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, p, n);
    digest_end(d, out);
}

/* Put bytes in, at most `step` at a time. */
static void add(struct md5 *m, const unsigned char *p, size_t n, size_t step)
{
    while (n) {
        size_t room;
        unsigned char *to = md5_room(m, &room);
        size_t take = step < room ? step : room;
        take = take < n ? take : n;
        memcpy(to, p, take);
        md5_filled(m, take);
        p += take;
        n -= take;
    }
}

static void assert_md5(struct md5 *m, const unsigned char *p, size_t n)
{
    unsigned char want[32], got[16];
    by_library(p, n, want);
    md5_end(m, got);
    assert_memory_equal(got, want, 16);
    assert_null(md5_free(m));
}

static void lengths(void **state)
{
    (void)state;
    static const size_t n[] = {0,
                               1,
                               8,
                               55,
                               56,
                               57,
                               63,
                               64,
                               65,
                               119,
                               120,
                               128,
                               1000,
                               MD5_PIECE - 1,
                               MD5_PIECE,
                               MD5_PIECE + 1,
                               MD5_PIECE + 56,
                               3 * MD5_PIECE,
                               4 * MD5_PIECE,
                               MAX - 3};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        for (size_t off = 0; off < 3; off++) {
            struct md5 *m = md5_new();
            add(m, text + off, n[i], off ? 100000 : MD5_PIECE);
            assert_md5(m, text + off, n[i]);
        }
}

/* Every kind of arithmetic this machine has, on 1 to 8 streams in different states and alignments. */
static void kinds_agree(void **state)
{
    (void)state;
    const char *name;
    md5_lanes_fn *f;
    for (size_t k = 0; (f = md5_lanes_kind(k, &name)); k++)
        for (size_t n = 1; n <= MD5_LANES; n++)
            for (size_t blocks = 0; blocks < 6; blocks++) {
                uint32_t a[MD5_LANES + 1][4], b[MD5_LANES + 1][4];
                struct md5_lane la[MD5_LANES], lb[MD5_LANES];
                for (size_t i = 0; i <= MD5_LANES; i++)
                    for (size_t j = 0; j < 4; j++)
                        a[i][j] = b[i][j] = (uint32_t)(i * 2654435761u + j * 40503u + blocks);
                for (size_t i = 0; i < n; i++) {
                    la[i] = (struct md5_lane){a[i], text + i * 777};
                    lb[i] = (struct md5_lane){b[i], text + i * 777};
                }
                f(la, n, blocks);
                md5_lanes_plain(lb, n, blocks);
                if (memcmp(a, b, sizeof a))
                    fail_msg("%s differs: %zu streams, %zu blocks", name, n, blocks);
            }
}

/* More streams than lanes and more pieces than the budget, all from one thread: nobody waits for a piece for ever. */
static void many_from_one_thread(void **state)
{
    (void)state;
    enum { STREAMS = MD5_BUDGET + 20 };
    struct md5 *m[STREAMS];
    size_t at[STREAMS] = {0};
    for (size_t i = 0; i < STREAMS; i++)
        m[i] = md5_new();
    for (unsigned round = 0; round < 9; round++)
        for (size_t i = 0; i < STREAMS; i++) {
            size_t n = (i * 7919 + round * 104729) % (MD5_PIECE + MD5_PIECE / 2);
            n = at[i] + n > MAX ? MAX - at[i] : n;
            add(m[i], text + at[i], n, MD5_PIECE);
            at[i] += n;
        }
    for (size_t i = 0; i < STREAMS; i++)
        if (i % 5 == 3)
            assert_null(md5_free(m[i])); /* given up with work queued */
    for (size_t i = 0; i < STREAMS; i++)
        if (i % 5 != 3)
            assert_md5(m[i], text, at[i]);
    assert_null(md5_free(NULL));
}

static void *one_thread(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int round = 0; round < 12; round++) {
        size_t n = (size_t)rand_r(&seed) % MAX, off = (size_t)rand_r(&seed) % 64;
        struct md5 *m = md5_new();
        add(m, text + off, n, 1 + (size_t)rand_r(&seed) % (2 * MD5_PIECE));
        unsigned char want[32], got[16];
        if (round % 4 == 2) {
            md5_free(m);
            continue;
        }
        by_library(text + off, n, want);
        md5_end(m, got);
        md5_free(m);
        if (memcmp(got, want, 16))
            return (void *)1;
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    enum { THREADS = 12 };
    pthread_t t[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(thread_start(&t[i], "md5", one_thread, (void *)(i + 1)), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(t[i], &wrong);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths),
        cmocka_unit_test(kinds_agree),
        cmocka_unit_test(many_from_one_thread),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, make_text, NULL);
}
