/* SPDX-License-Identifier: Apache-2.0
 *
 * Request heads and chunked bodies, parsed strictly (RFC 9112) and without state of their own beyond what is passed in.
 *
 * A head is parsed in one go once it is complete; http_head_end() finds that point as bytes arrive and refuses early
 * what can never become a head. Everything in struct http_head points into the head's bytes or into the arena beside
 * it.
 *
 * What two parsers could read differently is an error, never a guess: proxies in front of us would guess otherwise.
 */
#pragma once
#include "net/http.h"

enum {
    HTTP_HEAD_MAX = 64 << 10,
    HTTP_HEADERS_MAX = 200,
    HTTP_PARAMS_MAX = 256,
    HTTP_METHOD_MAX = 32,
    HTTP_CHUNK_LINE_MAX = 256, /* size and extensions of a chunk */
    HTTP_TRAILER_MAX = 8192,   /* all trailer lines of a chunked body */
};

struct http_head {
    struct str method, target, path_raw, path, query_raw, host;
    int minor;
    bool path_nul, has_length, chunked, expect, keep_alive;
    int64_t length; /* 0 without a body, -1 when chunked */
    size_t n_headers, n_params;
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_param params[HTTP_PARAMS_MAX];
};

/* A reason to refuse a head: the answer's status and a constant sentence. */
struct http_fault {
    int status;
    const char *reason;
};

/* The length of the head at p, its empty line included; 0 when more bytes are needed; -1 with ret_fault when the bytes
 * so far cannot become one of at most max bytes. *scan remembers between calls where to go on; 0 at first. */
ssize_t http_head_end(const char *p, size_t n, size_t max, size_t *scan, struct http_fault *ret_fault);

/* Parse the n bytes http_head_end() found. arena holds at least n bytes. False with ret_fault when it is refused. */
bool http_head_parse(const char *p, size_t n, size_t headers_max, char *arena, struct http_head *ret,
                     struct http_fault *ret_fault);

/* A chunked body. Feed bytes; of each call, *ret_used were taken. */
struct http_chunks {
    int state;
    unsigned line_n; /* of the line being read */
    unsigned trailer_n;
    unsigned digits;
    uint64_t left; /* data bytes of the current chunk */
};
enum http_chunk_result {
    HTTP_CHUNK_MORE, /* all n bytes were taken and more are needed */
    HTTP_CHUNK_DATA, /* c->left data bytes come next: the caller takes them and subtracts */
    HTTP_CHUNK_END,  /* the body is over; bytes after *ret_used are the next request's */
    HTTP_CHUNK_BAD,
};
enum http_chunk_result http_chunks_feed(struct http_chunks *c, const char *p, size_t n, size_t *ret_used);

/* Percent-decode into out (at least in.n bytes): the length, or -1 for a malformed escape. plus: '+' is a space. */
ssize_t http_unescape(struct str in, bool plus, char *out);
bool http_is_token(struct str s);
/* No control characters but tab: what may stand in a header value. */
bool http_is_field_value(struct str s);
