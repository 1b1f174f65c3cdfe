/* SPDX-License-Identifier: Apache-2.0
 *
 * The histogram against the sorted values themselves.
 */
#include "cm.h"
#include "bench/hist.h"
#include <math.h>

static struct hist h, other;

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void clear(void)
{
    memset(&h, 0, sizeof h);
    memset(&other, 0, sizeof other);
}

static void empty_is_zero(void **state)
{
    (void)state;
    clear();
    assert_int_equal(hist_at(&h, 0.5), 0);
    assert_int_equal(h.max, 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    clear();
    for (uint64_t v = 0; v < 2 * HIST_FINE; v++)
        hist_add(&h, v);
    assert_int_equal(h.n, 2 * HIST_FINE);
    assert_int_equal(hist_at(&h, 0), 0);
    assert_int_equal(hist_at(&h, 0.5), HIST_FINE - 1);
    assert_int_equal(hist_at(&h, 1), 2 * HIST_FINE - 1);
}

static void one_value_is_every_percentile(void **state)
{
    (void)state;
    clear();
    hist_add(&h, 123456789);
    assert_int_equal(hist_at(&h, 0), 123456789);
    assert_int_equal(hist_at(&h, 0.999), 123456789);
}

/* Percentiles are never below the true value, and above it by at most a bucket's width. */
static void assert_near(uint64_t got, uint64_t want)
{
    if (got < want || (double)got > (double)want * (1 + 1.0 / HIST_FINE) + 1)
        fail_msg("percentile %llu for a value of %llu", (unsigned long long)got, (unsigned long long)want);
}

static void percentiles_are_near(void **state)
{
    (void)state;
    enum { N = 20000 };
    static uint64_t v[N];
    static const double share[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    clear();
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < N; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        v[i] = (x >> 22) >> (x % 40); /* of every magnitude */
        hist_add(i % 2 ? &h : &other, v[i]);
    }
    hist_merge(&h, &other);
    qsort(v, N, sizeof v[0], by_value);
    assert_int_equal(h.n, N);
    assert_int_equal(h.max, v[N - 1]);
    for (size_t i = 0; i < sizeof share / sizeof share[0]; i++)
        assert_near(hist_at(&h, share[i]), v[(size_t)ceil(share[i] * N) - 1]);
}

static void beyond_the_last_bucket_the_maximum_stands(void **state)
{
    (void)state;
    clear();
    hist_add(&h, 1);
    hist_add(&h, UINT64_MAX);
    hist_add(&h, (uint64_t)1 << 60);
    assert_int_equal(h.n, 3);
    assert_int_equal(hist_at(&h, 0.3), 1);
    assert_true(hist_at(&h, 0.99) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(one_value_is_every_percentile),
        cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(beyond_the_last_bucket_the_maximum_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
