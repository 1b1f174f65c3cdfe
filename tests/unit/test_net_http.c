/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server, seen from the peer: framing, 100-continue, connections that live on and that do not. */
#include "cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/http.h"
#include "netpeer.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define H " HTTP/1.1\r\nHost: h\r\n"

static struct http_server *server;
static int port;
static struct answer a;
static atomic_int last_code, go;
static char last_event[256];
static pthread_mutex_t event_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- handlers, by path ---- */

static void echo(struct http_req *rq)
{
    struct buf b AUTO_BUF = {0};
    int r = http_body_all(rq, 32 << 20, &b);
    last_code = r;
    if (r < 0)
        http_reply(rq, err_info(r)->http, "bad", 3);
    else
        http_reply(rq, 200, b.p, b.n);
}

static void plain(struct http_req *rq)
{
    const struct http_param *p = http_param(rq, "n");
    http_set(rq, "X-Peer", str_of(http_peer(rq)));
    http_set(rq, "X-Id", str_of(http_request_id(rq)));
    http_reply(rq, 200, p ? p->value.p : "ok", p ? p->value.n : 2);
}

static void refuse(struct http_req *rq)
{
    http_reply(rq, 403, "no", 2);
}

static void empty(struct http_req *rq)
{
    const struct http_param *p = http_param(rq, "status");
    http_reply(rq, atoi(p->value.p), "ignored", 7);
}

static void explicit_continue(struct http_req *rq)
{
    assert_int_equal(http_continue(rq), 0);
    while (!go)
        clock_sleep_ms(1);
    echo(rq);
}

static void wait_then_ok(struct http_req *rq)
{
    while (!go)
        clock_sleep_ms(1);
    plain(rq);
}

static void chunks(struct http_req *rq)
{
    http_reply_start(rq, 200, HTTP_CHUNKED);
    http_send(rq, "ab", 2);
    http_send(rq, "", 0);
    http_send(rq, "0123456789abcdefghij", 20);
    http_reply_end(rq);
}

static void pieces(struct http_req *rq)
{
    http_reply_start(rq, 200, 6);
    http_send(rq, "abc", 3);
    http_flush(rq);
    http_send(rq, "def", 3);
    http_reply_end(rq);
}

static int file_of(size_t n)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    for (size_t i = 0; i < n; i += 1000) {
        char line[1001];
        snprintf(line, sizeof line, "%0999zu\n", i);
        assert_int_equal(write(fd, line, n - i < 1000 ? n - i : 1000), n - i < 1000 ? n - i : 1000);
    }
    return fd;
}

static void file(struct http_req *rq)
{
    int fd AUTO_CLOSE = file_of(5000000);
    http_reply_start(rq, 206, 3000000);
    last_code = http_send_file(rq, fd, 1000000, 3000000);
    http_reply_end(rq);
}

static void file_chunked(struct http_req *rq)
{
    int fd AUTO_CLOSE = file_of(5000);
    http_reply_start(rq, 200, HTTP_CHUNKED);
    http_send(rq, "x", 1);
    http_send_file(rq, fd, 1000, 2000);
    http_reply_end(rq);
}

static void file_short(struct http_req *rq)
{
    int fd AUTO_CLOSE = file_of(5000);
    http_reply_start(rq, 200, 6000);
    last_code = http_send_file(rq, fd, 0, 6000);
    http_reply_end(rq);
}

static void too_short(struct http_req *rq)
{
    http_reply_start(rq, 200, 10);
    http_send(rq, "abc", 3);
    last_code = http_reply_end(rq);
}

static void no_end(struct http_req *rq)
{
    http_reply_start(rq, 200, HTTP_CHUNKED);
    http_send(rq, "abc", 3);
}

static void aborted(struct http_req *rq)
{
    http_reply_start(rq, 200, HTTP_CHUNKED);
    http_send(rq, "abc", 3);
    http_reply_abort(rq);
    http_reply_end(rq);
}

static void head_of_large(struct http_req *rq)
{
    http_reply_head(rq, 200, 123456789012ull);
}

static void nothing(struct http_req *rq)
{
    http_set(rq, "X-Prepared", STR("yes"));
}

