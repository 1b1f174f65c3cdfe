/* SPDX-License-Identifier: Apache-2.0
 *
 * The S3 endpoint over real connections, with a door in memory (fake_fs.h): what each action asks the door for, and
 * what the peer gets to see, byte by byte where it matters.
 */
#include "cm.h"
#include "fake_fs.h"
#include "base/log.h"
#include "conf/conf.h"
#include "netpeer.h"
#include "s3/s3.h"

static struct s3 *server;
static struct conf *conf;
static int fd;
static struct answer a;

/* --- asking */

static void send_head(const char *line, const char *headers, size_t body_n, bool has_body)
{
    struct buf b AUTO_BUF = {0};
    buf_printf(&b, "%s HTTP/1.1\r\nHost: h\r\n%s", line, headers);
    if (has_body)
        buf_printf(&b, "Content-Length: %zu\r\n", body_n);
    buf_putz(&b, "\r\n");
    peer_send_n(fd, b.p, b.n);
}

static void ask_n(int status, const char *line, const char *headers, const void *body, size_t n)
{
    send_head(line, headers, n, body);
    if (n)
        peer_send_n(fd, body, n);
    peer_read(fd, &a, strncmp(line, "HEAD ", 5) == 0);
    if (a.status != status || !a.whole)
        fail_msg("%d instead of %d to %s\n%s%s", a.status, status, line, a.head.p, a.body.p ? a.body.p : "");
}

static void ask(int status, const char *line, const char *headers, const char *body)
{
    ask_n(status, line, headers, body, body ? strlen(body) : 0);
}

static void reconnect(void)
{
    if (fd >= 0)
        close(fd);
    fd = peer_connect(atoi(strrchr(s3_address(server, 0), ':') + 1));
}

static void expect_header(const char *name, const char *value)
{
    const char *v = answer_header(&a, name);
    if (!v && !value)
        return;
    if (!v || !value || strcmp(v, value) != 0)
        fail_msg("%s: %s instead of %s", name, v ? v : "(absent)", value ? value : "(absent)");
}

static void expect_body(const char *want)
{
    assert_string_equal(a.body.p ? a.body.p : "", want);
}

static void expect_in_body(const char *want)
{
    if (!a.body.p || !strstr(a.body.p, want))
        fail_msg("no %s in\n%s", want, a.body.p);
}

static void expect_error(const char *code)
{
    struct buf b AUTO_BUF = {0};
    buf_printf(&b, "<Code>%s</Code>", code);
    expect_header("Content-Type", "application/xml");
    assert_int_equal(strlen(answer_header(&a, "x-amz-request-id")), 16);
    expect_in_body(b.p);
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fd = -1;
    reconnect();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(fd);
    answer_done(&a);
    return 0;
}

/* --- put, get, head, delete */

static void put_and_get(void **state)
{
    (void)state;
    ask(200, "PUT /demo/a/b%20c", "Content-Type: text/plain\r\nX-Amz-Meta-Colour: blue\r\nCache-Control: no-store\r\n",
        "hello");
    expect_header("ETag", "\"5d41402abc4b2a76b9719d911017c592\"");
    expect_header("x-forebay-state", "NOT_PERSISTED");
    expect_header("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="); /* the default, as AWS computes it */
    expect_header("x-amz-checksum-type", "FULL_OBJECT");
    ask(200, "GET /demo/a/b%20c", "", NULL);
    expect_body("hello");
    expect_header("Content-Length", "5");
    expect_header("ETag", "\"5d41402abc4b2a76b9719d911017c592\"");
    expect_header("Content-Type", "text/plain");
    expect_header("Cache-Control", "no-store");
    expect_header("x-amz-meta-colour", "blue");
    expect_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    expect_header("Accept-Ranges", "bytes");
    expect_header("x-forebay-state", "NOT_PERSISTED");
    expect_header("x-amz-checksum-crc64nvme", NULL); /* only when asked for */
    assert_int_equal(strlen(answer_header(&a, "x-amz-request-id")), 16);
}

static void head_and_delete(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "", "hello");
    ask(200, "HEAD /demo/k", "x-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_header("Content-Length", "5");
    expect_header("Content-Type", "binary/octet-stream");
    expect_header("x-amz-checksum-crc64nvme", "M3eFcAZSQlc=");
    ask(204, "DELETE /demo/k", "", NULL);
    ask(204, "DELETE /demo/k", "", NULL);
    ask(404, "HEAD /demo/k", "", NULL);
    assert_int_equal(a.body.n, 0);
    ask(404, "GET /demo/k", "", NULL);
    expect_error("NoSuchKey");
    expect_in_body("<Resource>/demo/k</Resource>");
    ask(404, "GET /other/k", "", NULL);
    expect_error("NoSuchBucket");
}

/* What was read is durable before the answer leaves. */
static void reads_settle(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "", "hello");
    fake.settled = 0;
    ask(200, "HEAD /demo/k", "", NULL);
    assert_int_equal(fake.settled, fake.next_content);
    fake.settled = 0;
    ask(200, "GET /demo?list-type=2", "", NULL);
    assert_int_equal(fake.settled, fake.next_content);
}

static void put_big(size_t n, char **ret)
{
    char *p = mem_alloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 31 + i / 251);
    ask_n(200, "PUT /demo/big", "", p, n);
    *ret = p;
}

