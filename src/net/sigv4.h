/* SPDX-License-Identifier: Apache-2.0
 *
 * AWS Signature Version 4: the canonical form of a request, the signature over it, and the headers that carry it.
 *
 * The canonicalisation is shared by the side that signs (S3 driver) and the side that verifies (S3 front end): both
 * build a struct sigv4_request, list the headers that are signed, and ask for the canonical request, the string to sign
 * and the signature. What differs (where the pieces come from, what is compared) stays with the caller.
 *
 * Facts for S3: the path is percent-encoded once, byte by byte, '/' kept, and never normalised ("//" and "/./" stay);
 * header values are trimmed and runs of spaces inside folded; query pairs are sorted by their encoded name, then value.
 *
 * Everything here is pure: no state, no clock, no allocation but the buffers given.
 */
#pragma once
#include "base/buf.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_pair {
    struct str name, value;
};

struct sigv4_request {
    struct str method;
    struct str path;                /* decoded raw bytes, starts with '/' */
    const struct sigv4_pair *query; /* decoded; X-Amz-Signature must not be among them */
    size_t n_query;
    const struct sigv4_pair
        *header; /* exactly those that are signed, any order, any case; equal names are joined with ',' */
    size_t n_header;
    struct str payload; /* hex SHA-256, SIGV4_UNSIGNED, or a STREAMING-... constant */
};

struct sigv4_scope {
    struct str date;            /* "20261120" */
    struct str region, service; /* "us-east-1", "s3" */
};

/* Percent-encode as SigV4 wants it: A-Z a-z 0-9 - . _ ~ stay; '/' stays when keep_slash. */
void sigv4_encode(struct buf *b, struct str raw, bool keep_slash);
/* "a=b&c=" of pairs, sorted. */
void sigv4_canonical_query(struct buf *b, const struct sigv4_pair *query, size_t n);
/* "host;x-amz-date" of the headers' names, sorted, lower case, each once. */
void sigv4_signed_headers(struct buf *b, const struct sigv4_pair *header, size_t n);
/* The six-part canonical request. */
void sigv4_canonical_request(struct buf *b, const struct sigv4_request *r);
/* "AWS4-HMAC-SHA256\n<amz_date>\n<scope>\n<sha256 of canonical>". amz_date: "20261120T235451Z". */
void sigv4_string_to_sign(struct buf *b, struct str amz_date, const struct sigv4_scope *s,
                          struct str canonical_request);
/* The derived key: depends on secret and scope only, may be cached for its day. */
void sigv4_key(struct str secret, const struct sigv4_scope *s, unsigned char ret[32]);
/* Hex signature of a string to sign (also of the chunk and trailer forms). */
void sigv4_signature(const unsigned char key[32], struct str string_to_sign, char ret[65]);
/* All of it: the value of the Authorization header. */
void sigv4_authorization(struct buf *b, const struct sigv4_request *r, struct str access_key, struct str secret,
                         struct str amz_date, const struct sigv4_scope *s);
/* "20261120T235451Z" for a time in milliseconds since 1970. */
void sigv4_date(uint64_t wall_ms, char ret[17]);
/* Hex SHA-256 of bytes. */
void sigv4_sha256_hex(const void *p, size_t n, char ret[65]);
