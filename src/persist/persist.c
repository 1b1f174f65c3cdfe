/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes and their threads. A worker takes due records of its lane that nobody works on, runs the job, and comes back.
 * What is fetched and what runs is bounded by threads and batch sizes, however long the queue is; the queue itself is
 * the KV.
 */
#include "persist/persist_in.h"

enum { FETCH = 1024, FULL_SCAN_MS = 5000, IDLE_MS = 2000, PROBE_MS = 1000, RENEW_MS = 40000 };

static const struct job jobs[] = {
    {PERSIST_UPLOAD, Q_PERSIST, 32, 8u << 20, 0, true, run_upload, 0},
    {PERSIST_SETTLE, Q_SETTLE, 1, 0, 4, true, run_settle, 0},
    {PERSIST_REAP, Q_REAP, 64, 0, 2, false, run_reap, 50},
    {PERSIST_REAP, Q_PREFIX, 1, 0, 1, false, run_prefix, 50},
    {PERSIST_DROP, Q_DROP, 128, 0, 1, false, run_drop, 100},
    {PERSIST_DROP, Q_BLOB, 128, 0, 1, false, run_drop, 100},
    {PERSIST_TREE, Q_TREE, 1, 0, 1, false, run_tree, 50},
    {PERSIST_ORPHAN, Q_UPLOAD, 1, 0, 1, false, run_orphan, 0},
    {PERSIST_ORPHAN, Q_ANSWER, 64, 0, 1, false, run_answer, 0},
    {PERSIST_RULES, Q_RULES, 1, 0, 1, false, run_rules, 50},
    {PERSIST_ORDER, Q_ORDER, 1, 0, 8, true, run_order, 0},
};
enum { JOBS = sizeof jobs / sizeof *jobs };

static const char *const kind_name[] = {"upload", "settle", "reap", "drop", "tree", "orphan", "walk", "rules", "order"};

const char *persist_kind_name(enum persist_kind k)
{
    return kind_name[k];
}

uint64_t persist_backoff(struct persist *p, unsigned attempts, int code)
{
    uint64_t wait = p->retry_first_ms;
    for (unsigned i = 0; i < attempts && wait < p->retry_max_ms; i++)
        wait *= 2;
    if (wait > p->retry_max_ms)
        wait = p->retry_max_ms;
    if (code == ERR_BUSY || code == ERR_CONFLICT)
        wait = 100;
    uint64_t h = clock_mono_ns() * 0x9e3779b97f4a7c15ull; /* up to a tenth earlier, so that a herd spreads */
    return clock_wall_ms() + wait - (wait / 10 ? h % (wait / 10) : 0);
}

int persist_ufs(struct persist *p, uint64_t mount, struct meta_mount **ret_mt, struct ufs **ret)
{
    struct meta_mount *mt = meta_mount_get(p->meta, mount);
    if (!mt)
        return err_set(ERR_NOT_FOUND, "the mount was removed");
    int r = meta_mount_ufs(p->meta, mt, ret);
    if (r < 0)
        meta_mount_put(p->meta, mt);
    else
        *ret_mt = mt;
    return r;
}

void persist_mount_down(struct persist *p, uint64_t mount, int code)
{
    if (code != ERR_UNREACHABLE && code != ERR_TIMEOUT && code != ERR_UNKNOWN_OUTCOME && code != ERR_THROTTLED)
        return;
    char *error AUTO_FREE = str_dup(str_of(err_detail(code)));
    lock_take(&p->lock);
    bool known = map_get(p->down, map_key64(&mount)) != NULL;
    map_put(p->down, map_key64(&mount), p);
    pthread_cond_broadcast(&p->wake);
    lock_drop(&p->lock);
    if (!known)
        persist_tell_away(p, mount, error);
}

static bool stopping(struct persist *p)
{
    return atomic_load(&p->stop);
}

/* ---- taking records ---- */

static void record_key(const struct meta_item *it, struct buf *b)
{
    key_queue(b, it->kind, it->due, it->id, it->key);
}

static bool is_running(struct lane *l, const struct meta_item *it)
{
    struct buf k AUTO_BUF = {0};
    record_key(it, &k);
    return map_get(l->running, buf_str(&k)) != NULL;
}

