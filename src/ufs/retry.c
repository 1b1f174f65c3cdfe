/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrapper: try again what did not happen.
 *
 * ERR_THROTTLED and ERR_UNREACHABLE promise that nothing happened; such a call is made again after a pause that doubles
 * (jittered: between half and all of it), at most `forebay.ufs.retry.attempts` times (5) and never past the call's
 * deadline. An unknown outcome is never repeated here: who made the call must look first. A body that was pulled from
 * can be sent again only if it can be rewound; small ones (SMALL) are kept in memory so that they can. A read that
 * delivered bytes goes on behind them only when it names a version, so that two versions never mix.
 *
 * No state but settings; any thread.
 */
#include "base/clock.h"
#include "base/err.h"
#include "ufs/ufs_driver.h"

#define SMALL (256 * 1024)

struct retry {
    struct ufs_layer l;
    uint64_t attempts, first_ms, max_ms;
    _Atomic uint64_t seed;
};

static uint64_t random_next(struct retry *t)
{
    uint64_t x = atomic_fetch_add(&t->seed, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u; /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t pause_ms(struct retry *t, unsigned tries)
{
    uint64_t ms = t->first_ms << (tries < 20 ? tries : 20);
    if (ms > t->max_ms)
        ms = t->max_ms;
    return ms / 2 + random_next(t) % (ms / 2 + 1);
}

/* True after a pause when the call should be made once more. */
static bool again(struct ufs_layer *l, int r, unsigned *tries, uint64_t until)
{
    struct retry *t = (struct retry *)l;
    if ((r != ERR_THROTTLED && r != ERR_UNREACHABLE) || *tries + 1 >= t->attempts)
        return false;
    uint64_t ms = pause_ms(t, (*tries)++);
    if (ms >= ufs_left_ms(until))
        return false;
    clock_sleep_ms(ms);
    return true;
}

#define RETRY(call)                                                                                                    \
    do {                                                                                                               \
        unsigned tries_ = 0;                                                                                           \
        int r_;                                                                                                        \
        do                                                                                                             \
            r_ = l->below->op.call;                                                                                    \
        while (again(l, r_, &tries_, until));                                                                          \
        return r_;                                                                                                     \
    } while (0)

/* --- calls without a stream */

struct once { /* a callback that was called must not be called again from the start */
    void *fn, *arg;
    uint64_t n;
    int stop;
};

static void once_meta(void *arg, struct str name, struct str value)
{
    struct once *o = arg;
    o->n++;
    ((ufs_meta_fn *)o->fn)(o->arg, name, value);
}

static int retry_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                      void *arg)
{
    struct once o = {.fn = (void *)meta, .arg = arg};
    unsigned tries = 0;
    int r;
    do
        r = l->below->op.stat(l->below, until, key, ret, meta ? once_meta : NULL, &o);
    while (!o.n && again(l, r, &tries, until));
    return r;
}

static int once_entry(void *arg, const struct ufs_entry *e)
{
    struct once *o = arg;
    o->n++;
    return ((ufs_entry_fn *)o->fn)(o->arg, e);
}

static int retry_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                      bool *ret_more)
{
    struct once o = {.fn = (void *)fn, .arg = arg};
    unsigned tries = 0;
    int r;
    do
        r = l->below->op.list(l->below, until, a, once_entry, &o, ret_more);
    while (!o.n && again(l, r, &tries, until));
    return r;
}

static int retry_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                            char *ret)
{
    RETRY(mpu_create(l->below, until, key, o, ret));
}

static int retry_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                          struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    RETRY(mpu_copy(l->below, until, key, upload, part, src, off, n, if_match, ret));
}

static int retry_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                              const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o,
                              struct ufs_stat *ret)
{
    RETRY(mpu_complete(l->below, until, key, upload, parts, n, o, ret));
}

static int retry_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    RETRY(mpu_abort(l->below, until, key, upload));
}

static int retry_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                      struct ufs_stat *ret)
{
    RETRY(copy(l->below, until, src, dst, if_match, ret));
}

static int retry_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    RETRY(del(l->below, until, key, if_match));
}

static int retry_delete_many(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    RETRY(delete_many(l->below, until, keys, n, codes));
}

static int retry_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    RETRY(rename(l->below, until, src, dst));
}

static int retry_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                          struct ufs_stat *ret)
{
    RETRY(set_meta(l->below, until, key, meta, ret));
}

