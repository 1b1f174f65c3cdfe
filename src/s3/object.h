/* SPDX-License-Identifier: Apache-2.0
 *
 * What is kept beside an object's bytes: from request headers to the door's pairs, and back into response headers.
 * Memory: pairs live as long as the call. One thread.
 */
#pragma once
#include "s3/call.h"
#include "s3/cond.h"
#include "s3/sum.h"

struct s3_pairs {
    struct s3_call *c;
    struct fs_pair *p;
    size_t n, cap;
};
void s3_pairs_add(struct s3_pairs *ps, struct str name, struct str value);
/* An fs_meta_fn: keeps a copy of each; arg: struct s3_pairs. */
void s3_pairs_keep(void *arg, struct str name, struct str value);
struct str s3_pairs_get(const struct s3_pairs *ps, struct str name); /* p NULL when absent */
void s3_pairs_drop(struct s3_pairs *ps, bool (*which)(struct str name));

/* System headers and x-amz-meta-* of the request. ERR_METADATA_LARGE. */
int s3_pairs_headers(struct s3_pairs *ps);
/* The same of an upload form's fields, whose names are in lower case. */
int s3_pairs_fields(struct s3_pairs *ps, const struct http_header *field, size_t n);
/* x-amz-tagging of the request, in canonical spelling; none when absent or empty. */
int s3_pairs_tagging(struct s3_pairs *ps);
/* Headers that ask for what is not built (encryption, locks, ACLs ..): ERR_NOT_IMPLEMENTED naming the header. */
int s3_refuse_unbuilt(struct s3_call *c);
int s3_refuse_unbuilt_fields(const struct http_header *field, size_t n);

bool s3_pair_is_checksum(struct str name); /* x-amz-checksum-crc32 and the like, -type and -algorithm */
bool s3_pair_is_tagging(struct str name);

/* Owner, mode and conditions of a write by this call. */
void s3_write_options(struct s3_call *c, const struct s3_pairs *ps, struct fs_write *ret);
struct fs_cond s3_cond_write(const struct s3_call *c);     /* If-Match, If-None-Match */
struct s3_cond s3_cond_of(const struct s3_call *c);        /* of a read */
struct s3_cond s3_cond_of_source(const struct s3_call *c); /* x-amz-copy-source-if-* */

/* <ChecksumCRC32>..</ChecksumCRC32> and <ChecksumType> of what pairs hold; nothing when there is none. */
void s3_xml_checksum(struct buf *b, const struct s3_pairs *ps);

/* Response headers; begin with S3_OBJECT_HEADERS(call). */
struct s3_object_headers {
    struct s3_call *c;
    bool sums; /* x-amz-checksum-mode: ENABLED, and the whole object is answered */
    bool has_type;
    enum s3_sum_kind sum; /* the one that was set; an object shows one, the first among its pairs */
    bool has_sum_type;
    int code; /* first failure */
};
#define S3_OBJECT_HEADERS(call) ((struct s3_object_headers){.c = (call), .sum = SUM_NONE})
/* An fs_meta_fn; arg: struct s3_object_headers. response-* parameters take the place of stored values. */
void s3_object_header(void *arg, struct str name, struct str value);
/* What is set without a stored value: type, overrides, ETag, Last-Modified, state .. Returns h->code or 0. */
int s3_object_headers_end(struct s3_object_headers *h, const struct fs_attr *a);
