/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server under many peers: those that stall must not cost the others a thread, idle ones must cost no memory.
 * Nothing here measures time: the stalled peers never move, so whoever is served was not kept waiting by them. */
#include "cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "net/http.h"
#include "netpeer.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define H " HTTP/1.1\r\nHost: h\r\n"
enum { THREADS = 2 };

static struct http_server *server;
static int port;
static struct answer a;
static atomic_int overruns, incomplete;

static void take_all(struct http_req *rq)
{
    char p[4096];
    ssize_t r;
    while ((r = http_body_read(rq, p, sizeof p)) > 0)
        ;
    if (r == ERR_INCOMPLETE_BODY)
        atomic_fetch_add(&incomplete, 1);
    http_reply(rq, r < 0 ? err_info((int)r)->http : 200, "taken", 5);
}

static void give(struct http_req *rq)
{
    static const char block[65536];
    http_reply_start(rq, 200, 1000 * (int64_t)sizeof block);
    for (int i = 0; i < 1000; i++)
        if (http_send(rq, block, sizeof block) < 0)
            return;
    http_reply_end(rq);
}

static void handle(void *arg, struct http_req *rq)
{
    (void)arg;
    if (str_eq(http_method(rq), STR("PUT")))
        take_all(rq);
    else if (str_eq(http_path(rq), STR("/give")))
        give(rq);
    else
        http_reply(rq, 200, "ok", 2);
}

static void note_event(void *arg, const struct http_event *ev)
{
    (void)arg;
    if (strstr(ev->reason, "too many stalled transfers"))
        atomic_fetch_add(&overruns, 1);
}

static void start(struct http_options o)
{
    static const char *const any[] = {"127.0.0.1:0"};
    o.listen = any;
    o.n_listen = 1;
    o.handle = handle;
    o.event = note_event;
    o.threads = THREADS;
    assert_int_equal(http_server_start(&o, &server), 0);
    port = http_server_port(server, 0);
    overruns = incomplete = 0;
}

static int stop(void **state)
{
    (void)state;
    server = http_server_free(server);
    answer_done(&a);
    return 0;
}

static struct http_figures figures(void)
{
    struct http_figures f;
    http_server_figures(server, &f);
    return f;
}

static void wait_for_stalled(uint64_t n)
{
    for (int i = 0; figures().stalled != n; i++) {
        if (i == 10000)
            fail_msg("%llu stalled instead of %llu", (unsigned long long)figures().stalled, (unsigned long long)n);
        clock_sleep_ms(1);
    }
}

/* The event comes last. */
static void wait_for_overrun(int n)
{
    for (int i = 0; overruns != n || figures().stalled > figures().threads - THREADS; i++) {
        assert_true(i < 10000);
        clock_sleep_ms(1);
    }
}

static void others_are_served(int requests)
{
    int fd AUTO_CLOSE = peer_connect(port);
    for (int i = 0; i < requests; i++)
        peer_ask(fd, "GET /" H "\r\n", 200, &a);
}

static void stalled_uploads_do_not_starve_others(void **state)
{
    (void)state;
    enum { N = 60 };
    int fd[N];
    start((struct http_options){0});
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(port);
        peer_send(fd[i], "PUT /" H "Content-Length: 100000\r\n\r\nabc");
    }
    wait_for_stalled(N);
    assert_true(figures().threads >= N + THREADS);
    others_are_served(100);
    /* They are not lost either. */
    static char rest[99997];
    for (int i = 0; i < N; i++) {
        peer_send_n(fd[i], rest, sizeof rest);
        peer_read(fd[i], &a, false);
        assert_int_equal(a.status, 200);
        close(fd[i]);
    }
    wait_for_stalled(0);
    assert_int_equal(overruns, 0);
}

static void stalled_readers_do_not_starve_others(void **state)
{
    (void)state;
    enum { N = 20 };
    int fd[N];
    start((struct http_options){0});
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(port);
        peer_send(fd[i], "GET /give" H "\r\n"); /* 64 MB: more than all buffers on the way */
    }
    wait_for_stalled(N);
    others_are_served(100);
    for (int i = 0; i < N; i++)
        close(fd[i]);
    wait_for_stalled(0);
}

