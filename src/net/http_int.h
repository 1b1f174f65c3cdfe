/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the HTTP server: connections, workers, the request being served. Not for other rooms.
 *
 * A connection is owned by exactly one thread while it is RUNNING and by nobody while it is PARKED. Its state word
 * holds the slot's generation, so that a late event or an old pointer can never touch a slot's next connection:
 *
 *   FREE -> RUNNING       conn_open: a slot was taken for an accepted socket
 *   RUNNING -> PARKED     conn_park: the event is armed first, then the state is given up
 *   RUNNING -> PENDING    an event came between arming and giving up; the parker sees it and arms again
 *   PARKED -> RUNNING     conn_claim: a worker that got the event, or the keeper when the deadline has passed
 *   RUNNING -> FREE       conn_close: by the owner only; the generation moves on
 *
 * Workers are leader and follower at once: each waits in epoll for one event, serves that connection, waits again; no
 * request changes threads. `stalled` counts workers that wait for a peer in the middle of a request. The rule is
 *   threads - stalled >= options.threads
 * A stall that breaks it starts a worker; at threads_max the connection stalled longest is cut instead. Surplus workers
 * leave after IDLE_LEAVE_MS without work. The keeper closes what is over its deadline and joins workers that left.
 *
 * Lock: server.lock (RANK_NET) guards the free list, the stalled list, the worker list and the fd of a connection
 * against shutdown(2) by another thread. Requests take it only when they stall. Never held across a wait.
 */
#pragma once
#include "base/err.h"
#include "base/lock.h"
#include "net/http_parse.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    CONN_SLAB = 256,            /* connections allocated together */
    IN_CAP = 3 * HTTP_HEAD_MAX, /* a worker's input: a head at most HTTP_HEAD_MAX in, and its read-ahead body */
    READ_AHEAD_MAX = 64 << 10,  /* bodies up to this are gathered in epoll before a thread is spent */
    SETS_MAX = 32 << 10,        /* headers of an answer */
    SEND_PIECE = 256 << 10, /* of a file, on its way to the socket: fewer calls and wake-ups a byte than with less */
    TURNS = 16,             /* requests in a row before other connections get their turn */
    KEEPER_MS = 100,
    IDLE_LEAVE_MS = 5000,
    LINGER_MS = 2000, /* without a byte, after a refused request */
    LINGER_TOTAL_MS = 10000,
};

enum conn_state { CONN_FREE, CONN_RUNNING, CONN_PENDING, CONN_PARKED };

/* What a transport says beside byte counts. */
enum { IO_EOF = 0, IO_WANT_READ = -1000, IO_WANT_WRITE = -1001, IO_FAILED = -1002 };

struct conn;
struct tls;

/* The bytes below HTTP. All calls return at once: a count > 0 or one of IO_. */
struct transport {
    ssize_t (*recv)(struct conn *c, void *p, size_t n);
    ssize_t (*sendv)(struct conn *c, struct iovec *iov, int n, bool more);
    void (*done)(struct conn *c); /* before the socket is closed */
};
extern const struct transport http_plain, http_tls;

struct conn {
    _Atomic uint64_t state;    /* generation << 8 | enum conn_state */
    _Atomic uint64_t deadline; /* clock_mono_ns; the keeper reads it */
    struct http_server *s;
    uint32_t slot;
    int fd; /* changed under server.lock */
    const struct transport *io;
    void *tls;           /* SSL * */
    uint64_t head_start; /* when the first byte of an incomplete request came; 0: none */
    char *saved;         /* bytes of an incomplete request while parked */
    size_t saved_n, saved_cap;
    size_t need;       /* bytes of head and body wanted before the handler runs; 0: the head's end */
    size_t scan;       /* http_head_end's memory */
    bool more;         /* saved may hold a whole request: serve without reading */
    bool linger;       /* answered and shut: throw away what comes until the peer closes */
    bool registered;   /* known to epoll */
    bool handshaken;   /* TLS: the handshake is over */
    uint32_t events;   /* what it was parked for */
    _Atomic bool cut;  /* shut down by another thread */
    struct conn *next; /* free list */
    struct conn *stall_prev, *stall_next;
    struct sockaddr_in6 peer; /* or sockaddr_in */
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED };
enum reply_state { REPLY_NONE, REPLY_OPEN, REPLY_DONE, REPLY_BROKEN };

struct http_req {
    struct http_server *s;
    struct worker *w;
    struct conn *c;
    void *context;
    uint64_t start_ns;
    uint64_t waited_ns; /* for the peer, in this request */
    bool is_head;
    bool keep;   /* the connection may live on after this request */
    bool expect; /* a 100 is owed */
    /* body */
    enum body_kind body;
    bool body_over;
    size_t body_at; /* where in w->in the head ends: bytes before it must stay */
    int body_error;
    uint64_t body_left, body_read;
    struct http_chunks chunks;
    /* reply */
    enum reply_state reply;
    int status;
    bool chunked_out, bodiless; /* bodiless: HEAD, 204, 304 */
    bool held;                  /* the head waits for the first body bytes */
    int send_error;
    int64_t length; /* announced; HTTP_CHUNKED */
    uint64_t sent;
    size_t out_n;  /* bytes of w->out */
    size_t sets_n; /* bytes of w->sets */
    char id[17];
    char peer[64];
    struct http_head head;
};

