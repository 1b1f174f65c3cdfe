/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "fuse/opened.h"

static void ask(struct opened *t, uint64_t unique, uint32_t opcode, uint64_t node)
{
    opened_asked(t, &(struct fuse_in_header){.unique = unique, .opcode = opcode, .nodeid = node});
}

static void answer(struct opened *t, uint64_t unique, int error, uint64_t made)
{
    struct fuse_entry_out e = {.nodeid = made};
    opened_answered(t, &(struct fuse_out_header){.unique = unique, .error = error}, &e, made ? sizeof e : 0);
}

/* The numbers added up: enough to tell sets of these tests apart. */
static uint64_t sum(struct opened *t)
{
    size_t n;
    uint64_t all = 0, *v = opened_nodes(t, &n);
    for (size_t i = 0; i < n; i++)
        all += v[i];
    free(v);
    return all;
}

static void opens_are_counted(void **state)
{
    struct opened *t = opened_new();
    (void)state;
    ask(t, 1, FUSE_OPEN, 10);
    assert_int_equal(sum(t), 0); /* not answered yet */
    answer(t, 1, 0, 0);
    ask(t, 2, FUSE_OPEN, 10);
    answer(t, 2, 0, 0);
    ask(t, 3, FUSE_CREATE, 1);
    answer(t, 3, 0, 200);
    ask(t, 4, FUSE_OPEN, 4000);
    answer(t, 4, -2, 0); /* refused */
    ask(t, 5, FUSE_READ, 4000);
    answer(t, 5, 0, 0);
    assert_int_equal(sum(t), 210);
    ask(t, 6, FUSE_RELEASE, 10);
    answer(t, 6, 0, 0);
    assert_int_equal(sum(t), 210);
    ask(t, 7, FUSE_RELEASE, 10);
    answer(t, 7, 0, 0);
    assert_int_equal(sum(t), 200);
    opened_free(t);
}

static void what_is_asked_again_counts_once(void **state)
{
    struct opened *t = opened_new();
    (void)state;
    ask(t, 1, FUSE_OPEN, 10);
    opened_forget_asked(t);
    answer(t, 1, 0, 0);
    assert_int_equal(sum(t), 0);
    ask(t, 9, FUSE_OPEN, 10);
    answer(t, 9, 0, 0);
    ask(t, 10, FUSE_RELEASE, 10);
    opened_forget_asked(t);
    ask(t, 11, FUSE_RELEASE, 10);
    answer(t, 11, 0, 0);
    assert_int_equal(sum(t), 0);
    answer(t, 12, 0, 0);          /* never asked */
    ask(t, 13, FUSE_RELEASE, 77); /* never seen open */
    answer(t, 13, 0, 0);
    assert_int_equal(sum(t), 0);
    opened_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_are_counted),
        cmocka_unit_test(what_is_asked_again_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
