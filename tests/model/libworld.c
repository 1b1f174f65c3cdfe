/* SPDX-License-Identifier: Apache-2.0
 *
 * One run: the world is built, the setup done, then the scheduler lets one task after the other take a step.
 */
#include "model.h"
#include "fakepage.h"
#include "base/log.h"
#include "kv/kv_impl.h"
#include "meta/tx.h"
#include <limits.h>
#include <stdarg.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    STACK = 1 << 19,
    LIVES = 6,
    STACKS = LIVES * TASKS,
    STEPS = 2000,
    JUMPS = 200,
    DEADLINE_MS = 240,
    WALL_MS = 1700000000
};
#define STORE "model"

struct world w;

/* ---- telling ---- */

bool world_bad(void)
{
    return w.out->complaint[0];
}

void world_complain(const char *fmt, ...)
{
    va_list ap;
    if (world_bad())
        return;
    va_start(ap, fmt);
    vsnprintf(w.out->complaint, sizeof w.out->complaint, fmt, ap);
    va_end(ap);
    if (w.out->trace)
        buf_printf(w.out->trace, "  !! %s\n", w.out->complaint);
}

void world_note(const char *fmt, ...)
{
    va_list ap;
    if (!w.out->trace)
        return;
    buf_printf(w.out->trace, "%7.3f ", (double)(w.now_ns % 1000000000000ull) / 1e9);
    buf_printf(w.out->trace, "%-9s ", w.cur >= 0 ? w.task[w.cur].name : "-");
    va_start(ap, fmt);
    buf_vprintf(w.out->trace, fmt, ap);
    va_end(ap);
    buf_putz(w.out->trace, "\n");
}

/* ---- coroutines ---- */

static char *stack_of(size_t i)
{
    static char *stacks[STACKS];
    if (!stacks[i]) {
        stacks[i] = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(stacks[i] != MAP_FAILED);
    }
    return stacks[i];
}

#if defined(__SANITIZE_ADDRESS__)
static void *main_fake;
static const void *main_stack;
static size_t main_stack_n;
static void fiber_entered(struct task *t)
{
    __sanitizer_finish_switch_fiber(t ? t->fake : main_fake, t ? &main_stack : NULL, t ? &main_stack_n : NULL);
}
static void fiber_leave(struct task *from, struct task *to, bool for_good)
{
    void **save = for_good ? NULL : from ? &from->fake : &main_fake;
    __sanitizer_start_switch_fiber(save, to ? to->stack : main_stack, to ? to->stack_n : main_stack_n);
}
static void stack_fresh(char *p)
{
    __asan_unpoison_memory_region(p, STACK);
}
#else
static void fiber_entered(struct task *t)
{
    (void)t;
}
static void fiber_leave(struct task *from, struct task *to, bool for_good)
{
    (void)from;
    (void)to;
    (void)for_good;
}
static void stack_fresh(char *p)
{
    (void)p;
}
#endif

static void to_scheduler(bool for_good)
{
    struct task *t = &w.task[w.cur];
    fiber_leave(t, NULL, for_good);
    swapcontext(&t->ctx, &w.main);
    fiber_entered(t);
}

static void ids_swap(struct task *t)
{
    uint64_t next = w.meta->id_next, end = w.meta->id_end;
    w.meta->id_next = t->id_next;
    w.meta->id_end = t->id_end;
    t->id_next = next;
    t->id_end = end;
}

/* Each task mints ids of its own, so that their numbers do not depend on who was first. */
static void resume(int i)
{
    struct task *t = &w.task[i];
    w.cur = w.last = i;
    t->state = TASK_READY;
    struct meta *m = w.meta;
    ids_swap(t);
    fiber_leave(NULL, t, false);
    swapcontext(&w.main, &t->ctx);
    fiber_entered(NULL);
    if (w.meta == m)
        ids_swap(t);
    w.cur = -1;
}

void world_step(enum point at, uint64_t request)
{
    struct task *t = &w.task[w.cur];
    t->at = at;
    t->request = request;
    to_scheduler(false);
}

