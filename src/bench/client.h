/* SPDX-License-Identifier: Apache-2.0
 *
 * For writers of operations (ops/): one client of a run, its requests, and what it counts.
 *
 * An operation is one or more requests. Its function makes them with client_request(), which times each, and says once
 * at its end how it went: client_done() or client_failed(). Everything here belongs to the client's own thread, but for
 * the counters in struct run.
 */
#pragma once
#include "bench/bench.h"
#include "bench/content.h"
#include "bench/sign.h"
#include "bench/wire.h"
#include <stdatomic.h>

struct run {
    const struct bench_config *cfg;
    struct target *target;
    uint64_t deadline_ns;          /* no operation begins later */
    atomic_uint_fast64_t begun;    /* operations */
    atomic_uint_fast64_t next_key; /* numbers handed out */
    atomic_uint running;           /* clients */
};

struct spread {
    uint64_t ops, errors, units, bytes;
    struct hist latency, kind[BENCH_KINDS];
    struct bench_error error[BENCH_ERRORS];
    size_t error_n;
};

struct client {
    struct run *run;
    const struct bench_config *cfg;
    unsigned id;
    uint64_t dice; /* state of the client's random numbers */
    struct signer signer;
    struct wire wire;
    struct spread tally;
    uint64_t end_ns;            /* when its last operation was over */
    uint64_t op_ns;             /* time its requests took, of the operation under way */
    struct buf head, key, text; /* of the request under way; text is the operation's own */
    void *own;                  /* the operation's, from begin() to end() */
};

/* An operation: bench_op_NAME of its row in ops.tbl. */
struct bench_act {
    bool (*step)(struct client *c);  /* one operation; false: there is nothing more to do, and nothing was done */
    void (*begin)(struct client *c); /* NULL: nothing to prepare */
    void (*end)(struct client *c);   /* NULL: nothing to clean up */
};

struct request {
    enum bench_kind kind;
    const char *method;
    struct str key; /* empty: the bucket */
    const struct sigv4_pair *query;
    size_t query_n;
    struct str body;               /* a short body, or */
    const struct content *content; /* bytes of an object: length of them from offset */
    uint64_t offset, length;
    bool content_md5;             /* S3 wants one for multi-delete */
    bool keep;                    /* keep the answer's body in c->wire.body */
    const struct content *expect; /* the answer's body must be this object */
};

/* True when the answer is a success; then its time is counted. Otherwise the error is. */
bool client_request(struct client *c, const struct request *r);
/* The operation succeeded. */
void client_done(struct client *c, uint64_t units, uint64_t bytes);
/* It did not: a request failed, which is counted already, or its answer was wrong: `what` says how. NULL: a request. */
void client_failed(struct client *c, const char *what);

/* The next number nobody has had, from 0. */
uint64_t client_number(struct client *c);
/* A random number below n. */
uint64_t client_random(struct client *c, uint64_t n);
/* The key of a number; it lives in c->key until the next call. */
struct str client_key(struct client *c, uint64_t number);
void bench_key(const struct bench_config *cfg, uint64_t number, struct buf *b);

void client_init(struct client *c, struct run *run, unsigned id);
void client_end(struct client *c);

/* ---- proc.c ---- */
struct usage {
    double cpu;   /* seconds */
    uint64_t rss; /* bytes */
};
/* Of a process; false when it does not exist. */
bool proc_usage(int pid, struct usage *ret);
