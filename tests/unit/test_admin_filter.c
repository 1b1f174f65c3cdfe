/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of paths: what fits, what is no filter, and that none costs much, whatever it is.
 */
#include "admin/filter.h"
#include "base/err.h"
#include "cm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static bool fits(const char *regex, const char *path)
{
    struct filter *f;
    assert_int_equal(filter_new(regex, &f), 0);
    bool yes = filter_fits(f, path);
    filter_free(f);
    return yes;
}

static void the_whole_path_must_fit(void **state)
{
    (void)state;
    assert_true(fits(".*[.]csv", "/a/b.csv"));
    assert_false(fits(".*[.]csv", "/a/b.csv.gz"));
    assert_false(fits("b[.]csv", "/a/b.csv"));
    assert_true(fits("/a/(b|c){2}", "/a/bc"));
    assert_true(fits("/[]a]+[^]b]", "/]ac"));
    assert_true(fits("/[[:digit:]]{3,}", "/1234"));
    assert_true(fits("/a\\{1\\}", "/a{1}"));
    assert_true(fits("/a)", "/a)"));
    assert_true(fits("", ""));
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"(",
                                      "[a",
                                      "a{2,1}",
                                      "(a{1,255}){1,255}",
                                      "((((a{1,9}){1,9}){1,9}){1,9}){1,9}",
                                      "a{99}{99}",
                                      "a{5000}",
                                      "(a{1000}|b{1000}|c{1000}|d{1000}|e{1000}|f)",
                                      "a{99999999999999999999}",
                                      "((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+",
                                      "(a*)\\1",
                                      "[]{1}](b{1,255}){1,255}"};
    struct filter *f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (filter_new(bad[i], &f) != ERR_INVALID)
            fail_msg("%s is a filter", bad[i]);
    char *longest = malloc(FILTER_BYTES + 2);
    memset(longest, 'a', FILTER_BYTES + 1);
    longest[FILTER_BYTES + 1] = 0;
    assert_int_equal(filter_new(longest, &f), ERR_INVALID);
    memset(longest, '(', FILTER_BYTES);
    longest[FILTER_BYTES] = 0;
    assert_int_equal(filter_new(longest, &f), ERR_INVALID);
    longest[0] = 'a';
    memset(longest, 'a', FILTER_BYTES);
    assert_int_equal(filter_new(longest, &f), 0);
    filter_free(f);
    free(longest);
}

/* Each byte of each path brings this one into a state that it was never in before. */
static void states_are_forgotten(void **state)
{
    (void)state;
    struct rusage before, after;
    struct filter *f;
    char path[1001];
    unsigned x = 1;
    assert_int_equal(filter_new(".*a.{200}", &f), 0);
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < sizeof path - 1; k++) {
            x = x * 1664525 + 1013904223;
            path[k] = x >> 31 ? 'a' : 'b';
        }
        path[sizeof path - 1] = 0;
        filter_fits(f, path);
    }
    getrusage(RUSAGE_SELF, &after);
    filter_free(f);
    /* Without it 730 MB; sanitizers keep what was freed for a while. */
    const char *slow = getenv("FOREBAY_SLOW");
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, (slow && atoi(slow) > 1 ? 700 : 200) << 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_path_must_fit),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(states_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
