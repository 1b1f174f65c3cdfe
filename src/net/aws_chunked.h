/* SPDX-License-Identifier: Apache-2.0
 *
 * The aws-chunked framing that S3 clients put around a body: a streaming decoder over any source of bytes.
 *
 *   hex-size[;chunk-signature=64 hex]\r\n bytes \r\n  ...  0[;chunk-signature=..]\r\n [name:value\r\n ...] \r\n
 *
 * It knows framing only. Signatures are reported with the chunk they cover, before the chunk's first byte is given out,
 * and the caller verifies them over the bytes it then reads; trailers are collected and handed over as they came.
 *
 * States: SIZE -> DATA -> CRLF -> SIZE ... -> (size 0) TRAILER -> END; any fault -> BAD, which keeps its error code.
 * Whoever reads to the end (0) knows: framing whole, sum of sizes equals the announced decoded length, source at its
 * end.
 *
 * Owns: nothing; the struct holds its buffers. Threads: one at a time.
 */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <sys/types.h>

enum aws_chunked_kind {
    AWS_CHUNKED_SIGNED,         /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD: every chunk has a signature, no trailers */
    AWS_CHUNKED_SIGNED_TRAILER, /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER: x-amz-trailer-signature ends the trailers
                                 */
    AWS_CHUNKED_UNSIGNED_TRAILER, /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

/* The kind an x-amz-content-sha256 value names; false for any other value (also for SigV4A ones, which are 501). */
bool aws_chunked_kind(struct str content_sha256, enum aws_chunked_kind *ret);

enum {
    AWS_CHUNKED_TRAILERS_MAX = 16,
    AWS_CHUNKED_TRAILER_BYTES = 4096, /* all names and values together */
    AWS_CHUNKED_LINE_MAX = 256,       /* a size line with its extension */
};

struct aws_chunked_options {
    enum aws_chunked_kind kind;
    int64_t decoded_length;                        /* x-amz-decoded-content-length; -1: not given */
    uint64_t chunk_max;                            /* largest chunk; 0: no limit */
    ssize_t (*read)(void *arg, void *p, size_t n); /* > 0, 0 end, < 0 ERR_; what http_body_read() says */
    void *arg;                                     /* for read */
    /* A chunk begins; the last one has size 0. signature: 64 hex digits, or "" in the unsigned kind. An error stops the
     * decoder with it. May be NULL. */
    int (*chunk)(void *chunk_arg, uint64_t size, struct str signature);
    void *chunk_arg;
};

struct aws_chunked_trailer {
    struct str name, value; /* name in lower case */
};

struct aws_chunked {
    struct aws_chunked_options o;
    int state;
    int error;
    uint64_t left;      /* of the current chunk */
    uint64_t total;     /* decoded so far */
    size_t in_at, in_n; /* the part of in not used yet */
    size_t n_trailers;
    struct aws_chunked_trailer trailers[AWS_CHUNKED_TRAILERS_MAX];
    size_t text_n;
    char text[AWS_CHUNKED_TRAILER_BYTES];
    char in[8192];
};

void aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_options *o);

/* The next decoded bytes, at most n (n > 0): > 0; 0 at the end, everything checked; ERR_INCOMPLETE_BODY when the source
 * ended early or the total is not decoded_length; ERR_INVALID for broken framing; ERR_TOO_LARGE for a chunk above
 * chunk_max; what read or chunk said. */
ssize_t aws_chunked_read(struct aws_chunked *c, void *p, size_t n);

/* After the end: the trailers, in the order sent. x-amz-trailer-signature is among them. */
size_t aws_chunked_trailer_count(const struct aws_chunked *c);
const struct aws_chunked_trailer *aws_chunked_trailer_at(const struct aws_chunked *c, size_t i);
/* By lower-case name; p is NULL when absent. */
struct str aws_chunked_trailer(const struct aws_chunked *c, const char *name);
/* The bytes x-amz-trailer-signature is over: "name:value\n" of all others, in the order sent. */
struct buf;
void aws_chunked_trailer_canonical(const struct aws_chunked *c, struct buf *b);
