/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request's target names: bucket, key, query. Percent-encoding is undone exactly once; keys are raw bytes after
 * that, with "//", "./" and "../" in them as they came. Pure; results point into the memory the caller gives.
 */
#pragma once
#include "base/buf.h"

#define URI_KEY_MAX 1024   /* bytes of a key */
#define URI_BUCKET_MAX 255 /* S3 allows 63 for new buckets; a mount point may be longer */
#define URI_QUERY_MAX 64   /* pairs */

struct s3_uri_pair {
    struct str name, value;
    bool bare; /* no '=' behind the name */
};
struct s3_uri_query {
    struct s3_uri_pair pair[URI_QUERY_MAX];
    size_t n;
};

/* Percent-decode into out (room for s.n bytes); false when an escape is malformed. plus: '+' means a space. */
bool s3_uri_decode(struct str s, bool plus, char *out, size_t *ret_n);
/* Append, percent-encoded; '/' stays when keep_slash. The form of encoding-type=url. */
void s3_uri_encode(struct buf *b, struct str raw, bool keep_slash);

/* "/bucket/key" still encoded -> bucket and key, decoded into out (room for path.n bytes). "/" gives none, "/bucket"
 * and
 * "/bucket/" no key. Names are checked: ERR_BAD_NAME, ERR_NAME_TOO_LONG, ERR_BUCKET_NAME. */
int s3_uri_split(struct str path, char *out, struct str *ret_bucket, struct str *ret_key);
/* Virtual-hosted style: "bucket.domain[:port]" for one of domains ("a.example, b.example"): the bucket; p NULL for any
 * other host, also for a domain itself. Host names are compared without case. */
struct str s3_uri_host_bucket(struct str host, struct str domains);
/* The same for x-amz-copy-source: the leading '/' may be missing; "?versionId=null" at its end is dropped, another
 * version is ERR_INVALID (nothing is versioned here). */
int s3_uri_copy_source(struct str header, char *out, struct str *ret_bucket, struct str *ret_key);

/* A key as it may stand in a request: valid UTF-8, no NUL, 1..1024 bytes, not below the reserved ".forebay/". */
int s3_uri_check_key(struct str key);
int s3_uri_check_bucket(struct str bucket);     /* a name that may exist */
int s3_uri_check_new_bucket(struct str bucket); /* S3's rules for a name to be created */

/* "a=b&c" decoded into out (room for query.n bytes). ERR_BAD_NAME when malformed or holding NUL, ERR_INVALID for too
 * many. */
int s3_uri_query_parse(struct str query, char *out, struct s3_uri_query *ret);
/* NULL when absent; the first when it stands there twice. */
const struct s3_uri_pair *s3_uri_query_get(const struct s3_uri_query *q, const char *name);
/* The value, p NULL when absent. */
struct str s3_uri_query_value(const struct s3_uri_query *q, const char *name);
