/* SPDX-License-Identifier: Apache-2.0
 *
 * What every layer of a UFS stack shares: defaults for calls a driver leaves out, the way down for calls a wrapper
 * leaves out, bodies, and small helpers. Nothing here holds state.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "ufs/ufs_driver.h"

/* --- bodies */

ssize_t ufs_pull(struct ufs_body *b, void *p, size_t n)
{
    if (b->failed)
        return b->failed;
    if (b->size != UFS_SIZE_UNKNOWN && n > b->size - b->pulled)
        n = (size_t)(b->size - b->pulled);
    if (n == 0)
        return 0;
    ssize_t got = b->next(b->arg, p, n);
    if (got == 0 && b->size != UFS_SIZE_UNKNOWN)
        got = err_set(ERR_INCOMPLETE_BODY, "the data ended after %llu of %llu bytes", (unsigned long long)b->pulled,
                      (unsigned long long)b->size);
    if (got < 0)
        return b->failed = (int)got;
    CHECK((size_t)got <= n, "a source gave %zd bytes, asked for %zu", got, n);
    b->pulled += (uint64_t)got;
    return got;
}

bool ufs_body_again(struct ufs_body *b)
{
    if (b->failed)
        return false;
    if (b->pulled == 0)
        return true;
    if (!b->rewind || b->rewind(b->arg) < 0)
        return false;
    b->pulled = 0;
    return true;
}

static ssize_t bytes_next(void *arg, void *p, size_t n)
{
    struct ufs_bytes *m = arg;
    if (n > m->n - m->at)
        n = m->n - m->at;
    if (n)
        memcpy(p, m->p + m->at, n);
    m->at += n;
    return (ssize_t)n;
}

static int bytes_rewind(void *arg)
{
    ((struct ufs_bytes *)arg)->at = 0;
    return 0;
}

struct ufs_body ufs_body_of(struct ufs_bytes *m)
{
    return (struct ufs_body){.next = bytes_next, .arg = m, .rewind = bytes_rewind, .size = m->n};
}

/* --- defaults of drivers */

static unsigned none_caps(struct ufs_layer *l)
{
    (void)l;
    return 0;
}

static int none_key_check(struct ufs_layer *l, struct str key)
{
    (void)l, (void)key;
    return 0;
}

#define PIECE (256 * 1024)

static int pump(struct ufs_layer *l, struct ufs_body *b, void *w)
{
    AUTO_FREE char *piece = mem_alloc(PIECE);
    for (;;) {
        ssize_t n = ufs_pull(b, piece, PIECE);
        if (n <= 0)
            return (int)n;
        TRY(l->op.write(l, w, piece, (size_t)n));
    }
}

static int none_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                    struct ufs_body *b, struct ufs_stat *ret)
{
    void *w;
    TRY(l->op.begin(l, key, o, &w));
    int r = pump(l, b, w);
    if (r == 0)
        return l->op.commit(l, until, w, o, ret);
    l->op.abort(l, w);
    return r;
}

/* A writer of a driver that can only put: the bytes wait in memory. */
struct kept {
    char *key;
    size_t key_n;
    struct buf bytes;
    struct ufs_put_opts o; /* o.meta is meta's */
    struct ufs_kept_meta meta;
};

static void kept_free(struct kept *k)
{
    buf_done(&k->bytes);
    ufs_meta_drop(&k->meta);
    free(k->key);
    free(k);
}

static int none_begin(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret)
{
    struct kept *k = MEM_NEW(struct kept);
    (void)l;
    k->key = str_dup(key);
    k->key_n = key.n;
    k->o = *o;
    ufs_meta_keep(&k->meta, &o->meta);
    k->o.meta = k->meta.meta;
    *ret = k;
    return 0;
}

static int none_write(struct ufs_layer *l, void *w, const void *p, size_t n)
{
    (void)l;
    buf_add(&((struct kept *)w)->bytes, p, n);
    return 0;
}

static int none_commit(struct ufs_layer *l, uint64_t until, void *w, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    struct kept *k = w;
    struct ufs_bytes m = {.p = k->bytes.p, .n = k->bytes.n};
    struct ufs_body b = ufs_body_of(&m);
    k->o.if_match = o->if_match;
    k->o.if_none_match = o->if_none_match;
    k->o.etag = o->etag;
    k->o.md5 = o->md5;
    k->o.size = k->bytes.n;
    int r = l->op.put(l, until, str_mk(k->key, k->key_n), &k->o, &b, ret);
    kept_free(k);
    return r;
}

static void none_abort(struct ufs_layer *l, void *w)
{
    (void)l;
    kept_free(w);
}

static int lacks(struct ufs_layer *l, const char *what)
{
    return err_set(ERR_NOT_IMPLEMENTED, "%s: the under file system driver has no %s", l->op.name, what);
}

static int none_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o, char *ret)
{
    (void)until, (void)key, (void)o, (void)ret;
    return lacks(l, "multipart upload");
}

