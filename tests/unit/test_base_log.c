/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/err.h"
#include "base/log.h"
#include <unistd.h>

static char path[] = "/tmp/forebay-log-XXXXXX", moved[64];

static char *contents(const char *file)
{
    static char text[65536];
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static void lines_have_a_form(void **state)
{
    (void)state;
    assert_int_equal(log_open(path), 0);
    errno = ENOTTY;
    log_warn("mount.add", "path=%s code=%d", "/a", 7);
    assert_int_equal(errno, ENOTTY);
    char *text = contents(path);
    int year, month, day, hour, minute, second, ms, end = 0;
    sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ WARN mount.add path=/a code=7\n%n", &year, &month, &day, &hour, &minute,
           &second, &ms, &end);
    assert_int_equal(end, strlen(text));
    assert_true(year >= 2024);
}

static void levels_filter(void **state)
{
    (void)state;
    log_debug("hidden", "x=1");
    log_set_level(LOG_DEBUG);
    log_debug("shown", "x=1");
    log_set_level(LOG_ERROR);
    log_warn("hidden", "x=2");
    log_set_level(LOG_INFO);
    assert_null(strstr(contents(path), "hidden"));
    assert_non_null(strstr(contents(path), " DEBUG shown x=1\n"));
}

static void line_breaks_are_escaped(void **state)
{
    (void)state;
    log_info("name", "key=%s", "a\nb\x01\xc3\xa4");
    assert_non_null(strstr(contents(path), " INFO name key=a\\nb\\x01\xc3\xa4\n"));
}

static void rotation(void **state)
{
    (void)state;
    snprintf(moved, sizeof moved, "%s.1", path);
    assert_int_equal(rename(path, moved), 0);
    log_info("old", "n=1");
    assert_int_equal(log_open(path), 0);
    log_info("new", "n=2");
    assert_non_null(strstr(contents(moved), "old n=1\n"));
    assert_null(strstr(contents(moved), "new n=2"));
    assert_non_null(strstr(contents(path), "new n=2\n"));
    assert_int_equal(log_open("/nowhere/at/all"), ERR_NOT_FOUND);
    assert_non_null(strstr(err_detail(ERR_NOT_FOUND), "/nowhere/at/all"));
}

static int clean(void **state)
{
    (void)state;
    unlink(path);
    unlink(moved);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_a_form),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(line_breaks_are_escaped),
        cmocka_unit_test(rotation),
    };
    close(mkstemp(path));
    return cmocka_run_group_tests(tests, NULL, clean);
}
