/* SPDX-License-Identifier: Apache-2.0
 *
 * The door's own affairs: life, paths, policies, attributes, looking.
 */
#include "fs/px_in.h"

enum { CLAIM_WAIT_MS = 15000, PERSIST_WAIT_MS = 120000, SLOW_MS = 100, SPARE_MS = 30000 };

int fs_new(const struct fs_options *o, struct fs **ret)
{
    struct fs *fs = calloc(1, sizeof *fs);
    if (!fs)
        return ERR_NOMEM;
    lock_init(&fs->px_lock, RANK_FS - 1);
    fs->meta = o->meta;
    fs->pages = o->pages;
    fs->conf = o->conf;
    fs->expire_ms = o->conf ? conf_ms(o->conf, PROP_MULTIPART_EXPIRE) : 7ull * 24 * 3600 * 1000;
    fs->degrade = o->conf && !strcmp(conf_string(o->conf, PROP_WRITE_FULL_POLICY), "degrade");
    pass_limits_init(&fs->pass, o->conf);
    struct data_options d = {
        .meta = o->meta, .pages = o->pages, .page_size = o->conf ? (uint32_t)conf_size(o->conf, PROP_PAGE_SIZE) : 0};
    d.reader_hold_ms = o->conf ? conf_ms(o->conf, PROP_READER_HOLD) : 600000;
    int r = data_new(&d, &fs->data);
    if (r < 0) {
        pass_limits_done(&fs->pass);
        free(fs);
        return r;
    }
    r = px_recover(fs);
    if (r < 0) {
        fs_free_door(fs);
        return r;
    }
    *ret = fs;
    return 0;
}

struct fs *fs_free_door(struct fs *fs)
{
    if (!fs)
        return NULL;
    data_free(fs->data);
    pass_limits_done(&fs->pass);
    lock_done(&fs->px_lock);
    free(fs);
    return NULL;
}

uint64_t fs_readers_cut(const struct fs *fs)
{
    return data_readers_cut(fs->data);
}

int fs_settle(struct fs *fs, uint64_t version)
{
    return version ? kv_settle(meta_kv(fs->meta), version) : 0;
}

const char *fs_policy_name(enum fs_policy p)
{
    return meta_policy_name((enum meta_policy)p);
}

/* ---- paths and rules ---- */

bool fs_is_dir_path(struct str path)
{
    return path.n && path.p[path.n - 1] == '/';
}

int fs_absolute(struct fs *fs, struct fs_at at, struct buf *ret)
{
    buf_reset(ret);
    if (at.dir == FS_ROOT)
        buf_u8(ret, '/');
    else
        TRY(meta_path(fs->meta, at.dir, ret));
    buf_str_add(ret, at.path);
    return 0;
}

int fs_policy(struct fs *fs, struct fs_at at, enum meta_policy *ret)
{
    struct buf abs AUTO_BUF = {0};
    TRY(fs_absolute(fs, at, &abs));
    *ret = meta_rule(fs->meta, buf_str(&abs)).policy;
    return 0;
}

/* ".forebay" at the top of a bucket is where we keep our own objects. */
static bool reserved(struct str abs)
{
    const char *slash = memchr(abs.p + 1, '/', abs.n - 1);
    struct str key = slash ? str_from(abs, (size_t)(slash - abs.p) + 1) : STR("");
    return str_starts(key, STR(".forebay/")) || str_eq(key, STR(".forebay"));
}

int fs_writable_path(struct fs *fs, struct str path, enum meta_policy *ret)
{
    if (reserved(path))
        return err_set(ERR_DENIED, "names below .forebay/ of a bucket are reserved");
    *ret = meta_rule(fs->meta, path).policy;
    if (*ret == META_READ_ONLY)
        return err_set(ERR_READ_ONLY, "%.*s: the path configuration says READ_ONLY", STR_ARG(path));
    return 0;
}

int fs_writable(struct fs *fs, struct fs_at at, enum meta_policy *ret)
{
    struct buf abs AUTO_BUF = {0};
    if (!str_utf8(at.path))
        return err_set(ERR_BAD_NAME, "the name is not valid UTF-8 or holds a NUL byte");
    if (at.path.n > META_KEY_MAX)
        return err_set(ERR_NAME_TOO_LONG, "the name has more than %d bytes", META_KEY_MAX);
    TRY(fs_absolute(fs, at, &abs));
    return fs_writable_path(fs, buf_str(&abs), ret);
}

/* ---- attributes ---- */

