/* SPDX-License-Identifier: Apache-2.0
 *
 * Ordered publication: the patterns of those who write checkpoints, with a fault anywhere: a request lost, late,
 * doubled or without its answer, the process dead, the power cut. libcheck.c says what the bucket may show meanwhile.
 */
#include "model.h"
#include "../unit/cm.h"
#include <limits.h>

enum { DIR_CAPS = UFS_CAP_RENAME | UFS_CAP_CERTAIN | UFS_CAP_META | UFS_CAP_COPY | UFS_CAP_MULTIPART };

static const struct script marks = {"data, mark, again",
                                    {{OP_PUT, "d/x", NULL, "x 1"},
                                     {OP_PUT, "d/m", NULL, "m 1"},
                                     {OP_PUT, "d/x", NULL, "x 2"},
                                     {OP_PUT, "d/m", NULL, "m 2"}},
                                    4};
static const struct script unmark = {
    "mark goes, data, mark",
    {{OP_DELETE, "d/m", NULL, NULL}, {OP_PUT, "d/x", NULL, "x 2"}, {OP_PUT, "d/m", NULL, "m 2"}},
    3};
static const struct script latest = {
    "below, above", {{OP_PUT, "d/x", NULL, "x 2"}, {OP_PUT, "m", NULL, "m 2"}, {OP_DELETE, "m", NULL, NULL}}, 3};
static const struct script into_place = {
    "tmp, rename, mark",
    {{OP_PUT, "d/t", NULL, "t 1"}, {OP_RENAME, "d/t", "d/f", NULL}, {OP_PUT, "d/m", NULL, "m 2"}},
    3};
static const struct script over = {
    "rename over, mark", {{OP_RENAME, "d/x", "d/y", NULL}, {OP_PUT, "d/m", NULL, "m 2"}}, 2};
static const struct script dir_into_place = {
    "directory into place, mark",
    {{OP_PUT, "d/y", NULL, "y 2"}, {OP_RENAME, "d/", "e/", NULL}, {OP_PUT, "m", NULL, "m 2"}},
    3};
static const struct script gone_again = {"all goes, data, mark",
                                         {{OP_DELETE, "d/x", NULL, NULL},
                                          {OP_DELETE, "d/m", NULL, NULL},
                                          {OP_PUT, "d/x", NULL, "x 2"},
                                          {OP_PUT, "d/m", NULL, "m 2"}},
                                         4};
static const struct script other = {"elsewhere", {{OP_PUT, "o/x", NULL, "o 1"}, {OP_PUT, "o/m", NULL, "o 2"}}, 2};

static const struct scenario orders[] = {
    {.client = {&marks}, .clients = 1},
    {.client = {&unmark}, .clients = 1},
    {.client = {&unmark}, .clients = 1, .dirty = true},
    {.client = {&latest}, .clients = 1},
    {.client = {&into_place}, .clients = 1},
    {.client = {&over}, .clients = 1},
    {.client = {&dir_into_place}, .clients = 1},
    {.client = {&dir_into_place}, .clients = 1, .caps = DIR_CAPS},
    {.client = {&gone_again}, .clients = 1},
    {.client = {&marks, &other}, .clients = 2},
    {.client = {&into_place, &unmark}, .clients = 2, .caps = DIR_CAPS},
};

struct job {
    struct scenario s;
    uint64_t most;
};

static void search(void *arg, struct buf *ret, struct effort *t)
{
    struct job *j = arg;
    explore_all(&j->s, j->most, t, ret);
}

static void each_order(void **state)
{
    static const struct op setup[] = {{OP_PUT, "d/x", NULL, "x 0"}, {OP_PUT, "d/m", NULL, "m 0"}};
    const char *only = getenv("FOREBAY_MODEL_ONLY");
    (void)state;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct buf said AUTO_BUF = {0};
        struct effort t = {0};
        struct job j = {.s = orders[i], .most = explore_bound(3000)};
        char name[160];
        if (only && (size_t)atoi(only) != i)
            continue;
        snprintf(name, sizeof name, "%zu: %s%s%s", i, j.s.client[0]->name, j.s.clients > 1 ? " | " : "",
                 j.s.clients > 1 ? j.s.client[1]->name : "");
        j.s.name = name;
        j.s.rules = ORDERED;
        j.s.setup_n = 2;
        memcpy(j.s.setup, setup, sizeof setup);
        j.s.preempts = 2;
        j.s.faults = 2;
        j.s.workers = true;
        j.s.refusals = true;
        explore_apart(search, &j, &said, &t);
        fprintf(stderr, "%-40s %7llu runs %7llu states\n", name, (unsigned long long)t.runs,
                (unsigned long long)t.states);
        if (said.n)
            explore_fail(&said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
