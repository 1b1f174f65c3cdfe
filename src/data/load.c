/* SPDX-License-Identifier: Apache-2.0
 *
 * Names the namespace does not know are asked of the UFS. A look is a stat or a page of a listing; what it saw is
 * handed to meta_load with the epoch taken before the look, and looked at again when that has passed.
 */
#include "data/data_in.h"

enum { TRIES = 20, PAGE = 1000, BATCH = 200 };

int data_new(const struct data_options *o, struct data **ret)
{
    struct data *d = calloc(1, sizeof *d);
    if (!d)
        return ERR_NOMEM;
    d->meta = o->meta;
    d->pages = o->pages;
    d->page_size = o->page_size ? o->page_size : 1u << 20;
    d->reader_hold_ms = o->reader_hold_ms;
    lock_init(&d->lock, RANK_META);
    *ret = d;
    return 0;
}

struct data *data_free(struct data *d)
{
    if (!d)
        return NULL;
    for (size_t i = 0; i < DATA_PASSES; i++)
        buf_done(&d->pass[i].through);
    lock_done(&d->lock);
    free(d);
    return NULL;
}

static void keep_pair(void *arg, struct str name, struct str value)
{
    pairs_add(arg, name, value);
}

static int mount_ufs(struct data *d, uint64_t mount, struct meta_mount **ret_mt, struct ufs **ret)
{
    struct meta_mount *mt = meta_mount_get(d->meta, mount);
    if (!mt)
        return err_set(ERR_NO_BUCKET, "the mount was removed");
    int r = meta_mount_ufs(d->meta, mt, ret);
    if (r < 0)
        meta_mount_put(d->meta, mt);
    else
        *ret_mt = mt;
    return r;
}

/* The UFS's word on one key. 0, ERR_NOT_FOUND, ERR_UNREACHABLE ... */
static int look(struct data *d, uint64_t mount, const char *key, struct ufs_stat *st, struct buf *pairs)
{
    struct meta_mount *mt = NULL;
    struct ufs *u;
    TRY(mount_ufs(d, mount, &mt, &u));
    buf_reset(pairs);
    int r = ufs_stat(u, str_of(key), st, keep_pair, pairs);
    meta_mount_put(d->meta, mt);
    return r == ERR_KEY_UNSUPPORTED || r == ERR_NAME_TOO_LONG || r == ERR_BAD_NAME ? ERR_NOT_FOUND : r;
}

static int load_one(struct data *d, uint64_t dir, struct str path, const char *ident, const struct ufs_stat *st,
                    struct str pairs, uint64_t epoch, uint64_t start)
{
    struct meta_load_entry e = {.path = path, .st = st, .ident = str_of(ident), .pairs = pairs};
    struct meta_load l = {.dir = dir, .path = STR(""), .entry = &e, .n = 1, .epoch = epoch, .start_ms = start};
    if (e.pairs.p == NULL)
        e.pairs = STR("");
    return meta_load(d->meta, &l);
}

enum { LOOK_PAGES = 8 };

/* Is there anything below "path/" in the UFS that no owner row hides? Loading it brings the directory into being. */
static int load_directory(struct data *d, uint64_t dir, struct str path, struct meta_found *f, bool *ret)
{
    struct buf prefix AUTO_BUF = {0}, after AUTO_BUF = {0}, bound AUTO_BUF = {0};
    struct meta_found now = {0};
    bool more = true;
    int r = 0;
    *ret = false;
    buf_str_add(&prefix, str_from(path, path.n - f->missing));
    if (!str_ends(buf_str(&prefix), STR("/")))
        buf_u8(&prefix, '/');
    for (int i = 0; i < LOOK_PAGES && r == 0 && more && !*ret; i++) {
        r = data_load_page(d, f->dir, STR(""), buf_str(&prefix), buf_str(&after), '/', &bound, &more);
        if (r == 0)
            r = meta_lookup(d->meta, dir, path, META_POSIX, &now);
        *ret = r == 0 && now.state == META_FOUND;
        buf_reset(&after);
        buf_str_add(&after, buf_str(&bound));
    }
    meta_found_done(&now);
    return r;
}

