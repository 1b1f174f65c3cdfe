/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a request on its way in: framing taken off, and everything the client said about it checked while it
 * passes (length, x-amz-content-sha256, x-amz-checksum-* in header or trailer, Content-MD5 of documents). Only what is
 * asked for is computed; an object's MD5 is the door's work (its ETag), here it is only handed on.
 *
 *     s3_body_open -> s3_body_read until 0 -> s3_body_end -> what is known then -> s3_body_done
 *
 * Owns its digests and the decoder of the framing until s3_body_done(). One thread at a time.
 */
#pragma once
#include "s3/call.h"
#include "s3/sum.h"

struct aws_chunked;
struct s3_body {
    struct s3_call *c;
    struct aws_chunked *framed; /* NULL: the bytes as they come */
    uint64_t size;              /* of the decoded body; UINT64_MAX: not known */
    struct s3_sum sum;
    struct str want; /* its value as a header said; p NULL: in a trailer, or not given */
    bool in_trailer, given;
    struct digest *sha256, *md5;
    unsigned char sha256_want[32], md5_want[16];
    bool has_md5;
    char text[SUM_TEXT]; /* after s3_body_end: the checksum in base64 */
};

enum s3_body_kind {
    BODY_OBJECT,   /* bytes of an object or a part */
    BODY_DOCUMENT, /* XML: Content-MD5 is checked here, and no checksum is computed that was not sent */
    BODY_PARTS /* the same of CompleteMultipartUpload, where x-amz-checksum-* is about the object and not checked here
                */
};
/* Errors of what the headers say: ERR_REQUEST, ERR_INVALID_DIGEST, ERR_LENGTH_REQUIRED, ERR_NOT_IMPLEMENTED .. */
int s3_body_open(struct s3_body *b, struct s3_call *c, enum s3_body_kind kind);
/* Another checksum than CRC64NVME where the client sent none; before the first read. */
void s3_body_use(struct s3_body *b, enum s3_sum_kind k);
/* As http_body_read(). */
ssize_t s3_body_read(struct s3_body *b, void *p, size_t n);
/* After the 0: does it match? ERR_BAD_DIGEST, ERR_SHA_MISMATCH, ERR_TRAILER, ERR_REQUEST. */
int s3_body_end(struct s3_body *b);
void s3_body_done(struct s3_body *b);
#define AUTO_BODY CLEANUP(s3_body_done)

/* The checksum as pairs for the door (at most 2; returns how many): name and value, and its type. Valid with b. */
size_t s3_body_pairs(const struct s3_body *b, struct fs_pair ret[2]);
/* The same as response headers. */
int s3_body_headers(const struct s3_body *b);

/* All of it into a writer, then publish. The writer is gone in every case. */
int s3_body_store(struct s3_body *b, struct fs_writer *w, struct fs_attr *ret);
/* A document through a reader of XML, at most max bytes, checked. ERR_MALFORMED_XML also for an empty one. */
int s3_body_xml(struct s3_call *c, enum s3_body_kind kind, const struct xml_calls *calls, void *arg, uint64_t max);
/* A document into memory, checked. */
int s3_body_text(struct s3_call *c, uint64_t max, struct buf *ret);
/* ERR_REQUEST unless Content-MD5 or a checksum is there. */
int s3_body_demand_sum(const struct s3_body *b);