/* ---- hooks ---- */

static uint64_t wall_ms(void *arg)
{
    (void)arg;
    return WALL_MS * 1000ull + w.now_ns / 1000000;
}

static uint64_t mono_ns(void *arg)
{
    (void)arg;
    return w.now_ns;
}

static void sleep_until(void *arg, uint64_t ns)
{
    (void)arg;
    if (w.cur < 0) {
        w.now_ns = ns > w.now_ns ? ns : w.now_ns;
        return;
    }
    w.task[w.cur].wake_ns = ns;
    w.task[w.cur].state = TASK_SLEEP;
    world_step(AT_SLEEP, 0);
}

static const struct clock_ops virtual_clock = {wall_ms, mono_ns, sleep_until, NULL};

static void on_commit(void *arg)
{
    (void)arg;
    if (w.cur < 0 || !w.exploring)
        return;
    struct task *t = &w.task[w.cur];
    t->in_commit = !t->in_commit;
    if (t->in_commit) {
        world_step(AT_COMMIT, 0);
        return;
    }
    if (w.names_moved) {
        int cur = w.cur;
        w.cur = -1;
        check_names();
        w.cur = cur;
    }
    world_note("commit");
    world_step(AT_COMMITTED, 0);
}

static const struct ufs_mem_request *request_named(uint64_t id)
{
    static struct ufs_mem_request all[16];
    size_t n = ufs_mem_pending(w.ufs, all, 16);
    for (size_t i = 0; i < n && i < 16; i++)
        if (all[i].id == id)
            return &all[i];
    return NULL;
}

static const char *request_text(uint64_t id)
{
    static char text[200];
    const struct ufs_mem_request *q = request_named(id);
    if (q && q->src.n)
        snprintf(text, sizeof text, "%s %.*s -> %.*s", q->call, STR_ARG(q->src), STR_ARG(q->key));
    else if (q)
        snprintf(text, sizeof text, "%s %.*s", q->call, STR_ARG(q->key));
    else
        snprintf(text, sizeof text, "request %llu", (unsigned long long)id);
    return text;
}

static void on_ufs(void *arg, enum ufs_mem_step step, uint64_t request)
{
    (void)arg;
    if (w.cur < 0 || !w.exploring)
        return;
    struct task *t = &w.task[w.cur];
    if (step == UFS_MEM_READ) {
        world_step(AT_READ, 0);
        t->history = t->history * 31 + ufs_mem_hash(w.ufs);
        world_note("looks at the UFS");
    } else if (step == UFS_MEM_SENT) {
        world_note("sends %s", request_text(request));
        world_step(AT_SENT, request);
    } else if (step == UFS_MEM_EFFECT) {
        world_note("effect of %s", request_text(request));
        check_ufs();
        world_step(AT_EFFECT, request);
        t->history = t->history * 31 + ufs_mem_hash(w.ufs);
    }
}

/* ---- tasks ---- */

static void client(struct task *t)
{
    for (size_t i = 0; i < t->script->n; i++) {
        CHECK(w.dones < DONE);
        struct done *d = &w.done[w.dones++];
        *d = (struct done){
            .op = &t->script->op[i], .client = (int)(t - w.task), .begun = true, .begin = w.events++, .end = UINT_MAX};
        world_note("begins %s", op_text(d->op));
        d->code = action_run(d->op, d);
        d->acked = true;
        d->end = w.events++;
        check_acked(d);
        world_note("%s: %s%s%s", op_text(d->op), d->code < 0 ? err_info(d->code)->name : "ok", d->value[0] ? " " : "",
                   d->value);
        t->history = str_hash(str_of(d->value)) + (uint64_t)(int64_t)d->code * 7919 + i;
    }
}