/* UNKNOWN: 1 when something was loaded and the lookup is to be repeated, 0 when there is nothing. */
static int ask(struct data *d, uint64_t dir, struct str path, unsigned flags, struct meta_found *f)
{
    struct buf pairs AUTO_BUF = {0};
    struct ufs_stat st;
    uint64_t start = clock_wall_ms();
    int r = look(d, f->mount, f->ident, &st, &pairs);
    bool dir_path = path.n && path.p[path.n - 1] == '/';
    if (r == 0 && (!st.is_dir || dir_path)) {
        bool implied =
            st.is_dir; /* a directory of the UFS that somebody made counts as implied until a listing shows it empty */
        if (implied && !(flags & DATA_POSIX))
            return 0;
        r = load_one(d, dir, path, f->ident, implied ? NULL : &st, buf_str(&pairs), f->epoch, start);
        return r < 0 ? r : 1;
    }
    if (r != ERR_NOT_FOUND && r < 0)
        return r;
    if (!(flags & DATA_POSIX))
        return 0;
    bool any;
    r = load_directory(d, dir, path, f, &any);
    return r < 0 ? r : any;
}

static bool outdated(struct data *d, const struct meta_found *f, unsigned flags)
{
    const struct inode *i = &f->i;
    uint64_t sync = meta_sync_ms(d->meta);
    if (i->type == REC_DIR || i->dirty || i->transient || i->loc != LOC_HOME || f->claimed || (flags & DATA_NO_LOAD))
        return false;
    if (i->no_pairs || (flags & DATA_FRESH) || !i->checked_ms)
        return true;
    return sync != UINT64_MAX && clock_wall_ms() >= i->checked_ms + sync;
}

/* 1: look again; 0: as it is. A UFS that cannot be reached says nothing about the file. */
static int revalidate(struct data *d, uint64_t dir, struct str path, struct meta_found *f)
{
    struct buf pairs AUTO_BUF = {0};
    struct ufs_stat st;
    uint64_t start = clock_wall_ms(), epoch;
    bool gone;
    TRY(meta_epoch(d->meta, f->mount, str_of(f->ident), false, &epoch));
    int r = look(d, f->mount, f->ident, &st, &pairs);
    if (r == ERR_NOT_FOUND) {
        TRY(meta_load_gone(d->meta, f->i.ino, f->i.ver, str_of(f->ident), epoch, &gone));
        return gone;
    }
    if (r < 0)
        return 0;
    if (!strcmp(st.version, f->i.ver)) {
        TRY(meta_load_checked(d->meta, f->i.ino, f->i.ver, pairs.n ? buf_str(&pairs) : STR("")));
        return f->i.no_pairs; /* what its pairs say of it (kind, mode, owner) is in the record now */
    }
    r = load_one(d, dir, path, f->ident, &st, buf_str(&pairs), f->epoch, start + 1);
    return r < 0 && r != ERR_CONFLICT ? r : 1;
}

enum { CHANGE_WAIT_MS = 2000 };

int data_lookup(struct data *d, uint64_t dir, struct str path, unsigned flags, struct meta_found *f)
{
    uint64_t until = clock_mono_ms() + CHANGE_WAIT_MS;
    for (int i = 0; i < TRIES; i++) {
        TRY(meta_lookup(d->meta, dir, path, (flags & META_POSIX) | (flags & DATA_FRESH ? META_ASK : 0), f));
        if (f->state == META_ABSENT && f->claimed && !(flags & DATA_NO_LOAD) && clock_mono_ms() < until) {
            clock_sleep_ms(2);
            i--;
            continue;
        }
        if (f->state == META_ABSENT || (f->state == META_UNKNOWN && (flags & DATA_NO_LOAD)))
            return 0;
        int r = f->state == META_FOUND ? (outdated(d, f, flags) ? revalidate(d, dir, path, f) : 0)
                                       : ask(d, dir, path, flags, f);
        flags &= ~(unsigned)DATA_FRESH;
        if (r == ERR_CONFLICT)
            continue;
        if (r < 0)
            return r;
        if (r == 0) {
            if (f->state == META_UNKNOWN)
                f->state = META_ABSENT;
            return 0;
        }
    }
    return err_set(ERR_CONFLICT, "the path changes faster than it can be looked up; try again");
}

/* ---- listings ---- */

struct listing {
    struct data *d;
    uint64_t dir, mount, epoch, start;
    struct str path, ident; /* of the directory */
    struct buf mem;         /* the page: keys, one after the other */
    struct meta_load_entry *e;
    struct ufs_stat *st;
    size_t n;
    struct buf bound;
    bool again; /* something could not be loaded: the pass proves nothing */
};

