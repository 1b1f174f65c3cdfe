/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of a UFS, asserted in one place, so that drivers stay bare.
 *
 * Every call passes here on its way in: the key is checked (never empty, never NUL, what the driver cannot hold is
 * absent for readers and refused for writers), arguments are checked, a deadline is set, fault points are visited; and
 * on its way out: outputs are handed over only on success, sizes and the order of listings are compared with the
 * promise, calls, errors and time are counted, the trace gets a line. Keys below ".forebay/" are filtered from listings
 * here, for all.
 *
 * struct ufs is constant after ufs_open() but for its counters, which are atomic: any number of threads at once.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/trace.h"
#include "ufs/ufs_driver.h"

enum call {
    CALL_STAT,
    CALL_LIST,
    CALL_READ,
    CALL_PUT,
    CALL_WRITE,
    CALL_MPU_CREATE,
    CALL_MPU_PART,
    CALL_MPU_COMPLETE,
    CALL_MPU_ABORT,
    CALL_COPY,
    CALL_DELETE,
    CALL_DELETE_MANY,
    CALL_RENAME,
    CALL_SET_META,
    CALL_SYNC,
    CALL_COUNT
};

static const char *const call_names[CALL_COUNT] = {
    "stat",      "list", "read",   "put",         "write",  "mpu_create", "mpu_part", "mpu_complete",
    "mpu_abort", "copy", "delete", "delete_many", "rename", "set_meta",   "sync",
};
static const char *const trace_names[CALL_COUNT] = {
    "ufs.stat",       "ufs.list",        "ufs.read",         "ufs.put",       "ufs.write",
    "ufs.mpu_create", "ufs.mpu_part",    "ufs.mpu_complete", "ufs.mpu_abort", "ufs.copy",
    "ufs.delete",     "ufs.delete_many", "ufs.rename",       "ufs.set_meta",  "ufs.sync",
};
_Static_assert(CALL_COUNT <= 16, "struct ufs_figures has 16 places");

#define UFS_MAGIC 0x75667331u
#define LAYERS_MAX 4

struct ufs {
    unsigned magic;
    struct ufs_layer *top;
    char *uri;
    uint64_t deadline_ms;
    struct ufs_counters counters;
    struct {
        _Atomic uint64_t calls, errors, ns;
        struct spread time;
    } of[CALL_COUNT];
    _Atomic uint64_t bytes_read, bytes_written;
};

struct ufs_writer {
    struct ufs *u;
    void *w;
    uint64_t size, written; /* size: announced, or UFS_SIZE_UNKNOWN */
    int failed;
    size_t key_n;
    char key[];
};

struct visit { /* one call from its begin to its end */
    struct ufs *u;
    enum call call;
    uint64_t began, until;
};

static void count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static struct visit begin(struct ufs *u, enum call c)
{
    CHECK(u && u->magic == UFS_MAGIC, "not a UFS");
    uint64_t now = clock_mono_ns();
    return (struct visit){u, c, now, now + u->deadline_ms * 1000000};
}

static int end(const struct visit *v, int r)
{
    count(&v->u->of[v->call].calls, 1);
    uint64_t ns = clock_mono_ns() - v->began;
    count(&v->u->of[v->call].ns, ns);
    spread_add(&v->u->of[v->call].time, spread_time_ns, ns);
    if (r < 0)
        count(&v->u->of[v->call].errors, 1);
    TRACE(trace_names[v->call], r, 0);
    return r;
}

/* --- keys and arguments */

static int key_valid(struct ufs *u, struct str key)
{
    if (key.n == 0)
        return err_set(ERR_KEY_UNSUPPORTED, "an empty key");
    if (key.n > 4095)
        return err_set(ERR_NAME_TOO_LONG, "a key of %zu bytes", key.n);
    if (memchr(key.p, 0, key.n))
        return err_set(ERR_KEY_UNSUPPORTED, "a key with a NUL byte");
    return u->top->op.key_check(u->top, key);
}

/* For calls that look or remove: what cannot be held is absent. */
static bool can_exist(struct ufs *u, struct str key)
{
    return key_valid(u, key) == 0;
}

