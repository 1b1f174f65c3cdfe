/* SPDX-License-Identifier: Apache-2.0
 *
 * The extents of a node that is local: rows in order, each some extents without gaps, as they are stored. A change
 * rewrites the rows it touches and no others. How many bytes of each blob are named is counted along.
 */
#include "fs/px_in.h"

/* ---- blobs ---- */

static struct px_blob *blob_of(struct px_node *n, uint64_t blob)
{
    struct px_blob *b = map_get(n->blobs, map_key64(&blob));
    if (!b) {
        b = MEM_NEW(struct px_blob);
        map_put(n->blobs, map_key64(&blob), b);
        if ((n->unshown_n & (n->unshown_n - 1)) == 0) /* capacity: the next power of two */
            n->unshown = mem_grow(n->unshown, n->unshown_n ? n->unshown_n * 2 : 1, sizeof *n->unshown);
        n->unshown[n->unshown_n++] = blob;
    }
    return b;
}

void px_blobs_shown(struct px_node *n)
{
    for (size_t i = 0; i < n->unshown_n; i++) {
        struct px_blob *b = map_get(n->blobs, map_key64(&n->unshown[i]));
        if (b)
            b->shown = true;
    }
    free(n->unshown);
    n->unshown = NULL;
    n->unshown_n = 0;
}

static void named(struct px_node *n, const struct extent *e)
{
    if (!e->blob) {
        n->holes += e->len;
        return;
    }
    struct px_blob *b = blob_of(n, e->blob);
    b->live += e->len;
    if (e->blob_off + e->len > b->bytes)
        b->bytes = e->blob_off + e->len;
}

/* It was written for this content, or never shown by any: then nobody else can name it. Others' are their content's. */
static void unnamed(struct px_node *n, const struct extent *e)
{
    if (!e->blob) {
        n->holes -= e->len;
        return;
    }
    struct px_blob *b = blob_of(n, e->blob);
    CHECK(b->live >= e->len, "a blob is named more often than counted");
    b->live -= e->len;
    if (b->live)
        return;
    bool ours = !b->shown || (e->origin == n->i.content && !n->replaced);
    if (ours) {
        n->dead = mem_grow(n->dead, n->dead_n + 1, sizeof *n->dead);
        n->dead[n->dead_n++] = (struct px_dead){e->blob, b->bytes, b->shown};
    }
    free(map_del(n->blobs, map_key64(&e->blob)));
}

/* ---- by reference ---- */

static bool lent(const struct px_node *n, uint64_t content)
{
    for (size_t i = 0; i < n->lent_n; i++)
        if (n->lent[i] == content)
            return true;
    return false;
}

void px_lend(struct px_node *n, uint64_t content)
{
    if (lent(n, content)) {
        meta_unhold(n->px->fs->meta, content);
        return;
    }
    n->lent = mem_grow(n->lent, n->lent_n + 1, sizeof *n->lent);
    n->lent[n->lent_n++] = content;
}

void px_rows_share(struct px_node *n, const struct extent *e, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        struct px_blob *b = e[i].blob ? map_get(n->blobs, map_key64(&e[i].blob)) : NULL;
        if (!b)
            continue;
        b->shared = n->any_shared = true;
        b->shown = true; /* by the other: never dropped because this file names it no more */
    }
}

bool px_is_shared(const struct px_node *n, uint64_t blob)
{
    const struct px_blob *b = n->any_shared ? map_get(n->blobs, map_key64(&blob)) : NULL;
    return b && b->shared;
}

static int not_shared(void *arg, struct str key, void *value)
{
    (void)arg;
    (void)key;
    ((struct px_blob *)value)->shared = false;
    return 0;
}

void px_rows_shared(struct px_node *n)
{
    if (n->any_shared && n->blobs)
        map_each(n->blobs, not_shared, NULL);
    n->any_shared = false;
    for (size_t i = 0; i < n->lent_n; i++)
        meta_unhold(n->px->fs->meta, n->lent[i]);
    free(n->lent);
    n->lent = NULL;
    n->lent_n = 0;
}

/* ---- rows ---- */

