/* SPDX-License-Identifier: Apache-2.0
 *
 * What the load generator sends: heads with the signature that the general signer gives, keys, and bytes.
 */
#include "cm.h"
#include "bench/client.h"

enum { NOW_S = 1795909500 };

static const char *line_of(const struct buf *head, const char *name, char *ret, size_t cap)
{
    const char *p = strstr(head->p, name);
    assert_non_null(p);
    p += strlen(name);
    snprintf(ret, cap, "%.*s", (int)strcspn(p, "\r"), p);
    return ret;
}

/* The same request by sigv4_authorization(). */
static void assert_signed(const struct buf *head, const struct signer *s, const struct sign_request *r,
                          const char *path)
{
    char when[17], date[100], got[400];
    sigv4_date((uint64_t)NOW_S * 1000, when);
    const struct sigv4_pair header[] = {{STR("Host"), str_of(s->host)},
                                        {STR("x-amz-date"), str_of(when)},
                                        {STR("x-amz-content-sha256"), str_of(r->payload)}};
    struct sigv4_request q = {.method = str_of(r->method),
                              .path = str_of(path),
                              .query = r->query,
                              .n_query = r->query_n,
                              .header = header,
                              .n_header = 3,
                              .payload = str_of(r->payload)};
    struct sigv4_scope scope = {str_mk(when, 8), str_of(s->region), STR("s3")};
    struct buf want AUTO_BUF = {0};
    sigv4_authorization(&want, &q, str_of(s->access), str_of(s->secret), str_of(when), &scope);
    assert_string_equal(line_of(head, "Authorization: ", got, sizeof got), want.p);
    assert_string_equal(line_of(head, "x-amz-date: ", date, sizeof date), when);
}

static void heads_are_signed(void **state)
{
    (void)state;
    struct signer s = {.host = "127.0.0.1:29998", .access = "key", .secret = "secret", .region = "us-east-1"};
    struct buf head AUTO_BUF = {0};
    const struct sigv4_pair query[] = {{STR("uploadId"), STR("a/b+c=")}, {STR("partNumber"), STR("7")}};
    struct sign_request put = {.method = "PUT",
                               .bucket = STR("bench"),
                               .key = STR("p q/0a/\xc3\xa4%"),
                               .query = query,
                               .query_n = 2,
                               .payload = SIGV4_UNSIGNED,
                               .length = 10240};
    sign_head(&s, &put, (uint64_t)NOW_S * 1000, &head);
    assert_ptr_equal(strstr(head.p, "PUT /bench/p%20q/0a/%C3%A4%25?partNumber=7&uploadId=a%2Fb%2Bc%3D HTTP/1.1\r\n"),
                     head.p);
    assert_non_null(strstr(head.p, "\r\nContent-Length: 10240\r\n\r\n"));
    assert_signed(&head, &s, &put, "/bench/p q/0a/\xc3\xa4%");

    struct sign_request list = {.method = "GET", .bucket = STR("bench"), .payload = SIGV4_EMPTY_SHA256};
    sign_head(&s, &list, (uint64_t)NOW_S * 1000, &head);
    assert_ptr_equal(strstr(head.p, "GET /bench HTTP/1.1\r\nHost: 127.0.0.1:29998\r\n"), head.p);
    assert_signed(&head, &s, &list, "/bench");
    sign_done(&s);
}

static void the_key_follows_the_day(void **state)
{
    (void)state;
    struct signer s = {.host = "h", .access = "key", .secret = "secret", .region = "us-east-1"};
    struct signer fresh = s;
    struct buf a AUTO_BUF = {0}, b AUTO_BUF = {0};
    struct sign_request r = {.method = "GET", .bucket = STR("b"), .payload = SIGV4_UNSIGNED};
    sign_head(&s, &r, (uint64_t)(NOW_S - 86400) * 1000, &a);
    sign_head(&s, &r, (uint64_t)NOW_S * 1000, &a);
    sign_head(&fresh, &r, (uint64_t)NOW_S * 1000, &b);
    assert_string_equal(a.p, b.p);
    sign_done(&s);
    sign_done(&fresh);
}

static void without_keys_nothing_is_signed(void **state)
{
    (void)state;
    struct signer s = {.host = "h", .region = "us-east-1"};
    struct buf head AUTO_BUF = {0};
    struct sign_request r = {.method = "HEAD", .bucket = STR("b"), .key = STR("k"), .payload = SIGV4_UNSIGNED};
    sign_head(&s, &r, 0, &head);
    assert_string_equal(head.p,
                        "HEAD /b/k HTTP/1.1\r\nHost: h\r\nUser-Agent: forebay-bench\r\nContent-Length: 0\r\n\r\n");
    sign_done(&s);
}

static void keys_have_their_directory(void **state)
{
    (void)state;
    struct bench_config cfg = {.prefix = "p/", .dirs = 16};
    struct buf b AUTO_BUF = {0};
    bench_key(&cfg, 26, &b);
    assert_string_equal(b.p, "p/0a/00000026");
    cfg.dirs = 0;
    buf_reset(&b);
    bench_key(&cfg, 123456789, &b);
    assert_string_equal(b.p, "p/123456789");
}

static void copy(const struct content *c, uint64_t offset, uint64_t n, unsigned char *to)
{
    while (n) {
        size_t k;
        const unsigned char *p = content_at(c, offset, n, &k);
        assert_in_range(k, 1, n);
        memcpy(to, p, k);
        to += k;
        offset += k;
        n -= k;
    }
}

static void parts_make_the_whole(void **state)
{
    (void)state;
    enum { N = 2 * CONTENT_BLOCK + 777 };
    static unsigned char whole[N], again[N];
    content_init();
    struct content c = content_of(5), d = content_of(6);
    copy(&c, 0, N, whole);
    for (uint64_t at = 0, n = 1; at < N; at += n, n = n * 3 + 5)
        copy(&c, at, n < N - at ? n : N - at, again + at);
    assert_memory_equal(whole, again, N);
    copy(&d, 0, CONTENT_STAMP, again);
    assert_memory_not_equal(whole, again, CONTENT_STAMP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_signed),
        cmocka_unit_test(the_key_follows_the_day),
        cmocka_unit_test(without_keys_nothing_is_signed),
        cmocka_unit_test(keys_have_their_directory),
        cmocka_unit_test(parts_make_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
