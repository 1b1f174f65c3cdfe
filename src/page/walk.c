/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk: every blob with unknown pages (or every blob) is shown to the caller in batches; what it says is done.
 *
 * A shard holds all pages of its blobs. One shard at a time is copied (24 bytes a page) and sorted by blob; that copy
 * is the walk's memory. Verdicts are applied page by page to what is still there and still in the state it was seen in:
 *     KEEP_PINNED  unknown -> pinned; a known blob becomes pinned, too
 *     KEEP_CLEAN   unknown -> clean; a known blob is left alone (a stale answer must not unpin)
 *     DROP         all pages go, but those of a writer
 */
#include "page/store.h"
#include <string.h>

struct seen {
    uint64_t blob;
    uint32_t index, len;
    uint32_t birth_s;
    bool unknown, writing;
};

struct group { /* pages first .. first+n-1 of the copy are blob's */
    size_t first, n;
};

struct walk {
    struct page_store *s;
    bool all;
    size_t max, n;
    int (*fn)(void *, const struct page_blob *, size_t, enum page_verdict *);
    void *arg;
    struct page_blob *blobs;
    enum page_verdict *verdict;
    struct group *group;
    struct seen *seen;
    size_t seen_n;
};

static int by_blob(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->blob != y->blob)
        return x->blob < y->blob ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void copy_shard(struct walk *w, struct shard *sh)
{
    LOCKED(&sh->lock);
    w->seen = malloc(sh->count * sizeof *w->seen + 1);
    CHECK(w->seen, "out of memory for the walk");
    w->seen_n = 0;
    for (uint32_t i = 0; i < sh->used; i++) {
        const struct entry *e = page_idx_at(sh, i);
        if (e)
            w->seen[w->seen_n++] =
                (struct seen){e->blob, e->index, ent_len(e), e->birth_s, ent_state(e) == ST_UNKNOWN, ent_writing(e)};
    }
}

static uint64_t content_of(struct page_store *s, const struct seen *p)
{
    struct shard *sh = page_shard(s, p->blob);
    LOCKED(&sh->lock);
    const struct entry *e = page_idx_find(sh, p->blob, p->index);
    return e ? e->content : 0;
}

/* The blob at first: false when it is not one to show. */
static bool group_at(struct walk *w, size_t first, struct group *ret, struct page_blob *b)
{
    const struct seen *p = &w->seen[first];
    bool writing = false;
    size_t n = 0;
    *b = (struct page_blob){.blob = p->blob, .birth_ms = UINT64_MAX};
    for (; first + n < w->seen_n && p[n].blob == p->blob; n++) {
        uint64_t birth = (uint64_t)p[n].birth_s * 1000;
        b->bytes += p[n].len;
        b->pages++;
        b->unknown |= p[n].unknown;
        b->birth_ms = birth < b->birth_ms ? birth : b->birth_ms;
        writing |= p[n].writing;
    }
    *ret = (struct group){first, n};
    if (writing || !(w->all || b->unknown))
        return false;
    b->content = content_of(w->s, p);
    return true;
}

/* ---- verdicts ---- */

static void keep_page(struct page_store *s, const struct seen *p, enum page_state st)
{
    struct shard *sh = page_shard(s, p->blob);
    LOCKED(&sh->lock);
    struct entry *e = page_idx_find(sh, p->blob, p->index);
    if (!e || ent_writing(e) || ent_state(e) == st || (st == ST_CLEAN && ent_state(e) != ST_UNKNOWN))
        return;
    struct seg *g = page_seg_at(s, loc_seg(ent_loc(e)));
    page_acct_move(g, ent_state(e), st, page_place_bytes(g, ent_len(e)));
    ent_set_state(e, st);
}

static void drop_page(struct page_store *s, const struct seen *p)
{
    struct shard *sh = page_shard(s, p->blob);
    struct gone g;
    {
        LOCKED(&sh->lock);
        struct entry *e = page_idx_find(sh, p->blob, p->index);
        if (!e || ent_writing(e))
            return;
        g = page_entry_remove(s, sh, e);
    }
    page_gone_finish(&g);
}

static void apply(struct walk *w, const struct group *g, enum page_verdict v)
{
    for (size_t i = g->first; i < g->first + g->n; i++) {
        if (v == PAGE_DROP)
            drop_page(w->s, &w->seen[i]);
        else if (v != PAGE_SKIP)
            keep_page(w->s, &w->seen[i], v == PAGE_KEEP_PINNED ? ST_PINNED : ST_CLEAN);
    }
}

static int batch(struct walk *w)
{
    if (!w->n)
        return 0;
    for (size_t i = 0; i < w->n; i++)
        w->verdict[i] = PAGE_SKIP;
    int r = w->fn(w->arg, w->blobs, w->n, w->verdict);
    if (r)
        return r;
    for (size_t i = 0; i < w->n; i++)
        apply(w, &w->group[i], w->verdict[i]);
    w->n = 0;
    page_space_freed(w->s);
    return 0;
}

static int walk_shard(struct walk *w, struct shard *sh)
{
    int r = 0;
    copy_shard(w, sh);
    qsort(w->seen, w->seen_n, sizeof *w->seen, by_blob);
    struct group g = {0, 0};
    for (size_t at = 0; r == 0 && at < w->seen_n; at += g.n) {
        if (!group_at(w, at, &g, &w->blobs[w->n]))
            continue;
        w->group[w->n++] = g;
        if (w->n == w->max)
            r = batch(w);
    }
    if (r == 0)
        r = batch(w); /* the groups point into this shard's copy */
    free(w->seen);
    return r;
}

int page_walk(struct page_store *s, bool all, size_t n,
              int (*fn)(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict), void *arg)
{
    size_t max = n ? n : 1;
    struct walk w = {.s = s, .all = all, .max = max, .fn = fn, .arg = arg};
    w.blobs = calloc(max, sizeof *w.blobs);
    w.verdict = calloc(max, sizeof *w.verdict);
    w.group = calloc(max, sizeof *w.group);
    CHECK(w.blobs && w.verdict && w.group, "out of memory for the walk");
    int r = 0;
    for (size_t i = 0; r == 0 && i < IDX_SHARDS; i++)
        r = walk_shard(&w, &s->shards[i]);
    free(w.blobs);
    free(w.verdict);
    free(w.group);
    return r;
}