static void injection(struct http_req *rq)
{
    assert_int_equal(http_set(rq, "X", STR("a\r\nSet-Cookie: b")), ERR_INVALID);
    assert_int_equal(http_set(rq, "X", STR("a\nb")), ERR_INVALID);
    assert_int_equal(http_set(rq, "X", STR("a\rb")), ERR_INVALID);
    assert_int_equal(http_set(rq, "X", STR("a\0b")), ERR_INVALID);
    assert_int_equal(http_set(rq, "X: y\r\nZ", STR("a")), ERR_INVALID);
    assert_int_equal(http_set(rq, "", STR("a")), ERR_INVALID);
    assert_int_equal(http_set(rq, "content-length", STR("7")), ERR_INVALID);
    assert_int_equal(http_set(rq, "Transfer-Encoding", STR("chunked")), ERR_INVALID);
    assert_int_equal(http_set(rq, "Connection", STR("close")), ERR_INVALID);
    assert_int_equal(http_set(rq, "X-Empty", str_mk(NULL, 0)), 0);
    static char long_value[32768];
    memset(long_value, 'v', sizeof long_value);
    assert_int_equal(http_set(rq, "X", str_mk(long_value, sizeof long_value)), ERR_LIMIT);
    assert_int_equal(http_setf(rq, "X-Number", "%d", 42), 0);
    http_reply(rq, 200, NULL, 0);
}

static void take_all(struct http_req *rq)
{
    char p[65536];
    ssize_t r;
    while ((r = http_body_read(rq, p, sizeof p)) > 0)
        ;
    last_code = (int)r;
    char n[32];
    snprintf(n, sizeof n, "%llu", (unsigned long long)http_body_bytes(rq));
    http_reply(rq, r < 0 ? err_info((int)r)->http : 200, n, strlen(n));
}

/* Takes the data of a chunked body but does not look for its end. */
static void take_five(struct http_req *rq)
{
    char p[5];
    size_t n = 0;
    while (n < 5) {
        ssize_t r = http_body_read(rq, p + n, 5 - n);
        assert_true(r > 0);
        n += (size_t)r;
    }
    http_reply(rq, 200, p, 5);
}

static void early_then_read(struct http_req *rq)
{
    char p[16];
    http_reply_start(rq, 200, 2);
    last_code = (int)http_body_read(rq, p, sizeof p);
    http_send(rq, "ok", 2);
    http_reply_end(rq);
}

static void number(struct http_req *rq);

static const struct {
    const char *path;
    void (*fn)(struct http_req *rq);
} routes[] = {
    {"/number", number},
    {"/", plain},
    {"/echo", echo},
    {"/refuse", refuse},
    {"/empty", empty},
    {"/chunks", chunks},
    {"/pieces", pieces},
    {"/file", file},
    {"/file-chunked", file_chunked},
    {"/short", too_short},
    {"/no-end", no_end},
    {"/file-short", file_short},
    {"/abort", aborted},
    {"/large", head_of_large},
    {"/nothing", nothing},
    {"/injection", injection},
    {"/take-all", take_all},
    {"/take-five", take_five},
    {"/continue", explicit_continue},
    {"/wait", wait_then_ok},
    {"/early", early_then_read},
};

static void handle(void *arg, struct http_req *rq)
{
    (void)arg;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (str_eq(http_path(rq), str_of(routes[i].path))) {
            routes[i].fn(rq);
            return;
        }
    http_reply(rq, 404, NULL, 0);
}

static void note_event(void *arg, const struct http_event *ev)
{
    (void)arg;
    pthread_mutex_lock(&event_lock);
    snprintf(last_event, sizeof last_event, "%d %s", ev->status, ev->reason);
    pthread_mutex_unlock(&event_lock);
}

/* Events are noted before their answer leaves. */
static const char *event(void)
{
    static char copy[sizeof last_event];
    pthread_mutex_lock(&event_lock);
    memcpy(copy, last_event, sizeof copy);
    pthread_mutex_unlock(&event_lock);
    return copy;
}

/* ---- one server for most tests ---- */

static void start(struct http_options o)
{
    static const char *const any[] = {"127.0.0.1:0"};
    o.listen = any;
    o.n_listen = 1;
    o.handle = handle;
    o.event = note_event;
    o.threads = o.threads ? o.threads : 4;
    assert_int_equal(http_server_start(&o, &server), 0);
    port = http_server_port(server, 0);
    assert_true(port > 0);
    go = last_code = 0;
}

static int start_default(void **state)
{
    (void)state;
    start((struct http_options){0});
    return 0;
}

static int stop(void **state)
{
    (void)state;
    go = 1; /* no handler waits on after a failure */
    server = http_server_free(server);
    answer_done(&a);
    return 0;
}

static void wait_for(uint64_t (*value)(const struct http_figures *f), uint64_t want)
{
    struct http_figures f = {0};
    for (int i = 0; i < 10000; i++) {
        http_server_figures(server, &f);
        if (value(&f) == want)
            return;
        clock_sleep_ms(1);
    }
    fail_msg("%llu instead of %llu", (unsigned long long)value(&f), (unsigned long long)want);
}