size_t px_row_find(const struct px_node *n, uint64_t off)
{
    size_t lo = 0, hi = n->rows;
    if (off >= n->end)
        return n->rows;
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (n->row[mid].off <= off)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static bool follows(const struct extent *a, const struct extent *b)
{
    if (!a->blob || !b->blob)
        return !a->blob && !b->blob;
    return a->blob == b->blob && a->blob_off + a->len == b->blob_off && a->origin == b->origin &&
           a->origin_off + a->len == b->origin_off;
}

struct list {
    struct extent *e;
    size_t n, cap;
};

static void add(struct list *l, struct extent e)
{
    if (!e.len)
        return;
    if (l->n && follows(&l->e[l->n - 1], &e)) {
        l->e[l->n - 1].len += e.len;
        return;
    }
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->e = mem_grow(l->e, l->cap, sizeof *l->e);
    }
    l->e[l->n++] = e;
}

static struct extent part_of(const struct extent *e, uint64_t skip, uint64_t len)
{
    struct extent x = *e;
    x.len = len;
    if (x.blob) {
        x.blob_off += skip;
        x.origin_off += skip;
    }
    return x;
}

static void not_stored(struct px_node *n, struct px_row *r)
{
    if (!r->stored)
        return;
    n->gone = mem_grow(n->gone, n->gone_n + 1, sizeof *n->gone);
    n->gone[n->gone_n++] = r->off;
    r->stored = false;
}

/* Rows [from, to) give way to what is in l, which begins at off. */
static void replace_rows(struct px_node *n, size_t from, size_t to, uint64_t off, const struct list *l)
{
    size_t k = (l->n + PX_ROW - 1) / PX_ROW, old = to - from;
    for (size_t i = from; i < to; i++) {
        not_stored(n, &n->row[i]);
        free(n->row[i].e);
    }
    if (k > old)
        n->row = mem_grow(n->row, n->rows + (k - old), sizeof *n->row);
    memmove(n->row + from + k, n->row + to, (n->rows - to) * sizeof *n->row);
    n->rows += k;
    n->rows -= old;
    for (size_t i = 0; i < k; i++) {
        size_t first = i * l->n / k, last = (i + 1) * l->n / k;
        struct px_row *r = &n->row[from + i];
        *r = (struct px_row){.off = off, .n = last - first, .write = true};
        r->e = mem_alloc(r->n * sizeof *r->e);
        memcpy(r->e, l->e + first, r->n * sizeof *r->e);
        for (size_t x = 0; x < r->n; x++)
            off += r->e[x].len;
    }
}

/* What the rows [from, to) have outside of [off, end) goes to l before and behind; what is inside is named no more. */
static void keep_before(struct px_node *n, size_t from, size_t to, uint64_t off, uint64_t end, struct list *l)
{
    for (size_t i = from; i < to; i++) {
        uint64_t at = n->row[i].off;
        for (size_t x = 0; x < n->row[i].n; x++) {
            const struct extent *e = &n->row[i].e[x];
            uint64_t stop = at + e->len;
            if (at < off)
                add(l, part_of(e, 0, (stop < off ? stop : off) - at));
            if (stop > off && at < end) {
                uint64_t a = at > off ? at : off, b = stop < end ? stop : end;
                struct extent gone = part_of(e, a - at, b - a);
                unnamed(n, &gone);
            }
            at = stop;
        }
    }
}

static void keep_behind(struct px_node *n, size_t from, size_t to, uint64_t end, struct list *l)
{
    for (size_t i = from; i < to; i++) {
        uint64_t at = n->row[i].off;
        for (size_t x = 0; x < n->row[i].n; x++) {
            const struct extent *e = &n->row[i].e[x];
            uint64_t stop = at + e->len, a = at > end ? at : end;
            if (stop > end)
                add(l, part_of(e, a - at, stop - a));
            at = stop;
        }
    }
}

/* Rows [from, to) are replaced by themselves with k extents in the place of [off, off + len). */
static void put_in(struct px_node *n, size_t from, size_t to, uint64_t off, uint64_t len, const struct extent *e,
                   size_t k)
{
    struct list l = {0};
    uint64_t end = off + len;
    for (size_t i = 0; i < k; i++) /* first, so that a blob in both is not taken for dead */
        named(n, &e[i]);
    uint64_t start = from < n->rows ? n->row[from].off : off;
    keep_before(n, from, to, off, end, &l);
    for (size_t i = 0; i < k; i++)
        add(&l, e[i]);
    keep_behind(n, from, to, end, &l);
    replace_rows(n, from, to, start, &l);
    if (end > n->end)
        n->end = end;
    free(l.e);
}

