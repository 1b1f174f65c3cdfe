/* SPDX-License-Identifier: Apache-2.0
 *
 * UFS driver of tests: an object store in memory with an adversary (contract in ufs_mem.h).
 *
 * Objects lie in an array sorted by key. A change is a struct request, complete in itself (own key, bytes, metadata,
 * conditions), so that it can take effect when its caller is gone. States of a request:
 *
 *   waiting   in the list, its caller inside the driver                         -> done, deferred, lost
 *   deferred  in the list, its caller has ERR_UNKNOWN_OUTCOME                   -> applied by a scheduler or chaos, or
 * expired done      answered; in the list only while repeats are on                   -> applied again, or expired lost
 * out of the list once its caller left
 *
 * Invariants: keys strictly rise; a request in the list is within its deadline when it takes effect; effects happen
 * under the store's lock, one at a time.
 */
#include "ufs/ufs_mem.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "ufs/ufs_driver.h"

struct object {
    struct str key;
    struct buf bytes;
    struct ufs_kept_meta meta;
    struct ufs_stat st;
};

struct mem_part {
    unsigned no;
    struct buf bytes;
    char etag[72];
};

struct mem_upload {
    char id[24];
    struct str key;
    struct ufs_kept_meta meta;
    struct mem_part *part; /* sorted by number */
    size_t n;
};

enum kind { REQ_PUT, REQ_DELETE, REQ_COPY, REQ_RENAME, REQ_CREATE, REQ_PART, REQ_COMPLETE, REQ_ABORT, REQ_SET_META };
static const char *const kind_names[] = {"put",      "delete",       "copy",      "rename",  "mpu_create",
                                         "mpu_part", "mpu_complete", "mpu_abort", "set_meta"};

struct request {
    uint64_t id, sent_ns, until_ns, due_ns;
    enum kind kind;
    struct str key, src; /* own copies */
    struct buf bytes;
    struct ufs_kept_meta meta;
    char *if_match;
    bool if_none_match;
    uint64_t off, n; /* mpu_part from src: the range; off UINT64_MAX: bytes */
    unsigned part_no;
    char upload[24];
    struct ufs_part *part;
    size_t n_part;

    unsigned effects;
    bool waiting, deferred, lost, answer_lost, answered, refused;
    int code; /* of the first effect */
    struct ufs_stat st;
};

struct ufs_mem {
    struct lock lock;
    char *name;
    unsigned caps, opened;
    struct object **object;
    size_t n, cap;
    struct mem_upload **upload;
    size_t n_upload;
    struct request **request; /* in the order they were sent */
    size_t n_request;
    uint64_t last_id, last_upload;
    void (*on_step)(void *arg, enum ufs_mem_step step, uint64_t request);
    void *on_step_arg;
    bool repeats, outage, full, chaotic, refuse_read;
    unsigned throttle;
    struct ufs_mem_chaos chaos;
    uint64_t random;
};

struct mem_layer {
    struct ufs_layer l;
    struct ufs_mem *m;
};

/* --- stores by name */

static struct lock stores_lock = LOCK_INIT(RANK_UFS);
static struct map *stores;

static struct ufs_mem *store_new(const char *name)
{
    struct ufs_mem *m = MEM_NEW(struct ufs_mem);
    lock_init(&m->lock, RANK_UFS);
    m->name = str_dup(str_of(name));
    m->caps = UFS_MEM_CAPS;
    return m;
}

struct ufs_mem *ufs_mem_store(const char *name)
{
    LOCKED(&stores_lock);
    if (!stores)
        stores = map_new();
    struct ufs_mem *m = map_get(stores, str_of(name));
    if (!m) {
        m = store_new(name);
        map_put(stores, str_of(name), m);
    }
    return m;
}

/* --- objects */

static void object_free(struct object *o)
{
    buf_done(&o->bytes);
    ufs_meta_drop(&o->meta);
    free((char *)o->key.p);
    free(o);
}

