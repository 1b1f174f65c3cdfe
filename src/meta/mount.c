/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount table: rows in the KV, handles of the UFSes in memory. A mount's id is the inode of its directory. A UFS
 * that cannot be opened now is tried again when somebody needs it, at most once a second.
 *
 * Lock: RANK_META over the table and the handles' fields; opening a UFS happens without it (one opener at a time).
 */
#include "meta/tx.h"

static void mount_free(struct meta_mount *mt)
{
    if (!mt)
        return;
    ufs_close(mt->ufs);
    free(mt->path);
    free(mt->uri);
    free(mt->options);
    free(mt);
}

static struct meta_mount *mount_new(uint64_t id, struct str path, struct str uri, struct str options, unsigned caps)
{
    struct meta_mount *mt = calloc(1, sizeof *mt);
    mt->id = id;
    mt->path = str_dup(path);
    mt->uri = str_dup(uri);
    mt->options = str_dup(options);
    mt->caps = caps;
    mt->refs = 1;
    return mt;
}

static void table_add(struct meta *m, struct meta_mount *mt)
{
    LOCKED(&m->lock);
    m->mount = realloc(m->mount, (m->mount_n + 1) * sizeof *m->mount);
    m->mount[m->mount_n++] = mt;
}

static struct meta_mount *table_take(struct meta *m, uint64_t id)
{
    LOCKED(&m->lock);
    for (size_t i = 0; i < m->mount_n; i++)
        if (m->mount[i]->id == id) {
            struct meta_mount *mt = m->mount[i];
            m->mount[i] = m->mount[--m->mount_n];
            mt->gone = true;
            return mt;
        }
    return NULL;
}

struct meta_mount *meta_mount_get(struct meta *m, uint64_t id)
{
    LOCKED(&m->lock);
    for (size_t i = 0; i < m->mount_n; i++)
        if (m->mount[i]->id == id) {
            m->mount[i]->refs++;
            return m->mount[i];
        }
    return NULL;
}

struct meta_mount *meta_mount_put(struct meta *m, struct meta_mount *mt)
{
    if (!mt)
        return NULL;
    lock_take(&m->lock);
    bool last = --mt->refs == 0;
    lock_drop(&m->lock);
    if (last)
        mount_free(mt);
    return NULL;
}

unsigned meta_caps(struct meta *m, uint64_t mount)
{
    LOCKED(&m->lock);
    for (size_t i = 0; i < m->mount_n; i++)
        if (m->mount[i]->id == mount)
            return m->mount[i]->caps;
    return 0;
}

int meta_mount_find(struct meta *m, struct str path, struct meta_mount **ret)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    LOCKED(&m->lock);
    for (size_t i = 0; i < m->mount_n; i++)
        if (str_eq(str_of(m->mount[i]->path), path)) {
            m->mount[i]->refs++;
            *ret = m->mount[i];
            return 0;
        }
    return err_set(ERR_NOT_FOUND, "nothing is mounted at %.*s", STR_ARG(path));
}

int meta_mount_each(struct meta *m, int (*fn)(void *arg, struct meta_mount *mt), void *arg)
{
    struct meta_mount **copy;
    size_t n;
    lock_take(&m->lock);
    n = m->mount_n;
    copy = calloc(n ? n : 1, sizeof *copy);
    for (size_t i = 0; i < n; i++) {
        copy[i] = m->mount[i];
        copy[i]->refs++;
    }
    lock_drop(&m->lock);
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = fn(arg, copy[i]);
        meta_mount_put(m, copy[i]);
    }
    free(copy);
    return r;
}

/* ---- handles ---- */

static void options_map(const char *options, struct map *props, struct buf *mem)
{
    buf_putz(mem, options);
    for (char *line = mem->p, *next; line && *line; line = next) {
        char *end = strchr(line, '\n'), *eq = strchr(line, '=');
        next = end ? end + 1 : NULL;
        if (end)
            *end = 0;
        if (eq && (!end || eq < end)) {
            *eq = 0;
            map_put(props, str_of(line), eq + 1);
        }
    }
}

