/* SPDX-License-Identifier: Apache-2.0
 *
 * One client and several faults one after the other: what a request left behind whose outcome nobody knows is not
 * forgotten when the next one fails too. A fault is a UFS request lost, late, without its answer, or refused, a look
 * refused, the process dead. A sample of the runs; all with FOREBAY_MODEL_FULL=1.
 */
#include "model.h"
#include "../unit/cm.h"

enum { BARE_CAPS = UFS_CAP_VERBATIM | UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_MULTIPART | UFS_CAP_MARKERS };

static const struct script twice = {"put, put", {{OP_PUT, "f", NULL, "second f"}, {OP_PUT, "f", NULL, "third f"}}, 2};
static const struct script put_delete = {
    "put, delete", {{OP_PUT, "f", NULL, "second f"}, {OP_DELETE, "f", NULL, NULL}}, 2};
static const struct script thrice = {
    "put, put, put",
    {{OP_PUT, "f", NULL, "second f"}, {OP_PUT, "f", NULL, "third f"}, {OP_PUT, "f", NULL, "fourth f"}},
    3};
static const struct script move_put = {
    "rename, put there", {{OP_RENAME, "f", "h", NULL}, {OP_PUT, "h", NULL, "second h"}}, 2};
static const struct script put_move = {
    "put, rename there", {{OP_PUT, "h", NULL, "second h"}, {OP_RENAME, "f", "h", NULL}}, 2};
static const struct script upload_put = {
    "upload, put", {{OP_UPLOAD, "f", NULL, "uploaded f"}, {OP_PUT, "f", NULL, "third f"}}, 2};
static const struct script move_twice = {
    "rename, rename there", {{OP_RENAME, "f", "k", NULL}, {OP_RENAME, "h", "k", NULL}}, 2};

static const struct scenario rows[] = {
    {.client = {&twice}},      {.client = {&twice}, .caps = BARE_CAPS},      {.client = {&thrice}},
    {.client = {&put_delete}}, {.client = {&put_delete}, .caps = BARE_CAPS}, {.client = {&move_put}},
    {.client = {&put_move}},   {.client = {&put_move}, .caps = BARE_CAPS},   {.client = {&move_twice}, .faults = 2},
    {.client = {&upload_put}},
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

static void each_row(void **state)
{
    static const struct op setup[] = {{OP_PUT, "f", NULL, "first f"}, {OP_PUT, "h", NULL, "first h"}};
    const char *only = getenv("FOREBAY_MODEL_ONLY");
    struct effort all = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf said AUTO_BUF = {0};
        struct effort t = {0};
        struct job j = {.s = rows[i], .most = explore_bound(2000)};
        if (only && (size_t)atoi(only) != i)
            continue;
        j.s.name = j.s.client[0]->name;
        j.s.clients = 1;
        j.s.setup_n = 2;
        memcpy(j.s.setup, setup, sizeof setup);
        j.s.preempts = 1;
        j.s.faults = j.s.faults ? j.s.faults : 3;
        j.s.refusals = true;
        explore_apart(search, &j, &said, &t);
        if (getenv("FOREBAY_MODEL_VERBOSE"))
            fprintf(stderr, "%2zu %-30s %7llu runs %7llu states %8llu steps\n", i, j.s.name, (unsigned long long)t.runs,
                    (unsigned long long)t.states, (unsigned long long)t.steps);
        all.runs += t.runs;
        all.states += t.states;
        if (said.n)
            explore_fail(&said);
    }
    fprintf(stderr, "%llu runs, %llu states\n", (unsigned long long)all.runs, (unsigned long long)all.states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
