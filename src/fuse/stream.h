/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: what the keeper of a mount on another host (remote_keep.c) and the server (remote_listen.c) say to
 * each other over TCP. Two connections a mount, so that a notice is never behind the requests that wait for its
 * acknowledgement:
 *
 *     keeper                                     server
 *     connects                     <----------   CHALLENGE (random)
 *     HELLO (role, session, proof) ---------->   on both; notices first
 *                                  <----------   WELCOME (proof), or LINK refused
 *   calls:    HELD                 ---------->   (the mount's locks)
 *             LINK take            ---------->   serves the mount
 *             REQUEST (the kernel's) -------->
 *                                  <----------   ANSWER (for the kernel)
 *                                  <----------   LINK news serving, or refused
 *                                  <----------   LINK news left, when the server stops on purpose
 *             OVER                 ---------->   when the mount has ended
 *   notices:                       <----------   NOTICE (for the kernel)
 *             DONE                 ---------->   the kernel has heard it
 *
 * Frames have a head of eight bytes; all numbers are in the host's order, as FUSE's own are: both hosts must be of one
 * kind (LINK_MAGIC tells). proof: HMAC-SHA256 of challenge, role and session under the token, which itself never
 * travels; that of WELCOME, of the same with another word before it, shows the keeper that the server knows it too.
 * What follows is neither signed nor encrypted: for networks that are trusted, or tunnels.
 */
#pragma once
#include "base/cleanup.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum stream_kind {
    STREAM_CHALLENGE = 1,
    STREAM_HELLO,
    STREAM_WELCOME,
    STREAM_LINK,
    STREAM_REQUEST,
    STREAM_ANSWER,
    STREAM_NOTICE,
    STREAM_DONE,
    STREAM_HELD, /* calls, before LINK take: struct stream_held and records of lock_table.h; none: the kernel keeps them
                  */
    STREAM_OVER  /* calls, the last: the mount has ended */
};
enum stream_role { STREAM_CALLS = 1, STREAM_NOTICES };

struct stream_hello {
    uint32_t magic, role;
    unsigned char session[16], proof[32];
};

struct stream_held {
    uint64_t id; /* of the mount: the same from its beginning to its end */
};

struct stream;
/* fd: a connected socket, taken over. */
struct stream *stream_new(int fd);
/* "HOST:PORT". ERR_INVALID: no such address; ERR_UNREACHABLE. */
int stream_connect(const char *address, struct stream **ret);
struct stream *stream_free(struct stream *s); /* NULL is fine; returns NULL */
static inline void cleanup_stream_free(struct stream **s)
{
    stream_free(*s);
}
#define AUTO_STREAM CLEANUP(cleanup_stream_free)
int stream_fd(const struct stream *s); /* to poll */
/* How long one send, and one receive, may take; 0: for ever. A dead peer ends both within STREAM_DEAD_MS anyway. */
enum { STREAM_DEAD_MS = 15000 };
void stream_limits(struct stream *s, unsigned send_ms, unsigned receive_ms);

/* One frame, whole. ERR_IO: the other side is gone, or too slow; the stream is of no use any more. Threads: any. */
int stream_send(struct stream *s, enum stream_kind kind, const struct iovec *part, size_t n);
/* One frame, whole, into b. ERR_IO as above; ERR_INVALID: more than max bytes, or nonsense. Threads: any. */
int stream_receive(struct stream *s, enum stream_kind *ret_kind, void *b, size_t max, size_t *ret_n);
/* Receives end with ERR_IO from now on; one that waits in the kernel when a signal wakes its thread. */
void stream_end_reading(struct stream *s);
/* Nothing more is sent; waits, at most ms, until the other side has read all and closed. Nobody may be receiving. */
void stream_finish(struct stream *s, unsigned ms);
void stream_end_sending(struct stream *s); /* the other side's receives end when they have read what was sent */
void stream_cut(struct stream *s);         /* the same, and sends, on both sides */

/* A listening socket at "HOST:PORT" (":PORT": all addresses). ERR_INVALID, ERR_BUSY ... */
int stream_listen(const char *address, int *ret_fd);
void stream_address(int fd, char *ret, size_t n); /* where a listening socket listens: "HOST:PORT" */

void stream_prove(const char *token, const unsigned char challenge[32], struct stream_hello *h); /* fills proof */
/* What WELCOME carries in answer to h. */
void stream_welcome(const char *token, const unsigned char challenge[32], const struct stream_hello *h,
                    unsigned char ret[32]);
/* Takes as long for every difference. */
bool stream_same(const unsigned char a[32], const unsigned char b[32]);
