/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts that pass through (contract in pass.h).
 *
 *   states   small: everything waits in the ring, pass_end sends it
 *            large: filling -> (ended | given up) -> the sender is joined
 *
 * got and sent count bytes since the start; the ring holds those between them. Only the owner changes got, ended and
 * given_up, only the sender sent and done, all under the lock of the pass; the bytes themselves are copied without it.
 */
#include "fs/pass.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "base/trace.h"
#include "conf/conf.h"
#include <stdlib.h>

enum { SLOT_WAIT_MS = 15000 };

struct pass {
    struct pass_limits *l;
    struct ufs *u;
    struct str key;
    const char *upload;
    unsigned part, buffers;
    uint64_t size;
    char *ring;
    size_t room;

    bool threaded;
    pthread_t sender;
    struct lock lock; /* RANK_FS + 1: all below */
    pthread_cond_t moved;
    uint64_t got, sent;
    bool ended, given_up, done;
    int code;
    char why[300], etag[72];
};

/* --- limits */

void pass_limits_init(struct pass_limits *l, const struct conf *conf)
{
    lock_init(&l->lock, RANK_FS);
    cond_init(&l->freed);
    l->senders = conf ? (unsigned)conf_u64(conf, PROP_UFS_S3_UPLOAD_THREADS) : 20;
    l->buffers = conf ? (unsigned)conf_u64(conf, PROP_UFS_S3_BUFFERS) : 64;
    l->async = conf && conf_bool(conf, PROP_UFS_MULTIPART_ASYNC);
}

void pass_limits_done(struct pass_limits *l)
{
    pthread_cond_destroy(&l->freed);
    lock_done(&l->lock);
}

static int take_slot(struct pass_limits *l, uint64_t size, unsigned *ret_buffers)
{
    uint64_t until = clock_mono_ns() + SLOT_WAIT_MS * 1000000ull;
    uint64_t wanted = l->async ? (size + PASS_BUFFER - 1) / PASS_BUFFER : 1;
    LOCKED(&l->lock);
    while (!l->senders || !l->buffers)
        if (!cond_wait_until(&l->freed, &l->lock, until))
            return err_set(ERR_THROTTLED, "too many parts pass through to the under file system at once "
                                          "(alluxio.underfs.s3.upload.threads.max, "
                                          "alluxio.underfs.s3.multipart.upload.buffer.number)");
    unsigned n = wanted > PASS_AHEAD ? PASS_AHEAD : wanted ? (unsigned)wanted : 1;
    if (n > l->buffers)
        n = l->buffers;
    l->senders--;
    l->buffers -= n;
    *ret_buffers = n;
    return 0;
}

static void give_slot(struct pass_limits *l, unsigned buffers)
{
    LOCKED(&l->lock);
    l->senders++;
    l->buffers += buffers;
    pthread_cond_broadcast(&l->freed);
}

/* --- the sender */

/* How much may go: all but the last byte until the owner says that the whole is right. */
static size_t ready(const struct pass *p)
{
    uint64_t end = p->ended || p->got < p->size ? p->got : p->size - 1;
    return end > p->sent ? (size_t)(end - p->sent) : 0;
}

static ssize_t take_bytes(void *arg, void *to, size_t n)
{
    struct pass *p = arg;
    size_t have, at;
    {
        LOCKED(&p->lock);
        while (!(have = ready(p)) && !p->given_up && !p->ended)
            cond_wait(&p->moved, &p->lock);
        if (p->given_up)
            return err_set(ERR_INCOMPLETE_BODY, "the part was given up");
        at = (size_t)(p->sent % p->room);
    }
    if (n > have)
        n = have;
    if (n > p->room - at)
        n = p->room - at;
    memcpy(to, p->ring + at, n);
    LOCKED(&p->lock);
    p->sent += n;
    pthread_cond_broadcast(&p->moved);
    return (ssize_t)n;
}

static void *send_part(void *arg)
{
    struct pass *p = arg;
    char etag[72];
    int r = ufs_mpu_part(p->u, p->key, p->upload, p->part, p->size, NULL, take_bytes, p, etag);
    LOCKED(&p->lock);
    p->code = r;
    if (r == 0)
        memcpy(p->etag, etag, sizeof p->etag);
    else
        snprintf(p->why, sizeof p->why, "%s", err_detail(r));
    p->done = true;
    pthread_cond_broadcast(&p->moved);
    return NULL;
}

