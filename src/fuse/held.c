/* SPDX-License-Identifier: Apache-2.0
 *
 * What a keeper knows of the locks of its mount (contract in held.h).
 */
#include "fuse/held.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include <string.h>
#include <sys/random.h>

struct asked {
    uint32_t opcode;
    struct lock_claim claim;
};

struct held {
    struct lock lock; /* RANK_FUSE + 1: below it nothing; taken under remote_keep.c's */
    uint64_t id;
    struct lock_holder holder;
    struct lock_table *table;
    struct map *asked; /* unique -> struct asked */
};

struct held *held_new(void)
{
    struct held *t = MEM_NEW(struct held);
    lock_init(&t->lock, RANK_FUSE + 1);
    t->table = lock_table_new();
    t->asked = map_new();
    while (!t->id)
        CHECK(getrandom(&t->id, sizeof t->id, 0) == sizeof t->id);
    return t;
}

static int free_asked(void *arg, struct str key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
    return 0;
}

void held_forget_asked(struct held *t)
{
    LOCKED(&t->lock);
    map_each(t->asked, free_asked, NULL);
    map_free(t->asked);
    t->asked = map_new();
}

struct held *held_free(struct held *t)
{
    if (!t)
        return NULL;
    held_forget_asked(t);
    map_free(t->asked);
    lock_table_drop(t->table, &t->holder);
    lock_table_free(t->table);
    lock_done(&t->lock);
    free(t);
    return NULL;
}

static bool claim_of(const struct fuse_in_header *in, const void *arg, size_t n, struct lock_claim *ret)
{
    *ret = (struct lock_claim){.ino = in->nodeid};
    if ((in->opcode == FUSE_SETLK || in->opcode == FUSE_SETLKW) && n >= sizeof(struct fuse_lk_in)) {
        const struct fuse_lk_in *l = arg;
        ret->owner = l->owner;
        ret->fh = l->fh;
        ret->start = l->lk.start;
        ret->end = l->lk.end;
        ret->type = (int)l->lk.type;
        ret->kind = l->lk_flags & FUSE_LK_FLOCK ? LOCK_FLOCK : LOCK_RECORD;
        ret->pid = l->lk.pid;
        return true;
    }
    if (in->opcode == FUSE_FLUSH && n >= sizeof(struct fuse_flush_in))
        ret->owner = ((const struct fuse_flush_in *)arg)->lock_owner;
    else if (in->opcode == FUSE_RELEASE && n >= sizeof(struct fuse_release_in))
        ret->fh = ((const struct fuse_release_in *)arg)->fh;
    else
        return false;
    return true;
}

void held_asked(struct held *t, const struct fuse_in_header *in, const void *arg, size_t n)
{
    struct lock_claim c;
    if (!claim_of(in, arg, n, &c))
        return;
    struct asked *a = MEM_NEW(struct asked);
    *a = (struct asked){.opcode = in->opcode, .claim = c};
    a->claim.holder = &t->holder;
    LOCKED(&t->lock);
    free(map_put(t->asked, map_key64(&in->unique), a));
}

/* Descriptors are closed, and a flock of another type given up, whatever the answer is. */
static void apply(struct held *t, const struct asked *a, int error)
{
    const struct lock_claim *c = &a->claim;
    if (a->opcode == FUSE_FLUSH)
        lock_table_closed(t->table, &t->holder, c->ino, c->owner);
    else if (a->opcode == FUSE_RELEASE)
        lock_table_released(t->table, &t->holder, c->ino, c->fh);
    else if (error == 0)
        lock_table_set(t->table, c);
    else if (c->kind == LOCK_FLOCK)
        lock_table_give_up_flock(t->table, c);
}

void held_answered(struct held *t, uint64_t unique, int error)
{
    LOCKED(&t->lock);
    struct asked *a = map_del(t->asked, map_key64(&unique));
    if (a)
        apply(t, a, error);
    free(a);
}

uint64_t held_id(const struct held *t)
{
    return t->id;
}

struct lock_record *held_records(struct held *t, uint32_t *ret_n)
{
    LOCKED(&t->lock);
    return lock_table_records(t->table, &t->holder, ret_n);
}
