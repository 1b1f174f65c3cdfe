/* SPDX-License-Identifier: Apache-2.0
 * Request heads and chunked framing: what is taken, what is refused and with which status. */
#include "cm.h"
#include "net/http_parse.h"

static struct http_head head;
static char arena[HTTP_HEAD_MAX];

/* The status a head is refused with, 0: taken, -1: incomplete. */
static int judge(struct str text)
{
    struct http_fault f = {0};
    size_t scan = 0;
    char *exact = malloc(text.n ? text.n : 1); /* so that a sanitizer sees a read past the end */
    memcpy(exact, text.p, text.n);
    ssize_t n = http_head_end(exact, text.n, HTTP_HEAD_MAX, &scan, &f);
    free(exact);
    if (n <= 0)
        return n < 0 ? f.status : -1;
    return http_head_parse(text.p, (size_t)n, HTTP_HEADERS_MAX, arena, &head, &f) ? 0 : f.status;
}

static int judge_z(const char *text)
{
    return judge(str_of(text));
}

#define assert_str(s, lit)                                                                                             \
    do {                                                                                                               \
        struct str s_ = (s);                                                                                           \
        assert_int_equal(s_.n, sizeof(lit) - 1);                                                                       \
        assert_memory_equal(s_.p, lit, s_.n);                                                                          \
    } while (0)

#define H "Host: h\r\n"

