/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/str.h"

static void order_is_byte_order(void **state)
{
    (void)state;
    assert_true(str_cmp(STR("a"), STR("a/")) < 0);
    assert_true(str_cmp(STR("b"), STR("a/")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR(""), STR("")), 0);
    assert_true(str_eq(str_mk(NULL, 0), STR("")));
    assert_true(str_starts(STR("abc"), STR("ab")) && !str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("abc"), STR("bc")) && !str_ends(STR("c"), STR("bc")));
    assert_int_equal(str_from(STR("abc"), 7).n, 0);
}

static void copies_end_in_nul(void **state)
{
    (void)state;
    char *p = str_dup(str_mk("a\0bc", 3));
    assert_memory_equal(p, "a\0b\0", 4);
    free(p);
    p = str_dup(str_mk(NULL, 0));
    assert_string_equal(p, "");
    free(p);
}

static void hashes_differ(void **state)
{
    (void)state;
    assert_true(str_hash(STR("a")) != str_hash(STR("b")));
    assert_true(str_hash(STR("")) == str_hash(str_mk(NULL, 0)));
}

static void utf8_is_judged(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "abc",
                                       "\x01\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {
        "\x80",         "\xc0\x80",     "\xc1\xbf",         "\xc2", "\xe0\x9f\xbf",     "\xe2\x82",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xf5\x80\x80\x80", "\xfe", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "a\xff",        "\xc2g"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(str_utf8(str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (str_utf8(str_of(bad[i])))
            fail_msg("bad[%zu] passed", i);
    assert_false(str_utf8(str_mk("a\0b", 3)));
}

static void texts_end_at_a_character(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"abc", "abc"},
                                          {"a\xc3\xa9", "a\xc3\xa9"},
                                          {"a\xc3", "a"},
                                          {"a\xe2\x82", "a"},
                                          {"\xf0\x9f\x98", ""},
                                          {"a\xff", "a?"},
                                          {"a\xc3g", "a?g"},
                                          {"\xa9\xa9"
                                           "a\xe2\x82\xac",
                                           "??a\xe2\x82\xac"},
                                          {"\xed\xa0\x80", "???"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char z[20];
        snprintf(z, sizeof z, "%s", rows[i][0]);
        str_clean(z);
        assert_string_equal(z, rows[i][1]);
    }
    const struct str s = STR("a\xe2\x82\xac"
                             "b");
    static const size_t ends[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t n = 0; n < sizeof ends / sizeof *ends; n++)
        assert_int_equal(str_cut(s, n).n, ends[n]);
    assert_int_equal(str_cut(str_mk("\xa9\xa9\xa9", 3), 2).n, 0);
}

static void numbers_parse(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(str_u64(STR("0"), 10, &v) && v == 0);
    assert_true(str_u64(STR("18446744073709551615"), UINT64_MAX, &v) && v == UINT64_MAX);
    v = 7;
    assert_false(str_u64(STR("18446744073709551616"), UINT64_MAX, &v));
    assert_false(str_u64(STR("11"), 10, &v));
    assert_false(str_u64(STR(""), 10, &v));
    assert_false(str_u64(STR("-1"), 10, &v));
    assert_false(str_u64(STR("1 "), 10, &v));
    assert_int_equal(v, 7);
}