/* First object with a key >= key. */
static size_t find_at(const struct ufs_mem *m, struct str key)
{
    size_t lo = 0, hi = m->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (str_cmp(m->object[mid]->key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct object *find(const struct ufs_mem *m, struct str key)
{
    size_t i = find_at(m, key);
    return i < m->n && str_eq(m->object[i]->key, key) ? m->object[i] : NULL;
}

static void object_remove(struct ufs_mem *m, struct str key)
{
    size_t i = find_at(m, key);
    if (i == m->n || !str_eq(m->object[i]->key, key))
        return;
    object_free(m->object[i]);
    memmove(m->object + i, m->object + i + 1, (--m->n - i) * sizeof *m->object);
}

static void object_set(struct ufs_mem *m, struct object *o)
{
    size_t i = find_at(m, o->key);
    if (i < m->n && str_eq(m->object[i]->key, o->key)) {
        object_free(m->object[i]);
        m->object[i] = o;
        return;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 16;
        m->object = mem_grow(m->object, m->cap, sizeof *m->object);
    }
    memmove(m->object + i + 1, m->object + i, (m->n++ - i) * sizeof *m->object);
    m->object[i] = o;
}

static void md5_hex(struct str bytes, char ret[72])
{
    unsigned char out[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, bytes.p, bytes.n);
    digest_end(d, out);
    str_hex(out, 16, ret);
}

/* etag NULL: MD5 of the bytes. */
static struct object *object_new(struct str key, struct str bytes, const struct ufs_meta *meta, const char *etag)
{
    struct object *o = MEM_NEW(struct object);
    o->key = str_mk(str_dup(key), key.n);
    buf_str_add(&o->bytes, bytes);
    ufs_meta_keep(&o->meta, meta);
    o->st.size = bytes.n;
    o->st.mtime_ms = clock_wall_ms();
    if (etag)
        UFS_SET(o->st.etag, str_of(etag));
    else
        md5_hex(bytes, o->st.etag);
    UFS_SET(o->st.version, str_of(o->st.etag));
    return o;
}

/* --- effects, under the lock */

static int conditions(struct ufs_mem *m, const struct request *q)
{
    const struct object *o = find(m, q->key);
    if (q->if_none_match && (m->caps & UFS_CAP_IF_NONE_MATCH) && o)
        return err_set(ERR_PRECONDITION, "the object exists");
    if (q->if_match && (m->caps & UFS_CAP_IF_MATCH) && (!o || strcmp(o->st.version, q->if_match) != 0))
        return err_set(ERR_PRECONDITION, "the object has another version");
    return 0;
}

/* The names of a POSIX tree: no parent of key is an object, key is no parent of one. */
static int room_for(struct ufs_mem *m, struct str key)
{
    if (m->caps & UFS_CAP_VERBATIM)
        return 0;
    for (size_t i = 1; i < key.n; i++)
        if (key.p[i] == '/' && find(m, str_mk(key.p, i)))
            return err_set(ERR_KEY_UNSUPPORTED, "a parent of %.*s is an object", STR_ARG(key));
    if (str_ends(key, STR("/")))
        return 0;
    struct buf below AUTO_BUF = {0};
    buf_str_add(&below, key);
    buf_add(&below, "/", 1);
    size_t i = find_at(m, buf_str(&below));
    if (i < m->n && str_starts(m->object[i]->key, buf_str(&below)))
        return err_set(ERR_KEY_UNSUPPORTED, "%.*s is a directory", STR_ARG(key));
    return 0;
}

static int set(struct ufs_mem *m, struct request *q, struct object *o)
{
    q->st = o->st;
    object_set(m, o);
    return 0;
}

static int effect_put(struct ufs_mem *m, struct request *q)
{
    if (m->full)
        return err_set(ERR_NO_SPACE, "the store is full");
    TRY(room_for(m, q->key));
    TRY(conditions(m, q));
    return set(m, q, object_new(q->key, buf_str(&q->bytes), &q->meta.meta, NULL));
}

static int effect_delete(struct ufs_mem *m, struct request *q)
{
    const struct object *o = find(m, q->key);
    if (o && q->if_match && strcmp(o->st.version, q->if_match) != 0)
        return err_set(ERR_PRECONDITION, "the object has another version");
    object_remove(m, q->key);
    return 0;
}

static int source_of(struct ufs_mem *m, const struct request *q, const struct object **ret)
{
    const struct object *o = find(m, q->src);
    if (!o)
        return err_set(ERR_NOT_FOUND, "the source does not exist");
    if (q->if_match && strcmp(o->st.version, q->if_match) != 0)
        return err_set(ERR_PRECONDITION, "the source of a copy changed");
    *ret = o;
    return 0;
}

static int effect_copy(struct ufs_mem *m, struct request *q)
{
    const struct object *o;
    if (m->full)
        return err_set(ERR_NO_SPACE, "the store is full");
    TRY(room_for(m, q->key));
    TRY(source_of(m, q, &o));
    return set(m, q, object_new(q->key, buf_str(&o->bytes), &o->meta.meta, o->st.etag));
}

static int effect_set_meta(struct ufs_mem *m, struct request *q)
{
    const struct object *o = find(m, q->key);
    if (!o)
        return err_set(ERR_NOT_FOUND, "the object does not exist");
    return set(m, q, object_new(q->key, buf_str(&o->bytes), &q->meta.meta, o->st.etag));
}

static void rename_one(struct ufs_mem *m, const struct object *o, struct str to)
{
    struct object *new = object_new(to, buf_str(&o->bytes), &o->meta.meta, o->st.etag);
    new->st = o->st;
    struct str from = str_mk(str_dup(o->key), o->key.n);
    object_remove(m, from);
    free((char *)from.p);
    object_set(m, new);
}

static int rename_prefix(struct ufs_mem *m, struct request *q)
{
    size_t i = find_at(m, q->key);
    if (i < m->n && str_starts(m->object[i]->key, q->key))
        return err_set(ERR_EXISTS, "%.*s exists", STR_ARG(q->key));
    i = find_at(m, q->src);
    if (i == m->n || !str_starts(m->object[i]->key, q->src))
        return err_set(ERR_NOT_FOUND, "nothing to rename");
    while (i = find_at(m, q->src), i < m->n && str_starts(m->object[i]->key, q->src)) {
        struct buf to AUTO_BUF = {0};
        buf_str_add(&to, q->key);
        buf_str_add(&to, str_from(m->object[i]->key, q->src.n));
        rename_one(m, m->object[i], buf_str(&to));
    }
    return 0;
}

static int effect_rename(struct ufs_mem *m, struct request *q)
{
    if (str_ends(q->src, STR("/")))
        return rename_prefix(m, q);
    const struct object *o = find(m, q->src);
    if (!o)
        return err_set(ERR_NOT_FOUND, "nothing to rename");
    TRY(room_for(m, q->key));
    rename_one(m, o, q->key);
    return 0;
}

/* --- multipart effects */

static struct mem_upload *upload_find(struct ufs_mem *m, const struct request *q)
{
    for (size_t i = 0; i < m->n_upload; i++)
        if (!strcmp(m->upload[i]->id, q->upload) && str_eq(m->upload[i]->key, q->key))
            return m->upload[i];
    return NULL;
}

static int no_upload(void)
{
    return err_set(ERR_NO_UPLOAD, "the multipart upload does not exist");
}

static void upload_free(struct mem_upload *u)
{
    for (size_t i = 0; i < u->n; i++)
        buf_done(&u->part[i].bytes);
    free(u->part);
    ufs_meta_drop(&u->meta);
    free((char *)u->key.p);
    free(u);
}

static void upload_remove(struct ufs_mem *m, struct mem_upload *u)
{
    for (size_t i = 0; i < m->n_upload; i++)
        if (m->upload[i] == u) {
            memmove(m->upload + i, m->upload + i + 1, (--m->n_upload - i) * sizeof *m->upload);
            break;
        }
    upload_free(u);
}

static int effect_create(struct ufs_mem *m, struct request *q)
{
    if (q->effects)
        snprintf(q->upload, sizeof q->upload, "u%llu",
                 (unsigned long long)++m->last_upload); /* a repeat: another one */
    TRY(room_for(m, q->key));
    struct mem_upload *u = MEM_NEW(struct mem_upload);
    memcpy(u->id, q->upload, sizeof u->id);
    u->key = str_mk(str_dup(q->key), q->key.n);
    ufs_meta_keep(&u->meta, &q->meta.meta);
    m->upload = mem_grow(m->upload, m->n_upload + 1, sizeof *m->upload);
    m->upload[m->n_upload++] = u;
    return 0;
}

static struct mem_part *part_place(struct mem_upload *u, unsigned no)
{
    size_t i = 0;
    while (i < u->n && u->part[i].no < no)
        i++;
    if (i < u->n && u->part[i].no == no) {
        buf_reset(&u->part[i].bytes);
        return &u->part[i];
    }
    u->part = mem_grow(u->part, u->n + 1, sizeof *u->part);
    memmove(u->part + i + 1, u->part + i, (u->n++ - i) * sizeof *u->part);
    u->part[i] = (struct mem_part){.no = no};
    return &u->part[i];
}

static int part_bytes(struct ufs_mem *m, const struct request *q, struct str *ret)
{
    const struct object *o;
    *ret = buf_str(&q->bytes);
    if (q->off == UINT64_MAX)
        return 0;
    TRY(source_of(m, q, &o));
    if (q->off > o->bytes.n || q->n > o->bytes.n - q->off)
        return err_set(ERR_INVALID, "the source of a part is shorter");
    *ret = str_mk(o->bytes.p + q->off, q->n);
    return 0;
}

static int effect_part(struct ufs_mem *m, struct request *q)
{
    struct mem_upload *u = upload_find(m, q);
    struct str bytes;
    if (m->full)
        return err_set(ERR_NO_SPACE, "the store is full");
    if (!u)
        return no_upload();
    TRY(part_bytes(m, q, &bytes));
    struct mem_part *p = part_place(u, q->part_no);
    buf_str_add(&p->bytes, bytes);
    md5_hex(bytes, p->etag);
    UFS_SET(q->st.etag, str_of(p->etag));
    return 0;
}

static const struct mem_part *part_find(const struct mem_upload *u, const struct ufs_part *want)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->part[i].no == want->part)
            return strcmp(u->part[i].etag, want->etag) ? NULL : &u->part[i];
    return NULL;
}

static int assemble(const struct mem_upload *u, const struct request *q, struct buf *bytes, char etag[72])
{
    struct buf sums AUTO_BUF = {0};
    for (size_t i = 0; i < q->n_part; i++) {
        const struct mem_part *p = part_find(u, &q->part[i]);
        unsigned char sum[16];
        if (!p || !str_unhex(str_of(p->etag), sum, 16))
            return err_set(ERR_INVALID_PART, "part %u is missing or has another ETag", q->part[i].part);
        buf_str_add(bytes, buf_str(&p->bytes));
        buf_add(&sums, sum, 16);
    }
    md5_hex(buf_str(&sums), etag);
    snprintf(etag + 32, 40, "-%zu", q->n_part);
    return 0;
}

static int effect_complete(struct ufs_mem *m, struct request *q)
{
    struct mem_upload *u = upload_find(m, q);
    struct buf bytes AUTO_BUF = {0};
    char etag[72];
    if (!u)
        return no_upload();
    if (!q->n_part)
        return err_set(ERR_MALFORMED_XML, "no parts");
    TRY(conditions(m, q));
    TRY(assemble(u, q, &bytes, etag));
    set(m, q, object_new(q->key, buf_str(&bytes), &u->meta.meta, etag));
    upload_remove(m, u);
    return 0;
}

static int effect_abort(struct ufs_mem *m, struct request *q)
{
    struct mem_upload *u = upload_find(m, q);
    if (!u)
        return no_upload();
    upload_remove(m, u);
    return 0;
}

static int effect(struct ufs_mem *m, struct request *q)
{
    static int (*const effects[])(struct ufs_mem *, struct request *) = {
        effect_put,  effect_delete,   effect_copy,  effect_rename,  effect_create,
        effect_part, effect_complete, effect_abort, effect_set_meta};
    int r = effects[q->kind](m, q);
    if (q->effects++ == 0)
        q->code = r;
    return r;
}

/* --- requests */

static void request_free(struct request *q)
{
    buf_done(&q->bytes);
    ufs_meta_drop(&q->meta);
    free((char *)q->key.p);
    free((char *)q->src.p);
    free(q->if_match);
    free(q->part);
    free(q);
}

static size_t request_at(const struct ufs_mem *m, uint64_t id)
{
    size_t i = 0;
    while (i < m->n_request && m->request[i]->id != id)
        i++;
    return i;
}

static struct request *request_find(const struct ufs_mem *m, uint64_t id)
{
    size_t i = request_at(m, id);
    return i < m->n_request ? m->request[i] : NULL;
}

static void request_drop(struct ufs_mem *m, size_t i)
{
    request_free(m->request[i]);
    memmove(m->request + i, m->request + i + 1, (--m->n_request - i) * sizeof *m->request);
}

/* Those whose time is over; a waiting one is its caller's to remove. */
static void expire(struct ufs_mem *m)
{
    uint64_t now = clock_mono_ns();
    for (size_t i = m->n_request; i-- > 0;)
        if (!m->request[i]->waiting && m->request[i]->until_ns < now)
            request_drop(m, i);
}

static uint64_t random_next(struct ufs_mem *m)
{
    uint64_t x = m->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static bool chance(struct ufs_mem *m, unsigned in_1000)
{
    return m->chaotic && in_1000 && random_next(m) % 1000 < in_1000;
}

static uint64_t some_due(struct ufs_mem *m, const struct request *q)
{
    uint64_t now = clock_mono_ns();
    uint64_t most = q->until_ns > now ? q->until_ns - now : 0;
    if (m->chaos.late_ms && most > m->chaos.late_ms * 1000000)
        most = m->chaos.late_ms * 1000000;
    return now + random_next(m) % (most + 1);
}

/* Effects of chaos that are due; all that is allowed when until is UINT64_MAX. */
static void tick(struct ufs_mem *m, uint64_t now)
{
    for (;;) {
        struct request *next = NULL;
        for (size_t i = 0; i < m->n_request; i++) {
            struct request *q = m->request[i];
            if (q->due_ns && !q->waiting && q->due_ns <= now && (!next || q->due_ns < next->due_ns))
                next = q;
        }
        if (!next)
            return;
        next->due_ns = 0;
        if (next->until_ns >= clock_mono_ns() || now == UINT64_MAX)
            effect(m, next);
        if (!m->repeats)
            request_drop(m, request_at(m, next->id));
    }
}

/* Before any call: is the store there? */
static int enter(struct mem_layer *l)
{
    struct ufs_mem *m = l->m;
    if (m->chaotic)
        tick(m, clock_mono_ns());
    if (m->outage || chance(m, m->chaos.unreachable))
        return err_set(ERR_UNREACHABLE, "the store %s cannot be reached", m->name);
    if (m->throttle || chance(m, m->chaos.throttle)) {
        m->throttle -= m->throttle > 0;
        atomic_fetch_add_explicit(&l->l.counters->throttled, 1, memory_order_relaxed);
        return err_set(ERR_THROTTLED, "the store %s asks to slow down", m->name);
    }
    return 0;
}

static void step(struct ufs_mem *m, enum ufs_mem_step s, uint64_t id)
{
    if (m->on_step)
        m->on_step(m->on_step_arg, s, id);
}

static int refused(const struct ufs_mem *m)
{
    return err_set(ERR_DENIED, "the store %s refused", m->name);
}

static int enter_read(struct ufs_layer *l)
{
    struct mem_layer *ml = (struct mem_layer *)l;
    step(ml->m, UFS_MEM_READ, 0);
    LOCKED(&ml->m->lock);
    if (ml->m->refuse_read) {
        ml->m->refuse_read = false;
        return refused(ml->m);
    }
    return enter(ml);
}

static struct request *request_new(enum kind kind, uint64_t until, struct str key)
{
    struct request *q = MEM_NEW(struct request);
    q->kind = kind;
    q->key = str_mk(str_dup(key), key.n);
    q->sent_ns = clock_mono_ns();
    q->until_ns = until;
    q->off = UINT64_MAX;
    q->waiting = true;
    return q;
}

static void request_source(struct request *q, struct str src, const char *if_match)
{
    q->src = str_mk(str_dup(src), src.n);
    q->if_match = if_match ? str_dup(str_of(if_match)) : NULL;
}

static void decide(struct ufs_mem *m, struct request *q)
{
    if (!m->chaotic)
        return;
    q->lost = chance(m, m->chaos.lose);
    if (!q->lost && chance(m, m->chaos.delay)) {
        q->deferred = true;
        q->due_ns = some_due(m, q);
    } else if (!q->lost && chance(m, m->chaos.repeat))
        q->due_ns = some_due(m, q);
    q->answer_lost = chance(m, m->chaos.lose_answer);
}

static int record(struct mem_layer *l, struct request *q)
{
    struct ufs_mem *m = l->m;
    LOCKED(&m->lock);
    expire(m);
    TRY(enter(l));
    q->id = ++m->last_id;
    if (q->kind == REQ_CREATE)
        snprintf(q->upload, sizeof q->upload, "u%llu", (unsigned long long)++m->last_upload);
    m->request = mem_grow(m->request, m->n_request + 1, sizeof *m->request);
    m->request[m->n_request++] = q;
    decide(m, q);
    return 0;
}

/* The effect, unless it was decided otherwise. True when the caller gets an answer. */
static bool take_effect(struct ufs_mem *m, struct request *q)
{
    LOCKED(&m->lock);
    if (!q->effects && q->until_ns < clock_mono_ns())
        q->lost = true; /* its task slept past the deadline */
    if (q->lost || q->deferred)
        return false;
    if (!q->effects)
        effect(m, q);
    return true;
}

static int unknown(void)
{
    return err_set(ERR_UNKNOWN_OUTCOME, "no answer from the store");
}

/* The caller leaves: its code, results to st and upload; the request stays only if an effect may still come. */
static int part_with(struct ufs_mem *m, struct request *q, bool has_answer, struct ufs_stat *st, char *upload)
{
    LOCKED(&m->lock);
    bool answered = has_answer && !q->answer_lost;
    int r = q->refused ? refused(m) : answered ? q->code : unknown();
    if (answered && r < 0)
        err_set(r, "the store %s refused: %s", m->name, err_info(r)->text);
    if (r == 0 && st)
        *st = q->st;
    if (r == 0 && upload)
        strcpy(upload, q->upload);
    q->waiting = false;
    q->answered = true;
    if (q->lost || !((q->deferred && !q->effects) || q->due_ns || m->repeats))
        request_drop(m, request_at(m, q->id));
    return r;
}

/* Send a request through its three moments. Takes q. */
static int send(struct ufs_layer *l, struct request *q, struct ufs_stat *st, char *upload)
{
    struct mem_layer *ml = (struct mem_layer *)l;
    struct ufs_mem *m = ml->m;
    int r = record(ml, q);
    if (r < 0) {
        request_free(q);
        return r;
    }
    step(m, UFS_MEM_SENT, q->id);
    bool has_answer = take_effect(m, q);
    if (has_answer) {
        step(m, UFS_MEM_EFFECT, q->id);
        step(m, UFS_MEM_ANSWER, q->id);
    }
    return part_with(m, q, has_answer, st, upload);
}

/* --- the driver's calls */

static unsigned mem_caps(struct ufs_layer *l)
{
    return ((struct mem_layer *)l)->m->caps;
}

static int mem_key_check(struct ufs_layer *l, struct str key)
{
    return mem_caps(l) & UFS_CAP_VERBATIM ? 0 : ufs_key_posix(key);
}

static int mem_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                    void *arg)
{
    struct ufs_mem *m = ((struct mem_layer *)l)->m;
    struct ufs_kept_meta pairs = {0};
    (void)until;
    TRY(enter_read(l));
    {
        LOCKED(&m->lock);
        const struct object *o = find(m, key);
        if (!o)
            return err_set(ERR_NOT_FOUND, "the object does not exist");
        *ret = o->st;
        if (meta && (m->caps & UFS_CAP_META))
            ufs_meta_keep(&pairs, &o->meta.meta);
    }
    for (size_t i = 0; i < pairs.meta.n; i++)
        meta(arg, pairs.pair[i].name, pairs.pair[i].value);
    ufs_meta_drop(&pairs);
    return 0;
}

/* A page is collected under the lock and given out after it. */
struct page {
    struct ufs_entry *entry;
    size_t n;
    bool more;
};

static struct str rolled(struct str key, const struct ufs_list_args *a)
{
    struct str rest = str_from(key, a->prefix.n);
    const char *slash = a->delimiter && rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    return slash ? str_mk(key.p, (size_t)(slash - key.p) + 1) : key;
}

static void page_collect(struct ufs_mem *m, const struct ufs_list_args *a, struct page *p)
{
    struct str last = {"", 0};
    p->entry = mem_zero(a->limit, sizeof *p->entry);
    for (size_t i = find_at(m, a->prefix); i < m->n && str_starts(m->object[i]->key, a->prefix); i++) {
        const struct object *o = m->object[i];
        struct str key = rolled(o->key, a);
        bool prefix = key.n < o->key.n || (a->delimiter && key.n > a->prefix.n && str_ends(key, STR("/")));
        if (str_cmp(key, a->after) <= 0 || (last.n && str_eq(key, last)))
            continue;
        if (p->n == a->limit) {
            p->more = true;
            return;
        }
        last = key;
        p->entry[p->n++] = (struct ufs_entry){
            .key = str_mk(str_dup(key), key.n), .prefix = prefix, .st = prefix ? (struct ufs_stat){0} : o->st};
    }
}

static int mem_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                    bool *ret_more)
{
    struct ufs_mem *m = ((struct mem_layer *)l)->m;
    struct page p = {0};
    int r = 0;
    (void)until;
    TRY(enter_read(l));
    {
        LOCKED(&m->lock);
        page_collect(m, a, &p);
    }
    for (size_t i = 0; r == 0 && i < p.n; i++)
        r = fn(arg, &p.entry[i]);
    for (size_t i = 0; i < p.n; i++)
        free((char *)p.entry[i].key.p);
    free(p.entry);
    *ret_more = p.more;
    return r;
}