int meta_ufs_open(struct meta *m, const char *uri, const char *options, struct ufs **ret)
{
    struct buf mem AUTO_BUF = {0}, defaults AUTO_BUF = {0};
    struct map *props = map_new();
    options_map(m->ufs_defaults, props, &defaults);
    options_map(options, props, &mem); /* wins */
    struct ufs_options o = {.props = props, .deadline_ms = m->deadline_ms, .allowed_roots = m->allowed_roots};
    int r = ufs_open(uri, &o, ret);
    map_free(props);
    return r;
}

/* 1: this thread shall open it, 0: *ret is there, <0: not now. */
static int ufs_ready(struct meta *m, struct meta_mount *mt, struct ufs **ret)
{
    LOCKED(&m->lock);
    if (mt->fenced)
        return err_set(ERR_UNREACHABLE,
                       "another Forebay took the under file system %s of %s: restart this one when that one is gone",
                       mt->uri, mt->path);
    if (mt->ufs) {
        *ret = mt->ufs;
        return 0;
    }
    if (mt->opening || clock_mono_ms() < mt->retry_ms)
        return err_set(ERR_UNREACHABLE, "the under file system %s of %s cannot be reached", mt->uri, mt->path);
    mt->opening = true;
    return 1;
}

struct caps_arg {
    uint64_t id;
    unsigned caps;
};

static int caps_tx(struct kv_tx *tx, void *arg)
{
    struct caps_arg *a = arg;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct str old;
    struct mount_rec rec;
    key_id(&k, 'M', a->id);
    TRY(kv_get(tx, buf_str(&k), &old));
    TRY(dec_mount(old, a->id, &rec));
    rec.caps = a->caps;
    enc_mount(&v, &rec);
    kv_put(tx, buf_str(&k), buf_str(&v));
    return 0;
}

int meta_mount_ufs(struct meta *m, struct meta_mount *mt, struct ufs **ret)
{
    int r = ufs_ready(m, mt, ret);
    if (r <= 0)
        return r;
    struct ufs *u = NULL;
    r = meta_ufs_open(m, mt->uri, mt->options, &u);
    if (r == 0)
        r = fence_take(m, u, mt->uri);
    if (r < 0 && u)
        u = ufs_close(u);
    struct caps_arg a = {mt->id, r == 0 ? ufs_caps(u) : 0};
    if (r == 0 && a.caps != mt->caps)
        meta_commit(m, caps_tx, &a, KV_SYNC, NULL);
    LOCKED(&m->lock);
    mt->opening = false;
    if (r < 0) {
        mt->retry_ms = clock_mono_ms() + 1000;
        return r == ERR_UNREACHABLE ? r : err_prefix(ERR_UNREACHABLE, "%s: ", mt->path);
    }
    mt->ufs = *ret = u;
    mt->caps = a.caps;
    return 0;
}

/* ---- rows ---- */

struct mounts_arg {
    struct meta *m;
    struct buf rows; /* id, row ... : the table is changed outside the transaction */
};

static int each_row(void *arg, struct str key, struct str value)
{
    struct mounts_arg *a = arg;
    struct cur c = cur_of(str_from(key, 1));
    struct mount_rec rec;
    uint64_t id = cur_be64(&c);
    TRY(dec_mount(value, id, &rec));
    if (!rec.removing)
        table_add(a->m, mount_new(id, rec.path, rec.uri, rec.options, rec.caps));
    return 0;
}

static int open_one(void *arg, struct meta_mount *mt)
{
    struct ufs *u;
    meta_mount_ufs(arg, mt, &u); /* not reachable now is no reason not to start */
    return 0;
}

int mounts_open(struct meta *m)
{
    struct mounts_arg a = {.m = m};
    TRY(kv_scan(m->kv, STR("M"), each_row, &a));
    if (m->read_only)
        return 0;
    return meta_mount_each(m, open_one, m);
}

void mounts_close(struct meta *m)
{
    for (size_t i = 0; i < m->mount_n; i++) {
        if (!m->read_only)
            fence_drop(m, m->mount[i]->ufs);
        mount_free(m->mount[i]);
    }
    free(m->mount);
}

struct add_arg {
    struct str path, uri, options;
    uint64_t id;
    unsigned caps;
};

