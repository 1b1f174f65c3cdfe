/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrapper: objects larger than one request, made of the multipart calls of the layers below.
 *
 *   put of unknown size, above part_size, or above what one request may carry    -> create, parts, complete
 *   a writer (begin, write, commit)        -> one put at commit while it fits one part, else the same
 *   copy and set_meta above `forebay.ufs.copy.part.size`        -> create, part copies of one version, complete
 *
 * Memory: a writer holds one part. Its size is the caller's part_size or PART; it grows so that 10,000 parts are
 * enough: for a known size at once, for an unknown one by doubling every GROW parts. Each part is sent from memory with
 * its MD5, so that the retry wrapper below can send it again. Nothing is visible before complete. A failed upload is
 * aborted, unless the outcome of complete is unknown; what a crash leaves is an incomplete upload in the store.
 *
 * A writer belongs to one thread at a time. Each request has the deadline of its own call to this layer, parts
 * included.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ufs/ufs_driver.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define PART (8 * MIB)
#define PARTS_MAX 10000
#define GROW 1000
#define PART_LIMIT (512 * MIB)
#define ONE_REQUEST (5 * GIB)

struct parts {
    struct ufs_layer l;
    uint64_t deadline_ns, copy_part;
};

struct upload {
    struct str key; /* own copy */
    struct ufs_put_opts o;
    struct ufs_kept_meta meta;
    size_t part_size;
    struct buf bytes; /* the part that is being filled */
    char id[1100];    /* "": not created yet */
    struct ufs_part *part;
    size_t n;
    struct buf sums; /* MD5 of each part: the ETag the whole must get */
};

/* --- an upload */

static uint64_t until_now(struct ufs_layer *l)
{
    return clock_mono_ns() + ((struct parts *)l)->deadline_ns;
}

static size_t first_part_size(const struct ufs_put_opts *o)
{
    uint64_t size = o->part_size ? o->part_size : PART;
    if (o->size != UFS_SIZE_UNKNOWN && o->size / PARTS_MAX >= size)
        size = (o->size / PARTS_MAX / MIB + 1) * MIB;
    return (size_t)size;
}

static struct upload *upload_new(struct str key, const struct ufs_put_opts *o)
{
    struct upload *up = MEM_NEW(struct upload);
    up->key = str_mk(str_dup(key), key.n);
    up->o = *o;
    ufs_meta_keep(&up->meta, &o->meta);
    up->o.meta = up->meta.meta;
    up->part_size = first_part_size(o);
    return up;
}

static void upload_free(struct upload *up)
{
    ufs_meta_drop(&up->meta);
    buf_done(&up->bytes);
    buf_done(&up->sums);
    free(up->part);
    free((char *)up->key.p);
    free(up);
}

static void upload_abort(struct ufs_layer *l, struct upload *up)
{
    if (up->id[0])
        l->below->op.mpu_abort(l->below, until_now(l), up->key, up->id);
}

static struct ufs_part *next_part(struct upload *up)
{
    if (up->n % 64 == 0)
        up->part = mem_grow(up->part, up->n + 64, sizeof *up->part);
    up->part[up->n].part = (unsigned)up->n + 1;
    up->part[up->n].etag[0] = 0;
    return &up->part[up->n];
}

static void grow(struct upload *up)
{
    if (up->o.size == UFS_SIZE_UNKNOWN && up->n % GROW == 0 && up->part_size < PART_LIMIT)
        up->part_size *= 2;
}

static void md5_of(const struct buf *b, unsigned char md5[16])
{
    unsigned char out[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, b->p ? b->p : "", b->n);
    digest_end(d, out);
    memcpy(md5, out, 16);
}

static int send_part(struct ufs_layer *l, struct upload *up)
{
    struct ufs_layer *b = l->below;
    unsigned char md5[16];
    struct ufs_bytes m = {.p = up->bytes.p, .n = up->bytes.n};
    struct ufs_body body = ufs_body_of(&m);
    if (up->n == PARTS_MAX)
        return err_set(ERR_TOO_LARGE, "%.*s needs more than %d parts", STR_ARG(up->key), PARTS_MAX);
    if (!up->id[0])
        TRY(b->op.mpu_create(b, until_now(l), up->key, &up->o, up->id));
    struct ufs_part *p = next_part(up);
    md5_of(&up->bytes, md5);
    TRY(b->op.mpu_part(b, until_now(l), up->key, up->id, p->part, md5, &body, p->etag));
    buf_add(&up->sums, md5, sizeof md5);
    up->n++;
    grow(up);
    buf_reset(&up->bytes);
    return 0;
}