static void background(struct task *t)
{
    for (;;) {
        bool did = false;
        for (int k = 0; k < PERSIST_KINDS && !did; k++) {
            uint64_t due;
            if (!(t->kinds & 1u << k))
                continue;
            int r = persist_step(w.persist, (enum persist_kind)k, &did, &due);
            if (r < 0)
                world_complain("a background step (%s) failed: %s: %s", persist_kind_name((enum persist_kind)k),
                               err_info(r)->name, err_detail(r));
        }
        t->history = 0;
        t->state = TASK_IDLE;
        world_step(AT_IDLE, 0);
    }
}

static void task_main(void)
{
    struct task *t = &w.task[w.cur];
    fiber_entered(t);
    if (t->script)
        client(t);
    else
        background(t);
    t->state = TASK_DONE;
    t->history = 1;
    to_scheduler(true);
}

static struct task *task_new(const char *name)
{
    CHECK(w.tasks < TASKS);
    struct task *t = &w.task[w.tasks++];
    char *stack = stack_of((size_t)(t - w.task) + w.crashes % LIVES * TASKS);
    stack_fresh(stack);
    *t = (struct task){.stack = stack, .stack_n = STACK, .state = TASK_NEW, .at = AT_START};
    snprintf(t->name, sizeof t->name, "%s", name);
    getcontext(&t->ctx);
    t->ctx.uc_stack.ss_sp = stack;
    t->ctx.uc_stack.ss_size = STACK;
    t->ctx.uc_link = NULL;
    makecontext(&t->ctx, task_main, 0);
    return t;
}

static void add_background(void)
{
    enum { UPLOAD = 1 << PERSIST_UPLOAD | 1 << PERSIST_ORDER, SETTLE = 1 << PERSIST_SETTLE, REAP = 1 << PERSIST_REAP };
    enum { TIDY = 1 << PERSIST_DROP | 1 << PERSIST_TREE | 1 << PERSIST_ORPHAN | 1 << PERSIST_RULES };
    static const struct {
        const char *name;
        unsigned kinds;
    } one[] = {{"worker", UPLOAD | SETTLE | REAP | TIDY}},
      many[] = {{"upload", UPLOAD}, {"settle", SETTLE}, {"reap", REAP}, {"tidy", TIDY}};
    for (size_t i = 0; i < (w.s->workers ? 4 : 1); i++) {
        struct task *t = task_new(w.s->workers ? many[i].name : one[i].name);
        t->kinds = w.s->workers ? many[i].kinds : one[i].kinds;
        t->state = TASK_IDLE;
        t->at = AT_IDLE;
    }
}

/* A block of ids for each task. */
static void deal_ids(void)
{
    uint64_t id;
    CHECK(meta_mint(w.meta, 1, &id) == 0);
    uint64_t first = w.meta->id_next, each = (w.meta->id_end - first) / (TASKS + 1);
    w.meta->id_end = first + each;
    for (size_t i = 0; i < TASKS; i++) {
        w.task[i].id_next = first + (i + 1) * each;
        w.task[i].id_end = w.task[i].id_next + each;
    }
}

/* ---- building ---- */

static const char *const write_back = "{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\"}}";

static void open_process(void)
{
    struct meta_options mo = {.kv = w.kv,
                              .deadline_ms = DEADLINE_MS,
                              .write_cache = true,
                              .sync_ms = w.s->sync_ms ? w.s->sync_ms : UINT64_MAX};
    struct page_options po = {.page_size = 128 << 10};
    int r = meta_open(&mo, &w.meta);
    CHECK(r == 0, "meta_open: %s", err_detail(r));
    CHECK(page_open(&po, &w.pages) == 0);
    struct fs_options fo = {.meta = w.meta, .pages = w.pages};
    struct persist_options bo = {.meta = w.meta, .pages = w.pages};
    CHECK(fs_new(&fo, &w.fs) == 0);
    CHECK(persist_new(&bo, &w.persist) == 0);
    CHECK(meta_recover(w.meta) == 0);
}

static void close_process(void)
{
    w.persist = persist_free(w.persist);
    w.fs = fs_free_door(w.fs);
    w.pages = page_close(w.pages);
    w.meta = meta_close(w.meta);
}