static int absent(void)
{
    return err_set(ERR_NOT_FOUND, "the under file system cannot hold this key");
}

static int version_is(struct ufs *u, uint64_t until, struct str key, const char *if_match)
{
    struct ufs_stat st;
    int r = u->top->op.stat(u->top, until, key, &st, NULL, NULL);
    if (r == 0 && strcmp(st.version, if_match) == 0)
        return 0;
    return r == 0 || r == ERR_NOT_FOUND ? err_set(ERR_PRECONDITION, "the object has another version") : r;
}

static int is_absent(struct ufs *u, uint64_t until, struct str key)
{
    struct ufs_stat st;
    int r = u->top->op.stat(u->top, until, key, &st, NULL, NULL);
    return r == 0 ? err_set(ERR_PRECONDITION, "the object exists") : r == ERR_NOT_FOUND ? 0 : r;
}

/* Conditions the store does not know are compared here, just before. *o is what the driver gets. */
static int compare_ahead(struct ufs *u, uint64_t until, struct str key, struct ufs_put_opts *o)
{
    unsigned caps = ufs_caps(u);
    if (o->if_match && !(caps & UFS_CAP_IF_MATCH)) {
        TRY(version_is(u, until, key, o->if_match));
        o->if_match = NULL;
    }
    if (o->if_none_match && !(caps & UFS_CAP_IF_NONE_MATCH)) {
        TRY(is_absent(u, until, key));
        o->if_none_match = false;
    }
    return 0;
}

static bool name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-_.!#$%&'*+^`|~", c));
}

static int pair_valid(const struct ufs_pair *p)
{
    for (size_t i = 0; i < p->name.n; i++)
        if (!name_char((unsigned char)p->name.p[i]))
            return err_set(ERR_INVALID, "metadata name \"%.*s\" is not a lower-case header name", STR_ARG(p->name));
    for (size_t i = 0; i < p->value.n; i++)
        if (memchr("\r\n\0", p->value.p[i], 3))
            return err_set(ERR_INVALID, "the value of %.*s holds a line break or NUL", STR_ARG(p->name));
    return p->name.n ? 0 : err_set(ERR_INVALID, "a metadata pair without name");
}

static int meta_valid(const struct ufs_meta *m)
{
    for (size_t i = 0; i < m->n; i++)
        TRY(pair_valid(&m->pair[i]));
    return 0;
}

static int opts_valid(struct ufs *u, struct str key, const struct ufs_put_opts *o)
{
    CHECK(!(o->if_match && o->if_none_match), "both conditions");
    TRY(key_valid(u, key));
    if (str_ends(key, STR("/")) && o->size != 0 && !(ufs_caps(u) & UFS_CAP_VERBATIM))
        return err_set(ERR_KEY_UNSUPPORTED, "a key that ends in '/' is a directory here and cannot hold data");
    return meta_valid(&o->meta);
}

/* --- stat, list, read */

int ufs_stat(struct ufs *u, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta, void *arg)
{
    struct visit v = begin(u, CALL_STAT);
    struct ufs_stat st = {0};
    int r = FAULT(UFS_STAT_BEFORE);
    if (r == 0 && !can_exist(u, key))
        r = absent();
    if (r == 0)
        r = u->top->op.stat(u->top, v.until, key, &st, meta, arg);
    if (r == 0)
        *ret = st;
    return end(&v, r);
}

struct listing {
    ufs_entry_fn *fn;
    void *arg;
    struct str prefix;
    struct buf last; /* the last key seen, shown or hidden; starts as after */
    size_t left, shown;
    int stop;
};

static bool hidden(struct str key)
{
    return str_starts(key, STR(UFS_RESERVED)) || str_eq(key, STR(".forebay"));
}

static int on_entry(void *arg, const struct ufs_entry *e)
{
    struct listing *li = arg;
    if (!str_starts(e->key, li->prefix) || str_cmp(e->key, buf_str(&li->last)) <= 0)
        return li->stop = err_set(ERR_IO, "the under file system lists out of order, at \"%.*s\"", STR_ARG(e->key));
    buf_reset(&li->last);
    buf_str_add(&li->last, e->key);
    if (hidden(e->key))
        return 0;
    CHECK(li->left > 0, "a listing beyond its limit");
    li->left--;
    li->shown++;
    return li->stop = li->fn(li->arg, e);
}

