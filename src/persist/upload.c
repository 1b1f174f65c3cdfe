/* SPDX-License-Identifier: Apache-2.0
 *
 * Persist: dirty files to their home keys. claim (durable) -> look or condition -> PUT -> mark (durable) -> unpin.
 *
 * A crash before the mark leaves the claim: the next start looks at what lies there before it sends anything, and takes
 * what is ours for done. An unknown outcome keeps the claim until the request cannot take effect any more.
 */
#include "persist/persist_in.h"

bool persist_left(const struct look *l, const struct ufs_stat *st)
{
    return (l->taken_intent[0] && meta_intended(l->taken_intent, st)) || st->size == l->own_size;
}

int persist_look(struct ufs *u, const char *key, const struct look *l, enum look_verdict *ret, struct ufs_stat *st)
{
    int r = ufs_stat(u, str_of(key), st, NULL, NULL);
    *ret = LOOK_FREE;
    if (r == ERR_NOT_FOUND) {
        *st = (struct ufs_stat){0};
        return 0;
    }
    TRY(r);
    if (l->etag && l->etag[0] && !strcmp(st->etag, l->etag) && st->size == l->size)
        *ret = LOOK_OURS;
    else if (st->is_dir)
        *ret = LOOK_OLD;
    else if (persist_left(l, st))
        *ret = LOOK_OLD;
    else if (l->expect_known && l->expect[0])
        *ret = strcmp(st->version, l->expect) ? LOOK_CONFLICT : LOOK_OLD;
    else
        *ret = st->mtime_ms > l->since_ms + l->skew_ms ? LOOK_CONFLICT : LOOK_OLD;
    return 0;
}

int persist_conflict_copy(struct persist *p, struct ufs *u, const char *key, const struct ufs_stat *st)
{
    char copy[META_KEY_MAX + 64];
    struct ufs_stat dst;
    snprintf(copy, sizeof copy, "%s.conflict-%08llx", key,
             (unsigned long long)(str_hash(str_of(st->version)) & 0xffffffff));
    TRY(ufs_copy(u, str_of(key), str_of(copy), st->version, &dst));
    atomic_fetch_add(&p->conflicts, 1);
    log_warn("persist.conflict",
             "key=\"%s\" copy=\"%s\" meaning=\"the object was changed in the under file system while unpersisted "
             "data for it was here\" action=\"both are kept: compare them and remove one\"",
             key, copy);
    return 0;
}

/* May a conditional PUT stand in for the look? Only where a refusal tells us something new. */
static bool can_condition(unsigned caps, const struct meta_persist *m)
{
    if (!m->expect_known || m->taken_intent[0] || m->item.rec.attempts)
        return false;
    return m->expect[0] ? caps & UFS_CAP_IF_MATCH : caps & UFS_CAP_IF_NONE_MATCH;
}

static int put(struct persist *p, struct ufs *u, struct meta_persist *m, const char *if_match, bool if_none)
{
    struct data_put d = {.ufs = u,
                         .key = m->key,
                         .etag = m->etag,
                         .content = m->content,
                         .size = m->size,
                         .mtime_ms = m->mtime_ms,
                         .pairs = buf_str(&m->pairs),
                         .if_match = if_match,
                         .if_none_match = if_none};
    return data_put(p->data, &d, &m->st);
}

static int look_and_put(struct persist *p, struct ufs *u, struct meta_persist *m)
{
    struct look l = {m->expect_known, m->expect, m->taken_intent,
                     m->etag,         m->size,   m->gone_ms > m->since_ms ? m->gone_ms : m->since_ms,
                     p->skew_ms,      UINT64_MAX};
    enum look_verdict v;
    struct ufs_stat st;
    unsigned caps = ufs_caps(u);
    TRY(persist_look(u, m->key, &l, &v, &st));
    if (v == LOOK_OURS && (m->taken_intent[0] || m->item.rec.attempts)) { /* it arrived after all */
        m->st = st;
        return 0;
    }
    if (v == LOOK_CONFLICT)
        TRY(persist_conflict_copy(p, u, m->key, &st));
    if (!m->intended)
        TRY(meta_persist_intend(p->meta, m, v == LOOK_OLD && !st.is_dir && persist_left(&l, &st) ? st.version : ""));
    bool match = st.version[0] && (caps & UFS_CAP_IF_MATCH) && !st.is_dir;
    bool none = !st.version[0] && (caps & UFS_CAP_IF_NONE_MATCH) && m->type != REC_DIR;
    return put(p, u, m, match ? st.version : NULL, none);
}

static int send_one(struct persist *p, struct ufs *u, struct meta_persist *m)
{
    TRY(data_protect(p->data, m->gone_content, false));
    int r = ERR_PRECONDITION;
    if (m->type != REC_DIR && can_condition(ufs_caps(u), m))
        r = put(p, u, m, m->expect[0] ? m->expect : NULL, !m->expect[0]);
    for (int i = 0; i < 3 && r == ERR_PRECONDITION; i++)
        r = look_and_put(p, u, m);
    return r;
}

