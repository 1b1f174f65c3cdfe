/* SPDX-License-Identifier: Apache-2.0
 *
 * Wrapper: at most `forebay.ufs.requests.max` (64) requests to one UFS at a time, so that a slow store holds up a
 * bounded number of threads and connections. Who finds no place waits up to the call's deadline, then gets
 * ERR_THROTTLED.
 *
 * Invariant: 0 <= used <= max, under the lock (RANK_UFS), which is not held during the request.
 */
#include "base/err.h"
#include "base/lock.h"
#include "ufs/ufs_driver.h"

struct limit {
    struct ufs_layer l;
    struct lock lock;
    pthread_cond_t freed;
    uint64_t max, used;
};

static int enter(struct ufs_layer *l, uint64_t until)
{
    struct limit *m = (struct limit *)l;
    LOCKED(&m->lock);
    while (m->used == m->max)
        if (!cond_wait_until(&m->freed, &m->lock, until) && m->used == m->max)
            return err_set(ERR_THROTTLED,
                           "all %llu requests to this under file system are in use "
                           "(forebay.ufs.requests.max)",
                           (unsigned long long)m->max);
    m->used++;
    return 0;
}

static int leave(struct ufs_layer *l, int r)
{
    struct limit *m = (struct limit *)l;
    LOCKED(&m->lock);
    m->used--;
    pthread_cond_signal(&m->freed);
    return r;
}

#define LIMIT(call)                                                                                                    \
    do {                                                                                                               \
        TRY(enter(l, until));                                                                                          \
        return leave(l, l->below->op.call);                                                                            \
    } while (0)

static int limit_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                      void *arg)
{
    LIMIT(stat(l->below, until, key, ret, meta, arg));
}
static int limit_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                      bool *ret_more)
{
    LIMIT(list(l->below, until, a, fn, arg, ret_more));
}
static int limit_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n,
                      const char *if_match, ufs_sink *sink, void *arg)
{
    LIMIT(read(l->below, until, key, off, n, if_match, sink, arg));
}
static int limit_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                     struct ufs_body *b, struct ufs_stat *ret)
{
    LIMIT(put(l->below, until, key, o, b, ret));
}
static int limit_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                            char *ret)
{
    LIMIT(mpu_create(l->below, until, key, o, ret));
}
static int limit_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                          const unsigned char *md5, struct ufs_body *b, char *ret)
{
    LIMIT(mpu_part(l->below, until, key, upload, part, md5, b, ret));
}
static int limit_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                          struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    LIMIT(mpu_copy(l->below, until, key, upload, part, src, off, n, if_match, ret));
}
static int limit_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                              const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o,
                              struct ufs_stat *ret)
{
    LIMIT(mpu_complete(l->below, until, key, upload, parts, n, o, ret));
}
static int limit_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    LIMIT(mpu_abort(l->below, until, key, upload));
}
static int limit_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                      struct ufs_stat *ret)
{
    LIMIT(copy(l->below, until, src, dst, if_match, ret));
}
static int limit_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    LIMIT(del(l->below, until, key, if_match));
}
static int limit_delete_many(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    LIMIT(delete_many(l->below, until, keys, n, codes));
}
static int limit_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    LIMIT(rename(l->below, until, src, dst));
}
static int limit_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                          struct ufs_stat *ret)
{
    LIMIT(set_meta(l->below, until, key, meta, ret));
}

static void limit_close(struct ufs_layer *l)
{
    struct limit *m = (struct limit *)l;
    CHECK(m->used == 0, "%llu requests under way at close", (unsigned long long)m->used);
    pthread_cond_destroy(&m->freed);
    lock_done(&m->lock);
    free(m);
}

static const struct ufs_ops limit_ops = {
    .name = "limit",
    .close = limit_close,
    .stat = limit_stat,
    .list = limit_list,
    .read = limit_read,
    .put = limit_put,
    .mpu_create = limit_mpu_create,
    .mpu_part = limit_mpu_part,
    .mpu_copy = limit_mpu_copy,
    .mpu_complete = limit_mpu_complete,
    .mpu_abort = limit_mpu_abort,
    .copy = limit_copy,
    .del = limit_del,
    .delete_many = limit_delete_many,
    .rename = limit_rename,
    .set_meta = limit_set_meta,
};

int ufs_limit_open(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below, struct ufs_layer **ret)
{
    uint64_t max;
    TRY(ufs_option_u64(o, "forebay.ufs.requests.max", 64, 100000, &max));
    if (!max)
        return err_set(ERR_INVALID, "mount option forebay.ufs.requests.max must be above 0");
    struct limit *m = calloc(1, sizeof *m);
    CHECK(m);
    m->max = max;
    lock_init(&m->lock, RANK_UFS);
    cond_init(&m->freed);
    ufs_layer_init(&m->l, &limit_ops, below, c);
    *ret = &m->l;
    return 0;
}