/* Pages until something is shown: a page may hold nothing but hidden keys. */
static int list_pages(const struct visit *v, struct listing *li, char delimiter, bool *ret_more)
{
    struct ufs_layer *top = v->u->top;
    bool more = true;
    while (more && !li->shown) {
        struct buf after AUTO_BUF = {0};
        buf_str_add(&after, buf_str(&li->last));
        struct ufs_list_args a = {li->prefix, buf_str(&after), delimiter, li->left};
        more = false;
        TRY(top->op.list(top, v->until, &a, on_entry, li, &more));
        if (li->stop)
            return li->stop;
        if (more && str_eq(buf_str(&after), buf_str(&li->last)))
            return err_set(ERR_IO, "the under file system's listing makes no progress");
    }
    *ret_more = more;
    return 0;
}

int ufs_list(struct ufs *u, struct str prefix, char delimiter, struct str after, size_t limit, ufs_entry_fn *fn,
             void *arg, bool *ret_more)
{
    struct visit v = begin(u, CALL_LIST);
    struct listing li = {.fn = fn, .arg = arg, .prefix = prefix, .left = limit && limit < 1000 ? limit : 1000};
    CHECK(delimiter == 0 || delimiter == '/', "delimiter %d", delimiter);
    buf_str_add(&li.last, after);
    bool more = false;
    int r = FAULT(UFS_LIST_BEFORE);
    if (r == 0)
        r = list_pages(&v, &li, delimiter, &more);
    if (r == 0)
        *ret_more = more;
    buf_done(&li.last);
    return end(&v, r);
}

struct reading {
    ufs_sink *sink;
    void *arg;
    uint64_t left, got;
};

static int on_bytes(void *arg, const void *p, size_t n)
{
    struct reading *g = arg;
    CHECK(n <= g->left, "a read gives more than was asked for");
    g->left -= n;
    g->got += n;
    return n ? g->sink(g->arg, p, n) : 0;
}

int ufs_read(struct ufs *u, struct str key, uint64_t off, uint64_t n, const char *if_match, ufs_sink *sink, void *arg)
{
    struct visit v = begin(u, CALL_READ);
    if (n > UINT64_MAX - off)
        n = UINT64_MAX - off;
    struct reading g = {sink, arg, n, 0};
    int r = FAULT(UFS_READ_BEFORE);
    if (r == 0 && !can_exist(u, key))
        r = absent();
    if (r == 0)
        r = u->top->op.read(u->top, v.until, key, off, n, if_match, on_bytes, &g);
    count(&u->bytes_read, g.got);
    return end(&v, r);
}

/* --- put and writer */

/* Hand a mutation's result out; the fault point after it stands for an answer that got lost. */
static int settle(int r, int fault, const struct ufs_stat *st, struct ufs_stat *ret)
{
    if (r == 0)
        r = fault;
    if (r == 0 && ret)
        *ret = *st;
    return r;
}

int ufs_put(struct ufs *u, struct str key, const struct ufs_put_opts *o, ufs_source *source, void *arg,
            struct ufs_stat *ret)
{
    struct visit v = begin(u, CALL_PUT);
    struct ufs_body b = {.next = source, .arg = arg, .size = o->size};
    struct ufs_put_opts opts = *o;
    struct ufs_stat st = {0};
    int r = opts_valid(u, key, o);
    if (r == 0)
        r = FAULT(UFS_PUT_BEFORE);
    if (r == 0)
        r = compare_ahead(u, v.until, key, &opts);
    if (r == 0)
        r = u->top->op.put(u->top, v.until, key, &opts, &b, &st);
    if (r == 0 && st.size != b.pulled)
        r = err_set(ERR_CORRUPT, "the under file system has %llu of %llu bytes", (unsigned long long)st.size,
                    (unsigned long long)b.pulled);
    count(&u->bytes_written, b.pulled);
    return end(&v, settle(r, r ? 0 : FAULT(UFS_PUT_AFTER), &st, ret));
}