/* --- the owner */

static struct pass *pass_free(struct pass *p)
{
    give_slot(p->l, p->buffers);
    pthread_cond_destroy(&p->moved);
    lock_done(&p->lock);
    free(p->ring);
    free(p);
    return NULL;
}

int pass_begin(struct pass_limits *l, struct ufs *u, struct str key, const char *upload, unsigned part, uint64_t size,
               struct pass **ret)
{
    unsigned buffers = 0;
    if (size == UINT64_MAX)
        return err_set(ERR_LENGTH_REQUIRED,
                       "a part that passes through to the under file system needs a Content-Length or "
                       "x-amz-decoded-content-length");
    TRY(take_slot(l, size, &buffers));
    struct pass *p = calloc(1, sizeof *p);
    size_t room = size < PASS_BUFFER ? (size_t)size + 1 : (size_t)buffers * PASS_BUFFER;
    char *ring = p ? malloc(room) : NULL;
    if (!ring) {
        free(p);
        give_slot(l, buffers);
        return ERR_NOMEM;
    }
    *p = (struct pass){.l = l,
                       .u = u,
                       .key = key,
                       .upload = upload,
                       .part = part,
                       .buffers = buffers,
                       .size = size,
                       .ring = ring,
                       .room = room,
                       .threaded = size > PASS_BUFFER};
    lock_init(&p->lock, RANK_FS + 1);
    cond_init(&p->moved);
    int r = p->threaded ? thread_start(&p->sender, "pass", send_part, p) : 0;
    if (r < 0) {
        pass_free(p);
        return r;
    }
    TRACE("fs.pass", part, size);
    *ret = p;
    return 0;
}

/* Room in the ring, or why there will be none. */
static int await_room(struct pass *p, size_t *ret_at, size_t *ret_n)
{
    LOCKED(&p->lock);
    while (p->got - p->sent == p->room && !p->done)
        cond_wait(&p->moved, &p->lock);
    if (p->done) /* before its end: it failed */
        return err_set(p->code < 0 ? p->code : ERR_IO, "%s",
                       p->code < 0 ? p->why : "the under file system took a part before its end");
    *ret_at = (size_t)(p->got % p->room);
    *ret_n = p->room - (size_t)(p->got - p->sent);
    if (*ret_n > p->room - *ret_at)
        *ret_n = p->room - *ret_at;
    return 0;
}

static void added(struct pass *p, size_t n)
{
    LOCKED(&p->lock);
    p->got += n;
    pthread_cond_broadcast(&p->moved);
}

int pass_write(struct pass *p, const void *bytes, size_t n)
{
    const char *from = bytes;
    if (n > p->size - p->got)
        return err_set(ERR_INCOMPLETE_BODY, "the body has more bytes than were announced");
    while (n) {
        size_t at = 0, room = 0;
        TRY(await_room(p, &at, &room));
        if (room > n)
            room = n;
        memcpy(p->ring + at, from, room);
        added(p, room);
        from += room;
        n -= room;
    }
    return 0;
}

static int send_small(struct pass *p, const unsigned char *md5)
{
    p->ended = true;
    return ufs_mpu_part(p->u, p->key, p->upload, p->part, p->size, md5, take_bytes, p, p->etag);
}

static int join_sender(struct pass *p, bool ended)
{
    {
        LOCKED(&p->lock);
        p->ended = ended;
        p->given_up = !ended;
        pthread_cond_broadcast(&p->moved);
    }
    pthread_join(p->sender, NULL);
    return p->code < 0 ? err_set(p->code, "%s", p->why) : 0;
}

int pass_end(struct pass *p, const unsigned char *md5, char ret_etag[72])
{
    int r = p->threaded ? join_sender(p, true) : send_small(p, md5);
    if (r == 0)
        memcpy(ret_etag, p->etag, sizeof p->etag);
    pass_free(p);
    return r;
}

struct pass *pass_abort(struct pass *p)
{
    if (!p)
        return NULL;
    if (p->threaded)
        join_sender(p, false);
    return pass_free(p);
}
