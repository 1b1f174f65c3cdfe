/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the S3 front that are functions of their arguments: ranges, conditions, checksums, names, tags, tokens,
 * authorization headers.
 */
#include "base/err.h"
#include "s3/auth.h"
#include "s3/base64.h"
#include "s3/cond.h"
#include "s3/range.h"
#include "s3/sum.h"
#include "s3/tags.h"
#include "s3/token.h"
#include "s3/uri.h"
#include "cm.h"

#define S(z) str_of(z)
#define assert_str(s, z) assert_true(str_eq((s), str_of(z)))

/* --- ranges */

static void check_range(const char *header, uint64_t size, enum s3_range_kind kind, uint64_t off, uint64_t n)
{
    struct s3_range r = s3_range_parse(S(header), size);
    if (r.kind != kind || (kind != RANGE_NONE && (r.off != off || r.n != n)))
        fail_msg("%s of %llu: kind %d off %llu n %llu", header, (unsigned long long)size, r.kind,
                 (unsigned long long)r.off, (unsigned long long)r.n);
}

static void ranges(void **state)
{
    (void)state;
    check_range("bytes=0-0", 10, RANGE_PART, 0, 1);
    check_range("bytes=2-5", 10, RANGE_PART, 2, 4);
    check_range("bytes=2-", 10, RANGE_PART, 2, 8);
    check_range("bytes=2-100", 10, RANGE_PART, 2, 8);
    check_range("bytes=9-9", 10, RANGE_PART, 9, 1);
    check_range("bytes=-3", 10, RANGE_PART, 7, 3);
    check_range("bytes=-30", 10, RANGE_PART, 0, 10);
    check_range("Bytes= 1-2 ", 10, RANGE_PART, 1, 2);
    check_range("bytes=0-18446744073709551615", 10, RANGE_PART, 0, 10);
    check_range("bytes=10-", 10, RANGE_NONE, 0, 0);
    check_range("bytes=10-20", 10, RANGE_NONE, 0, 0);
    check_range("bytes=-0", 10, RANGE_NONE, 0, 0);
    check_range("bytes=0-", 0, RANGE_NONE, 0, 0);
    check_range("bytes=-1", 0, RANGE_NONE, 0, 0);
    check_range("bytes=5-2", 10, RANGE_ALL, 0, 10);
    check_range("bytes=", 10, RANGE_ALL, 0, 10);
    check_range("bytes=-", 10, RANGE_ALL, 0, 10);
    check_range("bytes=a-b", 10, RANGE_ALL, 0, 10);
    check_range("bytes=0-1,3-4", 10, RANGE_ALL, 0, 10);
    check_range("lines=0-1", 10, RANGE_ALL, 0, 10);
    check_range("bytes=1-99999999999999999999999", 10, RANGE_ALL, 0, 10);
}

static void no_range(void **state)
{
    (void)state;
    struct s3_range r = s3_range_parse((struct str){NULL, 0}, 7);
    assert_int_equal(r.kind, RANGE_ALL);
    assert_int_equal(r.n, 7);
}

static void copy_ranges(void **state)
{
    (void)state;
    uint64_t off = 77, n = 77;
    assert_int_equal(s3_range_copy_parse(S("bytes=0-9"), 10, &off, &n), 0);
    assert_int_equal(off, 0);
    assert_int_equal(n, 10);
    off = n = 77;
    assert_int_equal(s3_range_copy_parse(S("bytes=0-10"), 10, &off, &n), ERR_INVALID);
    assert_int_equal(s3_range_copy_parse(S("bytes=3-"), 10, &off, &n), ERR_INVALID);
    assert_int_equal(s3_range_copy_parse(S("bytes=-3"), 10, &off, &n), ERR_INVALID);
    assert_int_equal(s3_range_copy_parse(S("0-3"), 10, &off, &n), ERR_INVALID);
    assert_int_equal(off, 77);
    assert_int_equal(n, 77);
}

/* --- conditions */

