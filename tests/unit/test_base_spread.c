/* SPDX-License-Identifier: Apache-2.0
 *
 * Histograms (base/spread.h): every value is counted once, in the place whose bound is the first not below it.
 */
#include "base/spread.h"
#include "cm.h"

static void each_value_has_its_place(void **state)
{
    struct spread s = {0};
    struct spread_figures f;
    (void)state;
    spread_add(&s, spread_bytes, 0);
    spread_add(&s, spread_bytes, 1024);
    spread_add(&s, spread_bytes, 1025);
    spread_add(&s, spread_bytes, UINT64_MAX / 2);
    spread_read(&s, &f);
    assert_int_equal(f.n[0], 2);
    assert_int_equal(f.n[1], 1);
    assert_int_equal(f.n[SPREAD_N - 1], 1);
    assert_int_equal(f.sum, 2049 + UINT64_MAX / 2);
}

static void bounds_rise_and_end_with_everything(void **state)
{
    (void)state;
    for (size_t i = 1; i < SPREAD_N; i++) {
        assert_true(spread_time_ns[i] > spread_time_ns[i - 1]);
        assert_true(spread_bytes[i] > spread_bytes[i - 1]);
    }
    assert_true(spread_time_ns[SPREAD_N - 1] == UINT64_MAX && spread_bytes[SPREAD_N - 1] == UINT64_MAX);
}

static void sums_add_up(void **state)
{
    struct spread s = {0};
    struct spread_figures a, b;
    (void)state;
    spread_add(&s, spread_time_ns, 60000);
    spread_read(&s, &a);
    b = a;
    spread_sum(&a, &b);
    assert_int_equal(a.n[1], 2);
    assert_int_equal(a.sum, 120000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_value_has_its_place),
                                       cmocka_unit_test(bounds_rise_and_end_with_everything),
                                       cmocka_unit_test(sums_add_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
