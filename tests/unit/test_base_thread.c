/* SPDX-License-Identifier: Apache-2.0
 * Threads, pools, locks, clocks and the trace ring. */
#include "cm.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base/trace.h"
#include "death.h"
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static void *look_around(void *arg)
{
    sigset_t set;
    pthread_getname_np(pthread_self(), arg, 16);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return (void *)(uintptr_t)sigismember(&set, SIGTERM);
}

static void threads_have_names_and_no_signals(void **state)
{
    (void)state;
    char name[16];
    pthread_t t;
    void *masked;
    assert_int_equal(thread_start(&t, "a-name-that-is-cut", look_around, name), 0);
    pthread_join(t, &masked);
    assert_string_equal(name, "a-name-that-is-");
    assert_int_equal((uintptr_t)masked, 1);
    sigset_t mine;
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_false(sigismember(&mine, SIGTERM));
}

static atomic_int ran;
static void job(void *arg)
{
    atomic_fetch_add(&ran, (int)(uintptr_t)arg);
}

static void pools_run_everything(void **state)
{
    (void)state;
    struct pool *p;
    atomic_store(&ran, 0);
    assert_int_equal(pool_new("jobs", 3, &p), 0);
    for (int i = 0; i < 10000; i++)
        pool_submit(p, job, (void *)1);
    assert_true(pool_depth(p) <= 10000);
    assert_null(pool_free(p));
    assert_int_equal(atomic_load(&ran), 10000);
    assert_null(pool_free(NULL));
}

static struct pool *nested;
static void job_of_job(void *arg)
{
    (void)arg;
    pool_submit(nested, job, (void *)1);
}

static void jobs_may_submit_jobs(void **state)
{
    (void)state;
    atomic_store(&ran, 0);
    assert_int_equal(pool_new("jobs", 2, &nested), 0);
    for (int i = 0; i < 100; i++)
        pool_submit(nested, job_of_job, NULL);
    pool_free(nested);
    assert_int_equal(atomic_load(&ran), 100);
}

/* ---- locks ---- */

struct shared {
    struct lock lock;
    pthread_cond_t changed;
    int value;
};

static void *adder(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 1000; i++) {
        LOCKED(&s->lock);
        s->value++;
        pthread_cond_broadcast(&s->changed);
    }
    return NULL;
}

