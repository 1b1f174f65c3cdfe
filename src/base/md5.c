/* SPDX-License-Identifier: Apache-2.0
 *
 * Who computes what (contract in md5.h). A stream is on the list while it has pieces that wait. `busy`: some thread
 * computes on its oldest piece; the owner may queue more behind it meanwhile, and only one thread at a time is at the
 * state. Under the lock: the list, the pool, and of each stream piece, waiting, done, busy and the links.
 */
#include "base/md5.h"
#include "base/lock.h"
#include "base/md5_lanes.h"
#include "base/mem.h"
#include <endian.h>
#include <stdatomic.h>
#include <string.h>

struct piece {
    unsigned char *p;
    size_t n; /* whole blocks */
};

struct md5 {
    uint32_t state[4];
    uint64_t bytes;
    unsigned char *filling; /* NULL: none */
    size_t filled;
    struct piece piece[MD5_QUEUE + 1]; /* oldest first; the one more is the last, short one */
    size_t waiting, done;              /* done: bytes of the oldest that are computed */
    bool busy;
    pthread_cond_t calm; /* not busy any more */
    struct md5 *prev, *next;
};

static struct lock lock = LOCK_INIT(RANK_LEAF); /* no call while it is held */
static struct md5 *head, *tail;                 /* streams with work, longest unattended first */
static unsigned char *pool[MD5_BUDGET];
static size_t pooled, in_use;
static atomic_size_t streams;
static md5_lanes_fn *best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose(void)
{
    best = md5_lanes_best();
}