static uint64_t begun(const struct http_figures *f)
{
    return f->requests;
}

static uint64_t buffered_now(const struct http_figures *f)
{
    return f->buffered;
}

static uint64_t open_now(const struct http_figures *f)
{
    return f->connections;
}

/* ---- answers ---- */

static void an_answer_has_its_headers(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /?n=hello" H "\r\n", 200, &a);
    assert_string_equal(a.body.p, "hello");
    assert_string_equal(answer_header(&a, "Content-Length"), "5");
    assert_string_equal(answer_header(&a, "Server"), "Forebay");
    assert_int_equal(strlen(answer_header(&a, "Date")), strlen("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_null(answer_header(&a, "Connection"));
    assert_int_equal(strncmp(answer_header(&a, "X-Peer"), "127.0.0.1:", 10), 0);
    char id[64];
    snprintf(id, sizeof id, "%s", answer_header(&a, "X-Id"));
    assert_int_equal(strspn(id, "0123456789ABCDEF"), 16);
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
    assert_string_not_equal(answer_header(&a, "X-Id"), id);
}

static void head_has_a_length_and_no_body(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "HEAD /?n=hello" H "\r\n", 200, &a);
    assert_string_equal(answer_header(&a, "Content-Length"), "5");
    peer_ask(fd, "HEAD /large" H "\r\n", 200, &a);
    assert_string_equal(answer_header(&a, "Content-Length"), "123456789012");
    peer_ask(fd, "HEAD /chunks" H "\r\n", 200, &a);
    peer_ask(fd, "HEAD /pieces" H "\r\n", 200, &a);
    assert_string_equal(answer_header(&a, "Content-Length"), "6");
    peer_ask(fd, "HEAD /file" H "\r\n", 206, &a);
    assert_int_equal(last_code, 0);
    /* The next answer begins right behind: none of them had a body. */
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

static void some_statuses_have_no_body(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /empty?status=204" H "\r\n", 204, &a);
    assert_null(answer_header(&a, "Content-Length"));
    peer_ask(fd, "GET /empty?status=304" H "\r\n", 304, &a);
    assert_null(answer_header(&a, "Content-Length"));
    peer_ask(fd, "GET /empty?status=200" H "\r\n", 200, &a);
    assert_string_equal(a.body.p, "ignored");
}

static void bodies_go_out_in_every_way(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /chunks" H "\r\n", 200, &a);
    assert_string_equal(a.body.p, "ab0123456789abcdefghij");
    assert_null(answer_header(&a, "Content-Length"));
    peer_ask(fd, "GET /pieces" H "\r\n", 200, &a);
    assert_string_equal(a.body.p, "abcdef");
    peer_ask(fd, "GET /file-chunked" H "\r\n", 200, &a);
    assert_int_equal(a.body.n, 2001);
    assert_memory_equal(a.body.p, "x0000", 5);
    peer_ask(fd, "GET /file" H "\r\n", 206, &a);
    assert_int_equal(a.body.n, 3000000);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(strtoul(a.body.p + i * 1000, NULL, 10), 1000000 + i * 1000);
}

static void http10_ends_with_the_connection(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /chunks HTTP/1.0\r\n\r\n", 200, &a);
    assert_string_equal(a.body.p, "ab0123456789abcdefghij");
    assert_null(answer_header(&a, "Transfer-Encoding"));
    assert_string_equal(answer_header(&a, "Connection"), "close");
    int fd2 AUTO_CLOSE = peer_connect(port);
    peer_ask(fd2, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, &a);
    assert_true(peer_closed(fd2));
}

static void headers_cannot_be_injected(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /injection" H "\r\n", 200, &a);
    assert_null(answer_header(&a, "Set-Cookie"));
    assert_null(answer_header(&a, "X"));
    assert_string_equal(answer_header(&a, "X-Number"), "42");
    assert_string_equal(answer_header(&a, "Content-Length"), "0");
}

static void a_broken_answer_is_never_whole(void **state)
{
    (void)state;
    static const char *const paths[] = {"/short", "/no-end", "/file-short", "/abort"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char rq[100];
        int fd AUTO_CLOSE = peer_connect(port);
        snprintf(rq, sizeof rq, "GET %s" H "\r\n", paths[i]);
        last_code = 0;
        peer_send(fd, rq);
        peer_read(fd, &a, false);
        assert_int_equal(a.status, 200);
        assert_false(a.whole);
    }
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "GET /short" H "\r\n");
    peer_read(fd, &a, false); /* to the end of the stream */
    assert_int_equal(last_code, ERR_INCOMPLETE_BODY);
}

/* To HTTP/1.0 without a length the end of the stream is the end of the body, so it must not come as a clean end. */
static void a_broken_answer_to_http10_is_a_reset(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "GET /abort HTTP/1.0\r\n\r\n");
    char p[4096];
    ssize_t r;
    while ((r = recv(fd, p, sizeof p, 0)) > 0)
        ;
    assert_int_equal(r, -1);
    assert_int_equal(errno, ECONNRESET);
}