static int mem_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n, const char *if_match,
                    ufs_sink *sink, void *arg)
{
    struct ufs_mem *m = ((struct mem_layer *)l)->m;
    struct buf bytes AUTO_BUF = {0};
    (void)until;
    TRY(enter_read(l));
    {
        LOCKED(&m->lock);
        const struct object *o = find(m, key);
        if (!o)
            return err_set(ERR_NOT_FOUND, "the object does not exist");
        if (if_match && strcmp(if_match, o->st.version) != 0)
            return err_set(ERR_PRECONDITION, "the object has another version");
        if (off < o->bytes.n)
            buf_add(&bytes, o->bytes.p + off, n < o->bytes.n - off ? n : o->bytes.n - off);
    }
    return bytes.n ? sink(arg, bytes.p, bytes.n) : 0;
}

static int pull_all(struct ufs_body *b, struct buf *bytes)
{
    for (;;) {
        buf_reserve(bytes, 65536);
        ssize_t n = ufs_pull(b, bytes->p + bytes->n, 65536);
        if (n <= 0)
            return (int)n;
        bytes->n += (size_t)n;
    }
}

static int digest_fits(const unsigned char *md5, const struct buf *bytes)
{
    char is[72], want[33];
    if (!md5)
        return 0;
    md5_hex(buf_str(bytes), is);
    str_hex(md5, 16, want);
    return strcmp(is, want) == 0 ? 0 : err_set(ERR_CORRUPT, "the bytes do not have the MD5 that was announced");
}

