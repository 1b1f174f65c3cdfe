/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the RocksDB engine that were read or written lately, by key, so that the same few rows (the directories of a
 * path, the inode just written) are not searched for in memtables and files at every request. Absence is kept, too.
 *
 * A version here is the engine's. A row is kept with the version `since` which it is known to hold from, and holds
 * until now: a commit tells hot_write() of each key before it becomes visible, and that takes the old value's place. So
 * a reader whose snapshot is not older than `since` may take it for what its snapshot shows.
 *
 * A reader may do so before it has a snapshot at all, with the version `at` that was committed when it began: as long
 * as it reads only here, everything it saw held at that version. When it then needs a snapshot, that one may show more
 * than `at`; hot_unchanged() says for each place read here whether it still is the same: if not, the reader starts
 * over.
 *
 * Bounded: 4 ways a set, rows that do not fit into a way are not kept. Threads: all calls from any thread; locks: some
 * of RANK_KV + 3, never across anything.
 */
#pragma once
#include "kv/kv_engine.h"

struct hot;

enum { HOT_ROW_MAX = 216 }; /* key and value */

struct hot *hot_new(size_t bytes); /* about that much memory */
struct hot *hot_free(struct hot *h);
void hot_forget_all(struct hot *h); /* nobody reads or writes meanwhile */

static inline uint64_t hot_hash(struct str key)
{
    uint64_t hash = str_hash(key);
    return hash ? hash : 1; /* 0 marks an empty way */
}
/* The place of a key, for hot_unchanged(). */
uint32_t hot_place(const struct hot *h, uint64_t hash);
/* What key holds at version `at`: true, *ret with the value in the arena (p NULL: absent) and the version that wrote
 * it, 0 when that is not known (it was durable when it was read). */
bool hot_get(struct hot *h, struct str key, uint64_t hash, uint64_t at, struct kv_arena *a, struct str *ret,
             uint64_t *ret_wrote);
/* A snapshot not older than `at` showed this value (p NULL: absent); wrote as above. */
void hot_keep(struct hot *h, struct str key, uint64_t hash, uint64_t at, struct str value, uint64_t wrote);
/* A commit is about to write the key as this version, value p NULL: to delete it. */
void hot_write(struct hot *h, struct str key, struct str value, uint64_t version);
/* As hot_write, but the value is not known, or the commit has failed. */
void hot_forget(struct hot *h, struct str key, uint64_t version);
/* Was nothing written to this place after version `at`? */
bool hot_unchanged(struct hot *h, uint32_t place, uint64_t at);
