/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts that pass through (contract in pass.h).
 *
 *   states   new -> (first byte) -> has a place -> ended | given up | evicted
 *            small: everything waits in the ring, which it fits in, and pass_end sends it from there
 *            large: a sender runs from the first byte on; it is joined by pass_end or pass_abort
 *
 * got and sent count bytes since the start; the ring holds those between them. Only the owner changes got, ended and
 * given_up, only the sender sent and done, all under the lock of the pass; the bytes themselves are copied without it.
 *
 * evicted: set by the first in line, who holds both locks; not after ended or given_up. The ring goes and the place is
 * free as soon as neither the sender (done) nor the owner (filling) can touch the ring, whoever of the three sees that:
 * the owner may be waiting for its client for a long time yet.
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
    unsigned part;
    uint64_t size;
    bool threaded, started;
    pthread_t sender;

    struct pass *next; /* of the holders; the lock of the limits: */
    unsigned buffers;  /* 0: it has no place */

    struct lock lock; /* RANK_FS + 1: all below */
    pthread_cond_t moved;
    char *ring;
    size_t room;
    uint64_t got, sent;
    uint64_t due_ns; /* its client is too slow when it brought nothing by then; 0: it waits for the store */
    bool ended, given_up, evicted, filling, done;
    int code;
    char why[300], etag[72];
};

struct pass_line {
    struct pass_line *next;
};

static uint64_t patience_from(uint64_t now)
{
    return now + PASS_PATIENCE_MS * 1000000ull;
}

/* --- limits */

void pass_limits_init(struct pass_limits *l, const struct conf *conf)
{
    *l = (struct pass_limits){.senders = conf ? (unsigned)conf_u64(conf, PROP_UFS_S3_UPLOAD_THREADS) : 20,
                              .buffers = conf ? (unsigned)conf_u64(conf, PROP_UFS_S3_BUFFERS) : 64,
                              .async = conf && conf_bool(conf, PROP_UFS_MULTIPART_ASYNC)};
    lock_init(&l->lock, RANK_FS);
    cond_init(&l->freed);
    cond_init(&l->turn_over);
}

void pass_limits_done(struct pass_limits *l)
{
    pthread_cond_destroy(&l->turn_over);
    pthread_cond_destroy(&l->freed);
    lock_done(&l->lock);
}

/* Under the lock of the limits. */
static void leave_place(struct pass *p)
{
    struct pass_limits *l = p->l;
    struct pass **at = &l->holders;
    if (!p->buffers)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    l->senders++;
    l->buffers += p->buffers;
    l->leaving -= p->evicted;
    p->buffers = 0;
    pthread_cond_broadcast(&l->freed);
}

/* Takes the ring of an evicted pass that nobody touches any more; under its lock. */
static char *take_dead_ring(struct pass *p)
{
    bool dead = p->evicted && !p->filling && (!p->threaded || p->done);
    return dead ? TAKE(p->ring) : NULL;
}

static void leave_if_evicted(struct pass *p)
{
    lock_take(&p->lock);
    char *ring = take_dead_ring(p);
    lock_drop(&p->lock);
    if (!ring)
        return;
    free(ring);
    LOCKED(&p->l->lock);
    leave_place(p);
}

/* UINT64_MAX: it is not up to its client. */
static uint64_t due_of(struct pass *p)
{
    LOCKED(&p->lock);
    return p->due_ns && !p->ended && !p->given_up ? p->due_ns : UINT64_MAX;
}

static void evict(struct pass *p)
{
    lock_take(&p->lock);
    p->evicted = !p->ended && !p->given_up;
    p->l->leaving += p->evicted;
    char *ring = take_dead_ring(p);
    pthread_cond_broadcast(&p->moved);
    lock_drop(&p->lock);
    if (ring)
        leave_place(p);
    free(ring);
}

/* Takes its place from the slowest client if that is too slow. Returns when to look again. Under the lock. */
static uint64_t evict_slowest(struct pass_limits *l)
{
    uint64_t now = clock_mono_ns(), due = UINT64_MAX;
    struct pass *slowest = NULL;
    if (l->leaving)
        return patience_from(now);
    for (struct pass *p = l->holders; p; p = p->next) {
        uint64_t d = due_of(p);
        if (d < due) {
            due = d;
            slowest = p;
        }
    }
    if (slowest && due <= now)
        evict(slowest);
    return due <= now || due > patience_from(now) ? patience_from(now) : due;
}