static int request_body(struct request *q, struct ufs_body *b, const unsigned char *md5)
{
    TRY(pull_all(b, &q->bytes));
    return digest_fits(md5, &q->bytes);
}

static void request_conditions(struct request *q, const struct ufs_put_opts *o)
{
    q->if_match = o->if_match ? str_dup(str_of(o->if_match)) : NULL;
    q->if_none_match = o->if_none_match;
}

static int mem_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                   struct ufs_body *b, struct ufs_stat *ret)
{
    struct request *q = request_new(REQ_PUT, until, key);
    request_conditions(q, o);
    if (mem_caps(l) & UFS_CAP_META)
        ufs_meta_keep(&q->meta, &o->meta);
    int r = request_body(q, b, o->md5);
    if (r < 0) {
        request_free(q);
        return r;
    }
    TRY(send(l, q, ret, NULL));
    if (o->etag && !strchr(o->etag, '-') && strcmp(o->etag, ret->etag) != 0)
        return err_set(ERR_CORRUPT, "the object's ETag is %s, not %s", ret->etag, o->etag);
    return 0;
}

static int mem_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    struct request *q = request_new(REQ_DELETE, until, key);
    q->if_match = if_match ? str_dup(str_of(if_match)) : NULL;
    return send(l, q, NULL, NULL);
}

