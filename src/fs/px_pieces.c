/* SPDX-License-Identifier: Apache-2.0
 *
 * What was written and is still in memory: ranges in order of their offsets that do not overlap. What is written in
 * sequence grows one range; a range written over another replaces what it covers of it.
 */
#include "fs/px_in.h"

/* The first piece that ends behind off. */
static size_t first_behind(const struct px_node *n, uint64_t off)
{
    size_t lo = 0, hi = n->pieces;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (n->piece[mid].off + n->piece[mid].n <= off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void count(struct px_node *n, size_t more, size_t less)
{
    n->buffered += more;
    n->buffered -= less;
    atomic_fetch_add(&n->px->buffered, more);
    atomic_fetch_sub(&n->px->buffered, less);
}

static void insert(struct px_node *n, size_t at, struct px_piece p)
{
    if ((n->pieces & (n->pieces - 1)) == 0) /* capacity: the next power of two */
        n->piece = mem_grow(n->piece, n->pieces ? n->pieces * 2 : 1, sizeof *n->piece);
    memmove(n->piece + at + 1, n->piece + at, (n->pieces - at) * sizeof *n->piece);
    n->piece[at] = p;
    n->pieces++;
}

static void take_out(struct px_node *n, size_t at, size_t k)
{
    for (size_t i = at; i < at + k; i++) {
        count(n, 0, n->piece[i].n);
        free(n->piece[i].p);
    }
    memmove(n->piece + at, n->piece + at + k, (n->pieces - at - k) * sizeof *n->piece);
    n->pieces -= k;
    size_t cap = 1;
    while (cap < n->pieces)
        cap *= 2;
    if (!n->pieces) {
        free(n->piece);
        n->piece = NULL;
    } else {
        n->piece = mem_grow(n->piece, cap, sizeof *n->piece);
    }
}

static void append(struct px_node *n, struct px_piece *p, const void *from, size_t len)
{
    if (p->n + len > p->cap) {
        p->cap = p->cap * 2 > p->n + len ? p->cap * 2 : p->n + len;
        p->p = mem_grow(p->p, p->cap, 1);
    }
    memcpy(p->p + p->n, from, len);
    p->n += len;
    count(n, len, 0);
}

static void split(struct px_node *n, size_t at, uint64_t off)
{
    struct px_piece *p = &n->piece[at];
    size_t keep = (size_t)(off - p->off);
    struct px_piece tail = {.off = off, .n = p->n - keep, .cap = p->n - keep, .p = mem_alloc(p->n - keep)};
    memcpy(tail.p, p->p + keep, tail.n);
    p->n = keep;
    insert(n, at + 1, tail);
}

void px_pieces_cut(struct px_node *n, uint64_t off, uint64_t len)
{
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    size_t at = first_behind(n, off);
    if (at < n->pieces && n->piece[at].off < off)
        split(n, at++, off);
    size_t to = at;
    while (to < n->pieces && n->piece[to].off + n->piece[to].n <= end)
        to++;
    if (to < n->pieces && n->piece[to].off < end) {
        split(n, to, end);
        to++;
    }
    if (to > at)
        take_out(n, at, to - at);
}

void px_pieces_put(struct px_node *n, uint64_t off, const void *from, size_t len)
{
    size_t at = first_behind(n, off);
    struct px_piece *p = at < n->pieces ? &n->piece[at] : NULL;
    if (p && p->off <= off && off + len <= p->off + p->n) { /* within one */
        memcpy(p->p + (off - p->off), from, len);
        return;
    }
    px_pieces_cut(n, off, len);
    at = first_behind(n, off);
    p = at ? &n->piece[at - 1] : NULL;
    if (p && p->off + p->n == off) {
        append(n, p, from, len);
        return;
    }
    struct px_piece fresh = {.off = off, .cap = len, .p = mem_alloc(len)};
    insert(n, at, fresh);
    append(n, &n->piece[at], from, len);
}

void px_pieces_free(struct px_node *n)
{
    if (n->pieces)
        take_out(n, 0, n->pieces);
}

void px_pieces_overlay(const struct px_node *n, uint64_t off, void *to, size_t len)
{
    for (size_t at = first_behind(n, off); at < n->pieces && n->piece[at].off < off + len; at++) {
        const struct px_piece *p = &n->piece[at];
        uint64_t from = p->off > off ? p->off : off, end = p->off + p->n < off + len ? p->off + p->n : off + len;
        memcpy((char *)to + (from - off), p->p + (from - p->off), (size_t)(end - from));
    }
}