static void large(void **state)
{
    (void)state;
    size_t n = 1000003;
    char *p AUTO_FREE = NULL;
    put_big(n, &p);
    assert_true(fake.writes >= 2 && fake.writes <= 8); /* streamed in pieces, not gathered whole */
    ask(200, "GET /demo/big", "", NULL);
    assert_int_equal(a.body.n, n);
    assert_memory_equal(a.body.p, p, n);
    assert_true(fake.ranges > 1); /* by sendfile */
    fake.no_ranges = true;
    ask(206, "GET /demo/big", "Range: bytes=1000-500000\r\n", NULL);
    assert_int_equal(a.body.n, 499001);
    assert_memory_equal(a.body.p, p + 1000, 499001);
    expect_header("Content-Range", "bytes 1000-500000/1000003");
}

static void ranges(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "", "0123456789");
    ask(206, "GET /demo/k", "Range: bytes=-3\r\nx-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_body("789");
    expect_header("Content-Range", "bytes 7-9/10");
    expect_header("x-amz-checksum-crc64nvme", NULL); /* it is not that of the range */
    ask(416, "GET /demo/k", "Range: bytes=10-\r\n", NULL);
    expect_error("InvalidRange");
    ask(200, "GET /demo/k", "Range: bytes=0-1,4-5\r\n", NULL);
    ask(206, "HEAD /demo/k", "Range: bytes=0-1\r\n", NULL);
    expect_header("Content-Length", "2");
    ask(200, "GET /demo/k", "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n", NULL);
    ask(206, "GET /demo/k", "Range: bytes=0-1\r\nIf-Range: \"781e5e245d69b566979b86e28d23f2c7\"\r\n", NULL);
    ask(206, "GET /demo/k?partNumber=1", "", NULL);
    ask(416, "GET /demo/k?partNumber=2", "", NULL);
    ask(400, "GET /demo/k?partNumber=0", "", NULL);
    ask(400, "GET /demo/k?partNumber=1", "Range: bytes=0-1\r\n", NULL);
    expect_error("InvalidRequest");
}

static void empty_object(void **state)
{
    (void)state;
    ask(200, "PUT /demo/empty", "", "");
    expect_header("ETag", "\"d41d8cd98f00b204e9800998ecf8427e\"");
    ask(200, "GET /demo/empty", "", NULL);
    assert_int_equal(a.body.n, 0);
    ask(416, "GET /demo/empty", "Range: bytes=0-\r\n", NULL);
}

static void conditions(void **state)
{
    (void)state;
    const char *etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    ask(200, "PUT /demo/k", "If-None-Match: *\r\n", "hello");
    ask(412, "PUT /demo/k", "If-None-Match: *\r\n", "other");
    expect_error("PreconditionFailed");
    reconnect();
    ask(404, "PUT /demo/new", "If-Match: \"x\"\r\n", "other");
    reconnect();
    ask(304, "GET /demo/k", "If-None-Match: 5d41402abc4b2a76b9719d911017c592\r\n", NULL);
    expect_header("ETag", etag);
    expect_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    ask(304, "HEAD /demo/k", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", NULL);
    ask(412, "GET /demo/k", "If-Match: \"x\"\r\n", NULL);
    expect_error("PreconditionFailed");
    ask(412, "HEAD /demo/k", "If-Match: \"x\"\r\n", NULL);
    ask(412, "DELETE /demo/k", "If-Match: \"x\"\r\n", NULL);
    ask(204, "DELETE /demo/k", "If-Match: \"5d41402abc4b2a76b9719d911017c592\"\r\n", NULL);
}

static void overrides(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "Content-Type: text/plain\r\n", "hello");
    ask(200, "GET /demo/k?response-content-type=a%2Fb&response-content-disposition=attachment%3B%20filename%3Dx", "",
        NULL);
    expect_header("Content-Type", "a/b");
    expect_header("Content-Disposition", "attachment; filename=x");
    ask(400, "GET /demo/k?response-content-type=a%0d%0aSet-Cookie:%20x", "", NULL);
    expect_error("InvalidArgument");
}

static void metadata_limit(void **state)
{
    (void)state;
    struct buf b AUTO_BUF = {0};
    buf_putz(&b, "x-amz-meta-k: ");
    for (int i = 0; i < 2047; i++)
        buf_putz(&b, "v");
    buf_putz(&b, "\r\n");
    ask(200, "PUT /demo/k", b.p, "x");
    b.n -= 2;
    buf_putz(&b, "v\r\n");
    ask(400, "PUT /demo/k", b.p, "x");
    expect_error("MetadataTooLarge");
    reconnect();
    ask(200, "PUT /demo/k", "x-amz-meta-a: 1\r\nX-AMZ-META-A: 2\r\n", "x");
    ask(200, "HEAD /demo/k", "", NULL);
    expect_header("x-amz-meta-a", "1,2");
}

static void no_length(void **state)
{
    (void)state;
    ask(411, "PUT /demo/k", "", NULL);
    expect_error("MissingContentLength");
    reconnect();
    send_head("PUT /demo/k", "Transfer-Encoding: chunked\r\n", 0, false);
    peer_send(fd, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 200);
    ask(200, "GET /demo/k", "", NULL);
    expect_body("abcde");
}

static void refused_names(void **state)
{
    (void)state;
    ask(400, "PUT /demo/.forebay/tmp/x", "", "x");
    expect_error("InvalidURI");
    reconnect();
    ask(400, "PUT /demo/%ff", "", "x");
    expect_error("InvalidURI");
    reconnect();
    ask(400, "GET /demo/a%00", "", NULL);
    expect_error("InvalidURI");
    ask(400, "GET /..", "", NULL);
    expect_error("InvalidBucketName");
}