int ufs_write_begin(struct ufs *u, struct str key, const struct ufs_put_opts *o, struct ufs_writer **ret)
{
    CHECK(u && u->magic == UFS_MAGIC, "not a UFS");
    void *w;
    TRY(opts_valid(u, key, o));
    TRY(u->top->op.begin(u->top, key, o, &w));
    struct ufs_writer *uw = mem_zero(1, sizeof *uw + key.n);
    *uw = (struct ufs_writer){.u = u, .w = w, .size = o->size, .key_n = key.n};
    memcpy(uw->key, key.p, key.n);
    *ret = uw;
    return 0;
}

int ufs_write(struct ufs_writer *w, const void *p, size_t n)
{
    if (w->failed)
        return w->failed;
    if (n > w->size - w->written)
        return w->failed = err_set(ERR_INVALID, "more than the announced %llu bytes", (unsigned long long)w->size);
    if (n)
        w->failed = w->u->top->op.write(w->u->top, w->w, p, n);
    if (!w->failed) {
        w->written += n;
        count(&w->u->bytes_written, n);
    }
    return w->failed;
}

static int commit_valid(struct ufs_writer *w, uint64_t until, struct ufs_put_opts *o)
{
    CHECK(!(o->if_match && o->if_none_match), "both conditions");
    if (w->failed)
        return w->failed;
    if (w->size != UFS_SIZE_UNKNOWN && w->written != w->size)
        return err_set(ERR_INCOMPLETE_BODY, "%llu of %llu bytes were written", (unsigned long long)w->written,
                       (unsigned long long)w->size);
    TRY(FAULT(UFS_COMMIT_BEFORE));
    return compare_ahead(w->u, until, str_mk(w->key, w->key_n), o);
}

int ufs_write_commit(struct ufs_writer *w, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    struct ufs_put_opts opts = o ? *o : (struct ufs_put_opts){0};
    struct visit v = begin(w->u, CALL_WRITE);
    struct ufs_layer *top = w->u->top;
    struct ufs_stat st = {0};
    int r = commit_valid(w, v.until, &opts);
    if (r == 0)
        r = top->op.commit(top, v.until, w->w, &opts, &st);
    else
        top->op.abort(top, w->w);
    free(w);
    return end(&v, settle(r, r ? 0 : FAULT(UFS_COMMIT_AFTER), &st, ret));
}

void ufs_write_abort(struct ufs_writer *w)
{
    if (!w)
        return;
    struct visit v = begin(w->u, CALL_WRITE);
    w->u->top->op.abort(w->u->top, w->w);
    free(w);
    end(&v, 0);
}

/* --- multipart */

int ufs_mpu_create(struct ufs *u, struct str key, const struct ufs_put_opts *o, char ret_upload[1100])
{
    struct visit v = begin(u, CALL_MPU_CREATE);
    char upload[1100] = "";
    int r = opts_valid(u, key, o);
    if (r == 0)
        r = u->top->op.mpu_create(u->top, v.until, key, o, upload);
    if (r == 0)
        memcpy(ret_upload, upload, sizeof upload);
    return end(&v, r);
}

static int send_part(struct ufs *u, struct str key, const char *upload, unsigned part, const unsigned char *md5,
                     struct ufs_body *b, char ret_etag[72])
{
    struct visit v = begin(u, CALL_MPU_PART);
    if (b->size != UFS_SIZE_UNKNOWN)
        v.until += (b->size >> 20) * 1000000000ull;
    char etag[72] = "";
    int r = key_valid(u, key);
    if (r == 0 && (part < 1 || part > 10000 || b->size == UFS_SIZE_UNKNOWN))
        r = err_set(ERR_INVALID, "part %u: parts are numbered 1 to 10000 and have a known size", part);
    if (r == 0)
        r = u->top->op.mpu_part(u->top, v.until, key, upload, part, md5, b, etag);
    count(&u->bytes_written, b->pulled);
    if (r == 0)
        r = FAULT(UFS_PART_AFTER);
    if (r == 0)
        memcpy(ret_etag, etag, sizeof etag);
    return end(&v, r);
}

