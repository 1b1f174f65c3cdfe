/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/map.h"

static void one_key(void **state)
{
    (void)state;
    struct map *m = map_new();
    int a, b;
    char key[] = "key";
    assert_null(map_get(m, STR("key")));
    assert_null(map_put(m, str_of(key), &a));
    key[0] = 'x'; /* keys are copied */
    assert_ptr_equal(map_get(m, STR("key")), &a);
    assert_ptr_equal(map_put(m, STR("key"), &b), &a);
    assert_int_equal(map_count(m), 1);
    assert_ptr_equal(map_del(m, STR("key")), &b);
    assert_null(map_del(m, STR("key")));
    assert_int_equal(map_count(m), 0);
    assert_null(map_free(m));
    assert_null(map_free(NULL));
}

enum { KEYS = 3000 };

static int count_up(void *arg, struct str key, void *value)
{
    uint64_t k;
    assert_int_equal(key.n, sizeof k);
    memcpy(&k, key.p, sizeof k);
    ((unsigned char *)arg)[k]++;
    assert_int_equal((uintptr_t)value & 0xffffff, k + 1);
    return 0;
}

/* Against an array that cannot be wrong. */
static void many_keys_come_and_go(void **state)
{
    (void)state;
    static uintptr_t model[KEYS];
    struct map *m = map_new();
    unsigned seed = 7;
    size_t n = 0;
    memset(model, 0, sizeof model);
    for (int i = 0; i < 200000; i++) {
        uint64_t k = (uint64_t)rand_r(&seed) % KEYS;
        uintptr_t old = model[k];
        switch (rand_r(&seed) % 3) {
        case 0:
            model[k] = k + 1 + ((uintptr_t)(i % 100) << 24);
            assert_int_equal((uintptr_t)map_put(m, map_key64(&k), (void *)model[k]), old);
            n += old == 0;
            break;
        case 1:
            model[k] = 0;
            assert_int_equal((uintptr_t)map_del(m, map_key64(&k)), old);
            n -= old != 0;
            break;
        default:
            assert_int_equal((uintptr_t)map_get(m, map_key64(&k)), old);
        }
        assert_int_equal(map_count(m), n);
    }
    unsigned char seen[KEYS] = {0};
    assert_int_equal(map_each(m, count_up, seen), 0);
    for (int k = 0; k < KEYS; k++)
        assert_int_equal(seen[k], model[k] != 0);
    map_free(m);
}

static int stop(void *arg, struct str key, void *value)
{
    (void)key, (void)value;
    return ++*(int *)arg == 2 ? -5 : 0;
}

static void visits_can_stop(void **state)
{
    (void)state;
    struct map *m = map_new();
    int n = 0;
    map_put(m, STR("a"), m), map_put(m, STR("b"), m), map_put(m, STR(""), m);
    assert_int_equal(map_each(m, stop, &n), -5);
    assert_int_equal(n, 2);
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key),
        cmocka_unit_test(many_keys_come_and_go),
        cmocka_unit_test(visits_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
