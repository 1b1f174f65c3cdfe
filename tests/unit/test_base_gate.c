/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/gate.h"
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 20000 };

static struct gate gate;
static atomic_uint turn;

/* Each in its turn moves on and opens; a wake-up that is lost hangs the test. */
static void *take_turns(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (;;) {
            unsigned look = gate_look(&gate);
            if (atomic_load(&turn) % THREADS == me)
                break;
            assert_true(gate_wait(&gate, look, UINT64_MAX));
        }
        atomic_fetch_add(&turn, 1);
        gate_open(&gate);
    }
    return NULL;
}

static void nobody_is_forgotten(void **state)
{
    pthread_t t[THREADS];
    (void)state;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, take_turns, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&turn), THREADS * ROUNDS);
}

static struct gate chain;
static atomic_uint through;

static void *pass_one_on(void *arg)
{
    gate_wait(&chain, (unsigned)(uintptr_t)arg, UINT64_MAX);
    atomic_fetch_add(&through, 1);
    gate_open_one(&chain);
    return NULL;
}

/* Each that is let through lets the next one through. */
static void one_after_the_other(void **state)
{
    pthread_t t[THREADS];
    uintptr_t look = gate_look(&chain);
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, pass_one_on, (void *)look), 0);
    gate_open_one(&chain);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&through), THREADS);
}

static void deadline(void **state)
{
    struct gate g = {0};
    unsigned look = gate_look(&g);
    (void)state;
    assert_false(gate_wait(&g, look, 1));
    while (gate_wait(&g, look, clock_mono_ns() + 1000000))
        ; /* woken for nothing */
    gate_open_one(&g);
    assert_true(gate_wait(&g, look, 1)); /* open since the look: no matter how late */
}

static uint64_t test_now;
static uint64_t now(void *arg)
{
    (void)arg;
    return test_now += 1000000;
}

/* A clock of a test reaches the deadline without anybody waking us. */
static void test_clock(void **state)
{
    struct gate g = {0};
    struct clock_ops ops = {.wall_ms = now, .mono_ns = now};
    (void)state;
    clock_use(&ops);
    while (gate_wait(&g, gate_look(&g), 50000000))
        ;
    assert_true(test_now >= 50000000);
    clock_use(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_forgotten),
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(deadline),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