int ufs_mpu_part(struct ufs *u, struct str key, const char *upload, unsigned part, uint64_t size,
                 const unsigned char *md5, ufs_source *source, void *arg, char ret_etag[72])
{
    struct ufs_body b = {.next = source, .arg = arg, .size = size};
    return send_part(u, key, upload, part, md5, &b, ret_etag);
}

int ufs_mpu_part_bytes(struct ufs *u, struct str key, const char *upload, unsigned part, struct str bytes,
                       const unsigned char *md5, char ret_etag[72])
{
    struct ufs_bytes m = {.p = bytes.p, .n = bytes.n};
    struct ufs_body b = ufs_body_of(&m);
    return send_part(u, key, upload, part, md5, &b, ret_etag);
}

int ufs_mpu_copy(struct ufs *u, struct str key, const char *upload, unsigned part, struct str src, uint64_t off,
                 uint64_t n, const char *if_match, char ret_etag[72])
{
    struct visit v = begin(u, CALL_MPU_PART);
    char etag[72] = "";
    int r = key_valid(u, key);
    if (r == 0 && !can_exist(u, src))
        r = absent();
    if (r == 0 && (part < 1 || part > 10000 || n == 0))
        r = err_set(ERR_INVALID, "part %u of %llu bytes cannot be copied", part, (unsigned long long)n);
    if (r == 0)
        r = u->top->op.mpu_copy(u->top, v.until, key, upload, part, src, off, n, if_match, etag);
    if (r == 0)
        r = FAULT(UFS_PART_AFTER);
    if (r == 0)
        memcpy(ret_etag, etag, sizeof etag);
    return end(&v, r);
}

int ufs_mpu_complete(struct ufs *u, struct str key, const char *upload, const struct ufs_part *parts, size_t n,
                     const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    struct ufs_put_opts opts = o ? *o : (struct ufs_put_opts){0};
    struct visit v = begin(u, CALL_MPU_COMPLETE);
    struct ufs_stat st = {0};
    int r = key_valid(u, key);
    for (size_t i = 1; r == 0 && i < n; i++)
        if (parts[i].part <= parts[i - 1].part)
            r = err_set(ERR_PART_ORDER, "part %u after part %u", parts[i].part, parts[i - 1].part);
    if (r == 0)
        r = FAULT(UFS_COMPLETE_BEFORE);
    if (r == 0)
        r = compare_ahead(u, v.until, key, &opts);
    if (r == 0)
        r = u->top->op.mpu_complete(u->top, v.until, key, upload, parts, n, &opts, &st);
    return end(&v, settle(r, r ? 0 : FAULT(UFS_COMPLETE_AFTER), &st, ret));
}

int ufs_mpu_abort(struct ufs *u, struct str key, const char *upload)
{
    struct visit v = begin(u, CALL_MPU_ABORT);
    int r = key_valid(u, key);
    if (r == 0)
        r = u->top->op.mpu_abort(u->top, v.until, key, upload);
    if (r == 0)
        r = FAULT(UFS_ABORT_AFTER);
    return end(&v, r == ERR_NO_UPLOAD ? 0 : r);
}

/* --- copy, delete, rename, metadata */

/* A copy onto itself changes nothing: its answer is the object as it is. */
static int copy_self(const struct visit *v, struct str key, const char *if_match, struct ufs_stat *ret)
{
    struct ufs_layer *top = v->u->top;
    TRY(top->op.stat(top, v->until, key, ret, NULL, NULL));
    if (if_match && strcmp(if_match, ret->version) != 0)
        return err_set(ERR_PRECONDITION, "the source of a copy changed");
    return 0;
}

int ufs_copy(struct ufs *u, struct str src, struct str dst, const char *if_match, struct ufs_stat *ret)
{
    struct visit v = begin(u, CALL_COPY);
    struct ufs_stat st = {0};
    int r = key_valid(u, dst);
    if (r == 0 && !can_exist(u, src))
        r = absent();
    if (r == 0)
        r = FAULT(UFS_COPY_BEFORE);
    if (r == 0)
        r = str_eq(src, dst) ? copy_self(&v, src, if_match, &st)
                             : u->top->op.copy(u->top, v.until, src, dst, if_match, &st);
    return end(&v, settle(r, r ? 0 : FAULT(UFS_COPY_AFTER), &st, ret));
}

