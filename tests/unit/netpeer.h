/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer on a plain socket, for tests that care about every byte. Whatever goes wrong fails the running test; nothing
 * waits longer than ten seconds.
 */
#pragma once
#include "base/buf.h"
#include <stdbool.h>

struct answer {
    int status;
    struct buf head; /* with its empty line */
    struct buf body; /* decoded */
    bool whole;      /* by its own framing; a body that ends with the connection is whole */
};

int peer_connect(int port);
void peer_send(int fd, const char *z);
void peer_send_n(int fd, const void *p, size_t n);
void peer_send_slowly(int fd, const char *z); /* one segment a byte */
/* Reads one answer, 1xx included, and not a byte more. head_only: to HEAD, no body follows. */
void peer_read(int fd, struct answer *a, bool head_only);
void answer_done(struct answer *a);
/* Send, read one answer and expect this status. */
void peer_ask(int fd, const char *request, int status, struct answer *a);
/* The value of a header in a, as a string in a static buffer; NULL when absent. */
const char *answer_header(const struct answer *a, const char *name);
bool peer_closed(int fd); /* waits for the end of the stream: true for FIN with nothing before it */
bool peer_silent(int fd); /* nothing has come so far */
