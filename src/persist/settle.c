/* SPDX-License-Identifier: Apache-2.0
 *
 * Settle: objects that lie away from their files' homes move there. For other clients of the UFS the home key shows the
 * old object or the new one, for a while both keys the new one, and never anything else.
 */
#include "persist/persist_in.h"

/* Is the object at src still the file's? 0; ERR_STALE: another lies there (*st), or none (*st empty). */
static int look_at_source(struct ufs *u, const struct meta_settle *s, struct ufs_stat *st)
{
    int r = ufs_stat(u, str_of(s->src), st, NULL, NULL);
    if (r == ERR_NOT_FOUND)
        *st = (struct ufs_stat){0};
    else
        TRY(r);
    if (!strcmp(st->version, s->ver))
        return 0;
    return err_set(ERR_STALE, "the object at %s was %s in the under file system before it could be moved", s->src,
                   r == ERR_NOT_FOUND ? "removed" : "changed");
}

static int copy_home(struct persist *p, struct ufs *u, struct meta_settle *s)
{
    struct look l = {s->expect_known, s->expect,
                     s->taken_intent, s->etag,
                     UINT64_MAX,      s->gone_ms > s->since_ms ? s->gone_ms : s->since_ms,
                     p->skew_ms,      s->taken_own ? s->size : UINT64_MAX};
    enum look_verdict v;
    struct ufs_stat st;
    TRY(data_protect(p->data, s->dst_content, false));
    TRY(persist_look(u, s->dst, &l, &v, &st));
    if (v == LOOK_CONFLICT) { /* nothing is set aside for a file that does not come */
        struct ufs_stat src;
        TRY(look_at_source(u, s, &src));
        TRY(persist_conflict_copy(p, u, s->dst, &st));
    }
    if (!s->intended)
        TRY(meta_settle_intend(p->meta, s, v == LOOK_OLD && !st.is_dir && persist_left(&l, &st) ? st.version : ""));
    int r = ufs_copy(u, str_of(s->src), str_of(s->dst), s->ver[0] ? s->ver : NULL, &s->st);
    if (r == ERR_NOT_FOUND || r == ERR_PRECONDITION) {
        struct ufs_stat src;
        TRY(look_at_source(u, s, &src));
        return err_set(ERR_IO, "the under file system refuses to copy %s to %s", s->src, s->dst);
    }
    TRY(r);
    return ufs_sync(u);
}

static int any_entry(void *arg, const struct ufs_entry *e)
{
    (void)e;
    *(bool *)arg = true;
    return 1;
}

static int holds_any(struct ufs *u, const char *prefix, bool *ret)
{
    bool more;
    *ret = false;
    int r = ufs_list(u, str_of(prefix), 0, STR(""), 1, any_entry, ret, &more);
    return r == ERR_NOT_FOUND || r >= 0 ? 0 : r;
}

static int rename_prefix(struct ufs *u, struct meta_settle *s)
{
    bool src, dst;
    TRY(holds_any(u, s->src, &src));
    TRY(holds_any(u, s->dst, &dst));
    s->src_absent = !src && !dst;
    if (!src) /* nothing to move, or a start before this one moved it */
        return 0;
    if (dst)
        return err_set(ERR_BUSY, "%s holds something in the under file system", s->dst);
    int r = ufs_rename(u, str_of(s->src), str_of(s->dst));
    if (r == ERR_NOT_FOUND)
        return 0;
    if (r == ERR_PRECONDITION || r == ERR_EXISTS || r == ERR_NOT_EMPTY)
        return err_set(ERR_BUSY, "%s exists in the under file system", s->dst);
    TRY(r);
    return ufs_sync(u);
}

static int push(struct persist *p, struct meta_settle *s)
{
    struct buf cursor AUTO_BUF = {0};
    bool more = true;
    if (!s->sealed) {
        TRY(data_load_dir(p->data, s->ino, STR(""), false));
        s->loaded = true;
        TRY(meta_settle_claim(p->meta, s));
        if (s->go != META_GO)
            return 0;
    }
    while (more && !atomic_load(&p->stop))
        TRY(meta_settle_push(p->meta, s, &cursor, &more));
    return 0;
}

static int move(struct persist *p, struct meta_settle *s)
{
    struct meta_mount *mt;
    struct ufs *u;
    if (s->how == SETTLE_PUSH)
        return push(p, s);
    if (s->how == SETTLE_TAKE_AWAY)
        return data_materialize(p->data, s->content);
    TRY(persist_ufs(p, s->mount, &mt, &u));
    int r = s->how == SETTLE_RENAME ? rename_prefix(u, s) : copy_home(p, u, s);
    meta_mount_put(p->meta, mt);
    return r;
}

