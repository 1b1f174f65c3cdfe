/* SPDX-License-Identifier: Apache-2.0
 *
 * The jobs that only tidy up here: drop, tree, uploads that ended, answers, rules, the walk after a start.
 */
#include "persist/persist_in.h"

static int drop_blob(void *arg, uint64_t blob, uint64_t bytes)
{
    struct persist *p = arg;
    page_drop(p->pages, blob, bytes);
    return 0;
}

int run_drop(struct persist *p, struct meta_item *it, size_t n)
{
    size_t dropped = 0;
    TRY(meta_drop(p->meta, it, n, drop_blob, p, &dropped));
    atomic_fetch_add(&p->dropped, dropped);
    for (size_t i = 0; i < n; i++)
        if (it[i].kind == Q_DROP && it[i].rec.attempts) /* its readers may have gone: its pages were pinned for them */
            TRY(data_unpin(p->data, it[i].id));
    return 0;
}

int run_tree(struct persist *p, struct meta_item *it, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (bool more = true; more && !atomic_load(&p->stop);)
            TRY(meta_tree(p->meta, &it[i], &more));
    return 0;
}

enum { CLAIM_WAIT_MS = 1000 };

/* An expired upload that passes through leaves the store first. 0: the rest is as for any other. */
static int end_passing(struct persist *p, const struct meta_item *it)
{
    struct buf strings AUTO_BUF = {0};
    struct upload u;
    int r = meta_upload_get(p->meta, 0, (struct str){0}, (const unsigned char *)it->key.p, &u, &strings);
    if (r == ERR_NO_UPLOAD || (r == 0 && !u.ufs.n))
        return 0;
    TRY(r);
    struct meta_mount *mt = meta_mount_get(p->meta, u.bucket);
    if (!mt) /* it was removed, and its options with it: nobody can ask that store any more */
        return 0;
    meta_mount_put(p->meta, mt);
    r = data_upload_abort(p->data, u.bucket, u.key, u.id, CLAIM_WAIT_MS);
    return r == ERR_NO_UPLOAD ? 0 : r;
}

int run_orphan(struct persist *p, struct meta_item *it, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = end_passing(p, &it[i]);
        if (r < 0) {
            char why[200];
            snprintf(why, sizeof why, "%s", err_detail(r));
            TRY(meta_upload_later(p->meta, &it[i], persist_backoff(p, it[i].rec.attempts, r), why));
            continue;
        }
        for (bool more = true; more && !atomic_load(&p->stop);)
            TRY(meta_upload_clean(p->meta, &it[i], &more));
        atomic_fetch_add(&p->orphans, 1);
    }
    return 0;
}

int run_answer(struct persist *p, struct meta_item *it, size_t n)
{
    for (size_t i = 0; i < n; i++)
        TRY(meta_answer_forget(p->meta, &it[i]));
    return 0;
}

int run_rules(struct persist *p, struct meta_item *it, size_t n)
{
    bool more;
    for (size_t i = 0; i < n; i++)
        TRY(meta_rules_walk(p->meta, &it[i], &more));
    return 0;
}

static int judge(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    static const enum page_verdict as[] = {PAGE_KEEP_PINNED, PAGE_KEEP_CLEAN, PAGE_DROP};
    struct persist *p = arg;
    struct meta_blob m[64];
    if (atomic_load(&p->stop))
        return ERR_SHUTDOWN;
    for (size_t at = 0; at < n; at += 64) {
        size_t k = n - at < 64 ? n - at : 64;
        for (size_t i = 0; i < k; i++)
            m[i] = (struct meta_blob){.blob = b[at + i].blob, .content = b[at + i].content};
        TRY(meta_walk(p->meta, m, k));
        for (size_t i = 0; i < k; i++)
            verdict[at + i] = as[m[i].verdict];
    }
    return 0;
}

int run_walk(struct persist *p, bool *ret_did)
{
    TRACE("persist.walk", 0, 0);
    TRY(page_walk(p->pages, false, 256, judge, p));
    page_walk_done(p->pages);
    atomic_store(&p->walked, true);
    *ret_did = true;
    return 0;
}

/* Judged again while the content is held: a file that is changed in place meanwhile would lose what it has only here.
 */
static int unpin_held(struct persist *p, struct meta_blob *m, const struct page_blob *b)
{
    if (meta_hold(p->meta, b->content) < 0)
        return 0; /* it is being changed or dropped: the next scan */
    int r = meta_walk(p->meta, m, 1);
    if (r == 0)
        r = FAULT(PERSIST_SCAN_JUDGED);
    if (r == 0 && m->verdict == 1)
        page_unpin(p->pages, b->blob, b->bytes);
    meta_unhold(p->meta, b->content);
    return r;
}

static int scan_one(struct persist *p, const struct page_blob *b, enum page_verdict *verdict)
{
    struct meta_blob m = {.blob = b->blob, .content = b->content};
    *verdict = PAGE_SKIP;
    if (b->unknown || clock_wall_ms() < b->birth_ms + p->orphan_ms)
        return 0;
    TRY(meta_walk(p->meta, &m, 1));
    if (m.verdict == 2) {
        page_drop(p->pages, b->blob, b->bytes);
        atomic_fetch_add(&p->orphans, 1);
    } else if (m.verdict == 1) {
        return unpin_held(p, &m, b);
    }
    return 0;
}

static int scan(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    struct persist *p = arg;
    for (size_t i = 0; i < n; i++) {
        if (atomic_load(&p->stop))
            return ERR_SHUTDOWN;
        TRY(scan_one(p, &b[i], &verdict[i]));
    }
    return 0;
}

int run_orphan_scan(struct persist *p)
{
    TRACE("persist.orphan_scan", 0, 0);
    return page_walk(p->pages, true, 256, scan, p);
}