static void mount_bucket(void)
{
    struct ufs_options uo = {.deadline_ms = DEADLINE_MS};
    struct ufs *u;
    struct meta_mount *mt;
    CHECK(ufs_open("mem:" STORE, &uo, &u) == 0);
    int r = meta_mount_add(w.meta, STR("/b"), "mem:" STORE, "", u);
    CHECK(r == 0, "meta_mount_add: %s", err_detail(r));
    CHECK(meta_mount_find(w.meta, STR("/b"), &mt) == 0);
    w.mount = mt->id;
    meta_mount_put(w.meta, mt);
    r = meta_rules_set(w.meta, str_of(w.s->rules ? w.s->rules : write_back));
    CHECK(r == 0, "rules: %s", err_detail(r));
}

static void world_open(const struct scenario *s, const struct decider *d, struct outcome *out)
{
    struct kv_options ko = {.on_commit = on_commit, .seed = 0};
    memset(&w, 0, sizeof w);
    w.s = s;
    w.d = d;
    w.out = out;
    w.cur = w.last = -1;
    w.now_ns = 1000000000000ull;
    w.preempts = s->preempts;
    w.faults = s->faults;
    if (!getenv("FOREBAY_LOG"))
        log_set_level(LOG_ERROR + 1); /* nothing: what is destroyed on purpose is lost loudly */
    clock_use(&virtual_clock);
    ufs_mem_drop(STORE);
    w.ufs = ufs_mem_store(STORE);
    ufs_mem_set_caps(w.ufs, s->caps ? s->caps : UFS_MEM_CAPS);
    fakepage_reset(s->eager);
    spy_reset();
    CHECK(kv_open(&spy_engine, &ko, &w.kv) == 0);
    open_process();
    mount_bucket();
    ufs_mem_on_step(w.ufs, on_ufs, NULL);
}

static void world_close(void)
{
    fault_arm(NULL);
    ufs_mem_on_step(w.ufs, NULL, NULL);
    ufs_mem_abandon(w.ufs);
    close_process();
    atomic_store(&w.kv->users, 0); /* tasks that were dropped never left */
    w.kv = kv_close(w.kv);
    ufs_mem_settle(w.ufs);
    ufs_mem_drop(STORE);
    clock_use(NULL);
}

/* ---- the process dies ---- */

static bool certain(void)
{
    return w.s->caps & UFS_CAP_CERTAIN;
}

static void crash(bool power)
{
    world_note(power ? "the power fails" : "the process dies");
    struct task old[TASKS];
    size_t n = w.tasks;
    memcpy(old, w.task, sizeof old);
    w.exploring = false;
    w.crashes++;
    w.crashed = true;
    ufs_mem_abandon(w.ufs);
    if (certain()) { /* its requests die with it */
        struct ufs_mem_request q[8];
        for (size_t k = ufs_mem_pending(w.ufs, q, 8); k-- > 0;)
            ufs_mem_lose(w.ufs, q[k].id);
    }
    close_process();
    fakepage_crash(power);
    if (power) { /* the spy is the mem engine for all that this looks at */
        w.kv->engine = &kv_engine_mem;
        kv_mem_power_cut(w.kv);
        w.kv->engine = &spy_engine;
        spy_rehash(w.kv);
    }
    open_process();
    bool did;
    uint64_t due;
    CHECK(persist_step(w.persist, PERSIST_WALK, &did, &due) == 0);
    w.tasks = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i].script) {
            struct task *t = task_new(old[i].name);
            t->script = old[i].script;
            if (old[i].state != TASK_NEW) /* its client got no answer, and gives up */
                t->state = TASK_DONE;
        }
    add_background();
    deal_ids();
    check_names();
    w.exploring = true;
    w.last = -1;
}

/* ---- what is due ---- */

struct due_arg {
    unsigned kinds;
    uint64_t due;
};

