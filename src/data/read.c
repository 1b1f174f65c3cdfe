/* SPDX-License-Identifier: Apache-2.0
 *
 * Contents as bytes: extents -> pages -> backing objects.
 *
 * A missing byte of a content that is itself in the UFS is at the same offset of its own object. Else its extent names
 * the content the blob was written for, and that one's object has it.
 */
#include "data/data_in.h"

enum { EXTENTS = 64 };

struct piece {
    struct extent e;
    uint64_t at; /* where in the content the extent begins */
};

struct reading {
    struct data *d;
    uint64_t content;
    const struct data_sink *sink;
    bool fill, verify;
    bool plain; /* a blob begins where its only extent does: the end of that is the blob's end */
    struct meta_backing back;
    uint64_t back_of; /* content whose backing is in back; 0: none asked yet */
    struct meta_mount *mt;
    struct ufs *ufs;
    char *page; /* one page being fetched */
    size_t page_n;
};

static int collect(void *arg, const void *p, size_t n)
{
    struct reading *r = arg;
    if (r->page_n + n > r->d->page_size)
        return err_set(ERR_IO, "the under file system sent more than was asked for");
    memcpy(r->page + r->page_n, p, n);
    r->page_n += n;
    return 0;
}

static int use_backing(struct reading *r, uint64_t content)
{
    if (r->back_of == content)
        return 0;
    TRY(meta_backing(r->d->meta, content, &r->back));
    if (!r->mt || r->mt->id != r->back.mount) {
        r->mt = meta_mount_put(r->d->meta, r->mt);
        r->ufs = NULL;
        r->mt = meta_mount_get(r->d->meta, r->back.mount);
        if (!r->mt)
            return err_set(ERR_STALE, "the mount of this file was removed");
    }
    if (!r->ufs)
        TRY(meta_mount_ufs(r->d->meta, r->mt, &r->ufs));
    r->back_of = content;
    return 0;
}

/* The extent of the origin that the blob of a borrowed one was written as: it knows how long the blob is, and its
 * object has all of it. *ret_named: there is one; else the bytes came to the borrower with the origin's number after
 * the origin was what it is. */
