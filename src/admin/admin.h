/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin endpoint: REST below /api/v1/, /metrics for Prometheus, /health.
 *
 * A request is straight-line code on one thread: guarded (guard.h: who may ask) -> route found in a table -> the
 * route's function calls the door, the background jobs or the figures, and answers JSON. An error is answered with the
 * status of its row in base/err.tbl and {"error": {"code": "NOT_FOUND", "message": "..."}}.
 *
 * Nothing is kept in this process that matters: the jobs (load, free) are rows of the metadata store and go on after a
 * restart. Changes are logged, one line each.
 *
 * Owns: the HTTP server and the jobs' threads. What the options name is the caller's and must outlive it. Threads: all
 * functions from any thread. Locks: RANK_ADMIN for the table of jobs, never across a call of another room.
 */
#pragma once
#include "base/buf.h"

struct admin;
struct conf;
struct fs;
struct kv;
struct meta;
struct page_store;
struct persist;

struct admin_options {
    const char *listen; /* "127.0.0.1:19999", port 0: any */
    struct fs *fs;
    struct persist *persist;
    struct page_store *pages;
    struct kv *kv;
    struct meta *meta;
    const struct conf *conf;
    const char *worker_id;  /* "worker-<uuid>" */
    const char *data_dir;   /* absolute */
    const char *s3_address; /* as bound; "" when the S3 API is off */
    bool faults;            /* fault points may be armed over REST (tests) */
    /* More text for /metrics (rooms of this floor cannot ask each other). NULL: none. */
    void (*more_metrics)(void *arg, struct buf *out);
    void *more_metrics_arg;
};

/* Serves when it returns. ERR_INVALID, ERR_BUSY, ERR_DENIED for the address; ERR_DENIED for one off loopback without
 * forebay.admin.token. */
int admin_new(const struct admin_options *o, struct admin **ret);
const char *admin_address(const struct admin *a); /* as bound */
/* From now on /health says 503 and no job starts: load balancers look elsewhere while requests that run are let end. */
void admin_draining(struct admin *a);
/* Take no more requests, stop jobs; running requests get timeout_ms. */
void admin_stop(struct admin *a, unsigned timeout_ms);
struct admin *admin_free(struct admin *a); /* stops; NULL is fine; returns NULL */

/* Is "host:port" on this machine's loopback? */
bool admin_loopback(const char *address);

/* ---- Prometheus text, for more_metrics ---- */

/* "# HELP" and "# TYPE" lines; kind is "counter", "gauge" or "histogram". */
void admin_metric(struct buf *out, const char *name, const char *kind, const char *help);
/* The samples of a histogram. labels: 'op="get",' with the comma, or "". unit: what one of the figures' units is in the
 * unit of the name (1e-9: nanoseconds as seconds). */
struct spread_figures;
void admin_histogram(struct buf *out, const char *name, const char *labels, const struct spread_figures *h,
                     const uint64_t *bounds, double unit);
/* A value of a label: quotes, backslashes and line ends escaped. */
void admin_label(struct buf *out, const char *value);
/* One sample: name{labels} value. labels may be "" or 'op="get"'. */
void admin_sample(struct buf *out, const char *name, const char *labels, double value);
