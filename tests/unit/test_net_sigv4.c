/* SPDX-License-Identifier: Apache-2.0
 *
 * SigV4 against the published examples of Amazon's documentation and signature test suite.
 */
#include "cm.h"
#include "net/sigv4.h"

#define KEY "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define DATE "20130524T000000Z"
#define P(n, v)                                                                                                        \
    {                                                                                                                  \
        {n, sizeof(n) - 1},                                                                                            \
        {                                                                                                              \
            v, sizeof(v) - 1                                                                                           \
        }                                                                                                              \
    }
#define HOST P("Host", "examplebucket.s3.amazonaws.com")

static const struct sigv4_scope scope = {{"20130524", 8}, {"us-east-1", 9}, {"s3", 2}};

static void assert_authorization(const struct sigv4_request *r, const char *headers, const char *signature)
{
    struct buf b AUTO_BUF = {0}, want AUTO_BUF = {0};

    sigv4_authorization(&b, r, STR(KEY), STR(SECRET), STR(DATE), &scope);
    buf_printf(&want,
               "AWS4-HMAC-SHA256 Credential=" KEY "/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s",
               headers, signature);
    assert_string_equal(b.p, want.p);
}

static void get_object(void **state)
{
    static const struct sigv4_pair h[] = {HOST, P("Range", "bytes=0-9"), P("x-amz-content-sha256", SIGV4_EMPTY_SHA256),
                                          P("x-amz-date", DATE)};
    struct sigv4_request r = {STR("GET"), STR("/test.txt"), NULL, 0, h, 4, STR(SIGV4_EMPTY_SHA256)};
    struct buf b AUTO_BUF = {0};

    (void)state;
    sigv4_canonical_request(&b, &r);
    assert_string_equal(b.p, "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
                             "x-amz-content-sha256:" SIGV4_EMPTY_SHA256 "\nx-amz-date:" DATE "\n\n"
                             "host;range;x-amz-content-sha256;x-amz-date\n" SIGV4_EMPTY_SHA256);
    struct buf s AUTO_BUF = {0};
    sigv4_string_to_sign(&s, STR(DATE), &scope, buf_str(&b));
    assert_string_equal(s.p, "AWS4-HMAC-SHA256\n" DATE "\n20130524/us-east-1/s3/aws4_request\n"
                             "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
    assert_authorization(&r, "host;range;x-amz-content-sha256;x-amz-date",
                         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void put_object(void **state)
{
#define SHA "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    static const struct sigv4_pair h[] = {P("Date", "Fri, 24 May 2013 00:00:00 GMT"), HOST, P("x-amz-date", DATE),
                                          P("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                                          P("x-amz-content-sha256", SHA)};
    struct sigv4_request r = {STR("PUT"), STR("/test$file.text"), NULL, 0, h, 5, STR(SHA)};
    char hex[65];

    (void)state;
    sigv4_sha256_hex("Welcome to Amazon S3.", 21, hex);
    assert_string_equal(hex, SHA);
    assert_authorization(&r, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void query_parameters(void **state)
{
    static const struct sigv4_pair h[] = {HOST, P("x-amz-content-sha256", SIGV4_EMPTY_SHA256), P("x-amz-date", DATE)};
    static const struct sigv4_pair lifecycle[] = {P("lifecycle", "")}, list[] = {P("prefix", "J"), P("max-keys", "2")};
    struct sigv4_request r = {STR("GET"), STR("/"), lifecycle, 1, h, 3, STR(SIGV4_EMPTY_SHA256)};

    (void)state;
    assert_authorization(&r, "host;x-amz-content-sha256;x-amz-date",
                         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    r.query = list;
    r.n_query = 2;
    assert_authorization(&r, "host;x-amz-content-sha256;x-amz-date",
                         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void canonical_forms(void **state)
{
    static const struct sigv4_pair q[] = {P("b", "2"),           P("a", "z"),  P("a", "a"), P("A", ""),
                                          P("\xc3\xa4", "/ +~"), P("a-", "1"), P("a/", "1")};
    static const struct sigv4_pair h[] = {P("X-B", "  a   b\t c  "), P("x-a", "1"), P("X-A", "2"), P("x-aa", "")};
    struct sigv4_request r = {STR("GET"), STR("/a//b/./../c d\x01+%"), NULL, 0, h, 4, STR("UNSIGNED-PAYLOAD")};
    struct buf b AUTO_BUF = {0}, c AUTO_BUF = {0}, e AUTO_BUF = {0};
    char date[17];

    (void)state;
    sigv4_canonical_query(&b, q, 7); /* sorted by the encoded names: '%' before letters */
    assert_string_equal(b.p, "%C3%A4=%2F%20%2B~&A=&a=a&a=z&a%2F=1&a-=1&b=2");
    sigv4_canonical_query(&e, q, 0);
    assert_int_equal(e.n, 0);
    sigv4_canonical_request(&c, &r);
    assert_string_equal(
        c.p, "GET\n/a//b/./../c%20d%01%2B%25\n\nx-a:1,2\nx-aa:\nx-b:a b c\n\nx-a;x-aa;x-b\nUNSIGNED-PAYLOAD");
    sigv4_date(1369353600123, date);
    assert_string_equal(date, DATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_object),
        cmocka_unit_test(put_object),
        cmocka_unit_test(query_parameters),
        cmocka_unit_test(canonical_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
