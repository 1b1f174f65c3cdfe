/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of the mem engine; see mem_rows.h. Heights of the skip list come from a generator with a fixed start, so
 * that the same calls build the same list.
 */
#include "base/mem.h"
#include "kv/mem_rows.h"

enum { LEVELS = 16 };

struct grave {
    struct mem_node *node;
    uint64_t version;
};

struct mem_rows {
    struct mem_node *head; /* LEVELS high, no key */
    uint64_t random;
    size_t bytes;
    struct grave *grave; /* deletions in version order: a ring */
    size_t graves, grave_at, grave_cap;
};

static struct mem_node *node_new(struct str key, unsigned height)
{
    struct mem_node *n = mem_zero(1, sizeof *n + height * sizeof(void *) + key.n);
    char *k;

    k = (char *)(n->next + height);
    if (key.n)
        memcpy(k, key.p, key.n);
    n->key = str_mk(k, key.n);
    n->height = height;
    return n;
}

struct mem_rows *mem_rows_new(void)
{
    struct mem_rows *m = MEM_NEW(struct mem_rows);

    m->head = node_new((struct str){"", 0}, LEVELS);
    m->random = 1;
    return m;
}

static void drop_cells(struct mem_rows *m, struct mem_cell *c)
{
    while (c) {
        struct mem_cell *older = c->older;

        m->bytes -= sizeof *c + c->n;
        free(c);
        c = older;
    }
}

void mem_rows_free(struct mem_rows *m)
{
    struct mem_node *n = m->head;

    while (n) {
        struct mem_node *next = n->next[0];

        drop_cells(m, n->cell);
        free(n);
        n = next;
    }
    free(m->grave);
    free(m);
}

/* ---- finding ---- */

/* The last node before key; path (may be NULL) gets it for each level. */
static struct mem_node *seek(struct mem_rows *m, struct str key, struct mem_node **path)
{
    struct mem_node *n = m->head;

    for (int l = LEVELS - 1; l >= 0; l--) {
        while (n->next[l] && str_cmp(n->next[l]->key, key) < 0)
            n = n->next[l];
        if (path)
            path[l] = n;
    }
    return n;
}

struct mem_node *mem_rows_first(struct mem_rows *m)
{
    return m->head->next[0];
}

struct mem_node *mem_rows_at(struct mem_rows *m, struct str key)
{
    return seek(m, key, NULL)->next[0];
}

struct mem_node *mem_rows_before(struct mem_rows *m, struct str key)
{
    struct mem_node *n = seek(m, key, NULL);

    return n == m->head ? NULL : n;
}

struct mem_node *mem_prev(struct mem_rows *m, struct mem_node *n)
{
    return n->prev == m->head ? NULL : n->prev;
}

struct mem_node *mem_rows_find(struct mem_rows *m, struct str key)
{
    struct mem_node *n = mem_rows_at(m, key);

    return n && str_eq(n->key, key) ? n : NULL;
}

const struct mem_cell *mem_cell_at(const struct mem_node *n, uint64_t version)
{
    const struct mem_cell *c = n->cell;

    while (c && c->version > version)
        c = c->older;
    return c;
}

/* ---- changing ---- */

static unsigned random_height(struct mem_rows *m)
{
    uint64_t x = m->random += 0x9e3779b97f4a7c15u;
    unsigned h = 1;

    x ^= x >> 31;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    for (; h < LEVELS && (x & 3) == 0; x >>= 2)
        h++;
    return h;
}

static struct mem_node *insert(struct mem_rows *m, struct str key)
{
    struct mem_node *path[LEVELS], *n;

    seek(m, key, path);
    n = path[0]->next[0];
    if (n && str_eq(n->key, key))
        return n;
    n = node_new(key, random_height(m));
    for (unsigned l = 0; l < n->height; l++) {
        n->next[l] = path[l]->next[l];
        path[l]->next[l] = n;
    }
    n->prev = path[0];
    if (n->next[0])
        n->next[0]->prev = n;
    return n;
}

static void unlink_node(struct mem_rows *m, struct mem_node *n)
{
    struct mem_node *path[LEVELS];

    seek(m, n->key, path);
    for (unsigned l = 0; l < n->height; l++)
        path[l]->next[l] = n->next[l];
    if (n->next[0])
        n->next[0]->prev = n->prev;
    drop_cells(m, n->cell);
    free(n);
}

static void bury(struct mem_rows *m, struct mem_node *n, uint64_t version)
{
    if (m->graves == m->grave_cap) {
        size_t cap = m->grave_cap ? m->grave_cap * 2 : 64;
        struct grave *g = mem_zero(cap, sizeof *g);

        for (size_t i = 0; i < m->graves; i++)
            g[i] = m->grave[(m->grave_at + i) % m->grave_cap];
        free(m->grave);
        m->grave = g;
        m->grave_at = 0;
        m->grave_cap = cap;
    }
    m->grave[(m->grave_at + m->graves++) % m->grave_cap] = (struct grave){n, version};
}

void mem_rows_collect(struct mem_rows *m, const struct mem_horizon *h)
{
    uint64_t limit = h->oldest < h->synced ? h->oldest : h->synced;

    while (m->graves && m->grave[m->grave_at].version <= limit) {
        struct grave g = m->grave[m->grave_at];

        m->grave_at = (m->grave_at + 1) % m->grave_cap;
        m->graves--;
        if (g.node->cell->version == g.version)
            unlink_node(m, g.node);
    }
}

/* Drop the cells below the newest that nobody may ask for. */
static void trim(struct mem_rows *m, struct mem_node *n, const struct mem_horizon *h)
{
    struct mem_cell *newer = n->cell, *c;
    bool synced = newer->version <= h->synced;

    while ((c = newer->older)) {
        bool seen = h->newest >= c->version && h->oldest < newer->version;

        if (seen || (!synced && c->version <= h->synced)) {
            synced |= c->version <= h->synced;
            newer = c;
            continue;
        }
        newer->older = c->older;
        c->older = NULL;
        drop_cells(m, c);
    }
}

void mem_rows_put(struct mem_rows *m, struct str key, struct str value, uint64_t version, const struct mem_horizon *h)
{
    struct mem_node *n = insert(m, key);
    struct mem_cell *c = mem_alloc(sizeof *c + value.n);

    *c = (struct mem_cell){.older = n->cell, .version = version, .dead = !value.p, .n = value.n};
    if (value.p && value.n)
        memcpy(c->bytes, value.p, value.n);
    m->bytes += sizeof *c + c->n;
    n->cell = c;
    trim(m, n, h);
    if (c->dead)
        bury(m, n, version);
}

void mem_rows_cut(struct mem_rows *m, uint64_t version)
{
    m->graves = 0;
    for (struct mem_node *n = m->head->next[0], *next; n; n = next) {
        next = n->next[0];
        while (n->cell && n->cell->version > version) {
            struct mem_cell *c = n->cell;

            n->cell = c->older;
            c->older = NULL;
            drop_cells(m, c);
        }
        if (!n->cell || n->cell->dead)
            unlink_node(m, n);
    }
}

size_t mem_rows_bytes(const struct mem_rows *m)
{
    return m->bytes;
}