static bool place_free(const struct pass_limits *l)
{
    return l->senders && l->buffers;
}

static int await_place(struct pass_limits *l, const struct pass_line *me, uint64_t until)
{
    while (l->first != me || !place_free(l)) {
        uint64_t look = l->first == me ? evict_slowest(l) : until;
        if (l->first == me && place_free(l))
            return 0;
        cond_wait_until(&l->freed, &l->lock, look < until ? look : until);
        if (clock_mono_ns() >= until && (l->first != me || !place_free(l)))
            return err_set(ERR_THROTTLED, "too many parts pass through to the under file system at once "
                                          "(alluxio.underfs.s3.upload.threads.max, "
                                          "alluxio.underfs.s3.multipart.upload.buffer.number)");
    }
    return 0;
}

static void step_into_line(struct pass_limits *l, struct pass_line *me)
{
    if (l->last)
        l->last->next = me;
    else
        l->first = me;
    l->last = me;
}

static void step_out_of_line(struct pass_limits *l, struct pass_line *me)
{
    struct pass_line **at = &l->first, *before = NULL;
    for (; *at != me; at = &(*at)->next)
        before = *at;
    *at = me->next;
    if (l->last == me)
        l->last = before;
    if (l->first)
        pthread_cond_broadcast(&l->freed); /* there is another first one */
}