static int mem_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                    struct ufs_stat *ret)
{
    if (!(mem_caps(l) & UFS_CAP_COPY))
        return ufs_copy_through(l, until, src, dst, if_match, ret);
    struct request *q = request_new(REQ_COPY, until, dst);
    request_source(q, src, if_match);
    return send(l, q, ret, NULL);
}

static int mem_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    if (!(mem_caps(l) & UFS_CAP_RENAME))
        return err_set(ERR_NOT_IMPLEMENTED, "mem: the store has no rename");
    struct request *q = request_new(REQ_RENAME, until, dst);
    request_source(q, src, NULL);
    return send(l, q, NULL, NULL);
}

static int mem_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                        struct ufs_stat *ret)
{
    if (!(mem_caps(l) & UFS_CAP_META))
        return err_set(ERR_NOT_IMPLEMENTED, "mem: the store keeps no metadata");
    struct request *q = request_new(REQ_SET_META, until, key);
    ufs_meta_keep(&q->meta, meta);
    return send(l, q, ret, NULL);
}

static int no_multipart(struct ufs_layer *l)
{
    if (mem_caps(l) & UFS_CAP_MULTIPART)
        return 0;
    return err_set(ERR_NOT_IMPLEMENTED, "mem: the store has no multipart upload");
}