static int take_entry(void *arg, const struct ufs_entry *u)
{
    struct listing *l = arg;
    struct meta_load_entry *e = &l->e[l->n];
    buf_reset(&l->bound);
    buf_str_add(&l->bound, str_from(u->key, l->ident.n));
    if (u->key.n <= l->ident.n)
        return 0;
    char *key = str_dup(u->key);
    *e = (struct meta_load_entry){.ident = {key, u->key.n}, .path = {key + l->ident.n, u->key.n - l->ident.n}};
    if (!str_utf8(e->path)) {
        free(key);
        return 0;
    }
    if (!u->prefix) {
        l->st[l->n] = u->st;
        e->st = &l->st[l->n];
    }
    l->n++;
    return 0;
}

static int look_again(struct listing *l, const struct meta_load_entry *e)
{
    struct meta_found f = {0};
    struct buf full AUTO_BUF = {0};
    buf_str_add(&full, l->path);
    buf_str_add(&full, e->path);
    int r = data_lookup(l->d, l->dir, buf_str(&full), e->st ? 0 : DATA_POSIX, &f);
    meta_found_done(&f);
    return r;
}

static int exists(struct listing *l, struct str path, bool *ret)
{
    struct meta_dir md;
    struct buf full AUTO_BUF = {0};
    buf_str_add(&full, l->path);
    buf_str_add(&full, path);
    TRY(meta_dir(l->d->meta, l->dir, buf_str(&full), &md));
    *ret = md.exists;
    return 0;
}

/* The first key below it that nothing hides brings the directory into being; without one it is not there. */
static int look_below(struct listing *l, struct str prefix)
{
    struct buf after AUTO_BUF = {0}, bound AUTO_BUF = {0};
    bool more = true, found = false;
    while (more && !found) {
        TRY(data_load_page(l->d, l->dir, l->path, prefix, buf_str(&after), 0, &bound, &more));
        TRY(exists(l, prefix, &found));
        buf_reset(&after);
        buf_str_add(&after, buf_str(&bound));
    }
    return 0;
}

static int load_batches(struct listing *l)
{
    for (size_t i = 0; i < l->n; i += BATCH) {
        size_t n = l->n - i < BATCH ? l->n - i : BATCH;
        struct meta_load m = {.dir = l->dir,
                              .path = l->path,
                              .entry = l->e + i,
                              .n = n,
                              .whole_epoch = true,
                              .epoch = l->epoch,
                              .start_ms = l->start};
        int r = meta_load(l->d->meta, &m);
        if (r < 0 && r != ERR_CONFLICT)
            return r;
        for (size_t k = i; k < i + n; k++) {
            if (l->e[k].look_below)
                TRY(look_below(l, l->e[k].path));
            if (l->e[k].ask_again)
                TRY(look_again(l, &l->e[k]));
        }
    }
    return 0;
}

struct vanish {
    struct listing *l;
    struct buf gone; /* paths of clean files the listing did not show */
    size_t at;
};

static int check_vanished(void *arg, const struct meta_entry *e)
{
    struct vanish *v = arg;
    struct listing *l = v->l;
    while (v->at < l->n && str_cmp(l->e[v->at].path, e->key) < 0)
        v->at++;
    if (!e->i || e->i->type == REC_DIR || e->i->dirty || e->i->transient || e->i->loc != LOC_HOME ||
        e->i->checked_ms >= l->start)
        return 0;
    if (v->at < l->n && str_eq(l->e[v->at].path, e->key))
        return 0;
    buf_bytes(&v->gone, e->key);
    return 0;
}

/* Clean files in the range that the UFS did not list are asked for one by one: they may have been removed there. */
static int find_vanished(struct listing *l, struct str prefix, struct str after, char delimiter, bool more)
{
    struct vanish v = {.l = l};
    struct meta_list q = {
        .dir = l->dir, .path = l->path, .prefix = prefix, .after = after, .delimiter = delimiter, .limit = 4 * PAGE};
    bool rest;
    if (more)
        q.bound = buf_str(&l->bound);
    int r = meta_list(l->d->meta, &q, check_vanished, &v, NULL, &rest, NULL);
    struct cur c = cur_of(buf_str(&v.gone));
    while (r == 0 && c.p < c.end) {
        struct buf full AUTO_BUF = {0};
        struct meta_found f = {0};
        buf_str_add(&full, l->path);
        buf_str_add(&full, cur_bytes(&c));
        r = data_lookup(l->d, l->dir, buf_str(&full), DATA_FRESH, &f);
        meta_found_done(&f);
    }
    buf_done(&v.gone);
    return r == ERR_NOT_FOUND ? 0 : r;
}

/* ---- passes ---- */

