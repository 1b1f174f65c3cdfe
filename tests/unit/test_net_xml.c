/* SPDX-License-Identifier: Apache-2.0
 *
 * The XML reader: what it reports, in pieces of any size, and what it refuses; the writer, and both together.
 */
#include "cm.h"
#include "base/err.h"
#include "net/xml.h"
#include <time.h>

static int on_open(void *arg, const char *path)
{
    buf_printf(arg, "<%s ", path);
    return 0;
}

static int on_leaf(void *arg, const char *path, struct str text)
{
    buf_printf(arg, "%s=", path);
    buf_str_add(arg, text);
    buf_putz(arg, "; ");
    return 0;
}

static int on_close(void *arg, const char *path)
{
    buf_printf(arg, "%s> ", path);
    return 0;
}

static const struct xml_calls calls = {on_open, on_leaf, on_close};

/* Same report for pieces of 1, 2, 3 .. bytes as for the whole. */
static int report(struct str doc, struct buf *ret, const struct xml_limits *limits)
{
    int whole = xml_parse(doc, &calls, ret, limits);

    for (size_t piece = 1; piece < 9; piece++) {
        struct buf b AUTO_BUF = {0};
        struct xml_reader *x = xml_reader_new(&calls, &b, limits);
        int r = 0;

        for (size_t at = 0; at < doc.n && !r; at += piece)
            r = xml_feed(x, doc.p + at, doc.n - at < piece ? doc.n - at : piece);
        if (!r)
            r = xml_end(x);
        xml_reader_free(x);
        assert_int_equal(r, whole);
        if (!r)
            assert_true(str_eq(buf_str(&b), buf_str(ret)));
    }
    return whole;
}

static void assert_reports(struct str doc, const char *expected)
{
    struct buf b AUTO_BUF = {0};

    assert_int_equal(report(doc, &b, NULL), 0);
    assert_string_equal(b.p, expected);
}

static void assert_malformed(struct str doc, const struct xml_limits *limits)
{
    struct buf b AUTO_BUF = {0};

    assert_int_equal(report(doc, &b, limits), ERR_MALFORMED_XML);
}

static void elements(void **state)
{
    (void)state;
    assert_reports(
        STR("<?xml version=\"1.0\"?>\n<Delete xmlns=\"x\"><Quiet>true</Quiet>\n <Object a=\"b\"><Key>a</Key></Object>"
            "<Object><Key/></Object></Delete>\n"),
        "<Delete Delete/Quiet=true; <Delete/Object Delete/Object/Key=a; Delete/Object> "
        "<Delete/Object Delete/Object/Key=; Delete/Object> Delete> ");
    assert_reports(STR("<a/>"), "a=; ");
    assert_reports(STR("<s3:a xmlns:s3=\"u\"><s3:b> x </s3:b></s3:a>"), "<a a/b= x ; a> ");
    assert_reports(STR("<a>mixed<b>1</b>text<!-- c --><b>2</b></a>"), "<a a/b=1; a/b=2; a> ");
    assert_reports(STR("<a><![CDATA[<&>]]></a>"), "a=<&>; ");
    assert_reports(STR("<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;&#xe4;\xc3\xa4\xf0\x9f\x98\x80</a>"),
                   "a=<&>\"'AB\xc3\xa4\xc3\xa4\xf0\x9f\x98\x80; ");
}

