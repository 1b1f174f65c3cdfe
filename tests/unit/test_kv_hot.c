/* SPDX-License-Identifier: Apache-2.0
 *
 * The hot rows against a model that remembers every version of every key: whatever is given holds at the asker's
 * version, and what a reader with an old snapshot brings in late is not taken.
 */
#include "cm.h"
#include "base/err.h"
#include "kv/hot.h"

enum {
    KEYS = 400,
    VERSIONS = 4000,
    ROUNDS = 200000,
    BYTES = 40000 /* some 40 rows: most keys share a set with others */
};

struct model {
    struct hot *h;
    uint64_t random, version;
    uint64_t wrote[VERSIONS + 1]; /* which key this version wrote; KEYS: none */
    unsigned hits, late;
};

static uint64_t rnd(struct model *m, uint64_t of)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (m->random >> 33) % of;
}

static struct str key_of(uint64_t i, char out[8])
{
    snprintf(out, 8, "k%d", (int)i);
    return str_of(out);
}

/* Every third version deletes; the version 0 has no rows at all. */
static struct str value_of(uint64_t version, char out[24])
{
    if (version % 3 == 0)
        return (struct str){NULL, 0};
    snprintf(out, 24, "v%d", (int)version);
    return str_of(out);
}

static uint64_t last_write(const struct model *m, uint64_t key, uint64_t at)
{
    while (at && m->wrote[at] != key)
        at--;
    return at;
}

static void write_one(struct model *m)
{
    char k[8], v[24];
    uint64_t key = rnd(m, KEYS);
    if (m->version == VERSIONS)
        return;
    m->version++;
    m->wrote[m->version] = key;
    if (rnd(m, 5))
        hot_write(m->h, key_of(key, k), value_of(m->version, v), m->version);
    else
        hot_forget(m->h, key_of(key, k), m->version);
}

/* A reader whose snapshot is up to 3 versions old asks, and brings in what it finds itself. */
static void read_one(struct model *m)
{
    struct kv_arena a;
    struct str got;
    char k[8], v[24];
    uint64_t key = rnd(m, KEYS), back = rnd(m, 4), at = m->version > back ? m->version - back : 0, wrote;
    uint64_t want = last_write(m, key, at);
    struct str name = key_of(key, k), value = value_of(want, v);
    uint64_t hash = hot_hash(name);

    kv_arena_init(&a);
    if (hot_get(m->h, name, hash, at, &a, &got, &wrote)) {
        m->hits++;
        assert_int_equal(!got.p, !value.p);
        assert_true(!got.p || str_eq(got, value));
        assert_true(wrote == want || wrote == 0);
    } else {
        hot_keep(m->h, name, hash, at, value, want);
        m->late += !hot_unchanged(m->h, hot_place(m->h, hash), at);
    }
    if (last_write(m, key, m->version) > at)
        assert_false(hot_unchanged(m->h, hot_place(m->h, hash), at));
    kv_arena_done(&a);
}

static void against_model(void **state)
{
    static struct model m;
    (void)state;
    m = (struct model){.h = hot_new(BYTES), .random = 7};
    m.wrote[0] = KEYS;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % (ROUNDS / VERSIONS) == 0)
            write_one(&m);
        read_one(&m);
    }
    assert_true(m.hits > ROUNDS / 50); /* it is of use, */
    assert_true(m.late > 100);         /* and the hard case was met */
    hot_free(m.h);
}

/* A row that is asked for stays, however many pass by. */
static void keeps_what_is_asked_for(void **state)
{
    struct hot *h = hot_new(BYTES);
    struct kv_arena a;
    struct str got, dir = STR("directory");
    uint64_t wrote;
    (void)state;
    kv_arena_init(&a);
    hot_write(h, dir, STR("here"), 1);
    for (int i = 0; i < 5000; i++) {
        char k[8];
        hot_write(h, key_of((uint64_t)i, k), STR("passing"), 2 + (uint64_t)i);
        assert_true(hot_get(h, dir, hot_hash(dir), 5002, &a, &got, &wrote));
    }
    assert_true(str_eq(got, STR("here")));
    assert_int_equal(wrote, 1);
    kv_arena_done(&a);
    hot_free(h);
}

static void large_rows_are_not_kept(void **state)
{
    struct hot *h = hot_new(BYTES);
    struct kv_arena a;
    struct str got, key = STR("key");
    char big[HOT_ROW_MAX];
    uint64_t wrote;
    (void)state;
    kv_arena_init(&a);
    memset(big, 'x', sizeof big);
    hot_write(h, key, STR("small"), 1);
    assert_true(hot_get(h, key, hot_hash(key), 1, &a, &got, &wrote));
    hot_write(h, key, str_mk(big, sizeof big), 2); /* and the small one is not given any more */
    assert_false(hot_get(h, key, hot_hash(key), 2, &a, &got, &wrote));
    hot_keep(h, key, hot_hash(key), 2, str_mk(big, sizeof big), 0);
    assert_false(hot_get(h, key, hot_hash(key), 2, &a, &got, &wrote));
    hot_keep(h, key, hot_hash(key), 2, STR("small again"), 0);
    assert_true(hot_get(h, key, hot_hash(key), 2, &a, &got, &wrote));
    hot_forget_all(h);
    assert_false(hot_get(h, key, hot_hash(key), 2, &a, &got, &wrote));
    kv_arena_done(&a);
    hot_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_model),
        cmocka_unit_test(keeps_what_is_asked_for),
        cmocka_unit_test(large_rows_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