static void set_running(struct lane *l, const struct meta_item *it, bool on)
{
    struct buf k AUTO_BUF = {0};
    record_key(it, &k);
    if (on)
        map_put(l->running, buf_str(&k), l);
    else
        map_del(l->running, buf_str(&k));
}

/* Scanning from the start each time would step over every record ever removed; the start moves on, and a full scan now
 * and then finds what was put before it (clocks may step back). */
static void choose_from(struct lane *l)
{
    if (clock_mono_ns() < l->full_scan_ns)
        return;
    l->from = 0;
    l->full_scan_ns = clock_mono_ns() + FULL_SCAN_MS * 1000000ull;
}

static int fetch(struct lane *l)
{
    struct meta_items got = {0};
    choose_from(l);
    uint64_t from = l->from, now = clock_wall_ms();
    size_t max = FETCH + map_count(l->running);
    l->fetching = true;
    l->kicked = false;
    lock_drop(&l->lock);
    int r = meta_queue(l->p->meta, l->job->queue, from, now, max, &got);
    lock_take(&l->lock);
    l->fetching = false;
    if (r < 0) {
        meta_items_done(&got);
        return r;
    }
    meta_items_done(&l->ready);
    l->ready = got;
    l->next = 0;
    l->next_due = got.next_due;
    l->from = got.n ? got.item[0].due : now > 1000 ? now - 1000 : 0;
    return 0;
}

/* Copies of up to a batch of records nobody works on, marked running. */
static size_t take(struct lane *l, struct meta_item *out, struct buf *mem)
{
    size_t n = 0;
    uint64_t bytes = 0;
    buf_reset(mem);
    for (; l->next < l->ready.n && n < l->job->batch; l->next++) {
        const struct meta_item *it = &l->ready.item[l->next];
        if (is_running(l, it))
            continue;
        if (n && l->job->bytes && bytes + it->rec.bytes > l->job->bytes)
            break;
        bytes += it->rec.bytes;
        out[n] = *it;
        buf_bytes(mem, it->key);
        buf_bytes(mem, it->rec.error);
        set_running(l, it, true);
        n++;
    }
    struct cur c = cur_of(buf_str(mem)); /* strings move to this worker's memory: the list may be replaced */
    for (size_t i = 0; i < n; i++) {
        out[i].key = cur_bytes(&c);
        out[i].rec.error = cur_bytes(&c);
    }
    return n;
}

/* Somebody may be refused for what a lane could drop. */
static bool space_is_short(struct persist *p)
{
    struct page_figures f;
    page_figures(p->pages, &f);
    return f.pinned > f.pinned_limit / 2;
}

/* The lock is dropped meanwhile; others of the lane wait for the fetch that follows. */
static void linger(struct lane *l)
{
    if (space_is_short(l->p))
        return;
    l->fetching = true;
    while (!stopping(l->p) && clock_mono_ns() < l->linger_ns)
        cond_wait_until(&l->wake, &l->lock, l->linger_ns);
    l->fetching = false;
}

static size_t obtain(struct lane *l, struct meta_item *out, struct buf *mem, int *ret_err)
{
    *ret_err = 0;
    size_t n = take(l, out, mem);
    if (n || l->fetching)
        return n;
    linger(l);
    *ret_err = fetch(l);
    return *ret_err < 0 ? 0 : take(l, out, mem);
}

static void run_batch(struct lane *l, struct meta_item *it, size_t n)
{
    atomic_fetch_add(&l->p->running, n);
    err_clear();
    int r = l->job->run(l->p, it, n);
    atomic_fetch_sub(&l->p->running, n);
    if (r < 0 && r != ERR_SHUTDOWN) {
        log_warn("persist.job", "kind=%s code=%s error=\"%s\" action=\"tried again by itself\"",
                 kind_name[l->job->kind], err_info(r)->name, err_detail(r));
        clock_sleep_ms(50); /* the KV or the disk is in trouble: do not spin */
    }
}

/* Of the idle workers one, the scout, wakes at the next due time, or another one that learns of an earlier time; the
 * others only when they are signalled, so that a lane costs nothing while it is idle. */