static const struct {
    const char *text;
    int status;
} heads[] = {
    /* taken */
    {"GET / HTTP/1.1\r\n" H "\r\n", 0},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {"M-SEARCH / HTTP/1.1\r\n" H "\r\n", 0},
    {"GET / HTTP/1.9\r\n" H "\r\n", 0},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 0},
    {"GET http://h/a HTTP/1.1\r\n" H "\r\n", 0},
    {"GET HTTPS://h?x HTTP/1.1\r\n" H "\r\n", 0},
    {"GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n" H "X:\r\nY: \t \r\nZ:\ta\tb \t\r\n\r\n", 0},
    {"GET / HTTP/1.0\r\nExpect: whatever\r\n\r\n", 0},
    /* the request line */
    {"\r\n\r\n", 400},
    {"GET\r\n\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /  HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / a HTTP/1.1\r\n" H "\r\n", 400},
    {" GET / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET\t/ HTTP/1.1\r\n" H "\r\n", 400},
    {"G(T / HTTP/1.1\r\n" H "\r\n", 400},
    {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" H "\r\n", 400},
    {"GET / http/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.10\r\n" H "\r\n", 400},
    {"GET / HTTP/11\r\n" H "\r\n", 400},
    {"GET / HTTP/2.0\r\n" H "\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\n", 505},
    {"GET / HTTP/0.9\r\n\r\n", 505},
    /* the target */
    {"GET a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET * HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /a#b HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /\x7f HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /a\rb HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /% HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /%4 HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /%4g HTTP/1.1\r\n" H "\r\n", 400},
    {"GET /?a=%zz HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http:///a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET http://u@h/a HTTP/1.1\r\n" H "\r\n", 400},
    {"GET ftp://h/a HTTP/1.1\r\n" H "\r\n", 400},
    {"CONNECT h:1 HTTP/1.1\r\n" H "\r\n", 501},
    /* lines */
    {"GET / HTTP/1.1\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "\n", 400},
    {"\nGET / HTTP/1.1\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\n" H " folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "\tfolded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X : x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\t: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X(: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\xc3: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400},
    /* Host */
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.0\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
    /* the length: smuggling */
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\ncontent-length: 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n\r\n", 400},
    {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;q=1\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", 501},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     400},
    {"GET / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", 417},
    /* not yet a head */
    {"", -1},
    {"GET / HTTP/1.1\r\n" H "\r", -1},
    {"GET / HTTP/1.1\r\n" H, -1},
};

static void heads_are_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int got = judge_z(heads[i].text);
        if (got != heads[i].status)
            fail_msg("case %zu: %d instead of %d for\n%s", i, got, heads[i].status, heads[i].text);
    }
    assert_int_equal(judge(STR("GET /\0 HTTP/1.1\r\n" H "\r\n")), 400);
    assert_int_equal(judge(STR("GET / HTTP/1.1\r\n" H "X: \0\r\n\r\n")), 400);
}

/* However a head is cut, each byte more gives the same verdict in the end, and none before it. */
static void the_end_is_found_byte_by_byte(void **state)
{
    (void)state;
    const char text[] = "PUT /k HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc";
    size_t scan = 0, total = strlen(text) - 3;
    struct http_fault f;
    for (size_t n = 0; n < total; n++)
        assert_int_equal(http_head_end(text, n, HTTP_HEAD_MAX, &scan, &f), 0);
    assert_int_equal(http_head_end(text, total, HTTP_HEAD_MAX, &scan, &f), total);
    assert_int_equal(http_head_end(text, total + 3, HTTP_HEAD_MAX, &scan, &f), total);
}

static void heads_have_limits(void **state)
{
    (void)state;
    struct http_fault f;
    size_t scan = 0;
    char big[300];
    memset(big, 'a', sizeof big);
    assert_int_equal(http_head_end(big, 99, 100, &scan, &f), 0);
    assert_int_equal(http_head_end(big, 100, 100, &scan, &f), -1);
    assert_int_equal(f.status, 414);
    memcpy(big, "GET / HTTP/1.1\r\n", 16);
    scan = 0;
    assert_int_equal(http_head_end(big, 300, 100, &scan, &f), -1);
    assert_int_equal(f.status, 431);
    /* Exactly the limit is fine, whatever follows. */
    memcpy(big + 96, "\r\n\r\n", 4);
    scan = 0;
    assert_int_equal(http_head_end(big, 300, 100, &scan, &f), 100);
}

static void header_lines_have_a_limit(void **state)
{
    (void)state;
    char text[4096] = "GET / HTTP/1.1\r\n" H;
    for (int i = 0; i < HTTP_HEADERS_MAX - 1; i++)
        strcat(text, "a: b\r\n");
    size_t n = strlen(text);
    strcpy(text + n, "\r\n");
    assert_int_equal(judge_z(text), 0);
    assert_int_equal(head.n_headers, HTTP_HEADERS_MAX);
    strcpy(text + n, "a: b\r\n\r\n");
    assert_int_equal(judge_z(text), 431);
}

static void parameters_have_a_limit(void **state)
{
    (void)state;
    char text[4096] = "GET /?";
    for (int i = 0; i < HTTP_PARAMS_MAX; i++)
        strcat(text, "a&");
    size_t n = strlen(text);
    strcpy(text + n, " HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(judge_z(text), 0);
    assert_int_equal(head.n_params, HTTP_PARAMS_MAX);
    strcpy(text + n, "a HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(judge_z(text), 400);
}

static void a_head_is_taken_apart(void **state)
{
    (void)state;
    assert_int_equal(judge_z("PUT /b/k%2520%00x?uploads&partNumber=&a+b=c%2Bd+e&&=v&a%3db=%26=2 HTTP/1.1\r\n"
                             "HOST: h:1\r\nX-One:  a b\t \r\nx-one: c\r\nContent-Length: 7\r\n"
                             "Expect: 100-Continue\r\nConnection: foo , Close\r\n\r\n"),
                     0);
    assert_str(head.method, "PUT");
    assert_str(head.path_raw, "/b/k%2520%00x");
    assert_str(head.path, "/b/k%20\0x"); /* once, not twice */
    assert_true(head.path_nul);
    assert_str(head.host, "h:1");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.length, 7);
    assert_true(head.has_length && head.expect && !head.keep_alive && !head.chunked);
    assert_int_equal(head.n_headers, 6);
    assert_str(head.headers[1].name, "X-One");
    assert_str(head.headers[1].value, "a b");
    assert_str(head.headers[2].value, "c");
    assert_int_equal(head.n_params, 5);
    const struct http_param *p = head.params;
    assert_str(p[0].name, "uploads");
    assert_false(p[0].has_value);
    assert_true(p[1].has_value && p[1].value.n == 0);
    assert_str(p[2].name, "a b");
    assert_str(p[2].value, "c+d e");
    assert_str(p[2].raw_value, "c%2Bd+e");
    assert_str(p[3].name, "");
    assert_str(p[3].value, "v");
    assert_str(p[4].name, "a=b");
    assert_str(p[4].value, "&=2");
}

static void targets_have_forms(void **state)
{
    (void)state;
    assert_int_equal(judge_z("GET http://X.example:8/a?b HTTP/1.1\r\nHost: other\r\n\r\n"), 0);
    assert_str(head.host, "X.example:8"); /* the target wins */
    assert_str(head.path_raw, "/a");
    assert_str(head.query_raw, "b");
    assert_int_equal(judge_z("GET http://h?b=1 HTTP/1.1\r\n" H "\r\n"), 0);
    assert_str(head.path, "/");
    assert_str(head.params[0].value, "1");
    assert_int_equal(judge_z("GET //a//../+ HTTP/1.1\r\n" H "\r\n"), 0);
    assert_str(head.path, "//a//../+"); /* nothing is normalised; '+' is a plus in a path */
    assert_null(head.query_raw.p);
    assert_int_equal(judge_z("GET /? HTTP/1.1\r\n" H "\r\n"), 0);
    assert_true(head.query_raw.p && head.n_params == 0);
    assert_true(head.keep_alive);
    assert_int_equal(judge_z("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 0);
    assert_false(head.keep_alive);
}

/* ---- chunked ---- */

/* Decode, feeding pieces of `step` bytes: the data, or NULL when it is bad. ret_used: how much was taken. */
static const char *dechunk(struct str in, size_t step, size_t *ret_used, bool *ret_end)
{
    static char out[1024];
    size_t at = 0, n = 0;
    struct http_chunks c = {0};
    *ret_end = false;
    for (;;) {
        size_t used, give = in.n - at < step ? in.n - at : step;
        enum http_chunk_result r = http_chunks_feed(&c, in.p + at, give, &used);
        at += used;
        *ret_used = at;
        if (r == HTTP_CHUNK_BAD)
            return NULL;
        if (r == HTTP_CHUNK_END) {
            *ret_end = true;
            break;
        }
        if (r == HTTP_CHUNK_DATA) {
            size_t take = in.n - at < c.left ? in.n - at : c.left;
            take = take < step ? take : step;
            if (!take)
                break;
            memcpy(out + n, in.p + at, take);
            n += take;
            at += take;
            c.left -= take;
            continue;
        }
        assert_int_equal(used, give);
        if (at == in.n)
            break;
    }
    out[n] = 0;
    return out;
}

static const struct {
    const char *in, *data; /* NULL: malformed */
    bool end;
} chunked[] = {
    {"0\r\n\r\n", "", true},
    {"3\r\nabc\r\n0\r\n\r\n", "abc", true},
    {"1\r\na\r\nA\r\n0123456789\r\n000\r\n\r\n", "a0123456789", true},
    {"3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", "abc", true},
    {"0\r\nX: y\r\nZ: \r\n\r\n", "", true},
    {"3\r\nab", "ab", false},
    {"3\r\nabc\r\n", "abc", false},
    {"3\r\nabc\r\n0\r\n", "abc", false},
    {"3\r\nabc\r\n0\r\n\r", "abc", false},
    {"\r\n", NULL, false},
    {"g\r\n", NULL, false},
    {" 3\r\nabc", NULL, false},
    {"3 \r\nabc", NULL, false},
    {"-3\r\nabc", NULL, false},
    {"+3\r\nabc", NULL, false},
    {"0x3\r\nabc", NULL, false},
    {"3\nabc\r\n", NULL, false},
    {"3\r\nabcd\r\n", NULL, false},
    {"3\r\nabc\n0\r\n\r\n", NULL, false},
    {"3\r\nabc\rx", NULL, false},
    {"3;a\nb\r\n", NULL, false},
    {"3;\x01\r\n", NULL, false},
    {"10000000000000000\r\n", NULL, false},
    {"ffffffffffffffff\r\n", NULL, false},
    {"0\r\n\n", NULL, false},
    {"0\r\n X: y\r\n\r\n", NULL, false},
    {"0\r\nX: y\n\r\n", NULL, false},
};

static void chunked_framing_is_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof chunked / sizeof *chunked; i++)
        for (size_t step = 1; step < 12; step += 5) {
            size_t used;
            bool end;
            const char *got = dechunk(str_of(chunked[i].in), step, &used, &end);
            if (!got != !chunked[i].data || (got && strcmp(got, chunked[i].data)) || end != chunked[i].end)
                fail_msg("case %zu, step %zu: %s, end %d", i, step, got ? got : "refused", end);
        }
}

static void chunked_stops_at_the_next_request(void **state)
{
    (void)state;
    size_t used;
    bool end;
    assert_non_null(dechunk(STR("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1"), 1000, &used, &end));
    assert_true(end);
    assert_int_equal(used, 11);
}

static void chunked_lines_have_limits(void **state)
{
    (void)state;
    char in[HTTP_TRAILER_MAX + 100];
    size_t used;
    bool end;
    memset(in, '0', sizeof in);
    assert_null(dechunk(str_mk(in, HTTP_CHUNK_LINE_MAX + 1), 64, &used, &end));
    assert_int_equal(used, HTTP_CHUNK_LINE_MAX + 1);
    memset(in, 'a', sizeof in);
    memcpy(in, "0\r\n", 3);
    assert_null(dechunk(str_mk(in, sizeof in), 64, &used, &end));
    assert_true(used <= HTTP_TRAILER_MAX + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_judged),
        cmocka_unit_test(the_end_is_found_byte_by_byte),
        cmocka_unit_test(heads_have_limits),
        cmocka_unit_test(header_lines_have_a_limit),
        cmocka_unit_test(parameters_have_a_limit),
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(targets_have_forms),
        cmocka_unit_test(chunked_framing_is_judged),
        cmocka_unit_test(chunked_stops_at_the_next_request),
        cmocka_unit_test(chunked_lines_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
