/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies between open files: by reference where they are long enough, else byte by byte.
 *
 * What is shared is named by both: the copy's extents name the source's blobs, with the source's content as their
 * origin, as those of an S3 copy do. From the moment they are taken until the copy is published, which is at once, its
 * node holds the source's content: so that is neither changed in place nor forgotten, its pages are not evicted while
 * they lie nowhere else, and its object in the UFS does not go before its bytes are here. After that the R row of the
 * publish says the same.
 *
 * Shared is what a source alone vouches for: of a file that is not in the UFS what was written for it; of one that is,
 * all of it, if its pages can be brought back one by one (refuse_packed in data/read.c). Bytes are copied of everything
 * else, and within one file, whose extents always lie where they were written.
 *
 * A copy that is shared and not published yet lies in no object of its own: missing pages are read where the origin has
 * them (px_read_piece), and when the file turns out to have been persisted meanwhile bytes are copied after all
 * (px_publish.c, bring).
 */
#include "fs/px_in.h"

enum {
    SHARE_MIN = 64 << 10, /* below it bytes are cheaper than the publish of a source that is being written */
    STEP = 1 << 20,
    BATCH = 64
};

/* A range of a source, as extents; its content is held once for who takes the range. */
struct range {
    struct extent *e;
    size_t n, cap;
    uint64_t len, content;
};

static bool vouches(const struct px_node *s, const struct extent *e)
{
    return !e->blob || s->i.loc != LOC_NONE || e->origin == s->i.content;
}

static void range_add(struct range *p, const struct px_node *s, uint64_t off, struct extent e, uint64_t skip,
                      uint64_t len)
{
    e.len = len;
    e.part = 0;
    if (e.blob) {
        e.blob_off += skip;
        e.origin = s->i.content;
        e.origin_off = off;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->e = mem_grow(p->e, p->cap, sizeof *p->e);
    }
    p->e[p->n++] = e;
    p->len += len;
}

static void range_done(struct range *p, struct px_node *s)
{
    if (p->content)
        meta_unhold(s->px->fs->meta, p->content);
    free(p->e);
}

static int take_extents(struct px_node *s, uint64_t off, uint64_t n, struct range *p)
{
    struct extent e[BATCH];
    struct content c;
    struct buf strings AUTO_BUF = {0};
    while (p->len < n) {
        size_t count;
        uint64_t at;
        TRY(meta_extents(s->px->fs->meta, s->i.content, off + p->len, &c, &strings, e, BATCH, &count, &at));
        if (!count)
            return err_set(ERR_CORRUPT, "content %llu ends early", (unsigned long long)s->i.content);
        if (s->i.loc != LOC_NONE && c.version && (c.chunked || c.n != 1))
            return ERR_NOT_SUPPORTED;
        for (size_t i = 0; i < count && p->len < n; at += e[i++].len) {
            uint64_t from = off + p->len, len = at + e[i].len - from;
            if (!vouches(s, &e[i]))
                return ERR_NOT_SUPPORTED;
            range_add(p, s, from, e[i], from - at, len < n - p->len ? len : n - p->len);
        }
    }
    return 0;
}

/* Gate of s held for writing. Nothing is taken (p->len 0) from what is not to be shared. */
static int take(struct px_node *s, uint64_t off, uint64_t n, bool to_transient, struct range *p)
{
    TRY(px_publish(s, false));
    TRY(px_node_refresh(
        s)); /* it may have been persisted: then its pages may go at any time, and its object has them */
    if (off >= s->size)
        return 0;
    n = n > s->size - off ? s->size - off : n;
    if (n < SHARE_MIN || !s->held || (s->i.loc != LOC_NONE && (s->i.transient || to_transient)))
        return 0;
    TRY(meta_hold(s->px->fs->meta, s->i.content));
    p->content = s->i.content;
    int r = take_extents(s, off, n, p);
    if (r == ERR_NOT_SUPPORTED)
        p->len = 0;
    return r == ERR_NOT_SUPPORTED ? 0 : r;
}

