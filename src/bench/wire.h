/* SPDX-License-Identifier: Apache-2.0
 *
 * One blocking HTTP/1.1 connection, and the answers that come over it.
 *
 * A target is where connections go; it is shared by all and constant. A wire belongs to one thread. Errors: UNREACHABLE
 * (no connection), TIMEOUT (nothing came or went for WIRE_SECONDS), IO (reset or closed in the middle), INVALID (what
 * came is no HTTP answer). After each of them the connection is closed.
 */
#pragma once
#include "base/buf.h"
#include <sys/uio.h>

enum { WIRE_SECONDS = 60, WIRE_BUFFER = 64 << 10, WIRE_PIECES = 64, WIRE_ERROR_BODY = 16 << 10 };

struct target;
/* url: http://host[:port] or https://host[:port], nothing behind it but a slash. ca: see struct bench_config. */
int target_open(const char *url, const char *ca, struct target **ret);
const char *target_host(const struct target *t); /* as the Host header names it */
struct target *target_close(struct target *t);

/* Hands out a request's body piece by piece: the bytes at `offset`, at least one of the n that are left. */
typedef const unsigned char *wire_source(void *arg, uint64_t offset, uint64_t n, size_t *ret_n);
/* Takes an answer's body piece by piece; false: it is not what was expected (the rest is read all the same). */
typedef bool wire_sink(void *arg, uint64_t offset, const unsigned char *p, size_t n);

struct exchange {
    struct str head; /* the request */
    wire_source *source;
    uint64_t length; /* of its body */
    wire_sink *sink; /* of the body of a 2xx answer; NULL: it is read and dropped, or kept */
    void *arg;       /* of both */
    bool keep;       /* keep the answer's body in w->body; one of an error is always kept, up to a limit */
    bool no_body;    /* HEAD */
};

struct wire {
    const struct target *target;
    int fd;              /* -1: not connected */
    void *ssl;           /* SSL; NULL: plain */
    uint64_t reconnects; /* connections the server had closed between two requests */
    char *in;            /* WIRE_BUFFER bytes */
    size_t pos, have;
    char *scratch; /* for bodies nobody keeps */
    /* the last answer */
    int status;
    uint64_t got; /* bytes of its body */
    bool sink_ok;
    char etag[128];
    struct buf body;
    /* while it comes */
    uint64_t length;
    bool chunked, close_after;
};

void wire_init(struct wire *w, const struct target *t);
/* One request and its answer; 0 when an answer came, whatever its status. */
int wire_exchange(struct wire *w, const struct exchange *x);
void wire_done(struct wire *w);

/* ---- wire_tls.c ---- */
struct ssl_ctx_st;
int wire_tls_new(const char *ca, struct ssl_ctx_st **ret);
void wire_tls_free(struct ssl_ctx_st *ctx);
int wire_tls_open(struct wire *w, struct ssl_ctx_st *ctx, const char *host); /* on w->fd */
ssize_t wire_tls_send(struct wire *w, const void *p, size_t n);              /* as send() and recv() */
ssize_t wire_tls_recv(struct wire *w, void *p, size_t n);
void wire_tls_close(struct wire *w);