/* --- reads */

static int once_sink(void *arg, const void *p, size_t n)
{
    struct once *o = arg;
    int r = ((ufs_sink *)o->fn)(o->arg, p, n);
    if (r)
        o->stop = r;
    else
        o->n += n;
    return r;
}

static int retry_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n,
                      const char *if_match, ufs_sink *sink, void *arg)
{
    struct once o = {.fn = (void *)sink, .arg = arg};
    unsigned tries = 0;
    for (;;) {
        int r = l->below->op.read(l->below, until, key, off + o.n, n - o.n, if_match, once_sink, &o);
        if (o.stop || (o.n && !if_match))
            return r;
        bool torn = r == ERR_IO && o.n; /* a short body: as good as an outage */
        if (!again(l, torn ? ERR_UNREACHABLE : r, &tries, until))
            return r;
    }
}

/* --- bodies */

static int keep(struct ufs_body *b, struct buf *bytes)
{
    buf_reserve(bytes, (size_t)b->size + 1);
    while (b->pulled < b->size) {
        ssize_t n = ufs_pull(b, bytes->p + bytes->n, bytes->cap - bytes->n - 1);
        if (n < 0)
            return (int)n;
        bytes->n += (size_t)n;
    }
    return 0;
}

/* b itself, or the same bytes in memory: *ret is what to send. */
static int make_rewindable(struct ufs_body *b, struct buf *bytes, struct ufs_bytes *m, struct ufs_body *mem,
                           struct ufs_body **ret)
{
    *ret = b;
    if (b->rewind || b->size > SMALL)
        return 0;
    TRY(keep(b, bytes));
    *m = (struct ufs_bytes){.p = bytes->p, .n = bytes->n};
    *mem = ufs_body_of(m);
    *ret = mem;
    return 0;
}

static int retry_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                     struct ufs_body *b, struct ufs_stat *ret)
{
    struct buf bytes AUTO_BUF = {0};
    struct ufs_bytes m;
    struct ufs_body mem, *send;
    unsigned tries = 0;
    int r;
    TRY(make_rewindable(b, &bytes, &m, &mem, &send));
    do
        r = l->below->op.put(l->below, until, key, o, send, ret);
    while (r < 0 && ufs_body_again(send) && again(l, r, &tries, until));
    return r;
}

static int retry_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                          const unsigned char *md5, struct ufs_body *b, char *ret)
{
    struct buf bytes AUTO_BUF = {0};
    struct ufs_bytes m;
    struct ufs_body mem, *send;
    unsigned tries = 0;
    int r;
    TRY(make_rewindable(b, &bytes, &m, &mem, &send));
    do
        r = l->below->op.mpu_part(l->below, until, key, upload, part, md5, send, ret);
    while (r < 0 && ufs_body_again(send) && again(l, r, &tries, until));
    return r;
}

static void retry_close(struct ufs_layer *l)
{
    free(l);
}

static const struct ufs_ops retry_ops = {
    .name = "retry",
    .close = retry_close,
    .stat = retry_stat,
    .list = retry_list,
    .read = retry_read,
    .put = retry_put,
    .mpu_create = retry_mpu_create,
    .mpu_part = retry_mpu_part,
    .mpu_copy = retry_mpu_copy,
    .mpu_complete = retry_mpu_complete,
    .mpu_abort = retry_mpu_abort,
    .copy = retry_copy,
    .del = retry_del,
    .delete_many = retry_delete_many,
    .rename = retry_rename,
    .set_meta = retry_set_meta,
};

int ufs_retry_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below, struct ufs_layer **ret)
{
    AUTO_FREE struct retry *t = calloc(1, sizeof *t);
    CHECK(t);
    TRY(ufs_option_u64(o, "forebay.ufs.retry.attempts", 5, 1000, &t->attempts));
    TRY(ufs_option_u64(o, "forebay.ufs.retry.first.ms", 100, 60000, &t->first_ms));
    TRY(ufs_option_u64(o, "forebay.ufs.retry.max.ms", 5000, 600000, &t->max_ms));
    atomic_init(&t->seed, clock_mono_ns() ^ (uint64_t)(uintptr_t)t);
    ufs_layer_init(&t->l, &retry_ops, below, c);
    *ret = &TAKE(t)->l;
    return 0;
}
