/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1.1 server that carries the S3 endpoint and the admin REST API.
 *
 * A handler is straight-line code on a pool thread: it asks the request, reads the body, answers, returns. It may
 * block; every wait for the peer has a deadline (http_options.io_timeout_ms without a byte) and a stalled peer never
 * costs the others a thread, because the pool starts another one in the place of each that waits for a peer.
 *
 * What the server promises to its handler
 *  - The request is well-formed by RFC 9112, strictly: what could be read in two ways (both Content-Length and
 *    Transfer-Encoding, folded lines, bare LF, space before a colon ..) was answered 400 and never gets here.
 *  - Requests of one connection are handled one after the other, in order.
 * and to the peer
 *  - One complete answer, or a closed connection: a failure in the middle of a body closes, so that the peer sees a
 *    short body, never a wrong complete one. A handler that returns without an answer gives 500.
 *  - "100 Continue" at once: for an empty body before the handler runs, else at the first http_body_read() or
 *    http_continue(). A handler that answers without either gives "Connection: close", because a peer that got no 100
 *    may or may not send the body. Unread bodies up to drain_max without Expect are read and thrown away; longer ones
 *    close.
 *  - No header can be injected: names and values with control characters are refused.
 *
 * Owns: everything reached through a struct http_req lives until the handler returns; copy what must live longer.
 * Threads: a http_req belongs to the thread that runs the handler. Everything on struct http_server is thread-safe.
 * Callbacks run on any worker, several at a time.
 * Memory: an idle connection keeps no buffer. A crash leaves nothing behind.
 */
#pragma once
#include "base/buf.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct http_server;
struct http_req;

/* Something the server did by itself, for the log: a request answered without its handler, or a connection given up. */
struct http_event {
    int status;         /* the answer given (400, 408, 431, 501, 503 ..), 0: none */
    const char *reason; /* a constant sentence: "header line without a colon", "too many stalled transfers" */
    const char *peer;   /* "192.0.2.1:4711", "[2001:db8::1]:4711" */
};

struct http_options {
    /* Needed. */
    const char *const *listen; /* "host:port", "[v6]:port", "*:port" or ":port" (all addresses); port 0: any */
    size_t n_listen;
    void (*handle)(void *arg, struct http_req *rq);
    void *arg; /* for every callback here */
    /* Zero or NULL means the default. */
    size_t threads;           /* 32: workers that are not waiting for a peer */
    size_t threads_max;       /* 2048: all of them; past it the transfers stalled longest are closed */
    size_t stack_size;        /* 1 MiB of address space; only what handlers touch is memory */
    size_t connections_max;   /* 20000; beyond: 503 and close */
    size_t head_max;          /* 64 KiB (also the most): 431, or 414 when the first line is as long */
    size_t headers_max;       /* 200 (also the most): 431 */
    uint64_t body_max;        /* no limit: 413 by Content-Length; http_body_read() says ERR_TOO_LARGE when chunked */
    size_t drain_max;         /* 64 KiB: the unread rest that is read to keep a connection */
    size_t buffers_max;       /* 64 MiB: heads and small bodies on their way in, all connections together */
    unsigned idle_timeout_ms; /* 60 s: alluxio.worker.s3.connection.idle.max.time */
    unsigned head_timeout_ms; /* 30 s: from a request's first byte to the end of its head */
    unsigned io_timeout_ms;   /* 30 s: without a byte in a body or an answer */
    unsigned body_timeout_ms; /* io_timeout_ms, and at most that: without a byte in a body */
    unsigned stall_ms;        /* 20 ms: a wait longer than this lets another thread take over */
    bool no_keep_alive;       /* one request a connection */
    const char *server_name;  /* "Forebay"; the Server header */
    const char *tls_cert;     /* PEM files; with both set every address speaks TLS 1.2 or later */
    const char *tls_key;
    void (*event)(void *arg, const struct http_event *ev);
    /* The body of an answer the server gives by itself: fill out, return its Content-Type (NULL: a line of text). */
    const char *(*error_body)(void *arg, int status, const char *reason, const char *request_id, struct buf *out);
};