static void no_answer_is_500(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /nothing" H "\r\n", 500, &a);
    assert_null(answer_header(&a, "X-Prepared"));
    assert_true(peer_closed(fd));
    assert_string_equal(event(), "500 the handler gave no answer");
}

/* ---- bodies of requests ---- */

static void bodies_come_in_by_length_and_chunked(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /echo" H "Content-Length: 5\r\n\r\nhello", 200, &a);
    assert_string_equal(a.body.p, "hello");
    peer_ask(fd, "PUT /echo" H "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
             200, &a);
    assert_string_equal(a.body.p, "abc0123456789");
    peer_ask(fd, "PUT /echo" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, &a);
    assert_int_equal(a.body.n, 0);
    peer_ask(fd, "PUT /echo" H "\r\n", 200, &a);
    assert_int_equal(a.body.n, 0);
}

static char *pattern(size_t n)
{
    char *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * 2654435761u >> 13);
    return p;
}

static void large_bodies_come_in_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {65535, 65536, 65537, 200000, 1500000};
    int fd AUTO_CLOSE = peer_connect(port);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p AUTO_FREE = pattern(sizes[i]), head[200];
        snprintf(head, sizeof head, "PUT /echo" H "Content-Length: %zu\r\n\r\n", sizes[i]);
        peer_send(fd, head);
        peer_send_n(fd, p, sizes[i]);
        peer_read(fd, &a, false);
        assert_int_equal(a.body.n, sizes[i]);
        assert_memory_equal(a.body.p, p, sizes[i]);
        /* The same in chunks that grow. */
        peer_send(fd, "PUT /echo" H "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0, n = 1; at < sizes[i]; at += n, n = n * 3 + 1) {
            n = n < sizes[i] - at ? n : sizes[i] - at;
            snprintf(head, sizeof head, "%zx\r\n", n);
            peer_send(fd, head);
            peer_send_n(fd, p + at, n);
            peer_send(fd, "\r\n");
        }
        peer_ask(fd, "0\r\n\r\n", 200, &a);
        assert_int_equal(a.body.n, sizes[i]);
        assert_memory_equal(a.body.p, p, sizes[i]);
    }
}

static void a_slow_peer_is_understood(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    for (int i = 0; i < 2; i++) {
        peer_send_slowly(fd, "\r\nPUT /echo" H "Content-Length: 5\r\n\r\nhello");
        peer_read(fd, &a, false);
        assert_string_equal(a.body.p, "hello");
        peer_send_slowly(fd, "PUT /echo" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
        peer_read(fd, &a, false);
        assert_string_equal(a.body.p, "abc");
        peer_send_slowly(fd, "PUT /echo" H "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        peer_read(fd, &a, false);
        assert_int_equal(a.status, 100);
        peer_send_slowly(fd, "slow");
        peer_read(fd, &a, false);
        assert_string_equal(a.body.p, "slow");
    }
    wait_for(open_now, 1);
}

static void a_body_that_ends_early_is_reported(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "PUT /take-all" H "Content-Length: 10\r\n\r\nabc",
        "PUT /take-all" H "Content-Length: 100000\r\n\r\nabc",
        "PUT /take-all" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc",
        "PUT /take-all" H "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "PUT /take-all" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd AUTO_CLOSE = peer_connect(port);
        last_code = 0;
        peer_send(fd, requests[i]);
        shutdown(fd, SHUT_WR);
        peer_read(fd, &a, false);
        assert_int_equal(a.status, 400);
        assert_string_equal(a.body.p, "3");
        assert_int_equal(last_code, ERR_INCOMPLETE_BODY);
        assert_true(peer_closed(fd));
    }
}

static void bad_chunking_is_reported(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /take-all" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", 400, &a);
    assert_int_equal(last_code, ERR_INVALID);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    assert_true(peer_closed(fd));
}

/* ---- 100-continue ---- */

