/* SPDX-License-Identifier: Apache-2.0
 *
 * Chained hash over entries in fixed chunks: growing never moves an entry, only the buckets are made anew. Buckets
 * double when there are two entries to each, so a page costs 2 to 4 bytes of them.
 * A free entry has index and blob all ones and links to the next free one.
 */
#include "page/index.h"
#include "base/err.h"
#include <string.h>

enum { BUCKETS_MIN = 16 };

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

uint32_t page_idx_shard(uint64_t blob)
{
    return (uint32_t)(mix(blob) >> 56) % IDX_SHARDS;
}

static uint32_t bucket_of(const struct shard *sh, uint64_t blob, uint32_t index)
{
    return (uint32_t)mix(blob + (uint64_t)index * 0x9e3779b97f4a7c15u) & (sh->bucket_count - 1);
}

static struct entry *nth(struct shard *sh, uint32_t ref)
{
    return &sh->chunks[(ref - 1) / IDX_CHUNK][(ref - 1) % IDX_CHUNK];
}

static bool is_free(const struct entry *e)
{
    return e->blob == UINT64_MAX && e->index == UINT32_MAX;
}

static void *must(void *p)
{
    CHECK(p, "out of memory for the page index");
    return p;
}

void page_idx_init(struct shard *sh)
{
    memset(sh, 0, sizeof *sh);
    lock_init(&sh->lock, RANK_PAGE + 4);
    sh->bucket_count = BUCKETS_MIN;
    sh->buckets = must(calloc(BUCKETS_MIN, sizeof *sh->buckets));
}

void page_idx_done(struct shard *sh)
{
    for (uint32_t i = 0; i < sh->chunk_count; i++)
        free(sh->chunks[i]);
    free(sh->chunks);
    free(sh->buckets);
    lock_done(&sh->lock);
}

struct entry *page_idx_find(struct shard *sh, uint64_t blob, uint32_t index)
{
    for (uint32_t r = sh->buckets[bucket_of(sh, blob, index)]; r;) {
        struct entry *e = nth(sh, r);
        if (e->blob == blob && e->index == index)
            return e;
        r = e->next;
    }
    return NULL;
}

static void grow_buckets(struct shard *sh)
{
    uint32_t *old = sh->buckets;
    sh->bucket_count *= 2;
    sh->buckets = must(calloc(sh->bucket_count, sizeof *sh->buckets));
    for (uint32_t r = 1; r <= sh->used; r++) {
        struct entry *e = nth(sh, r);
        if (is_free(e))
            continue;
        uint32_t b = bucket_of(sh, e->blob, e->index);
        e->next = sh->buckets[b];
        sh->buckets[b] = r;
    }
    free(old);
}

static uint32_t take_ref(struct shard *sh)
{
    if (sh->free) {
        uint32_t r = sh->free;
        sh->free = nth(sh, r)->next;
        return r;
    }
    if (sh->used == sh->chunk_count * IDX_CHUNK) {
        sh->chunks = must(realloc(sh->chunks, (sh->chunk_count + 1) * sizeof(void *)));
        sh->chunks[sh->chunk_count++] = must(malloc(IDX_CHUNK * sizeof(struct entry)));
    }
    return ++sh->used;
}

struct entry *page_idx_add(struct shard *sh, uint64_t blob, uint32_t index)
{
    uint32_t r = take_ref(sh);
    struct entry *e = nth(sh, r);
    /* while the buckets grow it must look free, so that it is not linked twice */
    memset(e, 0xff, sizeof *e);
    if (sh->count + 1 > 2 * sh->bucket_count)
        grow_buckets(sh);
    uint32_t b = bucket_of(sh, blob, index);
    *e = (struct entry){.blob = blob, .index = index, .next = sh->buckets[b]};
    sh->buckets[b] = r;
    sh->count++;
    return e;
}

void page_idx_del(struct shard *sh, struct entry *e)
{
    uint32_t b = bucket_of(sh, e->blob, e->index), r = sh->buckets[b], prev = 0;
    while (r && nth(sh, r) != e) {
        prev = r;
        r = nth(sh, r)->next;
    }
    CHECK(r, "entry is not in its bucket");
    if (prev)
        nth(sh, prev)->next = e->next;
    else
        sh->buckets[b] = e->next;
    memset(e, 0xff, sizeof *e);
    e->next = sh->free;
    sh->free = r;
    sh->count--;
}

struct entry *page_idx_at(struct shard *sh, uint32_t i)
{
    struct entry *e = nth(sh, i + 1);
    return is_free(e) ? NULL : e;
}

size_t page_idx_memory(const struct shard *sh)
{
    return sh->chunk_count * (IDX_CHUNK * sizeof(struct entry) + sizeof(void *)) +
           sh->bucket_count * sizeof *sh->buckets;
}
