/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounts, buckets and the path configuration through the door.
 */
#include "fs/fs_in.h"
#include <ctype.h>

static int join_options(const char *const *option, size_t n, struct buf *ret)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr(option[i], '=') || strchr(option[i], '\n'))
            return err_set(ERR_INVALID, "option \"%s\" must be name=value", option[i]);
        buf_putz(ret, option[i]);
        buf_u8(ret, '\n');
    }
    if (!ret->p)
        buf_reserve(ret, 1), ret->p[0] = 0;
    return 0;
}

static int found_one(void *arg, const struct ufs_entry *e)
{
    (void)e;
    *(bool *)arg = true;
    return 1;
}

/* An empty bucket is completely known from the start. */
static void note_empty(struct fs *fs, struct str path, struct ufs *u)
{
    struct meta_mount *mt;
    bool any = false, more;
    uint64_t sync = meta_sync_ms(fs->meta), now = clock_wall_ms();
    int r = ufs_list(u, STR(""), 0, STR(""), 1, found_one, &any, &more);
    if (r < 0 || any || !sync || meta_mount_find(fs->meta, path, &mt) < 0)
        return;
    meta_load_complete(fs->meta, mt->id, true, sync == UINT64_MAX ? UINT64_MAX : now + sync);
    meta_mount_put(fs->meta, mt);
}

static int add(struct fs *fs, struct str path, const char *uri, const char *options)
{
    struct ufs *u;
    TRY(meta_mount_check(fs->meta, path, uri));
    TRY(meta_ufs_open(fs->meta, uri, options, &u));
    int r = meta_mount_add(fs->meta, path, uri, options, u);
    if (r < 0) {
        ufs_close(u);
        return r;
    }
    note_empty(fs, path, u);
    return 0;
}

int fs_mount_add(struct fs *fs, struct str path, const char *uri, const char *const *option, size_t n)
{
    struct buf options AUTO_BUF = {0};
    struct meta_mount *mt;
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    TRY(join_options(option, n, &options));
    if (meta_mount_find(fs->meta, path, &mt) == 0) {
        int r = err_set(ERR_EXISTS, "%.*s is mounted already, from %s", STR_ARG(path), mt->uri);
        meta_mount_put(fs->meta, mt);
        return r;
    }
    return add(fs, path, uri, options.p);
}

int fs_mount_remove(struct fs *fs, struct str path, unsigned flags)
{
    return meta_mount_remove(fs->meta, path, flags & FS_FORCE);
}

struct mount_list {
    struct fs *fs;
    int (*fn)(void *arg, const struct fs_mount *m);
    void *arg;
};

static bool secret(struct str name)
{
    static const char *const word[] = {"secret", "password", "accesskey", "token", "credential"};
    char low[128];
    size_t n = name.n < sizeof low - 1 ? name.n : sizeof low - 1;
    for (size_t i = 0; i < n; i++)
        low[i] = (char)tolower((unsigned char)name.p[i]);
    low[n] = 0;
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (strstr(low, word[i]))
            return true;
    return false;
}

static void masked(const char *options, struct buf *out)
{
    for (const char *p = options; *p;) {
        const char *end = strchrnul(p, '\n'), *eq = memchr(p, '=', (size_t)(end - p));
        struct str name = {p, (size_t)((eq ? eq : end) - p)};
        if (secret(name))
            buf_printf(out, "%.*s=******\n", STR_ARG(name));
        else
            buf_printf(out, "%.*s\n", (int)(end - p), p);
        p = *end ? end + 1 : end;
    }
    if (!out->p)
        buf_reserve(out, 1), out->p[0] = 0;
}

static int give_mount(void *arg, struct meta_mount *mt)
{
    struct mount_list *l = arg;
    struct buf options AUTO_BUF = {0};
    struct ufs *u;
    struct fs_mount m = {.id = mt->id, .ino = mt->id, .path = mt->path, .uri = mt->uri};
    masked(mt->options, &options);
    m.options = options.p;
    m.reachable = meta_mount_ufs(l->fs->meta, mt, &u) == 0;
    TRY(meta_dirty(l->fs->meta, mt->id, &m.dirty_files, &m.dirty_bytes, NULL));
    return l->fn(l->arg, &m);
}