struct http_figures {
    uint64_t connections; /* open now */
    uint64_t idle;        /* of those, waiting for a request */
    uint64_t threads;     /* all workers */
    uint64_t stalled;     /* of those, waiting for a peer */
    uint64_t buffered;    /* bytes in buffers of connections that no thread serves now */
    uint64_t accepted;    /* since the start, from here on */
    uint64_t refused;     /* over connections_max */
    uint64_t requests;    /* given to the handler */
    uint64_t rejected;    /* answered by the server itself */
    uint64_t timeouts;    /* connections closed by a deadline, idle ones not counted */
    uint64_t overrun;     /* stalled transfers closed because threads_max was reached */
    uint64_t bytes_in, bytes_out;
};

/* ---- the server ---- */

/* Listen and serve. ERR_INVALID for an address that does not parse or resolve, ERR_BUSY for one in use, ERR_DENIED. */
int http_server_start(const struct http_options *o, struct http_server **ret);
/* "127.0.0.1:41234" of the i-th address as bound, NULL after the last. Valid as long as the server. */
const char *http_server_address(const struct http_server *s, size_t i);
int http_server_port(const struct http_server *s, size_t i);
void http_server_figures(struct http_server *s, struct http_figures *ret);
/* Keep-alive and idle time may change while serving. */
void http_server_keep_alive(struct http_server *s, bool on, unsigned idle_timeout_ms);
/* Stop accepting, close what is idle, let running requests finish ("Connection: close"); after timeout_ms cut those
 * that still run and wait for their handlers. Returns how many were cut. Calling it again is fine. */
size_t http_server_stop(struct http_server *s, unsigned timeout_ms);
/* Stops with timeout 0 if nobody did, and frees. NULL is fine; returns NULL. */
struct http_server *http_server_free(struct http_server *s);

/* ---- the request ---- */

struct http_param {
    struct str name, value;         /* decoded once; '+' is a space */
    struct str raw_name, raw_value; /* as sent */
    bool has_value;                 /* "?uploads" has none, "?uploads=" has an empty one */
};
struct http_header {
    struct str name, value; /* as sent; blanks around the value cut off */
};

struct str http_method(const struct http_req *rq);    /* "GET"; case matters */
struct str http_target(const struct http_req *rq);    /* as sent: "/b/k%20x?versions" or "http://h/b/k" */
struct str http_path_raw(const struct http_req *rq);  /* the path as sent, undecoded; starts with '/', or "*" */
struct str http_path(const struct http_req *rq);      /* percent-decoded exactly once; may hold any byte */
bool http_path_has_nul(const struct http_req *rq);    /* a %00 was in it */
struct str http_query_raw(const struct http_req *rq); /* what follows the first '?', as sent; p is NULL without '?' */
int http_version_minor(const struct http_req *rq);    /* 1, or 0 for HTTP/1.0 */
bool http_is_tls(const struct http_req *rq);

size_t http_param_count(const struct http_req *rq);
const struct http_param *http_param_at(const struct http_req *rq, size_t i);      /* in the order sent */
const struct http_param *http_param(const struct http_req *rq, const char *name); /* the first; NULL when absent */

size_t http_header_count(const struct http_req *rq);
const struct http_header *http_header_at(const struct http_req *rq, size_t i); /* in the order sent, repeats included */
struct str http_header(const struct http_req *rq, const char *name); /* the first, any case; p is NULL when absent */
struct str http_host(const struct http_req *rq); /* of an absolute target, else of Host; "" in HTTP/1.0 without */

const char *http_peer(struct http_req *rq); /* "192.0.2.1:4711" */
const char *
http_request_id(const struct http_req *rq); /* 16 upper-case hex digits, unique in this process and random in others */
uint64_t http_start_ns(const struct http_req *rq); /* clock_mono_ns() when the head was complete */
bool http_peer_gone(struct http_req *rq);          /* the peer has reset the connection: long work may be given up */

