/* SPDX-License-Identifier: Apache-2.0
 *
 * The S3 driver against a store that misbehaves on purpose: a server in this program that plays a script, one act for
 * each request. For every way a request can fail: the exact code, what the caller got, and how often the store was
 * asked.
 */
#include "libufs.h"
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the server ---- */

enum act {
    ANSWER,      /* read the request, send `text` */
    ANSWER_SHUT, /* the same, then close in order */
    RESET_HEAD,  /* reset after the head */
    RESET_HALF,  /* reset after half of the body */
    RESET_ALL,   /* read all, then reset */
    SHUT_ALL,    /* read all, then close in order */
    HANG_HEAD,   /* read the head, then nothing until the client leaves */
    HANG_ALL,    /* read all, then nothing until the client leaves */
};

struct turn {
    enum act act;
    const char *text;
};

#define HEAD 4096

struct server {
    int fd, port;
    pthread_t thread;
    struct turn turn[32];   /* turn[i] is for request i; after the last: 500 */
    _Atomic size_t n_turns; /* stored after the turn */
    _Atomic size_t asked;
    char head[32][HEAD];     /* read through head_of(): written before `asked` */
    _Atomic size_t body[32]; /* bytes that came */
    _Atomic int reset;       /* connections that ended with a reset by the client */
    atomic_bool end;
};

#define LIST_OK "HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n<ListBucketResult></ListBucketResult>\r\n"
#define NO_BODY(status) "HTTP/1.1 " status "\r\nContent-Length: 0\r\n\r\n"
#define SERVER_ERROR NO_BODY("500 x")