static void tell_conflict(struct persist *p, const struct meta_settle *s, struct str path, bool kept)
{
    atomic_fetch_add(&p->conflicts, 1);
    if (kept) {
        log_warn("persist.conflict",
                 "path=\"%.*s\" key=\"%s\" meaning=\"the object of a renamed file was changed or removed in the under "
                 "file system "
                 "before it could be moved\" action=\"the file is sent again from here; what lies at the key now "
                 "appears under that name\"",
                 STR_ARG(path), s->src);
        return;
    }
    atomic_fetch_add(&p->lost, 1);
    log_error("persist.lost",
              "path=\"%.*s\" key=\"%s\" etag=%s size=%llu meaning=\"the object of a renamed file was changed or "
              "removed in the under "
              "file system before it could be moved, and its bytes were not here\" action=\"the name was removed; "
              "restore the object from "
              "the store's versions or a backup\"",
              STR_ARG(path), s->src, s->etag, (unsigned long long)s->size);
}

static bool same_bytes(const struct meta_settle *s, const struct ufs_stat *st)
{
    return st->version[0] && s->etag[0] && !strcmp(st->etag, s->etag) && st->size == s->size;
}

/* The move failed because another object lies at src, or none: what of the file is there still? */
static int what_is_left(struct persist *p, struct meta_settle *s, enum meta_settle_found *ret)
{
    struct meta_mount *mt;
    struct ufs *u;
    TRY(persist_ufs(p, s->mount, &mt, &u));
    int r = look_at_source(u, s, &s->st);
    *ret = same_bytes(s, &s->st) ? SETTLE_FOUND_VERSION : SETTLE_FOUND_NOTHING;
    if (r == ERR_STALE && s->taken_over) { /* a copy was sent before: did it arrive? */
        struct ufs_stat st;
        int there = ufs_stat(u, str_of(s->dst), &st, NULL, NULL);
        if (there == 0 && same_bytes(s, &st)) {
            s->st = st;
            *ret = SETTLE_FOUND_COPY;
        } else if (there != 0 && there != ERR_NOT_FOUND) {
            r = there;
        }
    }
    meta_mount_put(p->meta, mt);
    if (r == 0)
        return err_set(ERR_BUSY, "the object at %s could not be read", s->src);
    if (r != ERR_STALE)
        return r;
    if (*ret != SETTLE_FOUND_NOTHING)
        return 0;
    r = data_materialize(p->data, s->content);
    if (r == 0)
        *ret = SETTLE_FOUND_PAGES;
    return r == ERR_STALE || r == ERR_CORRUPT ? 0 : r;
}

/* 0: it is decided. */
static int decide_conflict(struct persist *p, struct meta_settle *s)
{
    struct buf path AUTO_BUF = {0};
    enum meta_settle_found found;
    bool did;
    TRY(what_is_left(p, s, &found));
    if (found == SETTLE_FOUND_COPY)
        return meta_settle_switch(p->meta, s);
    int r = meta_path(p->meta, s->ino, &path);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    TRY(meta_settle_conflict(p->meta, s, found, &did));
    if (did && found != SETTLE_FOUND_VERSION)
        tell_conflict(p, s, buf_str(&path), found == SETTLE_FOUND_PAGES);
    return 0;
}

static int settle_one(struct persist *p, const struct meta_item *it)
{
    struct meta_settle *s = calloc(1, sizeof *s);
    s->item = *it;
    int r = meta_settle_claim(p->meta, s);
    if (r == 0 && s->go == META_GO) {
        int moved = move(p, s);
        bool decided = moved == ERR_STALE && (s->how == SETTLE_COPY || s->how == SETTLE_TAKE_AWAY);
        if (decided)
            moved = decide_conflict(p, s);
        if (moved < 0) {
            bool unknown = err_info(moved)->retry == ERR_RETRY_MAYBE || moved == ERR_TIMEOUT;
            char why[200];
            snprintf(why, sizeof why, "%s", err_detail(moved));
            persist_mount_down(p, s->mount, moved);
            uint64_t due = persist_backoff(p, it->rec.attempts, moved);
            uint64_t until = clock_wall_ms() + meta_deadline_ms(p->meta);
            r = meta_settle_giveup(p->meta, s, unknown, unknown && due < until ? until : due, moved, why);
        } else if (s->how != SETTLE_PUSH && !decided) {
            r = meta_settle_switch(p->meta, s);
            atomic_fetch_add(&p->settled, 1);
        }
    }
    free(s);
    return r;
}

int run_settle(struct persist *p, struct meta_item *it, size_t n)
{
    for (size_t i = 0; i < n; i++)
        TRY(settle_one(p, &it[i]));
    return 0;
}