void fs_fill_attr(const struct meta_found *f, struct fs_attr *ret)
{
    const struct inode *i = &f->i;
    *ret = (struct fs_attr){.ino = i->ino,
                            .parent = i->parent,
                            .content = i->content,
                            .type = (enum fs_type)i->type,
                            .explicit_dir = i->explicit_dir,
                            .size = i->size,
                            .mtime_ms = i->mtime_ms,
                            .ctime_ms = i->ctime_ms,
                            .mode = i->mode,
                            .uid = i->uid,
                            .gid = i->gid,
                            .nlink = i->nlink,
                            .version = f->version};
    ret->persisted = !i->dirty && !i->transient;
    ret->settled = ret->persisted && (i->type == REC_DIR ? !i->key.n : i->loc == LOC_HOME);
    memcpy(ret->etag, i->etag, sizeof ret->etag);
}

int fs_find(struct fs *fs, struct fs_at at, unsigned flags, struct meta_found *f)
{
    unsigned how = (flags & FS_POSIX ? DATA_POSIX : 0) | (flags & FS_NO_LOAD ? DATA_NO_LOAD : 0);
    enum meta_policy policy;
    TRY(fs_policy(fs, at, &policy));
    if (policy == META_NO_CACHE)
        how |= DATA_FRESH;
    TRY(data_lookup(fs->data, at.dir, at.path, how, f));
    if (f->state == META_FOUND)
        return 0;
    if (f->claimed)
        return err_set(ERR_BUSY, "the object is being written in the under file system just now; try again");
    if (f->no_bucket)
        return err_set(ERR_NO_BUCKET, "there is no such bucket: see what is mounted with `forebay mount list`");
    return err_set(ERR_NOT_FOUND, "the path does not exist");
}

static void tell_pairs(struct str pairs, fs_meta_fn *meta, void *arg)
{
    struct cur c = cur_of(pairs);
    struct str n, v;
    while (meta && pairs_next(&c, &n, &v))
        meta(arg, n, v);
}

int fs_stat(struct fs *fs, struct fs_at at, unsigned flags, struct fs_attr *ret, fs_meta_fn *meta, void *arg)
{
    struct meta_found f = {0};
    TRACE("fs.stat", at.dir, at.path.n);
    int r = fs_find(fs, at, flags, &f);
    if (r == 0) {
        fs_fill_attr(&f, ret);
        tell_pairs(buf_str(&f.pairs), meta, arg);
    }
    meta_found_done(&f);
    return r;
}

int fs_encode_pairs(const struct fs_pair *p, size_t n, struct buf *ret)
{
    for (size_t i = 0; i < n; i++)
        pairs_add(ret, p[i].name, p[i].value.p ? p[i].value : STR(""));
    if (ret->n > KV_VALUE_MAX)
        return err_set(ERR_METADATA_LARGE, "headers and metadata have more than %d bytes", KV_VALUE_MAX);
    return 0;
}

struct meta_cond fs_cond_of(const struct fs_cond *c)
{
    return c ? (struct meta_cond){c->if_match, c->if_none_match} : (struct meta_cond){0};
}

/* ---- names a UFS cannot hold ---- */

static int check_tree_name(struct str name)
{
    while (name.n) {
        const char *slash = memchr(name.p, '/', name.n);
        struct str one = slash ? (struct str){name.p, (size_t)(slash - name.p)} : name;
        if (!one.n || str_eq(one, STR(".")) || str_eq(one, STR("..")))
            return err_set(ERR_KEY_UNSUPPORTED,
                           "the under file system of this bucket is a tree of files: it cannot hold a name with an "
                           "empty, \".\" or \"..\" component");
        if (one.n > 255)
            return err_set(ERR_KEY_UNSUPPORTED,
                           "the under file system of this bucket cannot hold a component of more than 255 bytes");
        name = str_from(name, one.n + (slash ? 1 : 0));
    }
    return 0;
}

/* A UFS that does not answer now is no reason to refuse a write that is kept here: the clash, if there is one, is told
 * when the file is persisted. */
static int tolerant(int r)
{
    return r == ERR_UNREACHABLE || r == ERR_TIMEOUT || r == ERR_THROTTLED || r == ERR_UNKNOWN_OUTCOME || r == ERR_IO
               ? 1
               : r;
}

static int refuse_file_above(struct fs *fs, struct fs_at at, size_t n, unsigned how)
{
    struct meta_found f = {0};
    struct str dir = {at.path.p, n + 1}, file = {at.path.p, n};
    int r = meta_lookup(fs->meta, at.dir, dir, 0, &f);
    if (r == 0 && f.state != META_FOUND) {
        r = tolerant(data_lookup(fs->data, at.dir, file, how, &f));
        if (r == 0 && f.state == META_FOUND)
            r = err_set(ERR_KEY_UNSUPPORTED,
                        "\"%.*s\" is a file, and the under file system of this bucket cannot hold names below a file",
                        STR_ARG(file));
    }
    meta_found_done(&f);
    return r < 0 ? r : 0;
}

