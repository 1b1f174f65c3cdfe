/* SPDX-License-Identifier: Apache-2.0
 *
 * A load generator for S3 endpoints, ours or anybody's: some clients, each one thread with one blocking keep-alive
 * connection, do one kind of operation for a time or a number of times. It shares the machine with the server it
 * measures more often than not, so it takes little CPU: plain sockets, requests built in one buffer, no parsing beyond
 * what is needed.
 *
 * Nothing is hidden: a failed request is counted with the server's code and a sample of its text, a connection that the
 * server closed between two requests is dialled again and counted, and latencies are of successful operations only, all
 * of them.
 *
 * Keys are PREFIX, a number of DIRS directories, and eight digits: "p/0a/00000026". The bytes of object i are the same
 * in every run (bench/content.h), so that a GET can check what a PUT of another run wrote.
 *
 * Owner: strings of a config stay the caller's. bench_run() starts and joins its own threads; one run at a time a
 * config.
 */
#pragma once
#include "bench/hist.h"
#include <stdbool.h>
#include <stddef.h>

/* What a request is, for the latencies by kind. */
enum bench_kind {
#define KIND(name, word) BENCH_##name,
#include "bench/kinds.tbl"
#undef KIND
    BENCH_KINDS
};
extern const char *const bench_kind_name[BENCH_KINDS];

/* The operations: rows of ops.tbl. */
enum bench_op {
#define OP(name, word, unit, summary) BENCH_OP_##name,
#include "bench/ops.tbl"
#undef OP
    BENCH_OPS
};
extern const char *const bench_op_name[BENCH_OPS];
extern const char *const bench_op_unit[BENCH_OPS]; /* what it counts beside operations ("keys"), or "" */

struct bench_config {
    enum bench_op op;
    const char *endpoint;                 /* http://host:port or https://host */
    const char *ca;                       /* https: PEM file of trusted certificates; NULL: the system's */
    const char *access, *secret, *region; /* access NULL: requests are not signed */
    const char *bucket, *prefix;
    const char *after;        /* list: start behind this key; NULL: at the prefix */
    unsigned clients;         /* at least 1 */
    unsigned dirs;            /* 0: keys have no directory */
    uint64_t size, part_size; /* bytes of an object, of a part */
    uint64_t first, keys;     /* put begins at number `first`; the others use numbers [first, first + keys) */
    uint64_t count;           /* operations at most, all clients together */
    uint64_t duration_ms;     /* no operation begins later */
    unsigned batch;           /* keys of one multi-delete */
    unsigned page;            /* keys of one list request */
    bool sign_payload;        /* SHA-256 of every body instead of UNSIGNED-PAYLOAD */
    bool verify;              /* get: compare every byte */
    const int *pid;           /* processes of the server on this machine */
    size_t pids;
};

enum { BENCH_LABEL = 64, BENCH_SAMPLE = 240, BENCH_ERRORS = 24 };

struct bench_error {
    uint64_t n;
    char label[BENCH_LABEL];   /* "503 SlowDown", "UNREACHABLE" */
    char sample[BENCH_SAMPLE]; /* of the first: request and what was said */
};

struct bench_result {
    double seconds;
    uint64_t ops, errors; /* operations that succeeded, that failed */
    uint64_t units;       /* keys listed or deleted */
    uint64_t bytes;       /* of bodies, those of successful operations */
    uint64_t reconnects;
    struct hist latency;
    struct hist kind[BENCH_KINDS];
    struct bench_error error[BENCH_ERRORS]; /* the last one gathers what there is no room for */
    size_t error_n;
    double client_cpu, server_cpu;       /* seconds */
    uint64_t server_rss, server_rss_max; /* bytes: at the end, and the most that was seen */
};

/* ERR_INVALID with a sentence when the config cannot work (endpoint, certificate file, a pid that does not exist).
 * Errors of the server are part of the result. */
int bench_run(const struct bench_config *cfg, struct bench_result *ret);