static void note_failure(struct persist *p, struct meta_persist *m, int r)
{
    m->code = r;
    m->unknown = err_info(r)->retry == ERR_RETRY_MAYBE || r == ERR_TIMEOUT;
    snprintf(m->error, sizeof m->error, "%s", err_detail(r));
    str_clean(m->error);
    atomic_fetch_add(m->item.rec.attempts ? &p->upload_retries : &p->upload_failures, 1);
    persist_mount_down(p, m->mount, r);
    if (m->item.rec.attempts == 0 || m->item.rec.attempts % 8 == 7)
        log_warn("persist.failed",
                 "key=\"%s\" attempts=%u code=%s error=\"%s\" action=\"retried for ever; the data is safe here\"",
                 m->key, m->item.rec.attempts + 1, err_info(r)->name, m->error);
}

/* While it is sent the content stays as it is: a change goes into another one. *held is to be given back after the
 * mark. */
static int hold_content(struct persist *p, struct meta_persist *m, bool *ret_held)
{
    struct content c;
    struct extent e;
    struct buf strings AUTO_BUF = {0};
    size_t n;
    uint64_t at;
    if (!m->content)
        return 0;
    TRY(meta_hold(p->meta, m->content));
    *ret_held = true;
    TRY(meta_extents(p->meta, m->content, 0, &c, &strings, &e, 1, &n, &at));
    return c.version == m->version ? 0 : ERR_STALE;
}

static void send_item(struct persist *p, struct meta_persist *m, struct meta_mount **mt, struct ufs **u, bool *held)
{
    if (m->go != META_GO)
        return;
    int r = hold_content(p, m, held);
    if (r < 0) { /* changed or gone since it was claimed: its record says when to come back */
        m->code = ERR_STALE;
        return;
    }
    if (!*mt || (*mt)->id != m->mount) {
        *mt = meta_mount_put(p->meta, *mt);
        r = persist_ufs(p, m->mount, mt, u);
    }
    if (r == 0)
        r = atomic_load(&p->stop) ? ERR_SHUTDOWN : send_one(p, *u, m);
    if (r < 0)
        note_failure(p, m, r);
}

/* In an order nothing is sent behind what was not, or what was changed since it was found to be next. */
static void send_batch(struct persist *p, struct meta_persist *m, size_t n, struct meta_mount **mt, struct ufs **u,
                       bool *held)
{
    bool stopped = false;
    for (size_t i = 0; i < n; i++) {
        if (stopped && m[i].go == META_GO) {
            m[i].code = ERR_STALE;
            m[i].unsent = true;
            continue;
        }
        send_item(p, &m[i], mt, u, &held[i]);
        stopped = m[i].item.in_turn && (m[i].code || m[i].go != META_GO);
    }
}

/* What a directory UFS has taken is on its disk before anybody says persisted. */
static void sync_batch(struct persist *p, struct meta_persist *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct meta_mount *mt;
        struct ufs *u;
        bool seen = m[i].go != META_GO || m[i].code;
        for (size_t k = 0; k < i && !seen; k++)
            seen = m[k].go == META_GO && !m[k].code && m[k].mount == m[i].mount;
        if (seen)
            continue;
        int r = persist_ufs(p, m[i].mount, &mt, &u);
        if (r == 0) {
            r = ufs_sync(u);
            meta_mount_put(p->meta, mt);
        }
        for (size_t k = i; r < 0 && k < n; k++)
            if (m[k].go == META_GO && !m[k].code && m[k].mount == m[i].mount)
                note_failure(p, &m[k], r);
    }
}

static void unpin_batch(struct persist *p, struct meta_persist *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (m[i].go != META_GO || m[i].code)
            continue;
        atomic_fetch_add(&p->uploaded_files, 1);
        atomic_fetch_add(&p->uploaded_bytes, m[i].size);
        if (m[i].content)
            data_unpin(p->data, m[i].content);
    }
}

static bool any_go(const struct meta_persist *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (m[i].go == META_GO)
            return true;
    return false;
}

int run_upload(struct persist *p, struct meta_item *it, size_t n)
{
    struct meta_persist *m = calloc(n, sizeof *m);
    uint64_t *due = calloc(n, sizeof *due);
    bool *held = calloc(n, sizeof *held);
    struct meta_mount *mt = NULL;
    struct ufs *u = NULL;
    for (size_t i = 0; i < n; i++)
        m[i].item = it[i];
    int r = meta_persist_claim(p->meta, m, n);
    if (r == 0 && any_go(m, n)) {
        send_batch(p, m, n, &mt, &u, held);
        sync_batch(p, m, n);
        for (size_t i = 0; i < n; i++)
            due[i] = m[i].code == ERR_STALE ? clock_wall_ms()
                     : m[i].code            ? persist_backoff(p, m[i].item.rec.attempts, m[i].code)
                                            : 0;
        r = meta_persist_mark(p->meta, m, n, due);
        if (r == 0)
            unpin_batch(p, m, n);
        meta_kick(p->meta, Q_SETTLE);
        meta_kick(p->meta, Q_REAP);
    }
    meta_mount_put(p->meta, mt);
    for (size_t i = 0; i < n; i++) {
        if (held[i])
            meta_unhold(p->meta, m[i].content);
        buf_done(&m[i].pairs);
    }
    free(held);
    free(m);
    free(due);
    return r;
}