static int add_tx(struct kv_tx *tx, void *arg)
{
    struct add_arg *a = arg;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0}, leaf AUTO_BUF = {0};
    struct str name = str_from(a->path, 1);
    struct dentry d;
    buf_str_add(&leaf, name);
    buf_u8(&leaf, '/');
    int r = tx_dentry(tx, META_ROOT, buf_str(&leaf), &d);
    if (r == 0)
        return err_set(ERR_EXISTS, "%.*s exists already", STR_ARG(a->path));
    if (r != ERR_NOT_FOUND)
        return r;
    struct inode i = {.ino = a->id,
                      .parent = META_ROOT,
                      .mount = a->id,
                      .type = REC_DIR,
                      .explicit_dir = true,
                      .mode = 0755,
                      .nlink = 2,
                      .mtime_ms = clock_wall_ms(),
                      .name = name};
    i.ctime_ms = i.mtime_ms;
    d = (struct dentry){.ino = a->id, .type = REC_DIR};
    tx_put_inode(tx, &i);
    tx_put_dentry(tx, META_ROOT, buf_str(&leaf), &d);
    struct mount_rec rec = {
        .id = a->id, .ino = a->id, .path = a->path, .uri = a->uri, .options = a->options, .caps = a->caps};
    enc_mount(&v, &rec);
    key_id(&k, 'M', a->id);
    kv_put(tx, buf_str(&k), buf_str(&v));
    return 0;
}

static struct str uri_root(const char *uri)
{
    struct str s = str_of(uri);
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static int check_overlap(void *arg, struct meta_mount *mt)
{
    const struct add_arg *a = arg;
    struct str x = uri_root(mt->uri), y = {a->uri.p, uri_root(a->uri.p).n};
    struct str shorter = x.n < y.n ? x : y, longer = x.n < y.n ? y : x;
    if (!str_starts(longer, shorter) || (longer.n > shorter.n && longer.p[shorter.n] != '/'))
        return 0;
    return err_set(ERR_INVALID,
                   "%s overlaps with %s, which is mounted at %s: mounts may not overlap in the under file system",
                   a->uri.p, mt->uri, mt->path);
}

static bool path_ok(struct str path)
{
    if (path.n < 2 || path.n > 256 || path.p[0] != '/' || memchr(path.p + 1, '/', path.n - 1) || !str_utf8(path))
        return false;
    return !str_eq(path, STR("/.")) && !str_eq(path, STR("/..")) && !str_eq(path, STR("/.forebay"));
}

int meta_mount_check(struct meta *m, struct str path, const char *uri)
{
    struct add_arg a = {.path = path, .uri = str_of(uri)};
    if (!path_ok(path))
        return err_set(ERR_INVALID, "mount path %.*s: it must be one directory below the root, like /data",
                       STR_ARG(path));
    return meta_mount_each(m, check_overlap, &a);
}

int meta_mount_add(struct meta *m, struct str path, const char *uri, const char *options, struct ufs *ufs)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    TRY(meta_mount_check(m, path, uri));
    struct add_arg a = {.path = path, .uri = str_of(uri), .options = str_of(options), .caps = ufs_caps(ufs)};
    TRY(fence_take(m, ufs, uri));
    TRY(meta_mint(m, 1, &a.id));
    TRY(meta_update(m, add_tx, &a));
    struct meta_mount *mt = mount_new(a.id, path, str_of(uri), str_of(options), a.caps);
    mt->ufs = ufs;
    table_add(m, mt);
    return 0;
}

/* ---- dirty files ---- */

struct dirty_arg {
    struct meta *m;
    uint64_t mount, files, bytes, oldest;
    struct buf from;
    bool more;
};

static int dirty_tx(struct kv_tx *tx, void *arg)
{
    struct dirty_arg *a = arg;
    struct kv_rows rows;
    struct kv_range r = {.begin = buf_str(&a->from), .end = STR("QQ"), .max_rows = 1000};
    uint64_t files = 0, bytes = 0, oldest = a->oldest;
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        enum queue_kind kind;
        uint64_t due, ino;
        struct str rest;
        struct queue_rec q;
        struct inode f;
        if (!dec_queue_key(rows.row[i].key, &kind, &due, &ino, &rest))
            continue;
        TRY(dec_queue(rows.row[i].value, &q));
        if (a->mount) {
            int g = tx_inode(tx, ino, &f);
            if (g == ERR_NOT_FOUND || (g == 0 && f.mount != a->mount))
                continue;
            TRY(g);
        }
        files++;
        bytes += q.bytes;
        if (!oldest || q.since_ms < oldest)
            oldest = q.since_ms;
    }
    a->files += files;
    a->bytes += bytes;
    a->oldest = oldest;
    a->more = rows.more;
    if (rows.n) {
        buf_reset(&a->from);
        buf_str_add(&a->from, rows.row[rows.n - 1].key);
        buf_u8(&a->from, 0);
    }
    return 0;
}

