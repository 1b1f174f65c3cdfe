/* SPDX-License-Identifier: Apache-2.0
 *
 * A run: starts the clients, watches the server while they work, adds up what they counted.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"
#include "bench/client.h"
#include <sys/resource.h>

#define OP(name, word, unit, summary) extern const struct bench_act bench_op_##name;
#include "bench/ops.tbl"
#undef OP

static const struct bench_act *const acts[BENCH_OPS] = {
#define OP(name, word, unit, summary) &bench_op_##name,
#include "bench/ops.tbl"
#undef OP
};
const char *const bench_op_name[BENCH_OPS] = {
#define OP(name, word, unit, summary) word,
#include "bench/ops.tbl"
#undef OP
};
const char *const bench_op_unit[BENCH_OPS] = {
#define OP(name, word, unit, summary) unit,
#include "bench/ops.tbl"
#undef OP
};
const char *const bench_kind_name[BENCH_KINDS] = {
#define KIND(name, word) [BENCH_##name] = word,
#include "bench/kinds.tbl"
#undef KIND
};

/* ---- one client ---- */

static bool may_begin(struct run *r)
{
    return clock_mono_ns() < r->deadline_ns &&
           atomic_fetch_add_explicit(&r->begun, 1, memory_order_relaxed) < r->cfg->count;
}

static void *client_main(void *arg)
{
    struct client *c = arg;
    const struct bench_act *act = acts[c->cfg->op];
    if (act->begin)
        act->begin(c);
    while (may_begin(c->run) && act->step(c))
        ;
    if (act->end)
        act->end(c);
    c->end_ns = clock_mono_ns();
    atomic_fetch_sub(&c->run->running, 1);
    return NULL;
}

/* ---- the server ---- */

static bool server_usage(const struct bench_config *cfg, struct usage *ret)
{
    struct usage sum = {0};
    for (size_t i = 0; i < cfg->pids; i++) {
        struct usage one;
        if (!proc_usage(cfg->pid[i], &one))
            return false;
        sum.cpu += one.cpu;
        sum.rss += one.rss;
    }
    *ret = sum;
    return true;
}

static double own_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* A server that died in the meantime shows as errors of its clients; its last figures stand. */
static void watch(struct run *r, struct usage *u, uint64_t *ret_rss_max)
{
    enum { LOOK_MS = 5, LOOKS = 20 };
    *ret_rss_max = u->rss;
    for (unsigned i = 1; atomic_load(&r->running); i++) {
        clock_sleep_ms(LOOK_MS);
        if (i % LOOKS == 0)
            server_usage(r->cfg, u);
        if (u->rss > *ret_rss_max)
            *ret_rss_max = u->rss;
    }
    server_usage(r->cfg, u);
    if (u->rss > *ret_rss_max)
        *ret_rss_max = u->rss;
}

/* ---- adding up ---- */

static void add_error(struct bench_result *to, const struct bench_error *e)
{
    size_t i = 0;
    while (i < to->error_n && strcmp(to->error[i].label, e->label) != 0)
        i++;
    if (i == BENCH_ERRORS)
        i--;
    if (i == to->error_n) {
        to->error[to->error_n++] = *e;
        return;
    }
    to->error[i].n += e->n;
}

static void add_up(struct bench_result *to, const struct client *c)
{
    const struct spread *t = &c->tally;
    to->ops += t->ops;
    to->errors += t->errors;
    to->units += t->units;
    to->bytes += t->bytes;
    to->reconnects += c->wire.reconnects;
    hist_merge(&to->latency, &t->latency);
    for (int k = 0; k < BENCH_KINDS; k++)
        hist_merge(&to->kind[k], &t->kind[k]);
    for (size_t i = 0; i < t->error_n; i++)
        add_error(to, &t->error[i]);
}

/* ---- all of it ---- */

struct team {
    struct client *client;
    pthread_t *thread;
    unsigned started;
};

static int team_start(struct team *t, struct run *r)
{
    for (; t->started < r->cfg->clients; t->started++) {
        atomic_fetch_add(&r->running, 1);
        int e = thread_start(&t->thread[t->started], "bench", client_main, &t->client[t->started]);
        if (e < 0) {
            atomic_fetch_sub(&r->running, 1);
            atomic_store(&r->begun, r->cfg->count); /* those that run end soon */
            return e;
        }
    }
    return 0;
}

static void team_join(struct team *t, uint64_t begin_ns, struct bench_result *out)
{
    uint64_t end_ns = begin_ns;
    for (unsigned i = 0; i < t->started; i++) {
        pthread_join(t->thread[i], NULL);
        add_up(out, &t->client[i]);
        if (t->client[i].end_ns > end_ns)
            end_ns = t->client[i].end_ns;
    }
    out->seconds = (double)(end_ns - begin_ns) * 1e-9;
}

static uint64_t deadline(uint64_t begin_ns, uint64_t ms)
{
    return ms > (UINT64_MAX - begin_ns) / 1000000 ? UINT64_MAX : begin_ns + ms * 1000000;
}

static int work(struct run *r, struct team *t, struct usage before, struct bench_result *out)
{
    struct usage after = before;
    double cpu = own_cpu();
    uint64_t begin_ns = clock_mono_ns();
    r->deadline_ns = deadline(begin_ns, r->cfg->duration_ms);
    int e = team_start(t, r);
    watch(r, &after, &out->server_rss_max);
    team_join(t, begin_ns, out);
    out->client_cpu = own_cpu() - cpu;
    out->server_cpu = after.cpu - before.cpu;
    out->server_rss = after.rss;
    return e;
}

int bench_run(const struct bench_config *cfg, struct bench_result *ret)
{
    struct run r = {.cfg = cfg};
    struct usage before;
    if (!server_usage(cfg, &before))
        return err_set(ERR_INVALID, "a process whose time shall be counted does not exist");
    TRY(target_open(cfg->endpoint, cfg->ca, &r.target));
    content_init();
    struct team t = {mem_zero(cfg->clients, sizeof(struct client)), mem_zero(cfg->clients, sizeof(pthread_t)), 0};
    struct bench_result *out = MEM_NEW(struct bench_result);
    for (unsigned i = 0; i < cfg->clients; i++)
        client_init(&t.client[i], &r, i);
    int e = work(&r, &t, before, out);
    for (unsigned i = 0; i < cfg->clients; i++)
        client_end(&t.client[i]);
    free(t.client);
    free(t.thread);
    target_close(r.target);
    if (e == 0)
        *ret = *out;
    free(out);
    return e;
}