static void locks_exclude_and_conditions_wake(void **state)
{
    (void)state;
    struct shared s = {.value = 0};
    lock_init(&s.lock, RANK_FS);
    cond_init(&s.changed);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(thread_start(&t[i], "adder", adder, &s), 0);
    {
        LOCKED(&s.lock);
        while (s.value < 4000)
            cond_wait(&s.changed, &s.lock);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(s.value, 4000);
    pthread_cond_destroy(&s.changed);
    lock_done(&s.lock);
}

static void waits_end_at_their_deadline(void **state)
{
    (void)state;
    static struct lock l = LOCK_INIT(RANK_KV);
    pthread_cond_t c;
    cond_init(&c);
    uint64_t start = clock_mono_ns();
    lock_take(&l);
    while (cond_wait_until(&c, &l, start + 20000000))
        ;
    assert_int_equal(cond_wait_until(&c, &l, 0), 0);
    lock_drop(&l);
    assert_true(clock_mono_ns() - start >= 20000000);
    pthread_cond_destroy(&c);
}

#ifdef FB_LOCK_CHECK
static struct lock low = LOCK_INIT(RANK_FS), high = LOCK_INIT(RANK_KV), high2 = LOCK_INIT(RANK_KV);

static void wrong_order(void *arg)
{
    (void)arg;
    lock_take(&high);
    lock_take(&low);
}

static void same_rank(void *arg)
{
    (void)arg;
    lock_take(&high);
    lock_take(&high2);
}

static void not_held(void *arg)
{
    (void)arg;
    lock_drop(&low);
}

static void wait_with_higher(void *arg)
{
    (void)arg;
    pthread_cond_t c;
    cond_init(&c);
    lock_take(&low);
    lock_take(&high);
    cond_wait_until(&c, &low, clock_mono_ns());
}

static void ranks_rise(void **state)
{
    (void)state;
    assert_aborts(wrong_order, NULL, "lock rank 50 is taken while rank 90 is held");
    assert_aborts(same_rank, NULL, "lock rank 90 is taken while rank 90 is held");
    assert_aborts(not_held, NULL, "lock rank 50 is dropped by a thread that does not hold it");
    assert_aborts(wait_with_higher, NULL, "lock rank 50 is taken while rank 90 is held");
}

static void ranks_are_forgotten_when_dropped(void **state)
{
    (void)state;
    lock_take(&low);
    lock_take(&high);
    lock_drop(&low); /* out of order is fine */
    lock_drop(&high);
    lock_take(&low);
    lock_take(&high2);
    lock_drop(&high2);
    lock_drop(&low);
}
#endif

/* ---- clock ---- */

static atomic_uint_fast64_t fake_ns;
static uint64_t fake_wall(void *arg)
{
    (void)arg;
    return atomic_load(&fake_ns) / 1000000;
}
static uint64_t fake_mono(void *arg)
{
    (void)arg;
    return atomic_load(&fake_ns);
}
static void fake_sleep(void *arg, uint64_t ns)
{
    (void)arg;
    atomic_store(&fake_ns, ns);
}

static uint64_t frozen(void *arg)
{
    (void)arg;
    return 1000;
}

static void frozen_sleep(void *arg, uint64_t until)
{
    (void)arg;
    (void)until;
}

/* On a test's clock the wait is a poll. A signal that comes between two polls wakes nobody, so each poll has to let the
 * caller look at what it waits for. */
static void polls_let_the_caller_look(void **state)
{
    static const struct clock_ops stopped = {frozen, frozen, frozen_sleep, NULL};
    struct lock l = LOCK_INIT(RANK_LEAF);
    pthread_cond_t c;
    (void)state;
    cond_init(&c);
    clock_use(&stopped);
    lock_take(&l);
    for (int looks = 0; looks < 3; looks++)
        assert_int_equal(cond_wait_until(&c, &l, 2000), 1);
    assert_int_equal(cond_wait_until(&c, &l, 1000), 0);
    lock_drop(&l);
    clock_use(NULL);
    pthread_cond_destroy(&c);
}

static void *move_clock(void *arg)
{
    (void)arg;
    usleep(5000);
    atomic_fetch_add(&fake_ns, 3600000000000);
    return NULL;
}

static void tests_may_bring_a_clock(void **state)
{
    (void)state;
    static const struct clock_ops fake = {fake_wall, fake_mono, fake_sleep, NULL};
    static struct lock l = LOCK_INIT(RANK_KV);
    pthread_cond_t c;
    pthread_t t;
    cond_init(&c);
    atomic_store(&fake_ns, 1000000000);
    clock_use(&fake);
    assert_false(clock_is_real());
    clock_sleep_ms(500);
    assert_int_equal(clock_wall_ms(), 1500);
    assert_int_equal(clock_mono_ms(), 1500);
    assert_int_equal(thread_start(&t, "mover", move_clock, NULL), 0);
    uint64_t until = 1500000000 + 1800000000000; /* half an hour of its time */
    lock_take(&l);
    while (cond_wait_until(&c, &l, until))
        ;
    lock_drop(&l);
    pthread_join(t, NULL);
    clock_use(NULL);
    assert_true(clock_is_real());
    assert_true(clock_wall_ms() > 1600000000000);
    uint64_t start = clock_mono_ns();
    clock_sleep_ms(3);
    assert_true(clock_mono_ns() - start >= 3000000);
    pthread_cond_destroy(&c);
}

/* ---- trace ---- */

static void *fill_ring(void *arg)
{
    for (int i = 0; i < 1000; i++)
        TRACE("test.step", i, -i);
    trace_dump(arg);
    return NULL;
}

static void the_ring_keeps_the_last(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    pthread_t t;
    assert_int_equal(thread_start(&t, "trace", fill_ring, f), 0);
    pthread_join(t, NULL);
    fclose(f);
    assert_true(strncmp(text, "test.step 744 -744\n", 19) == 0);
    assert_non_null(strstr(text, "test.step 999 -999\n"));
    free(text);
}

static void a_sink_sees_all_threads(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0, lines = 0;
    FILE *f = open_memstream(&text, &n), *null = fopen("/dev/null", "w");
    pthread_t t[2];
    trace_sink(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(thread_start(&t[i], "trace", fill_ring, null), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    trace_sink(NULL);
    TRACE("test.after", 0, 0);
    fclose(f);
    fclose(null);
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 2000);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_have_names_and_no_signals),
        cmocka_unit_test(pools_run_everything),
        cmocka_unit_test(jobs_may_submit_jobs),
        cmocka_unit_test(locks_exclude_and_conditions_wake),
        cmocka_unit_test(waits_end_at_their_deadline),
#ifdef FB_LOCK_CHECK
        cmocka_unit_test(ranks_rise),
        cmocka_unit_test(ranks_are_forgotten_when_dropped),
#endif
        cmocka_unit_test(tests_may_bring_a_clock),
        cmocka_unit_test(polls_let_the_caller_look),
        cmocka_unit_test(the_ring_keeps_the_last),
        cmocka_unit_test(a_sink_sees_all_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