static void a_100_comes_before_the_body(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    static const char *const heads[] = {
        "PUT /echo" H "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "PUT /echo" H "Content-Length: 5\r\nexpect: 100-Continue\r\n\r\n",
        "PUT /echo" H "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    };
    char *big AUTO_FREE = pattern(100000);
    for (size_t i = 0; i < 3; i++) {
        size_t n = i == 2 ? 100000 : 5;
        peer_send(fd, heads[i]);
        peer_read(fd, &a, false);
        assert_string_equal(a.head.p, "HTTP/1.1 100 Continue\r\n\r\n");
        peer_send_n(fd, big, n);
        peer_read(fd, &a, false);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.body.n, n);
        assert_null(answer_header(&a, "Connection"));
    }
    peer_send(fd, "PUT /echo" H "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 100);
    peer_ask(fd, "1\r\na\r\n0\r\n\r\n", 200, &a);
    assert_string_equal(a.body.p, "a");
}

/* botocore sends Expect with empty bodies too, and waits. */
static void a_100_comes_at_once_for_an_empty_body(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "PUT /wait" H "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    peer_read(fd, &a, false);
    assert_string_equal(a.head.p, "HTTP/1.1 100 Continue\r\n\r\n");
    go = 1; /* the handler has not answered before this */
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 200);
    assert_null(answer_header(&a, "Connection"));
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

static void a_100_comes_when_the_handler_says_so(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "PUT /continue" H "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 100);
    go = 1;
    peer_ask(fd, "abc", 200, &a);
    assert_string_equal(a.body.p, "abc");
}

/* Without a 100 nobody knows whether the body will come: the connection must not be used again. */
static void a_refusal_without_100_closes(void **state)
{
    (void)state;
    static const char *const heads[] = {
        "PUT /refuse" H "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "PUT /refuse" H "Content-Length: 5000000000\r\nExpect: 100-continue\r\n\r\n",
        "PUT /refuse" H "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    };
    for (size_t i = 0; i < 3; i++) {
        int fd AUTO_CLOSE = peer_connect(port);
        peer_ask(fd, heads[i], 403, &a);
        assert_string_equal(answer_header(&a, "Connection"), "close");
        assert_true(peer_closed(fd));
    }
}

static void a_refusal_of_an_empty_body_keeps(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "PUT /refuse" H "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n");
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 100);
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 403);
    assert_null(answer_header(&a, "Connection"));
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