static int upload_add(struct ufs_layer *l, struct upload *up, const char *p, size_t n)
{
    while (n) {
        if (up->bytes.n == up->part_size)
            TRY(send_part(l, up));
        size_t room = up->part_size - up->bytes.n;
        size_t take = n < room ? n : room;
        buf_add(&up->bytes, p, take);
        p += take;
        n -= take;
    }
    return 0;
}

/* Small enough for one request after all. */
static int commit_whole(struct ufs_layer *l, uint64_t until, struct upload *up, struct ufs_stat *ret)
{
    unsigned char md5[16];
    struct ufs_put_opts o = up->o;
    struct ufs_bytes m = {.p = up->bytes.p, .n = up->bytes.n};
    struct ufs_body body = ufs_body_of(&m);
    md5_of(&up->bytes, md5);
    if (o.md5 && memcmp(o.md5, md5, sizeof md5) != 0)
        return err_set(ERR_CORRUPT, "the bytes for %.*s do not have the MD5 that was announced", STR_ARG(up->key));
    o.md5 = md5;
    o.size = up->bytes.n;
    o.part_size = 0;
    return l->below->op.put(l->below, until, up->key, &o, &body, ret);
}

static int commit_upload(struct ufs_layer *l, uint64_t until, struct upload *up, struct ufs_stat *ret)
{
    struct ufs_layer *b = l->below;
    if (!up->id[0])
        return commit_whole(l, until, up, ret);
    unsigned char md5[16];
    char etag[72];
    if (up->bytes.n)
        TRY(send_part(l, up));
    md5_of(&up->sums, md5);
    str_hex(md5, sizeof md5, etag);
    snprintf(etag + 32, sizeof etag - 32, "-%zu", up->n);
    up->o.etag = etag;
    int r = b->op.mpu_complete(b, until_now(l), up->key, up->id, up->part, up->n, &up->o, ret);
    up->o.etag = NULL;
    return r;
}

/* --- writer */

static bool has_multipart(struct ufs_layer *l)
{
    return l->below->op.caps(l->below) & UFS_CAP_MULTIPART;
}

struct writer { /* of this layer, or the layer's below when it has no multipart */
    struct upload *up;
    void *below;
};

static int parts_begin(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret)
{
    struct writer w = {0};
    if (has_multipart(l))
        w.up = upload_new(key, o);
    else
        TRY(l->below->op.begin(l->below, key, o, &w.below));
    struct writer *out = MEM_NEW(struct writer);
    *out = w;
    *ret = out;
    return 0;
}

static int parts_write(struct ufs_layer *l, void *arg, const void *p, size_t n)
{
    struct writer *w = arg;
    return w->up ? upload_add(l, w->up, p, n) : l->below->op.write(l->below, w->below, p, n);
}

static int upload_end(struct ufs_layer *l, uint64_t until, struct upload *up, const struct ufs_put_opts *o,
                      struct ufs_stat *ret)
{
    up->o.if_match = o->if_match;
    up->o.if_none_match = o->if_none_match;
    up->o.etag = o->etag;
    up->o.md5 = o->md5;
    int r = commit_upload(l, until, up, ret);
    if (r < 0 && r != ERR_UNKNOWN_OUTCOME)
        upload_abort(l, up);
    upload_free(up);
    return r;
}

static int parts_commit(struct ufs_layer *l, uint64_t until, void *arg, const struct ufs_put_opts *o,
                        struct ufs_stat *ret)
{
    struct writer *w = arg;
    int r = w->up ? upload_end(l, until, w->up, o, ret) : l->below->op.commit(l->below, until, w->below, o, ret);
    free(w);
    return r;
}

static void parts_abort(struct ufs_layer *l, void *arg)
{
    struct writer *w = arg;
    if (w->up) {
        upload_abort(l, w->up);
        upload_free(w->up);
    } else
        l->below->op.abort(l->below, w->below);
    free(w);
}

/* --- put */

static int pump_up(struct ufs_layer *l, struct upload *up, struct ufs_body *b)
{
    AUTO_FREE char *piece = mem_alloc(256 * 1024);
    for (;;) {
        ssize_t n = ufs_pull(b, piece, 256 * 1024);
        if (n <= 0)
            return (int)n;
        TRY(upload_add(l, up, piece, (size_t)n));
    }
}

static bool one_request(const struct ufs_put_opts *o)
{
    return o->size != UFS_SIZE_UNKNOWN && o->size <= (o->part_size ? o->part_size : ONE_REQUEST);
}