static void refused_headers(void **state)
{
    (void)state;
    static const char *const bad[] = {"x-amz-server-side-encryption: AES256\r\n",
                                      "X-Amz-Object-Lock-Mode: COMPLIANCE\r\n",
                                      "x-amz-acl: public-read\r\n",
                                      "x-amz-grant-read: id=1\r\n",
                                      "x-amz-storage-class: GLACIER\r\n",
                                      "x-amz-write-offset-bytes: 5\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ask(501, "PUT /demo/k", bad[i], "x");
        expect_error("NotImplemented");
        reconnect();
    }
    ask(200, "PUT /demo/k", "x-amz-acl: private\r\nx-amz-storage-class: STANDARD\r\n", "x");
}

static void not_implemented(void **state)
{
    (void)state;
    ask(501, "GET /demo?acl", "", NULL);
    expect_error("NotImplemented");
    ask(501, "PUT /demo/k?retention", "", "<Retention/>");
    expect_error("NotImplemented");
    reconnect();
    ask(405, "PATCH /demo/k", "", "");
    expect_error("MethodNotAllowed");
}

/* An error document is readable whatever the key holds. */
static void errors_are_xml(void **state)
{
    (void)state;
    ask(404, "GET /demo/%01%1f&x", "", NULL);
    expect_in_body("<Resource>/demo/%01%1f&amp;x</Resource>");
    fake.fail_create = ERR_KEY_UNSUPPORTED;
    ask(400, "PUT /demo/k", "", "x");
    expect_in_body("<Message>a failure ? that was asked for</Message>");
}

static void virtual_host(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "", "hello");
    peer_ask(fd, "GET /k HTTP/1.1\r\nHost: Demo.s3.test:80\r\n\r\n", 200, &a);
    expect_body("hello");
    peer_ask(fd, "GET /?list-type=2 HTTP/1.1\r\nHost: demo.s3.test\r\n\r\n", 200, &a);
    expect_in_body("<Name>demo</Name>");
    peer_ask(fd, "GET /demo/k HTTP/1.1\r\nHost: s3.test\r\n\r\n", 200, &a);
    peer_ask(fd, "GET /k HTTP/1.1\r\nHost: none.s3.test\r\n\r\n", 404, &a);
    expect_error("NoSuchBucket");
}

static void users(void **state)
{
    (void)state;
    ask(400, "GET /", "Authorization: AWS4-HMAC-SHA256 Credential=nonsense\r\n", NULL);
    expect_error("AuthorizationHeaderMalformed");
    ask(200, "GET /",
        "Authorization: AWS4-HMAC-SHA256 Credential=alice/20261120/us-east-1/s3/aws4_request, SignedHeaders=host, "
        "Signature=0\r\n",
        NULL);
}

/* --- failures of the door */

static void no_space(void **state)
{
    (void)state;
    fake.fail_create = ERR_NO_SPACE;
    ask(507, "PUT /demo/k", "", "x");
    expect_error("InsufficientCapacity");
}

static void read_fails_first(void **state)
{
    (void)state;
    char *p AUTO_FREE = NULL;
    put_big(500000, &p);
    fake.fail_read = ERR_UNREACHABLE;
    ask(503, "GET /demo/big", "", NULL);
    expect_error("ServiceUnavailable");
    expect_header("ETag", NULL); /* nothing is left of the answer that was prepared */
}

/* A body that breaks off is a cut connection, never a whole answer. */
static void read_fails_later(void **state)
{
    (void)state;
    char *p AUTO_FREE = NULL;
    put_big(500000, &p);
    fake.fail_read = ERR_CORRUPT;
    fake.fail_read_after = 250000;
    send_head("GET /demo/big", "", 0, false);
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_false(a.whole);
    fake.fail_read_after = 0;
    assert_true(peer_closed(fd));
}

/* --- checksums of bodies */

static void put_fails(const char *headers, const char *body, int status, const char *code)
{
    ask(status, "PUT /demo/sum", headers, body);
    expect_error(code);
    reconnect();
    ask(404, "HEAD /demo/sum", "", NULL);
}