/* Some do not wait: the 100 and then the answer, both, and the connection goes on. */
static void a_peer_may_send_the_body_at_once(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send(fd, "PUT /echo" H "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 100);
    peer_read(fd, &a, false);
    assert_string_equal(a.body.p, "hello");
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

static void http10_expects_nothing(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi", 200, &a);
    assert_string_equal(a.body.p, "hi");
}

static void other_expectations_fail(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /echo" H "Content-Length: 2\r\nExpect: miracles\r\n\r\n", 417, &a);
    assert_true(peer_closed(fd));
}

static void a_body_is_not_asked_for_after_the_answer(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /early" H "Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n", 200, &a);
    assert_int_equal(last_code, ERR_INVALID);
    assert_string_equal(answer_header(&a, "Connection"), "close");
}

/* ---- what happens to the connection ---- */

static void a_small_unread_body_is_drained(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    for (int i = 0; i < 3; i++) {
        peer_ask(fd, "PUT /refuse" H "Content-Length: 5\r\n\r\nhello", 403, &a);
        assert_null(answer_header(&a, "Connection"));
    }
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

/* The peer sends on for a while; it must see the answer and not a reset. */
static void a_large_unread_body_closes_softly(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    size_t n = 8000000;
    char *p AUTO_FREE = pattern(n);
    peer_send(fd, "PUT /refuse" H "Content-Length: 8000000\r\n\r\n");
    peer_send_n(fd, p, n);
    peer_read(fd, &a, false);
    assert_int_equal(a.status, 403);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    assert_true(peer_closed(fd));
}

static void an_unread_last_chunk_does_not_matter(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    for (int i = 0; i < 3; i++) {
        peer_ask(fd, "PUT /take-five" H "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, &a);
        assert_string_equal(a.body.p, "hello");
        assert_null(answer_header(&a, "Connection"));
    }
}

static void close_is_honoured(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /" H "Connection: close\r\n\r\n", 200, &a);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    assert_true(peer_closed(fd));
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    enum { N = 500 };
    struct buf b AUTO_BUF = {0};
    for (int i = 0; i < N; i++)
        if (i % 3)
            buf_printf(&b, "GET /?n=%d" H "\r\n", i);
        else
            buf_printf(&b, "PUT /echo" H "Content-Length: 4\r\n\r\n%04d", i);
    int fd AUTO_CLOSE = peer_connect(port);
    peer_send_n(fd, b.p, b.n);
    for (int i = 0; i < N; i++) {
        peer_read(fd, &a, false);
        assert_int_equal(a.status, 200);
        assert_int_equal(atoi(a.body.p), i);
    }
    assert_true(peer_silent(fd));
}

static atomic_int served;

static void number(struct http_req *rq)
{
    while (!go)
        clock_sleep_ms(1);
    char n[16];
    snprintf(n, sizeof n, "%d", atomic_fetch_add(&served, 1));
    http_reply(rq, 200, n, strlen(n));
}

static uint64_t idle_now(const struct http_figures *f)
{
    return f->idle;
}

/* One worker, a peer with a thousand requests in hand, and one with a single request that came a little later. */
static void a_peer_with_many_requests_lets_others_in(void **state)
{
    (void)state;
    start((struct http_options){.threads = 1});
    served = 0;
    int many AUTO_CLOSE = peer_connect(port), one AUTO_CLOSE = peer_connect(port);
    wait_for(idle_now, 2);
    struct buf b AUTO_BUF = {0};
    for (int i = 0; i < 1000; i++)
        buf_putz(&b, "GET /number" H "\r\n");
    peer_send_n(many, b.p, b.n);
    wait_for(begun, 1);
    peer_send(one, "GET /number" H "\r\n");
    go = 1;
    peer_read(one, &a, false);
    assert_true(atoi(a.body.p) < 100);
    for (int i = 0; i < 1000; i++)
        peer_read(many, &a, false);
    assert_string_equal(a.body.p, "1000");
}

static void what_follows_a_close_is_not_served(void **state)
{
    (void)state;
    struct http_figures before, after;
    http_server_figures(server, &before);
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /" H "Connection: close\r\n\r\nGET /" H "\r\n", 200, &a);
    assert_true(peer_closed(fd));
    http_server_figures(server, &after);
    assert_int_equal(after.requests - before.requests, 1);
}

static const struct {
    const char *text;
    int status;
} refused[] = {
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: h\n\n", 400},
    {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / "
     "HTTP/1.1\r\nHost: h\r\n\r\n",
     400},
    {"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"\x16\x03\x01\x02\n", 400},
};

static void what_is_refused_closes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int fd AUTO_CLOSE = peer_connect(port);
        peer_ask(fd, refused[i].text, refused[i].status, &a);
        assert_string_equal(answer_header(&a, "Connection"), "close");
        assert_true(peer_closed(fd));
        assert_int_equal(atoi(event()), refused[i].status);
        int slow AUTO_CLOSE = peer_connect(port);
        for (const char *p = refused[i].text; *p; p++)
            if (send(slow, p, 1, MSG_NOSIGNAL) != 1)
                break; /* refused before its end */
        peer_read(slow, &a, false);
        assert_int_equal(a.status, refused[i].status);
    }
    struct http_figures f;
    http_server_figures(server, &f);
    assert_int_equal(f.rejected, 2 * sizeof refused / sizeof *refused);
    assert_int_equal(f.requests, 0);
}

static void empty_lines_between_requests_are_skipped(void **state)
{
    (void)state;
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "\r\n\r\nGET /" H "\r\n\r\n\r\n", 200, &a);
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

/* ---- limits ---- */

static void a_head_has_a_limit(void **state)
{
    (void)state;
    start((struct http_options){.head_max = 1000});
    struct buf b AUTO_BUF = {0};
    buf_putz(&b, "GET /" H "X: ");
    while (b.n < 996)
        buf_putz(&b, "a");
    size_t n = b.n;
    buf_putz(&b, "\r\n\r\n");
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, b.p, 200, &a);
    b.n = n;
    buf_putz(&b, "a\r\n\r\n");
    peer_ask(fd, b.p, 431, &a);
    assert_true(peer_closed(fd));
    memset(b.p, 'a', b.n);
    int fd2 AUTO_CLOSE = peer_connect(port);
    peer_ask(fd2, b.p, 414, &a);
}

static void a_body_has_a_limit(void **state)
{
    (void)state;
    start((struct http_options){.body_max = 10});
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /echo" H "Content-Length: 10\r\n\r\n0123456789", 200, &a);
    peer_ask(fd, "PUT /take-all" H "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n", 413, &a);
    assert_true(peer_closed(fd));
    int fd2 AUTO_CLOSE = peer_connect(port);
    peer_ask(fd2, "PUT /take-all" H "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n", 400,
             &a);
    assert_int_equal(last_code, ERR_TOO_LARGE);
}

static void connections_have_a_limit(void **state)
{
    (void)state;
    start((struct http_options){.connections_max = 3});
    int fd[3];
    for (int i = 0; i < 3; i++) {
        fd[i] = peer_connect(port);
        peer_ask(fd[i], "GET /" H "\r\n", 200, &a);
    }
    int more = peer_connect(port);
    peer_read(more, &a, false);
    assert_int_equal(a.status, 503);
    close(more);
    struct http_figures f;
    http_server_figures(server, &f);
    assert_int_equal(f.refused, 1);
    assert_string_equal(event(), "503 too many connections");
    close(fd[1]);
    wait_for(open_now, 2);
    fd[1] = peer_connect(port);
    for (int i = 0; i < 3; i++) {
        peer_ask(fd[i], "GET /" H "\r\n", 200, &a);
        close(fd[i]);
    }
}

static void keep_alive_can_be_off(void **state)
{
    (void)state;
    start((struct http_options){.no_keep_alive = true});
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    assert_true(peer_closed(fd));
    http_server_keep_alive(server, true, 60000);
    int fd2 AUTO_CLOSE = peer_connect(port);
    peer_ask(fd2, "GET /" H "\r\n", 200, &a);
    peer_ask(fd2, "GET /" H "\r\n", 200, &a);
}

static void an_idle_connection_is_closed(void **state)
{
    (void)state;
    start((struct http_options){.idle_timeout_ms = 50});
    int fd AUTO_CLOSE = peer_connect(port), fresh AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /" H "\r\n", 200, &a);
    assert_true(peer_closed(fd));
    assert_true(peer_closed(fresh));
    struct http_figures f;
    http_server_figures(server, &f);
    assert_int_equal(f.timeouts, 0);
}

static void a_head_that_does_not_come_gives_408(void **state)
{
    (void)state;
    start((struct http_options){.head_timeout_ms = 50, .io_timeout_ms = 50});
    int fd AUTO_CLOSE = peer_connect(port), fd2 AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET /", 408, &a);
    assert_true(peer_closed(fd));
    peer_ask(fd2, "PUT /echo" H "Content-Length: 3\r\n\r\na", 408, &a); /* gathered before the handler */
    assert_true(peer_closed(fd2));
    struct http_figures f;
    http_server_figures(server, &f);
    assert_int_equal(f.timeouts, 2);
}

static void a_body_that_does_not_come_times_out(void **state)
{
    (void)state;
    start((struct http_options){.io_timeout_ms = 50});
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "PUT /take-all" H "Content-Length: 100000\r\n\r\nabc", 503, &a);
    assert_int_equal(last_code, ERR_TIMEOUT);
    assert_string_equal(a.body.p, "3");
    assert_true(peer_closed(fd));
}

static const char *xml_error(void *arg, int status, const char *reason, const char *id, struct buf *out)
{
    (void)arg;
    assert_int_equal(strlen(id), 16);
    buf_printf(out, "<Error>%d %s</Error>", status, reason);
    return "application/xml";
}

static void errors_can_have_another_body(void **state)
{
    (void)state;
    start((struct http_options){.error_body = xml_error, .server_name = "Other"});
    int fd AUTO_CLOSE = peer_connect(port);
    peer_ask(fd, "GET / HTTP/1.1\r\n\r\n", 400, &a);
    assert_string_equal(a.body.p, "<Error>400 Host is missing</Error>");
    assert_string_equal(answer_header(&a, "Content-Type"), "application/xml");
    assert_string_equal(answer_header(&a, "Server"), "Other");
}

/* ---- start and stop ---- */

static void addresses_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "localhost", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x", "no.such.host.invalid:0", "192.0.2.1:0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_options o = {.listen = &bad[i], .n_listen = 1, .handle = handle};
        assert_int_equal(http_server_start(&o, &server), ERR_INVALID);
    }
    static const char *const many[] = {"*:0", "127.0.0.1:0", ":0"};
    struct http_options o = {.listen = many, .n_listen = 3, .handle = handle};
    assert_int_equal(http_server_start(&o, &server), 0);
    for (size_t i = 0; i < 3; i++) {
        int fd AUTO_CLOSE = peer_connect(http_server_port(server, i));
        peer_ask(fd, "GET /" H "\r\n", 200, &a);
        assert_int_equal(atoi(strrchr(http_server_address(server, i), ':') + 1), http_server_port(server, i));
    }
    assert_null(http_server_address(server, 3));
    const char *taken[] = {http_server_address(server, 1)};
    struct http_options o2 = {.listen = taken, .n_listen = 1, .handle = handle};
    struct http_server *second;
    assert_int_equal(http_server_start(&o2, &second), ERR_BUSY);
    assert_non_null(strstr(err_detail(ERR_BUSY), taken[0]));
}