static int mem_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o, char *ret)
{
    TRY(no_multipart(l));
    struct request *q = request_new(REQ_CREATE, until, key);
    if (mem_caps(l) & UFS_CAP_META)
        ufs_meta_keep(&q->meta, &o->meta);
    return send(l, q, NULL, ret);
}

static struct request *part_request(uint64_t until, struct str key, const char *upload, unsigned part)
{
    struct request *q = request_new(REQ_PART, until, key);
    UFS_SET(q->upload, str_of(upload));
    q->part_no = part;
    return q;
}

static int mem_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                        const unsigned char *md5, struct ufs_body *b, char *ret)
{
    struct ufs_stat st;
    TRY(no_multipart(l));
    struct request *q = part_request(until, key, upload, part);
    int r = request_body(q, b, md5);
    if (r < 0) {
        request_free(q);
        return r;
    }
    TRY(send(l, q, &st, NULL));
    strcpy(ret, st.etag);
    return 0;
}

static int mem_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                        struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    struct ufs_stat st;
    TRY(no_multipart(l));
    struct request *q = part_request(until, key, upload, part);
    request_source(q, src, if_match);
    q->off = off;
    q->n = n;
    TRY(send(l, q, &st, NULL));
    strcpy(ret, st.etag);
    return 0;
}

