/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/err.h"
#include "base/str.h"
#include "base/trace.h"
#include "death.h"
#include <pthread.h>

static void rows_are_reached_by_code(void **state)
{
    (void)state;
    assert_string_equal(err_info(ERR_NOT_FOUND)->name, "NOT_FOUND");
    assert_string_equal(err_info(ERR_NOT_FOUND)->s3_code, "NoSuchKey");
    assert_int_equal(err_info(ERR_NO_SPACE)->eno, ENOSPC);
    assert_int_equal(err_info(ERR_NO_SPACE)->http, 507);
    assert_int_equal(err_info(ERR_UNKNOWN_OUTCOME)->retry, ERR_RETRY_MAYBE);
    for (int i = 0; i < ERR_IX_COUNT; i++)
        assert_true(*err_info(-1 - i)->text);
}

static void other_values_are_bugs(void **state)
{
    (void)state;
    assert_ptr_equal(err_info(0), err_info(ERR_BUG));
    assert_ptr_equal(err_info(17), err_info(ERR_BUG));
    assert_ptr_equal(err_info(-1 - ERR_IX_COUNT), err_info(ERR_BUG));
    assert_ptr_equal(err_info(INT32_MIN), err_info(ERR_BUG));
}

static void detail_belongs_to_its_code(void **state)
{
    (void)state;
    errno = ENOTTY;
    assert_int_equal(err_set(ERR_IO, "disk %d", 7), ERR_IO);
    assert_int_equal(errno, ENOTTY);
    assert_string_equal(err_detail(ERR_IO), "disk 7");
    assert_string_equal(err_detail(ERR_BUSY), "in use");
    err_clear();
    assert_string_equal(err_detail(ERR_IO), "input/output error");
}

static void prefix_goes_before_what_is_remembered(void **state)
{
    (void)state;
    err_set(ERR_IO, "disk %d", 7);
    assert_int_equal(err_prefix(ERR_IO, "while reading %s: ", "x"), ERR_IO);
    assert_string_equal(err_detail(ERR_IO), "while reading x: disk 7");
    err_prefix(ERR_BUSY, "mount: ");
    assert_string_equal(err_detail(ERR_BUSY), "mount: in use");
    err_set(ERR_BUSY, "again: %s", err_detail(ERR_BUSY)); /* its own argument */
    assert_string_equal(err_detail(ERR_BUSY), "again: mount: in use");
}

static void long_details_are_cut(void **state)
{
    (void)state;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    err_set(ERR_IO, "%s", big);
    assert_int_equal(strlen(err_detail(ERR_IO)), 511);
    err_prefix(ERR_IO, "%s", big);
    assert_int_equal(strlen(err_detail(ERR_IO)), 511);
}

static void details_are_text(void **state)
{
    (void)state;
    char big[2000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(big, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof big; i += 3)
            memcpy(big + i, "\xe2\x82\xac", 4);
        err_set(ERR_IO, "%s", big);
        assert_true(str_utf8(str_of(err_detail(ERR_IO))));
        assert_in_range(strlen(err_detail(ERR_IO)), 509, 511);
        err_prefix(ERR_IO, "%.100s", big);
        assert_true(str_utf8(str_of(err_detail(ERR_IO))));
    }
    err_set(ERR_IO, "the store said \xff");
    assert_string_equal(err_detail(ERR_IO), "the store said ?");
}

static void *look(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)(strcmp(err_detail(ERR_IO), "input/output error") == 0);
}

static void details_are_per_thread(void **state)
{
    (void)state;
    err_set(ERR_IO, "mine");
    pthread_t t;
    void *ok;
    assert_int_equal(pthread_create(&t, NULL, look, NULL), 0);
    pthread_join(t, &ok);
    assert_non_null(ok);
}

static void errno_maps(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(EDQUOT), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(ENOTTY), ERR_IO);
    assert_true(err_again(ERR_THROTTLED));
    assert_false(err_again(ERR_DENIED));
    assert_false(err_again(ERR_UNKNOWN_OUTCOME));
    assert_false(err_again(0));
}

static int tried(int code)
{
    TRY(code);
    return 1;
}

static void try_returns_failures(void **state)
{
    (void)state;
    assert_int_equal(tried(ERR_IO), ERR_IO);
    assert_int_equal(tried(0), 1);
}

static void break_a_rule(void *arg)
{
    (void)arg;
    TRACE("room.verb", 42, -1);
    CHECK(1 + 1 == 3, "it is %d", 2);
}

static void broken_rules_abort_with_the_trace(void **state)
{
    (void)state;
    assert_aborts(break_a_rule, NULL, "broken rule: 1 + 1 == 3: it is 2");
    assert_aborts(break_a_rule, NULL, "room.verb 42 -1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_reached_by_code),   cmocka_unit_test(other_values_are_bugs),
        cmocka_unit_test(detail_belongs_to_its_code), cmocka_unit_test(prefix_goes_before_what_is_remembered),
        cmocka_unit_test(long_details_are_cut),       cmocka_unit_test(details_are_text),
        cmocka_unit_test(details_are_per_thread),     cmocka_unit_test(errno_maps),
        cmocka_unit_test(try_returns_failures),       cmocka_unit_test(broken_rules_abort_with_the_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
