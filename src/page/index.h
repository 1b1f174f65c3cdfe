/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: (blob, page number) -> where the page is and in which state. In memory only; rebuilt at start.
 *
 * Memory: 36 bytes an entry in chunks of 256, and 2 to 4 bytes of hash buckets: at most 40 bytes a page. A bulk slot
 * (pages above 64 KiB) costs 16 bytes more in its segment.
 *
 * All pages of a blob are in one shard, so that a walk can group them by blob with the memory of one shard.
 * Threads: everything under the shard's lock; entries do not move, but a pointer is good only while the lock is held.
 *
 * States of an entry (enum page_state) and who moves it:
 *     WPINNED, WCLEAN  being written: invisible to readers, not evictable      writer: insert
 *     PINNED           the only copy                                           seal, pin, walk
 *     CLEAN            the UFS has it; the only state that is ever evicted     seal, fill, unpin, walk
 *     UNKNOWN          found at start                                          recover
 */
#pragma once
#include "base/lock.h"
#include <stdbool.h>
#include <stddef.h>

enum page_state { ST_UNKNOWN, ST_CLEAN, ST_PINNED, ST_WCLEAN, ST_WPINNED, ST_COUNT };

enum { IDX_SHARDS = 256, IDX_CHUNK = 256, IDX_SEG_BITS = 18, IDX_POS_BITS = 16 };

struct entry {
    uint64_t blob, content;
    uint32_t index, birth_s;
    uint32_t next; /* in the bucket or the free list; number + 1 */
    uint32_t loc;  /* low bits of segment number << 16 | payload block */
    uint32_t bits; /* len 23, state 3, ref 1, verified 1, high bits of the location 2 */
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct entry) == 36, "bytes a page");

struct shard {
    struct lock lock;
    struct entry **chunks;
    uint32_t *buckets;
    uint32_t chunk_count, bucket_count, count, used, free; /* used: entries ever handed out of chunks */
};

#define ENT_LEN 0x007fffffu
#define ENT_STATE_SHIFT 23
#define ENT_REF (1u << 26)
#define ENT_VERIFIED (1u << 27)
#define ENT_HI_SHIFT 28

static inline uint32_t ent_len(const struct entry *e)
{
    return e->bits & ENT_LEN;
}
static inline enum page_state ent_state(const struct entry *e)
{
    return (enum page_state)(e->bits >> ENT_STATE_SHIFT & 7);
}
static inline void ent_set_state(struct entry *e, enum page_state st)
{
    e->bits = (e->bits & ~(7u << ENT_STATE_SHIFT)) | (uint32_t)st << ENT_STATE_SHIFT;
}
static inline bool ent_writing(const struct entry *e)
{
    return ent_state(e) >= ST_WCLEAN;
}
static inline uint64_t ent_loc(const struct entry *e)
{
    return (uint64_t)(e->bits >> ENT_HI_SHIFT & 3) << 32 | e->loc;
}
static inline uint32_t loc_seg(uint64_t loc)
{
    return (uint32_t)(loc >> IDX_POS_BITS);
}
static inline uint32_t loc_pos(uint64_t loc)
{
    return (uint32_t)(loc & ((1u << IDX_POS_BITS) - 1));
}
static inline uint64_t loc_make(uint32_t seg, uint32_t pos)
{
    return (uint64_t)seg << IDX_POS_BITS | pos;
}
static inline void ent_set_loc(struct entry *e, uint64_t loc)
{
    e->loc = (uint32_t)loc;
    e->bits = (e->bits & ~(3u << ENT_HI_SHIFT)) | (uint32_t)(loc >> 32 & 3) << ENT_HI_SHIFT;
}

void page_idx_init(struct shard *sh);
void page_idx_done(struct shard *sh);
struct entry *page_idx_find(struct shard *sh, uint64_t blob, uint32_t index);
/* A new entry with blob and index set and all else zero; the caller has looked: no such entry is there. */
struct entry *page_idx_add(struct shard *sh, uint64_t blob, uint32_t index);
void page_idx_del(struct shard *sh, struct entry *e);
/* Entry number i (0 .. used-1), NULL when it is free. */
struct entry *page_idx_at(struct shard *sh, uint32_t i);
size_t page_idx_memory(const struct shard *sh);
uint32_t page_idx_shard(uint64_t blob);
