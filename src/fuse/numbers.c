/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers for what the kernel keeps open. The upper half of a number says which process gave it, so that one of an
 * earlier process, whose mount was taken over, is never taken for one of ours.
 */
#include "base/mem.h"
#include "fuse/host.h"

enum { SLOTS = 1024, CHUNKS = 4096 };

struct slots {
    _Atomic(void *) slot[SLOTS];
    uint32_t next_free[SLOTS]; /* index + 1 of the next free one */
};

struct numbers {
    struct lock lock; /* RANK_FUSE: giving and taking back; looking up takes none */
    _Atomic(struct slots *) chunk[CHUNKS];
    uint32_t free, used; /* free: index + 1 of the first free one, 0: none; used: slots ever given */
    uint32_t nonce;
};

struct numbers *numbers_new(uint32_t nonce)
{
    struct numbers *t = MEM_NEW(struct numbers);
    lock_init(&t->lock, RANK_FUSE);
    t->nonce = nonce;
    return t;
}

struct numbers *numbers_free(struct numbers *t, void (*fn)(void *p))
{
    if (!t)
        return NULL;
    for (size_t i = 0; i < CHUNKS; i++) {
        struct slots *s = atomic_load(&t->chunk[i]);
        for (size_t j = 0; s && j < SLOTS; j++)
            if (atomic_load(&s->slot[j]))
                fn(atomic_load(&s->slot[j]));
        free(s);
    }
    lock_done(&t->lock);
    free(t);
    return NULL;
}

void *numbers_find(struct numbers *t, bool (*fn)(void *arg, void *p), void *arg)
{
    LOCKED(&t->lock); /* nothing is taken back meanwhile */
    for (uint32_t i = 0; i < t->used; i++) {
        void *p = atomic_load(&atomic_load(&t->chunk[i / SLOTS])->slot[i % SLOTS]);
        if (p && fn(arg, p))
            return p;
    }
    return NULL;
}

int numbers_put(struct numbers *t, void *p, bool writer, uint64_t *ret)
{
    LOCKED(&t->lock);
    uint32_t i = t->free ? t->free - 1 : t->used;
    if (i == (uint32_t)SLOTS * CHUNKS)
        return err_set(ERR_LIMIT, "%u files are open through the mount", i);
    struct slots *s = atomic_load(&t->chunk[i / SLOTS]);
    if (!s) {
        s = MEM_NEW(struct slots);
        atomic_store(&t->chunk[i / SLOTS], s);
    }
    if (t->free)
        t->free = s->next_free[i % SLOTS];
    else
        t->used++;
    atomic_store(&s->slot[i % SLOTS], p);
    *ret = (uint64_t)t->nonce << 32 | (writer ? (uint32_t)NUMBER_WRITER : 0) | i;
    return 0;
}

static uint32_t index_of(uint64_t number)
{
    return (uint32_t)number & ~(uint32_t)NUMBER_WRITER;
}

bool numbers_ours(const struct numbers *t, uint64_t number)
{
    return number >> 32 == t->nonce;
}

void *numbers_get(struct numbers *t, uint64_t number)
{
    uint32_t i = index_of(number);
    if (!numbers_ours(t, number) || i >= (uint32_t)SLOTS * CHUNKS)
        return NULL;
    struct slots *s = atomic_load(&t->chunk[i / SLOTS]);
    return s ? atomic_load(&s->slot[i % SLOTS]) : NULL;
}

void *numbers_take(struct numbers *t, uint64_t number)
{
    LOCKED(&t->lock);
    void *p = numbers_get(t, number);
    if (!p)
        return NULL;
    uint32_t i = index_of(number);
    struct slots *s = atomic_load(&t->chunk[i / SLOTS]);
    atomic_store(&s->slot[i % SLOTS], NULL);
    s->next_free[i % SLOTS] = t->free;
    t->free = i + 1;
    return p;
}