static const struct {
    enum persist_kind kind;
    enum queue_kind queue;
} queues[] = {{PERSIST_UPLOAD, Q_PERSIST}, {PERSIST_SETTLE, Q_SETTLE}, {PERSIST_REAP, Q_REAP},
              {PERSIST_REAP, Q_PREFIX},    {PERSIST_DROP, Q_DROP},     {PERSIST_DROP, Q_BLOB},
              {PERSIST_TREE, Q_TREE},      {PERSIST_ORPHAN, Q_UPLOAD}, {PERSIST_RULES, Q_RULES},
              {PERSIST_ORDER, Q_ORDER}};

static int borrowed(struct kv_tx *tx, uint64_t content, bool *ret)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_id(&begin, 'R', content);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1};
    TRY(kv_range(tx, &r, &rows));
    *ret = rows.n > 0;
    return 0;
}

/* A file that stays here hides what lies at its key for as long as it lives: that is looked at now and then. */
static int hides(struct kv_tx *tx, struct str key, bool *ret)
{
    struct place p;
    struct dentry d;
    struct inode i;
    *ret = false;
    int r = tx_walk(tx, w.mount, key, &p);
    if (r == 0)
        r = p.rest.n || !p.leaf.n ? ERR_NOT_FOUND : tx_dentry(tx, p.dir, p.leaf, &d);
    if (r == 0)
        r = tx_inode(tx, d.ino, &i);
    *ret = r == 0 && i.transient;
    return r == ERR_NOT_FOUND || r == ERR_STALE ? 0 : r;
}

/* The first record of a queue. A dead content that others borrow from is asked again and again, for as long as they
 * live: such a record is nothing to wait for. */
static int first_due(struct kv_tx *tx, enum queue_kind queue, uint64_t *due)
{
    char begin[2] = {'Q', (char)queue}, end[2] = {'Q', (char)(queue + 1)};
    struct kv_range r = {.begin = {begin, 2}, .end = {end, 2}, .max_rows = queue == Q_DROP || queue == Q_REAP ? 32 : 1};
    struct kv_rows rows;
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++) {
        enum queue_kind kind;
        uint64_t at, id;
        struct str rest;
        bool later = false;
        CHECK(dec_queue_key(rows.row[i].key, &kind, &at, &id, &rest));
        if (queue == Q_DROP)
            TRY(borrowed(tx, id, &later));
        if (queue == Q_REAP && at > wall_ms(NULL))
            TRY(hides(tx, rest, &later));
        if (!later && at < *due && !(at & REC_TURN)) /* else its directory's order record says when */
            *due = at;
    }
    return 0;
}

static int due_tx(struct kv_tx *tx, void *arg)
{
    struct due_arg *a = arg;
    a->due = UINT64_MAX;
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++)
        if (a->kinds & 1u << queues[i].kind)
            TRY(first_due(tx, queues[i].queue, &a->due));
    return 0;
}

static uint64_t due_of(unsigned kinds)
{
    struct due_arg a = {.kinds = kinds};
    CHECK(kv_view(w.kv, due_tx, &a, NULL) == 0);
    return a.due;
}

uint64_t world_next_due(void)
{
    return due_of(UINT_MAX);
}

static bool enabled(const struct task *t)
{
    if (t->state == TASK_IDLE)
        return due_of(t->kinds) <= wall_ms(NULL);
    return t->state == TASK_NEW || t->state == TASK_READY || (t->state == TASK_SLEEP && t->wake_ns <= w.now_ns);
}

/* True when something will be possible then. */
static bool time_passes(void)
{
    uint64_t next = UINT64_MAX, day = 20ull * 3600 * 1000000000;
    for (size_t i = 0; i < w.tasks; i++) {
        const struct task *t = &w.task[i];
        uint64_t at = UINT64_MAX;
        if (t->state == TASK_SLEEP)
            at = t->wake_ns;
        else if (t->state == TASK_IDLE && due_of(t->kinds) != UINT64_MAX)
            at = (due_of(t->kinds) - WALL_MS * 1000ull) * 1000000;
        next = at < next ? at : next;
    }
    if (next == UINT64_MAX || next > w.now_ns + day)
        return false;
    w.now_ns = next;
    world_note("time passes");
    return true;
}

