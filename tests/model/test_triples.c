/* SPDX-License-Identifier: Apache-2.0
 *
 * Three clients at a time, at most two preemptions, and one fault: a UFS request lost, late, doubled or without its
 * answer, the process dead, the power cut. A sample of the runs; all with FOREBAY_MODEL_FULL=1. Background tasks of
 * every kind run beside each other.
 */
#include "model.h"
#include "../unit/cm.h"
#include <time.h>

enum { BARE_CAPS = UFS_CAP_VERBATIM | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_MULTIPART | UFS_CAP_MARKERS };
enum { DIR_CAPS = UFS_CAP_RENAME | UFS_CAP_CERTAIN | UFS_CAP_META | UFS_CAP_COPY | UFS_CAP_MULTIPART };

static const struct script put_f = {"put", {{OP_PUT, "f", NULL, "second f"}}, 1};
static const struct script put_x = {"put below", {{OP_PUT, "d/x", NULL, "second d/x"}}, 1};
static const struct script delete_f = {"delete", {{OP_DELETE, "f", NULL, NULL}}, 1};
static const struct script delete_look = {
    "delete, look", {{OP_DELETE, "f", NULL, NULL}, {OP_LOOKUP, "f", NULL, NULL}}, 2};
static const struct script rename_g = {"rename", {{OP_RENAME, "f", "g", NULL}}, 1};
static const struct script rename_d = {"rename directory", {{OP_RENAME, "d/", "e/", NULL}}, 1};
static const struct script back_d = {"rename directory back", {{OP_RENAME, "e/", "d/", NULL}}, 1};
static const struct script swap = {"swap", {{OP_EXCHANGE, "f", "h", NULL}}, 1};
static const struct script swap_tmp = {
    "swap by a third name", {{OP_RENAME, "f", "t", NULL}, {OP_RENAME, "h", "f", NULL}, {OP_RENAME, "t", "h", NULL}}, 3};
static const struct script chain = {"chain", {{OP_RENAME, "f", "t", NULL}, {OP_RENAME, "t", "f", NULL}}, 2};
static const struct script rename_create = {
    "rename, create", {{OP_RENAME, "f", "g", NULL}, {OP_PUT, "f", NULL, "created f"}}, 2};
static const struct script copy_delete = {
    "copy, delete source", {{OP_COPY, "f", "k", NULL}, {OP_DELETE, "f", NULL, NULL}}, 2};
static const struct script get_f = {"get", {{OP_GET, "f", NULL, NULL}}, 1};
static const struct script get_g = {"get moved", {{OP_GET, "g", NULL, NULL}}, 1};
static const struct script put_g = {"put over moved", {{OP_PUT, "g", NULL, "second g"}}, 1};
static const struct script rmtree = {"remove tree", {{OP_REMOVE_TREE, "d/", NULL, NULL}}, 1};
static const struct script rewrite = {"rewrite", {{OP_REWRITE, "f", NULL, "rewritten f"}}, 1};
static const struct script upload = {"upload", {{OP_UPLOAD, "f", NULL, "uploaded f"}}, 1};
static const struct script ext_put = {"EXTERNAL put", {{OP_EXT_PUT, "f", NULL, "foreign f"}}, 1};
static const struct script ext_delete = {"EXTERNAL delete", {{OP_EXT_DELETE, "f", NULL, NULL}}, 1};

static const struct scenario triples[] = {
    {.client = {&put_f, &delete_f, &get_f}, .eager = true},
    {.client = {&put_f, &rename_g, &get_f}, .eager = true},
    {.client = {&put_f, &rename_create, &delete_look}},
    {.client = {&put_f, &copy_delete, &get_f}, .eager = true},
    {.client = {&put_f, &swap, &delete_f}, .caps = BARE_CAPS},
    {.client = {&put_x, &rename_d, &back_d}},
    {.client = {&put_x, &rename_d, &rmtree}},
    {.client = {&put_x, &rename_d, &back_d}, .caps = DIR_CAPS},
    {.client = {&rmtree, &put_x, &rename_d}, .caps = DIR_CAPS, .dirty = true},
    {.client = {&swap, &chain, &get_f}, .eager = true},
    {.client = {&swap_tmp, &put_f, &get_f}, .caps = BARE_CAPS},
    {.client = {&chain, &rename_create, &delete_f}, .caps = BARE_CAPS},
    {.client = {&rewrite, &rename_g, &get_f}, .eager = true},
    {.client = {&rewrite, &upload, &delete_look}, .dirty = true},
    {.client = {&upload, &copy_delete, &rename_g}},
    {.client = {&delete_look, &rename_create, &copy_delete}, .forget_setup = true},
    {.client = {&ext_put, &put_f, &get_f}, .sync_ms = 50},
    {.client = {&ext_put, &delete_f, &put_x}, .sync_ms = 50},
    {.client = {&ext_delete, &put_f, &get_f}, .sync_ms = 50},
    {.client = {&ext_put, &rename_g, &get_g}, .sync_ms = 50},
    {.client = {&ext_put, &rename_g, &get_g}, .sync_ms = 50, .eager = true},
    {.client = {&ext_delete, &rename_g, &put_g}, .sync_ms = 50, .eager = true},
    {.client = {&ext_put, &swap, &delete_f}, .sync_ms = 50, .caps = BARE_CAPS},
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

static void each_triple(void **state)
{
    static const struct op setup[] = {
        {OP_PUT, "f", NULL, "first f"}, {OP_PUT, "h", NULL, "first h"}, {OP_PUT, "d/x", NULL, "first d/x"}};
    const char *only = getenv("FOREBAY_MODEL_ONLY");
    struct effort all = {0};
    (void)state;
    for (size_t i = 0; i < sizeof triples / sizeof *triples; i++) {
        char name[160];
        struct buf said AUTO_BUF = {0};
        struct effort t = {0};
        struct job j = {.s = triples[i], .most = explore_bound(1500)};
        struct timespec t0, t1;
        if (only && (size_t)atoi(only) != i)
            continue;
        j.s.clients = 3;
        j.s.setup_n = 3;
        memcpy(j.s.setup, setup, sizeof setup);
        j.s.preempts = getenv("MP") ? (unsigned)atoi(getenv("MP")) : 2;
        j.s.faults = 1;
        j.s.workers = true;
        snprintf(name, sizeof name, "%s | %s | %s", j.s.client[0]->name, j.s.client[1]->name, j.s.client[2]->name);
        j.s.name = name;
        clock_gettime(CLOCK_MONOTONIC, &t0);
        explore_apart(search, &j, &said, &t);
        clock_gettime(CLOCK_MONOTONIC, &t1);
        if (getenv("FOREBAY_MODEL_VERBOSE"))
            fprintf(stderr, "%2zu %-60s %7llu runs %7llu states %8llu steps, %.1fs\n", i, name,
                    (unsigned long long)t.runs, (unsigned long long)t.states, (unsigned long long)t.steps,
                    (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9);
        all.runs += t.runs;
        all.states += t.states;
        if (said.n)
            explore_fail(&said);
    }
    fprintf(stderr, "%llu runs, %llu states\n", (unsigned long long)all.runs, (unsigned long long)all.states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_triple)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