int fs_mounts(struct fs *fs, int (*fn)(void *arg, const struct fs_mount *m), void *arg)
{
    struct mount_list l = {fs, fn, arg};
    return meta_mount_each(fs->meta, give_mount, &l);
}

/* ---- buckets ---- */

static bool bucket_name_ok(struct str n)
{
    if (n.n < 3 || n.n > 63)
        return false;
    for (size_t i = 0; i < n.n; i++) {
        char c = n.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || ((c == '-' || c == '.') && i && i + 1 < n.n);
        if (!ok || (c == '.' && n.p[i - 1] == '.'))
            return false;
    }
    return true;
}

int fs_bucket_create(struct fs *fs, struct str name)
{
    const char *root = fs->conf ? conf_string(fs->conf, PROP_S3_BUCKET_ROOT) : "";
    struct buf path AUTO_BUF = {0}, uri AUTO_BUF = {0}, options AUTO_BUF = {0};
    struct meta_mount *mt;
    struct ufs *u;
    if (!bucket_name_ok(name))
        return err_set(ERR_INVALID, "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens");
    buf_printf(&path, "/%.*s", STR_ARG(name));
    if (meta_mount_find(fs->meta, buf_str(&path), &mt) == 0) {
        meta_mount_put(fs->meta, mt);
        return ERR_BUCKET_EXISTS;
    }
    if (!root[0])
        return err_set(
            ERR_DENIED,
            "buckets cannot be created here: set forebay.s3.bucket.root.ufs to the place they shall be made in, or "
            "use `forebay mount add`");
    TRY(meta_ufs_open(fs->meta, root, "", &u));
    buf_str_add(&options, name);
    buf_u8(&options, '/');
    struct ufs_put_opts o = {.size = 0};
    struct ufs_stat st;
    int r = ufs_put(u, buf_str(&options), &o, NULL, NULL, &st); /* its own prefix below the root */
    if (r == 0)
        r = ufs_sync(u);
    ufs_close(u);
    TRY(r);
    struct str base = str_of(root);
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    buf_printf(&uri, "%.*s/%.*s", STR_ARG(base), STR_ARG(name));
    return add(fs, buf_str(&path), uri.p, "");
}

static int stop_at_one(void *arg, const struct fs_entry *e)
{
    (void)e;
    *(bool *)arg = true;
    return 1;
}

int fs_bucket_delete(struct fs *fs, struct str name)
{
    struct buf path AUTO_BUF = {0}, dir AUTO_BUF = {0};
    struct meta_mount *mt;
    bool any = false, more;
    buf_printf(&path, "/%.*s", STR_ARG(name));
    buf_printf(&dir, "%.*s/", STR_ARG(name));
    if (meta_mount_find(fs->meta, buf_str(&path), &mt) < 0)
        return ERR_NO_BUCKET;
    meta_mount_put(fs->meta, mt);
    struct fs_list l = {.dir = {FS_ROOT, buf_str(&dir)}, .limit = 1};
    int r = fs_list(fs, &l, stop_at_one, &any, &more, NULL);
    if (r < 0)
        return r;
    if (any)
        return err_set(ERR_NOT_EMPTY, "the bucket is not empty");
    return meta_mount_remove(fs->meta, buf_str(&path), false);
}

/* ---- rules ---- */

int fs_rules_get(struct fs *fs, struct buf *ret_json)
{
    return meta_rules_json(fs->meta, ret_json);
}

int fs_rules_set(struct fs *fs, struct str json)
{
    return meta_rules_set(fs->meta, json);
}

int fs_rules_test(struct fs *fs, struct str path, struct buf *ret_json)
{
    return meta_rules_test(fs->meta, path, ret_json);
}
