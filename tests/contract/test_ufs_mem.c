/* SPDX-License-Identifier: Apache-2.0
 *
 * The adversary of the store of tests: what a scheduler and chaos can do with the three moments of a request.
 */
#include "libufs.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

/* ---- a clock that only moves when told, and a scheduler ---- */

static uint64_t now_ns;

static uint64_t wall(void *arg)
{
    (void)arg;
    return 1795221291123 + now_ns / 1000000;
}

static uint64_t mono(void *arg)
{
    (void)arg;
    return now_ns;
}

static void sleep_until(void *arg, uint64_t until)
{
    (void)arg;
    if (until > now_ns)
        now_ns = until;
}

static const struct clock_ops still = {wall, mono, sleep_until, NULL};
#define SECOND 1000000000ull

struct schedule {
    struct world *w;
    char seen[256]; /* one letter a moment: R S E A */
    void (*at)(struct schedule *s, enum ufs_mem_step step, uint64_t id);
    uint64_t last;
    jmp_buf away;
};

static void on_step(void *arg, enum ufs_mem_step step, uint64_t id)
{
    struct schedule *s = arg;
    size_t n = strlen(s->seen);

    s->seen[n] = "RSEA"[step];
    s->seen[n + 1] = 0;
    if (id)
        s->last = id;
    if (s->at)
        s->at(s, step, id);
}

static void watch(struct schedule *s, struct world *w, void (*at)(struct schedule *, enum ufs_mem_step, uint64_t))
{
    *s = (struct schedule){.w = w, .at = at};
    ufs_mem_on_step(w->m, on_step, s);
}

static bool holds(struct world *w, const char *key, const char *text)
{
    struct buf b AUTO_BUF = {0};

    return ufs_mem_peek(w->m, str_of(key), &b, NULL) ? text && str_eq(buf_str(&b), str_of(text)) : !text;
}

static void lose_it(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    if (step == UFS_MEM_SENT)
        ufs_mem_lose(s->w->m, id);
}

static void delay_it(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    if (step == UFS_MEM_SENT)
        ufs_mem_delay(s->w->m, id);
}

static void lose_its_answer(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    if (step == UFS_MEM_ANSWER)
        ufs_mem_lose_answer(s->w->m, id);
}

static void apply_in_sent(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    if (step == UFS_MEM_SENT)
        ASSERT_OK(ufs_mem_apply(s->w->m, id));
}

static void sleep_too_long(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    (void)s, (void)id;
    if (step == UFS_MEM_SENT)
        now_ns += 61 * SECOND;
}

static void leave(struct schedule *s, enum ufs_mem_step step, uint64_t id)
{
    (void)id;
    if (step == UFS_MEM_SENT)
        longjmp(s->away, 1);
}

/* ---- tests ---- */

static void moments(void **state)
{
    struct world *w = *state;
    struct schedule s;
    struct ufs_stat st;

    watch(&s, w, NULL);
    ASSERT_OK(put(w->u, "k", "1"));
    assert_string_equal(s.seen, "SEA");
    ASSERT_OK(ufs_stat(w->u, STR("k"), &st, NULL, NULL));
    assert_text(w->u, "k", "1");
    ASSERT_OK(ufs_delete(w->u, STR("k"), NULL));
    assert_string_equal(s.seen, "SEARRSEA");
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
}

static void a_lost_request(void **state)
{
    struct world *w = *state;
    struct schedule s;

    ASSERT_OK(put(w->u, "k", "old"));
    watch(&s, w, lose_it);
    ASSERT_CODE(put(w->u, "k", "new"), ERR_UNKNOWN_OUTCOME);
    assert_true(holds(w, "k", "old"));
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
    ASSERT_CODE(ufs_mem_apply(w->m, s.last), ERR_NOT_FOUND);
}

static void a_late_request(void **state)
{
    struct world *w = *state;
    struct schedule s;
    struct ufs_mem_request q;

    watch(&s, w, delay_it);
    ASSERT_CODE(put(w->u, "k", "late"), ERR_UNKNOWN_OUTCOME);
    assert_true(holds(w, "k", NULL));
    assert_int_equal(ufs_mem_pending(w->m, &q, 1), 1);
    assert_string_equal(q.call, "put");
    assert_true(str_eq(q.key, STR("k")) && q.answered && !q.effects && q.until_ns == now_ns + 60 * SECOND);
    ufs_mem_on_step(w->m, NULL, NULL);
    ASSERT_OK(put(w->u, "k", "newer"));
    now_ns += 59 * SECOND;
    ASSERT_OK(ufs_mem_apply(w->m, q.id)); /* lands over the newer one */
    assert_true(holds(w, "k", "late"));
    ASSERT_CODE(ufs_mem_apply(w->m, q.id), ERR_NOT_FOUND); /* once, as repeats are off */
    watch(&s, w, delay_it);
    ASSERT_CODE(ufs_delete(w->u, STR("k"), NULL), ERR_UNKNOWN_OUTCOME);
    now_ns += 61 * SECOND;
    ASSERT_CODE(ufs_mem_apply(w->m, s.last), ERR_TIMEOUT);
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0); /* expired */
    assert_true(holds(w, "k", "late"));
}