static struct pass *find_pass(struct data *d, uint64_t dir, bool deep)
{
    struct pass *oldest = &d->pass[0];
    for (size_t i = 0; i < DATA_PASSES; i++) {
        struct pass *p = &d->pass[i];
        if (p->dir == dir && p->deep == deep)
            return p;
        if (p->used_ms < oldest->used_ms)
            oldest = p;
    }
    oldest->dir = 0;
    return oldest;
}

/* True when this page was the last of a pass that saw everything since *ret_start. */
static bool note_page(struct data *d, uint64_t dir, bool deep, struct str after, const struct listing *l, bool more,
                      uint64_t *ret_start)
{
    LOCKED(&d->lock);
    struct pass *p = find_pass(d, dir, deep);
    if (!after.n) {
        p->dir = dir;
        p->deep = deep;
        p->start_ms = l->start;
    } else if (p->dir != dir || str_cmp(after, buf_str(&p->through)) > 0) {
        return false;
    }
    p->used_ms = l->start;
    buf_reset(&p->through);
    buf_str_add(&p->through, buf_str(&l->bound));
    *ret_start = p->start_ms;
    if (!more)
        p->dir = 0;
    return !more;
}

static int list_page(struct listing *l, struct ufs *u, struct str prefix, struct str after, char delimiter,
                     bool *ret_more)
{
    struct buf p AUTO_BUF = {0}, a AUTO_BUF = {0};
    buf_str_add(&p, l->ident);
    buf_str_add(&p, prefix);
    if (after.n) {
        buf_str_add(&a, l->ident);
        buf_str_add(&a, after);
    }
    l->e = calloc(PAGE, sizeof *l->e);
    l->st = calloc(PAGE, sizeof *l->st);
    l->start = clock_wall_ms();
    TRY(meta_epoch(l->d->meta, l->mount, STR(""), true, &l->epoch));
    int r = ufs_list(u, buf_str(&p), delimiter, buf_str(&a), PAGE, take_entry, l, ret_more);
    if (r == ERR_KEY_UNSUPPORTED || r == ERR_NOT_FOUND) {
        *ret_more = false;
        return 0;
    }
    return r;
}

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->e[i].ident.p);
    free(l->e);
    free(l->st);
    buf_done(&l->bound);
    buf_done(&l->mem);
}

int data_load_page(struct data *d, uint64_t dir, struct str path, struct str prefix, struct str after, char delimiter,
                   struct buf *bound, bool *ret_more)
{
    struct listing l = {.d = d, .dir = dir, .path = path};
    struct meta_dir md, target;
    struct meta_mount *mt = NULL;
    struct ufs *u;
    uint64_t start;
    bool more = false;
    TRY(meta_dir(d->meta, dir, path, &md));
    l.mount = md.mount;
    l.ident = str_of(md.ident);
    TRY(mount_ufs(d, md.mount, &mt, &u));
    int r = list_page(&l, u, prefix, after, delimiter, &more);
    meta_mount_put(d->meta, mt);
    if (r == 0)
        r = load_batches(&l);
    if (r == 0)
        r = find_vanished(&l, prefix, after, delimiter, more);
    bool aligned = !prefix.n || prefix.p[prefix.n - 1] == '/';
    if (r == 0 && aligned && (!delimiter || delimiter == '/')) {
        struct buf full AUTO_BUF = {0};
        buf_str_add(&full, path);
        buf_str_add(&full, prefix);
        int t = meta_dir(d->meta, dir, buf_str(&full), &target);
        if (t == 0 && target.exists && note_page(d, target.ino, !delimiter, after, &l, more, &start) &&
            meta_sync_ms(d->meta) != 0)
            r = meta_load_complete(d->meta, target.ino, !delimiter,
                                   meta_sync_ms(d->meta) == UINT64_MAX ? UINT64_MAX : start + meta_sync_ms(d->meta));
    }
    if (r == 0) {
        buf_reset(bound);
        buf_str_add(bound, buf_str(&l.bound));
        *ret_more = more;
    }
    listing_done(&l);
    return r;
}

int data_load_dir(struct data *d, uint64_t dir, struct str path, bool deep)
{
    struct buf bound AUTO_BUF = {0}, after AUTO_BUF = {0};
    bool more = true;
    while (more) {
        TRY(data_load_page(d, dir, path, STR(""), buf_str(&after), deep ? 0 : '/', &bound, &more));
        buf_reset(&after);
        buf_str_add(&after, buf_str(&bound));
    }
    return 0;
}