static void control_characters(void **state)
{
    struct buf b AUTO_BUF = {0};

    (void)state;
    assert_reports(STR("<a>1&#x1;2&#31;3\x02"
                       "4&#x7f;5&#xA;6&#x00d;7</a>"),
                   "a=1\x01"
                   "2\x1f"
                   "3\x02"
                   "4\x7f"
                   "5\n6\r7; ");
    assert_reports(
        STR("<a>x\xf4\x8f\xbf\xbdy&#x10fffd;z\xf4\x8f\xbf\xbd&#x1;\xf4\x8f\xbf\xbc</a>"), /* the marker itself */
        "a=x\xf4\x8f\xbf\xbdy\xf4\x8f\xbf\xbdz\xf4\x8f\xbf\xbd\x01\xf4\x8f\xbf\xbc; ");
    assert_reports(STR("<a>\xef\xbf\xbe&#xFFFF;\xef\xbf\xbd&#65534;\xef\xbc\x9f</a>"), /* what is no character, and its
                                                                                          neighbours */
                   "a=\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd\xef\xbf\xbe\xef\xbc\x9f; ");
    assert_reports(STR("<a>&amp;#x1;</a>"), "a=&#x1;; ");
    assert_int_equal(report(STR("<a>x&#x1;</a>"), &b, NULL), 0);
    assert_malformed(STR("<a>&#x0;</a>"), NULL);
    assert_malformed(STR("<a>\0</a>"), NULL);
    assert_malformed(STR("<a><![CDATA[&#x1;]]></a>"), NULL);
    assert_malformed(STR("<a b=\"\x01"), NULL);
    assert_malformed(STR("<\x01/>"), NULL);
    assert_malformed(STR("<a>\xef</a>"), NULL);
    assert_malformed(STR("<\xef\xbf\xbf/>"), NULL);
}

static void hostile(void **state)
{
    struct xml_limits small = {.max_depth = 3, .max_text = 10, .max_bytes = 200};
    struct buf deep AUTO_BUF = {0};

    (void)state;
    assert_malformed(STR("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>"), NULL);
    assert_malformed(STR("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>"), NULL);
    assert_malformed(STR("<a>&x;</a>"), NULL);
    assert_malformed(STR(""), NULL);
    assert_malformed(STR("<a>"), NULL);
    assert_malformed(STR("<a></b>"), NULL);
    assert_malformed(STR("<a/><b/>"), NULL);
    assert_malformed(STR("<a>\xff</a>"), NULL);
    assert_malformed(STR("<a>&#x"), NULL);
    assert_malformed(STR("not xml"), NULL);
    assert_malformed(STR("<a><b><c><d/></c></b></a>"), &small);
    assert_malformed(STR("<a>12345678901</a>"), &small);
    assert_reports(STR("<a>1234567890</a>"), "a=1234567890; ");
    for (int i = 0; i < 30; i++)
        buf_putz(&deep, "<a>1</a>   ");
    assert_malformed(buf_str(&deep), &small);
    buf_reset(&deep);
    for (int i = 0; i < 100000; i++)
        buf_putz(&deep, "<a>");
    assert_int_equal(xml_parse(buf_str(&deep), &calls, &deep, NULL), ERR_MALFORMED_XML);
}

static int refuse(void *arg, const char *path, struct str text)
{
    (void)text;
    ++*(int *)arg;
    return strcmp(path, "a/stop") ? 0 : ERR_LIMIT;
}

static void callbacks_can_stop(void **state)
{
    const struct xml_calls c = {.leaf = refuse};
    int n = 0;
    struct xml_reader *x = xml_reader_new(&c, &n, NULL);

    (void)state;
    assert_int_equal(xml_feed(x, "<a><go/><stop/><go/></a>", 24), ERR_LIMIT);
    assert_int_equal(n, 2);
    assert_int_equal(xml_feed(x, " ", 1), ERR_LIMIT);
    assert_int_equal(xml_end(x), ERR_LIMIT);
    xml_reader_free(x);
    xml_reader_free(NULL);
}

static void finding(void **state)
{
    char v[8] = "keep";
    struct str doc = STR("<Error><Code>SlowDown</Code><Code>Second</Code></Error>");

    (void)state;
    assert_true(xml_find(doc, "Error/Code", v, sizeof v));
    assert_string_equal(v, "SlowDow");
    assert_false(xml_find(doc, "Error/None", v, sizeof v));
    assert_false(xml_find(STR("<Error><Code>x"), "Error/Code", v, sizeof v));
}