/* ---- the scheduler ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 31);
}

static uint64_t state_hash(void)
{
    uint64_t h = mix(spy_hash(), ufs_mem_hash(w.ufs));
    h = mix(mix(h, fakepage_hash()), w.now_ns);
    h = mix(mix(h, w.preempts), w.faults);
    if (w.s->preempts != UINT_MAX)
        h = mix(h, (uint64_t)w.last + 1);
    for (size_t i = 0; i < w.tasks; i++) {
        const struct task *t = &w.task[i];
        h = mix(mix(h, t->history), (uint64_t)t->state << 8 | t->at);
        h = mix(mix(h, t->state == TASK_SLEEP ? t->wake_ns : 0), t->id_next);
    }
    struct ufs_mem_request q[8];
    size_t n = ufs_mem_pending(w.ufs, q, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        h = mix(h, q[i].until_ns + q[i].answered);
    return mix(h, check_hash());
}

struct options {
    struct option o[40];
    size_t n;
};

static void offer(struct options *os, struct option o)
{
    if ((o.fault && !w.faults) || (o.preempt && !w.preempts) || os->n == sizeof os->o / sizeof *os->o)
        return;
    os->o[os->n++] = o;
}

static void offer_faults(struct options *os)
{
    if (w.last < 0)
        return;
    const struct task *t = &w.task[w.last];
    bool running = t->state == TASK_READY;
    if (running && t->at == AT_SENT && !certain()) {
        offer(os, (struct option){.kind = DO_LOSE, .task = w.last, .request = t->request, .fault = true});
        offer(os, (struct option){.kind = DO_DELAY, .task = w.last, .request = t->request, .fault = true});
    }
    if (w.s->refusals && running && (t->at == AT_SENT || (t->at == AT_READ && !t->script)))
        offer(os, (struct option){.kind = DO_REFUSE, .task = w.last, .request = t->request, .fault = true});
    if (running && t->at == AT_EFFECT && !certain()) {
        offer(os, (struct option){.kind = DO_DOUBLE, .task = w.last, .request = t->request, .fault = true});
        offer(os, (struct option){.kind = DO_LOSE_ANSWER, .task = w.last, .request = t->request, .fault = true});
    }
    offer(os, (struct option){.kind = DO_CRASH, .fault = true});
    if (t->at == AT_COMMITTED)
        offer(os, (struct option){.kind = DO_POWER, .fault = true});
}

static void offer_late_effects(struct options *os)
{
    struct ufs_mem_request q[8];
    size_t n = ufs_mem_pending(w.ufs, q, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        if (q[i].answered && !q[i].effects)
            offer(os, (struct option){.kind = DO_APPLY, .request = q[i].id});
}

static void collect(struct options *os)
{
    os->n = 0;
    bool mine = w.last >= 0 && w.task[w.last].state == TASK_READY; /* in the middle of something */
    if (mine || (w.last >= 0 && enabled(&w.task[w.last])))
        offer(os, (struct option){.kind = DO_RUN, .task = w.last});
    if (!(mine && w.task[w.last].at == AT_COMMITTED)) {
        for (size_t i = 0; i < w.tasks; i++)
            if ((int)i != w.last && enabled(&w.task[i]))
                offer(os, (struct option){.kind = DO_RUN, .task = (int)i, .preempt = mine});
        offer_late_effects(os);
    }
    offer_faults(os);
}

static void spend(const struct option *o)
{
    if (o->fault && w.faults != UINT_MAX)
        w.faults--;
    if (o->preempt && w.preempts != UINT_MAX)
        w.preempts--;
    w.faulted |= o->fault;
}