struct stopper {
    pthread_t t;
    size_t cut;
    unsigned ms;
};

static void *run_stop(void *arg)
{
    struct stopper *s = arg;
    s->cut = http_server_stop(server, s->ms);
    return NULL;
}

static void stopping_finishes_what_runs(void **state)
{
    (void)state;
    start((struct http_options){0});
    int idle AUTO_CLOSE = peer_connect(port), busy AUTO_CLOSE = peer_connect(port);
    peer_ask(idle, "GET /" H "\r\n", 200, &a);
    peer_send(busy, "GET /wait" H "\r\n");
    wait_for(begun, 2);
    struct stopper s = {.ms = 10000};
    assert_int_equal(pthread_create(&s.t, NULL, run_stop, &s), 0);
    assert_true(peer_closed(idle)); /* at once */
    assert_true(peer_silent(busy));
    go = 1;
    peer_read(busy, &a, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    assert_true(peer_closed(busy));
    pthread_join(s.t, NULL);
    assert_int_equal(s.cut, 0);
    struct http_figures f;
    http_server_figures(server, &f);
    assert_int_equal(f.connections, 0);
    struct sockaddr_storage peer;
    socklen_t n = sizeof peer;
    assert_int_equal(getpeername(busy, (struct sockaddr *)&peer, &n), 0);
    int fd AUTO_CLOSE = socket(peer.ss_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&peer, n), -1);
}