static void an_answer_that_is_lost(void **state)
{
    struct world *w = *state;
    struct schedule s;

    watch(&s, w, lose_its_answer);
    ASSERT_CODE(put(w->u, "k", "there"), ERR_UNKNOWN_OUTCOME);
    assert_true(holds(w, "k", "there"));
    ASSERT_CODE(put_opts(w->u, "k", "2", 1, (struct ufs_put_opts){.if_none_match = true}, NULL), ERR_UNKNOWN_OUTCOME);
    assert_true(holds(w, "k", "there"));
}

static void a_repeated_request(void **state)
{
    struct world *w = *state;
    struct schedule s;

    ufs_mem_set_repeats(w->m, true);
    watch(&s, w, NULL);
    ASSERT_OK(put_opts(w->u, "k", "1", 1, (struct ufs_put_opts){.if_none_match = true}, NULL));
    uint64_t first = s.last;
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 1);
    ASSERT_CODE(ufs_mem_apply(w->m, first), ERR_PRECONDITION); /* its condition is asked again */
    ufs_mem_external_delete(w->m, STR("k"));
    ASSERT_OK(ufs_mem_apply(w->m, first));
    assert_true(holds(w, "k", "1"));
    ufs_mem_lose(w->m, first);
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
    watch(&s, w, apply_in_sent);
    ASSERT_OK(put(w->u, "k", "2"));
    struct ufs_mem_request q;
    assert_int_equal(ufs_mem_pending(w->m, &q, 1), 1);
    assert_int_equal(q.effects, 1); /* what the scheduler applied is not applied again by itself */
    now_ns += 61 * SECOND;
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
}

static void a_task_that_sleeps_past_its_deadline(void **state)
{
    struct world *w = *state;
    struct schedule s;

    watch(&s, w, sleep_too_long);
    ASSERT_CODE(put(w->u, "k", "x"), ERR_UNKNOWN_OUTCOME);
    assert_true(holds(w, "k", NULL));
}

static void a_task_thrown_away(void **state)
{
    struct world *w = *state;
    static struct schedule s;

    watch(&s, w, leave);
    if (setjmp(s.away) == 0)
        ufs_delete(w->u, STR("k"), NULL);
    ufs_mem_abandon(w->m);
    ufs_mem_external_put(w->m, STR("k"), STR("x"));
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 1);
    ASSERT_OK(ufs_mem_apply(w->m, s.last));
    assert_true(holds(w, "k", NULL));
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
}

static void outages(void **state)
{
    struct world *w = *state;
    struct ufs_figures f;
    struct ufs_stat st;

    ASSERT_OK(put(w->u, "k", "x"));
    ufs_mem_outage(w->m, true);
    ASSERT_CODE(put(w->u, "k", "y"), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_stat(w->u, STR("k"), &st, NULL, NULL), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_stat(w->u, STR("none"), &st, NULL, NULL), ERR_UNREACHABLE);
    ufs_mem_outage(w->m, false);
    ufs_mem_throttle(w->m, 2);
    ASSERT_CODE(put(w->u, "k", "y"), ERR_THROTTLED);
    ASSERT_CODE(ufs_delete(w->u, STR("k"), NULL), ERR_THROTTLED);
    ufs_figures(w->u, &f);
    assert_int_equal(f.throttled, 2);
    ufs_mem_full(w->m, true);
    ASSERT_CODE(put(w->u, "k", "y"), ERR_NO_SPACE);
    ASSERT_CODE(ufs_copy(w->u, STR("k"), STR("c"), NULL, &st), ERR_NO_SPACE);
    ufs_mem_full(w->m, false);
    assert_true(holds(w, "k", "x"));
    ufs_mem_external_put(w->m, STR("out"), STR("side"));
    assert_keys(w->u, "", 0, "k out");
    assert_int_equal(ufs_mem_count(w->m), 2);
}

static void hashes(void **state)
{
    struct world *w = *state;
    struct schedule s;
    uint64_t empty = ufs_mem_hash(w->m), one;

    ASSERT_OK(put(w->u, "k", "1"));
    one = ufs_mem_hash(w->m);
    assert_true(one != empty);
    now_ns += SECOND;
    ASSERT_OK(put(w->u, "k", "2"));
    assert_true(ufs_mem_hash(w->m) != one);
    ASSERT_OK(put(w->u, "k", "1"));
    assert_true(ufs_mem_hash(w->m) == one); /* times and ids do not count */
    watch(&s, w, delay_it);
    ASSERT_CODE(put(w->u, "k", "1"), ERR_UNKNOWN_OUTCOME);
    assert_true(ufs_mem_hash(w->m) != one); /* what may still happen does */
    ufs_mem_settle(w->m);
    assert_true(ufs_mem_hash(w->m) == one);
}

