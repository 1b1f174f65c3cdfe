/* SPDX-License-Identifier: Apache-2.0
 *
 * MD5 of long streams, several at a time.
 *
 * MD5 is one long chain of dependent steps, so a core that computes one leaves most of itself idle: eight side by side
 * take little longer than one. An ETag costs more than everything else in a large PUT, so streams wait for company:
 * what comes in is queued, up to MD5_QUEUE pieces a stream, and whoever may queue no more (or ends) computes its own
 * oldest bytes together with what others have queued. A stream that is alone pays what it would pay anyway.
 *
 * The bytes lie in memory of the stream (md5_room), so nothing is copied: the caller receives into it and uses it
 * before it says md5_filled. Free pieces are pooled and never more than MD5_BUDGET; while that many are in use, a
 * stream gets a piece only when it has none.
 *
 * Threads: a stream by one thread at a time, streams side by side. A wait is for another thread's arithmetic on a piece
 * of this stream, never for I/O.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MD5_PIECE = 256 << 10, MD5_QUEUE = 32, MD5_BUDGET = 128 };

struct md5;
struct md5 *md5_new(void);
/* Memory for the bytes that come next: *ret_n of it, from 1 to MD5_PIECE. The same until md5_filled. */
void *md5_room(struct md5 *m, size_t *ret_n);
/* The first n bytes of the room are there, and the caller does not touch them any more. */
void md5_filled(struct md5 *m, size_t n);
/* Are there other streams now? Then what this one has queued is worth more to them the longer md5_end waits. */
bool md5_company(void);
/* The digest of all; the stream can only be freed now. */
void md5_end(struct md5 *m, unsigned char out[16]);
struct md5 *md5_free(struct md5 *m); /* NULL is fine; returns NULL */