static int refuse_dir_there(struct fs *fs, struct fs_at at, unsigned how)
{
    struct meta_found f = {0};
    struct buf dir AUTO_BUF = {0};
    buf_str_add(&dir, at.path);
    buf_u8(&dir, '/');
    int r = tolerant(data_lookup(fs->data, at.dir, buf_str(&dir), DATA_POSIX | how, &f));
    if (r == 0 && f.state == META_FOUND && f.i.explicit_dir)
        r = err_set(ERR_KEY_UNSUPPORTED,
                    "\"%.*s\" is a directory, and the under file system of this bucket cannot hold a file of the "
                    "same name",
                    STR_ARG(at.path));
    meta_found_done(&f);
    return r < 0 ? r : 0;
}

/* f: what the namespace says of the path. Directories it walked through are directories, and a file it knows has no
 * directory of the same name beside it. */
static int look_for_clash(struct fs *fs, struct fs_at at, size_t key_at, const struct meta_found *f, unsigned how)
{
    if (f->state == META_FOUND)
        return 0;
    for (size_t i = at.path.n - f->missing > key_at ? at.path.n - f->missing : key_at; i + 1 < at.path.n; i++)
        if (at.path.p[i] == '/')
            TRY(refuse_file_above(fs, at, i, how));
    return fs_is_dir_path(at.path) ? 0 : refuse_dir_there(fs, at, how);
}

/* Asking a slow UFS would make each write as slow as it: after one slow answer it is spared for a while. */
static int check_tree(struct fs *fs, struct fs_at at, size_t key_at, const struct meta_found *f, struct meta_mount *mt)
{
    uint64_t start = clock_mono_ms();
    TRY(check_tree_name(str_from(at.path, key_at)));
    int r = look_for_clash(fs, at, key_at, f, start < mt->slow_until_ms ? DATA_NO_LOAD : 0);
    if (clock_mono_ms() > start + SLOW_MS)
        mt->slow_until_ms = clock_mono_ms() + SPARE_MS;
    return r;
}

int fs_check_key(struct fs *fs, struct fs_at at)
{
    struct meta_found f = {0};
    struct ufs *u = NULL;
    int r = meta_lookup(fs->meta, at.dir, at.path, 0, &f);
    struct meta_mount *mt = r == 0 ? meta_mount_get(fs->meta, f.mount) : NULL;
    if (r == 0 && !mt)
        r = f.no_bucket || !f.mount
                ? err_set(ERR_NO_BUCKET, "there is no such bucket: see what is mounted with `forebay mount list`")
                : 0;
    if (r == 0 && mt && meta_mount_ufs(fs->meta, mt, &u) == 0)
        r = ufs_key_check(u, str_of(f.home));
    if (r == 0 && mt && !(mt->caps & UFS_CAP_VERBATIM)) {
        const char *slash = at.dir == FS_ROOT && at.path.n ? memchr(at.path.p, '/', at.path.n) : NULL;
        r = check_tree(fs, at, slash ? (size_t)(slash - at.path.p) + 1 : 0, &f, mt);
    }
    if (r == ERR_STALE || r == ERR_NOT_FOUND) /* a directory above was removed while it was looked at: nothing is in the
                                                 way; the commit looks again */
        r = 0;
    meta_mount_put(fs->meta, mt);
    meta_found_done(&f);
    return r;
}

/* ---- waiting for others ---- */

int fs_claim(struct fs *fs, struct meta_claim *c)
{
    uint64_t until = clock_mono_ms() + CLAIM_WAIT_MS;
    for (uint64_t wait = 1;; wait = wait < 50 ? wait * 2 : 50) {
        int r = meta_claim(fs->meta, c);
        if (r != ERR_BUSY || clock_mono_ms() > until)
            return r;
        meta_kick(fs->meta, 0);
        clock_sleep_ms(wait);
    }
}

int fs_wait_persisted(struct fs *fs, uint64_t ino)
{
    uint64_t until = clock_mono_ms() + PERSIST_WAIT_MS;
    struct meta_found f = {0};
    int r = 0;
    for (uint64_t wait = 1;; wait = wait < 20 ? wait * 2 : 20) {
        r = meta_inode(fs->meta, ino, &f);
        if (r == ERR_NOT_FOUND) { /* replaced or removed meanwhile */
            r = 0;
            break;
        }
        if (r < 0 || !f.i.dirty)
            break;
        if (clock_mono_ms() > until) {
            r = err_set(ERR_TIMEOUT,
                        "the under file system did not take the object in time; it is kept and sent later");
            break;
        }
        meta_kick(fs->meta, Q_PERSIST);
        clock_sleep_ms(wait);
    }
    meta_found_done(&f);
    return r;
}

int fs_same_mount(struct fs *fs, struct fs_at a, struct fs_at b, bool *ret)
{
    struct meta_found x = {0}, y = {0};
    int r = meta_lookup(fs->meta, a.dir, a.path, 0, &x);
    if (r == 0)
        r = meta_lookup(fs->meta, b.dir, b.path, 0, &y);
    *ret = x.mount == y.mount;
    meta_found_done(&x);
    meta_found_done(&y);
    return r;
}