static void wait_for_work(struct lane *l, int err)
{
    uint64_t now = clock_wall_ms(), wait = IDLE_MS;
    if (l->kicked && !err && !l->fetching)
        return;
    if (!err && l->next_due != UINT64_MAX)
        wait = l->next_due > now ? l->next_due - now : 1;
    if (wait > IDLE_MS)
        wait = IDLE_MS;
    if (err)
        wait = 200;
    if (l->fetching || (l->scouts && l->scout_ms > now && l->scout_ms <= now + wait)) {
        cond_wait(&l->wake, &l->lock);
        return;
    }
    l->scouts++;
    l->scout_ms = now + wait;
    cond_wait_until(&l->wake, &l->lock, clock_mono_ns() + wait * 1000000ull);
    l->scouts--;
}

static void *lane_thread(void *arg)
{
    struct lane *l = arg;
    struct meta_item *it = calloc(l->job->batch, sizeof *it);
    struct buf mem = {0};
    lock_take(&l->lock);
    while (!stopping(l->p)) {
        int err = 0;
        bool paused = l->job->pausable && atomic_load(&l->p->paused);
        size_t n = paused ? 0 : obtain(l, it, &mem, &err);
        if (!n) {
            if (paused)
                l->kicked = false;
            wait_for_work(l, err);
            continue;
        }
        if (l->next < l->ready.n || l->kicked || !l->scouts)
            pthread_cond_signal(&l->wake); /* the rest, or the watch, is another's */
        lock_drop(&l->lock);
        run_batch(l, it, n);
        lock_take(&l->lock);
        for (size_t i = 0; i < n; i++)
            set_running(l, &it[i], false);
    }
    lock_drop(&l->lock);
    buf_done(&mem);
    free(it);
    return NULL;
}

/* Called after each commit that queued something, so it costs a wake-up only where one is missing: a lane that is
 * paused is woken when it goes on, and one that was kicked already looks at the queue after this commit. */
static void on_queue(void *arg, int kind)
{
    struct persist *p = arg;
    for (size_t i = 0; i < p->lanes; i++) {
        struct lane *l = &p->lane[i];
        bool order = l->job->queue == Q_ORDER && meta_ordered(p->meta);
        if (kind && (int)l->job->queue != kind && !(kind == Q_DROP && l->job->queue == Q_BLOB) && !order)
            continue;
        if (kind && (atomic_load(&l->kicked) || (l->job->pausable && atomic_load(&p->paused))))
            continue;
        LOCKED(&l->lock);
        l->linger_ns = kind ? clock_mono_ns() + l->job->linger_ms * 1000000ull : 0;
        atomic_store(&l->kicked, true);
        pthread_cond_signal(&l->wake);
    }
}

/* ---- a UFS that was away ---- */

static int any_entry(void *arg, const struct ufs_entry *e)
{
    (void)arg;
    (void)e;
    return 1;
}

static bool answers(struct persist *p, uint64_t mount)
{
    struct meta_mount *mt;
    struct ufs *u;
    bool more;
    int r = persist_ufs(p, mount, &mt, &u);
    if (r < 0)
        return r == ERR_NOT_FOUND;
    r = ufs_list(u, STR(""), '/', STR(""), 1, any_entry, NULL, &more);
    meta_mount_put(p->meta, mt);
    return r >= 0;
}

static int first_down(void *arg, struct str key, void *value)
{
    (void)value;
    memcpy(arg, key.p, sizeof(uint64_t));
    return 1;
}

bool persist_mount_away(struct persist *p, uint64_t mount)
{
    LOCKED(&p->lock);
    return map_get(p->down, map_key64(&mount)) != NULL;
}

static void *prober_thread(void *arg)
{
    struct persist *p = arg;
    uint64_t renew_ms = clock_mono_ms() + RENEW_MS;
    lock_take(&p->lock);
    while (!stopping(p)) {
        uint64_t mount;
        cond_wait_until(&p->wake, &p->lock, clock_mono_ns() + PROBE_MS * 1000000ull);
        if (clock_mono_ms() >= renew_ms) {
            renew_ms = clock_mono_ms() + RENEW_MS;
            lock_drop(&p->lock);
            meta_mount_renew(p->meta);
            lock_take(&p->lock);
        }
        lock_drop(&p->lock);
        persist_watch_disks(p);
        lock_take(&p->lock);
        if (stopping(p) || !map_each(p->down, first_down, &mount))
            continue;
        lock_drop(&p->lock);
        bool up = answers(p, mount);
        lock_take(&p->lock);
        if (!up)
            continue;
        map_del(p->down, map_key64(&mount));
        lock_drop(&p->lock);
        persist_tell_back(p, mount);
        persist_kick(p);
        lock_take(&p->lock);
    }
    lock_drop(&p->lock);
    return NULL;
}