static void hex_goes_there_and_back(void **state)
{
    (void)state;
    char out[9];
    unsigned char in[4];
    str_hex("\x00\xff\x1a\xb2", 4, out);
    assert_string_equal(out, "00ff1ab2");
    assert_true(str_unhex(STR("00FF1aB2"), in, 4));
    assert_memory_equal(in, "\x00\xff\x1a\xb2", 4);
    assert_false(str_unhex(STR("00ff1a"), in, 4));
    assert_false(str_unhex(STR("00ff1ag2"), in, 4));
    assert_true(str_ieq(STR("Content-MD5"), STR("content-md5")));
    assert_false(str_ieq(STR("@"), STR("`")));
}

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *s;
        bool match;
    } t[] = {
        {"", "", true},
        {"a", "", false},
        {"/demo/**", "/demo/a", true},
        {"/demo/**", "/demo/a/b/c", true},
        {"/demo/**", "/demo/", true},
        {"/demo/**", "/demo", false},
        {"/demo/**", "/demos/a", false},
        {"/*", "/a", true},
        {"/*", "/a/b", false},
        {"/*/b", "/a/b", true},
        {"/a*c/d", "/abbc/d", true},
        {"/a*c/d", "/ab/c/d", false},
        {"/a*c", "/abcbcb", false},
        {"/a*b*c", "/axbxbxc", true},
        {"**", "", true},
        {"**", "a/b", true},
        {"/**/x", "/x", true},
        {"/**/x", "/a/b/x", true},
        {"/**/x", "/a/bx", false},
        {"**/x", "x", true},
        {"**/x", "a/x", true},
        {"**/x", "ax", false},
        {"/a/**/b/**/c", "/a/b/c", true},
        {"/a/**/b/**/c", "/a/1/b/2/3/c", true},
        {"/a/**/b/*/c", "/a/b/b/b/1/c", true},
        {"/a/**/b/*/c", "/a/b/b/b/1/2/c", false},
        {"/x**z", "/x/y/z", true},
        {"/x**", "/x", true},
        {"**.pt", "/a/b.pt", true},
        {"*.pt", "a/b.pt", false},
        {"?", "a", true},
        {"?", "/", false},
        {"a?c", "abc", true},
        {"[a-c]x", "bx", true},
        {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},
        {"[^a]", "/", false},
        {"[]a]", "]", true},
        {"[a\\]]", "]", true},
        {"[a-]", "-", true},
        {"[ab", "[ab", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"a\\", "a\\", true},
        {"/d[0-9]/**", "/d7/x", true},
        {"***", "a/b", true},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        if (str_glob(str_of(t[i].pattern), str_of(t[i].s)) != t[i].match)
            fail_msg("%s on %s is not %d", t[i].pattern, t[i].s, t[i].match);
}

/* The plain definition, to compare with. */
static bool naive(const char *p, const char *s, bool at_start)
{
    if (p[0] == '*' && p[1] == '*') {
        bool whole = at_start && p[2] == '/';
        const char *rest = p + 2 + whole;
        for (const char *t = s;; t++) {
            if ((!whole || t == s || t[-1] == '/') && naive(rest, t, whole))
                return true;
            if (!*t)
                return false;
        }
    }
    if (p[0] == '*') {
        for (const char *t = s;; t++) {
            if (naive(p + 1, t, false))
                return true;
            if (!*t || *t == '/')
                return false;
        }
    }
    if (!*p || !*s)
        return *p == *s;
    return (*p == '?' ? *s != '/' : *p == *s) && naive(p + 1, s + 1, *p == '/');
}

static void globs_agree_with_the_definition(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int i = 0; i < 200000; i++) {
        char p[9] = "", s[11] = "";
        int pn = rand_r(&seed) % 8, sn = rand_r(&seed) % 10;
        for (int k = 0; k < pn; k++)
            p[k] = "ab/*?*"[rand_r(&seed) % 6];
        for (int k = 0; k < sn; k++)
            s[k] = "ab/"[rand_r(&seed) % 3];
        if (strstr(p, "***"))
            continue; /* the same as two; the definition above does not say so */
        if (str_glob(str_of(p), str_of(s)) != naive(p, s, true))
            fail_msg("%s on %s", p, s);
    }
}

static void globs_do_not_explode(void **state)
{
    (void)state;
    char s[20001];
    memset(s, 'a', 20000);
    s[20000] = 0;
    assert_false(str_glob(STR("*a*a*a*a*a*a*a*a*a*a*a*b"), str_of(s)));
    assert_false(str_glob(STR("**a**a**a**a**a**a**a**b"), str_of(s)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_byte_order),
        cmocka_unit_test(copies_end_in_nul),
        cmocka_unit_test(hashes_differ),
        cmocka_unit_test(utf8_is_judged),
        cmocka_unit_test(texts_end_at_a_character),
        cmocka_unit_test(numbers_parse),
        cmocka_unit_test(hex_goes_there_and_back),
        cmocka_unit_test(globs),
        cmocka_unit_test(globs_agree_with_the_definition),
        cmocka_unit_test(globs_do_not_explode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
