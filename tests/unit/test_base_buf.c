/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/buf.h"

static void text_grows_and_is_printable(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    assert_int_equal(buf_str(&b).n, 0);
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i % 10);
    assert_int_equal(b.n, 2000);
    assert_int_equal(strlen(b.p), 2000);
    assert_true(b.cap > b.n);
    buf_reset(&b);
    assert_string_equal(b.p, "");
    char big[5000];
    memset(big, 'y', sizeof big - 1);
    big[sizeof big - 1] = 0;
    buf_printf(&b, "<%s>", big);
    assert_int_equal(b.n, 5001);
    assert_int_equal(b.p[5000], '>');
}

static void taking_leaves_an_empty_buffer(void **state)
{
    (void)state;
    struct buf b = {0};
    size_t n = 9;
    char *p = buf_take(&b, &n);
    assert_string_equal(p, "");
    assert_int_equal(n, 0);
    free(p);
    buf_putz(&b, "abc");
    p = buf_take(&b, NULL);
    assert_string_equal(p, "abc");
    assert_null(b.p);
    free(p);
}

static void numbers_go_there_and_back(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    static const uint64_t v[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};
    buf_u8(&b, 200);
    buf_be16(&b, 0xabcd);
    buf_be32(&b, 0xdeadbeef);
    buf_be64(&b, 0x0123456789abcdef);
    assert_memory_equal(b.p, "\xc8\xab\xcd\xde\xad\xbe\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 15);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        buf_varint(&b, v[i]);
    buf_bytes(&b, STR("key"));
    buf_bytes(&b, STR(""));
    buf_putz(&b, "rest");
    struct cur c = cur_of(buf_str(&b));
    assert_int_equal(cur_u8(&c), 200);
    assert_int_equal(cur_be16(&c), 0xabcd);
    assert_int_equal(cur_be32(&c), 0xdeadbeef);
    assert_true(cur_be64(&c) == 0x0123456789abcdef);
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        assert_true(cur_varint(&c) == v[i]);
    assert_true(str_eq(cur_bytes(&c), STR("key")));
    assert_true(str_eq(cur_bytes(&c), STR("")));
    assert_true(str_eq(cur_rest(&c), STR("rest")));
    assert_false(c.bad);
    assert_int_equal(cur_rest(&c).n, 0);
    assert_false(c.bad);
}

static void short_reads_stay_bad(void **state)
{
    (void)state;
    struct cur c = cur_of(STR("\x01\x02\x03"));
    assert_int_equal(cur_be32(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cur_u8(&c), 0);
    assert_int_equal(cur_rest(&c).n, 0);
}

static void malformed_input_is_bad(void **state)
{
    (void)state;
    static const char *const t[] = {"\x80", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                                    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct cur c = cur_of(str_of(t[i]));
        assert_true(cur_varint(&c) == 0);
        assert_true(c.bad);
    }
    struct cur c = cur_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                              "abc")); /* a length of 2^64 - 1 */
    assert_int_equal(cur_bytes(&c).n, 0);
    assert_true(c.bad);
    c = cur_of(str_mk(NULL, 0));
    assert_int_equal(cur_u8(&c), 0);
    assert_true(c.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_is_printable), cmocka_unit_test(taking_leaves_an_empty_buffer),
        cmocka_unit_test(numbers_go_there_and_back),   cmocka_unit_test(short_reads_stay_bad),
        cmocka_unit_test(malformed_input_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