static void put(struct px_node *n, uint64_t off, uint64_t len, const struct extent *e, size_t k)
{
    size_t from = px_row_find(n, off), to;
    if (from == n->rows && n->rows && n->row[n->rows - 1].n < PX_ROW / 2) /* grow the last row */
        from--;
    else if (from == n->rows && n->rows == 0)
        from = 0;
    to = from;
    while (to < n->rows && n->row[to].off < off + len)
        to++;
    put_in(n, from, to, off, len, e, k);
}

void px_rows_gather(struct px_node *n, uint64_t off, uint64_t len, const struct extent *e, size_t k)
{
    enum { SMALL = 16, MOST = 4 }; /* rows of so few extents, and how many of them on each side */
    size_t from = px_row_find(n, off), to = from;
    while (to < n->rows && n->row[to].off < off + len)
        to++;
    for (int i = 0; i < MOST && from && n->row[from - 1].n <= SMALL; i++)
        from--;
    for (int i = 0; i < MOST && to < n->rows && n->row[to].n <= SMALL; i++)
        to++;
    put_in(n, from, to, off, len, e, k);
}

void px_rows_cover(struct px_node *n, uint64_t size)
{
    struct extent hole = {.len = size - n->end};
    if (size > n->end)
        put(n, n->end, hole.len, &hole, 1);
}

void px_rows_put(struct px_node *n, uint64_t off, uint64_t len, const struct extent *e, size_t k)
{
    px_rows_cover(n, off);
    put(n, off, len, e, k);
}

void px_rows_cut(struct px_node *n, uint64_t size)
{
    struct list l = {0};
    size_t from = px_row_find(n, size);
    if (size >= n->end)
        return;
    uint64_t start = n->row[from].off;
    keep_before(n, from, n->rows, size, n->end, &l);
    replace_rows(n, from, n->rows, start, &l);
    n->end = size;
    free(l.e);
}

size_t px_rows_extents(const struct px_node *n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n->rows; i++)
        sum += n->row[i].n;
    return sum;
}

void px_extent_at(const struct px_node *n, uint64_t off, struct extent *ret, uint64_t *ret_at)
{
    const struct px_row *r = &n->row[px_row_find(n, off)];
    uint64_t at = r->off;
    size_t i = 0;
    while (at + r->e[i].len <= off)
        at += r->e[i++].len;
    *ret = r->e[i];
    *ret_at = at;
}

/* ---- reading them ---- */

struct loading {
    struct px_node *n;
    struct px_row *row; /* being filled */
    uint64_t at;
    size_t cap;
    bool parts;
};

static int load_row(void *arg, uint64_t off, const struct extent *e, size_t k, bool stored)
{
    struct loading *l = arg;
    struct px_node *n = l->n;
    n->row = mem_grow(n->row, n->rows + 1, sizeof *n->row);
    struct px_row *r = &n->row[n->rows++];
    *r = (struct px_row){.off = off, .n = k, .stored = stored, .e = mem_alloc(k * sizeof *e)};
    memcpy(r->e, e, k * sizeof *e);
    n->end = off;
    for (size_t i = 0; i < k; i++) {
        r->write |= r->e[i].part != 0; /* it is not what was uploaded in parts any more */
        r->e[i].part = 0;
        n->end += r->e[i].len;
        named(n, &r->e[i]);
    }
    return 0;
}

int px_rows_load(struct px_node *n)
{
    struct loading l = {.n = n};
    n->blobs = n->blobs ? n->blobs : map_new();
    if (!n->i.content)
        return 0;
    int r = meta_rows(n->px->fs->meta, n->i.content, load_row, &l);
    px_blobs_shown(n);
    return r;
}

static int free_blob(void *arg, struct str key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
    return 0;
}

void px_rows_free(struct px_node *n)
{
    for (size_t i = 0; i < n->rows; i++)
        free(n->row[i].e);
    free(n->row);
    px_rows_shared(n);
    if (n->blobs)
        map_each(n->blobs, free_blob, NULL);
    map_free(n->blobs);
    free(n->gone);
    free(n->dead);
    free(n->unshown);
    n->row = NULL;
    n->blobs = NULL;
    n->gone = NULL;
    n->dead = NULL;
    n->unshown = NULL;
    n->rows = n->gone_n = n->dead_n = n->unshown_n = 0;
    n->end = n->holes = 0;
}
