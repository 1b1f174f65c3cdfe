/* SPDX-License-Identifier: Apache-2.0
 *
 * The load generator's connection, against a server that answers from a script: one entry a request, in any framing,
 * also wrong ones.
 */
#include "cm.h"
#include "base/err.h"
#include "base/thread.h"
#include "bench/wire.h"
#include <netinet/in.h>
#include <sys/socket.h>

struct reply {
    const char *text; /* NULL: close without a word */
    bool close;       /* afterwards */
    bool early;       /* before the request's body was read; it never is */
};

struct server {
    const struct reply *reply;
    size_t n, connections;
    int listen, port;
    pthread_t thread;
    struct target *target;
    struct wire wire;
};

static int body_length(const char *head)
{
    const char *p = strstr(head, "Content-Length: ");
    return p ? atoi(p + 16) : 0;
}

static bool read_n(int fd, int n)
{
    char c;
    while (n-- > 0)
        if (recv(fd, &c, 1, 0) != 1)
            return false;
    return true;
}

static bool read_request(int fd, bool early)
{
    char head[2048];
    size_t n = 0;
    while (n < sizeof head - 1 && recv(fd, head + n, 1, 0) == 1) {
        head[++n] = 0;
        if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0)
            return early || read_n(fd, body_length(head));
    }
    return false;
}

/* One connection: from reply i on; the index of the next reply. */
static size_t serve(struct server *s, int fd, size_t i)
{
    while (i < s->n && read_request(fd, s->reply[i].early)) {
        const struct reply *r = &s->reply[i++];
        if (r->text)
            send(fd, r->text, strlen(r->text), MSG_NOSIGNAL);
        if (!r->text || r->close)
            break;
    }
    return i;
}

static void *server_main(void *arg)
{
    struct server *s = arg;
    for (size_t i = 0; i < s->n;) {
        int fd = accept4(s->listen, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            break;
        s->connections++;
        i = serve(s, fd, i);
        shutdown(fd, SHUT_WR);
        if (i && s->reply[i - 1].early)
            read_n(fd, INT32_MAX); /* so that what was said is not lost to a reset */
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s, const struct reply *reply, size_t n)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    char url[64];
    *s = (struct server){.reply = reply, .n = n};
    s->listen = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listen >= 0);
    assert_int_equal(bind(s->listen, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(s->listen, 16), 0);
    assert_int_equal(getsockname(s->listen, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", s->port);
    assert_int_equal(target_open(url, NULL, &s->target), 0);
    wire_init(&s->wire, s->target);
    assert_int_equal(thread_start(&s->thread, "server", server_main, s), 0);
}

static void server_end(struct server *s)
{
    wire_done(&s->wire);
    shutdown(s->listen, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listen);
    target_close(s->target);
}

static const unsigned char *zeros(void *arg, uint64_t offset, uint64_t n, size_t *ret_n)
{
    static const unsigned char z[4096];
    (void)arg;
    (void)offset;
    *ret_n = n < sizeof z ? (size_t)n : sizeof z;
    return z;
}

static int ask(struct server *s, const char *method, uint64_t body)
{
    char head[128];
    snprintf(head, sizeof head, "%s / HTTP/1.1\r\nContent-Length: %llu\r\n\r\n", method, (unsigned long long)body);
    struct exchange x = {
        .head = str_of(head), .source = zeros, .length = body, .keep = true, .no_body = strcmp(method, "HEAD") == 0};
    return wire_exchange(&s->wire, &x);
}

#define ANSWER(n, body) "HTTP/1.1 200 OK\r\nContent-Length: " n "\r\n\r\n" body

static void framings(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = "HTTP/1.1 200 OK\r\netag: \"abc\"\r\nCONTENT-LENGTH:  5\r\n\r\nhello"},
        {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n, my world\r\n0\r\nT: "
                 "r\r\n\r\n"},
        {.text = "HTTP/1.1 100 Continue\r\n\r\n" ANSWER("2", "ok")},
        {.text = "HTTP/1.1 200 OK\nContent-Length: 70000\n\n"}, /* to HEAD */
        {.text = "HTTP/1.1 204 No Content\r\n\r\n"},
        {.text = "HTTP/1.1 503 Slow Down\r\nContent-Length: 3\r\n\r\nbad"},
    };
    struct server s;
    server_start(&s, script, 6);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_string_equal(s.wire.body.p, "hello");
    assert_string_equal(s.wire.etag, "\"abc\"");
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_string_equal(s.wire.body.p, "hello, my world");
    assert_string_equal(s.wire.etag, "");
    assert_int_equal(ask(&s, "PUT", 100000), 0); /* in more pieces than one call takes */
    assert_string_equal(s.wire.body.p, "ok");
    assert_int_equal(s.wire.status, 200);
    assert_int_equal(ask(&s, "HEAD", 0), 0);
    assert_int_equal(s.wire.got, 0);
    assert_int_equal(ask(&s, "DELETE", 0), 0);
    assert_int_equal(s.wire.status, 204);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_int_equal(s.wire.status, 503);
    assert_string_equal(s.wire.body.p, "bad");
    server_end(&s);
    assert_int_equal(s.connections, 1);
    assert_int_equal(s.wire.reconnects, 0);
}

static void an_idle_connection_may_go(void **state)
{
    (void)state;
    static const struct reply script[] = {{.text = ANSWER("1", "a")}, {.text = NULL}, {.text = ANSWER("1", "b")}};
    struct server s;
    server_start(&s, script, 3);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_string_equal(s.wire.body.p, "b");
    server_end(&s);
    assert_int_equal(s.connections, 2);
    assert_int_equal(s.wire.reconnects, 1);
}

static void a_fresh_connection_may_not(void **state)
{
    (void)state;
    static const struct reply script[] = {{.text = NULL}, {.text = ANSWER("1", "b")}};
    struct server s;
    server_start(&s, script, 2);
    assert_int_equal(ask(&s, "GET", 0), ERR_IO);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_int_equal(s.wire.reconnects, 0);
    server_end(&s);
}

static void connection_close_is_obeyed(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", .close = true},
        {.text = ANSWER("1", "b")}};
    struct server s;
    server_start(&s, script, 2);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_int_equal(ask(&s, "GET", 0), 0);
    assert_int_equal(s.wire.reconnects, 0);
    server_end(&s);
    assert_int_equal(s.connections, 2);
}

