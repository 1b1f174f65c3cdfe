/* SPDX-License-Identifier: Apache-2.0
 * The aws-chunked framings, as clients send them and as nobody should. */
#include "cm.h"
#include "base/buf.h"
#include "base/err.h"
#include "net/aws_chunked.h"

#define SIG1 "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
#define SIG2 "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
#define EXT1 ";chunk-signature=" SIG1
#define EXT2 ";chunk-signature=" SIG2

struct source {
    struct str in;
    size_t step;
    int error; /* instead of the end */
};

static ssize_t source_read(void *arg, void *p, size_t n)
{
    struct source *s = arg;
    n = n < s->step ? n : s->step;
    n = n < s->in.n ? n : s->in.n;
    if (!n)
        return s->error;
    memcpy(p, s->in.p, n);
    s->in = str_from(s->in, n);
    return (ssize_t)n;
}

static struct {
    char text[512]; /* "size:first 4 of signature " per chunk */
    int refuse_at, n, code;
} chunks;

static int note_chunk(void *arg, uint64_t size, struct str signature)
{
    (void)arg;
    assert_true(signature.n == 64 || signature.n == 0);
    size_t n = strlen(chunks.text);
    snprintf(chunks.text + n, sizeof chunks.text - n, "%llu:%.*s ", (unsigned long long)size, signature.n ? 4 : 0,
             signature.p);
    return ++chunks.n == chunks.refuse_at ? chunks.code : 0;
}

static struct aws_chunked dec;

/* 0 and the decoded bytes in out, or the error. */
static int decode(enum aws_chunked_kind kind, struct str in, size_t step, int64_t length, struct buf *out)
{
    struct source s = {in, step, 0};
    chunks.text[0] = 0;
    chunks.n = 0;
    aws_chunked_init(&dec,
                     &(struct aws_chunked_options){
                         .kind = kind, .decoded_length = length, .read = source_read, .arg = &s, .chunk = note_chunk});
    buf_reset(out);
    for (;;) {
        char p[7];
        ssize_t r = aws_chunked_read(&dec, p, sizeof p);
        if (r <= 0) {
            assert_int_equal(aws_chunked_read(&dec, p, sizeof p), r); /* an end or an error stays */
            return (int)r;
        }
        buf_add(out, p, (size_t)r);
    }
}

static void a_signed_body_is_decoded(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    const char in[] = "5" EXT1 "\r\nhello\r\n00B" EXT2 "\r\n, big world\r\n0" EXT1 "\r\n\r\n";
    for (size_t step = 1; step < 400; step = step * 2 + 1) {
        assert_int_equal(decode(AWS_CHUNKED_SIGNED, str_of(in), step, 16, &b), 0);
        assert_string_equal(b.p, "hello, big world");
        assert_string_equal(chunks.text, "5:ad80 11:0055 0:ad80 ");
        assert_int_equal(aws_chunked_trailer_count(&dec), 0);
    }
}

/* An empty line before the signature and LF alone after a trailer: the form in the documents; and the plain form. */
static void signed_trailers_come_in_two_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "2" EXT1 "\r\nhi\r\n0" EXT2 "\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:" SIG1 "\r\n\r\n",
        "2" EXT1 "\r\nhi\r\n0" EXT2 "\r\nX-Amz-Checksum-Crc32c: sOO8/Q==\r\nx-amz-trailer-signature:" SIG1 "\r\n\r\n",
    };
    struct buf b AUTO_BUF = {0};
    for (size_t i = 0; i < 2; i++)
        for (size_t step = 1; step < 400; step = step * 2 + 1) {
            assert_int_equal(decode(AWS_CHUNKED_SIGNED_TRAILER, str_of(forms[i]), step, 2, &b), 0);
            assert_string_equal(b.p, "hi");
            assert_int_equal(aws_chunked_trailer_count(&dec), 2);
            assert_true(str_eq(aws_chunked_trailer(&dec, "x-amz-checksum-crc32c"), STR("sOO8/Q==")));
            assert_true(str_eq(aws_chunked_trailer(&dec, "x-amz-trailer-signature"), STR(SIG1)));
            assert_null(aws_chunked_trailer(&dec, "x-amz-checksum-sha1").p);
            buf_reset(&b);
            aws_chunked_trailer_canonical(&dec, &b);
            assert_string_equal(b.p, "x-amz-checksum-crc32c:sOO8/Q==\n");
        }
}

static void unsigned_bodies_need_no_trailer(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, STR("0\r\n\r\n"), 9, 0, &b), 0);
    assert_int_equal(b.n, 0);
    assert_int_equal(
        decode(AWS_CHUNKED_UNSIGNED_TRAILER, STR("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"), 9, 3, &b), 0);
    assert_string_equal(b.p, "abc");
    assert_true(str_eq(aws_chunked_trailer_at(&dec, 0)->value, STR("AAAA")));
    /* Without an announced length any sum is fine. */
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, STR("3\r\nabc\r\n0\r\n\r\n"), 9, -1, &b), 0);
}