int meta_dirty(struct meta *m, uint64_t mount, uint64_t *ret_files, uint64_t *ret_bytes, uint64_t *ret_oldest_ms)
{
    struct dirty_arg a = {.m = m, .mount = mount, .more = true};
    int r = 0;
    buf_putz(&a.from, "QP");
    while (r == 0 && a.more)
        r = kv_view(m->kv, dirty_tx, &a, NULL);
    buf_done(&a.from);
    if (r < 0)
        return r;
    *ret_files = a.files;
    *ret_bytes = a.bytes;
    if (ret_oldest_ms)
        *ret_oldest_ms = a.oldest;
    return 0;
}

struct transient_arg {
    uint64_t mount, files, bytes;
};

static int count_transient(void *arg, struct str key, struct str value)
{
    struct transient_arg *a = arg;
    struct inode i;
    (void)key;
    TRY(dec_inode(value, 0, &i));
    if (i.mount == a->mount && i.transient && i.type != REC_DIR) {
        a->files++;
        a->bytes += i.size;
    }
    return 0;
}

struct remove_arg {
    uint64_t id;
    struct str path;
};

static int remove_tx(struct kv_tx *tx, void *arg)
{
    struct remove_arg *a = arg;
    struct buf k AUTO_BUF = {0}, leaf AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct inode i;
    struct str old;
    struct mount_rec rec;
    TRY(tx_inode(tx, a->id, &i));
    buf_str_add(&leaf, str_from(a->path, 1));
    buf_u8(&leaf, '/');
    tx_del_dentry(tx, META_ROOT, buf_str(&leaf));
    i.parent = 0;
    tx_put_inode(tx, &i);
    /* The row stays, marked, until the tree job has forgotten everything below: it must not touch the UFS then. */
    key_id(&k, 'M', a->id);
    TRY(kv_get(tx, buf_str(&k), &old));
    TRY(dec_mount(old, a->id, &rec));
    rec.removing = true;
    enc_mount(&v, &rec);
    kv_put(tx, buf_str(&k), buf_str(&v));
    tx_queue(tx, Q_TREE, clock_wall_ms(), a->id, STR(""), NULL);
    return 0;
}

int meta_mount_remove(struct meta *m, struct str path, bool force)
{
    struct meta_mount *mt;
    TRY(meta_mount_find(m, path, &mt));
    uint64_t id = mt->id, files, bytes;
    struct str p = str_of(mt->path);
    int r = meta_dirty(m, id, &files, &bytes, NULL);
    struct transient_arg t = {.mount = id};
    if (r == 0 && !force)
        r = kv_scan(m->kv, STR("I"), count_transient, &t);
    if (r == 0 && files && !force)
        r = err_set(
            ERR_DIRTY,
            "%llu file%s with %llu bytes below %s %s not persisted yet: wait until `forebay async-persist list` "
            "is empty, or use --force to lose them",
            (unsigned long long)files, files == 1 ? "" : "s", (unsigned long long)bytes, mt->path,
            files == 1 ? "is" : "are");
    else if (r == 0 && t.files && !force)
        r = err_set(ERR_DIRTY,
                    "%llu TRANSIENT file%s with %llu bytes below %s would be lost: remove them first, or use --force",
                    (unsigned long long)t.files, t.files == 1 ? "" : "s", (unsigned long long)t.bytes, mt->path);
    struct remove_arg a = {id, p};
    if (r == 0)
        r = meta_update(m, remove_tx, &a);
    if (r == 0) {
        fence_drop(m, mt->ufs);
        meta_mount_put(m, table_take(m, id));
    }
    meta_mount_put(m, mt);
    meta_kick(m, Q_TREE);
    return r;
}