static int origin_extent(struct reading *r, const struct piece *p, struct piece *ret, bool *ret_named)
{
    struct content c;
    struct buf strings AUTO_BUF = {0};
    struct extent e;
    size_t n = 0;
    uint64_t at;
    *ret = *p;
    *ret_named = p->e.origin == r->content;
    if (p->e.origin == r->content)
        return 0;
    int rc = meta_extents(r->d->meta, p->e.origin, p->e.origin_off, &c, &strings, &e, 1, &n, &at);
    if (rc == 0 && n && e.blob == p->e.blob) {
        *ret = (struct piece){e, at};
        *ret_named = true;
    }
    return rc == ERR_STALE || rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Where in which object the byte x of the blob lies. */
static int find_backing(struct reading *r, const struct piece *p, uint64_t x, uint64_t *ret_off)
{
    int rc = use_backing(r, r->content);
    *ret_off = p->at + (x - p->e.blob_off);
    if (rc != ERR_NOT_FOUND || p->e.origin == r->content)
        return rc == ERR_NOT_FOUND
                   ? err_set(ERR_CORRUPT, "blob %llu is missing and no object backs it", (unsigned long long)p->e.blob)
                   : rc;
    struct piece o;
    bool named;
    TRY(origin_extent(r, p, &o, &named));
    rc = named ? use_backing(r, p->e.origin) : ERR_NOT_FOUND; /* else these bytes were never in its object */
    *ret_off = p->e.origin_off + (x - p->e.blob_off);
    return rc == ERR_NOT_FOUND
               ? err_set(ERR_CORRUPT, "blob %llu is missing and no object backs it", (unsigned long long)p->e.blob)
               : rc;
}

static int fetch_once(struct reading *r, const struct piece *p, uint64_t from, uint64_t n)
{
    uint64_t off;
    TRY(find_backing(r, p, from, &off));
    if (!r->page)
        r->page = malloc(r->d->page_size);
    if (!r->page)
        return ERR_NOMEM;
    r->page_n = 0;
    TRACE("data.fetch", off, n);
    int rc = ufs_read(r->ufs, str_of(r->back.key), off, n, r->back.ver[0] ? r->back.ver : NULL, collect, r);
    if (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the object changed in the under file system");
    TRY(rc);
    if (r->page_n != n)
        return err_set(ERR_STALE, "the object in the under file system is shorter than it was");
    return 0;
}

/* The object may have been moved since its place was asked: it is read where it lies now. */
static int fetch(struct reading *r, const struct piece *p, uint64_t from, uint64_t n)
{
    int rc = fetch_once(r, p, from, n);
    for (int i = 0; i < 4 && rc == ERR_STALE; i++) {
        struct meta_backing was = r->back;
        uint64_t off, of = r->back_of;
        r->back_of = 0;
        if (!of || find_backing(r, p, from, &off) < 0)
            return err_set(ERR_STALE, "the object changed in the under file system");
        if (was.mount == r->back.mount && !strcmp(was.key, r->back.key) && !strcmp(was.ver, r->back.ver))
            return rc;
        rc = fetch_once(r, p, from, n);
    }
    return rc;
}

/* The page that holds x, or as much of it as this extent knows of, is fetched; what is asked of it is given on. */
static int give_missing(struct reading *r, const struct piece *p, uint64_t x, uint64_t want, uint64_t *ret_given)
{
    uint64_t ps = r->d->page_size, end = p->e.blob_off + p->e.len;
    uint64_t from = x / ps * ps, to = from + ps;
    bool own = r->plain && p->e.origin == r->content && p->e.blob_off == 0;
    bool whole = from >= p->e.blob_off && (to <= end || own);
    if (from < p->e.blob_off)
        from = p->e.blob_off;
    if (to > end)
        to = end;
    TRY(fetch(r, p, from, to - from));
    if (whole && r->fill) /* no room is no reason to fail the read */
        page_fill(r->d->pages, p->e.blob, p->e.origin, (uint32_t)(from / ps), r->page, r->page_n, false);
    uint64_t n = to - x < want ? to - x : want;
    *ret_given = n;
    return r->sink->bytes(r->sink->arg, r->page + (x - from), n);
}

static int give_range(struct reading *r, const struct page_range *pr)
{
    if (r->sink->range)
        return r->sink->range(r->sink->arg, pr);
    char part[65536];
    for (size_t done = 0; done < pr->n;) {
        size_t n = pr->n - done < sizeof part ? pr->n - done : sizeof part;
        ssize_t got = pread(pr->fd, part, n, pr->off + (off_t)done);
        if (got <= 0)
            return err_set(got < 0 ? err_from_errno(errno) : ERR_IO, "reading a page failed");
        int rc = r->sink->bytes(r->sink->arg, part, (size_t)got);
        if (rc)
            return rc;
        done += (size_t)got;
    }
    return 0;
}

static int give_verified(struct reading *r, uint64_t blob, uint64_t x, uint64_t want, uint64_t *ret_given)
{
    char part[65536];
    uint64_t n = want < sizeof part ? want : sizeof part, in_page = r->d->page_size - x % r->d->page_size;
    if (n > in_page)
        n = in_page;
    TRY(page_read(r->d->pages, blob, x, part, n, true));
    *ret_given = n;
    return r->sink->bytes(r->sink->arg, part, n);
}

static int give_cached(struct reading *r, uint64_t blob, uint64_t x, uint64_t want, uint64_t *ret_given)
{
    struct page_range pr;
    if (r->verify)
        return give_verified(r, blob, x, want, ret_given);
    TRY(page_hold(r->d->pages, blob, x, want, &pr));
    *ret_given = pr.n;
    int rc = give_range(r, &pr);
    page_release(r->d->pages, &pr);
    return rc;
}

static int give_zeros(struct reading *r, uint64_t n)
{
    static const char zeros[65536];
    while (n) {
        size_t k = n < sizeof zeros ? n : sizeof zeros;
        int rc = r->sink->bytes(r->sink->arg, zeros, k);
        if (rc)
            return rc;
        n -= k;
    }
    return 0;
}

static int read_extent(struct reading *r, const struct piece *p, uint64_t off, uint64_t n)
{
    if (!p->e.blob)
        return give_zeros(r, n);
    while (n) {
        uint64_t x = p->e.blob_off + (off - p->at), given = 0;
        int rc = give_cached(r, p->e.blob, x, n, &given);
        if ((rc == ERR_NOT_CACHED || rc == ERR_CORRUPT || rc == ERR_IO) && !given) {
            int missing = give_missing(r, p, x, n, &given);
            if (missing == ERR_STALE && !given) { /* before the object went its bytes were brought here for us */
                int again = give_cached(r, p->e.blob, x, n, &given);
                missing = again == ERR_NOT_CACHED ? missing : again;
            }
            /* A page that is corrupt or unreadable and backed by nothing: that is the news, not the backing. */
            rc = missing < 0 && rc != ERR_NOT_CACHED && missing == ERR_CORRUPT ? rc : missing;
        }
        if (rc)
            return rc;
        off += given;
        n -= given;
    }
    return 0;
}

static int read_all(struct reading *r, uint64_t off, uint64_t n)
{
    struct extent ext[EXTENTS];
    struct content c;
    struct buf strings AUTO_BUF = {0};
    while (n) {
        size_t count;
        uint64_t at;
        TRY(meta_extents(r->d->meta, r->content, off, &c, &strings, ext, EXTENTS, &count, &at));
        r->plain =
            !c.version || (!c.chunked && c.n == 1); /* one that was changed in place packs many ranges into a blob */
        if (off >= c.size)
            return 0;
        if (n > c.size - off)
            n = c.size - off;
        if (!count)
            return err_set(ERR_CORRUPT, "content %llu has a hole at %llu", (unsigned long long)r->content,
                           (unsigned long long)off);
        for (size_t i = 0; i < count && n; i++) {
            struct piece p = {ext[i], at};
            uint64_t here = at + ext[i].len - off;
            if (here > n)
                here = n;
            int rc = read_extent(r, &p, off, here);
            if (rc)
                return rc;
            off += here;
            n -= here;
            at += ext[i].len;
        }
    }
    return 0;
}

int data_read(struct data *d, uint64_t content, uint64_t off, uint64_t n, const struct data_sink *sink, bool fill,
              bool verify)
{
    struct reading r = {.d = d, .content = content, .sink = sink, .fill = fill, .verify = verify};
    TRACE("data.read", off, n);
    int rc = read_all(&r, off, n);
    meta_mount_put(d->meta, r.mt);
    free(r.page);
    return rc;
}

int data_read_extent(struct data *d, uint64_t content, const struct extent *e, uint64_t at, uint64_t off, uint64_t n,
                     const struct data_sink *sink)
{
    struct reading r = {.d = d, .content = content, .sink = sink, .fill = true};
    struct piece p = {*e, at};
    int rc = read_extent(&r, &p, off, n);
    meta_mount_put(d->meta, r.mt);
    free(r.page);
    return rc;
}

/* ---- pages of a whole content ---- */

struct sum {
    struct data *d;
    uint64_t content, bytes, all, *evicted;
};

static int add_cached(void *arg, const struct extent *e)
{
    struct sum *s = arg;
    uint64_t ps = s->d->page_size, end = e->blob_off + e->len;
    s->all += e->len;
    if (!e->blob) {
        s->bytes += e->len;
        return 0;
    }
    for (uint64_t x = e->blob_off; x < end;) {
        uint64_t n = ps - x % ps;
        if (n > end - x)
            n = end - x;
        if (page_has(s->d->pages, e->blob, x, n))
            s->bytes += n;
        x += n;
    }
    return 0;
}

int data_cached(struct data *d, uint64_t content, uint64_t *ret_bytes)
{
    struct sum s = {.d = d, .content = content};
    TRY(meta_blobs(d->meta, content, false, add_cached, &s));
    *ret_bytes = s.bytes;
    return 0;
}

static int evict_extent(void *arg, const struct extent *e)
{
    struct sum *s = arg;
    if (e->blob)
        *s->evicted += page_evict(s->d->pages, e->blob, e->blob_off + e->len);
    return 0;
}

int data_evict(struct data *d, uint64_t content, uint64_t *ret_bytes)
{
    struct sum s = {.d = d, .content = content, .evicted = ret_bytes};
    return meta_blobs(d->meta, content, false, evict_extent, &s);
}

static int pin_extent(void *arg, const struct extent *e)
{
    struct sum *s = arg;
    return e->blob ? page_pin(s->d->pages, e->blob, e->blob_off + e->len, true) : 0;
}

/* Where the page [from, to) is: in the origin's object, or, as far as this extent goes, in the content's own. */
static int page_backing(struct reading *r, const struct piece *p, const struct piece *o, uint64_t from, uint64_t to,
                        uint64_t *ret_off)
{
    int rc = ERR_NOT_FOUND;
    if (p->e.origin != r->content && o != p && from >= o->e.blob_off) {
        rc = use_backing(r, p->e.origin);
        *ret_off = o->at + (from - o->e.blob_off);
    }
    if (rc == ERR_NOT_FOUND && from >= p->e.blob_off && to <= p->e.blob_off + p->e.len) {
        rc = use_backing(r, r->content);
        *ret_off = p->at + (from - p->e.blob_off);
    }
    return rc == ERR_NOT_FOUND
               ? err_set(ERR_CORRUPT, "blob %llu is missing and no object backs it", (unsigned long long)p->e.blob)
               : rc;
}

/* One page of the blob is brought here, whole, whatever part of it the extent names. */
static int bring_page(struct reading *r, const struct piece *p, const struct piece *o, uint64_t from)
{
    uint64_t off = 0, end = o->e.blob_off + o->e.len, to = from + r->d->page_size < end ? from + r->d->page_size : end;
    int rc = ERR_STALE;
    if (!r->page)
        r->page = malloc(r->d->page_size);
    if (!r->page)
        return ERR_NOMEM;
    for (int i = 0; i < 3 && rc == ERR_STALE; i++) { /* the object may have been moved since its place was asked */
        TRY(page_backing(r, p, o, from, to, &off));
        r->page_n = 0;
        rc = ufs_read(r->ufs, str_of(r->back.key), off, to - from, r->back.ver[0] ? r->back.ver : NULL, collect, r);
        if (rc == ERR_PRECONDITION || rc == ERR_NOT_FOUND || (rc == 0 && r->page_n != to - from))
            rc = err_set(ERR_STALE, "the object changed in the under file system");
        r->back_of = rc < 0 ? 0 : r->back_of;
    }
    TRY(rc);
    rc = page_fill(r->d->pages, p->e.blob, p->e.origin, (uint32_t)(from / r->d->page_size), r->page, r->page_n, false);
    return rc == ERR_NO_SPACE ? 0 : rc; /* pinning will say so */
}

struct bringing {
    struct reading r;
    uint64_t at;
};

/* A file that was changed in place packs ranges from anywhere into a blob: no single extent knows a page of that, and
 * what is put together from some would be wrong for whoever names the rest. (The POSIX door writes such ranges anew.)
 */
static int refuse_packed(struct reading *r, uint64_t origin)
{
    struct content c;
    struct buf strings AUTO_BUF = {0};
    struct extent e;
    size_t n;
    uint64_t at;
    int rc = meta_extents(r->d->meta, origin, 0, &c, &strings, &e, 1, &n, &at);
    if (rc == 0 && c.version && (c.chunked || c.n != 1))
        return err_set(ERR_NO_SPACE,
                       "evicted pages that many ranges of a file share cannot be brought back by themselves");
    return rc == ERR_STALE || rc == ERR_NOT_FOUND ? 0 : rc;
}

static int bring_extent(void *arg, const struct extent *e)
{
    struct bringing *b = arg;
    uint64_t ps = b->r.d->page_size, end = e->blob_off + e->len;
    struct piece p = {*e, b->at}, o;
    bool named;
    b->at += e->len;
    if (!e->blob)
        return 0;
    TRY(origin_extent(&b->r, &p, &o, &named));
    for (uint64_t x = 0; x < end; x += ps)
        if (!page_has(b->r.d->pages, e->blob, x, end - x < ps ? end - x : ps)) {
            TRY(refuse_packed(&b->r, e->origin));
            TRY(bring_page(&b->r, &p, named ? &o : &p, x)); /* not named: the origin's object never had these bytes */
        }
    return 0;
}

static int bring(struct data *d, uint64_t content)
{
    struct bringing b = {.r = {.d = d, .content = content}};
    int rc = meta_blobs(d->meta, content, false, bring_extent, &b);
    meta_mount_put(d->meta, b.r.mt);
    free(b.r.page);
    return rc;
}

/* Nothing is fetched for pages that could never all be here at one time. */
static int room_for_rest(struct data *d, uint64_t content)
{
    struct sum s = {.d = d, .content = content};
    struct page_figures f;
    TRY(meta_blobs(d->meta, content, false, add_cached, &s));
    page_figures(d->pages, &f);
    if (s.all - s.bytes <= f.capacity - (f.pinned < f.capacity ? f.pinned : f.capacity))
        return 0;
    return err_set(ERR_NO_SPACE, "no room in the page store to keep what readers still need");
}

/* Fetched pages may be evicted again before they are pinned when space is short: tried a few times, then no room. */
int data_materialize(struct data *d, uint64_t content)
{
    struct sum s = {.d = d, .content = content};
    int rc = ERR_NOT_CACHED;
    for (int i = 0; i < 4 && rc == ERR_NOT_CACHED; i++) {
        rc = meta_blobs(d->meta, content, false, pin_extent, &s);
        if (rc == ERR_NOT_CACHED) {
            TRY(room_for_rest(d, content));
            TRY(bring(d, content));
            rc = meta_blobs(d->meta, content, false, pin_extent, &s);
        }
    }
    if (rc ==
        0) /* what was fetched is the only copy soon: before its backing goes it is as safe as what was written here */
        rc = page_sync(d->pages);
    return rc == ERR_NOT_CACHED ? err_set(ERR_NO_SPACE, "no room in the page store to keep what readers still need")
                                : rc;
}

struct unpin {
    struct data *d;
    uint64_t content, last_origin;
    bool last_backed;
    uint64_t *origin; /* contents of others it names, each once */
    size_t origins;
};

static int note_origin(struct unpin *u, uint64_t origin)
{
    for (size_t i = 0; i < u->origins; i++)
        if (u->origin[i] == origin)
            return 0;
    uint64_t *more = realloc(u->origin, (u->origins + 1) * sizeof *more);
    if (!more)
        return ERR_NOMEM;
    u->origin = more;
    u->origin[u->origins++] = origin;
    return 0;
}

static int unpin_extent(void *arg, const struct extent *e)
{
    struct unpin *u = arg;
    if (!e->blob)
        return 0;
    if (e->origin != u->last_origin) {
        u->last_origin = e->origin;
        TRY(meta_origin_backed(u->d->meta, e->origin, &u->last_backed));
        if (u->last_backed && e->origin != u->content)
            TRY(note_origin(u, e->origin));
    }
    if (u->last_backed)
        page_unpin(u->d->pages, e->blob, e->blob_off + e->len);
    return 0;
}

static int unpin_once(struct unpin *u)
{
    int r = meta_blobs(u->d->meta, u->content, false, unpin_extent, u);
    return r == ERR_STALE ? 0 : r;
}

/* And those it borrows from: what others did not borrow of them was pinned for its sake, too. */
int data_unpin(struct data *d, uint64_t content)
{
    struct unpin u = {.d = d, .content = content};
    int r = unpin_once(&u);
    for (size_t i = 0; i < u.origins && r == 0; i++) {
        struct unpin o = {.d = d, .content = u.origin[i]};
        if (meta_hold(d->meta, o.content) < 0) /* it is being dropped */
            continue;
        r = unpin_once(&o); /* held: it is not changed in place meanwhile */
        meta_unhold(d->meta, o.content);
        free(o.origin);
    }
    free(u.origin);
    return r;
}

/* ---- sending ---- */

struct sending {
    struct data *d;
    uint64_t content, off, size;
    char *p; /* window given to the driver */
    size_t have, room;
};

static int into(void *arg, const void *p, size_t n)
{
    struct sending *s = arg;
    memcpy(s->p + s->have, p, n);
    s->have += n;
    return 0;
}

static ssize_t next_bytes(void *arg, void *p, size_t n)
{
    struct sending *s = arg;
    uint64_t left = s->size - s->off;
    if (!left)
        return 0;
    s->p = p;
    s->have = 0;
    if (n > left)
        n = left;
    struct data_sink sink = {.bytes = into, .arg = s};
    int r = data_read(s->d, s->content, s->off, n, &sink, false, true);
    if (r < 0)
        return r;
    s->off += s->have;
    return (ssize_t)s->have;
}

size_t data_ufs_pairs(struct str pairs, struct ufs_pair **ret)
{
    struct cur c = cur_of(pairs);
    struct str n, v;
    size_t count = 0, i = 0;
    while (pairs_next(&c, &n, &v))
        count++;
    *ret = calloc(count ? count : 1, sizeof **ret);
    c = cur_of(pairs);
    while (pairs_next(&c, &n, &v))
        if (!str_starts(n, STR("x-amz-checksum-")) && !str_starts(n, STR("forebay-")))
            (*ret)[i++] = (struct ufs_pair){n, v};
    return i;
}

/* The sizes of the parts a content was uploaded in. */
struct parts {
    uint64_t *size;
    size_t n, cap;
    uint32_t last;
};

static int note_part(void *arg, const struct extent *e)
{
    struct parts *p = arg;
    if (!e->part)
        return 0;
    if (!p->n || e->part != p->last) {
        if (p->n == p->cap) {
            size_t cap = p->cap ? p->cap * 2 : 64;
            uint64_t *more = realloc(p->size, cap * sizeof *more);
            if (!more)
                return ERR_NOMEM;
            p->size = more;
            p->cap = cap;
        }
        p->size[p->n++] = 0;
        p->last = e->part;
    }
    p->size[p->n - 1] += e->len;
    return 0;
}

enum { WHOLE_MAX = 1u << 30, PART = 64u << 20, PART_MIN = 5u << 20 };
#define PART_MOST (5ull << 30)

/* May they go up as they came? 0: no; else the size all but the last have, UINT64_MAX: they differ. */
static uint64_t part_size(const struct parts *p)
{
    uint64_t same = p->n > 1 ? p->size[0] : 0;
    if (p->n == 1 &&
        p->size[0] <= PART_MOST) /* else its ETag would be another, and a lost answer leave an object nobody knows */
        return UINT64_MAX;
    for (size_t i = 0; i + 1 < p->n; i++) {
        if (p->size[i] < PART_MIN)
            return 0;
        if (p->size[i] != p->size[0])
            same = UINT64_MAX;
    }
    return p->n > 1 && p->size[p->n - 1] > p->size[0] && same ? UINT64_MAX : same;
}

/* Parts of unequal sizes, so that the object has the ETag its client was told. */
static int put_parts(const struct data_put *p, const struct ufs_put_opts *o, struct sending *s,
                     const struct parts *parts, struct ufs_stat *ret)
{
    char upload[1100];
    struct ufs_part *done AUTO_FREE = calloc(parts->n, sizeof *done);
    uint64_t end = 0;
    TRY(ufs_mpu_create(p->ufs, str_of(p->key), o, upload));
    int r = 0;
    for (size_t i = 0; i < parts->n && r == 0; i++) {
        end += parts->size[i];
        s->size = end; /* the source ends where the part does */
        done[i].part = (unsigned)i + 1;
        r = ufs_mpu_part(p->ufs, str_of(p->key), upload, done[i].part, parts->size[i], NULL, next_bytes, s,
                         done[i].etag);
    }
    if (r == 0)
        r = ufs_mpu_complete(p->ufs, str_of(p->key), upload, done, parts->n, o, ret);
    if (r < 0) {
        char why[300];
        snprintf(why, sizeof why, "%s", err_detail(r));
        if (err_info(r)->retry != ERR_RETRY_MAYBE)
            ufs_mpu_abort(p->ufs, str_of(p->key), upload);
        return err_set(r, "%s", why);
    }
    return 0;
}

int data_put(struct data *d, const struct data_put *p, struct ufs_stat *ret)
{
    struct sending s = {.d = d, .content = p->content, .size = p->size};
    struct ufs_pair *pair AUTO_FREE = NULL;
    struct ufs_put_opts o = {
        .size = p->size, .if_match = p->if_match, .if_none_match = p->if_none_match, .mtime_ms = p->mtime_ms};
    struct parts parts = {0};
    unsigned char md5[16];
    int r = 0;
    o.meta.n = data_ufs_pairs(p->pairs, &pair);
    o.meta.pair = pair;
    o.etag = p->etag && p->etag[0] ? p->etag : NULL;
    if (o.etag && strlen(o.etag) == 32 && str_unhex(str_of(o.etag), md5, 16))
        o.md5 = md5;
    if (p->content && !o.md5)
        r = meta_blobs(d->meta, p->content, false, note_part, &parts);
    uint64_t same = r == 0 && (ufs_caps(p->ufs) & UFS_CAP_MULTIPART) ? part_size(&parts) : 0;
    if (same != UINT64_MAX)
        o.part_size = same;
    if (!o.part_size && p->size > WHOLE_MAX)
        o.part_size = p->size / PART >= 10000 ? p->size / 9999 + 1 : PART;
    TRACE("data.put", p->content, p->size);
    if (r == 0)
        r = same == UINT64_MAX ? put_parts(p, &o, &s, &parts, ret)
                               : ufs_put(p->ufs, str_of(p->key), &o, next_bytes, &s, ret);
    free(parts.size);
    return r;
}

/* ---- before an object goes ---- */

static int protect_borrower(void *arg, uint64_t borrower)
{
    int r = data_materialize(arg, borrower);
    return r == ERR_STALE ? 0 : r;
}

static int protect_readers(struct data *d, uint64_t content, bool hurry)
{
    uint64_t since;
    unsigned readers = meta_held(d->meta, content, NULL);
    if (!readers)
        return 0;
    int r = data_materialize(d, content);
    if (r != ERR_NO_SPACE)
        return r == ERR_STALE ? 0 : r;
    readers = meta_held(d->meta, content, &since);
    if (readers && !hurry && clock_mono_ms() < since + d->reader_hold_ms)
        return r;
    atomic_fetch_add(&d->readers_cut, readers);
    return 0;
}

int data_protect(struct data *d, uint64_t content, bool hurry)
{
    if (!content)
        return 0;
    TRY(meta_borrowers(d->meta, content, protect_borrower, d));
    return protect_readers(d, content, hurry);
}

uint64_t data_readers_cut(const struct data *d)
{
    return atomic_load(&d->readers_cut);
}
