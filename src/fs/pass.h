/* SPDX-License-Identifier: Apache-2.0
 *
 * One part of an upload on its way straight into the store, as its bytes come from the client.
 *
 * A part up to PASS_BUFFER is kept in one buffer and sent by pass_end() in the caller's thread, with its MD5; where the
 * store refuses it (slow down, no connection) it is sent again. A larger one is sent by a thread of its own out of a
 * ring of buffers that the caller fills. The last byte is held back until pass_end(): a body that turns out to be wrong
 * or ends early never becomes a part.
 *
 * In force for all parts of a process together: alluxio.underfs.s3.upload.threads.max parts at one time, and
 * alluxio.underfs.s3.multipart.upload.buffer.number buffers: one a part, with
 * alluxio.underfs.object.store.multipart.upload.async up to PASS_AHEAD, as many as are free. A place is taken when
 * there are bytes to move, at the first pass_write(). Who finds none waits in line, then is told to slow down. While
 * somebody waits, a part whose client brings less than PASS_RATE bytes a second, for longer than PASS_PATIENCE_MS,
 * loses its place: its next call is ERR_TIMEOUT. Time that the store makes a client wait does not count against it.
 *
 * A pass belongs to one thread. struct pass_limits: any thread; its lock (RANK_FS) is never held across I/O.
 */
#pragma once
#include "base/lock.h"
#include "ufs/ufs.h"

enum { PASS_BUFFER = 1 << 20, PASS_AHEAD = 8, PASS_RATE = 64 << 10, PASS_PATIENCE_MS = 5000 };

struct pass;
struct pass_line; /* who waits for a place */
struct pass_turn;
struct pass_limits {
    struct lock lock;
    pthread_cond_t freed;
    unsigned senders, buffers; /* free ones */
    bool async;
    struct pass *holders;           /* who have a place */
    struct pass_line *first, *last; /* the first takes the next place */
    unsigned leaving;               /* holders that were told to go and have not gone yet */
    struct pass_turn *turns;        /* taken, or waited for behind one of the same part */
    pthread_cond_t turn_over;
};
struct conf;
void pass_limits_init(struct pass_limits *l, const struct conf *conf); /* NULL: the defaults */
void pass_limits_done(struct pass_limits *l);

/* u, key and upload must live as long. ERR_LENGTH_REQUIRED without a size. */
int pass_begin(struct pass_limits *l, struct ufs *u, struct str key, const char *upload, unsigned part, uint64_t size,
               struct pass **ret);
/* ERR_*: what the store said, ERR_THROTTLED when no place got free in time, ERR_TIMEOUT when the place was lost; the
 * rest of the body is not wanted. Never more than size bytes in all. */
int pass_write(struct pass *p, const void *bytes, size_t n);
/* All bytes came and are right (md5: 16 bytes): the store takes the part. Frees p in every case. */
int pass_end(struct pass *p, const unsigned char *md5, char ret_etag[72]);
struct pass *pass_abort(struct pass *p); /* NULL is fine; returns NULL */

/* One part number of an upload at a time, from before the store can have the part (pass_end) until its row is written:
 * of two clients that send the same part at once, the row names the one that the store has. upload: 16 bytes. */
struct pass_turn {
    struct pass_limits *l;
    struct pass_turn *next;
    unsigned char upload[16];
    unsigned part;
};
void pass_turn_take(struct pass_limits *l, const unsigned char *upload, unsigned part, struct pass_turn *t);
void pass_turn_end(struct pass_turn *t);
#define AUTO_TURN CLEANUP(pass_turn_end)
