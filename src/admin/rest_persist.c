/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/async-persist: what waits for the under file system.
 */
#include "admin/rest.h"
#include "base/clock.h"
#include "persist/persist.h"

static json_t *item_json(const struct persist_item *it)
{
    return json_pack("{s:s%, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:b, s:s%}", "path", it->path.p ? it->path.p : "",
                     it->path.n, "state", it->running ? "RUNNING" : "PENDING", "kind", it->kind ? it->kind : "",
                     "running", it->running, "size", (json_int_t)it->size, "sinceMs", (json_int_t)it->since_ms, "dueMs",
                     (json_int_t)it->due_ms, "retries", (json_int_t)it->attempts, "ordered", it->in_order, "error",
                     it->error.p ? it->error.p : "", it->error.n);
}

struct items {
    json_t *list;
    size_t limit;
    bool more;
};

static int add_item(void *arg, const struct persist_item *it)
{
    struct items *l = arg;
    json_t *j = item_json(it);
    if (json_array_size(l->list) == l->limit)
        l->more = true;
    else if (j)
        json_array_append(l->list, j);
    json_decref(j);
    return 0;
}

static json_t *order_json(const struct persist_order *o)
{
    return json_pack("{s:s%, s:b, s:I, s:s%, s:b, s:I, s:I, s:s%}", "directory", o->dir.p ? o->dir.p : "", o->dir.n,
                     "stopped", o->stopped, "waiting", (json_int_t)o->waiting, "path", o->path.p ? o->path.p : "",
                     o->path.n, "deletion", o->deletes, "sinceMs", (json_int_t)o->since_ms, "retries",
                     (json_int_t)o->attempts, "error", o->error.p ? o->error.p : "", o->error.n);
}

static int add_order(void *arg, const struct persist_order *o)
{
    json_array_append_new(arg, order_json(o));
    return 0;
}

static int check_worker(struct rest *r)
{
    const char *worker = rest_param(r, "worker");
    if (worker && strcmp(worker, r->a->o.worker_id) != 0)
        return err_set(ERR_INVALID, "there is no worker '%s': info nodes lists them", worker);
    return 0;
}

int rest_persist_list(struct rest *r)
{
    uint64_t limit;
    TRY(check_worker(r));
    TRY(rest_number(r, "limit", 1000, 100000, &limit));
    struct items l = {json_array(), limit, false};
    int code = persist_list(r->a->o.persist, limit + 1, add_item, &l);
    json_t *orders = json_array();
    if (code == 0)
        code = persist_orders(r->a->o.persist, limit, false, add_order, orders);
    if (code < 0) {
        json_decref(l.list);
        json_decref(orders);
        return code;
    }
    return rest_json(r, 200,
                     json_pack("{s:s, s:o, s:b, s:b, s:o}", "worker", r->a->o.worker_id, "items", l.list, "more",
                               l.more, "paused", persist_paused(r->a->o.persist), "orders", orders));
}

/* A directory has no state of its own in the queues; say so instead of "does not exist". */
static int stat_path(struct rest *r, struct str path, struct persist_item *it, struct buf *text, const char **state)
{
    int code = persist_stat(r->a->o.persist, path, it, text, state);
    if (code == ERR_NOT_FOUND || code == ERR_NO_BUCKET)
        return err_set(ERR_NOT_FOUND, "Path does not exist: %.*s", STR_ARG(path));
    return code;
}

/* What has stopped the file's directory, if anything has. */
struct behind {
    struct str path;
    json_t *to;
};

static int see_stop(void *arg, const struct persist_order *o)
{
    struct behind *b = arg;
    bool in = str_starts(b->path, o->dir) && b->path.n > o->dir.n && b->path.p[o->dir.n] == '/' &&
              !memchr(b->path.p + o->dir.n + 1, '/', b->path.n - o->dir.n - 1);
    if (in)
        json_object_set_new(b->to, "stoppedBy", order_json(o));
    return in;
}