static int take_place(struct pass *p)
{
    struct pass_limits *l = p->l;
    struct pass_line me = {0};
    uint64_t wanted = l->async ? (p->size + PASS_BUFFER - 1) / PASS_BUFFER : 1;
    LOCKED(&l->lock);
    step_into_line(l, &me);
    int r = await_place(l, &me, clock_mono_ns() + SLOT_WAIT_MS * 1000000ull);
    step_out_of_line(l, &me);
    TRY(r);
    unsigned n = wanted > PASS_AHEAD ? PASS_AHEAD : wanted ? (unsigned)wanted : 1;
    if (n > l->buffers)
        n = l->buffers;
    l->senders--;
    l->buffers -= n;
    p->buffers = n;
    p->next = l->holders;
    l->holders = p;
    return 0;
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
    size_t have = 0, at;
    {
        LOCKED(&p->lock);
        while (!p->given_up && !p->evicted && !(have = ready(p)) && !p->ended)
            cond_wait(&p->moved, &p->lock);
        if (p->given_up || p->evicted)
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
    lock_take(&p->lock);
    p->code = r;
    if (r == 0)
        memcpy(p->etag, etag, sizeof p->etag);
    else
        snprintf(p->why, sizeof p->why, "%s", err_detail(r));
    p->done = true;
    pthread_cond_broadcast(&p->moved);
    lock_drop(&p->lock);
    leave_if_evicted(p);
    return NULL;
}

/* --- the owner */

static struct pass *pass_free(struct pass *p)
{
    lock_take(&p->l->lock);
    leave_place(p);
    lock_drop(&p->l->lock);
    pthread_cond_destroy(&p->moved);
    lock_done(&p->lock);
    free(p->ring);
    free(p);
    return NULL;
}

/* There are bytes to move: a place, a ring, a sender. */
static int start(struct pass *p)
{
    TRY(take_place(p));
    LOCKED(&p->lock);
    p->room = p->size < PASS_BUFFER ? (size_t)p->size + 1 : (size_t)p->buffers * PASS_BUFFER;
    p->ring = malloc(p->room);
    if (!p->ring)
        return ERR_NOMEM;
    p->due_ns = patience_from(clock_mono_ns());
    if (p->threaded)
        TRY(thread_start(&p->sender, "pass", send_part, p));
    p->started = true;
    TRACE("fs.pass", p->part, p->size);
    return 0;
}

int pass_begin(struct pass_limits *l, struct ufs *u, struct str key, const char *upload, unsigned part, uint64_t size,
               struct pass **ret)
{
    if (size == UINT64_MAX)
        return err_set(ERR_LENGTH_REQUIRED,
                       "a part that passes through to the under file system needs a Content-Length or "
                       "x-amz-decoded-content-length");
    struct pass *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    *p = (struct pass){
        .l = l, .u = u, .key = key, .upload = upload, .part = part, .size = size, .threaded = size > PASS_BUFFER};
    lock_init(&p->lock, RANK_FS + 1);
    cond_init(&p->moved);
    int r = size ? 0 : start(p); /* nothing will come that it could wait for */
    if (r < 0) {
        pass_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

static int lost_its_place(void)
{
    return err_set(ERR_TIMEOUT, "the body came slower than %d bytes a second while other parts waited", PASS_RATE);
}

/* Room in the ring, which is ours to fill until added(), or why there will be none. */
static int await_room(struct pass *p, size_t *ret_at, size_t *ret_n)
{
    LOCKED(&p->lock);
    bool full = p->got - p->sent == p->room;
    if (full)
        p->due_ns = 0;
    while (p->got - p->sent == p->room && !p->done && !p->evicted)
        cond_wait(&p->moved, &p->lock);
    if (p->evicted)
        return lost_its_place();
    if (p->done) /* before its end: it failed */
        return err_set(p->code < 0 ? p->code : ERR_IO, "%s",
                       p->code < 0 ? p->why : "the under file system took a part before its end");
    if (full)
        p->due_ns = patience_from(clock_mono_ns());
    p->filling = true;
    *ret_at = (size_t)(p->got % p->room);
    *ret_n = p->room - (size_t)(p->got - p->sent);
    if (*ret_n > p->room - *ret_at)
        *ret_n = p->room - *ret_at;
    return 0;
}

static void added(struct pass *p, size_t n)
{
    uint64_t longest = patience_from(clock_mono_ns());
    lock_take(&p->lock);
    p->filling = false;
    p->got += n;
    p->due_ns += (uint64_t)n * 1000000000ull / PASS_RATE;
    if (p->due_ns > longest)
        p->due_ns = longest;
    pthread_cond_broadcast(&p->moved);
    lock_drop(&p->lock);
    leave_if_evicted(p);
}

int pass_write(struct pass *p, const void *bytes, size_t n)
{
    const char *from = bytes;
    if (n > p->size - p->got)
        return err_set(ERR_INCOMPLETE_BODY, "the body has more bytes than were announced");
    if (n && !p->started)
        TRY(start(p));
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

/* From here on the place is not lost any more. */
static int set_end(struct pass *p, bool whole)
{
    LOCKED(&p->lock);
    if (p->evicted)
        return lost_its_place();
    p->ended = whole;
    p->given_up = !whole;
    pthread_cond_broadcast(&p->moved);
    return 0;
}

static int send_small(struct pass *p, const unsigned char *md5)
{
    TRY(set_end(p, true));
    return ufs_mpu_part_bytes(p->u, p->key, p->upload, p->part, str_mk(p->ring, (size_t)p->size), md5, p->etag);
}

static int join_sender(struct pass *p, bool whole)
{
    int r = set_end(p, whole);
    pthread_join(p->sender, NULL);
    if (r < 0)
        return lost_its_place();
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
    if (p->threaded && p->started)
        join_sender(p, false);
    return pass_free(p);
}

/* --- turns: the list is in the order of arrival */

static const struct pass_turn *turn_before(const struct pass_turn *t)
{
    const struct pass_turn *o = t->l->turns;
    while (o != t && (o->part != t->part || memcmp(o->upload, t->upload, sizeof t->upload) != 0))
        o = o->next;
    return o == t ? NULL : o;
}

void pass_turn_take(struct pass_limits *l, const unsigned char *upload, unsigned part, struct pass_turn *t)
{
    struct pass_turn **end = &l->turns;
    *t = (struct pass_turn){.l = l, .part = part};
    memcpy(t->upload, upload, sizeof t->upload);
    LOCKED(&l->lock);
    while (*end)
        end = &(*end)->next;
    *end = t;
    while (turn_before(t))
        cond_wait(&l->turn_over, &l->lock);
}

void pass_turn_end(struct pass_turn *t)
{
    struct pass_turn **at = &t->l->turns;
    LOCKED(&t->l->lock);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    pthread_cond_broadcast(&t->l->turn_over);
}
