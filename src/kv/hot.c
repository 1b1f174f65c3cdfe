/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows read or written lately: see hot.h. A set has a place for each of 4 rows and remembers the newest version that
 * wrote any of its keys, kept or not: a value read at an older snapshot is not taken in after that.
 *
 * Which row gives way: one that was not asked for since the hand passed it. Rows come in unasked-for, so that a stream
 * of new objects does not push out the directories they lie in.
 */
#include "kv/hot.h"
#include "base/lock.h"
#include "base/mem.h"

enum { WAYS = 4, LOCKS = 256 };

struct way {
    uint64_t hash; /* 0: empty */
    uint64_t since, wrote;
    uint16_t key_n, value_n;
    bool absent, asked;
    char bytes[HOT_ROW_MAX];
};

struct set {
    uint64_t written; /* newest version of any commit that wrote a key of this set */
    uint32_t hand;
    struct way way[WAYS];
};

struct hot {
    struct set *set;
    size_t sets; /* a power of two */
    struct lock lock[LOCKS];
};

struct hot *hot_new(size_t bytes)
{
    struct hot *h = MEM_NEW(struct hot);

    h->sets = 16;
    while (h->sets * 2 * sizeof *h->set <= bytes)
        h->sets *= 2;
    h->set = mem_zero(h->sets, sizeof *h->set);
    for (size_t i = 0; i < LOCKS; i++)
        lock_init(&h->lock[i], RANK_KV + 3);
    return h;
}

struct hot *hot_free(struct hot *h)
{
    if (!h)
        return NULL;
    for (size_t i = 0; i < LOCKS; i++)
        lock_done(&h->lock[i]);
    free(h->set);
    free(h);
    return NULL;
}

void hot_forget_all(struct hot *h)
{
    for (size_t i = 0; i < h->sets; i++)
        for (size_t w = 0; w < WAYS; w++)
            h->set[i].way[w].hash = 0;
}

uint32_t hot_place(const struct hot *h, uint64_t hash)
{
    return (uint32_t)(hash & (h->sets - 1));
}

static struct lock *lock_of(struct hot *h, uint32_t place)
{
    return &h->lock[place % LOCKS];
}

/* The hash is as good as the key but for one in 2^64; the key decides. */
static struct way *find(struct set *s, struct str key, uint64_t hash)
{
    for (size_t w = 0; w < WAYS; w++) {
        struct way *x = &s->way[w];
        if (x->hash == hash && x->key_n == key.n && memcmp(x->bytes, key.p, key.n) == 0)
            return x;
    }
    return NULL;
}

static struct way *make_room(struct set *s)
{
    for (size_t w = 0; w < WAYS; w++)
        if (!s->way[w].hash)
            return &s->way[w];
    for (;;) {
        struct way *x = &s->way[s->hand++ % WAYS];
        if (!x->asked)
            return x;
        x->asked = false;
    }
}

static void fill(struct way *x, struct str key, uint64_t hash, uint64_t since, struct str value, uint64_t wrote)
{
    x->hash = hash;
    x->since = since;
    x->wrote = wrote;
    x->key_n = (uint16_t)key.n;
    x->value_n = (uint16_t)value.n;
    x->absent = !value.p;
    memcpy(x->bytes, key.p, key.n);
    if (value.n)
        memcpy(x->bytes + key.n, value.p, value.n);
}

static bool fits(struct str key, struct str value)
{
    return key.n && key.n + value.n <= HOT_ROW_MAX;
}

bool hot_get(struct hot *h, struct str key, uint64_t hash, uint64_t at, struct kv_arena *a, struct str *ret,
             uint64_t *ret_wrote)
{
    uint32_t place = hot_place(h, hash);

    LOCKED(lock_of(h, place));
    struct way *x = find(&h->set[place], key, hash);
    if (!x || x->since > at)
        return false;
    x->asked = true;
    *ret = x->absent ? (struct str){NULL, 0} : kv_arena_copy(a, str_mk(x->bytes + x->key_n, x->value_n));
    *ret_wrote = x->wrote;
    return true;
}

void hot_keep(struct hot *h, struct str key, uint64_t hash, uint64_t at, struct str value, uint64_t wrote)
{
    uint32_t place = hot_place(h, hash);
    struct set *s = &h->set[place];

    if (!fits(key, value))
        return;
    LOCKED(lock_of(h, place));
    if (s->written > at)
        return;
    struct way *x = find(s, key, hash);
    if (x && x->since <= at)
        return; /* another reader was first */
    x = x ? x : make_room(s);
    fill(x, key, hash, at, value, wrote);
    x->asked = false;
}

static void change(struct hot *h, struct str key, struct str value, uint64_t version, bool known)
{
    uint64_t hash = hot_hash(key);
    uint32_t place = hot_place(h, hash);
    struct set *s = &h->set[place];

    LOCKED(lock_of(h, place));
    if (s->written < version)
        s->written = version;
    struct way *x = find(s, key, hash);
    if (!known || !fits(key, value)) {
        if (x)
            x->hash = 0;
        return;
    }
    if (!x) {
        x = make_room(s);
        x->asked = false;
    }
    fill(x, key, hash, version, value, version);
}

void hot_write(struct hot *h, struct str key, struct str value, uint64_t version)
{
    change(h, key, value, version, true);
}

void hot_forget(struct hot *h, struct str key, uint64_t version)
{
    change(h, key, (struct str){NULL, 0}, version, false);
}

bool hot_unchanged(struct hot *h, uint32_t place, uint64_t at)
{
    LOCKED(lock_of(h, place));
    return h->set[place].written <= at;
}