struct md5 *md5_new(void)
{
    static const uint32_t first[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    pthread_once(&once, choose);
    struct md5 *m = MEM_NEW(struct md5);
    memcpy(m->state, first, sizeof first);
    cond_init(&m->calm);
    atomic_fetch_add_explicit(&streams, 1, memory_order_relaxed);
    return m;
}

/* ---- under the lock: the list and the pool ---- */

static void list_add(struct md5 *m)
{
    m->prev = tail;
    m->next = NULL;
    *(tail ? &tail->next : &head) = m;
    tail = m;
}

static void list_remove(struct md5 *m)
{
    *(m->prev ? &m->prev->next : &head) = m->next;
    *(m->next ? &m->next->prev : &tail) = m->prev;
}

/* Back to the pool, or returned to be freed when that is full. */
static unsigned char *give_back(unsigned char *p)
{
    in_use--;
    if (pooled == MD5_BUDGET)
        return p;
    pool[pooled++] = p;
    return NULL;
}

static void queue(struct md5 *m, unsigned char *p, size_t n)
{
    m->piece[m->waiting++] = (struct piece){p, n};
    if (m->waiting == 1)
        list_add(m);
}

/* ---- computing ---- */

struct team {
    struct md5 *m[MD5_LANES];
    struct md5_lane lane[MD5_LANES];
    size_t n, bytes; /* as many of each */
};

static void claim(struct team *t, struct md5 *m)
{
    size_t left = m->piece[0].n - m->done;
    m->busy = true;
    t->m[t->n] = m;
    t->lane[t->n++] = (struct md5_lane){m->state, m->piece[0].p + m->done};
    if (t->n == 1 || left < t->bytes)
        t->bytes = left;
}

/* Returns a piece to be freed, or NULL. */
static unsigned char *advance(struct md5 *m, size_t bytes)
{
    unsigned char *old = NULL;
    m->busy = false;
    m->done += bytes;
    list_remove(m);
    if (m->done == m->piece[0].n) {
        old = give_back(m->piece[0].p);
        m->done = 0;
        m->waiting--;
        memmove(m->piece, m->piece + 1, m->waiting * sizeof *m->piece);
    }
    if (m->waiting)
        list_add(m); /* others first, next time */
    pthread_cond_signal(&m->calm);
    return old;
}

/* The oldest bytes of m, and as many of others that nobody is at. The lock is held, and given up in between. */
static void compute(struct md5 *m)
{
    struct team t = {.n = 0};
    unsigned char *old[MD5_LANES];
    claim(&t, m);
    for (struct md5 *o = head; o && t.n < MD5_LANES; o = o->next)
        if (!o->busy)
            claim(&t, o);
    lock_drop(&lock);
    best(t.lane, t.n, t.bytes / MD5_BLOCK);
    lock_take(&lock);
    for (size_t i = 0; i < t.n; i++)
        old[i] = advance(t.m[i], t.bytes);
    for (size_t i = 0; i < t.n; i++)
        free(old[i]);
}

/* Until at most `most` pieces wait. */
static void drain(struct md5 *m, size_t most)
{
    while (m->waiting > most)
        if (m->busy)
            cond_wait(&m->calm, &lock);
        else
            compute(m);
}

/* ---- a stream ---- */

static unsigned char *take_piece(struct md5 *m)
{
    unsigned char *p = NULL;
    LOCKED(&lock);
    if (m->waiting == MD5_QUEUE)
        drain(m, MD5_QUEUE - 1);
    while (m->waiting && in_use >= MD5_BUDGET)
        drain(m, m->waiting - 1);
    in_use++;
    if (pooled)
        p = pool[--pooled];
    return p;
}

void *md5_room(struct md5 *m, size_t *ret_n)
{
    if (!m->filling) {
        unsigned char *p = take_piece(m);
        m->filling = p ? p : mem_alloc(MD5_PIECE);
        m->filled = 0;
    }
    *ret_n = MD5_PIECE - m->filled;
    return m->filling + m->filled;
}

void md5_filled(struct md5 *m, size_t n)
{
    CHECK(m->filling && n <= MD5_PIECE - m->filled);
    m->filled += n;
    m->bytes += n;
    if (m->filled < MD5_PIECE)
        return;
    LOCKED(&lock);
    queue(m, TAKE(m->filling), MD5_PIECE);
}

/* What follows the last whole block of the message: the rest, a bit, zeros, the length in bits. */
static size_t padding(const struct md5 *m, const unsigned char *rest, size_t n, unsigned char ret[2 * MD5_BLOCK])
{
    size_t all = n + 9 <= MD5_BLOCK ? MD5_BLOCK : 2 * MD5_BLOCK;
    uint64_t bits = htole64(m->bytes * 8);
    memset(ret, 0, all);
    if (n)
        memcpy(ret, rest, n);
    ret[n] = 0x80;
    memcpy(ret + all - 8, &bits, 8);
    return all / MD5_BLOCK;
}

static void finish_pieces(struct md5 *m)
{
    size_t whole = m->filling ? m->filled / MD5_BLOCK * MD5_BLOCK : 0;
    LOCKED(&lock);
    if (whole)
        queue(m, TAKE(m->filling), whole);
    drain(m, 0);
}

void md5_end(struct md5 *m, unsigned char out[16])
{
    unsigned char end[2 * MD5_BLOCK];
    size_t rest = m->bytes % MD5_BLOCK;
    size_t blocks = padding(m, rest ? m->filling + m->filled - rest : NULL, rest, end);
    finish_pieces(m);
    md5_lanes_plain(&(struct md5_lane){m->state, end}, 1, blocks);
    for (int i = 0; i < 4; i++) {
        uint32_t w = htole32(m->state[i]);
        memcpy(out + 4 * i, &w, 4);
    }
}

bool md5_company(void)
{
    return atomic_load_explicit(&streams, memory_order_relaxed) > 1;
}

/* Pieces that nobody will ask for are not computed. */
static void forget_pieces(struct md5 *m)
{
    LOCKED(&lock);
    while (m->busy)
        cond_wait(&m->calm, &lock);
    if (m->waiting)
        list_remove(m);
    while (m->waiting)
        free(give_back(m->piece[--m->waiting].p));
    if (m->filling)
        free(give_back(m->filling));
}

struct md5 *md5_free(struct md5 *m)
{
    if (!m)
        return NULL;
    forget_pieces(m);
    atomic_fetch_sub_explicit(&streams, 1, memory_order_relaxed);
    pthread_cond_destroy(&m->calm);
    free(m);
    return NULL;
}