static int none_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                         const unsigned char *md5, struct ufs_body *b, char *ret)
{
    (void)until, (void)key, (void)upload, (void)part, (void)md5, (void)b, (void)ret;
    return lacks(l, "multipart upload");
}

static int none_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                         struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    (void)until, (void)key, (void)upload, (void)part, (void)src, (void)off, (void)n, (void)if_match, (void)ret;
    return lacks(l, "multipart upload");
}

static int none_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                             const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    (void)until, (void)key, (void)upload, (void)parts, (void)n, (void)o, (void)ret;
    return lacks(l, "multipart upload");
}

static int none_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    (void)until, (void)key, (void)upload;
    return lacks(l, "multipart upload");
}

/* Copy through here: the source's pairs, then its bytes as one version. */
struct through {
    struct ufs_layer *l;
    void *w;
    struct ufs_kept_meta meta;
};

static void through_meta(void *arg, struct str name, struct str value)
{
    ufs_meta_add(&((struct through *)arg)->meta, name, value);
}

static int through_write(void *arg, const void *p, size_t n)
{
    struct through *t = arg;
    return t->l->op.write(t->l, t->w, p, n);
}

static int through_bytes(struct through *t, uint64_t until, struct str src, struct str dst, const struct ufs_stat *st,
                         struct ufs_stat *ret)
{
    struct ufs_layer *l = t->l;
    struct ufs_put_opts o = {.size = st->size, .meta = t->meta.meta};
    TRY(l->op.begin(l, dst, &o, &t->w));
    int r = st->size ? l->op.read(l, until, src, 0, st->size, st->version, through_write, t) : 0;
    if (r == 0)
        return l->op.commit(l, until, t->w, &o, ret);
    l->op.abort(l, t->w);
    return r;
}

int ufs_copy_through(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                     struct ufs_stat *ret)
{
    struct through t = {.l = l};
    struct ufs_stat st;
    int r = l->op.stat(l, until, src, &st, through_meta, &t);
    if (r == 0 && if_match && strcmp(if_match, st.version) != 0)
        r = err_set(ERR_PRECONDITION, "the source of a copy changed");
    if (r == 0)
        r = through_bytes(&t, until, src, dst, &st, ret);
    ufs_meta_drop(&t.meta);
    return r;
}

static int none_delete_many(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = l->op.del(l, until, keys[i], NULL);
    return 0;
}

static int none_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    (void)until, (void)src, (void)dst;
    return lacks(l, "rename");
}

static int none_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                         struct ufs_stat *ret)
{
    (void)until, (void)key, (void)meta, (void)ret;
    return lacks(l, "way to change metadata");
}

static int none_sync(struct ufs_layer *l)
{
    (void)l;
    return 0;
}

/* --- the way down of wrappers */

static unsigned pass_caps(struct ufs_layer *l)
{
    return l->below->op.caps(l->below);
}
static int pass_key_check(struct ufs_layer *l, struct str key)
{
    return l->below->op.key_check(l->below, key);
}
static int pass_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                     void *arg)
{
    return l->below->op.stat(l->below, until, key, ret, meta, arg);
}
static int pass_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                     bool *ret_more)
{
    return l->below->op.list(l->below, until, a, fn, arg, ret_more);
}
static int pass_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n,
                     const char *if_match, ufs_sink *sink, void *arg)
{
    return l->below->op.read(l->below, until, key, off, n, if_match, sink, arg);
}
static int pass_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                    struct ufs_body *b, struct ufs_stat *ret)
{
    return l->below->op.put(l->below, until, key, o, b, ret);
}
static int pass_begin(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret)
{
    return l->below->op.begin(l->below, key, o, ret);
}
static int pass_write(struct ufs_layer *l, void *w, const void *p, size_t n)
{
    return l->below->op.write(l->below, w, p, n);
}
static int pass_commit(struct ufs_layer *l, uint64_t until, void *w, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    return l->below->op.commit(l->below, until, w, o, ret);
}
static void pass_abort(struct ufs_layer *l, void *w)
{
    l->below->op.abort(l->below, w);
}
static int pass_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o, char *ret)
{
    return l->below->op.mpu_create(l->below, until, key, o, ret);
}
static int pass_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                         const unsigned char *md5, struct ufs_body *b, char *ret)
{
    return l->below->op.mpu_part(l->below, until, key, upload, part, md5, b, ret);
}
static int pass_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                         struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    return l->below->op.mpu_copy(l->below, until, key, upload, part, src, off, n, if_match, ret);
}
static int pass_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                             const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    return l->below->op.mpu_complete(l->below, until, key, upload, parts, n, o, ret);
}
static int pass_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    return l->below->op.mpu_abort(l->below, until, key, upload);
}
static int pass_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                     struct ufs_stat *ret)
{
    return l->below->op.copy(l->below, until, src, dst, if_match, ret);
}
static int pass_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    return l->below->op.del(l->below, until, key, if_match);
}
static int pass_delete_many(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    return l->below->op.delete_many(l->below, until, keys, n, codes);
}
static int pass_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    return l->below->op.rename(l->below, until, src, dst);
}
static int pass_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                         struct ufs_stat *ret)
{
    return l->below->op.set_meta(l->below, until, key, meta, ret);
}
static int pass_sync(struct ufs_layer *l)
{
    return l->below->op.sync(l->below);
}