/* Heads and small bodies on their way hold a buffer, but no thread. */
static void slow_small_requests_hold_no_thread(void **state)
{
    (void)state;
    enum { N = 200 };
    int fd[N];
    start((struct http_options){0});
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(port);
        peer_send(fd[i], i % 2 ? "GET / HTTP/1.1\r\nHo" : "PUT /" H "Content-Length: 4000\r\n\r\nabc");
    }
    for (int i = 0; figures().buffered < N / 2 * 4000; i++) {
        assert_true(i < 10000);
        clock_sleep_ms(1);
    }
    others_are_served(100);
    assert_int_equal(figures().stalled, 0);
    assert_int_equal(figures().threads, THREADS);
    static char rest[3997];
    for (int i = 0; i < N; i++) {
        if (i % 2)
            peer_send(fd[i], "st: h\r\n\r\n");
        else
            peer_send_n(fd[i], rest, sizeof rest);
        peer_read(fd[i], &a, false);
        assert_int_equal(a.status, 200);
        close(fd[i]);
    }
    assert_int_equal(figures().buffered, 0);
}

static void without_threads_the_longest_stalled_are_cut(void **state)
{
    (void)state;
    enum { N = 12, MAX = 6 };
    int fd[N];
    start((struct http_options){.threads_max = MAX});
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(port);
        peer_send(fd[i], "PUT /" H "Content-Length: 100000\r\n\r\nabc");
        wait_for_stalled(i < MAX - THREADS ? i + 1 : MAX - THREADS);
        wait_for_overrun(i < MAX - THREADS ? 0 : i + 1 - (MAX - THREADS));
        others_are_served(3);
    }
    others_are_served(100);
    assert_true(figures().threads <= MAX);
    /* Every stall beyond what leaves THREADS to run cost the oldest one its connection. */
    assert_int_equal(overruns, N - (MAX - THREADS));
    static char rest[99997];
    for (int i = 0; i < N; i++) {
        if (i >= N - (MAX - THREADS)) {
            peer_send_n(fd[i], rest, sizeof rest);
            peer_read(fd[i], &a, false);
            assert_int_equal(a.status, 200);
        }
        close(fd[i]);
    }
    wait_for_stalled(0);
    assert_int_equal(incomplete, N - (MAX - THREADS));
}

static void without_buffers_slow_requests_are_refused(void **state)
{
    (void)state;
    start((struct http_options){.buffers_max = 3000});
    int big AUTO_CLOSE = peer_connect(port), slow AUTO_CLOSE = peer_connect(port), late AUTO_CLOSE = peer_connect(port);
    peer_send(slow, "PUT /" H "Content-Length: 2900\r\n\r\nabc");
    for (int i = 0; figures().buffered == 0; i++) {
        assert_true(i < 10000);
        clock_sleep_ms(1);
    }
    peer_ask(late, "GET / HTTP/1.1\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
             503, &a);
    /* A body that cannot be gathered gets a thread instead. */
    peer_send(big, "PUT /" H "Content-Length: 2900\r\n\r\nabc");
    wait_for_stalled(1);
    others_are_served(10);
    static char rest[2897];
    peer_send_n(big, rest, sizeof rest);
    peer_read(big, &a, false);
    assert_int_equal(a.status, 200);
    peer_send_n(slow, rest, sizeof rest);
    peer_read(slow, &a, false);
    assert_int_equal(a.status, 200);
}

/* ---- many peers at once ---- */

struct load {
    pthread_t t;
    int seed;
};