static void writing(void **state)
{
    struct buf b AUTO_BUF = {0};

    (void)state;
    xml_decl(&b);
    xml_open_ns(&b, "R");
    xml_text(&b, "K", STR("<a&b>\"'\x01\t\n\r\x1f\x7f\xff\xed\xa0\x80\xef\xbf\xbf\xc3\xa4\0."));
    xml_textz(&b, "Z", "");
    xml_u64(&b, "N", UINT64_MAX);
    xml_bool(&b, "B", true);
    xml_time(&b, "T", 1795221291123);
    xml_close(&b, "R");
    assert_string_equal(
        b.p, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
             "<K>&lt;a&amp;b&gt;&quot;'&#x1;\t\n&#xd;&#x1f;\x7f&#xfffd;&#xfffd;&#xfffd;&#xfffd;&#xffff;"
             "\xc3\xa4&#xfffd;.</K><Z></Z><N>18446744073709551615</N><B>true</B>"
             "<T>2026-11-21T00:34:51.123Z</T></R>");
}

/* What was written comes back: every code point that is not refused, and every control character but NUL. */
static void there_and_back(void **state)
{
    struct buf text AUTO_BUF = {0}, doc AUTO_BUF = {0}, seen AUTO_BUF = {0};

    (void)state;
    for (unsigned c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 977) {
        char u[5] = {0};
        size_t n = 0;
        if (c >= 0xd800 && c < 0xe000)
            continue;
        if (c < 0x80)
            u[n++] = (char)c;
        else if (c < 0x800)
            u[n++] = (char)(0xc0 | c >> 6);
        else if (c < 0x10000)
            u[n++] = (char)(0xe0 | c >> 12), u[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        else
            u[n++] = (char)(0xf0 | c >> 18), u[n++] = (char)(0x80 | (c >> 12 & 0x3f)),
            u[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        if (c >= 0x80)
            u[n++] = (char)(0x80 | (c & 0x3f));
        buf_add(&text, u, n);
    }
    buf_putz(&text, "\xf4\x8f\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf");
    xml_text(&doc, "k", buf_str(&text));
    struct xml_limits big = {.max_text = 1 << 20};
    assert_int_equal(report(buf_str(&doc), &seen, &big), 0);
    assert_int_equal(seen.n, text.n + 4);
    assert_memory_equal(seen.p + 2, text.p, text.n);
}

/* Every day until 2400, and the ends of days, as the C library has them. */
static void times(void **state)
{
    struct buf b AUTO_BUF = {0};

    (void)state;
    for (uint64_t day = 0; day < 157100; day++)
        for (int end = 0; end < 2; end++) {
            uint64_t ms = day * 86400000 + (end ? 86399999 : 0);
            time_t t = (time_t)(ms / 1000);
            struct tm tm;
            char want[64];
            gmtime_r(&t, &tm);
            strftime(want, sizeof want, end ? "<t>%Y-%m-%dT%H:%M:%S.999Z</t>" : "<t>%Y-%m-%dT%H:%M:%S.000Z</t>", &tm);
            buf_reset(&b);
            xml_time(&b, "t", ms);
            assert_string_equal(b.p, want);
        }
}

static void numbers(void **state)
{
    struct buf b AUTO_BUF = {0};

    (void)state;
    for (uint64_t v = 1; v; v *= 10) {
        for (uint64_t d = v - 1; d <= v + 1; d++) {
            char want[64];
            snprintf(want, sizeof want, "<n>%llu</n>", (unsigned long long)d);
            buf_reset(&b);
            xml_u64(&b, "n", d);
            assert_string_equal(b.p, want);
        }
        if (v > UINT64_MAX / 10)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements),       cmocka_unit_test(control_characters),
        cmocka_unit_test(hostile),        cmocka_unit_test(callbacks_can_stop),
        cmocka_unit_test(finding),        cmocka_unit_test(writing),
        cmocka_unit_test(there_and_back), cmocka_unit_test(times),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