static int delete_one(const struct visit *v, struct str key, const char *if_match)
{
    struct ufs_layer *top = v->u->top;
    struct ufs_stat st;
    int r = 0;
    if (if_match && !(ufs_caps(v->u) & UFS_CAP_DELETE_IF_MATCH)) {
        r = top->op.stat(top, v->until, key, &st, NULL, NULL);
        if (r == 0 && strcmp(st.version, if_match) != 0)
            return err_set(ERR_PRECONDITION, "the object has another version");
        if_match = NULL;
    }
    if (r == 0)
        r = top->op.del(top, v->until, key, if_match);
    return r == ERR_NOT_FOUND ? 0 : r;
}

int ufs_delete(struct ufs *u, struct str key, const char *if_match)
{
    struct visit v = begin(u, CALL_DELETE);
    int r = FAULT(UFS_DELETE_BEFORE);
    if (r == 0 && can_exist(u, key))
        r = delete_one(&v, key, if_match);
    if (r == 0)
        r = FAULT(UFS_DELETE_AFTER);
    return end(&v, r);
}

/* Keys that can exist, and where their codes go; results for the rest are "absent" already. */
static int delete_possible(const struct visit *v, const struct str *keys, size_t n, int *codes)
{
    AUTO_FREE struct str *some = mem_zero(n, sizeof *some);
    AUTO_FREE int *some_codes = mem_zero(n, sizeof *some_codes);
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (can_exist(v->u, keys[i]))
            some[m++] = keys[i];
    if (m)
        TRY(v->u->top->op.delete_many(v->u->top, v->until, some, m, some_codes));
    m = 0;
    for (size_t i = 0; i < n; i++) {
        codes[i] = can_exist(v->u, keys[i]) ? some_codes[m++] : 0;
        if (codes[i] == ERR_NOT_FOUND)
            codes[i] = 0;
    }
    return 0;
}

int ufs_delete_many(struct ufs *u, const struct str *keys, size_t n, int *codes)
{
    struct visit v = begin(u, CALL_DELETE_MANY);
    int r = FAULT(UFS_DELETE_BEFORE);
    if (r == 0)
        r = delete_possible(&v, keys, n, codes);
    if (r == 0)
        r = FAULT(UFS_DELETE_AFTER);
    return end(&v, r);
}

static int rename_valid(struct ufs *u, struct str src, struct str dst)
{
    TRY(key_valid(u, dst));
    if (!can_exist(u, src))
        return absent();
    if (str_ends(src, STR("/")) != str_ends(dst, STR("/")))
        return err_set(ERR_INVALID, "a rename of a directory to a file or the other way round");
    if (str_ends(src, STR("/")) && str_starts(dst, src))
        return err_set(ERR_LOOP, "a directory cannot move below itself");
    return FAULT(UFS_RENAME_BEFORE);
}

int ufs_rename(struct ufs *u, struct str src, struct str dst)
{
    struct visit v = begin(u, CALL_RENAME);
    int r = rename_valid(u, src, dst);
    if (r == 0)
        r = u->top->op.rename(u->top, v.until, src, dst);
    if (r == 0)
        r = FAULT(UFS_RENAME_AFTER);
    return end(&v, r);
}

int ufs_set_meta(struct ufs *u, struct str key, const struct ufs_meta *meta, struct ufs_stat *ret)
{
    struct visit v = begin(u, CALL_SET_META);
    struct ufs_stat st = {0};
    int r = can_exist(u, key) ? meta_valid(meta) : absent();
    if (r == 0)
        r = u->top->op.set_meta(u->top, v.until, key, meta, &st);
    return end(&v, settle(r, 0, &st, ret));
}

int ufs_sync(struct ufs *u)
{
    struct visit v = begin(u, CALL_SYNC);
    int r = FAULT(UFS_SYNC_BEFORE);
    if (r == 0)
        r = u->top->op.sync(u->top);
    return end(&v, r);
}

/* --- properties, figures */

int ufs_key_check(struct ufs *u, struct str key)
{
    return key_valid(u, key);
}

unsigned ufs_caps(struct ufs *u)
{
    return u->top->op.caps(u->top);
}