static void kick_range(struct persist *p, enum queue_kind kind, uint64_t from, uint64_t to)
{
    struct meta_items items = {0};
    uint64_t now = clock_wall_ms();
    for (;;) {
        if (meta_queue(p->meta, kind, from, to, 256, &items) < 0 || !items.n)
            break;
        for (size_t i = 0; i < items.n; i++)
            meta_requeue(p->meta, &items.item[i], now, 0, NULL);
        from = items.item[items.n - 1].due;
        if (items.n < 256)
            break;
    }
    meta_items_done(&items);
}

/* What waits for its turn keeps waiting for that. */
static void kick_queue(struct persist *p, enum queue_kind kind)
{
    uint64_t now = clock_wall_ms();
    kick_range(p, kind, now + 1, REC_TURN - 1);
    kick_range(p, kind, rec_due(now + 1, 1), UINT64_MAX - 1);
}

void persist_kick(struct persist *p)
{
    kick_queue(p, Q_PERSIST);
    kick_queue(p, Q_SETTLE);
    kick_queue(p, Q_REAP);
    kick_queue(p, Q_ORDER);
    on_queue(p, 0);
}

/* ---- life ---- */

static void *walk_thread(void *arg)
{
    struct persist *p = arg;
    bool did = true;
    while (!stopping(p) && !atomic_load(&p->walked))
        if (run_walk(p, &did) < 0)
            clock_sleep_ms(200);
    uint64_t next = clock_mono_ms() + p->scan_ms;
    lock_take(&p->lock);
    while (!stopping(p)) {
        cond_wait_until(&p->wake, &p->lock, next * 1000000ull);
        if (stopping(p) || clock_mono_ms() < next)
            continue;
        lock_drop(&p->lock);
        run_orphan_scan(p);
        next = clock_mono_ms() + p->scan_ms;
        lock_take(&p->lock);
    }
    lock_drop(&p->lock);
    return NULL;
}

static void lane_init(struct persist *p, struct lane *l, const struct job *j)
{
    l->p = p;
    l->job = j;
    l->running = map_new();
    l->next_due = UINT64_MAX;
    lock_init(&l->lock, RANK_PERSIST);
    cond_init(&l->wake);
}

int persist_new(const struct persist_options *o, struct persist **ret)
{
    struct persist *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->meta = o->meta;
    p->pages = o->pages;
    p->retry_first_ms = o->conf ? conf_ms(o->conf, PROP_PERSIST_RETRY_INITIAL) : 1000;
    p->retry_max_ms = o->conf ? conf_ms(o->conf, PROP_PERSIST_RETRY_MAX) : 3600000;
    p->upload_threads = o->conf ? (unsigned)conf_u64(o->conf, PROP_PERSIST_THREADS) : 16;
    p->skew_ms = 5000;
    p->orphan_ms = o->conf ? conf_ms(o->conf, PROP_ORPHAN_TIMEOUT) : 3600000;
    p->scan_ms = o->conf ? conf_ms(o->conf, PROP_FILE_CHECK_PERIOD) : 600000;
    if (!p->retry_first_ms)
        p->retry_first_ms = 1;
    lock_init(&p->lock, RANK_PERSIST);
    cond_init(&p->wake);
    p->down = map_new();
    p->stopped = map_new();
    p->turns = map_new();
    struct data_options d = {
        .meta = o->meta, .pages = o->pages, .page_size = o->conf ? (uint32_t)conf_size(o->conf, PROP_PAGE_SIZE) : 0};
    d.reader_hold_ms = o->conf ? conf_ms(o->conf, PROP_READER_HOLD) : 600000;
    int r = data_new(&d, &p->data);
    if (r < 0) {
        persist_free(p);
        return r;
    }
    p->lanes = JOBS;
    p->lane = calloc(JOBS, sizeof *p->lane);
    for (size_t i = 0; i < JOBS; i++)
        lane_init(p, &p->lane[i], &jobs[i]);
    *ret = p;
    return 0;
}