/* A slot for the handler's own context, for helpers that only get the request. */
void http_set_context(struct http_req *rq, void *context);
void *http_context(const struct http_req *rq);

/* ---- the body of the request ---- */

int64_t http_content_length(const struct http_req *rq); /* -1: chunked; 0 also when there is no body */
bool http_has_length(
    const struct http_req *rq); /* a Content-Length header was there (411 otherwise, if you want one) */
/* Tell the peer to send. At the first http_body_read() it happens by itself. ERR_INCOMPLETE_BODY when the peer is gone.
 */
int http_continue(struct http_req *rq);
/* The next bytes, at most n: > 0, 0 at the end, ERR_INCOMPLETE_BODY when the peer closed before its end, ERR_TIMEOUT,
 * ERR_INVALID for bad chunking, ERR_TOO_LARGE. After an error the connection will close. n > 0. */
ssize_t http_body_read(struct http_req *rq, void *p, size_t n);
/* All of it, at most max bytes, else ERR_TOO_LARGE; appended to b. For XML and JSON bodies. */
int http_body_all(struct http_req *rq, size_t max, struct buf *b);
uint64_t http_body_bytes(const struct http_req *rq); /* read so far */

/* ---- the answer ---- */

/* Add a header; before the reply starts. ERR_INVALID for control characters, an empty or bad name, and for what the
 * server writes itself (Content-Length, Transfer-Encoding, Connection, Date, Server, Keep-Alive); ERR_LIMIT past 32
 * KiB. */
int http_set(struct http_req *rq, const char *name, struct str value);
/* Are these a name and a value that a header can have? */
bool http_can_say(struct str name, struct str value);
int http_setf(struct http_req *rq, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Forget the headers set so far (an error answer instead of the one that was prepared). */
void http_unset_all(struct http_req *rq);
/* Do not keep the connection after this answer. */
void http_close_after(struct http_req *rq);

/* A whole answer. To HEAD the body is not sent, its length is. 1xx is not allowed; 204 and 304 send no body. */
int http_reply(struct http_req *rq, int status, const void *body, size_t n);
/* The length of a HEAD answer may be one that is not at hand: http_reply_head(rq, 200, size). Body is never sent. */
int http_reply_head(struct http_req *rq, int status, uint64_t length);

#define HTTP_CHUNKED (-1)
/* Begin an answer of a known length, or HTTP_CHUNKED (to HTTP/1.0: until close). The head leaves with the first bytes.
 */
int http_reply_start(struct http_req *rq, int status, int64_t length);
/* All n bytes, or an error: ERR_INCOMPLETE_BODY (the peer is gone), ERR_TIMEOUT. More than announced is a CHECK. To
 * HEAD: nothing is sent. */
int http_send(struct http_req *rq, const void *p, size_t n);
/* The same from a file; copied before this returns, so that the range may be reused then; the caller keeps fd open and
 * the range alive until this returns. A file that is too short: ERR_IO, and the connection closes. */
int http_send_file(struct http_req *rq, int fd, off_t off, uint64_t n);
/* Send what is held back (the head) now. */
int http_flush(struct http_req *rq);
/* The end. If fewer bytes than announced were sent, or http_reply_abort() was called, the connection closes instead. */
int http_reply_end(struct http_req *rq);
/* Something broke while the body was on its way: cut the connection, so that the peer notices. */
void http_reply_abort(struct http_req *rq);

bool http_reply_started(const struct http_req *rq);   /* a status was given; another one is a CHECK */
int http_reply_status(const struct http_req *rq);     /* 0 before */
uint64_t http_reply_bytes(const struct http_req *rq); /* of the body, so far */

/* "Not Found" for 404; "Unknown" for what RFC 9110 does not list. */
const char *http_reason(int status);
