/* SPDX-License-Identifier: Apache-2.0
 *
 * Order: the publications of one directory, one after the other (meta/order.c says which is next). The jobs are those
 * of the other lanes; a failure leaves its record with a later due time, and until then the directory waits.
 */
#include "persist/persist_in.h"

enum { ROUNDS = 256, LIST = 1000 };

static void note_running(struct persist *p, const struct meta_items *items, bool on)
{
    LOCKED(&p->lock);
    for (size_t i = 0; i < items->n; i++) {
        struct str key = map_key64(&items->item[i].id);
        if (on)
            map_put(p->turns, key, p);
        else
            map_del(p->turns, key);
    }
}

static int publish(struct persist *p, struct meta_items *items)
{
    job_fn *run = items->item[0].kind == Q_PERSIST  ? run_upload
                  : items->item[0].kind == Q_SETTLE ? run_settle
                                                    : run_reap;
    note_running(p, items, true);
    int r = run(p, items->item, items->n);
    note_running(p, items, false);
    return r;
}

/* One line when a directory stops, and one when it goes on. */
static void tell_stopped(struct persist *p, uint64_t dir, bool stopped)
{
    struct meta_order_head h = {0};
    lock_take(&p->lock);
    bool known = map_get(p->stopped, map_key64(&dir)) != NULL;
    if (stopped && !known)
        map_put(p->stopped, map_key64(&dir), p);
    else if (!stopped && known)
        map_del(p->stopped, map_key64(&dir));
    lock_drop(&p->lock);
    if (stopped == known)
        return;
    bool there = meta_order_head(p->meta, dir, &h) == 0;
    if (!there)
        meta_path(p->meta, dir, &h.dir);
    if (stopped && there)
        log_error("order.stopped",
                  "dir=\"%.*s\" path=\"%.*s\" attempts=%u error=\"%.*s\" meaning=\"its publications are ordered, and "
                  "this one "
                  "fails: nothing behind it is sent; all of it is safe here\" action=\"mend what the error names, or "
                  "release the "
                  "directory: forebay async-persist skip --path PATH\"",
                  STR_ARG(buf_str(&h.dir)), STR_ARG(buf_str(&h.path)), h.attempts, STR_ARG(buf_str(&h.error)));
    else if (!stopped)
        log_info("order.goes_on",
                 "dir=\"%.*s\" meaning=\"what had stopped its ordered publications is done or was skipped\"",
                 STR_ARG(buf_str(&h.dir)));
    meta_order_head_done(&h);
}

int run_order(struct persist *p, struct meta_item *it, size_t n)
{
    (void)n;
    for (int round = 0; round < ROUNDS && !atomic_load(&p->stop) && !atomic_load(&p->paused); round++) {
        struct meta_order o;
        int r = meta_order_next(p->meta, it, &o);
        size_t did = o.items.n;
        if (r == 0 && did)
            r = publish(p, &o.items);
        else if (r == 0 && o.looked)
            tell_stopped(p, it->id, o.stopped);
        meta_items_done(&o.items);
        if (r < 0 || !did)
            return r;
    }
    return 0;
}

/* ---- for people ---- */

struct orders {
    int (*fn)(void *arg, const struct persist_order *o);
    void *arg;
};

static int tell_order(struct persist *p, const struct meta_item *it, const struct orders *to)
{
    struct meta_order_head h = {0};
    int r = meta_order_head(p->meta, it->id, &h);
    if (r == 0) {
        struct persist_order o = {.dir = buf_str(&h.dir),
                                  .path = buf_str(&h.path),
                                  .error = buf_str(&h.error),
                                  .since_ms = h.since_ms,
                                  .waiting = h.waiting,
                                  .attempts = h.attempts,
                                  .stopped = meta_order_stopped(&it->rec),
                                  .deletes = h.deletes};
        r = to->fn(to->arg, &o);
    }
    meta_order_head_done(&h);
    return r == ERR_NOT_FOUND ? 0 : r;
}

int persist_orders(struct persist *p, size_t limit, bool stopped, int (*fn)(void *arg, const struct persist_order *o),
                   void *arg)
{
    struct meta_items items = {0};
    struct orders to = {fn, arg};
    int r = meta_queue(p->meta, Q_ORDER, 0, UINT64_MAX - 1, limit ? limit : LIST, &items);
    for (size_t i = 0; i < items.n && r == 0; i++)
        if (!stopped || meta_order_stopped(&items.item[i].rec))
            r = tell_order(p, &items.item[i], &to);
    meta_items_done(&items);
    return r;
}

void persist_order_counts(struct persist *p, uint64_t *ret_waiting, uint64_t *ret_stopped)
{
    struct meta_items items = {0};
    *ret_waiting = *ret_stopped = 0;
    if (meta_queue(p->meta, Q_ORDER, 0, UINT64_MAX - 1, LIST, &items) == 0)
        *ret_waiting = items.n;
    for (size_t i = 0; i < items.n; i++)
        *ret_stopped += meta_order_stopped(&items.item[i].rec);
    meta_items_done(&items);
}

int persist_skip(struct persist *p, struct str path, const char **ret_text)
{
    static const char *const text[] = {
        [META_SKIP_FILE] = "it stays here and is not sent; it is again when it is written or renamed",
        [META_SKIP_REPLACED] =
            "an older content of it was waiting, which is not sent; the newer one follows in its turn",
        [META_SKIP_MOVE] = "its object moves to its new name out of turn",
        [META_SKIP_DELETION] = "its object is deleted out of turn",
    };
    enum meta_skip did;
    TRY(meta_order_skip(p->meta, path.n && path.p[0] == '/' ? str_from(path, 1) : path, &did));
    if (did == META_SKIP_NOTHING)
        return err_set(ERR_NOT_FOUND, "nothing at %.*s waits for its turn; 'async-persist list' names what does",
                       STR_ARG(path));
    *ret_text = text[did];
    atomic_fetch_add(&p->skipped, 1);
    log_warn("order.skipped", "path=\"%.*s\" meaning=\"somebody released its directory from it: %s\" action=\"none\"",
             STR_ARG(path), *ret_text);
    return 0;
}
