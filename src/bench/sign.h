/* SPDX-License-Identifier: Apache-2.0
 *
 * Request heads, signed with AWS Signature Version 4. What is signed is always the same three headers, so the canonical
 * request is written down directly; the key is derived once a day. One signer belongs to one thread.
 */
#pragma once
#include "base/buf.h"
#include "net/sigv4.h"

struct signer {
    const char *host;                     /* as in the Host header */
    const char *access, *secret, *region; /* access NULL: do not sign */
    uint64_t second;                      /* the time `when` is of */
    char when[17], day[9];
    unsigned char key[32];
    struct buf path, query, canonical, to_sign; /* of the last head; kept for their memory */
};

struct sign_request {
    const char *method;
    struct str bucket, key; /* an empty key: the bucket itself */
    const struct sigv4_pair *query;
    size_t query_n;
    const char *payload; /* hex SHA-256 or SIGV4_UNSIGNED */
    const char *extra;   /* further header lines with CRLF, not signed; NULL: none */
    uint64_t length;
};

/* The whole head, blank line included, replaces what is in `head`. wall_ms: now. */
void sign_head(struct signer *s, const struct sign_request *r, uint64_t wall_ms, struct buf *head);
void sign_done(struct signer *s);
