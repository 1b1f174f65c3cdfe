/* SPDX-License-Identifier: Apache-2.0
 *
 * Two clients at a time, each action beside each other one, under each policy: of two operations every order of their
 * steps and of the background's; where one is a sequence, the orders with at most two preemptions; and each single
 * fault in the orders that come of switching only where somebody waits or is done. FOREBAY_MODEL_FULL=1 runs them all
 * (hours); else of pairs with many a sample, spread over all depths. FOREBAY_MODEL_TEST=NAME runs one test,
 * FOREBAY_MODEL_ONLY=A*100+B one pair.
 */
#include "model.h"
#include "../unit/cm.h"
#include <limits.h>
#include <time.h>

static const struct script actions[] = {
    {"put", {{OP_PUT, "a", NULL, "put a"}}, 1},
    {"overwrite", {{OP_PUT, "f", NULL, "overwrite f"}}, 1},
    {"delete", {{OP_DELETE, "f", NULL, NULL}}, 1},
    {"rename", {{OP_RENAME, "f", "g", NULL}}, 1},
    {"rename directory", {{OP_RENAME, "d/", "e/", NULL}}, 1},
    {"swap", {{OP_EXCHANGE, "f", "h", NULL}}, 1},
    {"chain", {{OP_RENAME, "f", "t", NULL}, {OP_RENAME, "t", "f", NULL}}, 2},
    {"rename, create", {{OP_RENAME, "f", "g", NULL}, {OP_PUT, "f", NULL, "created f"}}, 2},
    {"copy, delete source", {{OP_COPY, "f", "k", NULL}, {OP_DELETE, "f", NULL, NULL}}, 2},
    {"delete, look", {{OP_DELETE, "f", NULL, NULL}, {OP_LOOKUP, "f", NULL, NULL}}, 2},
    {"get", {{OP_GET, "f", NULL, NULL}}, 1},
    {"put below", {{OP_PUT, "d/y", NULL, "put d/y"}}, 1},
    {"remove tree", {{OP_REMOVE_TREE, "d/", NULL, NULL}}, 1},
    {"overwrite below", {{OP_PUT, "d/x", NULL, "overwrite d/x"}}, 1},
    {"move in", {{OP_RENAME, "f", "d/y", NULL}}, 1},
    {"move out", {{OP_RENAME, "d/x", "g", NULL}}, 1},
};
enum { ACTIONS = sizeof actions / sizeof *actions };
enum { BARE_CAPS = UFS_CAP_VERBATIM | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_MULTIPART | UFS_CAP_MARKERS };
enum { DIR_CAPS = UFS_CAP_RENAME | UFS_CAP_CERTAIN | UFS_CAP_META | UFS_CAP_COPY | UFS_CAP_MULTIPART };

static const struct op setup[] = {
    {OP_PUT, "f", NULL, "first f"}, {OP_PUT, "h", NULL, "first h"}, {OP_PUT, "d/x", NULL, "first d/x"}};

static uint64_t most; /* runs a pair */

static void all_runs(void *arg, struct buf *ret, struct effort *t)
{
    struct scenario *s = arg;
    explore_all(s, most, t, ret);
}

static void explore_pair(size_t a, size_t b, struct scenario s, struct effort *t)
{
    char name[100];
    struct buf said AUTO_BUF = {0};
    memcpy(s.setup, setup, sizeof setup);
    s.setup_n = 3;
    snprintf(name, sizeof name, "%s | %s", actions[a].name, actions[b].name);
    s.name = name;
    s.client[0] = &actions[a];
    s.client[1] = &actions[b];
    s.clients = 2;
    struct effort mine = {0};
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    explore_apart(all_runs, &s, &said, &mine);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (getenv("FOREBAY_MODEL_VERBOSE"))
        fprintf(stderr, "%-44s %7llu runs %7llu states %8llu steps, %3u deep, %.2fs\n", name,
                (unsigned long long)mine.runs, (unsigned long long)mine.states, (unsigned long long)mine.steps,
                mine.deepest, (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
    t->runs += mine.runs;
    t->states += mine.states;
    if (said.n)
        explore_fail(&said);
}

static unsigned preempts_of(size_t a, size_t b)
{
    size_t ops = actions[a].n + actions[b].n, all = explore_bound(1) ? 2 : 3;
    return ops > all ? 2 : UINT_MAX;
}

static bool wanted(size_t a, size_t b)
{
    const char *only = getenv("FOREBAY_MODEL_ONLY");
    if (only)
        return a * 100 + b == (size_t)atoi(only);
    return !explore_quick() || (a + b) % 4 == 1;
}

static void each_pair(struct scenario s, bool bounded)
{
    struct effort t = {0};
    most = explore_bound(bounded ? 100 : 800);
    for (size_t a = 0; a < ACTIONS; a++)
        for (size_t b = a; b < ACTIONS; b++) {
            if (!bounded)
                s.preempts = preempts_of(a, b);
            if (wanted(a, b))
                explore_pair(a, b, s, &t);
        }
    fprintf(stderr, "%llu runs, %llu states\n", (unsigned long long)t.runs, (unsigned long long)t.states);
}

static void every_order(void **state)
{
    (void)state;
    each_pair((struct scenario){.name = ""}, false);
}

/* On a directory: whole prefixes are renamed there, and nothing is conditional. */
static void every_order_on_a_directory(void **state)
{
    (void)state;
    each_pair((struct scenario){.caps = DIR_CAPS, .eager = true, .preempts = 1}, true);
}

/* At each step of one after the other: a request lost, late, doubled or without its answer, the
 * process dead, the power cut. */
static void one_fault(void **state)
{
    (void)state;
    each_pair((struct scenario){.faults = 1, .eager = true, .preempts = 0}, true);
}

static void one_fault_without_conditions(void **state)
{
    (void)state;
    each_pair((struct scenario){.faults = 1, .caps = BARE_CAPS, .preempts = 0}, true);
}

static void one_fault_on_a_directory(void **state)
{
    (void)state;
    each_pair((struct scenario){.faults = 1, .caps = DIR_CAPS, .eager = true, .preempts = 0}, true);
}

static void write_through_every_order(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = THROUGH, .preempts = 1, .eager = true}, true);
}

static void write_through_one_fault(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = THROUGH, .faults = 1, .preempts = 0}, true);
}

static void write_through_on_a_bare_store(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = THROUGH, .faults = 1, .caps = BARE_CAPS, .preempts = 0, .eager = true}, true);
}

static void transient_every_order(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = TRANSIENT_D, .preempts = 1, .eager = true}, true);
}

static void transient_one_fault(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = TRANSIENT_D, .faults = 1, .preempts = 0, .eager = true}, true);
}

static void transient_on_a_directory(void **state)
{
    (void)state;
    each_pair((struct scenario){.rules = TRANSIENT_D, .faults = 1, .caps = DIR_CAPS, .preempts = 0, .eager = true},
              true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order),
        cmocka_unit_test(every_order_on_a_directory),
        cmocka_unit_test(one_fault),
        cmocka_unit_test(one_fault_without_conditions),
        cmocka_unit_test(one_fault_on_a_directory),
        cmocka_unit_test(write_through_every_order),
        cmocka_unit_test(write_through_one_fault),
        cmocka_unit_test(write_through_on_a_bare_store),
        cmocka_unit_test(transient_every_order),
        cmocka_unit_test(transient_one_fault),
        cmocka_unit_test(transient_on_a_directory),
    };
    cmocka_set_test_filter(getenv("FOREBAY_MODEL_TEST")); /* one of them; NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