static int mem_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                            const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    TRY(no_multipart(l));
    struct request *q = request_new(REQ_COMPLETE, until, key);
    UFS_SET(q->upload, str_of(upload));
    request_conditions(q, o);
    q->part = mem_zero(n, sizeof *parts);
    memcpy(q->part, parts, n * sizeof *parts);
    q->n_part = n;
    return send(l, q, ret, NULL);
}

static int mem_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    TRY(no_multipart(l));
    struct request *q = request_new(REQ_ABORT, until, key);
    UFS_SET(q->upload, str_of(upload));
    return send(l, q, NULL, NULL);
}

static void mem_close(struct ufs_layer *l)
{
    struct ufs_mem *m = ((struct mem_layer *)l)->m;
    LOCKED(&m->lock);
    m->opened--;
    free(l);
}

static const struct ufs_ops mem_ops = {
    .name = "mem",
    .close = mem_close,
    .caps = mem_caps,
    .key_check = mem_key_check,
    .stat = mem_stat,
    .list = mem_list,
    .read = mem_read,
    .put = mem_put,
    .mpu_create = mem_mpu_create,
    .mpu_part = mem_mpu_part,
    .mpu_copy = mem_mpu_copy,
    .mpu_complete = mem_mpu_complete,
    .mpu_abort = mem_mpu_abort,
    .copy = mem_copy,
    .del = mem_del,
    .rename = mem_rename,
    .set_meta = mem_set_meta,
};

int ufs_mem_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret)
{
    struct mem_layer *l = MEM_NEW(struct mem_layer);
    (void)o;
    l->m = ufs_mem_store(uri + strlen("mem:"));
    ufs_layer_init(&l->l, &mem_ops, NULL, c);
    LOCKED(&l->m->lock);
    l->m->opened++;
    *ret = &l->l;
    return 0;
}

/* --- controls */

void ufs_mem_drop(const char *name)
{
    LOCKED(&stores_lock);
    struct ufs_mem *m = stores ? map_del(stores, str_of(name)) : NULL;
    if (!m)
        return;
    CHECK(m->opened == 0, "store %s is open", name);
    while (m->n)
        object_free(m->object[--m->n]);
    while (m->n_request)
        request_free(m->request[--m->n_request]);
    while (m->n_upload)
        upload_free(m->upload[--m->n_upload]);
    free(m->object);
    free(m->request);
    free(m->upload);
    free(m->name);
    lock_done(&m->lock);
    free(m);
    if (map_count(stores) == 0)
        stores = map_free(stores);
}

void ufs_mem_set_caps(struct ufs_mem *m, unsigned caps)
{
    m->caps = caps;
}

void ufs_mem_on_step(struct ufs_mem *m, void (*on_step)(void *arg, enum ufs_mem_step s, uint64_t request), void *arg)
{
    m->on_step = on_step;
    m->on_step_arg = arg;
}

void ufs_mem_set_repeats(struct ufs_mem *m, bool on)
{
    m->repeats = on;
}

size_t ufs_mem_pending(struct ufs_mem *m, struct ufs_mem_request *ret, size_t cap)
{
    LOCKED(&m->lock);
    expire(m);
    size_t n = 0;
    for (size_t i = 0; i < m->n_request; i++) {
        const struct request *q = m->request[i];
        if (q->lost)
            continue;
        if (n < cap)
            ret[n] = (struct ufs_mem_request){q->id,      kind_names[q->kind], q->key,     q->src,
                                              q->sent_ns, q->until_ns,         q->effects, q->answered};
        n++;
    }
    return n;
}

int ufs_mem_apply(struct ufs_mem *m, uint64_t id)
{
    LOCKED(&m->lock);
    struct request *q = request_find(m, id);
    if (!q || q->lost)
        return err_set(ERR_NOT_FOUND, "request %llu is not pending", (unsigned long long)id);
    if (q->until_ns < clock_mono_ns())
        return err_set(ERR_TIMEOUT, "request %llu is past its deadline", (unsigned long long)id);
    q->due_ns = 0;
    int r = effect(m, q);
    if (!q->waiting && !m->repeats)
        request_drop(m, request_at(m, id));
    return r;
}

void ufs_mem_lose(struct ufs_mem *m, uint64_t id)
{
    LOCKED(&m->lock);
    struct request *q = request_find(m, id);
    if (q && q->waiting)
        q->lost = true;
    else if (q)
        request_drop(m, request_at(m, id));
}