/* Gate of n held for writing. */
static int give(struct px_node *n, uint64_t off, struct range *p)
{
    if (off > INT64_MAX - p->len)
        return err_set(ERR_TOO_LARGE, "a file may have at most %lld bytes", (long long)INT64_MAX);
    TRY(px_local(n));
    px_pieces_cut(n, off, p->len);
    px_rows_put(n, off, p->len, p->e, p->n);
    px_rows_share(n, p->e, p->n);
    px_lend(n, p->content); /* the hold is the node's now */
    p->content = 0;
    if (off + p->len > n->size)
        n->size = off + p->len;
    n->md5_good = false;
    px_changed(n);
    return px_publish(n, false); /* a borrower is waited for, whoever only reads is cut after a while */
}

/* Never both gates at a time. */
static int share(struct fs_px_handle *in, uint64_t off_in, struct fs_px_handle *out, uint64_t off_out, uint64_t len,
                 uint64_t *ret_n)
{
    struct range p = {0};
    enum meta_policy policy = META_TRANSIENT;
    px_gate_write(&out->node->gate);
    int r = px_node_policy(out->node, &policy);
    px_gate_write_end(&out->node->gate);
    if (r < 0)
        return r;
    {
        PX_ENTER(in->px);
        px_gate_write(&in->node->gate);
        r = take(in->node, off_in, len, policy == META_TRANSIENT, &p);
        px_gate_write_end(&in->node->gate);
    }
    if (r == 0 && p.len) {
        px_gate_write(&out->node->gate);
        r = give(out->node, off_out, &p);
        px_gate_write_end(&out->node->gate);
    }
    *ret_n = r == 0 ? p.len : 0;
    range_done(&p, in->node);
    return r;
}

static int copy_bytes(struct fs_px_handle *in, uint64_t off_in, struct fs_px_handle *out, uint64_t off_out, uint64_t n,
                      uint64_t *ret_n)
{
    char *p AUTO_FREE = mem_alloc(n < STEP ? (size_t)n : STEP);
    uint64_t done = 0;
    int r = 0;
    while (r == 0 && done < n) {
        size_t got = 0, want = n - done < STEP ? (size_t)(n - done) : STEP;
        r = fs_px_read(in, off_in + done, p, want, &got);
        if (r < 0 || !got)
            break;
        px_gate_write(&out->node->gate);
        r = px_write_node(out->node, off_out + done, p, got);
        px_gate_write_end(&out->node->gate);
        done += r == 0 ? got : 0;
        if (got < want) /* the end; what was just written may have moved it */
            break;
    }
    if (r < 0 && !done)
        return r;
    *ret_n = done;
    return 0;
}

int fs_px_copy_range(struct fs_px_handle *in, uint64_t off_in, struct fs_px_handle *out, uint64_t off_out, uint64_t n,
                     uint64_t *ret_n)
{
    bool own = in->node == out->node;
    uint64_t done = 0;
    PX_ENTER(out->px);
    if ((out->flags & O_ACCMODE) == O_RDONLY || (in->flags & O_ACCMODE) == O_WRONLY)
        return err_set(ERR_DENIED, "the file is not open for that");
    if (n > INT64_MAX || off_in > INT64_MAX - n || off_out > INT64_MAX - n)
        return err_set(ERR_TOO_LARGE, "a file may have at most %lld bytes", (long long)INT64_MAX);
    if (own && off_in < off_out + n && off_out < off_in + n)
        return err_set(ERR_INVALID, "the ranges overlap");
    if (!own && n >= SHARE_MIN)
        TRY(share(in, off_in, out, off_out, n, &done));
    if (!done && n)
        TRY(copy_bytes(in, off_in, out, off_out, n, &done));
    *ret_n = done;
    return 0;
}