#define MTIME 784111777500ull /* Sun, 06 Nov 1994 08:49:37.5 GMT */

static int read_with(const char *im, const char *inm, const char *ims, const char *ius)
{
    struct s3_cond c = {S(im), S(inm), S(ims), S(ius)};
    return s3_cond_read(&c, S("abc"), MTIME);
}

static void etag_lists(void **state)
{
    (void)state;
    assert_true(s3_cond_etag_in(S("\"abc\""), S("abc"), false));
    assert_true(s3_cond_etag_in(S("abc"), S("abc"), false));
    assert_true(s3_cond_etag_in(S(" \"x\" , \"abc\""), S("abc"), false));
    assert_true(s3_cond_etag_in(S("*"), S("abc"), false));
    assert_true(s3_cond_etag_in(S("W/\"abc\""), S("abc"), true));
    assert_false(s3_cond_etag_in(S("W/\"abc\""), S("abc"), false));
    assert_false(s3_cond_etag_in(S("\"a,bc\""), S("bc"), false));
    assert_false(s3_cond_etag_in(S("\"ab\""), S("abc"), true));
    assert_false(s3_cond_etag_in(S(""), S("abc"), true));
}

static void reads(void **state)
{
    (void)state;
    const char *at = "Sun, 06 Nov 1994 08:49:37 GMT", *before = "Sun, 06 Nov 1994 08:49:36 GMT";
    assert_int_equal(read_with(NULL, NULL, NULL, NULL), 0);
    assert_int_equal(read_with("\"abc\"", NULL, NULL, NULL), 0);
    assert_int_equal(read_with("\"x\"", NULL, NULL, NULL), ERR_PRECONDITION);
    assert_int_equal(read_with(NULL, "\"abc\"", NULL, NULL), ERR_NOT_MODIFIED);
    assert_int_equal(read_with(NULL, "\"x\"", NULL, NULL), 0);
    assert_int_equal(read_with(NULL, NULL, at, NULL), ERR_NOT_MODIFIED);
    assert_int_equal(read_with(NULL, NULL, before, NULL), 0);
    assert_int_equal(read_with(NULL, NULL, NULL, at), 0);
    assert_int_equal(read_with(NULL, NULL, NULL, before), ERR_PRECONDITION);
    assert_int_equal(read_with(NULL, NULL, "gibberish", "gibberish"), 0);
}

/* RFC 9110 13.2.2: an ETag condition silences the date beside it; the first half goes first. */
static void precedence(void **state)
{
    (void)state;
    const char *at = "Sun, 06 Nov 1994 08:49:37 GMT", *before = "Sun, 06 Nov 1994 08:49:36 GMT";
    assert_int_equal(read_with("\"abc\"", NULL, NULL, before), 0);
    assert_int_equal(read_with(NULL, "\"x\"", at, NULL), 0);
    assert_int_equal(read_with(NULL, "\"abc\"", before, NULL), ERR_NOT_MODIFIED);
    assert_int_equal(read_with("\"x\"", "\"abc\"", NULL, NULL), ERR_PRECONDITION);
    assert_int_equal(read_with("\"abc\"", "\"abc\"", NULL, NULL), ERR_NOT_MODIFIED);
}

static void copies(void **state)
{
    (void)state;
    struct s3_cond same = {.if_none_match = S("\"abc\"")},
                   old = {.if_modified_since = S("Sun, 06 Nov 1994 08:49:37 GMT")};
    struct s3_cond both = {.if_match = S("\"abc\""), .if_unmodified_since = S("Sun, 06 Nov 1994 08:49:36 GMT")};
    assert_int_equal(s3_cond_copy(&same, S("abc"), MTIME), ERR_PRECONDITION);
    assert_int_equal(s3_cond_copy(&old, S("abc"), MTIME), ERR_PRECONDITION);
    assert_int_equal(s3_cond_copy(&both, S("abc"), MTIME), 0);
}

