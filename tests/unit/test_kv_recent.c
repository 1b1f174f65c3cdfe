/* SPDX-License-Identifier: Apache-2.0
 *
 * The log of recent writes against a model that forgets nothing; and its bound.
 */
#include "cm.h"
#include "base/err.h"
#include "kv/recent.h"

enum { KEYS = 300, ROUNDS = 20000, SNAPS = 6 };

struct model {
    uint64_t written[KEYS], version, durable, random;
    struct recent *r;
    struct recent_snap snap[SNAPS];
    bool open[SNAPS];
};

static uint64_t rnd(struct model *m, uint64_t of)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (m->random >> 33) % of;
}

static struct str key_of(uint64_t i, char out[8])
{
    snprintf(out, 8, "%05d", (int)i);
    return str_of(out);
}

/* Commit a write of w keys from first on, having read key point and the range [from, to). */
static void commit(struct model *m, struct recent_snap *s, uint64_t first, size_t w, uint64_t point, uint64_t from,
                   uint64_t to)
{
    char kw[4][8], kp[8], kf[8], kt[8];
    struct kv_write write[4], *list[4];
    struct str key = key_of(point, kp);
    struct kv_extent extent = {key_of(from, kf), key_of(to, kt)};
    struct kv_commit c = {&key, 1, &extent, 1, list, w};
    bool conflict = m->written[point] > s->version;

    for (uint64_t i = from; i < to; i++)
        conflict |= m->written[i] > s->version;
    for (size_t i = 0; i < w; i++) {
        write[i] = (struct kv_write){.key = key_of((first + i) % KEYS, kw[i])};
        list[i] = &write[i];
    }
    assert_int_equal(recent_admit(m->r, s, &c, m->version + 1), !conflict);
    if (conflict)
        return;
    recent_committed(m->r, ++m->version);
    for (size_t i = 0; i < w; i++)
        m->written[(first + i) % KEYS] = m->version;
}

static void check_unsynced(struct model *m)
{
    uint64_t i = rnd(m, KEYS), want = m->written[i] > m->durable ? m->written[i] : 0;
    char k[8];

    assert_int_equal(recent_unsynced(m->r, key_of(i, k)), want);
    assert_int_equal(recent_unsynced_any(m->r), m->version > m->durable ? m->version : 0);
}

static void toggle(struct model *m, size_t i)
{
    if (m->open[i]) {
        commit(m, &m->snap[i], rnd(m, KEYS), 1 + rnd(m, 4), rnd(m, KEYS), rnd(m, KEYS), rnd(m, KEYS));
        recent_unregister(m->r, &m->snap[i]);
    } else {
        recent_register(m->r, &m->snap[i]);
        assert_int_equal(m->snap[i].version, m->version);
    }
    m->open[i] = !m->open[i];
}

static void against_model(void **state)
{
    static struct model m;

    (void)state;
    m.random = 5;
    m.version = m.durable = 1;
    m.r = recent_new(1);
    for (int i = 0; i < ROUNDS; i++) {
        toggle(&m, rnd(&m, SNAPS));
        check_unsynced(&m);
        if (rnd(&m, 7) == 0) {
            m.durable += rnd(&m, m.version - m.durable + 1);
            recent_synced(m.r, m.durable);
        }
    }
    for (size_t i = 0; i < SNAPS; i++)
        if (m.open[i])
            recent_unregister(m.r, &m.snap[i]);
    recent_free(m.r);
}

/* Over the bound the oldest go: old snapshots conflict, and all counts as unsynced until the floor is durable. */
static void bounded(void **state)
{
    enum { COMMITS = 11000, EACH = 100 };
    struct recent *r = recent_new(1);
    struct recent_snap old, young;
    static struct kv_write write[EACH];
    static char k[EACH][16];
    struct kv_write *list[EACH];
    struct str never = STR("never");
    struct kv_commit c = {NULL, 0, NULL, 0, list, EACH}, reads = {&never, 1, NULL, 0, list, 1};
    uint64_t v = 1;

    (void)state;
    recent_register(r, &old);
    for (int i = 0; i < COMMITS; i++) {
        for (int j = 0; j < EACH; j++) {
            snprintf(k[j], sizeof k[j], "%d", i * EACH + j);
            write[j].key = str_of(k[j]);
            list[j] = &write[j];
        }
        assert_true(recent_admit(r, &old, &c, ++v)); /* reads nothing: never a conflict */
        recent_committed(r, v);
    }
    assert_false(recent_admit(r, &old, &reads, v + 1));
    recent_register(r, &young);
    assert_true(recent_admit(r, &young, &reads, ++v));
    recent_committed(r, v);
    assert_int_not_equal(recent_unsynced(r, never), 0); /* nobody can tell any more */
    assert_true(recent_unsynced(r, never) < v);
    recent_synced(r, v);
    assert_int_equal(recent_unsynced(r, never), 0);
    assert_int_equal(recent_unsynced(r, str_of(k[0])), 0);
    recent_unregister(r, &old);
    recent_unregister(r, &young);
    recent_free(r);
}

static void reset(void **state)
{
    struct recent *r = recent_new(1);
    struct recent_snap s;
    struct kv_write w = {.key = STR("a")}, *list = &w;
    struct str a = STR("a");
    struct kv_commit c = {&a, 1, NULL, 0, &list, 1};

    (void)state;
    recent_register(r, &s);
    assert_true(recent_admit(r, &s, &c, 2));
    recent_reset(r, 2);
    assert_int_equal(recent_unsynced(r, a), 0);
    assert_int_equal(recent_unsynced_any(r), 0);
    assert_false(recent_admit(r, &s, &c, 3)); /* its snapshot is of a store that is gone */
    recent_unregister(r, &s);
    recent_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_model),
        cmocka_unit_test(bounded),
        cmocka_unit_test(reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