static void header_sums(void **state)
{
    (void)state;
    put_fails("x-amz-checksum-crc32: AAAAAA==\r\n", "123456789", 400, "BadDigest");
    put_fails("x-amz-checksum-crc32: y/Q5Jg\r\n", "123456789", 400, "InvalidRequest");
    put_fails("x-amz-checksum-crc32: y/Q5Jg==\r\nx-amz-checksum-crc32c: 4waSgw==\r\n", "123456789", 400,
              "InvalidRequest");
    put_fails("x-amz-sdk-checksum-algorithm: CRC32\r\n", "123456789", 400, "InvalidRequest");
    put_fails("x-amz-sdk-checksum-algorithm: SHA1\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n", "123456789", 400,
              "InvalidRequest");
    put_fails("Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "123456789", 400, "BadDigest");
    put_fails("Content-MD5: xyz\r\n", "123456789", 400, "InvalidDigest");
    put_fails("x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n", "123456789",
              400, "XAmzContentSHA256Mismatch");
    put_fails("x-amz-content-sha256: nonsense\r\n", "123456789", 400, "InvalidArgument");
    put_fails("x-amz-content-sha256: STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD\r\n", "123456789", 501, "NotImplemented");
    ask(200, "PUT /demo/sum",
        "x-amz-checksum-crc32: y/Q5Jg==\r\nx-amz-sdk-checksum-algorithm: CRC32\r\nContent-MD5: "
        "JfnnlDI7RTiF9RgfG2JNCw==\r\n"
        "x-amz-content-sha256: 15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225\r\n",
        "123456789");
    expect_header("x-amz-checksum-crc32", "y/Q5Jg==");
    expect_header("x-amz-checksum-crc64nvme", NULL);
    ask(200, "GET /demo/sum", "x-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_header("x-amz-checksum-crc32", "y/Q5Jg==");
    expect_header("x-amz-checksum-type", "FULL_OBJECT");
}

#define TRAILER_HEADERS                                                                                                \
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nContent-Encoding: gzip,aws-chunked\r\n"               \
    "x-amz-decoded-content-length: 9\r\n"

static void trailers(void **state)
{
    (void)state;
    const char *announced =
        TRAILER_HEADERS "x-amz-trailer: x-amz-checksum-crc32\r\nx-amz-sdk-checksum-algorithm: CRC32\r\n";
    put_fails(announced, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 400, "BadDigest");
    put_fails(announced, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n", 400, "InvalidRequest");
    put_fails(announced, "9\r\n123456789\r\n0\r\n\r\n", 400, "MalformedTrailerError");
    put_fails(announced, "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32c:4waSgw==\r\n\r\n", 400, "MalformedTrailerError");
    put_fails(TRAILER_HEADERS "x-amz-trailer: x-amz-checksum-crc32\r\nx-amz-checksum-crc32: y/Q5Jg==\r\n",
              "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n", 400, "InvalidRequest");
    put_fails(TRAILER_HEADERS "x-amz-trailer: x-other\r\n", "9\r\n123456789\r\n0\r\n\r\n", 400, "InvalidRequest");
    put_fails(announced, "8\r\n12345678\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n", 400, "IncompleteBody");
    ask(200, "PUT /demo/sum", announced, "4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n");
    expect_header("x-amz-checksum-crc32", "y/Q5Jg==");
    ask(200, "GET /demo/sum", "", NULL);
    expect_body("123456789");
    expect_header("Content-Encoding", "gzip");
}

/* Nothing announced, nothing sent: passes, and gets the default checksum. */
static void no_trailer(void **state)
{
    (void)state;
    ask(200, "PUT /demo/sum", TRAILER_HEADERS, "9\r\n123456789\r\n0\r\n\r\n");
    expect_header("x-amz-checksum-crc64nvme", "rosUhgp5mIg=");
    /* without signing there is no x-amz-content-sha256 */
    ask(200, "PUT /demo/sum", "Content-Encoding: aws-chunked\r\nx-amz-decoded-content-length: 3\r\n",
        "3\r\nabc\r\n0\r\n\r\n");
    ask(200, "GET /demo/sum", "", NULL);
    expect_body("abc");
    expect_header("Content-Encoding", NULL);
    ask(204, "DELETE /demo/sum", "", NULL);
    put_fails("x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n", "0\r\n\r\n", 411, "MissingContentLength");
}

/* --- tags */

static void object_tags(void **state)
{
    (void)state;
    ask(200, "PUT /demo/k", "x-amz-tagging: a=1&b=x%20y\r\n", "x");
    ask(200, "HEAD /demo/k", "", NULL);
    expect_header("x-amz-tagging-count", "2");
    ask(200, "GET /demo/k?tagging", "", NULL);
    expect_in_body("<TagSet><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value>x y</Value></Tag></TagSet>");
    ask(200, "PUT /demo/k?tagging", "", "<Tagging><TagSet><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>");
    ask(200, "GET /demo/k?tagging", "", NULL);
    expect_in_body("<TagSet><Tag><Key>c</Key><Value></Value></Tag></TagSet>");
    ask(204, "DELETE /demo/k?tagging", "", NULL);
    ask(200, "GET /demo/k?tagging", "", NULL);
    expect_in_body("<TagSet></TagSet>");
    ask(404, "GET /demo/none?tagging", "", NULL);
    ask(400, "PUT /demo/k?tagging", "", "<Tagging>");
    expect_error("MalformedXML");
    ask(400, "PUT /demo/k", "x-amz-tagging: a=1&a=2\r\n", "x");
    expect_error("InvalidTag");
}

static void bucket_tags(void **state)
{
    (void)state;
    ask(404, "GET /demo?tagging", "", NULL);
    expect_error("NoSuchTagSet");
    ask(204, "PUT /demo?tagging", "", "<Tagging><TagSet><Tag><Key>c</Key><Value>d</Value></Tag></TagSet></Tagging>");
    ask(200, "GET /demo?tagging", "", NULL);
    expect_in_body("<Key>c</Key><Value>d</Value>");
    ask(204, "DELETE /demo?tagging", "", NULL);
    ask(404, "GET /demo?tagging", "", NULL);
}

/* --- buckets */

static void buckets(void **state)
{
    (void)state;
    ask(200, "PUT /new-bucket", "", NULL);
    expect_header("Location", "/new-bucket");
    ask(409, "PUT /new-bucket", "", NULL);
    expect_error("BucketAlreadyOwnedByYou");
    ask(400, "PUT /New_bucket", "", NULL);
    expect_error("InvalidBucketName");
    ask(200, "GET /", "", NULL);
    expect_in_body("<Bucket><Name>demo</Name><CreationDate>1994-11-06T08:49:37.500Z</CreationDate></Bucket><Bucket>"
                   "<Name>new-bucket</Name>");
    ask(200, "HEAD /new-bucket", "", NULL);
    ask(200, "GET /new-bucket?location", "", NULL);
    expect_in_body("<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></LocationConstraint>");
    ask(200, "GET /new-bucket?versioning", "", NULL);
    ask(404, "GET /none?versioning", "", NULL);
    ask(200, "PUT /new-bucket/k", "", "x");
    ask(409, "DELETE /new-bucket", "", NULL);
    expect_error("BucketNotEmpty");
    ask(204, "DELETE /new-bucket/k", "", NULL);
    ask(204, "DELETE /new-bucket", "", NULL);
    ask(404, "HEAD /new-bucket", "", NULL);
}

/* --- listings */

static void fill(const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf b AUTO_BUF = {0};
        buf_printf(&b, "PUT /demo/%s", keys[i]);
        ask(200, b.p, "", "x");
    }
}

static void list_whole(void **state)
{
    (void)state;
    static const char *const keys[] = {"a%01%3C%26", "d/x", "d/y", "z"};
    fill(keys, 4);
    ask(200, "GET /demo?list-type=2&delimiter=/&fetch-owner=false", "", NULL);
    expect_body(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>demo</Name><Prefix></Prefix>"
        "<Delimiter>/</Delimiter><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><KeyCount>3</KeyCount>"
        "<Contents><Key>a&#x1;&lt;&amp;</Key><LastModified>1994-11-06T08:49:37.500Z</LastModified>"
        "<ETag>&quot;9dd4e461268c8034f5c8564e155c67a6&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass>"
        "</Contents>"
        "<Contents><Key>z</Key><LastModified>1994-11-06T08:49:37.500Z</LastModified>"
        "<ETag>&quot;9dd4e461268c8034f5c8564e155c67a6&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass>"
        "</Contents>"
        "<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>");
    ask(200, "GET /demo?list-type=2&encoding-type=url&prefix=a", "", NULL);
    expect_in_body("<EncodingType>url</EncodingType>");
    expect_in_body("<Key>a%01%3C%26</Key>");
    ask(400, "GET /demo?list-type=2&encoding-type=base64", "", NULL);
    ask(400, "GET /demo?list-type=3", "", NULL);
    ask(400, "GET /demo?list-type=2&max-keys=-1", "", NULL);
    ask(400, "GET /demo?list-type=2&continuation-token=abc", "", NULL);
    expect_error("InvalidArgument");
    ask(404, "GET /none?list-type=2", "", NULL);
    expect_error("NoSuchBucket");
}

static bool element(const char *name, char *ret, size_t cap)
{
    char open[64], close_[64];
    snprintf(open, sizeof open, "<%s>", name);
    snprintf(close_, sizeof close_, "</%s>", name);
    const char *p = strstr(a.body.p, open), *end = p ? strstr(p, close_) : NULL;
    if (!end)
        return false;
    snprintf(ret, cap, "%.*s", (int)(end - p - (int)strlen(open)), p + strlen(open));
    return true;
}

/* Page after page of one entry; the names in order. */
static void walk(const char *query, char *ret, size_t cap)
{
    char token[1024] = "", truncated[8], name[256];
    ret[0] = 0;
    for (int i = 0; i < 20; i++) {
        char line[2048];
        snprintf(line, sizeof line, "GET /demo?list-type=2&max-keys=1%s%s%s", query,
                 *token ? "&continuation-token=" : "", token);
        ask(200, line, "", NULL);
        const char *p = strstr(a.body.p, "<CommonPrefixes>");
        assert_true(p ? element("CommonPrefixes", name, sizeof name) : element("Key", name, sizeof name));
        snprintf(ret + strlen(ret), cap - strlen(ret), "%s ", name);
        assert_true(element("IsTruncated", truncated, sizeof truncated));
        if (!strcmp(truncated, "false"))
            return;
        assert_true(element("NextContinuationToken", token, sizeof token));
    }
    fail_msg("no end: %s", ret);
}

static void list_pages(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b--1", "b--2", "c", "d--", "d--z", "e"};
    char got[1024];
    fill(keys, 7);
    walk("", got, sizeof got);
    assert_string_equal(got, "a b--1 b--2 c d-- d--z e ");
    walk("&delimiter=--", got, sizeof got);
    assert_string_equal(got, "a <Prefix>b--</Prefix> c <Prefix>d--</Prefix> e ");
    walk("&delimiter=-", got, sizeof got);
    assert_string_equal(got, "a <Prefix>b-</Prefix> c <Prefix>d-</Prefix> e ");
    walk("&delimiter=--&prefix=d", got, sizeof got);
    assert_string_equal(got, "<Prefix>d--</Prefix> ");
    walk("&start-after=b--1", got, sizeof got);
    assert_string_equal(got, "b--2 c d-- d--z e ");
    ask(200, "GET /demo?list-type=2&max-keys=0", "", NULL);
    expect_in_body("<IsTruncated>false</IsTruncated><KeyCount>0</KeyCount>");
    ask(200, "GET /demo?list-type=2&delimiter=--&max-keys=3", "", NULL);
    expect_in_body("<IsTruncated>true</IsTruncated><KeyCount>3</KeyCount>");
}

static void list_v1(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b/1", "b/2", "c"};
    fill(keys, 4);
    ask(200, "GET /demo?delimiter=/&max-keys=2", "", NULL);
    expect_in_body("<NextMarker>b/</NextMarker>");
    expect_in_body("<Marker></Marker>");
    ask(200, "GET /demo?delimiter=/&max-keys=2&marker=b/", "", NULL);
    expect_in_body("<Key>c</Key>");
    assert_null(strstr(a.body.p, "CommonPrefixes"));
    ask(200, "GET /demo?max-keys=2", "", NULL);
    assert_null(strstr(a.body.p, "NextMarker")); /* S3 gives it with a delimiter only */
    expect_in_body("<Owner>");
    ask(200, "GET /demo?versions&max-keys=1", "", NULL);
    expect_in_body("<Version><Key>a</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>");
    expect_in_body("<NextKeyMarker>a</NextKeyMarker>");
}

/* --- many deletes */

static void delete_many(void **state)
{
    (void)state;
    static const char *const keys[] = {"a", "b", "c"};
    fill(keys, 3);
    const char *doc =
        "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object><Object><Key>denied</Key></Object>"
        "<Object><Key>.forebay/x</Key></Object><Object><Key>b</Key><ETag>\"x\"</ETag></Object>"
        "<Object><Key>c</Key><VersionId>7</VersionId></Object></Delete>";
    ask(400, "POST /demo?delete", "", doc);
    expect_error("InvalidRequest");
    reconnect();
    char header[128], text[64];
    unsigned char raw[4];
    uint32_t crc = crc32_ieee(0, doc, strlen(doc));
    for (int i = 0; i < 4; i++)
        raw[i] = (unsigned char)(crc >> 8 * (3 - i));
    static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    snprintf(text, sizeof text, "%c%c%c%c%c%c==", b64[raw[0] >> 2], b64[(raw[0] & 3) << 4 | raw[1] >> 4],
             b64[(raw[1] & 15) << 2 | raw[2] >> 6], b64[raw[2] & 63], b64[raw[3] >> 2], b64[(raw[3] & 3) << 4]);
    snprintf(header, sizeof header, "x-amz-checksum-crc32: %s\r\n", text);
    ask(200, "POST /demo?delete", header, doc);
    expect_in_body(
        "<Deleted><Key>a</Key></Deleted><Deleted><Key>none</Key></Deleted><Error><Key>denied</Key><Code>AccessDenied"
        "</Code>");
    expect_in_body("<Error><Key>.forebay/x</Key><Code>InvalidURI</Code>");
    expect_in_body("<Error><Key>b</Key><Code>PreconditionFailed</Code>");
    expect_in_body("<Error><Key>c</Key><Code>InvalidArgument</Code>");
    ask(404, "HEAD /demo/a", "", NULL);
    ask(200, "HEAD /demo/b", "", NULL);
    ask(400, "POST /demo?delete", "x-amz-checksum-crc32: AAAAAA==\r\n", doc);
    expect_error("BadDigest");
}

static void delete_quietly(void **state)
{
    (void)state;
    static const char *const keys[] = {"a"};
    fill(keys, 1);
    /* MD5 of the document */
    ask(200, "POST /demo?delete", "Content-MD5: kr09joMOwMlnmHIATQxZjg==\r\n",
        "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>");
    expect_in_body("<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></DeleteResult>");
    ask(404, "HEAD /demo/a", "", NULL);
}

/* --- copies */

static void copies(void **state)
{
    (void)state;
    ask(200, "PUT /demo/src", "Content-Type: text/plain\r\nx-amz-meta-a: 1\r\nx-amz-tagging: t=1\r\n", "hello");
    ask(200, "PUT /demo/dst", "x-amz-copy-source: /demo/src\r\n", "");
    expect_in_body("<ETag>&quot;5d41402abc4b2a76b9719d911017c592&quot;</ETag>");
    expect_in_body("<ChecksumCRC64NVME>M3eFcAZSQlc=</ChecksumCRC64NVME>");
    ask(200, "HEAD /demo/dst", "", NULL);
    expect_header("x-amz-meta-a", "1");
    expect_header("x-amz-tagging-count", "1");
    ask(200, "PUT /demo/dst", "x-amz-copy-source: demo/src\r\nx-amz-metadata-directive: REPLACE\r\nx-amz-meta-b: 2\r\n",
        "");
    ask(200, "HEAD /demo/dst", "x-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_header("x-amz-meta-a", NULL);
    expect_header("x-amz-meta-b", "2");
    expect_header("Content-Type", "binary/octet-stream");
    expect_header("x-amz-tagging-count", "1");                 /* tags are copied all the same */
    expect_header("x-amz-checksum-crc64nvme", "M3eFcAZSQlc="); /* and belong to the bytes */
    ask(200, "PUT /demo/dst",
        "x-amz-copy-source: demo/src\r\nx-amz-tagging-directive: REPLACE\r\nx-amz-tagging: u=1&v=2\r\n", "");
    ask(200, "HEAD /demo/dst", "", NULL);
    expect_header("x-amz-meta-a", "1");
    expect_header("x-amz-tagging-count", "2");
    ask(200, "PUT /demo/dst", "x-amz-copy-source: demo/src\r\nx-amz-checksum-algorithm: CRC32\r\n", "");
    expect_in_body("<ChecksumCRC32>NhCmhg==</ChecksumCRC32>");
    ask(200, "HEAD /demo/dst", "x-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_header("x-amz-checksum-crc32", "NhCmhg==");
    expect_header("x-amz-checksum-crc64nvme", NULL);
}

static void copy_refusals(void **state)
{
    (void)state;
    ask(200, "PUT /demo/src", "", "hello");
    ask(400, "PUT /demo/src", "x-amz-copy-source: demo/src\r\n", "");
    expect_error("InvalidRequest");
    ask(200, "PUT /demo/src", "x-amz-copy-source: demo/src\r\nx-amz-metadata-directive: REPLACE\r\n", "");
    ask(404, "PUT /demo/dst", "x-amz-copy-source: demo/none\r\n", "");
    ask(400, "PUT /demo/dst", "x-amz-copy-source: demo\r\n", "");
    ask(400, "PUT /demo/dst", "x-amz-copy-source: demo/src\r\nx-amz-metadata-directive: WHATEVER\r\n", "");
    ask(412, "PUT /demo/dst", "x-amz-copy-source: demo/src\r\nx-amz-copy-source-if-match: \"x\"\r\n", "");
    ask(412, "PUT /demo/dst",
        "x-amz-copy-source: demo/src\r\nx-amz-copy-source-if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "");
    ask(404, "HEAD /demo/dst", "", NULL);
}

/* --- uploads */

#define UPLOAD "uploadId=0123456789abcdef0123456789abcdef"

static void upload(void **state)
{
    (void)state;
    ask(200, "POST /demo/up?uploads",
        "x-amz-checksum-algorithm: CRC32\r\nx-amz-checksum-type: FULL_OBJECT\r\nx-amz-meta-m: 1\r\n", "");
    expect_header("x-amz-checksum-algorithm", "CRC32");
    expect_in_body("<Bucket>demo</Bucket><Key>up</Key><UploadId>0123456789abcdef0123456789abcdef</UploadId>");
    ask(200, "PUT /demo/up?partNumber=1&" UPLOAD, "x-amz-checksum-crc32: m+Pgow==\r\n", "1234");
    expect_header("ETag", "\"81dc9bdb52d04dc20036dbd8313ed055\"");
    expect_header("x-amz-checksum-crc32", "m+Pgow==");
    ask(200, "PUT /demo/up?partNumber=3&" UPLOAD, "", "56789"); /* none sent: what the upload wants is computed */
    expect_header("x-amz-checksum-crc32", "Ex2gcA==");
    ask(200, "PUT /demo/up?partNumber=2&" UPLOAD, "", "not named");
    ask(200, "GET /demo/up?" UPLOAD, "", NULL);
    expect_in_body("<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>");
    expect_in_body("<Part><PartNumber>1</PartNumber><LastModified>1994-11-06T08:49:37.500Z</LastModified>"
                   "<ETag>&quot;81dc9bdb52d04dc20036dbd8313ed055&quot;</ETag><Size>4</Size>"
                   "<ChecksumCRC32>m+Pgow==</ChecksumCRC32></Part>");
    ask(200, "GET /demo?uploads", "", NULL);
    expect_in_body("<Upload><Key>up</Key><UploadId>0123456789abcdef0123456789abcdef</UploadId>");
    const char *doc = "<CompleteMultipartUpload>"
                      "<Part><PartNumber>1</PartNumber><ETag>\"81dc9bdb52d04dc20036dbd8313ed055\"</ETag></Part>"
                      "<Part><ETag>099ebea48ea9666a7da2177267983138</ETag><PartNumber>3</PartNumber>"
                      "<ChecksumCRC32>Ex2gcA==</ChecksumCRC32></Part></CompleteMultipartUpload>";
    ask(400, "POST /demo/up?" UPLOAD, "x-amz-checksum-crc32: AAAAAA==\r\nx-amz-checksum-type: FULL_OBJECT\r\n", doc);
    expect_error("BadDigest");
    ask(200, "POST /demo/up?" UPLOAD, "x-amz-mp-object-size: 9\r\n", doc);
    expect_in_body("<Location>http://h/demo/up</Location><Bucket>demo</Bucket><Key>up</Key>");
    expect_in_body("<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>");
    ask(200, "POST /demo/up?" UPLOAD, "", doc); /* again: the same answer */
    expect_in_body("<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>");
    ask(200, "GET /demo/up", "x-amz-checksum-mode: ENABLED\r\n", NULL);
    expect_body("123456789");
    expect_header("x-amz-checksum-crc32", "y/Q5Jg==");
    expect_header("x-amz-checksum-algorithm", NULL);
    expect_header("x-amz-meta-m", "1");
    ask(206, "GET /demo/up?partNumber=2", "", NULL);
    expect_body("56789");
    expect_header("Content-Range", "bytes 4-8/9");
    expect_header("x-amz-mp-parts-count", "2");
    ask(200, "GET /demo/up?attributes", "x-amz-object-attributes: ETag,Checksum,ObjectParts, ObjectSize\r\n", NULL);
    expect_in_body("<ETag>0123456789abcdef0123456789abcdef-2</ETag><Checksum><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>"
                   "<ChecksumType>FULL_OBJECT</ChecksumType></Checksum><ObjectParts><PartsCount>2</PartsCount>");
    expect_in_body("<ObjectSize>9</ObjectSize>");
}

static void upload_composite(void **state)
{
    (void)state;
    ask(200, "POST /demo/up?uploads", "x-amz-checksum-algorithm: SHA256\r\n", "");
    expect_header("x-amz-checksum-type", "COMPOSITE");
    ask(200, "PUT /demo/up?partNumber=1&" UPLOAD,
        "x-amz-checksum-sha256: ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=\r\n", "abc");
    ask(200, "POST /demo/up?" UPLOAD, "",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>900150983cd24fb0d6963f7d28e17f72</ETag></Part>"
        "</CompleteMultipartUpload>");
    expect_in_body("<ChecksumSHA256>T4tCwi3TcptRm6b2jS2nzFstYG0F2u1a1RKMwD5sY1g=-1</ChecksumSHA256>"
                   "<ChecksumType>COMPOSITE</ChecksumType>");
}

static void upload_copy(void **state)
{
    (void)state;
    ask(200, "PUT /demo/src", "", "0123456789");
    ask(200, "POST /demo/up?uploads", "", "");
    ask(200, "PUT /demo/up?partNumber=1&" UPLOAD,
        "x-amz-copy-source: /demo/src\r\nx-amz-copy-source-range: bytes=2-5\r\n", "");
    expect_in_body("<ETag>&quot;81b073de9370ea873f548e31b8adc081&quot;</ETag>"); /* of 2345 */
    ask(400, "PUT /demo/up?partNumber=2&" UPLOAD,
        "x-amz-copy-source: /demo/src\r\nx-amz-copy-source-range: bytes=2-50\r\n", "");
    expect_error("InvalidArgument");
    ask(412, "PUT /demo/up?partNumber=2&" UPLOAD,
        "x-amz-copy-source: /demo/src\r\nx-amz-copy-source-if-none-match: *\r\n", "");
}

static void upload_refusals(void **state)
{
    (void)state;
    ask(400, "POST /demo/up?uploads", "x-amz-checksum-algorithm: CRC64NVME\r\nx-amz-checksum-type: COMPOSITE\r\n", "");
    ask(400, "POST /demo/up?uploads", "x-amz-checksum-algorithm: SHA1\r\nx-amz-checksum-type: FULL_OBJECT\r\n", "");
    ask(400, "POST /demo/up?uploads", "x-amz-checksum-algorithm: MD4\r\n", "");
    ask(404, "PUT /demo/up?partNumber=1&uploadId=xyz", "", "x");
    expect_error("NoSuchUpload");
    reconnect();
    ask(404, "PUT /demo/up?partNumber=1&" UPLOAD, "", "x");
    expect_error("NoSuchUpload");
    reconnect();
    ask(200, "POST /demo/up?uploads", "", "");
    ask(400, "PUT /demo/up?partNumber=0&" UPLOAD, "", "x");
    reconnect();
    ask(400, "PUT /demo/up?partNumber=10001&" UPLOAD, "", "x");
    expect_error("InvalidArgument");
    reconnect();
    ask(400, "POST /demo/up?" UPLOAD, "", "<CompleteMultipartUpload/>");
    expect_error("MalformedXML");
    ask(400, "POST /demo/up?" UPLOAD, "",
        "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>a</ETag></Part><Part><PartNumber>1</PartNumber>"
        "<ETag>a</ETag></Part></CompleteMultipartUpload>");
    expect_error("InvalidPartOrder");
    ask(400, "POST /demo/up?" UPLOAD, "",
        "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>");
    expect_error("InvalidPart");
    ask(204, "DELETE /demo/up?" UPLOAD, "", NULL);
    ask(404, "DELETE /demo/up?" UPLOAD, "", NULL);
}

/* --- figures */

static void figures(void **state)
{
    (void)state;
    struct s3_action_figures before, after;
    size_t put = 0, other = 0;
    while (s3_figures(server, put, &before) && strcmp(before.action, "PutObject") != 0)
        put++;
    while (s3_figures(server, other, &after) && strcmp(after.action, "Other") != 0)
        other++;
    uint64_t others = after.count;
    ask(200, "PUT /demo/k", "", "hello");
    ask(405, "PATCH /demo/k", "", "");
    ask(200, "GET /", "", NULL); /* requests of a connection are handled, and counted, in order */
    s3_figures(server, put, &after);
    assert_int_equal(after.count, before.count + 1);
    assert_int_equal(after.bytes_in, before.bytes_in + 5);
    uint64_t sum = 0;
    for (int i = 0; i < S3_BUCKETS; i++)
        sum += after.bucket[i];
    assert_int_equal(sum, after.count);
    assert_true(s3_figures(server, other, &after));
    assert_int_equal(after.count, others + 1);
    assert_false(s3_figures(server, other + 1, &after));
}

static int start(void **state)
{
    (void)state;
    const char *listen[] = {"127.0.0.1:0"};
    log_set_level(LOG_ERROR);
    conf = conf_new(CONF_STANDALONE);
    conf_set(conf, "forebay.s3.virtual.host.domains", "s3.test", "test");
    struct s3_options o = {.fs = NULL, .conf = conf, .listen = listen, .n_listen = 1};
    return s3_new(&o, &server);
}

static int stop(void **state)
{
    (void)state;
    server = s3_free(server);
    conf_free(conf);
    fake_reset();
    fake_object_free(fake.o[--fake.n]);
    return 0;
}

static void unbuilt_authentication(void **state)
{
    (void)state;
    struct s3 *none = NULL;
    struct conf *c AUTO_CONF = conf_new(CONF_STANDALONE);
    struct s3_options o = {.conf = c};
    assert_int_equal(conf_set(c, "alluxio.security.authentication.type", "OIDC", "test"), 0);
    assert_int_equal(s3_new(&o, &none), ERR_NOT_IMPLEMENTED);
    assert_null(none);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(put_and_get),      T(head_and_delete),
        T(reads_settle),     T(large),
        T(ranges),           T(empty_object),
        T(conditions),       T(overrides),
        T(metadata_limit),   T(no_length),
        T(refused_names),    T(refused_headers),
        T(not_implemented),  T(users),
        T(virtual_host),     T(errors_are_xml),
        T(no_space),         T(read_fails_first),
        T(read_fails_later), T(header_sums),
        T(trailers),         T(no_trailer),
        T(object_tags),      T(bucket_tags),
        T(buckets),          T(list_whole),
        T(list_pages),       T(list_v1),
        T(delete_many),      T(delete_quietly),
        T(copies),           T(copy_refusals),
        T(upload),           T(upload_composite),
        T(upload_copy),      T(upload_refusals),
        T(figures),          T(unbuilt_authentication),
    };
    return cmocka_run_group_tests_name("s3 actions", tests, start, stop);
}
