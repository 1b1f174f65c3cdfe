/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of extents stay as short as the file is long. Each small write at a random place leaves up to two extents more;
 * where they lie too close together they are read and written anew as one blob, which is one extent.
 *
 *     while a file is written   rows of more than PX_DENSE extents a MiB, before they are published: part of that
 * publish when it is left alone     rows of more than PX_TIDY extents a MiB, by a thread of its own: a commit that
 * changes the extents and nothing else (meta_compact). A file that was closed is kept in the table until then
 *
 * Rewriting at PX_TIDY each time would write some thirty times what the program wrote; between the two it is about four
 * times.
 *
 * A crash before the commit leaves the blob as an orphan; what the old extents named is dropped when the commit is
 * durable.
 */
#include "fs/px_in.h"
#include "base/log.h"
#include "base/thread.h"

enum {
    PX_DENSE = 128,    /* extents a MiB of a file that is being written */
    PX_TIDY = 16,      /* and of one that is left alone */
    PX_FEW = 16,       /* a row of so few is never worth it */
    PX_RUN = 4 << 20,  /* bytes rewritten into one blob */
    PX_STEP = 8 << 20, /* and while others wait for the file */
    PX_HOLE = 4096,    /* shorter holes are filled, as on a disk of such blocks */
    PX_IDLE_MS = 250,  /* left alone */
    PX_KEPT = 64,      /* closed files that wait for it */
    PX_TRIES = 40
};

/* ---- what is worth it ---- */

static uint64_t row_end(const struct px_node *n, size_t row)
{
    return row + 1 < n->rows ? n->row[row + 1].off : n->end;
}

static bool stays(const struct extent *e, uint64_t hole)
{
    return !e->blob && e->len >= hole;
}

/* The extents that a rewriting of the row begins with: how many, how many they will be, and their bytes. */
static void first_run(const struct px_row *r, uint64_t hole, size_t *ret_n, size_t *ret_then, uint64_t *ret_bytes)
{
    bool data = false;
    *ret_n = *ret_then = 0;
    *ret_bytes = 0;
    for (; *ret_n < r->n && *ret_bytes < PX_RUN; *ret_bytes += r->e[(*ret_n)++].len) {
        bool kept = stays(&r->e[*ret_n], hole);
        *ret_then += kept || !data;
        data = !kept;
    }
    if (*ret_bytes > PX_RUN)
        *ret_bytes = PX_RUN;
}

/* Judged by what one rewriting takes, so that each makes the list shorter: there is an end. */
static bool worth(const struct px_node *n, size_t row, uint64_t limit, uint64_t hole)
{
    uint64_t bytes;
    size_t k, then;
    first_run(&n->row[row], hole, &k, &then, &bytes);
    return k > PX_FEW && ((uint64_t)k << 20) > limit * bytes && k > 2 * then;
}

/* ---- rewriting ---- */

struct rewriting {
    struct px_node *n;
    struct page_writer *w;
    char *p; /* one extent's bytes, a piece at a time */
    uint64_t blob, at;
    struct extent *e;
    size_t k;
};

enum { WINDOW = 256 << 10 };

static int copy_in(struct rewriting *x, const struct extent *e, uint64_t len)
{
    for (uint64_t done = 0; done < len;) {
        size_t k = len - done < WINDOW ? (size_t)(len - done) : WINDOW;
        if (e->blob) /* verified: it gets a new checksum */
            TRY(page_read(x->n->px->fs->pages, e->blob, e->blob_off + done, x->p, k, true));
        else
            memset(x->p, 0, k);
        TRY(page_append(x->w, x->p, k));
        done += k;
    }
    return 0;
}

static void add_extent(struct rewriting *x, uint64_t off, uint64_t len, bool data)
{
    struct extent *last = x->k ? &x->e[x->k - 1] : NULL;
    if (last && (last->blob != 0) == data) {
        last->len += len;
    } else {
        x->e[x->k++] = data ? (struct extent){.len = len,
                                              .blob = x->blob,
                                              .blob_off = x->at,
                                              .origin = px_origin(x->n),
                                              .origin_off = off}
                            : (struct extent){.len = len};
    }
    x->at += data ? len : 0;
}

/* The row's extents from its start to `end`, which is within it. */
static int copy_row(struct rewriting *x, const struct px_row *r, uint64_t end, uint64_t hole)
{
    uint64_t off = r->off;
    for (size_t i = 0; i < r->n && off < end; i++) {
        uint64_t len = r->e[i].len < end - off ? r->e[i].len : end - off;
        bool data = !stays(&r->e[i], hole);
        if (data)
            TRY(copy_in(x, &r->e[i], len));
        add_extent(x, off, len, data);
        off += len;
    }
    return 0;
}

static int write_row(struct rewriting *x, const struct px_row *r, uint64_t end, uint64_t hole)
{
    int rc = copy_row(x, r, end, hole);
    if (rc < 0 || !x->at) {
        page_abort(x->w);
        return rc;
    }
    return page_seal_lazy(x->w);
}

/* The start of a row, PX_RUN bytes at most, becomes one blob. On failure nothing has changed. */
static int rewrite(struct px_node *n, size_t row, uint64_t hole, uint64_t *ret_bytes)
{
    struct fs *fs = n->px->fs;
    const struct px_row *r = &n->row[row];
    uint64_t off = r->off, end = row_end(n, row);
    struct rewriting x = {.n = n};
    end = end - off > PX_RUN ? off + PX_RUN : end;
    TRY(px_mint_fresh(n));
    TRY(meta_mint(fs->meta, 1, &x.blob));
    TRY(page_write_begin(fs->pages, x.blob, px_origin(n), PAGE_PINNED, 0, 0, &x.w));
    x.p = mem_alloc(WINDOW);
    x.e = mem_alloc(r->n * sizeof *x.e);
    int rc = write_row(&x, r, end, hole);
    if (rc == 0)
        rc = FAULT(PX_COMPACTED);
    if (rc == 0) {
        TRACE("px.compact", n->ino, r->n);
        px_rows_gather(n, off, end - off, x.e, x.k);
        *ret_bytes += x.at;
    }
    free(x.p);
    free(x.e);
    return rc;
}