static int lane_start(struct lane *l)
{
    char name[16];
    l->threads = l->job->threads ? l->job->threads : l->p->upload_threads;
    l->thread = calloc(l->threads, sizeof *l->thread);
    snprintf(name, sizeof name, "%s", kind_name[l->job->kind]);
    for (size_t i = 0; i < l->threads; i++) {
        int r = thread_start(&l->thread[i], name, lane_thread, l);
        if (r < 0) {
            l->threads = i;
            return r;
        }
    }
    return 0;
}

int persist_start(struct persist *p)
{
    TRY(meta_recover(p->meta));
    meta_on_queue(p->meta, on_queue, p);
    for (size_t i = 0; i < p->lanes; i++)
        TRY(lane_start(&p->lane[i]));
    TRY(thread_start(&p->prober, "prober", prober_thread, p));
    p->has_prober = true;
    TRY(thread_start(&p->walker, "walk", walk_thread, p));
    p->has_walker = true;
    return 0;
}

static void stop_threads(struct persist *p)
{
    atomic_store(&p->stop, true);
    on_queue(p, 0);
    for (size_t i = 0; i < p->lanes; i++) {
        struct lane *l = &p->lane[i];
        lock_take(&l->lock);
        pthread_cond_broadcast(&l->wake);
        lock_drop(&l->lock);
        for (size_t t = 0; t < l->threads; t++)
            pthread_join(l->thread[t], NULL);
        l->threads = 0;
    }
    lock_take(&p->lock);
    pthread_cond_broadcast(&p->wake);
    lock_drop(&p->lock);
    if (p->has_prober)
        pthread_join(p->prober, NULL);
    if (p->has_walker)
        pthread_join(p->walker, NULL);
}

struct persist *persist_free(struct persist *p)
{
    if (!p)
        return NULL;
    if (p->meta)
        meta_on_queue(p->meta, NULL, NULL);
    stop_threads(p);
    for (size_t i = 0; i < p->lanes; i++) {
        meta_items_done(&p->lane[i].ready);
        map_free(p->lane[i].running);
        free(p->lane[i].thread);
        pthread_cond_destroy(&p->lane[i].wake);
        lock_done(&p->lane[i].lock);
    }
    free(p->lane);
    map_free(p->down);
    map_free(p->stopped);
    map_free(p->turns);
    data_free(p->data);
    pthread_cond_destroy(&p->wake);
    lock_done(&p->lock);
    free(p);
    return NULL;
}

void persist_pause(struct persist *p, bool on)
{
    atomic_store(&p->paused, on);
    on_queue(p, 0);
}

bool persist_paused(struct persist *p)
{
    return atomic_load(&p->paused);
}

/* ---- one step, by hand ---- */

static size_t within_batch(const struct job *j, const struct meta_items *items)
{
    uint64_t bytes = 0;
    size_t n = 0;
    for (; n < items->n && n < j->batch; n++) {
        bytes += items->item[n].rec.bytes;
        if (n && j->bytes && bytes > j->bytes)
            break;
    }
    return n;
}

int persist_step(struct persist *p, enum persist_kind k, bool *ret_did, uint64_t *ret_due_ms)
{
    *ret_did = false;
    *ret_due_ms = UINT64_MAX;
    if (k == PERSIST_WALK)
        return atomic_load(&p->walked) ? 0 : run_walk(p, ret_did);
    for (size_t i = 0; i < JOBS; i++) {
        struct meta_items items = {0};
        if (jobs[i].kind != k)
            continue;
        int r = meta_queue(p->meta, jobs[i].queue, 0, clock_wall_ms(), jobs[i].batch, &items);
        if (r == 0 && items.n) {
            *ret_did = true;
            r = jobs[i].run(p, items.item, within_batch(&jobs[i], &items));
        }
        if (items.next_due < *ret_due_ms)
            *ret_due_ms = items.next_due;
        meta_items_done(&items);
        TRY(r);
    }
    return 0;
}

int persist_drain(struct persist *p)
{
    bool any = true;
    while (any) {
        any = false;
        for (int k = 0; k < PERSIST_KINDS; k++) {
            bool did;
            uint64_t due;
            TRY(persist_step(p, (enum persist_kind)k, &did, &due));
            any |= did;
        }
    }
    return 0;
}

/* ---- telling ---- */

