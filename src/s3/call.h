/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: the server's struct, and one request on its way through (struct s3_call). Actions include this
 * header and those of the pieces they use; nobody outside the room does.
 *
 * Memory: s3_call_mem() gives room that lives as long as the call. Strings of the request (headers, target) live as
 * long. Threads: a call belongs to the thread that runs it.
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "fs/fs.h"
#include "net/http.h"
#include "net/xml.h"
#include "s3/auth.h"
#include "s3/route.h"
#include "s3/s3.h"
#include "s3/stats.h"
#include "s3/uri.h"

/* What the configuration says, read once. */
struct s3_settings {
    size_t metadata_max; /* alluxio.worker.s3.header.metadata.max.size */
    bool tag_limits;     /* alluxio.worker.s3.tagging.restrictions.enabled */
    bool access_log;     /* alluxio.worker.s3.access.logging.enabled */
    bool only_https;     /* alluxio.worker.s3.only.https.access */
    bool keep_alive;     /* alluxio.worker.s3.connection.keep.alive.enabled */
    uint64_t
        body_timeout_ms; /* alluxio.worker.mark.writing.files.duration; the HTTP server's own where that is shorter */
    uint64_t idle_timeout_ms; /* alluxio.worker.s3.connection.idle.max.time; 0: never */
    size_t threads, connections_max;
    char *domains;       /* forebay.s3.virtual.host.domains, lower case or not; owned by struct s3 */
    bool everybody_self; /* NOSASL: no user but the process's */
};
/* ERR_NOT_IMPLEMENTED for an authentication type that is not built. */
int s3_settings_read(struct s3_settings *s, const struct conf *conf);

enum { S3_SERVERS = 2 }; /* plain, TLS */
struct s3 {
    struct fs *fs;
    struct s3_settings set;
    struct s3_auth *auth;
    struct http_server *http[S3_SERVERS];
    struct s3_stats stats[S3_ACTION_COUNT + 1];
    struct spread read_sizes, write_sizes;
};

struct s3_call_chunk;
struct s3_call {
    struct s3 *s3;
    struct http_req *rq;
    struct fs *fs;
    const struct s3_action *action; /* NULL until routed */
    struct s3_auth_user user;
    struct str bucket, key; /* decoded; "" where there is none */
    struct fs_at at;        /* "bucket/key", or "bucket/" */
    struct s3_uri_query query;
    uint64_t out_of; /* what an ERR_RANGE was out of: the object's size; UINT64_MAX when that is not the point */
    struct s3_call_chunk *chunks;
};

void *s3_call_mem(struct s3_call *c, size_t n);          /* aligned for anything; never NULL */
void s3_call_end(struct s3_call *c);                     /* releases the memory */
struct str s3_call_dup(struct s3_call *c, struct str s); /* NUL added */
struct str s3_call_lower(struct s3_call *c, struct str s);

/* Request headers and parameters; p NULL when absent. */
struct str s3_header_of(const struct s3_call *c, const char *name);
struct str s3_param(const struct s3_call *c, const char *name);
/* A number among the parameters: 0 and ret = def when absent; ERR_INVALID when it is not lo..UINT32_MAX; above hi means
 * hi. */
int s3_param_u64(const struct s3_call *c, const char *name, uint64_t lo, uint64_t hi, uint64_t def, uint64_t *ret);
/* encoding-type: absent, or "url" (else ERR_INVALID). */
int s3_param_encoding(const struct s3_call *c, bool *ret_url);
/* "bucket/" of the call, to list or mount; and a key in it. */
struct fs_at s3_bucket_at(const struct s3_call *c);
struct fs_at s3_object_at(struct s3_call *c, struct str bucket, struct str key);

/* ---- answers; all return what the handler may return ---- */
int s3_reply_empty(struct s3_call *c, int status);
int s3_reply_xml(struct s3_call *c, int status, const struct buf *body);
/* ETag: "..." */
int s3_set_etag(struct s3_call *c, const char *name, const char *etag);
/* x-forebay-state: is this content in the under file system yet? */
int s3_set_state(struct s3_call *c, const struct fs_attr *a);
/* The error answer of code; cuts the connection when an answer was begun. */
void s3_reply_error(struct s3_call *c, int code);
/* The body of an error answer; resource: the path as it was sent, still encoded, so that it is text; more: elements of
 * its own, ready made. */
void s3_error_xml(struct buf *b, const char *s3_code, const char *message, struct str resource, const char *request_id,
                  struct str more);
/* "etag" with its quotes as an element. */
void s3_xml_etag(struct buf *b, const char *name, const char *etag);
/* <name>text</name>, percent-encoded when url. */
void s3_xml_name(struct buf *b, const char *name, struct str text, bool url);
void s3_xml_owner(struct buf *b, const char *name, const struct s3_call *c);

/* The content's ETag: that of an empty object for a directory that never was one. */
const char *s3_etag(const struct fs_attr *a);
/* What fs_stat found under a key: an object, or only a directory that keys below it imply (ERR_NOT_FOUND)? */
int s3_check_object(const struct fs_attr *a);

/* Every handler, one file each below actions/. It answers and returns 0, or returns an error code that becomes the
 * answer (or, when the answer had begun, cuts the connection). */
#define A(name, method, level, needs, also, allows, header, run) int run(struct s3_call *c);
#include "s3/actions.tbl"
#undef A