/* One that fails (no room, a page that is damaged) leaves a list that is longer than it should be, and is tried again
 * with the next publish: no reason to fail what it comes with. */
void px_compact(struct px_node *n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n->rows;) {
        if (!n->row[i].write || !worth(n, i, PX_DENSE, PX_HOLE)) {
            i++;
            continue;
        }
        uint64_t off = n->row[i].off;
        if (rewrite(n, i, PX_HOLE, &bytes) < 0)
            return;
        i = px_row_find(n, off); /* which has fewer extents now, but its neighbours' with them */
    }
}

/* ---- left alone ---- */

static bool due(struct px_node *n)
{
    return clock_mono_ms() >= atomic_load(&n->changed_ms) + PX_IDLE_MS;
}

static bool any_worth(const struct px_node *n)
{
    for (size_t i = 0; i < n->rows; i++)
        if (worth(n, i, PX_TIDY, 1))
            return true;
    return false;
}

static int rewrite_some(struct px_node *n, bool *ret_any)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n->rows && bytes < PX_STEP;) {
        if (!worth(n, i, PX_TIDY, 1)) {
            i++;
            continue;
        }
        uint64_t off = n->row[i].off;
        TRY(rewrite(n, i, 1, &bytes));
        *ret_any = true;
        i = px_row_find(n, off);
    }
    return 0;
}

/* Its bytes are here and nowhere else, and nobody but this node holds the content: others may be in the midst of its
 * extents. */
static int may_tidy(struct px_node *n, bool *ret)
{
    *ret = false;
    if (n->dirty || !n->local || !due(n))
        return 0;
    TRY(px_node_refresh(n)); /* it may have been persisted since, or replaced */
    *ret = n->local && n->held && n->i.loc == LOC_NONE && meta_held(n->px->fs->meta, n->i.content, NULL) == 1;
    return 0;
}

/* Gate held for writing. *ret_more: there is more to do, at once or when nobody else reads it. */
static int tidy_some(struct px_node *n, bool *ret_more, bool *ret_did)
{
    bool may, any = false;
    *ret_did = false;
    TRY(may_tidy(n, &may));
    *ret_more = n->local && n->i.loc == LOC_NONE;
    if (!may)
        return 0;
    int r = rewrite_some(n, &any);
    if (any) {
        int shown = px_show_compacted(n);
        r = shown < 0 ? shown : r;
    }
    *ret_did = any && r == 0;
    *ret_more = r == 0 && any_worth(n);
    return r;
}

static void tidy(struct px_node *n)
{
    bool more = true, did = true;
    while (more && did && !px_stopping(n->px)) {
        px_gate_write(&n->gate);
        int r = tidy_some(n, &more, &did);
        if (r < 0)
            log_debug("px.compact", "ino=%llu error=\"%s\"", (unsigned long long)n->ino, err_detail(r));
        n->tries++;
        more &= n->tries < PX_TRIES || did;
        if (!more || r < 0)
            atomic_store(&n->untidy, false);
        px_gate_write_end(&n->gate);
    }
}

struct due {
    struct px_node **n;
    size_t count;
    bool all;
};

static int find_due(void *arg, struct str key, void *value)
{
    struct due *d = arg;
    struct px_node *n = value;
    (void)key;
    if (!d->all && !n->kept && !(atomic_load(&n->untidy) && due(n)))
        return 0;
    n->refs++;
    d->n = mem_grow(d->n, d->count + 1, sizeof(void *));
    d->n[d->count++] = n;
    return 0;
}

static void let_go(struct px_node *n, bool always)
{
    lock_take(&n->px->lock);
    bool kept = n->kept && (always || !atomic_load(&n->untidy));
    if (kept) {
        n->kept = false;
        n->px->kept--;
    }
    lock_drop(&n->px->lock);
    if (kept)
        px_node_put(n);
}

static void tidy_all(struct px *px, bool stop)
{
    struct due d = {.all = stop};
    lock_take(&px->lock);
    map_each(px->nodes, find_due, &d);
    lock_drop(&px->lock);
    for (size_t i = 0; i < d.count; i++) {
        if (!stop && atomic_load(&d.n[i]->untidy))
            tidy(d.n[i]);
        let_go(d.n[i], stop);
        px_node_put(d.n[i]);
    }
    free(d.n);
}

bool px_keep(struct px_node *n)
{
    if (!atomic_load(&n->untidy) || n->dirty || !n->local || n->i.loc != LOC_NONE || !any_worth(n))
        return false;
    LOCKED(&n->px->lock);
    if (n->px->stop || n->kept || n->px->kept >= PX_KEPT)
        return false;
    n->kept = true;
    n->px->kept++;
    return true;
}

void *px_tidier(void *arg)
{
    struct px *px = arg;
    while (!px_stopping(px)) {
        tidy_all(px, false);
        lock_take(&px->lock);
        if (!px->stop)
            cond_wait_until(&px->tidy_wake, &px->lock, clock_mono_ns() + PX_TICK_MS * 1000000ull);
        lock_drop(&px->lock);
    }
    tidy_all(px, true);
    return NULL;
}
