/* SPDX-License-Identifier: Apache-2.0
 *
 * Does the checker see anything at all? A bug is planted in each of the places that hold the UFS right, and must be
 * found.
 */
#include "model.h"
#include "../unit/cm.h"
#include <limits.h>

static void search(void *arg, struct buf *ret, struct effort *t)
{
    explore_all(arg, 200000, t, ret);
}

static void finds(struct scenario s)
{
    struct buf said AUTO_BUF = {0}, sound AUTO_BUF = {0};
    struct effort t = {0};
    explore_apart(search, &s, &said, &t);
    if (!said.n)
        fail_msg("%s: %llu runs, %llu states, and the planted bug was not found", s.name, (unsigned long long)t.runs,
                 (unsigned long long)t.states);
    if (strstr(said.p, "the run died"))
        explore_fail(&said);
    if (getenv("FOREBAY_MODEL_VERBOSE"))
        fprintf(stderr, "after %llu runs: %s\n", (unsigned long long)t.runs, said.p);
    s.arm = NULL; /* and it is the bug that it finds */
    explore_apart(search, &s, &sound, &t);
    if (sound.n)
        explore_fail(&sound);
}

static const struct script put_f = {"put", {{OP_PUT, "f", NULL, "second f"}}, 1};
static const struct script delete_f = {"delete", {{OP_DELETE, "f", NULL, NULL}}, 1};
static const struct script look_f = {"look", {{OP_LOOKUP, "f", NULL, NULL}}, 1};
static const struct script rewrite_f = {"rewrite", {{OP_REWRITE, "f", NULL, "rewritten f"}}, 1};
static const struct script rename_create = {
    "rename, create", {{OP_RENAME, "f", "g", NULL}, {OP_PUT, "f", NULL, "created f"}}, 2};

/* A store without conditional requests: only the claim keeps two requests for one key apart. */
enum { BARE = UFS_CAP_VERBATIM | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_MULTIPART | UFS_CAP_MARKERS };

static void in_the_claim(void **state)
{
    (void)state;
    finds((struct scenario){.name = "claims are ignored",
                            .setup = {{OP_PUT, "f", NULL, "first f"}},
                            .setup_n = 1,
                            .dirty = true,
                            .client = {&put_f},
                            .clients = 1,
                            .caps = BARE,
                            .preempts = UINT_MAX,
                            .faults = 1,
                            .arm = "test.skip.claim:error BUSY*0"});
}

static void in_the_version_check(void **state)
{
    (void)state;
    finds((struct scenario){.name = "the mark does not look again",
                            .setup = {{OP_PUT, "f", NULL, "first f"}},
                            .setup_n = 1,
                            .dirty = true,
                            .client = {&rewrite_f},
                            .clients = 1,
                            .preempts = UINT_MAX,
                            .arm = "test.skip.version_check:error BUSY*0"});
}

static void in_the_epoch_check(void **state)
{
    (void)state;
    finds((struct scenario){.name = "loads are not held to their epoch",
                            .setup = {{OP_PUT, "f", NULL, "first f"}},
                            .setup_n = 1,
                            .forget_setup = true,
                            .client = {&look_f, &delete_f},
                            .clients = 2,
                            .preempts = UINT_MAX,
                            .arm = "test.skip.epoch_check:error BUSY*0"});
}

static void in_the_owner_row(void **state)
{
    (void)state;
    finds((struct scenario){.name = "rename writes no owner row",
                            .setup = {{OP_PUT, "f", NULL, "first f"}},
                            .setup_n = 1,
                            .client = {&rename_create},
                            .clients = 1,
                            .preempts = UINT_MAX,
                            .arm = "test.skip.owner_row:error BUSY*0"});
}

static const struct script data_mark = {
    "data, mark", {{OP_PUT, "d/x", NULL, "first d/x"}, {OP_PUT, "d/m", NULL, "first d/m"}}, 2};

static void in_the_order(void **state)
{
    (void)state;
    finds((struct scenario){.name = "commits take no turn",
                            .client = {&data_mark},
                            .clients = 1,
                            .rules = ORDERED,
                            .preempts = UINT_MAX,
                            .faults = 1,
                            .arm = "test.skip.turn:error BUSY*0"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_claim),       cmocka_unit_test(in_the_version_check),
        cmocka_unit_test(in_the_epoch_check), cmocka_unit_test(in_the_owner_row),
        cmocka_unit_test(in_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