static void carry_out(const struct option *o)
{
    switch (o->kind) {
    case DO_RUN:
        resume(o->task);
        break;
    case DO_LOSE:
        world_note("%s is lost", request_text(o->request));
        ufs_mem_lose(w.ufs, o->request);
        resume(o->task);
        break;
    case DO_REFUSE:
        world_note("%s is refused", o->request ? request_text(o->request) : "the look");
        ufs_mem_refuse(w.ufs, o->request);
        resume(o->task);
        break;
    case DO_DELAY:
        world_note("%s is late, its caller gives up", request_text(o->request));
        ufs_mem_delay(w.ufs, o->request);
        resume(o->task);
        break;
    case DO_DOUBLE:
        world_note("%s happens twice", request_text(o->request));
        ufs_mem_apply(w.ufs, o->request);
        check_ufs();
        break;
    case DO_LOSE_ANSWER:
        world_note("the answer to %s is lost", request_text(o->request));
        ufs_mem_lose_answer(w.ufs, o->request);
        resume(o->task);
        break;
    case DO_APPLY:
        world_note("late effect of %s", request_text(o->request));
        ufs_mem_apply(w.ufs, o->request);
        check_ufs();
        break;
    case DO_CRASH:
    case DO_POWER:
        crash(o->kind == DO_POWER);
        break;
    }
}

static bool clients_done(void)
{
    for (size_t i = 0; i < w.tasks; i++)
        if (w.task[i].script && w.task[i].state != TASK_DONE)
            return false;
    return true;
}

static void schedule(void)
{
    struct options os;
    for (;;) {
        collect(&os);
        size_t able = 0;
        for (size_t i = 0; i < os.n; i++)
            able += !os.o[i].fault;
        if (!able) {
            if (++w.jumps > JUMPS)
                world_complain("it does not come to rest: something is tried again for ever");
            else if (time_passes())
                continue;
            if (world_bad())
                return;
            if (!clients_done())
                world_complain("everybody waits for ever");
            return;
        }
        if (++w.out->steps > STEPS) {
            world_complain("it does not come to rest: %d steps", STEPS);
            return;
        }
        int c = os.n == 1 ? 0 : w.d->choose(w.d->arg, os.o, os.n, state_hash);
        if (c < 0) {
            w.out->pruned = true;
            return;
        }
        spend(&os.o[c]);
        carry_out(&os.o[c]);
        if (world_bad())
            return;
    }
}

/* ---- a run ---- */

static void rest(void)
{
    for (int i = 0; i < 100 && world_next_due() != UINT64_MAX; i++) {
        uint64_t due = world_next_due();
        if (due > wall_ms(NULL))
            w.now_ns += (due - wall_ms(NULL)) * 1000000;
        CHECK(persist_drain(w.persist) == 0);
    }
}

static void setup(void)
{
    const struct scenario *s = w.s;
    for (size_t i = 0; i < s->setup_n; i++) {
        struct op op = s->setup[i];
        struct done d = {0};
        if (s->forget_setup)
            op.kind = OP_EXT_PUT;
        int r = action_run(&op, &d);
        CHECK(r == 0, "setup: %s: %s", op_text(&op), err_detail(r));
        w.now_ns += 1000000;
    }
    if (!s->dirty)
        rest();
    w.now_ns += 10000000000ull; /* what is done is long ago */
}

void run_scenario(const struct scenario *s, const struct decider *d, struct outcome *out)
{
    struct buf *trace = out->trace;
    *out = (struct outcome){.trace = trace};
    world_open(s, d, out);
    actions_begin();
    setup();
    check_begin();
    for (size_t i = 0; i < s->clients; i++) {
        char name[40];
        snprintf(name, sizeof name, "client%zu", i + 1);
        task_new(name)->script = s->client[i];
    }
    add_background();
    deal_ids();
    if (s->arm)
        CHECK(fault_arm(s->arm) == 0, "%s", err_detail(ERR_INVALID));
    w.exploring = true;
    schedule();
    w.exploring = false;
    fault_arm(NULL);
    if (!out->pruned && !world_bad())
        check_end();
    world_close();
}