static void stopping_cuts_what_does_not_end(void **state)
{
    (void)state;
    start((struct http_options){0});
    int upload AUTO_CLOSE = peer_connect(port), head AUTO_CLOSE = peer_connect(port);
    peer_send(upload, "PUT /take-all" H "Content-Length: 100000\r\n\r\nabc");
    peer_send(head, "GET /wa");
    wait_for(begun, 1);
    wait_for(buffered_now, 7); /* and the head's beginning was read */
    assert_int_equal(http_server_stop(server, 1), 1);
    assert_int_equal(last_code, ERR_INCOMPLETE_BODY);
    assert_true(peer_closed(head));
    assert_int_equal(http_server_stop(server, 1000), 0); /* again is fine */
}

#define ON(t) cmocka_unit_test_setup_teardown(t, start_default, stop)
#define OWN(t) cmocka_unit_test_teardown(t, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(an_answer_has_its_headers),
        ON(head_has_a_length_and_no_body),
        ON(some_statuses_have_no_body),
        ON(bodies_go_out_in_every_way),
        ON(http10_ends_with_the_connection),
        ON(headers_cannot_be_injected),
        ON(a_broken_answer_is_never_whole),
        ON(a_broken_answer_to_http10_is_a_reset),
        ON(no_answer_is_500),
        ON(bodies_come_in_by_length_and_chunked),
        ON(large_bodies_come_in_whole),
        ON(a_slow_peer_is_understood),
        ON(a_body_that_ends_early_is_reported),
        ON(bad_chunking_is_reported),
        ON(a_100_comes_before_the_body),
        ON(a_100_comes_at_once_for_an_empty_body),
        ON(a_100_comes_when_the_handler_says_so),
        ON(a_refusal_without_100_closes),
        ON(a_refusal_of_an_empty_body_keeps),
        ON(a_peer_may_send_the_body_at_once),
        ON(http10_expects_nothing),
        ON(other_expectations_fail),
        ON(a_body_is_not_asked_for_after_the_answer),
        ON(a_small_unread_body_is_drained),
        ON(a_large_unread_body_closes_softly),
        ON(an_unread_last_chunk_does_not_matter),
        ON(close_is_honoured),
        ON(pipelined_requests_are_answered_in_order),
        ON(what_follows_a_close_is_not_served),
        ON(what_is_refused_closes),
        ON(empty_lines_between_requests_are_skipped),
        OWN(a_peer_with_many_requests_lets_others_in),
        OWN(a_head_has_a_limit),
        OWN(a_body_has_a_limit),
        OWN(connections_have_a_limit),
        OWN(keep_alive_can_be_off),
        OWN(an_idle_connection_is_closed),
        OWN(a_head_that_does_not_come_gives_408),
        OWN(a_body_that_does_not_come_times_out),
        OWN(errors_can_have_another_body),
        OWN(addresses_are_checked),
        OWN(stopping_finishes_what_runs),
        OWN(stopping_cuts_what_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