static void broken_answers_are_errors(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = ANSWER("10", "short"), .close = true},
        {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", .close = true},
        {.text = "SSH-2.0-what is this\r\n", .close = true},
        {.text = "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", .close = true},
        {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", .close = true}};
    static const int want[] = {ERR_IO, ERR_IO, ERR_INVALID, ERR_INVALID, ERR_INVALID};
    struct server s;
    server_start(&s, script, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&s, "GET", 0), want[i]);
    server_end(&s);
    assert_int_equal(s.connections, 5);
}

/* More than the socket holds, to a server that has said no already. */
static void an_early_answer_is_heard(void **state)
{
    (void)state;
    static const struct reply script[] = {
        {.text = "HTTP/1.1 507 Full\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", .close = true, .early = true}};
    struct server s;
    server_start(&s, script, 1);
    assert_int_equal(ask(&s, "PUT", 8 << 20), 0);
    assert_int_equal(s.wire.status, 507);
    server_end(&s);
}

static void endpoints(void **state)
{
    (void)state;
    static const char *const bad[] = {"127.0.0.1:80",    "ftp://h",        "http://",    "http:///",
                                      "http://h/bucket", "http://h:99999", "http://h:0", "http://h:"};
    struct target *t;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(target_open(bad[i], NULL, &t), ERR_INVALID);
    assert_int_equal(target_open("http://127.0.0.1:81/", NULL, &t), 0);
    assert_string_equal(target_host(t), "127.0.0.1:81");
    target_close(t);
    assert_int_equal(target_open("http://[::1]:81", NULL, &t), 0);
    assert_string_equal(target_host(t), "[::1]:81");
    target_close(t);
    assert_int_equal(target_open("https://127.0.0.1", "/nonexistent.pem", &t), ERR_INVALID);
}

static void nobody_listens(void **state)
{
    (void)state;
    static const struct reply none[1];
    struct server s;
    server_start(&s, none, 0);
    pthread_join(s.thread, NULL);
    close(s.listen);
    assert_int_equal(ask(&s, "GET", 0), ERR_UNREACHABLE);
    wire_done(&s.wire);
    target_close(s.target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framings),
        cmocka_unit_test(an_idle_connection_may_go),
        cmocka_unit_test(a_fresh_connection_may_not),
        cmocka_unit_test(connection_close_is_obeyed),
        cmocka_unit_test(broken_answers_are_errors),
        cmocka_unit_test(an_early_answer_is_heard),
        cmocka_unit_test(endpoints),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