static int tell(struct persist *p, const struct meta_item *it, const char *kind,
                int (*fn)(void *arg, const struct persist_item *x), void *arg, bool running)
{
    struct buf path AUTO_BUF = {0};
    int r = meta_path(p->meta, it->id, &path);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    struct persist_item x = {.path = buf_str(&path),
                             .ino = it->id,
                             .size = it->rec.bytes,
                             .since_ms = it->rec.since_ms,
                             .due_ms = rec_due(it->due, 0),
                             .attempts = it->rec.attempts,
                             .running = running,
                             .error = it->rec.error,
                             .kind = kind,
                             .in_order = it->due & REC_TURN};
    return fn(arg, &x);
}

static bool runs_now(struct persist *p, const struct meta_item *it)
{
    if (it->due & REC_TURN) {
        LOCKED(&p->lock);
        return map_get(p->turns, map_key64(&it->id)) != NULL;
    }
    for (size_t i = 0; i < p->lanes; i++) {
        struct lane *l = &p->lane[i];
        if (l->job->queue != it->kind)
            continue;
        LOCKED(&l->lock);
        return is_running(l, it);
    }
    return false;
}

int persist_list(struct persist *p, size_t limit, int (*fn)(void *arg, const struct persist_item *it), void *arg)
{
    static const struct {
        enum queue_kind q;
        const char *name;
    } what[] = {{Q_PERSIST, "persist"}, {Q_SETTLE, "settle"}};
    for (size_t w = 0; w < 2; w++) {
        struct meta_items items = {0};
        int r = meta_queue(p->meta, what[w].q, 0, UINT64_MAX - 1, limit ? limit : 10000, &items);
        for (size_t i = 0; i < items.n && r == 0; i++)
            r = tell(p, &items.item[i], what[w].name, fn, arg, runs_now(p, &items.item[i]));
        meta_items_done(&items);
        if (r)
            return r;
    }
    return 0;
}

int persist_stat(struct persist *p, struct str path, struct persist_item *ret, struct buf *ret_text,
                 const char **ret_state)
{
    struct meta_found f = {0};
    struct meta_item it;
    int r = data_lookup(p->data, META_ROOT, path.n && path.p[0] == '/' ? str_from(path, 1) : path, DATA_POSIX, &f);
    if (r == 0 && f.state != META_FOUND)
        r = err_set(ERR_NOT_FOUND, "Path does not exist: %.*s", STR_ARG(path));
    if (r == 0)
        r = meta_persist_state(p->meta, f.i.ino, &it, ret_text);
    if (r == 0) {
        *ret = (struct persist_item){.path = path,
                                     .ino = f.i.ino,
                                     .size = f.i.size,
                                     .since_ms = it.rec.since_ms,
                                     .due_ms = rec_due(it.due, 0),
                                     .in_order = it.due & REC_TURN,
                                     .attempts = it.rec.attempts,
                                     .running = it.kind ? runs_now(p, &it) : false,
                                     .error = it.rec.error,
                                     .kind = it.kind == Q_SETTLE ? "settle"
                                             : it.kind           ? "persist"
                                                                 : ""};
        *ret_state = f.i.skipped ? "SKIPPED" : f.i.transient ? "TRANSIENT" : f.i.dirty ? "NOT_PERSISTED" : "PERSISTED";
    }
    meta_found_done(&f);
    return r;
}

void persist_figures(struct persist *p, struct persist_figures *ret)
{
    *ret = (struct persist_figures){0};
    meta_dirty(p->meta, 0, &ret->dirty_files, &ret->dirty_bytes, &ret->oldest_since_ms);
    ret->uploaded_files = atomic_load(&p->uploaded_files);
    ret->uploaded_bytes = atomic_load(&p->uploaded_bytes);
    ret->upload_retries = atomic_load(&p->upload_retries);
    ret->upload_failures = atomic_load(&p->upload_failures);
    ret->conflicts = atomic_load(&p->conflicts);
    ret->readers_cut = data_readers_cut(p->data);
    ret->lost = atomic_load(&p->lost);
    ret->settled = atomic_load(&p->settled);
    ret->reaped = atomic_load(&p->reaped);
    ret->dropped = atomic_load(&p->dropped);
    ret->orphans = atomic_load(&p->orphans);
    ret->skipped = atomic_load(&p->skipped);
    ret->running = atomic_load(&p->running);
}