#define FILL(call)                                                                                                     \
    if (!l->op.call)                                                                                                   \
    l->op.call = below ? pass_##call : none_##call
#define FILL_DOWN(call)                                                                                                \
    if (!l->op.call && below)                                                                                          \
        l->op.call = pass_##call;                                                                                      \
    CHECK(l->op.call, "%s lacks " #call, l->op.name)

void ufs_layer_init(struct ufs_layer *l, const struct ufs_ops *ops, struct ufs_layer *below,
                    struct ufs_counters *counters)
{
    l->op = *ops;
    l->below = below;
    l->counters = counters;
    CHECK(ops->close && ops->name);
    CHECK(below || ops->put || ops->begin, "%s can neither put nor write", ops->name);
    FILL(caps);
    FILL(key_check);
    FILL_DOWN(stat);
    FILL_DOWN(list);
    FILL_DOWN(read);
    FILL_DOWN(del);
    FILL(put);
    FILL(begin);
    FILL(write);
    FILL(commit);
    FILL(abort);
    FILL(mpu_create);
    FILL(mpu_part);
    FILL(mpu_copy);
    FILL(mpu_complete);
    FILL(mpu_abort);
    if (!l->op.copy)
        l->op.copy = below ? pass_copy : ufs_copy_through;
    FILL(delete_many);
    FILL(rename);
    FILL(set_meta);
    FILL(sync);
}

/* --- helpers */

/* One text holds all names and values in order; pairs point into it and are set anew whenever it moves. */
void ufs_meta_add(struct ufs_kept_meta *k, struct str name, struct str value)
{
    size_t used = 0, n = k->meta.n;
    for (size_t i = 0; i < n; i++)
        used += k->pair[i].name.n + k->pair[i].value.n;
    k->text = mem_grow(k->text, used + name.n + value.n + 1, 1);
    memcpy(k->text + used, name.p, name.n);
    if (value.n)
        memcpy(k->text + used + name.n, value.p, value.n);
    k->pair = mem_grow(k->pair, n + 1, sizeof *k->pair);
    k->pair[n] = (struct ufs_pair){str_mk(NULL, name.n), str_mk(NULL, value.n)};
    char *at = k->text;
    for (size_t i = 0; i <= n; i++) {
        k->pair[i] =
            (struct ufs_pair){str_mk(at, k->pair[i].name.n), str_mk(at + k->pair[i].name.n, k->pair[i].value.n)};
        at += k->pair[i].name.n + k->pair[i].value.n;
    }
    k->meta = (struct ufs_meta){k->pair, n + 1};
}

void ufs_meta_keep(struct ufs_kept_meta *k, const struct ufs_meta *m)
{
    for (size_t i = 0; i < m->n; i++)
        ufs_meta_add(k, m->pair[i].name, m->pair[i].value);
}

void ufs_meta_drop(struct ufs_kept_meta *k)
{
    free(k->text);
    free(k->pair);
    *k = (struct ufs_kept_meta){0};
}

const char *ufs_option(const struct ufs_options *o, const char *name)
{
    return o->props ? map_get(o->props, str_of(name)) : NULL;
}

int ufs_option_u64(const struct ufs_options *o, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret)
{
    const char *v = ufs_option(o, name);
    if (!v)
        *ret = fallback;
    else if (!str_u64(str_of(v), max, ret))
        return err_set(ERR_INVALID, "mount option %s=%s: not a number up to %llu", name, v, (unsigned long long)max);
    return 0;
}

static int component_check(struct str c)
{
    if (c.n == 0)
        return err_set(ERR_KEY_UNSUPPORTED,
                       "the under file system cannot hold an empty name (\"//\" or a leading '/')");
    if (str_eq(c, STR(".")) || str_eq(c, STR("..")))
        return err_set(ERR_KEY_UNSUPPORTED, "the under file system cannot hold the name \"%.*s\"", STR_ARG(c));
    if (c.n > 255)
        return err_set(ERR_NAME_TOO_LONG, "a name of %zu bytes; the under file system holds at most 255", c.n);
    return 0;
}

int ufs_key_posix(struct str key)
{
    if (str_ends(key, STR("/")))
        key.n--;
    for (;;) {
        const char *slash = memchr(key.p, '/', key.n);
        size_t n = slash ? (size_t)(slash - key.p) : key.n;
        TRY(component_check(str_mk(key.p, n)));
        if (!slash)
            return 0;
        key = str_from(key, n + 1);
    }
}

uint64_t ufs_left_ms(uint64_t until)
{
    uint64_t now = clock_mono_ns();
    return now >= until ? 0 : (until - now) / 1000000 + 1;
}

void ufs_set_field(char *field, size_t cap, struct str s)
{
    size_t n = s.n < cap ? s.n : cap - 1;
    memcpy(field, s.p, n);
    field[n] = 0;
}
