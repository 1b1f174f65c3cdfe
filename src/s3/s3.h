/* SPDX-License-Identifier: Apache-2.0
 *
 * The S3 endpoint: an HTTP server whose requests become calls of the door (fs/fs.h).
 *
 * A request is straight-line code on one thread: names checked -> user identified -> action found in a table -> the
 * action's file in actions/ reads the body, calls the door, answers. Every answer carries x-amz-request-id; every
 * failure is an XML error whose code and status come from base/err.tbl and nowhere else, and is logged.
 *
 * Nothing is kept between requests but settings and figures: the room can be stopped and started at any time, and an
 * answer is given only after the door has returned (and, for reads, after what was read is durable: fs_settle).
 *
 * Owns: the HTTP server (s3_new starts it). The door and the configuration are the caller's and must outlive it.
 * Threads: all functions from any thread.
 */
#pragma once
#include "base/spread.h"
#include "base/str.h"

struct fs;
struct conf;
struct http_req;
struct s3;

struct s3_options {
    struct fs *fs;
    const struct conf *conf;
    const char *const *listen; /* "127.0.0.1:29998" ..; none: no server, requests come through s3_handle() */
    size_t n_listen;
    const char *const *listen_tls; /* with forebay.s3.tls.certificate and .key */
    size_t n_listen_tls;
    const char *tls_cert, *tls_key; /* PEM files */
};

/* ERR_INVALID, ERR_BUSY, ERR_DENIED for an address. Serves when it returns. */
int s3_new(const struct s3_options *o, struct s3 **ret);
/* Take no more requests; those that run get timeout_ms. Returns how many were cut. */
size_t s3_stop(struct s3 *s, unsigned timeout_ms);
struct s3 *s3_free(struct s3 *s); /* stops; NULL is fine; returns NULL */

/* The handler, for a caller with an HTTP server of its own (http_options.handle; arg: the struct s3). */
void s3_handle(void *arg, struct http_req *rq);

/* "127.0.0.1:29998" as bound, NULL after the last; plain addresses first, then TLS. */
const char *s3_address(const struct s3 *s, size_t i);

/* ---- figures ---- */

#define S3_BUCKETS 18                           /* of the latency histogram */
extern const uint64_t s3_bucket_us[S3_BUCKETS]; /* upper bounds; the last is UINT64_MAX */
struct s3_action_figures {
    const char *action; /* "GetObject"; the last row is "Other": requests that found no action */
    uint64_t count, client_errors, server_errors;
    uint64_t bytes_in, bytes_out; /* bodies */
    uint64_t total_us;
    uint64_t bucket[S3_BUCKETS]; /* requests that took at most s3_bucket_us[i] and more than the bound before */
};
/* false after the last. */
bool s3_figures(const struct s3 *s, size_t i, struct s3_action_figures *ret);

/* Sizes of the bodies that were sent to and taken from clients. */
void s3_sizes(const struct s3 *s, struct spread_figures *ret_read, struct spread_figures *ret_written);

struct s3_connection_figures {
    uint64_t open, idle, accepted, refused, requests, rejected, timeouts, bytes_in, bytes_out;
};
void s3_connections(const struct s3 *s, struct s3_connection_figures *ret); /* all addresses together */
