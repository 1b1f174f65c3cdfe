/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kernel has open (contract in opened.h). An open is counted when its answer passes, a release too: what is
 * asked again after a lost connection counts once.
 */
#include "fuse/opened.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"

struct asked {
    uint32_t opcode;
    uint64_t node;
};

struct opened {
    struct lock lock;  /* RANK_FUSE + 1: below it nothing */
    struct map *asked; /* unique -> struct asked */
    struct map *count; /* node -> how often it is open */
};

struct opened *opened_new(void)
{
    struct opened *t = MEM_NEW(struct opened);
    lock_init(&t->lock, RANK_FUSE + 1);
    t->asked = map_new();
    t->count = map_new();
    return t;
}

static int free_asked(void *arg, struct str key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
    return 0;
}

void opened_forget_asked(struct opened *t)
{
    LOCKED(&t->lock);
    map_each(t->asked, free_asked, NULL);
    map_free(t->asked);
    t->asked = map_new();
}

struct opened *opened_free(struct opened *t)
{
    if (!t)
        return NULL;
    opened_forget_asked(t);
    map_free(t->asked);
    map_free(t->count);
    lock_done(&t->lock);
    free(t);
    return NULL;
}

void opened_asked(struct opened *t, const struct fuse_in_header *in)
{
    if (in->opcode != FUSE_OPEN && in->opcode != FUSE_CREATE && in->opcode != FUSE_TMPFILE &&
        in->opcode != FUSE_RELEASE)
        return;
    struct asked *a = MEM_NEW(struct asked);
    *a = (struct asked){in->opcode, in->nodeid};
    LOCKED(&t->lock);
    free(map_put(t->asked, map_key64(&in->unique), a));
}

static void count_one(struct opened *t, uint64_t node, bool more)
{
    uintptr_t n = (uintptr_t)map_get(t->count, map_key64(&node));
    if (!more && !n) /* opened before the keeper looked */
        return;
    n = more ? n + 1 : n - 1;
    if (n)
        map_put(t->count, map_key64(&node), (void *)n);
    else
        map_del(t->count, map_key64(&node));
}

void opened_answered(struct opened *t, const struct fuse_out_header *out, const void *body, size_t n)
{
    LOCKED(&t->lock);
    struct asked *a AUTO_FREE = map_del(t->asked, map_key64(&out->unique));
    const struct fuse_entry_out *made = body;
    if (!a || out->error)
        return;
    if (a->opcode == FUSE_OPEN || a->opcode == FUSE_RELEASE)
        count_one(t, a->node, a->opcode == FUSE_OPEN);
    else if (n >= sizeof *made)
        count_one(t, made->nodeid, true);
}

struct nodes {
    uint64_t *v;
    size_t n;
};

static int add_node(void *arg, struct str key, void *value)
{
    struct nodes *l = arg;
    (void)value;
    memcpy(&l->v[l->n++], key.p, sizeof *l->v);
    return 0;
}

uint64_t *opened_nodes(struct opened *t, size_t *ret_n)
{
    LOCKED(&t->lock);
    struct nodes l = {mem_zero(map_count(t->count) + 1, sizeof *l.v), 0};
    map_each(t->count, add_node, &l);
    *ret_n = l.n;
    return l.v;
}