void ufs_mem_delay(struct ufs_mem *m, uint64_t id)
{
    LOCKED(&m->lock);
    struct request *q = request_find(m, id);
    if (q && q->waiting && !q->effects)
        q->deferred = true;
}

void ufs_mem_lose_answer(struct ufs_mem *m, uint64_t id)
{
    LOCKED(&m->lock);
    struct request *q = request_find(m, id);
    if (q && q->waiting)
        q->answer_lost = true;
}

void ufs_mem_refuse(struct ufs_mem *m, uint64_t id)
{
    LOCKED(&m->lock);
    struct request *q = request_find(m, id);
    if (q && q->waiting && !q->effects)
        q->lost = q->refused = true;
    m->refuse_read = !id;
}

void ufs_mem_abandon(struct ufs_mem *m)
{
    LOCKED(&m->lock);
    for (size_t i = m->n_request; i-- > 0;) {
        struct request *q = m->request[i];
        q->waiting = false;
        q->answered = true;
        if (q->lost || (q->effects && !m->repeats))
            request_drop(m, i);
    }
}

void ufs_mem_outage(struct ufs_mem *m, bool on)
{
    LOCKED(&m->lock);
    m->outage = on;
}

void ufs_mem_throttle(struct ufs_mem *m, unsigned calls)
{
    LOCKED(&m->lock);
    m->throttle = calls;
}

void ufs_mem_full(struct ufs_mem *m, bool on)
{
    LOCKED(&m->lock);
    m->full = on;
}

void ufs_mem_chaos(struct ufs_mem *m, const struct ufs_mem_chaos *c)
{
    LOCKED(&m->lock);
    m->chaotic = c != NULL;
    m->chaos = c ? *c : (struct ufs_mem_chaos){0};
    m->random = m->chaos.seed;
}

void ufs_mem_settle(struct ufs_mem *m)
{
    LOCKED(&m->lock);
    expire(m);
    for (size_t i = 0; i < m->n_request; i++)
        if (!m->request[i]->due_ns && m->request[i]->deferred && !m->request[i]->effects)
            m->request[i]->due_ns = m->request[i]->until_ns;
    tick(m, UINT64_MAX);
    for (size_t i = m->n_request; i-- > 0;)
        if (!m->request[i]->waiting)
            request_drop(m, i);
}

void ufs_mem_external_put(struct ufs_mem *m, struct str key, struct str bytes)
{
    static const struct ufs_meta none = {0};
    LOCKED(&m->lock);
    object_set(m, object_new(key, bytes, &none, NULL));
}

void ufs_mem_external_delete(struct ufs_mem *m, struct str key)
{
    LOCKED(&m->lock);
    object_remove(m, key);
}

bool ufs_mem_peek(struct ufs_mem *m, struct str key, struct buf *ret_bytes, struct ufs_stat *ret)
{
    LOCKED(&m->lock);
    const struct object *o = find(m, key);
    if (o && ret_bytes)
        buf_str_add(ret_bytes, buf_str(&o->bytes));
    if (o && ret)
        *ret = o->st;
    return o;
}

size_t ufs_mem_count(struct ufs_mem *m)
{
    LOCKED(&m->lock);
    return m->n;
}

int ufs_mem_each(struct ufs_mem *m, int (*fn)(void *arg, struct str key, struct str bytes), void *arg)
{
    LOCKED(&m->lock);
    int r = 0;
    for (size_t i = 0; r == 0 && i < m->n; i++)
        r = fn(arg, m->object[i]->key, buf_str(&m->object[i]->bytes));
    return r;
}

size_t ufs_mem_uploads(struct ufs_mem *m)
{
    LOCKED(&m->lock);
    return m->n_upload;
}

static uint64_t mix(uint64_t h, struct str s)
{
    return (h ^ str_hash(s)) * 0x9e3779b97f4a7c15u + s.n;
}

static uint64_t mix_meta(uint64_t h, const struct ufs_meta *meta)
{
    for (size_t i = 0; i < meta->n; i++)
        h = mix(mix(h, meta->pair[i].name), meta->pair[i].value);
    return h;
}

static uint64_t mix_request(uint64_t h, const struct request *q)
{
    h = mix(mix(mix(h, q->key), q->src), buf_str(&q->bytes));
    h = mix(mix_meta(h, &q->meta.meta), str_of(q->if_match));
    return h * 31 + q->kind * 4u + (q->effects > 0) * 2u + q->if_none_match + (uint64_t)q->answered * 1024;
}

uint64_t ufs_mem_hash(struct ufs_mem *m)
{
    LOCKED(&m->lock);
    uint64_t h = m->n;
    for (size_t i = 0; i < m->n; i++)
        h = mix_meta(mix(mix(h, m->object[i]->key), buf_str(&m->object[i]->bytes)), &m->object[i]->meta.meta);
    for (size_t i = 0; i < m->n_upload; i++) {
        h = mix(h, m->upload[i]->key);
        for (size_t k = 0; k < m->upload[i]->n; k++)
            h = mix(h, buf_str(&m->upload[i]->part[k].bytes)) + m->upload[i]->part[k].no;
    }
    for (size_t i = 0; i < m->n_request; i++)
        if (!m->request[i]->lost)
            h = mix_request(h, m->request[i]);
    return h;
}