int rest_persist_stat(struct rest *r)
{
    const char *path, *state = "";
    struct persist_item it = {0};
    struct place p AUTO_PLACE = {0};
    struct buf text AUTO_BUF = {0};
    TRY(rest_path(r, "path", &path));
    TRY(place_find(r->a->o.fs, path, PREFER_FILE, &p, NULL, NULL));
    TRY(stat_path(r, buf_str(&p.path), &it, &text, &state));
    json_t *j = item_json(&it);
    json_object_set_new(j, "state", json_string(state));
    json_object_set_new(j, "path", json_string(path));
    if (!it.kind)
        json_object_set_new(j, "kind", json_string(""));
    struct behind b = {str_of(path), j};
    int code = it.in_order ? persist_orders(r->a->o.persist, 0, true, see_stop, &b) : 0;
    if (code < 0) {
        json_decref(j);
        return code;
    }
    return rest_json(r, 200, j);
}

int rest_persist_kick(struct rest *r)
{
    persist_kick(r->a->o.persist);
    return rest_done(r);
}

int rest_persist_skip(struct rest *r)
{
    const char *path, *did = "";
    TRY(rest_path(r, "path", &path));
    TRY(persist_skip(r->a->o.persist, str_of(path), &did));
    return rest_json(r, 200, json_pack("{s:s, s:s}", "path", path, "result", did));
}

int rest_persist_pause(struct rest *r)
{
    persist_pause(r->a->o.persist, true);
    return rest_done(r);
}

int rest_persist_resume(struct rest *r)
{
    persist_pause(r->a->o.persist, false);
    return rest_done(r);
}

/* ---- waiting ---- */

struct below {
    struct str path; /* a directory's ends in '/'; "/" is everything */
    uint64_t files, bytes;
    char error[256];
};

static bool is_below(struct str path, struct str item)
{
    if (str_ends(path, STR("/")))
        return path.n == 1 || str_starts(item, path) || str_eq(item, str_mk(path.p, path.n - 1));
    return str_eq(path, item);
}

static int count_below(void *arg, const struct persist_item *it)
{
    struct below *b = arg;
    if (!is_below(b->path, it->path))
        return 0;
    b->files++;
    b->bytes += it->size;
    if (!b->error[0] && it->error.n)
        snprintf(b->error, sizeof b->error, "%.*s", STR_ARG(it->error));
    return 0;
}

static int wait_round(struct rest *r, struct below *b)
{
    b->files = b->bytes = 0;
    b->error[0] = 0;
    return persist_list(r->a->o.persist, SIZE_MAX, count_below, b);
}

/* TRANSIENT and skipped files never get there: waiting would never end. */
static int check_waitable(struct rest *r, const struct place *p)
{
    struct persist_item it = {0};
    struct buf text AUTO_BUF = {0};
    const char *state = "";
    if (place_is_dir(p))
        return 0;
    TRY(stat_path(r, buf_str(&p->path), &it, &text, &state));
    if (strcmp(state, "SKIPPED") == 0)
        return err_set(ERR_INVALID, "%s was skipped: it is not persisted until it is written or renamed again",
                       p->path.p);
    if (strcmp(state, "TRANSIENT") == 0)
        return err_set(ERR_INVALID, "%s is under policyMode TRANSIENT: it is never persisted", p->path.p);
    return 0;
}

int rest_persist_wait(struct rest *r)
{
    const char *path;
    uint64_t timeout, pause = 2;
    struct place p AUTO_PLACE = {0};
    TRY(rest_path(r, "path", &path));
    TRY(rest_number(r, "timeoutMs", 5000, 10000, &timeout));
    TRY(place_find(r->a->o.fs, path, PREFER_DIR, &p, NULL, NULL));
    TRY(check_waitable(r, &p));
    struct below b = {.path = buf_str(&p.path)};
    uint64_t end = clock_mono_ms() + timeout;
    for (;;) {
        TRY(wait_round(r, &b));
        uint64_t now = clock_mono_ms();
        if (b.files == 0 || now >= end || r->a->stopping || http_peer_gone(r->rq))
            break;
        clock_sleep_ms(pause < end - now ? pause : end - now);
        pause = pause < 100 ? pause * 2 : 100;
    }
    return rest_json(r, 200,
                     json_pack("{s:s, s:b, s:I, s:I, s:s}", "path", path, "persisted", b.files == 0, "pendingFiles",
                               (json_int_t)b.files, "pendingBytes", (json_int_t)b.bytes, "error", b.error));
}