static void dates(void **state)
{
    (void)state;
    uint64_t sec = 0;
    char text[COND_DATE];
    assert_true(s3_cond_date(S("Sun, 06 Nov 1994 08:49:37 GMT"), &sec));
    assert_int_equal(sec, 784111777);
    assert_true(s3_cond_date(S("Sunday, 06-Nov-94 08:49:37 GMT"), &sec));
    assert_int_equal(sec, 784111777);
    assert_true(s3_cond_date(S("Sun Nov  6 08:49:37 1994"), &sec));
    assert_int_equal(sec, 784111777);
    assert_false(s3_cond_date(S("1994-11-06T08:49:37Z"), &sec));
    assert_false(s3_cond_date(S("Sun, 06 Nov 1994 08:49:37 GMT and more"), &sec));
    s3_cond_date_text(MTIME, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void if_range(void **state)
{
    (void)state;
    assert_true(s3_cond_if_range(S("\"abc\""), S("abc"), MTIME));
    assert_false(s3_cond_if_range(S("W/\"abc\""), S("abc"), MTIME));
    assert_false(s3_cond_if_range(S("\"x\""), S("abc"), MTIME));
    assert_true(s3_cond_if_range(S("Sun, 06 Nov 1994 08:49:37 GMT"), S("abc"), MTIME));
    assert_false(s3_cond_if_range(S("Sun, 06 Nov 1994 08:49:38 GMT"), S("abc"), MTIME));
}

/* --- checksums */

static void check_sum(enum s3_sum_kind k, const char *bytes, const char *want)
{
    struct s3_sum s;
    unsigned char raw[32];
    char text[SUM_TEXT];
    s3_sum_begin(&s, k);
    s3_sum_add(&s, bytes, strlen(bytes));
    s3_sum_text(raw, s3_sum_end(&s, raw), text);
    s3_sum_done(&s);
    assert_string_equal(text, want);
    assert_true(s3_sum_parse(k, S(want), raw));
}

static void sums(void **state)
{
    (void)state;
    check_sum(SUM_CRC32, "123456789", "y/Q5Jg==");
    check_sum(SUM_CRC32C, "123456789", "4waSgw==");
    check_sum(SUM_CRC64NVME, "123456789", "rosUhgp5mIg=");
    check_sum(SUM_SHA1, "abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    check_sum(SUM_SHA256, "abc", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
}

static void sum_names(void **state)
{
    (void)state;
    unsigned char raw[32];
    assert_int_equal(s3_sum_by_name(S("crc32c")), SUM_CRC32C);
    assert_int_equal(s3_sum_by_name(S("MD5")), SUM_NONE);
    assert_int_equal(s3_sum_by_header(S("X-Amz-Checksum-CRC64NVME")), SUM_CRC64NVME);
    assert_int_equal(s3_sum_by_header(S("x-amz-checksum-type")), SUM_NONE);
    assert_int_equal(s3_sum_by_element("ChecksumSHA1"), SUM_SHA1);
    assert_false(s3_sum_parse(SUM_CRC32, S("y/Q5Jg="), raw));
    assert_false(s3_sum_parse(SUM_CRC32, S("y/Q5Jh=="), raw)); /* bits left over */
    assert_false(s3_sum_parse(SUM_CRC64NVME, S("y/Q5Jg=="), raw));
    assert_false(s3_sum_parse(SUM_NONE, S("y/Q5Jg=="), raw));
}

/* The CRC of the whole from those of the pieces, at every cut, empty pieces included. */
static void combining(void **state)
{
    (void)state;
    char text[300];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 + i / 13);
    for (size_t cut = 0; cut <= sizeof text; cut += 25) {
        size_t rest = sizeof text - cut;
        assert_int_equal(s3_sum_combine(SUM_CRC32, crc32_ieee(0, text, cut), crc32_ieee(0, text + cut, rest), rest),
                         crc32_ieee(0, text, sizeof text));
        assert_int_equal(s3_sum_combine(SUM_CRC32C, crc32c(0, text, cut), crc32c(0, text + cut, rest), rest),
                         crc32c(0, text, sizeof text));
        assert_true(s3_sum_combine(SUM_CRC64NVME, crc64nvme(0, text, cut), crc64nvme(0, text + cut, rest), rest) ==
                    crc64nvme(0, text, sizeof text));
    }
}

static void parts_full(void **state)
{
    (void)state;
    struct s3_sum_parts p;
    char text[SUM_TEXT];
    s3_sum_parts_begin(&p, SUM_CRC32, true);
    s3_sum_parts_add(&p, S("CYtdxQ=="), 4); /* one part: its own */
    assert_true(s3_sum_parts_end(&p, text));
    assert_string_equal(text, "CYtdxQ==");

    unsigned char raw[4];
    char one[SUM_TEXT], two[SUM_TEXT];
    uint32_t a = crc32_ieee(0, "1234", 4), b = crc32_ieee(0, "56789", 5);
    for (int i = 0; i < 4; i++)
        raw[i] = (unsigned char)(a >> 8 * (3 - i));
    s3_sum_text(raw, 4, one);
    for (int i = 0; i < 4; i++)
        raw[i] = (unsigned char)(b >> 8 * (3 - i));
    s3_sum_text(raw, 4, two);
    s3_sum_parts_begin(&p, SUM_CRC32, true);
    s3_sum_parts_add(&p, S(one), 4);
    s3_sum_parts_add(&p, S(two), 5);
    assert_true(s3_sum_parts_end(&p, text));
    assert_string_equal(text, "y/Q5Jg==");
}

/* SHA-256 over the two raw SHA-256 of "abc". */
static void parts_composite(void **state)
{
    (void)state;
    struct s3_sum_parts p;
    char text[SUM_TEXT];
    const char *abc = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    unsigned char raw[64], out[32];
    char want[SUM_TEXT];
    assert_true(s3_sum_parse(SUM_SHA256, S(abc), raw));
    memcpy(raw + 32, raw, 32);
    struct digest *d = digest_new(DIGEST_SHA256);
    digest_add(d, raw, 64);
    digest_end(d, out);
    digest_free(d);
    s3_sum_text(out, 32, want);
    snprintf(want + strlen(want), sizeof want - strlen(want), "-2");
    s3_sum_parts_begin(&p, SUM_SHA256, false);
    s3_sum_parts_add(&p, S(abc), 3);
    s3_sum_parts_add(&p, S(abc), 3);
    assert_true(s3_sum_parts_end(&p, text));
    assert_string_equal(text, want);
}

static void parts_missing(void **state)
{
    (void)state;
    struct s3_sum_parts p;
    char text[SUM_TEXT] = "untouched";
    s3_sum_parts_begin(&p, SUM_SHA1, false);
    s3_sum_parts_add(&p, S("qZk+NkcGgWq6PiVxeFDCbJzQ2J0="), 3);
    s3_sum_parts_add(&p, (struct str){NULL, 0}, 3);
    assert_false(s3_sum_parts_end(&p, text));
    s3_sum_parts_begin(&p, SUM_CRC64NVME, true);
    assert_false(s3_sum_parts_end(&p, text)); /* no parts */
    assert_string_equal(text, "untouched");
}

/* --- names */

static int split(const char *path, struct str *bucket, struct str *key)
{
    static char room[4096];
    *bucket = *key = STR("untouched");
    return s3_uri_split(S(path), room, bucket, key);
}

static void paths(void **state)
{
    (void)state;
    struct str b, k;
    assert_int_equal(split("/", &b, &k), 0);
    assert_int_equal(b.n + k.n, 0);
    assert_int_equal(split("/demo", &b, &k), 0);
    assert_str(b, "demo");
    assert_int_equal(k.n, 0);
    assert_int_equal(split("/demo/", &b, &k), 0);
    assert_int_equal(k.n, 0);
    assert_int_equal(split("/demo/a%20b+c%2Fd", &b, &k), 0);
    assert_str(k, "a b+c/d");
    assert_int_equal(split("/demo//a/../b/./%2e", &b, &k), 0);
    assert_str(k, "/a/../b/./.");
    assert_int_equal(split("/demo/%25%32%35", &b, &k), 0); /* once, not twice */
    assert_str(k, "%25");
    assert_int_equal(split("/demo/%01%7f%3F%5c", &b, &k), 0);
    assert_str(k, "\x01\x7f?\\");
}

static void bad_paths(void **state)
{
    (void)state;
    struct str b, k;
    char longest[6 + 1024 + 2] = "/demo/";
    assert_int_equal(split("/demo/a%00b", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("/demo/%ff", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("/demo/%c0%af", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("/demo/%4", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("/demo/%zz", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("/demo/.forebay/tmp/x", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("*", &b, &k), ERR_BAD_NAME);
    assert_int_equal(split("//key", &b, &k), ERR_BUCKET_NAME);
    assert_int_equal(split("/../x", &b, &k), ERR_BUCKET_NAME);
    assert_int_equal(split("/.forebay", &b, &k), ERR_BUCKET_NAME);
    assert_str(b, "untouched");
    memset(longest + 6, 'k', 1024);
    assert_int_equal(split(longest, &b, &k), 0);
    longest[6 + 1024] = 'k';
    assert_int_equal(split(longest, &b, &k), ERR_NAME_TOO_LONG);
}

static void new_buckets(void **state)
{
    (void)state;
    static const char *const good[] = {"abc", "a-b.c9", "0a1", "my-bucket.example"};
    static const char *const bad[] = {"ab",   "Abc",  "a_b",         "-abc", "abc-", ".abc",
                                      "abc.", "a..b", "192.168.0.1", "a b",  ""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(s3_uri_check_new_bucket(S(good[i])), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(s3_uri_check_new_bucket(S(bad[i])), ERR_BUCKET_NAME);
}

static void copy_sources(void **state)
{
    (void)state;
    char room[256];
    struct str b, k;
    assert_int_equal(s3_uri_copy_source(S("/demo/a%20b"), room, &b, &k), 0);
    assert_str(b, "demo");
    assert_str(k, "a b");
    assert_int_equal(s3_uri_copy_source(S("demo/x/y?versionId=null"), room, &b, &k), 0);
    assert_str(k, "x/y");
    assert_int_equal(s3_uri_copy_source(S("demo/x?y"), room, &b, &k), 0);
    assert_str(k, "x?y");
    assert_int_equal(s3_uri_copy_source(S("demo/x?versionId=3"), room, &b, &k), ERR_INVALID);
    assert_int_equal(s3_uri_copy_source(S("demo"), room, &b, &k), ERR_INVALID);
    assert_int_equal(s3_uri_copy_source(S(""), room, &b, &k), ERR_INVALID);
    assert_int_equal(s3_uri_copy_source(S("demo/%00"), room, &b, &k), ERR_BAD_NAME);
}

static void hosts(void **state)
{
    (void)state;
    struct str domains = STR("s3.example.com, local");
    assert_str(s3_uri_host_bucket(STR("demo.s3.example.com"), domains), "demo");
    assert_str(s3_uri_host_bucket(STR("a.b.S3.Example.com:29998"), domains), "a.b");
    assert_str(s3_uri_host_bucket(STR("demo.local"), domains), "demo");
    assert_null(s3_uri_host_bucket(STR("s3.example.com"), domains).p);
    assert_null(s3_uri_host_bucket(STR(".local"), domains).p);
    assert_null(s3_uri_host_bucket(STR("demolocal"), domains).p);
    assert_null(s3_uri_host_bucket(STR("127.0.0.1:29998"), domains).p);
    assert_null(s3_uri_host_bucket(STR("[::1]:29998"), domains).p);
    assert_null(s3_uri_host_bucket(STR("demo.local"), STR("")).p);
}

static void queries(void **state)
{
    (void)state;
    char room[256];
    struct s3_uri_query q;
    assert_int_equal(s3_uri_query_parse(S("list-type=2&prefix=a%2Fb+c&uploads&&x=&x=2"), room, &q), 0);
    assert_int_equal(q.n, 5);
    assert_str(s3_uri_query_value(&q, "prefix"), "a/b c");
    assert_true(s3_uri_query_get(&q, "uploads")->bare);
    assert_false(s3_uri_query_get(&q, "x")->bare);
    assert_int_equal(s3_uri_query_value(&q, "x").n, 0);
    assert_null(s3_uri_query_value(&q, "nope").p);
    assert_int_equal(s3_uri_query_parse(S("prefix=%0"), room, &q), ERR_BAD_NAME);
    assert_int_equal(s3_uri_query_parse(S("prefix=%00"), room, &q), ERR_BAD_NAME);
}

static void encoding(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    s3_uri_encode(&b, S("a/b c+\xc3\xa9~"), true);
    assert_str(buf_str(&b), "a/b%20c%2B%C3%A9~");
}

/* --- tags */

static int tags_of(const char *header, bool strict, struct buf *out)
{
    struct s3_tags t AUTO_TAGS = {0};
    int r = s3_tags_from_header(&t, S(header), strict);
    if (!r)
        s3_tags_encode(out, &t);
    return r;
}

static void tag_headers(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    assert_int_equal(tags_of("a=1&b%20c=%2f+x&d=", true, &b), 0);
    assert_str(buf_str(&b), "a=1&b%20c=%2F%20x&d=");
    assert_int_equal(s3_tags_count(buf_str(&b)), 3);
    assert_int_equal(s3_tags_count(STR("")), 0);
    assert_int_equal(tags_of("a=1&a=2", true, &b), ERR_TAG);
    assert_int_equal(tags_of("=1", true, &b), ERR_TAG);
    assert_int_equal(tags_of("aws:x=1", true, &b), ERR_TAG);
    assert_int_equal(tags_of("a=%3C", true, &b), ERR_TAG);
    assert_int_equal(tags_of("a=%ff", true, &b), ERR_TAG);
    assert_int_equal(tags_of("a=%f", true, &b), ERR_INVALID);
    assert_int_equal(tags_of("a&b&c&d&e&f&g&h&i&j", true, &b), 0);
    assert_int_equal(tags_of("a&b&c&d&e&f&g&h&i&j&k", true, &b), ERR_TAGS_MANY);
    assert_int_equal(tags_of("a&b&c&d&e&f&g&h&i&j&k", false, &b), 0);
}

static void tag_lengths(void **state)
{
    (void)state;
    struct buf in AUTO_BUF = {0}, b AUTO_BUF = {0};
    for (int i = 0; i < 128; i++)
        buf_putz(&in, "\xc3\xa9"); /* characters, not bytes, are counted */
    assert_int_equal(tags_of(in.p, true, &b), 0);
    buf_putz(&in, "e");
    assert_int_equal(tags_of(in.p, true, &b), ERR_TAG);
    assert_int_equal(tags_of(in.p, false, &b), 0);
}

static int tags_of_xml(const char *doc, struct buf *out)
{
    struct s3_tags t AUTO_TAGS = {0};
    int r = s3_tags_from_xml(&t, S(doc), true);
    if (!r)
        s3_tags_xml(out, &t);
    return r;
}

static void tag_documents(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    assert_int_equal(tags_of_xml("<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet><Tag><Key>a</Key>"
                                 "<Value>x = y</Value></Tag><Tag><Value/><Key>b</Key></Tag></TagSet></Tagging>",
                                 &b),
                     0);
    assert_str(buf_str(&b),
               "<TagSet><Tag><Key>a</Key><Value>x = y</Value></Tag><Tag><Key>b</Key><Value></Value></Tag></TagSet>");
    buf_reset(&b);
    assert_int_equal(tags_of_xml("<Tagging><TagSet/></Tagging>", &b), 0);
    assert_str(buf_str(&b), "<TagSet></TagSet>");
    assert_int_equal(tags_of_xml("<Tagging/>", &b), ERR_MALFORMED_XML);
    assert_int_equal(tags_of_xml("<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", &b), ERR_MALFORMED_XML);
    assert_int_equal(tags_of_xml("<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value/></Tag></TagSet></Tagging>", &b),
                     ERR_MALFORMED_XML);
    assert_int_equal(tags_of_xml("<Other/>", &b), ERR_MALFORMED_XML);
    assert_int_equal(tags_of_xml("", &b), ERR_MALFORMED_XML);
}

/* --- tokens */

static void tokens(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "a/b c/\xf0\x9f\x98\x80", "", "\x01<&>"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct buf token AUTO_BUF = {0}, back AUTO_BUF = {0};
        s3_token_make(&token, S(keys[i]));
        assert_int_equal(s3_token_open(buf_str(&token), &back), 0);
        assert_str(buf_str(&back), keys[i]);
        for (size_t k = 0; k < token.n; k++)
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", token.p[k]));
    }
}

static void altered_tokens(void **state)
{
    (void)state;
    struct buf token AUTO_BUF = {0}, back AUTO_BUF = {0};
    s3_token_make(&token, S("some/key"));
    for (size_t i = 0; i < token.n; i++) {
        char was = token.p[i];
        token.p[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(s3_token_open(buf_str(&token), &back), ERR_INVALID);
        token.p[i] = was;
    }
    for (size_t n = 0; n < token.n; n++)
        assert_int_equal(s3_token_open(str_mk(token.p, n), &back), ERR_INVALID);
    assert_int_equal(s3_token_open(S("some/key"), &back), ERR_INVALID);
    assert_int_equal(back.n, 0);
}

/* --- authorization */

#define V4(credential) "AWS4-HMAC-SHA256 Credential=" credential ", SignedHeaders=host;x-amz-date, Signature=abcd"

static void authorization(void **state)
{
    (void)state;
    struct s3_auth_v4 v4;
    assert_int_equal(s3_auth_parse_v4(S(V4("alice/20261120/us-east-1/s3/aws4_request")), &v4), 0);
    assert_str(v4.access_key, "alice");
    assert_str(v4.date, "20261120");
    assert_str(v4.region, "us-east-1");
    assert_str(v4.service, "s3");
    assert_str(v4.signed_headers, "host;x-amz-date");
    assert_str(v4.signature, "abcd");
    assert_int_equal(s3_auth_parse_v4(S(V4("a/b/20261120//s3/aws4_request")), &v4), 0);
    assert_str(v4.access_key, "a/b");
    assert_int_equal(
        s3_auth_parse_v4(S("AWS4-HMAC-SHA256 Credential=k/20261120/r/s3/aws4_request,SignedHeaders=h,Signature=s"),
                         &v4),
        0);
    assert_int_equal(s3_auth_parse_v4(S(V4("alice/20261120/us-east-1/s3")), &v4), ERR_AUTH_HEADER);
    assert_int_equal(s3_auth_parse_v4(S(V4("/20261120/us-east-1/s3/aws4_request")), &v4), ERR_AUTH_HEADER);
    assert_int_equal(s3_auth_parse_v4(S("AWS4-HMAC-SHA256"), &v4), ERR_AUTH_HEADER);
    assert_int_equal(s3_auth_parse_v4(S("AWS4-HMAC-SHA256 nonsense"), &v4), ERR_AUTH_HEADER);
}

static int identify(const char *header, const char *query, bool nosasl, struct s3_auth_user *ret)
{
    struct s3_auth *a;
    struct s3_uri_query q;
    char room[512];
    assert_int_equal(s3_uri_query_parse(S(query), room, &q), 0);
    assert_int_equal(s3_auth_new(nosasl, &a), 0);
    struct s3_auth_request r = {.query = &q, .authorization = S(header)};
    int code = s3_auth_identify(a, &r, ret);
    if (!code && ret->form == AUTH_ANONYMOUS)
        assert_string_equal(ret->name, s3_auth_self(a));
    s3_auth_free(a);
    return code;
}

static void users(void **state)
{
    (void)state;
    struct s3_auth_user u;
    const char *v4 = V4("alice/20261120/us-east-1/s3/aws4_request");
    assert_int_equal(identify(NULL, "", false, &u), 0);
    assert_int_equal(u.form, AUTH_ANONYMOUS);
    assert_int_equal(identify(v4, "", false, &u), 0);
    assert_int_equal(u.form, AUTH_HEADER_V4);
    assert_string_equal(u.name, "alice");
    assert_int_equal(identify(v4, "", true, &u), 0);
    assert_int_equal(u.form, AUTH_ANONYMOUS);
    assert_int_equal(identify("AWS bob:c2ln", "", false, &u), 0);
    assert_string_equal(u.name, "bob");
    assert_int_equal(identify(NULL, "AWSAccessKeyId=eve&Signature=x&Expires=1", false, &u), 0);
    assert_string_equal(u.name, "eve");
    assert_int_equal(
        identify(NULL,
                 "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=carol%2F20261120%2Fr%2Fs3%2Faws4_request"
                 "&X-Amz-Date=20261120T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=ab",
                 false, &u),
        0);
    assert_string_equal(u.name, "carol");
    assert_int_equal(u.form, AUTH_QUERY_V4);
}

static void bad_users(void **state)
{
    (void)state;
    struct s3_auth_user u = {.name = "untouched"};
    assert_int_equal(identify("AWS bob", "", false, &u), ERR_AUTH_HEADER);
    assert_int_equal(identify("AWS4-HMAC-SHA256 Credential=x", "", false, &u), ERR_AUTH_HEADER);
    assert_int_equal(identify("Bearer x", "", false, &u), ERR_INVALID);
    assert_int_equal(identify("AWS4-ECDSA-P256-SHA256 Credential=x", "", false, &u), ERR_NOT_IMPLEMENTED);
    assert_int_equal(identify(NULL, "X-Amz-Algorithm=AWS4-HMAC-SHA256", false, &u), ERR_AUTH_QUERY);
    assert_int_equal(identify(NULL, "X-Amz-Algorithm=X", false, &u), ERR_AUTH_QUERY);
    assert_int_equal(identify(V4("al\nice/20261120/us-east-1/s3/aws4_request"), "", false, &u), ERR_AUTH_HEADER);
    assert_string_equal(u.name, "untouched");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),        cmocka_unit_test(no_range),        cmocka_unit_test(copy_ranges),
        cmocka_unit_test(etag_lists),    cmocka_unit_test(reads),           cmocka_unit_test(precedence),
        cmocka_unit_test(copies),        cmocka_unit_test(dates),           cmocka_unit_test(if_range),
        cmocka_unit_test(sums),          cmocka_unit_test(sum_names),       cmocka_unit_test(combining),
        cmocka_unit_test(parts_full),    cmocka_unit_test(parts_composite), cmocka_unit_test(parts_missing),
        cmocka_unit_test(paths),         cmocka_unit_test(bad_paths),       cmocka_unit_test(new_buckets),
        cmocka_unit_test(copy_sources),  cmocka_unit_test(hosts),           cmocka_unit_test(queries),
        cmocka_unit_test(encoding),      cmocka_unit_test(tag_headers),     cmocka_unit_test(tag_lengths),
        cmocka_unit_test(tag_documents), cmocka_unit_test(tokens),          cmocka_unit_test(altered_tokens),
        cmocka_unit_test(authorization), cmocka_unit_test(users),           cmocka_unit_test(bad_users),
    };
    return cmocka_run_group_tests_name("s3 pure", tests, NULL, NULL);
}