/* An answer with this body, in a static buffer of its own. */
static const char *answer(const char *status, const char *headers, const char *body)
{
    static char text[64][2048];
    static unsigned nth;
    char *t = text[nth++ % 64];

    snprintf(t, 2048, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
    return t;
}

static const char *error_xml(const char *status, const char *code)
{
    char body[512];

    snprintf(body, sizeof body, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>told so</Message></Error>",
             code);
    return answer(status, "", body);
}

static bool send_text(int c, const char *p, size_t n)
{
    while (n) {
        ssize_t put = send(c, p, n, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static bool wait_readable(struct server *s, int c)
{
    struct pollfd p = {.fd = c, .events = POLLIN};

    while (!s->end)
        if (poll(&p, 1, 20) > 0)
            return true;
    return false;
}

static ssize_t take(struct server *s, int c, void *p, size_t n)
{
    if (!wait_readable(s, c))
        return -1;
    ssize_t got = recv(c, p, n, 0);
    if (got < 0 && errno == ECONNRESET)
        atomic_fetch_add(&s->reset, 1);
    return got;
}

/* The head up to its empty line; bytes of the body that came with it count. */
static bool read_head(struct server *s, int c, size_t *ret_i)
{
    char h[HEAD];
    size_t n = 0;

    for (;;) {
        ssize_t got = take(s, c, h + n, sizeof h - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        h[n] = 0;
        char *end = strstr(h, "\r\n\r\n");
        if (!end && n < sizeof h - 1)
            continue;
        size_t i = *ret_i = atomic_load(&s->asked);
        if (!end || i == 32)
            abort();
        end[2] = 0;
        strcpy(s->head[i], h);
        s->body[i] = n - (size_t)(end + 4 - h);
        atomic_store(&s->asked, i + 1); /* requests come one at a time, on whatever connection */
        return true;
    }
}

static size_t length_of(const char *head)
{
    const char *p = strcasestr(head, "\r\ncontent-length:");

    return p ? strtoul(p + 17, NULL, 10) : 0;
}

static bool read_body(struct server *s, int c, size_t i, size_t want)
{
    char sink[65536];

    while (s->body[i] < want) {
        ssize_t got = take(s, c, sink, sizeof sink < want - s->body[i] ? sizeof sink : want - s->body[i]);
        if (got <= 0)
            return false;
        s->body[i] += (size_t)got;
    }
    return true;
}

static void reset(int c)
{
    struct linger hard = {1, 0};

    setsockopt(c, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

/* Plays one turn; true when the connection goes on. */
static bool play(struct server *s, int c, size_t i)
{
    struct turn t = i < s->n_turns ? s->turn[i] : (struct turn){ANSWER, SERVER_ERROR};
    size_t n = length_of(s->head[i]);
    char b;

    if (t.act == RESET_HEAD || t.act == RESET_HALF)
        reset(c);
    if (t.act == RESET_HEAD)
        return false;
    if (t.act == HANG_HEAD) {
        while (take(s, c, &b, 0) == 0 && !s->end && recv(c, &b, 1, MSG_PEEK) > 0)
            usleep(10000);
        return false;
    }
    if (strcasestr(s->head[i], "\r\nexpect: 100-continue"))
        send_text(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (!read_body(s, c, i, t.act == RESET_HALF ? n / 2 : n) || t.act == RESET_HALF)
        return false;
    if (t.act == RESET_ALL)
        reset(c);
    if (t.act == HANG_ALL)
        take(s, c, &b, 1);
    if (t.act != ANSWER && t.act != ANSWER_SHUT)
        return false;
    return send_text(c, t.text, strlen(t.text)) && t.act == ANSWER;
}

struct client {
    struct server *s;
    int c;
};

static void *serve_client(void *arg)
{
    struct client *cl = arg;
    size_t i;

    while (read_head(cl->s, cl->c, &i) && play(cl->s, cl->c, i))
        ;
    close(cl->c);
    free(cl);
    return NULL;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    pthread_t client[64];
    size_t n = 0;

    while (wait_readable(s, s->fd) && n < 64) {
        struct client *cl = MEM_NEW(struct client);
        *cl = (struct client){s, accept(s->fd, NULL, NULL)};
        if (cl->c < 0 || pthread_create(&client[n], NULL, serve_client, cl) != 0)
            abort();
        n++;
    }
    while (n)
        pthread_join(client[--n], NULL);
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;

    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    if (s->end)
        return;
    s->end = true;
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* ---- a rig: the server and a UFS on it ---- */

struct rig {
    struct server s;
    struct world w;
    struct ufs *u;
};

static uint64_t clock_skip_ns; /* added to the monotonic clock */

static uint64_t real_mono(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t test_wall(void *arg)
{
    (void)arg;
    return 1795221291123;
}

static uint64_t test_mono(void *arg)
{
    (void)arg;
    return real_mono() + clock_skip_ns;
}

static void test_sleep(void *arg, uint64_t until)
{
    (void)arg;
    uint64_t now = real_mono() + clock_skip_ns;
    if (until > now)
        usleep((useconds_t)((until - now) / 1000));
}

static const struct clock_ops test_clock = {test_wall, test_mono, test_sleep, NULL};

static void script(struct rig *g, enum act act, const char *text)
{
    size_t n = g->s.n_turns;

    g->s.turn[n] = (struct turn){act, text};
    atomic_store(&g->s.n_turns, n + 1);
}

static struct rig *rig_new(const char *attempts, uint64_t deadline_ms)
{
    struct rig *g = MEM_NEW(struct rig);
    char endpoint[64];

    server_start(&g->s);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", g->s.port);
    snprintf(g->w.uri, sizeof g->w.uri, "s3://b/p");
    world_option(&g->w, "alluxio.underfs.s3.endpoint", endpoint);
    world_option(&g->w, "s3a.accessKeyId", "AK");
    world_option(&g->w, "s3a.secretKey", "SK");
    world_option(&g->w, "forebay.ufs.keys", "verbatim");
    world_option(&g->w, "forebay.ufs.conditional", "yes");
    world_option(&g->w, "forebay.ufs.retry.attempts", attempts);
    world_option(&g->w, "forebay.ufs.retry.first.ms", "1");
    world_option(&g->w, "forebay.ufs.s3.stall.ms", "300");
    script(g, ANSWER, LIST_OK);
    ASSERT_OK(world_open(&g->w, deadline_ms, &g->u));
    return g;
}

static const char *head_of(const struct rig *g, size_t i)
{
    assert_true(atomic_load(&g->s.asked) > i);
    return g->s.head[i];
}

/* Requests since open. */
static size_t asked(const struct rig *g)
{
    return g->s.asked - 1;
}

static int free_value(void *arg, struct str key, void *value)
{
    (void)arg, (void)key;
    free(value);
    return 0;
}

static struct rig *rig_free(struct rig *g)
{
    ufs_close(g->u);
    server_stop(&g->s);
    map_each(g->w.props, free_value, NULL);
    map_free(g->w.props);
    free(g);
    clock_skip_ns = 0;
    return NULL;
}

/* ---- calls ---- */

enum call { STAT, READ, READ_RANGE, PUT, PUT_IF, PUT_BIG, DELETE, COPY, COMPLETE, CREATE, LIST };

#define BIG (16u << 20) /* more than the sockets between us can hold */
#define OBJECT "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"v\"\r\n\r\n"
#define MD5_OF_HELLO "5d41402abc4b2a76b9719d911017c592"

static int no_entry(void *arg, const struct ufs_entry *e)
{
    (void)arg, (void)e;
    return 0;
}

static int do_put(struct ufs *u, enum call c)
{
    AUTO_FREE char *p = pattern(BIG, 1);
    struct ufs_put_opts o = {.if_match = c == PUT_IF ? "v" : NULL};

    return c == PUT_BIG ? put_opts(u, "k", p, BIG, o, NULL) : put_opts(u, "k", "hello", 5, o, NULL);
}

static int do_call(struct ufs *u, enum call c, struct buf *got)
{
    struct ufs_part part = {.part = 1, .etag = "e"};
    struct ufs_stat st;
    char upload[1100];
    bool more;

    switch (c) {
    case STAT:
        return ufs_stat(u, STR("k"), &st, NULL, NULL);
    case READ:
        return ufs_read(u, STR("k"), 0, UINT64_MAX, NULL, sink_buf, got);
    case READ_RANGE:
        return ufs_read(u, STR("k"), 5, 10, "v", sink_buf, got);
    case DELETE:
        return ufs_delete(u, STR("k"), NULL);
    case COPY:
        return ufs_copy(u, STR("k"), STR("to"), NULL, &st);
    case COMPLETE:
        return ufs_mpu_complete(u, STR("k"), "id", &part, 1, NULL, &st);
    case CREATE:
        return ufs_mpu_create(u, STR("k"), &(struct ufs_put_opts){0}, upload);
    case LIST:
        return ufs_list(u, STR(""), 0, STR(""), 0, no_entry, NULL, &more);
    default:
        return do_put(u, c);
    }
}

/* One failing request: its code, nothing in the sink, and asked exactly once. */
static void expect(enum call c, enum act act, const char *text, int code)
{
    struct rig *g = rig_new("1", act == HANG_ALL || act == HANG_HEAD ? 1500 : 20000);
    struct buf got AUTO_BUF = {0};

    if (c == COPY)
        script(g, ANSWER, OBJECT); /* the HEAD that every copy starts with */
    script(g, act, text);
    int r = do_call(g->u, c, &got);
    if (r != code)
        fail_msg("call %d act %d %.60s: %s (%s), expected %s", c, act, text ? text : "", r ? err_info(r)->name : "0",
                 r ? err_detail(r) : "", code ? err_info(code)->name : "0");
    if (code && got.n)
        fail_msg("an error became data: %s", got.p);
    assert_int_equal(asked(g), c == COPY ? 2 : 1);
    rig_free(g);
}

/* ---- statuses and bodies ---- */

static void statuses(void **state)
{
    static const struct {
        enum call call;
        const char *status, *code;
        int err;
    } t[] = {
        {READ, "404 x", "NoSuchKey", ERR_NOT_FOUND},
        {READ, "404 x", "NoSuchBucket", ERR_UNREACHABLE},
        {READ, "412 x", "PreconditionFailed", ERR_PRECONDITION},
        {READ, "403 x", "AccessDenied", ERR_DENIED},
        {READ, "500 x", "InternalError", ERR_UNREACHABLE},
        {READ, "503 x", "SlowDown", ERR_THROTTLED},
        {READ, "429 x", "", ERR_THROTTLED},
        {READ, "502 x", "", ERR_UNREACHABLE},
        {READ, "301 x", "PermanentRedirect", ERR_UNREACHABLE},
        {READ, "416 x", "InvalidRange", 0},
        {PUT, "500 x", "InternalError", ERR_UNKNOWN_OUTCOME},
        {PUT, "502 x", "", ERR_UNKNOWN_OUTCOME},
        {PUT, "504 x", "", ERR_UNKNOWN_OUTCOME},
        {PUT, "503 x", "SlowDown", ERR_THROTTLED},
        {PUT, "503 x", "ServiceUnavailable", ERR_THROTTLED},
        {PUT, "503 x", "", ERR_THROTTLED},
        {PUT, "400 x", "BadDigest", ERR_CORRUPT},
        {PUT, "400 x", "RequestTimeout", ERR_UNREACHABLE},
        {PUT, "400 x", "EntityTooLarge", ERR_TOO_LARGE},
        {PUT, "400 x", "InvalidArgument", ERR_INVALID},
        {PUT, "403 x", "RequestTimeTooSkewed", ERR_DENIED},
        {PUT, "404 x", "NoSuchBucket", ERR_UNREACHABLE},
        {PUT, "409 x", "ConditionalRequestConflict", ERR_THROTTLED},
        {PUT, "412 x", "PreconditionFailed", ERR_PRECONDITION},
        {PUT, "501 x", "NotImplemented", ERR_NOT_IMPLEMENTED},
        {PUT, "507 x", "", ERR_NO_SPACE},
        {PUT, "307 x", "TemporaryRedirect", ERR_UNREACHABLE},
        {PUT_IF, "404 x", "NoSuchKey", ERR_PRECONDITION},
        {PUT_BIG, "503 x", "SlowDown", ERR_THROTTLED},
        {DELETE, "404 x", "NoSuchKey", 0},
        {DELETE, "404 x", "NoSuchBucket", ERR_UNREACHABLE},
        {DELETE, "500 x", "InternalError", ERR_UNKNOWN_OUTCOME},
        {DELETE, "503 x", "SlowDown", ERR_THROTTLED},
        {COPY, "404 x", "NoSuchKey", ERR_NOT_FOUND},
        {COPY, "412 x", "PreconditionFailed", ERR_PRECONDITION},
        {COPY, "500 x", "InternalError", ERR_UNKNOWN_OUTCOME},
        {COPY, "200 OK", "InternalError", ERR_UNKNOWN_OUTCOME},
        {COPY, "200 OK", "SlowDown", ERR_THROTTLED},
        {COPY, "200 OK", "AccessDenied", ERR_DENIED},
        {COMPLETE, "200 OK", "InternalError", ERR_UNKNOWN_OUTCOME},
        {COMPLETE, "200 OK", "SlowDown", ERR_THROTTLED},
        {COMPLETE, "404 x", "NoSuchUpload", ERR_NO_UPLOAD},
        {COMPLETE, "400 x", "InvalidPart", ERR_INVALID_PART},
        {COMPLETE, "412 x", "PreconditionFailed", ERR_PRECONDITION},
        {CREATE, "200 OK", "InternalError", ERR_UNKNOWN_OUTCOME},
        {LIST, "404 x", "NoSuchBucket", ERR_UNREACHABLE},
        {LIST, "200 OK", "InternalError", ERR_UNREACHABLE},
        {LIST, "403 x", "AccessDenied", ERR_DENIED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        expect(t[i].call, ANSWER, *t[i].code ? error_xml(t[i].status, t[i].code) : answer(t[i].status, "", "oops"),
               t[i].err);
}

static void bodies_that_are_not_what_they_should_be(void **state)
{
    (void)state;
    expect(COPY, ANSWER, answer("200 OK", "", ""), ERR_UNKNOWN_OUTCOME);
    expect(COPY, ANSWER, answer("200 OK", "", "<CopyObjectResult><ETag>\"x\""), ERR_UNKNOWN_OUTCOME);
    expect(COPY, ANSWER, answer("200 OK", "", "<html>hello</html>"), ERR_UNKNOWN_OUTCOME);
    expect(COMPLETE, ANSWER, answer("200 OK", "", "     "), ERR_UNKNOWN_OUTCOME);
    expect(COMPLETE, ANSWER_SHUT, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<CompleteMultipartUploadResult>",
           ERR_UNKNOWN_OUTCOME);
    expect(CREATE, ANSWER, answer("200 OK", "", "<InitiateMultipartUploadResult/>"), ERR_UNKNOWN_OUTCOME);
    expect(LIST, ANSWER, answer("200 OK", "", "<ListBucketResult><Contents><Key>p/a"), ERR_UNREACHABLE);
    expect(LIST, ANSWER,
           answer("200 OK", "", "<ListBucketResult><Contents><Key>other/a</Key></Contents></ListBucketResult>"),
           ERR_UNREACHABLE);
    expect(LIST, ANSWER,
           answer("200 OK", "", "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>"),
           ERR_UNREACHABLE);
    expect(PUT, ANSWER, answer("200 OK", "ETag: \"00000000000000000000000000000000\"\r\n", ""), ERR_CORRUPT);
    expect(PUT, ANSWER, answer("200 OK", "ETag: \"" MD5_OF_HELLO "\"\r\n", ""), 0);
    expect(
        PUT, ANSWER,
        answer("200 OK", "x-amz-server-side-encryption: aws:kms\r\nETag: \"00000000000000000000000000000000\"\r\n", ""),
        0);
    expect(DELETE, ANSWER, NO_BODY("204 No Content"), 0);
}

static void wrong_ranges(void **state)
{
    (void)state;
#define RANGE(r) "Content-Range: bytes " r "\r\n"
    expect(READ_RANGE, ANSWER, answer("206 x", RANGE("5-14/100"), "0123456789"), 0);
    expect(READ_RANGE, ANSWER, answer("206 x", RANGE("5-9/10"), "01234"), 0);
    expect(READ_RANGE, ANSWER, answer("206 x", RANGE("0-9/100"), "0123456789"), ERR_IO);
    expect(READ_RANGE, ANSWER, answer("200 x", "", "0123456789012345"), ERR_IO);
    expect(READ_RANGE, ANSWER, answer("206 x", "", "0123456789"), ERR_IO);
}

/* ---- broken connections ---- */

static void broken_connections(void **state)
{
    static const struct {
        enum call call;
        enum act act;
        int err;
    } t[] = {
        {STAT, RESET_HEAD, ERR_UNREACHABLE},       {STAT, SHUT_ALL, ERR_UNREACHABLE},
        {READ, RESET_ALL, ERR_UNREACHABLE},        {READ, HANG_ALL, ERR_UNREACHABLE},
        {LIST, HANG_ALL, ERR_UNREACHABLE},         {PUT, RESET_ALL, ERR_UNKNOWN_OUTCOME},
        {PUT, SHUT_ALL, ERR_UNKNOWN_OUTCOME},      {PUT, HANG_ALL, ERR_UNKNOWN_OUTCOME},
        {PUT_BIG, RESET_HEAD, ERR_UNREACHABLE},    {PUT_BIG, RESET_HALF, ERR_UNREACHABLE},
        {PUT_BIG, HANG_HEAD, ERR_UNREACHABLE},     {PUT_BIG, RESET_ALL, ERR_UNKNOWN_OUTCOME},
        {PUT_BIG, SHUT_ALL, ERR_UNKNOWN_OUTCOME},  {DELETE, RESET_HEAD, ERR_UNKNOWN_OUTCOME},
        {DELETE, SHUT_ALL, ERR_UNKNOWN_OUTCOME},   {DELETE, HANG_ALL, ERR_UNKNOWN_OUTCOME},
        {COPY, RESET_ALL, ERR_UNKNOWN_OUTCOME},    {COMPLETE, RESET_ALL, ERR_UNKNOWN_OUTCOME},
        {COMPLETE, HANG_ALL, ERR_UNKNOWN_OUTCOME}, {CREATE, RESET_ALL, ERR_UNKNOWN_OUTCOME},
    };

    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct rig *g = rig_new("1", t[i].act == HANG_ALL || t[i].act == HANG_HEAD ? 1500 : 20000);
        struct buf got AUTO_BUF = {0};
        size_t mutations = 0;

        if (t[i].call == COPY)
            script(g, ANSWER, OBJECT);
        for (int n = 0; n < 4; n++) /* reads may be sent again by the library: to the same end */
            script(g, t[i].act, "");
        int r = do_call(g->u, t[i].call, &got);
        if (r != t[i].err)
            fail_msg("call %d act %d: %s (%s), expected %s", t[i].call, t[i].act, r ? err_info(r)->name : "0",
                     r ? err_detail(r) : "", err_info(t[i].err)->name);
        for (size_t n = 1; n < g->s.asked; n++)
            if (strncmp(head_of(g, n), "GET ", 4) && strncmp(head_of(g, n), "HEAD ", 5) &&
                (g->s.body[n] || !length_of(head_of(g, n))))
                mutations++;
        if (t[i].call != STAT && t[i].call != READ && t[i].call != LIST && t[i].act != RESET_HEAD &&
            t[i].act != HANG_HEAD)
            assert_int_equal(mutations, 1); /* what may have happened was not sent twice */
        rig_free(g);
    }
}

static void nobody_there(void **state)
{
    struct rig *g = rig_new("1", 5000);
    struct buf got AUTO_BUF = {0};

    (void)state;
    server_stop(&g->s);
    for (enum call c = STAT; c <= LIST; c++)
        ASSERT_CODE(do_call(g->u, c, &got), ERR_UNREACHABLE);
    rig_free(g);
}

/* A kept connection that dies just when a change is sent on it: the change may have happened, and is not sent again. */
static void dead_kept_connection(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct ufs_stat st;

    (void)state;
    script(g, SHUT_ALL, "");
    script(g, ANSWER, NO_BODY("204 x"));
    ASSERT_CODE(ufs_delete(g->u, STR("k"), NULL), ERR_UNKNOWN_OUTCOME);
    assert_int_equal(asked(g), 1);
    g = rig_free(g);
    g = rig_new("1", 20000); /* a read is: the library's own second try finds the answer */
    script(g, SHUT_ALL, "");
    script(g, ANSWER, OBJECT);
    ASSERT_OK(ufs_stat(g->u, STR("k"), &st, NULL, NULL));
    assert_int_equal(asked(g), 2);
    rig_free(g);
}

static void torn_bodies(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct buf got AUTO_BUF = {0};

    (void)state;
    script(g, ANSWER_SHUT, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it");
    ASSERT_CODE(ufs_read(g->u, STR("k"), 0, UINT64_MAX, NULL, sink_buf, &got), ERR_IO);
    assert_string_equal(got.p, "half of it");
    script(g, ANSWER_SHUT, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    ASSERT_CODE(ufs_read(g->u, STR("k"), 0, UINT64_MAX, NULL, sink_buf, &got), ERR_IO);
    script(g, ANSWER, answer("206 x", RANGE("5-14/100"), "0123"));
    ASSERT_CODE(ufs_read(g->u, STR("k"), 5, 10, NULL, sink_buf, &got), ERR_IO);
    rig_free(g);
}

/* A source that fails ends its connection with a reset: an orderly end is taken for the end of the object by some
 * stores. */
static void a_failing_source_resets(void **state)
{
    struct rig *g = rig_new("1", 20000);
    AUTO_FREE char *p = pattern(BIG, 1);
    struct feed f = {.p = p, .n = BIG, .fail_at = BIG / 2, .code = ERR_CORRUPT};
    struct ufs_put_opts o = {.size = BIG};
    struct ufs_stat st;

    (void)state;
    script(g, ANSWER, NO_BODY("200 x"));
    ASSERT_CODE(ufs_put(g->u, STR("k"), &o, feed_next, &f, &st), ERR_CORRUPT);
    for (int i = 0; i < 500 && !g->s.reset; i++)
        usleep(10000);
    assert_int_equal(g->s.reset, 1);
    rig_free(g);
}

/* ---- missing buckets ---- */

static void absent_or_unreachable(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct ufs_stat st;

    (void)state;
    script(g, ANSWER, NO_BODY("404 x"));
    ASSERT_CODE(ufs_stat(g->u, STR("k"), &st, NULL, NULL), ERR_NOT_FOUND); /* the bucket was seen a moment ago */
    assert_int_equal(asked(g), 1);
    clock_skip_ns = 10000000000;
    script(g, ANSWER, NO_BODY("404 x"));
    script(g, ANSWER, NO_BODY("200 x"));
    ASSERT_CODE(ufs_stat(g->u, STR("k"), &st, NULL, NULL), ERR_NOT_FOUND);
    assert_int_equal(asked(g), 3);
    assert_ptr_equal(strstr(head_of(g, 3), "HEAD /b HTTP/1.1"), head_of(g, 3));
    clock_skip_ns *= 2;
    script(g, ANSWER, NO_BODY("404 x"));
    script(g, ANSWER, NO_BODY("404 x"));
    ASSERT_CODE(ufs_stat(g->u, STR("k"), &st, NULL, NULL), ERR_UNREACHABLE);
    assert_non_null(strstr(err_detail(ERR_UNREACHABLE), "bucket b"));
    script(g, ANSWER, NO_BODY("404 x"));
    script(g, RESET_ALL, "");
    script(g, RESET_ALL, "");
    ASSERT_CODE(ufs_stat(g->u, STR("k"), &st, NULL, NULL), ERR_UNREACHABLE);
    rig_free(g);
}

static void opening(void **state)
{
    static const struct {
        const char *status, *code;
        int err;
    } t[] = {{"404 x", "NoSuchBucket", ERR_UNREACHABLE},
             {"403 x", "InvalidAccessKeyId", ERR_DENIED},
             {"200 OK", "InternalError", ERR_UNREACHABLE}};
    struct rig *g = rig_new("1", 20000);
    struct ufs *u;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        script(g, ANSWER, error_xml(t[i].status, t[i].code));
        ASSERT_CODE(world_open(&g->w, 5000, &u), t[i].err);
    }
    world_option(&g->w, "forebay.ufs.keys", "sometimes");
    ASSERT_CODE(world_open(&g->w, 5000, &u), ERR_INVALID);
    rig_free(g);
}

/* Nobody may write: what S3 has is assumed, but no conditions, and no names that might lead out. */
static void a_read_only_store(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct ufs *u;

    (void)state;
    world_option(&g->w, "forebay.ufs.keys", "auto");
    world_option(&g->w, "forebay.ufs.conditional", "auto");
    script(g, ANSWER, LIST_OK);
    script(g, ANSWER, error_xml("403 x", "AccessDenied"));
    ASSERT_OK(world_open(&g->w, 5000, &u));
    assert_int_equal(ufs_caps(u) & (UFS_CAP_VERBATIM | UFS_CAP_IF_MATCH | UFS_CAP_IF_NONE_MATCH), UFS_CAP_VERBATIM);
    ASSERT_OK(ufs_key_check(u, STR("a//b")));
    ASSERT_CODE(ufs_key_check(u, STR("a/../b")), ERR_KEY_UNSUPPORTED);
    ASSERT_CODE(ufs_key_check(u, STR("..")), ERR_KEY_UNSUPPORTED);
    ASSERT_OK(ufs_key_check(u, STR("a/...")));
    ufs_close(u);
    rig_free(g);
}

/* ---- batches ---- */

static void a_batch_names_each_key(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct str keys[5] = {STR("a"), STR("b&c"), STR("d"), STR("a"), STR("lost")};
    int codes[5];

    (void)state;
    script(g, ANSWER, NO_BODY("204 x")); /* the second "a" goes by itself */
    script(g, ANSWER,
           answer("200 OK", "",
                  "<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b&amp;c</Key>"
                  "<Code>AccessDenied</Code></Error><Error><Key>p/d</Key><Code>InternalError</Code>"
                  "</Error></DeleteResult>"));
    ASSERT_OK(ufs_delete_many(g->u, keys, 5, codes));
    ASSERT_CODE(codes[0], 0);
    ASSERT_CODE(codes[1], ERR_DENIED);
    ASSERT_CODE(codes[2], ERR_UNKNOWN_OUTCOME);
    ASSERT_CODE(codes[3], 0);
    ASSERT_CODE(codes[4], ERR_UNKNOWN_OUTCOME);
    assert_non_null(strcasestr(head_of(g, 2), "\r\ncontent-md5:"));
    script(g, ANSWER, error_xml("200 OK", "SlowDown"));
    ASSERT_CODE(ufs_delete_many(g->u, keys, 3, codes), ERR_THROTTLED);
    rig_free(g);
}

/* ---- retries ---- */

static void what_did_not_happen_is_tried_again(void **state)
{
    struct rig *g = rig_new("3", 20000);
    struct ufs_figures f;
    struct buf got AUTO_BUF = {0};

    (void)state;
    script(g, ANSWER, error_xml("503 x", "SlowDown"));
    script(g, ANSWER, error_xml("503 x", "SlowDown"));
    script(g, ANSWER, answer("200 OK", "ETag: \"" MD5_OF_HELLO "\"\r\n", ""));
    ASSERT_OK(do_call(g->u, PUT, &got));
    assert_int_equal(asked(g), 3);
    assert_int_equal(g->s.body[3], 5);
    ufs_figures(g->u, &f);
    assert_int_equal(f.throttled, 2);
    for (int i = 0; i < 3; i++)
        script(g, ANSWER, error_xml("503 x", "SlowDown"));
    ASSERT_CODE(do_call(g->u, DELETE, &got), ERR_THROTTLED);
    assert_int_equal(asked(g), 6);
    script(g, ANSWER, error_xml("500 x", "InternalError"));
    ASSERT_CODE(do_call(g->u, PUT, &got), ERR_UNKNOWN_OUTCOME); /* never again */
    ASSERT_CODE(do_call(g->u, STAT, &got), ERR_UNREACHABLE);    /* the script is over: 500 */
    assert_int_equal(asked(g), 10);
    rig_free(g);
}

/* A large body comes from a source that cannot go back: it is sent again only if none of it was asked for. */
static void a_body_that_cannot_be_sent_again(void **state)
{
    struct rig *g = rig_new("3", 20000);
    struct buf got AUTO_BUF = {0};

    (void)state;
    script(g, RESET_HALF, "");
    ASSERT_CODE(do_call(g->u, PUT_BIG, &got), ERR_UNREACHABLE);
    assert_int_equal(asked(g), 1);
    script(g, RESET_HEAD, "");
    script(g, RESET_HEAD, "");
    script(g, ANSWER, NO_BODY("200 x"));
    ASSERT_OK(do_call(g->u, PUT_BIG, &got)); /* refused while it waited for "100 Continue" */
    assert_int_equal(g->s.body[g->s.asked - 1], BIG);
    rig_free(g);
}

static void a_read_goes_on_in_the_same_version(void **state)
{
    struct rig *g = rig_new("3", 20000);
    struct buf got AUTO_BUF = {0};

    (void)state;
    script(g, ANSWER_SHUT, "HTTP/1.1 206 x\r\n" RANGE("5-14/100") "Content-Length: 10\r\n\r\n0123");
    script(g, ANSWER, answer("206 x", RANGE("9-14/100"), "456789"));
    ASSERT_OK(ufs_read(g->u, STR("k"), 5, 10, "v", sink_buf, &got));
    assert_string_equal(got.p, "0123456789");
    assert_non_null(strstr(head_of(g, 2), "bytes=9-14"));
    assert_non_null(strcasestr(head_of(g, 2), "if-match: \"v\""));
    buf_reset(&got);
    script(g, ANSWER_SHUT, "HTTP/1.1 206 x\r\n" RANGE("5-14/100") "Content-Length: 10\r\n\r\n0123");
    ASSERT_CODE(ufs_read(g->u, STR("k"), 5, 10, NULL, sink_buf, &got), ERR_IO);
    assert_int_equal(asked(g), 3);
    buf_reset(&got);
    script(g, ANSWER_SHUT, "HTTP/1.1 206 x\r\n" RANGE("5-14/100") "Content-Length: 10\r\n\r\n0123");
    script(g, ANSWER, error_xml("412 x", "PreconditionFailed"));
    ASSERT_CODE(ufs_read(g->u, STR("k"), 5, 10, "v", sink_buf, &got), ERR_PRECONDITION);
    rig_free(g);
}

static void retries_end_with_the_deadline(void **state)
{
    struct rig *g = rig_new("1000", 400);
    struct ufs_stat st;

    (void)state;
    for (int i = 0; i < 25; i++)
        script(g, ANSWER, error_xml("503 x", "SlowDown"));
    ASSERT_CODE(ufs_stat(g->u, STR("k"), &st, NULL, NULL), ERR_THROTTLED);
    assert_true(asked(g) > 3 && asked(g) < 25); /* pauses double: it cannot have been many */
    rig_free(g);
}

/* ---- requests as they go out ---- */

static void the_wire(void **state)
{
    struct rig *g = rig_new("1", 20000);
    unsigned char md5[16] = {0};
    static const struct ufs_pair pair = {{"x-amz-meta-a", 12}, {"b  c", 4}};
    struct ufs_put_opts o = {.md5 = md5, .if_none_match = true, .meta = {&pair, 1}};

    (void)state;
    script(g, ANSWER, answer("200 OK", "ETag: \"00000000000000000000000000000000\"\r\n", ""));
    ASSERT_OK(put_opts(g->u, "a//b/./../c\x01 ?+%\xc3\xa4", "hello", 5, o, NULL));
    const char *h = head_of(g, 1);
    assert_ptr_equal(strstr(h, "PUT /b/p/a//b/./../c%01%20%3F%2B%25%C3%A4 HTTP/1.1\r\n"), h);
    assert_non_null(strcasestr(h, "\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n"));
    assert_non_null(strcasestr(h, "\r\nIf-None-Match: *\r\n"));
    assert_non_null(strcasestr(h, "\r\nx-amz-meta-a: b  c\r\n"));
    assert_non_null(strcasestr(h, "\r\nx-amz-date: 20261121T003451Z\r\n"));
    assert_non_null(
        strcasestr(h, "Credential=AK/20261121/us-east-1/s3/aws4_request,SignedHeaders="
                      "content-md5;host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-meta-a,Signature="));
    assert_null(strcasestr(h, "\r\nExpect:"));
    assert_null(strcasestr(h, "\r\nTransfer-Encoding:"));
    rig_free(g);
}

static void anonymous(void **state)
{
    struct rig *g = rig_new("1", 20000);
    struct ufs_stat st;
    struct ufs *u;

    (void)state;
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    free(map_del(g->w.props, STR("s3a.accessKeyId")));
    ASSERT_CODE(world_open(&g->w, 5000, &u), ERR_INVALID); /* a secret without a key */
    free(map_del(g->w.props, STR("s3a.secretKey")));
    script(g, ANSWER, LIST_OK);
    script(g, ANSWER, OBJECT);
    ASSERT_OK(world_open(&g->w, 5000, &u));
    ASSERT_OK(ufs_stat(u, STR("k"), &st, NULL, NULL));
    assert_null(strcasestr(head_of(g, 2), "authorization"));
    assert_int_equal(st.size, 10);
    assert_string_equal(st.version, "v");
    ufs_close(u);
    setenv("AWS_ACCESS_KEY_ID", "ENVKEY", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    setenv("AWS_SESSION_TOKEN", "tok", 1);
    script(g, ANSWER, LIST_OK);
    ASSERT_OK(world_open(&g->w, 5000, &u));
    assert_non_null(strstr(head_of(g, 3), "Credential=ENVKEY/"));
    assert_non_null(strcasestr(head_of(g, 3), "x-amz-security-token: tok"));
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SESSION_TOKEN");
    ufs_close(u);
    rig_free(g);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses),
        cmocka_unit_test(bodies_that_are_not_what_they_should_be),
        cmocka_unit_test(wrong_ranges),
        cmocka_unit_test(broken_connections),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(dead_kept_connection),
        cmocka_unit_test(torn_bodies),
        cmocka_unit_test(a_failing_source_resets),
        cmocka_unit_test(absent_or_unreachable),
        cmocka_unit_test(opening),
        cmocka_unit_test(a_read_only_store),
        cmocka_unit_test(a_batch_names_each_key),
        cmocka_unit_test(what_did_not_happen_is_tried_again),
        cmocka_unit_test(a_body_that_cannot_be_sent_again),
        cmocka_unit_test(a_read_goes_on_in_the_same_version),
        cmocka_unit_test(retries_end_with_the_deadline),
        cmocka_unit_test(the_wire),
        cmocka_unit_test(anonymous),
    };

    clock_use(&test_clock);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
