/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that lives as long as one run of a transaction function: taken in chunks, released at once. Most transactions
 * fit into the first chunk, which lies inside the struct, on the caller's stack.
 */
#include "base/mem.h"
#include "kv/kv_engine.h"

struct kv_chunk {
    struct kv_chunk *next;
    alignas(16) char bytes[];
};

enum { CHUNK = 16384, ALIGN = 16 };

void kv_arena_init(struct kv_arena *a)
{
    a->chunks = NULL;
    a->free = a->first;
    a->left = sizeof a->first;
}

void kv_arena_done(struct kv_arena *a)
{
    struct kv_chunk *c;

    while ((c = a->chunks)) {
        a->chunks = c->next;
        free(c);
    }
    kv_arena_init(a);
}

/* A chunk of its own for what is large, so that the current chunk is not thrown away half empty. */
static char *add_chunk(struct kv_arena *a, size_t n)
{
    struct kv_chunk *c = mem_alloc(sizeof *c + n);

    c->next = a->chunks;
    a->chunks = c;
    return c->bytes;
}

void *kv_arena_take(struct kv_arena *a, size_t n)
{
    char *p;

    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (n > CHUNK / 4 && n > a->left)
        return add_chunk(a, n);
    if (n > a->left) {
        a->free = add_chunk(a, CHUNK);
        a->left = CHUNK;
    }
    p = a->free;
    a->free += n;
    a->left -= n;
    return p;
}

struct str kv_arena_copy(struct kv_arena *a, struct str s)
{
    char *p = kv_arena_take(a, s.n ? s.n : 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return str_mk(p, s.n);
}

void kv_batch_add(struct kv_batch *b, struct kv_arena *a, struct str key, struct str value)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 16;
        struct kv_row *row = kv_arena_take(a, cap * sizeof *row);

        if (b->n)
            memcpy(row, b->row, b->n * sizeof *row);
        b->row = row;
        b->cap = cap;
    }
    b->row[b->n++] = (struct kv_row){key, value};
}

uint64_t kv_write_count(const struct kv_write *w, struct str before)
{
    uint64_t v = kv_counter(before);

    for (const struct kv_step *s = w->step; s; s = s->next)
        if (!s->is_max)
            v += s->v;
        else if (v < s->v)
            v = s->v;
    return v;
}
