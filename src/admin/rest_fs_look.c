/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/fs/ls, stat, test, du: looking at the namespace.
 */
#include "admin/rest.h"

/* ---- stat ---- */

static void add_pair(void *arg, struct str name, struct str value)
{
    json_t *v = json_stringn(value.p, value.n);
    if (v)
        json_object_setn_new(arg, name.p, name.n, v);
}

int rest_fs_stat(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    struct buf rule AUTO_BUF = {0};
    TRY(rest_path(r, "path", &path));
    json_t *pairs = json_object();
    int code = place_find(r->a->o.fs, path, PREFER_FILE, &p, add_pair, pairs);
    if (code == 0)
        code = fs_settle(r->a->o.fs, p.attr.version);
    if (code < 0) {
        json_decref(pairs);
        return code;
    }
    json_t *j = attr_json(buf_str(&p.path), &p.attr);
    if (fs_rules_test(r->a->o.fs, buf_str(&p.path), &rule) == 0) {
        json_t *test = json_loadb(rule.p, rule.n, 0, NULL);
        json_object_set(j, "policyMode", json_object_get(test, "policyMode"));
        json_decref(test);
    }
    json_object_set_new(j, "meta", pairs);
    return rest_json(r, 200, j);
}

/* ---- ls ---- */

struct listing {
    json_t *entries;
    struct str base;
    char *last;
};

static int add_entry(void *arg, const struct fs_entry *e)
{
    struct listing *l = arg;
    struct fs_attr implied = {.type = FS_DIR, .mode = 0755};
    struct buf path AUTO_BUF = {0};
    buf_str_add(&path, l->base);
    buf_str_add(&path, e->key);
    json_array_append_new(l->entries, attr_json(buf_str(&path), e->prefix || !e->attr ? &implied : e->attr));
    free(l->last);
    l->last = str_dup(e->key);
    return 0;
}

static int list_dir(struct rest *r, const struct place *p, struct listing *l, bool *ret_more)
{
    const char *after = rest_param(r, "after");
    uint64_t limit, version = 0;
    TRY(rest_number(r, "limit", 1000, 1000, &limit));
    struct fs_list q = {
        .dir = place_at(p), .after = str_of(after ? after : ""), .delimiter = '/', .limit = limit, .flags = FS_POSIX};
    l->base = buf_str(&p->path);
    TRY(fs_list(r->a->o.fs, &q, add_entry, l, ret_more, &version));
    return fs_settle(r->a->o.fs, version);
}

int rest_fs_ls(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    struct listing l = {0};
    bool more = false;
    TRY(rest_path(r, "path", &path));
    TRY(place_find(r->a->o.fs, path, PREFER_DIR, &p, NULL, NULL));
    l.entries = json_array();
    int code = 0;
    if (place_is_dir(&p))
        code = list_dir(r, &p, &l, &more);
    else if ((code = fs_settle(r->a->o.fs, p.attr.version)) == 0)
        json_array_append_new(l.entries, attr_json(buf_str(&p.path), &p.attr));
    if (code == 0)
        code = rest_json(r, 200,
                         json_pack("{s:s, s:O, s:b, s:s}", "path", path, "entries", l.entries, "more", more, "after",
                                   more && l.last ? l.last : ""));
    json_decref(l.entries);
    free(l.last);
    return code;
}

/* ---- test ---- */

struct emptiness {
    bool any;
};

static int see_any(void *arg, const struct fs_entry *e)
{
    (void)e;
    ((struct emptiness *)arg)->any = true;
    return 0;
}

static int holds_anything(struct fs *fs, const struct place *p, bool *ret)
{
    struct emptiness e = {false};
    struct fs_list q = {.dir = place_at(p), .delimiter = '/', .limit = 1, .flags = FS_POSIX};
    bool more;
    uint64_t version;
    if (place_is_dir(p))
        TRY(fs_list(fs, &q, see_any, &e, &more, &version));
    *ret = place_is_dir(p) ? e.any : p->attr.size > 0;
    return 0;
}

int rest_fs_test(struct rest *r)
{
    const char *path, *q;
    struct place p AUTO_PLACE = {0};
    bool yes = false;
    TRY(rest_path(r, "path", &path));
    TRY(rest_string(r, "question", &q));
    int code = place_find(r->a->o.fs, path, strcmp(q, "directory") == 0 ? PREFER_DIR : PREFER_FILE, &p, NULL, NULL);
    if (code < 0 && code != ERR_NOT_FOUND)
        return code;
    if (code == 0 && strcmp(q, "exists") == 0)
        yes = true;
    else if (code == 0 && strcmp(q, "directory") == 0)
        yes = place_is_dir(&p);
    else if (code == 0 && strcmp(q, "file") == 0)
        yes = !place_is_dir(&p);
    else if (code == 0 && strcmp(q, "zero") == 0)
        yes = !place_is_dir(&p) && p.attr.size == 0;
    else if (code == 0 && strcmp(q, "non-empty") == 0)
        TRY(holds_anything(r->a->o.fs, &p, &yes));
    return rest_json(r, 200, json_pack("{s:b}", "result", yes));
}

/* ---- du ---- */

struct sums {
    struct rest *r;
    uint64_t size, cached, dirty, files;
};

static int add_sums(void *arg, const struct walk_file *f)
{
    struct sums *s = arg;
    uint64_t cached = 0;
    if (http_peer_gone(s->r->rq) || s->r->a->stopping)
        return ERR_SHUTDOWN;
    int code = fs_cached(s->r->a->o.fs, fs_path(str_of(f->path)), &cached);
    if (code < 0 && code != ERR_NOT_FOUND && code != ERR_STALE)
        return code;
    s->size += f->attr.size;
    s->cached += cached;
    s->dirty += f->attr.persisted ? 0 : f->attr.size;
    s->files++;
    return 0;
}

int rest_fs_du(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    struct sums s = {.r = r};
    TRY(rest_path(r, "path", &path));
    TRY(place_find(r->a->o.fs, path, PREFER_DIR, &p, NULL, NULL));
    TRY(walk_files(r->a->o.fs, &p, add_sums, &s));
    return rest_json(r, 200,
                     json_pack("{s:s, s:I, s:I, s:I, s:I}", "path", path, "size", (json_int_t)s.size, "cached",
                               (json_int_t)s.cached, "notPersisted", (json_int_t)s.dirty, "files",
                               (json_int_t)s.files));
}
