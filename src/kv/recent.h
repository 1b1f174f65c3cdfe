/* SPDX-License-Identifier: Apache-2.0
 *
 * What was written recently, for embedded engines whose store cannot tell: who conflicts, and which rows are not
 * durable.
 *
 * A log of the write sets of recent commits, and a table from the hash of a key to the last version that wrote it. A
 * commit stays in the log until it is durable and no registered snapshot is older; so the log is complete for every
 * question that can be asked. When it grows over its bound the oldest go anyway and the floor rises to their version:
 * transactions with an older snapshot conflict, and until the floor is durable every row counts as written at the
 * floor. Two keys with one 64-bit hash count as one: a needless conflict or wait, never a missed one.
 *
 * Threads: has its own lock (RANK_KV + 2). The asker numbers the commits, one at a time, in rising order.
 */
#pragma once
#include "kv/kv_engine.h"
#include <stdatomic.h>

struct recent;

struct recent_snap {
    struct recent_snap *prev, *next;
    uint64_t version;
};

struct recent *recent_new(uint64_t version); /* nothing before version matters */
void recent_free(struct recent *r);
/* Forget everything; all up to version is durable. Snapshots that are registered stay so and conflict at their commit.
 */
void recent_reset(struct recent *r, uint64_t version);

/* Every commit up to snap->version is in a snapshot that the caller takes after this call. */
void recent_register(struct recent *r, struct recent_snap *snap);
void recent_unregister(struct recent *r, struct recent_snap *snap);
void recent_renew(struct recent *r, struct recent_snap *snap); /* as if registered only now */
uint64_t recent_version(struct recent *r); /* for a snapshot that is not registered: as recent_register */
uint64_t recent_durable(struct recent *r); /* all commits up to there are */

/* Did anything that c has read change after the snapshot? Else note its writes under version, which becomes visible
 * after this call only. False: conflict, nothing noted. */
bool recent_admit(struct recent *r, const struct recent_snap *snap, const struct kv_commit *c, uint64_t version);
/* The commit of version is in the store (or will never be): new snapshots have it. */
void recent_committed(struct recent *r, uint64_t version);
void recent_synced(struct recent *r, uint64_t upto);

/* For a snapshot taken before the call: the version that must be synced for key, or for all keys, to be durable as
 * read; 0: is so already. One atomic load when nothing is unsynced. */
uint64_t recent_unsynced(struct recent *r, struct str key);
uint64_t recent_unsynced_any(struct recent *r);
