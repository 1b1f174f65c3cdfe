/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a person writes to a place of the namespace: people leave the final '/' of directories away, the door does
 * not.
 */
#include "admin/rest.h"

void place_done(struct place *p)
{
    buf_done(&p->path);
}

static int missing(const char *path)
{
    return err_set(ERR_NOT_FOUND, "Path does not exist: %s", path);
}

static bool not_there(int code)
{
    return code == ERR_NOT_FOUND || code == ERR_NO_BUCKET;
}

/* Look exactly this up: with (also when only implied by what lies below it in the UFS) or without the final '/'. */
static int look(struct fs *fs, struct place *p, struct str path, bool dir, fs_meta_fn *meta, void *arg)
{
    buf_reset(&p->path);
    buf_str_add(&p->path, path);
    if (dir)
        buf_putz(&p->path, "/");
    return fs_stat(fs, place_at(p), dir ? FS_POSIX : 0, &p->attr, meta, arg);
}

/* A bucket is a directory, whatever was written. */
static bool is_bucket(struct str path)
{
    return path.n > 1 && !memchr(path.p + 1, '/', path.n - 1);
}

int place_find(struct fs *fs, const char *path, enum prefer prefer, struct place *ret, fs_meta_fn *meta, void *arg)
{
    struct str s = str_of(path);
    bool dir_only = s.n > 1 && s.p[s.n - 1] == '/';
    if (s.n == 1) {
        buf_reset(&ret->path);
        buf_putz(&ret->path, "/");
        ret->root = true;
        ret->attr =
            (struct fs_attr){.ino = FS_ROOT, .type = FS_DIR, .explicit_dir = true, .persisted = true, .mode = 0755};
        return 0;
    }
    if (dir_only)
        s.n--;
    bool dir_first = dir_only || prefer == PREFER_DIR || is_bucket(s);
    int r = look(fs, ret, s, dir_first, meta, arg);
    if (not_there(r) && !dir_only && !is_bucket(s))
        r = look(fs, ret, s, !dir_first, meta, arg);
    return not_there(r) ? missing(path) : r;
}

struct uri_search {
    struct str uri;
    struct buf *out;
};

static int match_mount(void *arg, const struct fs_mount *m)
{
    const struct uri_search *s = arg;
    struct str root = str_of(m->uri);
    while (root.n && root.p[root.n - 1] == '/')
        root.n--;
    if (!str_starts(s->uri, root) || (s->uri.n > root.n && s->uri.p[root.n] != '/'))
        return 0;
    buf_putz(s->out, m->path);
    buf_str_add(s->out, str_from(s->uri, root.n));
    return 1;
}

int place_of_uri(struct fs *fs, const char *word, struct buf *ret)
{
    struct uri_search s = {str_of(word), ret};
    if (word[0] == '/' && str_utf8(s.uri)) {
        buf_putz(ret, word);
        return 0;
    }
    if (!strstr(word, "://"))
        return err_set(ERR_INVALID, "'%s' is no absolute path", word);
    int found = fs_mounts(fs, match_mount, &s);
    return found != 0 ? (found < 0 ? found : 0) : err_set(ERR_NOT_FOUND, "no mount holds %s", word);
}

struct str place_name(struct str path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    size_t at = path.n;
    while (at > 0 && path.p[at - 1] != '/')
        at--;
    return str_from(path, at);
}

int place_parent_exists(struct fs *fs, const char *path)
{
    struct str s = str_of(path), name = place_name(s);
    struct place p AUTO_PLACE = {0};
    char *parent AUTO_FREE = str_dup(str_mk(s.p, (size_t)(name.p - s.p)));
    int r = place_find(fs, parent, PREFER_DIR, &p, NULL, NULL);
    if (r == 0 && !place_is_dir(&p))
        return err_set(ERR_NOT_DIR, "%s is not a directory", parent);
    return r;
}

int place_target(struct fs *fs, const char *to, struct str name, bool dir, struct buf *ret)
{
    struct place p AUTO_PLACE = {0};
    int r = place_find(fs, to, PREFER_FILE, &p, NULL, NULL);
    if (r < 0 && !not_there(r))
        return r;
    buf_reset(ret);
    if (r == 0 && place_is_dir(&p)) {
        buf_str_add(ret, buf_str(&p.path));
        buf_str_add(ret, name);
    } else if (!dir && to[strlen(to) - 1] == '/') {
        return missing(to); /* a file does not become a directory by its new name */
    } else {
        TRY(place_parent_exists(fs, to));
        buf_putz(ret, to);
    }
    while (ret->n > 1 && ret->p[ret->n - 1] == '/')
        ret->p[--ret->n] = 0;
    if (dir)
        buf_putz(ret, "/");
    return 0;
}

int place_new(struct fs *fs, const char *to, struct str name, struct buf *ret)
{
    int r = place_target(fs, to, name, false, ret);
    if (r != ERR_NOT_FOUND)
        return r;
    buf_reset(ret);
    buf_putz(ret, to);
    if (to[strlen(to) - 1] == '/')
        buf_str_add(ret, name);
    return 0;
}

const char *attr_type_name(enum fs_type t)
{
    static const char *const names[] = {"?", "FILE", "DIR", "SYMLINK", "FIFO", "SOCKET", "CHAR", "BLOCK"};
    return (size_t)t < sizeof names / sizeof names[0] ? names[t] : names[0];
}

const char *attr_state(const struct fs_attr *at)
{
    if (at->persisted)
        return "PERSISTED";
    return at->type == FS_DIR && !at->explicit_dir ? "-" : "NOT_PERSISTED";
}

json_t *attr_json(struct str path, const struct fs_attr *at)
{
    char ino[24];
    struct str name = place_name(path);
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    snprintf(ino, sizeof ino, "%llu", (unsigned long long)at->ino);
    return json_pack("{s:s%, s:s%, s:s, s:I, s:s, s:b, s:I, s:I, s:i, s:I, s:I, s:I, s:s, s:s}", "path", path.p, path.n,
                     "name", name.p, name.n, "type", attr_type_name(at->type), "size", (json_int_t)at->size, "state",
                     attr_state(at), "settled", at->settled, "mtimeMs", (json_int_t)at->mtime_ms, "ctimeMs",
                     (json_int_t)at->ctime_ms, "mode", (int)(at->mode & 07777), "uid", (json_int_t)at->uid, "gid",
                     (json_int_t)at->gid, "links", (json_int_t)at->nlink, "etag", at->etag, "inode", ino);
}