static void *hammer(void *arg)
{
    struct load *l = arg;
    struct answer mine = {0};
    unsigned seed = (unsigned)l->seed;
    for (int i = 0; i < 40; i++) {
        int fd AUTO_CLOSE = peer_connect(port);
        for (int k = (int)(rand_r(&seed) % 6); k >= 0; k--) {
            static const char *const ask[] = {"GET /" H "\r\n", "PUT /" H "Content-Length: 3\r\n\r\nabc",
                                              "PUT /" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                                              "PUT /" H "Content-Length: 0\r\n\r\n"};
            const char *text = ask[rand_r(&seed) % 4];
            size_t cut = rand_r(&seed) % strlen(text);
            peer_send_n(fd, text, cut);
            if (rand_r(&seed) % 10 == 0)
                break; /* gone in the middle */
            peer_send(fd, text + cut);
            peer_read(fd, &mine, false);
            assert_int_equal(mine.status, 200);
        }
    }
    answer_done(&mine);
    return NULL;
}

static void many_peers_come_and_go(void **state)
{
    (void)state;
    struct load l[8];
    start((struct http_options){.idle_timeout_ms = 500});
    for (int i = 0; i < 8; i++) {
        l[i].seed = i;
        assert_int_equal(pthread_create(&l[i].t, NULL, hammer, &l[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(l[i].t, NULL);
    assert_int_equal(figures().accepted, 8 * 40);
    for (int i = 0; figures().connections; i++) {
        assert_true(i < 10000);
        clock_sleep_ms(1);
    }
}

/* ---- ten thousand idle connections ---- */

static uint64_t resident(void)
{
    uint64_t pages = 0;
    FILE *f AUTO_FCLOSE = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void ask_once(int fd)
{
    static const char rq[] = "GET /" H "\r\n";
    char p[512];
    if (send(fd, rq, sizeof rq - 1, MSG_NOSIGNAL) != sizeof rq - 1 || recv(fd, p, sizeof p, 0) < 20 ||
        strncmp(p, "HTTP/1.1 200", 12))
        _exit(1);
}

/* The peers live in a process of their own: it takes a port, opens n connections, asks once on each, says "y", and
 * keeps them until its input ends. */
static void idle_peers(int in, int out, int n)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (read(in, &to.sin_port, sizeof to.sin_port) != sizeof to.sin_port)
        _exit(1);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < n; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
            _exit(1);
        ask_once(fd);
    }
    char c = 'y';
    _exit(write(out, &c, 1) != 1 || read(in, &c, 1) != 0);
}

static int peers_possible(void)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return l.rlim_cur > 1200 ? 1000 : 0;
#else
    return l.rlim_cur > 10200 ? 10000 : 0;
#endif
}

static void idle_connections_cost_no_memory(void **state)
{
    (void)state;
    int n = peers_possible(), to[2], from[2];
    if (!n)
        skip(); /* ulimit -n forbids it */
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(to[1]);
        idle_peers(to[0], from[1], n);
    }
    close(to[0]);
    close(from[1]);
    start((struct http_options){0});
    uint64_t before = resident();
    uint16_t be_port = htons((uint16_t)port);
    assert_int_equal(write(to[1], &be_port, sizeof be_port), sizeof be_port);
    char c = 0;
    assert_int_equal(read(from[0], &c, 1), 1);
    uint64_t grown = resident() - before;
    struct http_figures f = figures();
    close(to[1]);
    close(from[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    print_message("%d idle connections: %llu KiB, %llu threads\n", n, (unsigned long long)(grown >> 10),
                  (unsigned long long)f.threads);
    assert_int_equal(f.connections, n);
    assert_int_equal(f.buffered, 0);
    assert_true(f.threads <= THREADS + 4);
    assert_true(grown < (uint64_t)n * 1024 + (8 << 20)); /* 1 KiB each, and a few threads' buffers */
}

#define OWN(t) cmocka_unit_test_teardown(t, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OWN(idle_connections_cost_no_memory), /* first: it forks */
        OWN(stalled_uploads_do_not_starve_others),      OWN(stalled_readers_do_not_starve_others),
        OWN(slow_small_requests_hold_no_thread),        OWN(without_threads_the_longest_stalled_are_cut),
        OWN(without_buffers_slow_requests_are_refused), OWN(many_peers_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
