/* SPDX-License-Identifier: Apache-2.0
 *
 * Reap: objects that belong to nobody leave the UFS: a recorded version, or one not newer than its deletion here.
 */
#include "persist/persist_in.h"

static int delete_version(struct ufs *u, const char *key, const char *ver)
{
    int r = ufs_delete(u, str_of(key), ver);
    return r == ERR_NOT_FOUND || r == ERR_NOT_EMPTY ? 0 : r;
}

/* No version is known, or another one lies there: is it nevertheless ours to delete? */
static int delete_if_ours(struct ufs *u, const struct meta_reap *r)
{
    struct ufs_stat st;
    int rc = ufs_stat(u, str_of(r->key), &st, NULL, NULL);
    if (rc == ERR_NOT_FOUND || rc == ERR_KEY_UNSUPPORTED)
        return 0;
    TRY(rc);
    bool intended = r->taken_intent[0] && meta_intended(r->taken_intent, &st);
    bool older = !r->ver[0] && st.mtime_ms <= r->gone_ms;
    if (!intended && !older && !st.is_dir && strcmp(st.version, r->ver))
        return 0; /* somebody put it there since: it stays and will appear */
    rc = delete_version(u, r->key, st.is_dir ? NULL : st.version);
    return rc == ERR_PRECONDITION ? 0 : rc;
}

static int reap_one(struct persist *p, struct ufs *u, struct meta_reap *r)
{
    bool dir = r->key[0] && r->key[strlen(r->key) - 1] == '/';
    TRY(data_protect(p->data, r->content, false));
    if (dir && !(ufs_caps(u) & UFS_CAP_MARKERS))
        return delete_version(u, r->key, NULL);
    int rc = r->ver[0] ? delete_version(u, r->key, r->ver) : ERR_PRECONDITION;
    return rc == ERR_PRECONDITION ? delete_if_ours(u, r) : rc;
}

static void reap_item(struct persist *p, struct meta_reap *r, struct meta_mount **mt, struct ufs **u)
{
    if (r->go != META_GO)
        return;
    int rc = 0;
    if (!*mt || (*mt)->id != r->mount) {
        *mt = meta_mount_put(p->meta, *mt);
        rc = persist_ufs(p, r->mount, mt, u);
    }
    if (rc == 0)
        rc = reap_one(p, *u, r);
    r->code = rc;
    r->unknown = rc < 0 && (err_info(rc)->retry == ERR_RETRY_MAYBE || rc == ERR_TIMEOUT);
    if (rc < 0)
        persist_mount_down(p, r->mount, rc);
    else
        atomic_fetch_add(&p->reaped, 1);
}

int run_reap(struct persist *p, struct meta_item *it, size_t n)
{
    struct meta_reap *r = calloc(n, sizeof *r);
    uint64_t *due = calloc(n, sizeof *due);
    struct meta_mount *mt = NULL;
    struct ufs *u = NULL;
    bool any = false;
    for (size_t i = 0; i < n; i++)
        r[i].item = it[i];
    int rc = meta_reap_claim(p->meta, r, n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        any |= r[i].go == META_GO;
        reap_item(p, &r[i], &mt, &u);
    }
    if (rc == 0 && any) {
        int sync = u ? ufs_sync(u) : 0; /* else a power cut of the UFS's host would bring them back */
        for (size_t i = 0; i < n; i++) {
            if (sync < 0 && r[i].go == META_GO && !r[i].code)
                r[i].code = sync;
            due[i] = r[i].code ? persist_backoff(p, it[i].rec.attempts, r[i].code) : 0;
        }
        rc = meta_reap_done(p->meta, r, n, due);
    }
    meta_mount_put(p->meta, mt);
    free(r);
    free(due);
    return rc;
}

/* ---- below a removed prefix ---- */

struct prefix_run {
    struct persist *p;
    const struct meta_item *it;
    struct buf keys, last;
    struct ufs_stat *st;
    size_t n;
    bool pending; /* something below is still to go: another pass comes after it */
};

enum { PREFIX_PAGE = 500 };

static int note_key(void *arg, const struct ufs_entry *e)
{
    struct prefix_run *r = arg;
    buf_reset(&r->last);
    buf_str_add(&r->last, e->key);
    if (e->prefix || r->n == PREFIX_PAGE)
        return 0;
    buf_bytes(&r->keys, e->key);
    r->st[r->n++] = e->st;
    return 0;
}

static int prefix_page(struct prefix_run *r, struct ufs *u, bool *ret_more)
{
    struct buf after AUTO_BUF = {0};
    buf_str_add(&after, buf_str(&r->last));
    buf_reset(&r->keys);
    r->n = 0;
    int rc = ufs_list(u, r->it->key, 0, buf_str(&after), PREFIX_PAGE, note_key, r, ret_more);
    if (rc == ERR_NOT_FOUND) {
        *ret_more = false;
        return 0;
    }
    TRY(rc);
    struct cur c = cur_of(buf_str(&r->keys));
    for (size_t i = 0; i < r->n; i++) {
        bool pending;
        TRY(meta_reap_prefix_key(r->p->meta, r->it->id, r->it->key, cur_bytes(&c), &r->st[i], &pending));
        r->pending |= pending;
    }
    return 0;
}

static int prefix_all(struct prefix_run *r)
{
    struct meta_mount *mt;
    struct ufs *u;
    bool more = true;
    TRY(persist_ufs(r->p, r->it->id, &mt, &u));
    int rc = 0;
    while (rc == 0 && more && !atomic_load(&r->p->stop))
        rc = prefix_page(r, u, &more);
    meta_mount_put(r->p->meta, mt);
    return rc == 0 && more ? ERR_SHUTDOWN : rc;
}

/* Trees are forgotten first: each of their files leaves a row with its recorded version, which hides it by itself. */
static int trees_left(struct persist *p, bool *ret)
{
    struct meta_items items = {0};
    int r = meta_queue(p->meta, Q_TREE, 0, UINT64_MAX - 1, 1, &items);
    *ret = items.n > 0;
    meta_items_done(&items);
    return r;
}

int run_prefix(struct persist *p, struct meta_item *it, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct prefix_run r = {.p = p, .it = &it[i]};
        bool left;
        TRY(trees_left(p, &left));
        if (left) {
            TRY(meta_requeue(p->meta, &it[i], clock_wall_ms() + 100, 0, NULL));
            continue;
        }
        r.st = calloc(PREFIX_PAGE, sizeof *r.st);
        int rc = prefix_all(&r);
        if (rc == 0 && r.pending)
            rc = meta_requeue(p->meta, &it[i], clock_wall_ms() + 50, 0, NULL);
        else if (rc == 0)
            rc = meta_reap_prefix_done(p->meta, &it[i]);
        else if (rc != ERR_SHUTDOWN) {
            char why[200];
            snprintf(why, sizeof why, "%s", err_detail(rc));
            persist_mount_down(p, it[i].id, rc);
            rc = meta_requeue(p->meta, &it[i], persist_backoff(p, it[i].rec.attempts, rc), rc, why);
        }
        buf_done(&r.keys);
        buf_done(&r.last);
        free(r.st);
        TRY(rc);
    }
    return 0;
}