const char *ufs_uri(struct ufs *u)
{
    return u->uri;
}

const char *ufs_call_name(unsigned i)
{
    return i < CALL_COUNT ? call_names[i] : NULL;
}

void ufs_figures(struct ufs *u, struct ufs_figures *ret)
{
    *ret = (struct ufs_figures){0};
    for (unsigned i = 0; i < CALL_COUNT; i++) {
        ret->calls[i] = atomic_load(&u->of[i].calls);
        ret->errors[i] = atomic_load(&u->of[i].errors);
        ret->ns[i] = atomic_load(&u->of[i].ns);
        spread_read(&u->of[i].time, &ret->time[i]);
    }
    ret->bytes_read = atomic_load(&u->bytes_read);
    ret->bytes_written = atomic_load(&u->bytes_written);
    ret->throttled = atomic_load(&u->counters.throttled);
}

/* --- opening: a scheme is a driver and the wrappers it wants, innermost first */

typedef int open_driver(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret);
typedef int open_wrapper(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below,
                         struct ufs_layer **ret);

/* The store of tests answers once, unless a test wants otherwise. */
static int retry_if_asked(const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer *below,
                          struct ufs_layer **ret)
{
    *ret = below;
    return ufs_option(o, "forebay.ufs.retry.attempts") ? ufs_retry_open(o, c, below, ret) : 0;
}

static const struct scheme {
    const char *prefix;
    open_driver *driver;
    open_wrapper *wrapper[LAYERS_MAX];
} schemes[] = {
    {"file://", ufs_dir_open, {NULL}},
    {"/", ufs_dir_open, {NULL}},
    {"s3://", ufs_s3_open, {ufs_limit_open, ufs_retry_open, ufs_parts_open}},
    {"mem:", ufs_mem_open, {retry_if_asked, ufs_parts_open}},
};

static void close_layers(struct ufs_layer *top)
{
    while (top) {
        struct ufs_layer *below = top->below;
        top->op.close(top);
        top = below;
    }
}

static const struct scheme *scheme_of(const char *uri)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (str_starts(str_of(uri), str_of(schemes[i].prefix)))
            return &schemes[i];
    return NULL;
}

static int open_layers(struct ufs *u, const struct scheme *s, const char *uri, const struct ufs_options *o)
{
    TRY(s->driver(uri, o, &u->counters, &u->top));
    for (size_t i = 0; i < LAYERS_MAX && s->wrapper[i]; i++) {
        struct ufs_layer *up = NULL;
        int r = s->wrapper[i](o, &u->counters, u->top, &up);
        if (r < 0) {
            close_layers(u->top);
            return r;
        }
        u->top = up;
    }
    return 0;
}

/* "s3://key:secret@bucket" shows as "s3://bucket". */
static char *without_secret(const char *uri)
{
    const char *at = strchr(uri, '@'), *host = strstr(uri, "://");
    char *shown = str_dup(str_of(uri));
    if (host && at && at < host + 3 + strcspn(host + 3, "/"))
        memmove(shown + (host + 3 - uri), at + 1, strlen(at + 1) + 1);
    return shown;
}

int ufs_open(const char *uri, const struct ufs_options *o, struct ufs **ret)
{
    struct ufs_options opts = o ? *o : (struct ufs_options){0};
    const struct scheme *s = scheme_of(uri);
    if (!s)
        return err_set(ERR_INVALID, "no driver for \"%s\": use s3://bucket/prefix, file:///directory or a path", uri);
    if (!opts.deadline_ms)
        opts.deadline_ms = 60000;
    struct ufs *u = MEM_NEW(struct ufs);
    u->magic = UFS_MAGIC;
    u->deadline_ms = opts.deadline_ms;
    int r = open_layers(u, s, uri, &opts);
    if (r < 0) {
        free(u);
        return r;
    }
    u->uri = without_secret(uri);
    *ret = u;
    return 0;
}

struct ufs *ufs_close(struct ufs *u)
{
    if (!u)
        return NULL;
    CHECK(u->magic == UFS_MAGIC, "not a UFS");
    close_layers(u->top);
    u->magic = 0;
    free(u->uri);
    free(u);
    return NULL;
}