static int parts_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                     struct ufs_body *b, struct ufs_stat *ret)
{
    if (one_request(o) || !has_multipart(l))
        return l->below->op.put(l->below, until, key, o, b, ret);
    struct upload *up = upload_new(key, o);
    int r = pump_up(l, up, b);
    if (r == 0)
        return upload_end(l, until_now(l), up, o, ret);
    upload_abort(l, up);
    upload_free(up);
    return r;
}

/* --- copy */

struct source {
    struct ufs_stat st;
    struct ufs_kept_meta meta;
};

static void source_meta(void *arg, struct str name, struct str value)
{
    ufs_meta_add(&((struct source *)arg)->meta, name, value);
}

static int copy_part(struct ufs_layer *l, struct upload *up, struct str src, const char *version, uint64_t off,
                     uint64_t n)
{
    struct ufs_part *p = next_part(up);
    TRY(l->below->op.mpu_copy(l->below, until_now(l), up->key, up->id, p->part, src, off, n, version, p->etag));
    up->n++;
    return 0;
}

static int copy_parts(struct ufs_layer *l, struct upload *up, struct str src, const struct ufs_stat *st,
                      struct ufs_stat *ret)
{
    struct ufs_layer *b = l->below;
    uint64_t size = ((struct parts *)l)->copy_part;
    if (st->size / PARTS_MAX >= size)
        size = (st->size / PARTS_MAX / MIB + 1) * MIB;
    TRY(b->op.mpu_create(b, until_now(l), up->key, &up->o, up->id));
    for (uint64_t off = 0; off < st->size; off += size)
        TRY(copy_part(l, up, src, st->version, off, st->size - off < size ? st->size - off : size));
    return b->op.mpu_complete(b, until_now(l), up->key, up->id, up->part, up->n, &up->o, ret);
}

static int copy_large(struct ufs_layer *l, struct str src, struct str dst, const struct ufs_stat *st,
                      const struct ufs_meta *meta, struct ufs_stat *ret)
{
    struct ufs_put_opts o = {.size = st->size, .meta = *meta};
    struct upload *up = upload_new(dst, &o);
    int r = copy_parts(l, up, src, st, ret);
    if (r < 0 && r != ERR_UNKNOWN_OUTCOME)
        upload_abort(l, up);
    upload_free(up);
    return r;
}

static int parts_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                      struct ufs_stat *ret)
{
    struct ufs_layer *b = l->below;
    struct source s = {0};
    if (!has_multipart(l))
        return b->op.copy(b, until, src, dst, if_match, ret);
    TRY(b->op.stat(b, until, src, &s.st, NULL, NULL));
    if (if_match && strcmp(if_match, s.st.version) != 0)
        return err_set(ERR_PRECONDITION, "the source of a copy changed");
    if (s.st.size <= ((struct parts *)l)->copy_part)
        return b->op.copy(b, until, src, dst, if_match, ret);
    int r = b->op.stat(b, until, src, &s.st, source_meta, &s); /* pairs and version of one and the same object */
    if (r == 0 && if_match && strcmp(if_match, s.st.version) != 0)
        r = err_set(ERR_PRECONDITION, "the source of a copy changed");
    if (r == 0)
        r = copy_large(l, src, dst, &s.st, &s.meta.meta, ret);
    ufs_meta_drop(&s.meta);
    return r;
}

static int parts_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                          struct ufs_stat *ret)
{
    struct ufs_layer *b = l->below;
    struct ufs_stat st;
    if (!has_multipart(l))
        return b->op.set_meta(b, until, key, meta, ret);
    TRY(b->op.stat(b, until, key, &st, NULL, NULL));
    if (st.size <= ONE_REQUEST)
        return b->op.set_meta(b, until, key, meta, ret);
    return copy_large(l, key, key, &st, meta, ret);
}

static void parts_close(struct ufs_layer *l)
{
    free(l);
}

static const struct ufs_ops parts_ops = {
    .name = "parts",
    .close = parts_close,
    .put = parts_put,
    .begin = parts_begin,
    .write = parts_write,
    .commit = parts_commit,
    .abort = parts_abort,
    .copy = parts_copy,
    .set_meta = parts_set_meta,
};

int ufs_parts_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below, struct ufs_layer **ret)
{
    AUTO_FREE struct parts *p = MEM_NEW(struct parts);
    TRY(ufs_option_u64(o, "forebay.ufs.copy.part.size", 512 * MIB, ONE_REQUEST, &p->copy_part));
    if (p->copy_part == 0)
        return err_set(ERR_INVALID, "mount option forebay.ufs.copy.part.size must be above 0");
    p->deadline_ns = o->deadline_ms * 1000000;
    ufs_layer_init(&p->l, &parts_ops, below, c);
    *ret = &TAKE(p)->l;
    return 0;
}
