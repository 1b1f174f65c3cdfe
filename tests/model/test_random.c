/* SPDX-License-Identifier: Apache-2.0
 *
 * Longer runs by seed: three clients with up to four operations each, background tasks of every kind at once, several
 * faults and crashes, stores with and without conditions, pages that vanish as soon as they may. FOREBAY_MODEL_SEED=N
 * runs one, FOREBAY_MODEL_RUNS=N the first N.
 */
#include "model.h"
#include "../unit/cm.h"
#include <limits.h>
#include <sys/mman.h>

enum { DIR_CAPS = UFS_CAP_RENAME | UFS_CAP_CERTAIN | UFS_CAP_META | UFS_CAP_COPY | UFS_CAP_MULTIPART };
enum { BARE_CAPS = UFS_CAP_VERBATIM | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_MULTIPART | UFS_CAP_MARKERS };

struct gen {
    uint64_t state;
    struct script script[CLIENTS];
    char data[CLIENTS][OPS][32];
    struct scenario s;
};

static unsigned pick(struct gen *g, unsigned n)
{
    uint64_t x = g->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((x ^ (x >> 31)) % n);
}

static const char *some_file(struct gen *g)
{
    static const char *const name[] = {"f", "f", "g", "h", "d/x", "d/x", "d/y", "e/x"};
    return name[pick(g, sizeof name / sizeof *name)];
}

static struct op some_op(struct gen *g, char data[32], const char *who, bool externals)
{
    static const enum op_kind kinds[] = {OP_PUT,    OP_PUT,     OP_PUT,         OP_DELETE,   OP_DELETE,  OP_RENAME,
                                         OP_RENAME, OP_RENAME,  OP_RENAME,      OP_EXCHANGE, OP_COPY,    OP_GET,
                                         OP_LOOKUP, OP_REWRITE, OP_REMOVE_TREE, OP_UPLOAD,   OP_EXT_PUT, OP_EXT_DELETE};
    struct op op = {.kind = kinds[pick(g, sizeof kinds / sizeof *kinds - (externals ? 0 : 2))],
                    .a = some_file(g),
                    .b = some_file(g)};
    bool dirs = (op.kind == OP_RENAME || op.kind == OP_EXCHANGE) && pick(g, 3) == 0;
    if (dirs || op.kind == OP_REMOVE_TREE) {
        op.a = pick(g, 2) ? "d/" : "e/";
        op.b = op.a[0] == 'd' ? "e/" : "d/";
    }
    if (op.b && !strcmp(op.a, op.b))
        op.b = "t";
    if (op.kind == OP_PUT || op.kind == OP_UPLOAD || op.kind == OP_REWRITE || op.kind == OP_EXT_PUT) {
        snprintf(data, 32, "%.20s %.8s", who, op.a);
        op.data = data;
    }
    if (op.kind != OP_RENAME && op.kind != OP_EXCHANGE && op.kind != OP_COPY)
        op.b = NULL;
    return op;
}

static void generate(struct gen *g, uint64_t seed)
{
    static const char *const rules[] = {NULL, NULL, TRANSIENT_D, THROUGH};
    static const unsigned caps[] = {0, 0, BARE_CAPS, DIR_CAPS};
    static const struct op setup[] = {
        {OP_PUT, "f", NULL, "first f"}, {OP_PUT, "h", NULL, "first h"}, {OP_PUT, "d/x", NULL, "first d/x"}};
    g->state = seed;
    g->s = (struct scenario){.name = "random", .clients = 2 + pick(g, 2), .setup_n = 3, .preempts = UINT_MAX};
    memcpy(g->s.setup, setup, sizeof setup);
    g->s.caps = caps[pick(g, 4)];
    g->s.eager = pick(g, 2);
    g->s.workers = pick(g, 4) > 0;
    g->s.dirty = pick(g, 4) == 0;
    g->s.forget_setup = pick(g, 5) == 0;
    g->s.faults = pick(g, 4);
    bool externals = false;
    for (size_t c = 0; c < g->s.clients; c++) {
        g->script[c] = (struct script){.name = "random", .n = 1 + pick(g, OPS)};
        for (size_t i = 0; i < g->script[c].n; i++) {
            char who[24];
            snprintf(who, sizeof who, "client%u.%u", (unsigned)(c + 1) % 100, (unsigned)(i + 1) % 100);
            g->script[c].op[i] = some_op(g, g->data[c][i], who, externals);
        }
        g->s.client[c] = &g->script[c];
    }
    g->s.rules = rules[pick(g, 4)];
    if (g->s.rules &&
        g->s.rules == rules[2]) /* what is in d/ from the start is not in the bucket, and nothing else is there */
        g->s.forget_setup = false;
}

struct batch {
    struct gen *g; /* shared: a run that died is told by the parent */
    uint64_t first, n;
};

static void run_batch(void *arg, struct buf *ret, struct effort *t)
{
    const struct batch *b = arg;
    for (uint64_t seed = b->first; seed < b->first + b->n && !ret->n; seed++) {
        generate(b->g, seed);
        explore_random(&b->g->s, seed * 2654435761u, seed, t, ret);
    }
}

static void by_seed(void **state)
{
    const char *one = getenv("FOREBAY_MODEL_SEED");
    struct batch b = {.first = one ? strtoull(one, NULL, 10) : 1, .n = one ? 1 : explore_quick() ? 20 : 50};
    const char *more = getenv("FOREBAY_MODEL_RUNS");
    uint64_t end = one ? b.first : more ? strtoull(more, NULL, 10) : explore_quick() ? 100 : 1000;
    struct buf said AUTO_BUF = {0};
    struct effort t = {0};
    (void)state;
    b.g = mmap(NULL, sizeof *b.g, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(b.g != MAP_FAILED);
    for (; b.first <= end && !said.n; b.first += b.n)
        explore_apart(run_batch, &b, &said, &t);
    fprintf(stderr, "%llu runs, %llu steps\n", (unsigned long long)t.runs, (unsigned long long)t.steps);
    if (said.n)
        explore_fail(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