static const struct {
    enum aws_chunked_kind kind;
    const char *in;
    int64_t length;
    int code;
} bad[] = {
    /* cut short, at every kind of place */
    {AWS_CHUNKED_UNSIGNED_TRAILER, "", 0, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\n", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nab", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\r\n", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\r\n0\r\n", 3, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\r\n0\r\na:b\r\n", 3, ERR_INCOMPLETE_BODY},
    /* the announced length */
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\r\n0\r\n\r\n", 4, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\r\n0\r\n\r\n", 2, ERR_INCOMPLETE_BODY},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", 3, ERR_INCOMPLETE_BODY},
    /* framing */
    {AWS_CHUNKED_UNSIGNED_TRAILER, "\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "x\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3 \r\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "10000000000000000\r\n", -1, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabcd\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3\r\nabc\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "3" EXT1 "\r\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_SIGNED, "3\r\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_SIGNED, "3" EXT1 "0\r\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    {AWS_CHUNKED_SIGNED, "3;chunk-signature=zz80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n", 3,
     ERR_INVALID},
    {AWS_CHUNKED_SIGNED, "3;x=y\r\nabc\r\n0\r\n\r\n", 3, ERR_INVALID},
    /* trailers */
    {AWS_CHUNKED_SIGNED, "0" EXT1 "\r\na:b\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\nab\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\n:b\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\na b:c\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\na:b\x01\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\na:b\r\nA:c\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\n\r\na:b\r\n\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\n\r\n3\r\nabc\r\n", 0, ERR_INVALID},
    {AWS_CHUNKED_UNSIGNED_TRAILER, "0\r\n\r\n\r\n\r\n\r\n\r\n\r\n", 0, ERR_INVALID},
};

static void broken_framing_is_refused_exactly(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t step = 1; step < 200; step = step * 3 + 1) {
            int got = decode(bad[i].kind, str_of(bad[i].in), step, bad[i].length, &b);
            if (got != bad[i].code)
                fail_msg("case %zu, step %zu: %s instead of %s", i, step, got ? err_info(got)->name : "taken",
                         err_info(bad[i].code)->name);
        }
}

static void lines_and_trailers_have_limits(void **state)
{
    (void)state;
    struct buf in AUTO_BUF = {0}, out AUTO_BUF = {0};
    for (int i = 0; i < 300; i++)
        buf_putz(&in, "0");
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, buf_str(&in), 50, 0, &out), ERR_INVALID);
    buf_reset(&in);
    buf_putz(&in, "0\r\n");
    for (int i = 0; i < AWS_CHUNKED_TRAILERS_MAX; i++)
        buf_printf(&in, "t%d:v\r\n", i);
    size_t all = in.n;
    buf_putz(&in, "\r\n");
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, buf_str(&in), 50, 0, &out), 0);
    in.n = all;
    buf_putz(&in, "more:v\r\n\r\n");
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, buf_str(&in), 50, 0, &out), ERR_INVALID);
    buf_reset(&in);
    buf_putz(&in, "0\r\na:");
    for (int i = 0; i < AWS_CHUNKED_TRAILER_BYTES; i++)
        buf_putz(&in, "v");
    buf_putz(&in, "\r\n\r\n");
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, buf_str(&in), 5000, 0, &out), ERR_INVALID);
}

static void a_large_chunk_is_refused(void **state)
{
    (void)state;
    struct source s = {STR("11\r\n"), 100, 0};
    char p[1];
    aws_chunked_init(&dec, &(struct aws_chunked_options){.kind = AWS_CHUNKED_UNSIGNED_TRAILER,
                                                         .decoded_length = -1,
                                                         .chunk_max = 16,
                                                         .read = source_read,
                                                         .arg = &s});
    assert_int_equal(aws_chunked_read(&dec, p, 1), ERR_TOO_LARGE);
}

static void errors_of_others_pass_through(void **state)
{
    (void)state;
    struct source s = {STR("5\r\nab"), 100, ERR_TIMEOUT};
    char p[8];
    aws_chunked_init(&dec,
                     &(struct aws_chunked_options){
                         .kind = AWS_CHUNKED_UNSIGNED_TRAILER, .decoded_length = 5, .read = source_read, .arg = &s});
    assert_int_equal(aws_chunked_read(&dec, p, 8), 2);
    assert_int_equal(aws_chunked_read(&dec, p, 8), ERR_TIMEOUT);
    struct buf b AUTO_BUF = {0};
    chunks.refuse_at = 2;
    chunks.code = ERR_DENIED;
    assert_int_equal(decode(AWS_CHUNKED_UNSIGNED_TRAILER, STR("1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), 100, 2, &b),
                     ERR_DENIED);
    assert_string_equal(b.p, "a");
    chunks.refuse_at = 0;
}

static void kinds_have_names(void **state)
{
    (void)state;
    enum aws_chunked_kind k;
    assert_true(aws_chunked_kind(STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), &k) && k == AWS_CHUNKED_SIGNED);
    assert_true(aws_chunked_kind(STR("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"), &k) &&
                k == AWS_CHUNKED_SIGNED_TRAILER);
    assert_true(aws_chunked_kind(STR("STREAMING-UNSIGNED-PAYLOAD-TRAILER"), &k) && k == AWS_CHUNKED_UNSIGNED_TRAILER);
    assert_false(aws_chunked_kind(STR("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), &k));
    assert_false(aws_chunked_kind(STR("UNSIGNED-PAYLOAD"), &k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_body_is_decoded),        cmocka_unit_test(signed_trailers_come_in_two_forms),
        cmocka_unit_test(unsigned_bodies_need_no_trailer), cmocka_unit_test(broken_framing_is_refused_exactly),
        cmocka_unit_test(lines_and_trailers_have_limits),  cmocka_unit_test(a_large_chunk_is_refused),
        cmocka_unit_test(errors_of_others_pass_through),   cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
