/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories and sizes of the page store, as two properties name them.
 */
#include "cm.h"
#include "base/err.h"
#include "conf/dirs.h"

static int parse(const char *dirs, const char *sizes, struct conf_dirs *ret)
{
    struct conf *c AUTO_CONF = conf_new(CONF_STANDALONE);
    assert_int_equal(conf_set(c, "alluxio.worker.page.store.dirs", dirs, "test"), 0);
    assert_int_equal(conf_set(c, "alluxio.worker.page.store.sizes", sizes, "test"), 0);
    return conf_page_dirs(c, "/data", ret);
}

static void without_a_word(void **state)
{
    (void)state;
    struct conf_dirs d;
    assert_int_equal(parse("", "", &d), 0);
    assert_int_equal(d.n, 1);
    assert_string_equal(d.dir[0].path, "/data/pages");
    assert_int_equal(d.dir[0].bytes, 0);
    conf_dirs_done(&d);
}

static void one_size_each_or_one_for_all(void **state)
{
    (void)state;
    struct conf_dirs d;
    assert_int_equal(parse("/a, /b", "1GB,2GB", &d), 0);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.dir[1].path, "/b");
    assert_int_equal(d.dir[0].bytes, 1u << 30);
    assert_int_equal(d.dir[1].bytes, 2ull << 30);
    conf_dirs_done(&d);
    assert_int_equal(parse("/a,/b", "64MB", &d), 0);
    assert_int_equal(d.dir[0].bytes, 64 << 20);
    assert_int_equal(d.dir[1].bytes, 64 << 20);
    conf_dirs_done(&d);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"/a,/b", "1GB,2GB,3GB"}, {"/a,/b,/c", "1GB,2GB"}, {"/a,,/b", ""}, {"/a", "banana"}, {"/a", "1GB,"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct conf_dirs d = {.n = 99};
        assert_int_equal(parse(bad[i][0], bad[i][1], &d), ERR_INVALID);
        assert_non_null(strstr(err_detail(ERR_INVALID), "alluxio.worker.page.store"));
        assert_int_equal(d.n, 99);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_word),
        cmocka_unit_test(one_size_each_or_one_for_all),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
