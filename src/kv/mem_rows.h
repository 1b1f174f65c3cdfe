/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of the mem engine: a skip list of keys, each with a chain of versions, newest first. No locks: mem.c has
 * one.
 *
 * A cell stays as long as somebody may see it: it is the newest; or a snapshot between oldest and newest may need it;
 * or it is what a power cut would leave (the newest one synced). A key whose newest cell is a deletion is removed once
 * that is synced and older than every snapshot.
 */
#pragma once
#include "base/str.h"

struct mem_cell {
    struct mem_cell *older;
    uint64_t version;
    bool dead; /* a deletion */
    size_t n;
    char bytes[];
};

struct mem_node {
    struct mem_cell *cell; /* newest; never NULL in a list */
    struct mem_node *prev; /* the head of the list for the first */
    struct str key;
    unsigned height;
    struct mem_node *next[];
};

/* What may still be asked for. No snapshot: oldest = newest = the version of the store. */
struct mem_horizon {
    uint64_t oldest, newest, synced;
};

struct mem_rows;
struct mem_rows *mem_rows_new(void);
void mem_rows_free(struct mem_rows *m);

struct mem_node *mem_rows_first(struct mem_rows *m);
struct mem_node *mem_rows_at(struct mem_rows *m, struct str key);     /* first at or after key; NULL: none */
struct mem_node *mem_rows_before(struct mem_rows *m, struct str key); /* last before key; NULL: none */
struct mem_node *mem_rows_find(struct mem_rows *m, struct str key);
static inline struct mem_node *mem_next(struct mem_node *n)
{
    return n->next[0];
}
struct mem_node *mem_prev(struct mem_rows *m, struct mem_node *n);

/* The newest cell not above version; NULL: there was none. */
const struct mem_cell *mem_cell_at(const struct mem_node *n, uint64_t version);

/* A new newest cell; value.p NULL: deletion. Cells out of the horizon go. */
void mem_rows_put(struct mem_rows *m, struct str key, struct str value, uint64_t version, const struct mem_horizon *h);
/* Remove deleted keys that nobody can see any more. */
void mem_rows_collect(struct mem_rows *m, const struct mem_horizon *h);
/* Back to what was at version: later cells go. No snapshot may be in use. */
void mem_rows_cut(struct mem_rows *m, uint64_t version);
size_t mem_rows_bytes(const struct mem_rows *m);