static void it_outlives_who_opened_it(void **state)
{
    struct world *w = *state;

    ASSERT_OK(put(w->u, "k", "x"));
    ufs_close(w->u);
    assert_ptr_equal(ufs_mem_store(w->name), w->m);
    ASSERT_OK(world_open(w, 0, &w->u));
    assert_text(w->u, "k", "x");
}

/* ---- chaos ---- */

static uint64_t run_chaos(struct world *w, uint64_t seed, unsigned *codes)
{
    struct ufs_mem_chaos c = {.seed = seed,
                              .lose = 100,
                              .delay = 150,
                              .repeat = 150,
                              .lose_answer = 100,
                              .throttle = 50,
                              .unreachable = 50,
                              .late_ms = 5000};
    char key[8], text[16];

    ufs_mem_chaos(w->m, &c);
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "k%d", i % 7);
        snprintf(text, sizeof text, "%d", i);
        int r = i % 5 == 4 ? ufs_delete(w->u, str_of(key), NULL) : put(w->u, key, text);
        codes[r == 0 ? 0 : r == ERR_UNKNOWN_OUTCOME ? 1 : r == ERR_THROTTLED ? 2 : r == ERR_UNREACHABLE ? 3 : 4]++;
        now_ns += SECOND / 10;
    }
    ufs_mem_settle(w->m);
    ufs_mem_chaos(w->m, NULL);
    assert_int_equal(ufs_mem_pending(w->m, NULL, 0), 0);
    return ufs_mem_hash(w->m);
}

static int only_what_was_sent(void *arg, struct str key, struct str bytes)
{
    uint64_t i;

    (void)arg;
    assert_true(str_u64(bytes, 399, &i));
    assert_true(key.n == 2 && key.p[0] == 'k' && (uint64_t)(key.p[1] - '0') == i % 7 && i % 5 != 4);
    return 0;
}

static void chaos_is_a_function_of_its_seed(void **state)
{
    struct world *w = *state;
    uint64_t hash[4];
    bool differ = false;

    for (int i = 0; i < 4; i++) {
        unsigned codes[5] = {0};
        hash[i] = run_chaos(w, (uint64_t)i / 2, codes);
        assert_true(codes[0] > 100 && codes[1] > 50 && codes[2] > 3 && codes[3] > 3 && codes[4] == 0);
        assert_int_equal(ufs_mem_each(w->m, only_what_was_sent, NULL), 0);
        for (int k = 0; k < 7; k++) {
            char key[8];
            snprintf(key, sizeof key, "k%d", k);
            ufs_mem_external_delete(w->m, str_of(key));
        }
        assert_int_equal(ufs_mem_count(w->m), 0);
    }
    assert_true(hash[0] == hash[1] && hash[2] == hash[3]);
    differ = hash[0] != hash[2];
    assert_true(differ);
}

struct chaotic {
    struct world *w;
    int me;
};

static void *one_key(void *arg)
{
    struct chaotic *c = arg;
    char key[8], text[16];
    int certain = -1;

    snprintf(key, sizeof key, "t%d", c->me);
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof text, "%d", i);
        if (put(c->w->u, key, text) == 0)
            certain = i;
    }
    return (void *)(intptr_t)certain;
}

/* Lost requests and answers, no late ones: a key holds its last certain write or an uncertain one after it. */
static void chaos_between_threads(void **state)
{
    struct world *w = *state;
    struct ufs_mem_chaos c = {.seed = 7, .lose = 100, .lose_answer = 100, .throttle = 100, .unreachable = 100};
    struct chaotic arg[4];
    pthread_t t[4];

    ufs_mem_chaos(w->m, &c);
    for (int i = 0; i < 4; i++) {
        arg[i] = (struct chaotic){w, i};
        assert_int_equal(pthread_create(&t[i], NULL, one_key, &arg[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        struct buf b AUTO_BUF = {0};
        char key[8];
        void *certain;
        uint64_t is;
        pthread_join(t[i], &certain);
        snprintf(key, sizeof key, "t%d", i);
        assert_true(ufs_mem_peek(w->m, str_of(key), &b, NULL));
        assert_true(str_u64(buf_str(&b), 199, &is));
        assert_true((intptr_t)is >= (intptr_t)certain);
    }
}

#define TEST(fn) cmocka_unit_test_prestate_setup_teardown(fn, world_setup, world_teardown, &mem)

int main(int argc, char **argv)
{
    static struct world mem = {.kind = KIND_MEM, .label = "mem"};
    const struct CMUnitTest tests[] = {
        TEST(moments),
        TEST(a_lost_request),
        TEST(a_late_request),
        TEST(an_answer_that_is_lost),
        TEST(a_repeated_request),
        TEST(a_task_that_sleeps_past_its_deadline),
        TEST(a_task_thrown_away),
        TEST(outages),
        TEST(hashes),
        TEST(it_outlives_who_opened_it),
        TEST(chaos_is_a_function_of_its_seed),
        TEST(chaos_between_threads),
    };

    now_ns = SECOND;
    clock_use(&still);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
