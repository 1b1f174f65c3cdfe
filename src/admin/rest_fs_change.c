/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/fs/mv, rm, mkdir, cp, touch, put: changing the namespace.
 */
#include "admin/rest.h"

int rest_fs_mv(struct rest *r)
{
    const char *from, *to;
    struct place p AUTO_PLACE = {0};
    struct buf target AUTO_BUF = {0};
    TRY(rest_path(r, "from", &from));
    TRY(rest_path(r, "to", &to));
    TRY(place_find(r->a->o.fs, from, PREFER_FILE, &p, NULL, NULL));
    TRY(place_target(r->a->o.fs, to, place_name(buf_str(&p.path)), place_is_dir(&p), &target));
    int code = fs_rename(r->a->o.fs, place_at(&p), fs_path(buf_str(&target)), FS_NOREPLACE);
    if (target.n > 1 && target.p[target.n - 1] == '/')
        target.p[--target.n] = 0;
    if (code == ERR_EXISTS)
        return err_set(code, "%s exists already: remove it first", target.p);
    TRY(code);
    return rest_json(r, 200, json_pack("{s:s}", "to", target.p));
}

int rest_fs_rm(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    struct fs *fs = r->a->o.fs;
    TRY(rest_path(r, "path", &path));
    bool recursive = rest_bool(r, "recursive");
    TRY(place_find(fs, path, recursive ? PREFER_DIR : PREFER_FILE, &p, NULL, NULL));
    if (p.root)
        return err_set(ERR_DENIED, "the root is not removed: remove what is below it, or the mounts (mount remove)");
    if (!place_is_dir(&p))
        TRY(fs_delete(fs, place_at(&p), 0, NULL));
    else if (recursive)
        TRY(fs_remove_tree(fs, place_at(&p)));
    else
        TRY(fs_rmdir(fs, place_at(&p)));
    return rest_done(r);
}

int rest_fs_mkdir(struct rest *r)
{
    const char *path;
    struct buf dir AUTO_BUF = {0};
    struct fs_attr attr;
    TRY(rest_path(r, "path", &path));
    buf_putz(&dir, path);
    if (dir.p[dir.n - 1] != '/')
        buf_putz(&dir, "/");
    TRY(fs_mkdir(r->a->o.fs, fs_path(buf_str(&dir)), 0755, FS_PARENTS, &attr));
    return rest_done(r);
}

int rest_fs_cp(struct rest *r)
{
    const char *from, *to;
    struct place p AUTO_PLACE = {0};
    struct buf target AUTO_BUF = {0};
    struct fs_attr attr;
    const struct fs_write w = {.size = UINT64_MAX};
    const struct fs_cond none = {0};
    TRY(rest_path(r, "from", &from));
    TRY(rest_path(r, "to", &to));
    TRY(place_find(r->a->o.fs, from, PREFER_FILE, &p, NULL, NULL));
    if (place_is_dir(&p))
        return err_set(ERR_IS_DIR, "%s is a directory", from);
    TRY(place_new(r->a->o.fs, to, place_name(buf_str(&p.path)), &target));
    TRY(fs_copy(r->a->o.fs, place_at(&p), &none, fs_path(buf_str(&target)), &w, false, &attr));
    return rest_json(r, 200, json_pack("{s:s, s:I}", "to", target.p, "size", (json_int_t)attr.size));
}

int rest_fs_touch(struct rest *r)
{
    const char *path;
    struct fs_writer *w;
    struct fs_attr attr;
    const struct fs_write o = {.size = 0, .cond.if_none_match = STR("*")};
    TRY(rest_path(r, "path", &path));
    if (path[strlen(path) - 1] == '/')
        return err_set(ERR_INVALID, "%s is a directory's name: use fs mkdir", path);
    int code = fs_create(r->a->o.fs, fs_path(str_of(path)), &o, &w);
    if (code == 0)
        code = fs_commit(w, NULL, &attr);
    if (code < 0 && code != ERR_PRECONDITION)
        return code;
    return rest_json(r, 200, json_pack("{s:b}", "created", code == 0));
}

static int pump(struct rest *r, struct fs_writer *w)
{
    enum { PIECE = 256 << 10 };
    char *piece AUTO_FREE = malloc(PIECE);
    CHECK(piece, "no memory for an upload");
    for (;;) {
        ssize_t n = http_body_read(r->rq, piece, PIECE);
        if (n <= 0)
            return (int)n;
        TRY(fs_write(w, piece, (size_t)n));
    }
}

int rest_fs_put(struct rest *r)
{
    const char *path;
    const char *name = rest_param(r, "name");
    struct buf target AUTO_BUF = {0};
    struct fs_writer *w;
    struct fs_attr attr;
    TRY(rest_path(r, "path", &path));
    TRY(place_new(r->a->o.fs, path, str_of(name ? name : ""), &target));
    int64_t n = http_content_length(r->rq);
    const struct fs_write o = {.size = n < 0 ? UINT64_MAX : (uint64_t)n};
    TRY(fs_create(r->a->o.fs, fs_path(buf_str(&target)), &o, &w));
    int code = pump(r, w);
    if (code < 0) {
        fs_abort(w);
        return code;
    }
    TRY(fs_commit(w, NULL, &attr));
    return rest_json(r, 200, json_pack("{s:s, s:I}", "to", target.p, "size", (json_int_t)attr.size));
}
