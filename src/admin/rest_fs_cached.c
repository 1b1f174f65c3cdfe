/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/fs/location and check-cached: where a file's bytes are, and how much below a path is cached.
 */
#include "admin/rest.h"

/* One worker: whatever is cached is cached there. */
int rest_fs_location(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    uint64_t cached = 0;
    TRY(rest_path(r, "path", &path));
    TRY(place_find(r->a->o.fs, path, PREFER_FILE, &p, NULL, NULL));
    if (place_is_dir(&p))
        return err_set(ERR_IS_DIR, "%s is a directory: location is asked of a file", path);
    TRY(fs_cached(r->a->o.fs, place_at(&p), &cached));
    return rest_json(r, 200,
                     json_pack("{s:s, s:I, s:I, s:s, s:[{s:s, s:s, s:b}]}", "path", p.path.p, "size",
                               (json_int_t)p.attr.size, "cached", (json_int_t)cached, "state", attr_state(&p.attr),
                               "locations", "worker", r->a->o.worker_id, "address",
                               r->a->o.s3_address[0] ? r->a->o.s3_address : r->a->address, "cached",
                               cached > 0 || p.attr.size == 0));
}

struct check {
    struct rest *r;
    uint64_t sample, limit, seen, whole, partly, none, size, cached;
};

static int check_file(void *arg, const struct walk_file *f)
{
    struct check *k = arg;
    uint64_t cached = 0;
    if (http_peer_gone(k->r->rq) || k->r->a->stopping)
        return ERR_SHUTDOWN;
    if (k->seen++ % k->sample != 0)
        return 0;
    int code = fs_cached(k->r->a->o.fs, fs_path(str_of(f->path)), &cached);
    if (code == ERR_NOT_FOUND || code == ERR_STALE)
        return 0;
    TRY(code);
    k->size += f->attr.size;
    k->cached += cached;
    k->whole += cached >= f->attr.size;
    k->none += cached == 0 && f->attr.size > 0;
    k->partly += cached > 0 && cached < f->attr.size;
    return k->whole + k->partly + k->none >= k->limit ? 1 : 0;
}

int rest_fs_check_cached(struct rest *r)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    struct check k = {.r = r};
    TRY(rest_path(r, "path", &path));
    TRY(rest_number(r, "sample", 1, 1 << 30, &k.sample));
    TRY(rest_number(r, "limit", 1000, 1 << 30, &k.limit));
    if (k.sample == 0 || k.limit == 0)
        return err_set(ERR_INVALID, "sample and limit must be at least 1");
    TRY(place_find(r->a->o.fs, path, PREFER_DIR, &p, NULL, NULL));
    int code = walk_files(r->a->o.fs, &p, check_file, &k);
    if (code < 0)
        return code;
    return rest_json(r, 200,
                     json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "path", path, "checked",
                               (json_int_t)(k.whole + k.partly + k.none), "cachedWhole", (json_int_t)k.whole,
                               "cachedPartly", (json_int_t)k.partly, "notCached", (json_int_t)k.none, "size",
                               (json_int_t)k.size, "cached", (json_int_t)k.cached, "limitReached", code == 1));
}