struct worker {
    struct http_server *s;
    struct worker *next;
    pthread_t thread;
    size_t in_at, in_n; /* unused input is in[in_at .. in_n) */
    uint64_t date_s;
    char date[40];
    struct http_req rq;
    char out[1024];            /* status line and the server's own headers */
    char sets[SETS_MAX + 2];   /* the handler's headers, and the empty line */
    char arena[HTTP_HEAD_MAX]; /* decoded path and parameters */
    char piece[SEND_PIECE];
    char in[IN_CAP]; /* last: pages never reached are never touched */
};

struct listener {
    int fd;
    size_t index;        /* of options.listen */
    _Atomic bool paused; /* out of descriptors: the keeper arms it again */
    char address[80];
    int port;
};

struct http_server {
    struct http_options o; /* with defaults filled in; strings belong to the server */
    char *strings[3];      /* server_name, tls_cert, tls_key */
    _Atomic bool no_keep_alive;
    _Atomic unsigned idle_timeout_ms;
    int ep, wake;
    struct tls *tls;
    struct listener *listeners;
    size_t n_listeners;
    uint64_t id_base;
    _Atomic uint64_t next_id;

    struct lock lock;
    pthread_cond_t changed;     /* a connection or a worker is gone: stop waits for it */
    pthread_cond_t keeper_wake; /* quit */
    struct conn **slabs;
    _Atomic size_t n_slabs; /* of CONN_SLAB connections each */
    struct conn *free;
    struct conn *stall_head, *stall_tail; /* oldest first */
    struct worker *gone;                  /* workers that left and wait to be joined */
    size_t workers;                       /* not joined yet */
    pthread_t keeper;
    bool keeper_runs;
    bool quit; /* keeper and workers leave */

    _Atomic bool stopping;
    _Atomic bool leave; /* workers leave */
    _Atomic uint64_t connections, threads, stalled, idle_workers, buffered;
    _Atomic uint64_t accepted, refused, requests, rejected, timeouts, overrun, bytes_in, bytes_out;
};

static inline void count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}
static inline uint64_t counted(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static inline uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* http_conn.c */
struct conn *conn_open(struct http_server *s, int fd, const struct sockaddr_in6 *peer);
void conn_close(struct conn *c);
/* Give the connection up until events (EPOLLIN, EPOLLOUT) or the deadline. The caller may not touch it any more. */
void conn_park(struct conn *c, uint32_t events, uint64_t deadline);
/* From an event's data: the connection, now owned by the caller, or NULL when it is not there any more. */
struct conn *conn_claim(struct http_server *s, uint64_t data);
struct conn *conn_expired(struct conn *c, uint64_t now); /* claim it if parked and over its deadline */
bool conn_claim_idle(struct conn *c);                    /* claim it if parked without a request begun */
bool conn_is_idle(struct conn *c);                       /* a glance, for figures */
/* Keep n unused bytes while parked; false when options.buffers_max is reached. */
bool conn_save(struct conn *c, const char *p, size_t n, size_t cap);
void conn_unsave(struct conn *c);
/* shutdown(2) from another thread; server.lock is held. */
void conn_cut(struct conn *c);
void conn_slabs_free(struct http_server *s);
static inline struct conn *conn_at(const struct http_server *s, size_t slot)
{
    return &s->slabs[slot / CONN_SLAB][slot % CONN_SLAB];
}
void conn_peer_name(const struct sockaddr_in6 *a, char *out, size_t n);

/* http_wait.c: waiting for the peer inside a request */
/* 0 when ready (or failed: the next call tells), ERR_TIMEOUT, ERR_INCOMPLETE_BODY when it was cut. want: IO_WANT_. */
int http_wait(struct http_req *rq, ssize_t want);

/* http_serve.c: what a worker does with a connection it owns */
void http_serve(struct worker *w, struct conn *c);
void http_event(struct http_server *s, const struct conn *c, int status, const char *reason);

/* http_body.c */
void http_body_begin(struct http_req *rq);
bool http_body_finish(struct http_req *rq); /* throw the small rest away; false when the connection cannot go on */
bool http_body_keeps(struct http_req *rq);  /* it will be able to */
int http_raw_send(struct http_req *rq, struct iovec *iov, int n, bool more);

/* http_reply.c */
void http_reject(struct http_req *rq, int status, const char *reason);
void http_reply_finish(struct http_req *rq); /* the handler has returned */

/* http_worker.c */
int worker_start(struct http_server *s); /* one more; server.lock is not held */
void worker_join_gone(struct http_server *s);
void worker_resume_listeners(struct http_server *s); /* those that ran out of descriptors */

/* http_tls.c */
int tls_new(const char *cert, const char *key, struct tls **ret);
struct tls *tls_free(struct tls *t);
bool tls_attach(struct tls *t, struct conn *c);
