/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash map from byte strings to pointers; open addressing, keys copied. Not thread-safe: callers lock.
 */
#pragma once
#include "base/str.h"

struct map;
struct map *map_new(void);
void *map_free(struct map *m);                             /* values are the caller's; NULL is fine; returns NULL */
void *map_get(const struct map *m, struct str key);        /* NULL when absent */
void *map_put(struct map *m, struct str key, void *value); /* value not NULL; returns the value replaced, or NULL */
void *map_del(struct map *m, struct str key);              /* the value removed, or NULL */
size_t map_count(const struct map *m);
/* Visit all in no order; fn must not change the map; stops when fn returns non-zero and returns that. */
int map_each(const struct map *m, int (*fn)(void *arg, struct str key, void *value), void *arg);

/* For 64-bit keys. */
static inline struct str map_key64(const uint64_t *k)
{
    return (struct str){(const char *)k, sizeof *k};
}
