/* SPDX-License-Identifier: Apache-2.0
 * Linear probing; a removal shifts back what follows, so there are no tombstones. At most 3/4 full. */
#include "base/map.h"
#include "base/mem.h"

struct slot {
    uint64_t hash;
    char *key; /* owned */
    size_t key_n;
    void *value; /* NULL: the slot is free */
};

struct map {
    struct slot *slots;
    size_t cap; /* a power of two */
    size_t n;
};

enum { CAP_MIN = 16 };

struct map *map_new(void)
{
    struct map *m = MEM_NEW(struct map);
    m->cap = CAP_MIN;
    m->slots = mem_zero(m->cap, sizeof *m->slots);
    return m;
}

void *map_free(struct map *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    free(m);
    return NULL;
}

/* The slot of key, or the free slot where it belongs. */
static struct slot *find(const struct map *m, struct str key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct slot *s = &m->slots[i];
        if (!s->value || (s->hash == hash && str_eq(str_mk(s->key, s->key_n), key)))
            return s;
    }
}

static void grow(struct map *m)
{
    struct map bigger = {.cap = m->cap * 2, .n = m->n};
    bigger.slots = mem_zero(bigger.cap, sizeof *bigger.slots);
    for (size_t i = 0; i < m->cap; i++) {
        struct slot *s = &m->slots[i];
        if (s->value)
            *find(&bigger, str_mk(s->key, s->key_n), s->hash) = *s;
    }
    free(m->slots);
    *m = bigger;
}

void *map_get(const struct map *m, struct str key)
{
    return find(m, key, str_hash(key))->value;
}

void *map_put(struct map *m, struct str key, void *value)
{
    CHECK(value);
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    uint64_t hash = str_hash(key);
    struct slot *s = find(m, key, hash);
    void *old = s->value;
    if (!old) {
        *s = (struct slot){.hash = hash, .key = str_dup(key), .key_n = key.n};
        m->n++;
    }
    s->value = value;
    return old;
}

/* Close the gap at i: move back each follower that is not at home behind it. */
static void close_gap(struct map *m, size_t i)
{
    size_t mask = m->cap - 1;
    for (size_t j = (i + 1) & mask; m->slots[j].value; j = (j + 1) & mask) {
        size_t home = m->slots[j].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            m->slots[i] = m->slots[j];
            i = j;
        }
    }
    m->slots[i] = (struct slot){0};
}

void *map_del(struct map *m, struct str key)
{
    struct slot *s = find(m, key, str_hash(key));
    void *old = s->value;
    if (!old)
        return NULL;
    free(s->key);
    m->n--;
    close_gap(m, (size_t)(s - m->slots));
    return old;
}

size_t map_count(const struct map *m)
{
    return m->n;
}

int map_each(const struct map *m, int (*fn)(void *arg, struct str key, void *value), void *arg)
{
    for (size_t i = 0; i < m->cap; i++) {
        const struct slot *s = &m->slots[i];
        int r = s->value ? fn(arg, str_mk(s->key, s->key_n), s->value) : 0;
        if (r)
            return r;
    }
    return 0;
}
