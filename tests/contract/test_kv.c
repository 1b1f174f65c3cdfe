/* SPDX-License-Identifier: Apache-2.0
 *
 * What kv.h promises, asked of every engine: RocksDB, mem, and mem made nasty by several seeds. A test that needs the
 * engine to be free of chance (how often a function ran) says so with t->seed.
 *
 *     test_kv                  all
 *     test_kv child DIR WHAT   what the crash tests run in a process of their own
 */
#include "../unit/cm.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/thread.h"
#include "kv/kv.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct t {
    const char *name;
    const struct kv_engine *engine;
    uint64_t seed;
    bool nasty, disk;
    struct kv_options o;
    struct kv *kv;
    char dir[64];
};

/* ---- clocks: a slow one, so that no deadline passes on a machine that is busy; and one that jumps when told, and when
 * somebody sleeps ---- */

enum { SLOWER = 50 };

static atomic_ullong jumped;

static uint64_t real_ns(void)
{
    struct timespec s;

    clock_gettime(CLOCK_MONOTONIC, &s);
    return (uint64_t)s.tv_sec * 1000000000 + (uint64_t)s.tv_nsec;
}

static uint64_t test_mono(void *arg)
{
    (void)arg;
    return real_ns() / SLOWER + jumped;
}

static uint64_t test_wall(void *arg)
{
    return test_mono(arg) / 1000000;
}

static void slow_sleep(void *arg, uint64_t until)
{
    uint64_t now = test_mono(arg);

    if (until > now)
        usleep((useconds_t)((until - now) / 1000));
}

static void jump_sleep(void *arg, uint64_t until)
{
    uint64_t now = test_mono(arg);

    if (until > now)
        jumped += until - now;
}

static const struct clock_ops slow_clock = {test_wall, test_mono, slow_sleep, NULL};
static const struct clock_ops jump_clock = {test_wall, test_mono, jump_sleep, NULL};

/* ---- life of a test ---- */

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static void open_kv(struct t *t)
{
    int r = kv_open(t->engine, &t->o, &t->kv);

    if (r < 0)
        fail_msg("open: %s", err_detail(r));
}

static int setup(void **state)
{
    struct t *t = *state;

    clock_use(&slow_clock);
    t->o = (struct kv_options){.seed = t->seed};
    if (t->disk) {
        snprintf(t->dir, sizeof t->dir, "/tmp/forebay-test-kv-XXXXXX");
        assert_non_null(mkdtemp(t->dir));
        t->o.dir = t->dir;
    }
    open_kv(t);
    return 0;
}

static int teardown(void **state)
{
    struct t *t = *state;

    fault_arm(NULL);
    clock_use(NULL);
    t->kv = kv_close(t->kv);
    if (t->disk)
        nftw(t->dir, rm_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static void reopen(struct t *t)
{
    t->kv = kv_close(t->kv);
    open_kv(t);
}

static struct kv_figures figures(struct t *t)
{
    struct kv_figures f;

    kv_figures(t->kv, &f);
    return f;
}

/* ---- small transactions ---- */

struct one {
    struct str key, value;
    char got[200];
    int n; /* length of got; -1: not found */
    struct kv *kv;
    uint64_t version;
};

static int fn_put(struct kv_tx *tx, void *arg)
{
    const struct one *o = arg;

    kv_put(tx, o->key, o->value);
    return 0;
}

static int fn_del(struct kv_tx *tx, void *arg)
{
    const struct one *o = arg;

    kv_del(tx, o->key);
    return 0;
}

static int fn_get(struct kv_tx *tx, void *arg)
{
    struct one *o = arg;
    struct str v;
    int r = kv_get(tx, o->key, &v);

    if (r == ERR_NOT_FOUND) {
        o->n = -1;
        return 0;
    }
    TRY(r);
    o->n = (int)v.n;
    memcpy(o->got, v.p, v.n < sizeof o->got ? v.n : sizeof o->got);
    return 0;
}

static void must(int r)
{
    if (r < 0)
        fail_msg("%s: %s", err_info(r)->name, err_detail(r));
}

static uint64_t put_d(struct kv *kv, const char *key, const char *value, enum kv_durability d)
{
    struct one o = {.key = str_of(key), .value = str_of(value)};
    uint64_t v = 1234567890;

    must(kv_update(kv, fn_put, &o, d, &v));
    return v;
}

static void put(struct kv *kv, const char *key, const char *value)
{
    put_d(kv, key, value, KV_LAZY);
}

static uint64_t del(struct kv *kv, const char *key)
{
    struct one o = {.key = str_of(key)};
    uint64_t v = 0;

    must(kv_update(kv, fn_del, &o, KV_LAZY, &v));
    return v;
}

/* "-" when absent. */
static const char *get_v(struct kv *kv, const char *key, uint64_t *version)
{
    static __thread struct one o;

    o = (struct one){.key = str_of(key)};
    must(kv_view(kv, fn_get, &o, version));
    return o.n < 0 ? "-" : o.got;
}

static const char *get(struct kv *kv, const char *key)
{
    return get_v(kv, key, NULL);
}

/* Rows of a range as "k=v k=v", with "+" behind when more. */
struct rng {
    struct kv_range r;
    char out[4096];
    uint64_t version;
};

static void print_rows(const struct kv_rows *rows, char *out, size_t n)
{
    size_t at = 0;

    out[0] = 0;
    for (size_t i = 0; i < rows->n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%.*s=%.*s", at ? " " : "", STR_ARG(rows->row[i].key),
                               STR_ARG(rows->row[i].value));
    if (rows->more)
        snprintf(out + at, n - at, "+");
}

static int fn_range(struct kv_tx *tx, void *arg)
{
    struct rng *g = arg;
    struct kv_rows rows;

    TRY(kv_range(tx, &g->r, &rows));
    print_rows(&rows, g->out, sizeof g->out);
    return 0;
}

static const char *range(struct kv *kv, const char *begin, const char *end, size_t max, bool reverse)
{
    static __thread struct rng g;

    g.r = (struct kv_range){.begin = str_of(begin), .end = str_of(end), .max_rows = max, .reverse = reverse};
    must(kv_view(kv, fn_range, &g, &g.version));
    return g.out;
}

static uint64_t count_of(struct kv *kv, const char *key)
{
    struct one o = {.key = str_of(key)};

    must(kv_view(kv, fn_get, &o, NULL));
    return o.n < 0 ? 0 : kv_counter(str_mk(o.got, (size_t)o.n));
}

/* ---- basics ---- */

static void test_basics(void **state)
{
    struct t *t = *state;

    assert_string_equal(get(t->kv, "a"), "-");
    put(t->kv, "a", "1");
    assert_string_equal(get(t->kv, "a"), "1");
    put(t->kv, "a", "22");
    put(t->kv, "empty", "");
    assert_string_equal(get(t->kv, "a"), "22");
    assert_string_equal(get(t->kv, "empty"), "");
    del(t->kv, "a");
    del(t->kv, "never");
    assert_string_equal(get(t->kv, "a"), "-");
    put(t->kv, "a", "3");
    assert_string_equal(get(t->kv, "a"), "3");
}

static int fn_refuse(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_put(tx, STR("refused"), STR("x"));
    kv_add(tx, STR("refused.count"), 1);
    return ERR_EXISTS;
}

static void test_refused_writes_nothing(void **state)
{
    struct t *t = *state;

    assert_int_equal(kv_update(t->kv, fn_refuse, NULL, KV_SYNC, NULL), ERR_EXISTS);
    assert_string_equal(get(t->kv, "refused"), "-");
    assert_string_equal(get(t->kv, "refused.count"), "-");
}

static void test_binary_keys(void **state)
{
    struct t *t = *state;
    struct one o[] = {
        {.key = STR("\0")}, {.key = STR("\0\0")}, {.key = STR("a\0b")}, {.key = STR("\xfe\xff")}, {.key = STR("")}};

    for (size_t i = 0; i < 5; i++) {
        o[i].value = str_mk(&"012345"[i], 1);
        must(kv_update(t->kv, fn_put, &o[i], KV_LAZY, NULL));
    }
    for (size_t i = 0; i < 5; i++) {
        must(kv_view(t->kv, fn_get, &o[i], NULL));
        assert_int_equal(o[i].n, 1);
        assert_int_equal(o[i].got[0], '0' + (int)i);
    }
}

static void test_prefix_end(void **state)
{
    struct buf b = {0};

    (void)state;
    kv_prefix_end(STR("ab"), &b);
    assert_true(str_eq(buf_str(&b), STR("ac")));
    kv_prefix_end(STR("a\xff\xff"), &b);
    assert_true(str_eq(buf_str(&b), STR("b")));
    kv_prefix_end(STR("\x7f"), &b);
    assert_true(str_eq(buf_str(&b), STR("\x80")));
    kv_prefix_end(STR(""), &b);
    assert_true(str_cmp(STR("\xfe\xff\xff"), buf_str(&b)) < 0);
    buf_done(&b);
}

static void test_range(void **state)
{
    struct t *t = *state;
    const char *k[] = {"a", "b", "c", "d", "e"};

    for (size_t i = 0; i < 5; i++)
        put(t->kv, k[i], "1");
    del(t->kv, "c");
    assert_string_equal(range(t->kv, "", "z", 0, false), "a=1 b=1 d=1 e=1");
    assert_string_equal(range(t->kv, "", "z", 0, true), "e=1 d=1 b=1 a=1");
    assert_string_equal(range(t->kv, "b", "e", 0, false), "b=1 d=1");
    assert_string_equal(range(t->kv, "b", "e", 0, true), "d=1 b=1");
    assert_string_equal(range(t->kv, "", "z", 2, false), "a=1 b=1+");
    assert_string_equal(range(t->kv, "", "z", 2, true), "e=1 d=1+");
    assert_string_equal(range(t->kv, "", "z", 4, false), "a=1 b=1 d=1 e=1");
    assert_string_equal(range(t->kv, "c", "d", 0, false), "");
    assert_string_equal(range(t->kv, "e", "b", 0, false), "");
    assert_string_equal(range(t->kv, "c", "c", 0, true), "");
    assert_string_equal(range(t->kv, "", "", 0, false), "");
}

static int fn_big(struct kv_tx *tx, void *arg)
{
    struct rng *g = arg;
    struct kv_rows rows;

    g->r = (struct kv_range){.begin = STR("big"), .end = STR("bih"), .max_bytes = 1000};
    TRY(kv_range(tx, &g->r, &rows));
    snprintf(g->out, sizeof g->out, "%zu%s", rows.n, rows.more ? "+" : "");
    return 0;
}

static void test_range_bytes(void **state)
{
    struct t *t = *state;
    char v[401];
    struct rng g;

    memset(v, 'x', 400);
    v[400] = 0;
    for (int i = 0; i < 4; i++)
        put(t->kv, (char[]){'b', 'i', 'g', (char)('0' + i), 0}, v);
    must(kv_view(t->kv, fn_big, &g, NULL));
    assert_string_equal(g.out, "2+");
    del(t->kv, "big2");
    del(t->kv, "big3");
    must(kv_view(t->kv, fn_big, &g, NULL));
    assert_string_equal(g.out, "2");
    {
        static char large[5000];
        struct one o = {.key = STR("big0"), .value = {large, sizeof large}};

        must(kv_update(t->kv, fn_put, &o, KV_LAZY, NULL));
    }
    must(kv_view(t->kv, fn_big, &g, NULL));
    assert_string_equal(g.out, "1+"); /* one at least, however large */
}

/* ---- own writes ---- */

static void expect(struct kv_tx *tx, const char *begin, const char *end, size_t max, bool reverse, const char *want)
{
    struct kv_range r = {.begin = str_of(begin), .end = str_of(end), .max_rows = max, .reverse = reverse};
    struct kv_rows rows;
    char got[1000];

    if (kv_range(tx, &r, &rows) < 0)
        return; /* a conflict made by a nasty engine: the function runs again */
    print_rows(&rows, got, sizeof got);
    assert_string_equal(got, want);
}

static int fn_overlay(struct kv_tx *tx, void *arg)
{
    struct str keys[] = {STR("a"), STR("b"), STR("c"), STR("d"), STR("new")}, v[5], x;

    (void)arg;
    kv_put(tx, STR("new"), STR("n"));
    kv_del(tx, STR("b"));
    kv_put(tx, STR("c"), STR("C"));
    kv_put(tx, STR("gone"), STR("g"));
    kv_del(tx, STR("gone"));
    TRY(kv_get_many(tx, keys, 5, v));
    assert_true(str_eq(v[0], STR("1")) && !v[1].p && str_eq(v[2], STR("C")) && str_eq(v[3], STR("1")));
    assert_true(str_eq(v[4], STR("n")));
    assert_int_equal(kv_get(tx, STR("b"), &x), ERR_NOT_FOUND);
    assert_int_equal(kv_get(tx, STR("c"), &x), 0);
    assert_true(str_eq(x, STR("C")));
    expect(tx, "", "z", 0, false, "a=1 c=C d=1 new=n");
    expect(tx, "", "z", 0, true, "new=n d=1 c=C a=1");
    expect(tx, "", "z", 2, false, "a=1 c=C+");
    expect(tx, "", "z", 2, true, "new=n d=1+");
    expect(tx, "b", "d", 1, false, "c=C");
    kv_del(tx, STR("a"));
    kv_del(tx, STR("d"));
    expect(tx, "", "z", 1, false, "c=C+");
    expect(tx, "", "n", 0, true, "c=C");
    kv_put(tx, STR("a"), STR("again"));
    expect(tx, "", "c", 0, false, "a=again");
    return 0;
}

static void test_overlay(void **state)
{
    struct t *t = *state;

    put(t->kv, "a", "1");
    put(t->kv, "b", "1");
    put(t->kv, "c", "1");
    put(t->kv, "d", "1");
    must(kv_update(t->kv, fn_overlay, NULL, KV_LAZY, NULL));
    assert_string_equal(range(t->kv, "", "z", 0, false), "a=again c=C new=n");
}

static uint64_t loose(struct kv_tx *tx, const char *key)
{
    struct str v;

    return kv_get_loose(tx, str_of(key), &v) == 0 ? kv_counter(v) : 999;
}

static int fn_counters(struct kv_tx *tx, void *arg)
{
    struct str one = STR("\1\0\0\0\0\0\0\0");

    (void)arg;
    kv_add(tx, STR("n"), 5);
    assert_int_equal(loose(tx, "n"), 15);
    kv_add(tx, STR("n"), -7);
    assert_int_equal(loose(tx, "n"), 8);
    kv_max(tx, STR("m"), 3);
    assert_int_equal(loose(tx, "m"), 10);
    kv_max(tx, STR("m"), 30);
    assert_int_equal(loose(tx, "m"), 30);
    kv_add(tx, STR("m"), -1); /* in the order of the calls */
    kv_max(tx, STR("m"), 20);
    assert_int_equal(loose(tx, "m"), 29);
    kv_put(tx, STR("p"), one);
    kv_add(tx, STR("p"), 2);
    assert_int_equal(loose(tx, "p"), 3);
    kv_del(tx, STR("q"));
    kv_max(tx, STR("q"), 4);
    assert_int_equal(loose(tx, "q"), 4);
    kv_add(tx, STR("r"), 1);
    kv_del(tx, STR("r"));
    assert_int_equal(loose(tx, "r"), 999);
    return 0;
}

static int fn_ten(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_add(tx, STR("n"), 10);
    kv_max(tx, STR("m"), 10);
    kv_put(tx, STR("text"), STR("abc"));
    kv_max(tx, STR("q"), 100);
    return 0;
}

static void test_counters(void **state)
{
    struct t *t = *state;

    must(kv_update(t->kv, fn_ten, NULL, KV_LAZY, NULL));
    must(kv_update(t->kv, fn_counters, NULL, KV_LAZY, NULL));
    assert_int_equal(count_of(t->kv, "n"), 8);
    assert_int_equal(count_of(t->kv, "m"), 29);
    assert_int_equal(count_of(t->kv, "p"), 3);
    assert_int_equal(count_of(t->kv, "q"), 4);
    assert_string_equal(get(t->kv, "r"), "-");
}

/* ---- against a model: random transactions on 40 keys, every read compared with an array ---- */

enum { MODEL_KEYS = 40, MODEL_ROUNDS = 150, MODEL_STEPS = 12 };

struct model {
    char value[MODEL_KEYS][16]; /* "": absent */
    char after[MODEL_KEYS][16]; /* what the last run made of it */
    uint64_t random;
};

static uint64_t rnd(uint64_t *x, uint64_t of)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return (*x >> 33) % of;
}

static struct str model_key(unsigned i, char out[4])
{
    snprintf(out, 4, "k%02u", i);
    return str_mk(out, 3);
}

static void model_rows(const struct model *m, unsigned lo, unsigned hi, size_t max, bool reverse, char *out, size_t n)
{
    size_t at = 0, rows = 0;

    out[0] = 0;
    for (unsigned j = lo; j < hi; j++) {
        unsigned i = reverse ? hi - 1 - (j - lo) : j;

        if (!m->value[i][0] || (max && rows == max))
            continue;
        at += (size_t)snprintf(out + at, n - at, "%sk%02u=%s", at ? " " : "", i, m->value[i]);
        rows++;
    }
}

static int model_range(struct kv_tx *tx, struct model *m)
{
    unsigned lo = (unsigned)rnd(&m->random, MODEL_KEYS), hi = (unsigned)rnd(&m->random, MODEL_KEYS + 1);
    size_t max = rnd(&m->random, 2) ? rnd(&m->random, 6) : 0, n;
    bool reverse = rnd(&m->random, 2);
    char want[2000], got[2000], b[4], e[4];
    struct kv_range r = {model_key(lo, b), model_key(hi, e), max, 0, reverse, rnd(&m->random, 2)};
    struct kv_rows rows;

    TRY(kv_range(tx, &r, &rows));
    model_rows(m, lo, hi, max, reverse, want, sizeof want);
    print_rows(&rows, got, sizeof got);
    n = strlen(got);
    if (rows.more) {
        assert_true(max && rows.n == max);
        got[n - 1] = 0;
    }
    assert_string_equal(got, want);
    return 0;
}

static int model_get(struct kv_tx *tx, struct model *m)
{
    unsigned i = (unsigned)rnd(&m->random, MODEL_KEYS);
    char k[4];
    struct str v;
    int r = kv_get(tx, model_key(i, k), &v);

    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    assert_int_equal(r == 0, m->value[i][0] != 0);
    assert_true(r < 0 || str_eq(v, str_of(m->value[i])));
    return 0;
}

static int fn_model(struct kv_tx *tx, void *arg)
{
    struct model *in = arg, m = *in;

    for (int s = 0; s < MODEL_STEPS; s++) {
        unsigned i = (unsigned)rnd(&m.random, MODEL_KEYS);
        char k[4];

        switch (rnd(&m.random, 5)) {
        case 0:
            snprintf(m.value[i], sizeof m.value[i], "%u", (unsigned)rnd(&m.random, 1000));
            kv_put(tx, model_key(i, k), str_of(m.value[i]));
            break;
        case 1:
            m.value[i][0] = 0;
            kv_del(tx, model_key(i, k));
            break;
        case 2:
            TRY(model_get(tx, &m));
            break;
        default:
            TRY(model_range(tx, &m));
        }
    }
    memcpy(in->after, m.value, sizeof m.value);
    return 0;
}

/* One transaction, and the model after it. */
static void model_round(struct t *t, struct model *m, enum kv_durability d)
{
    must(kv_update(t->kv, fn_model, m, d, NULL));
    memcpy(m->value, m->after, sizeof m->value);
    rnd(&m->random, 2);
}

static void test_model(void **state)
{
    struct t *t = *state;
    struct model m = {.random = 42};

    for (int i = 0; i < MODEL_ROUNDS; i++) {
        model_round(t, &m, i % 8 ? KV_LAZY : KV_SYNC);
        if (i % 50 == 49 && t->disk)
            reopen(t);
    }
}

/* ---- limits ---- */

static int fn_limit(struct kv_tx *tx, void *arg)
{
    static char big[KV_VALUE_MAX + 1];
    struct str v;

    switch (*(int *)arg) {
    case 0:
        kv_put(tx, str_mk(big, KV_KEY_MAX), str_mk(big, KV_VALUE_MAX));
        break;
    case 1:
        kv_put(tx, str_mk(big, KV_KEY_MAX + 1), STR(""));
        break;
    case 2:
        kv_put(tx, STR("k"), str_mk(big, KV_VALUE_MAX + 1));
        break;
    case 3:
        for (int i = 0; i < 12; i++)
            kv_put(tx, str_mk(&"0123456789ab"[i], 1), str_mk(big, KV_VALUE_MAX));
        break;
    case 4: /* what is written over does not count */
        for (int i = 0; i < 50; i++)
            kv_put(tx, STR("k"), str_mk(big, KV_VALUE_MAX));
        break;
    case 5:
        return kv_get(tx, str_mk(big, KV_KEY_MAX + 1), &v);
    case 6:
        kv_put(tx, STR("\xffown"), STR(""));
        break;
    case 7:
        kv_add(tx, str_mk(big, KV_KEY_MAX + 1), 1);
        break;
    case 8:
        kv_put(tx, str_mk(big, KV_KEY_MAX + 1), STR(""));
        return ERR_EXISTS; /* hides nothing */
    }
    return 0;
}

static void test_limits(void **state)
{
    struct t *t = *state;
    int want[] = {0, ERR_LIMIT, ERR_LIMIT, ERR_LIMIT, 0, ERR_LIMIT, ERR_LIMIT, ERR_LIMIT, ERR_LIMIT};

    for (int i = 0; i < 9; i++)
        assert_int_equal(kv_update(t->kv, fn_limit, &i, KV_LAZY, NULL), want[i]);
    assert_string_equal(get(t->kv, "0"), "-");
}

static int fn_slow(struct kv_tx *tx, void *arg)
{
    struct str v;

    (void)arg;
    jumped += 5000000000ull;
    return kv_get(tx, STR("a"), &v);
}

static void test_time_limit(void **state)
{
    struct t *t = *state;

    clock_use(&jump_clock);
    assert_int_equal(kv_view(t->kv, fn_slow, NULL, NULL), ERR_TIMEOUT);
    assert_int_equal(kv_update(t->kv, fn_slow, NULL, KV_LAZY, NULL), ERR_TIMEOUT);
}

static int fn_always_conflict(struct kv_tx *tx, void *arg)
{
    (void)tx;
    ++*(int *)arg;
    return ERR_CONFLICT;
}

static void test_retry_ends(void **state)
{
    struct t *t = *state;
    int runs = 0;

    clock_use(&jump_clock);
    assert_int_equal(kv_update(t->kv, fn_always_conflict, &runs, KV_LAZY, NULL), ERR_TIMEOUT);
    assert_true(runs > 10);
    runs = 0;
    assert_int_equal(kv_view(t->kv, fn_always_conflict, &runs, NULL), ERR_TIMEOUT);
    assert_true(runs > 10);
}

/* ---- conflicts: in its first run, a transaction waits while another thread commits ---- */

struct race {
    struct kv *kv;
    int runs;
    int (*body)(struct kv_tx *tx); /* reads, then writes */
    kv_fn *other;
};

static void *run_other(void *arg)
{
    struct race *r = arg;

    must(kv_update(r->kv, r->other, NULL, KV_LAZY, NULL));
    return NULL;
}

static int fn_race(struct kv_tx *tx, void *arg)
{
    struct race *r = arg;
    pthread_t th;

    TRY(r->body(tx));
    if (r->runs++ == 0) {
        assert_int_equal(thread_start(&th, "other", run_other, r), 0);
        pthread_join(th, NULL);
    }
    return 0;
}

/* How often body ran: 2 means that other was in its way. With a nasty engine: only at least. */
static void race(struct t *t, int (*body)(struct kv_tx *tx), kv_fn *other, int want)
{
    struct race r = {t->kv, 0, body, other};

    must(kv_update(t->kv, fn_race, &r, KV_LAZY, NULL));
    if (t->nasty)
        assert_true(r.runs >= want);
    else
        assert_int_equal(r.runs, want);
}

static int read_x(struct kv_tx *tx)
{
    struct str v;
    int r = kv_get(tx, STR("x"), &v);

    kv_put(tx, STR("mine"), STR(""));
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int read_x_of_many(struct kv_tx *tx)
{
    struct str v[3], k[] = {STR("u"), STR("x"), STR("z")};

    kv_put(tx, STR("mine"), STR(""));
    return kv_get_many(tx, k, 3, v);
}

static int read_x_loose(struct kv_tx *tx)
{
    struct str v;
    int r = kv_get_loose(tx, STR("x"), &v);

    kv_put(tx, STR("mine"), STR(""));
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int read_nothing(struct kv_tx *tx)
{
    kv_put(tx, STR("x"), STR("mine"));
    return 0;
}

static int read_own_x(struct kv_tx *tx)
{
    struct str v;

    kv_put(tx, STR("x"), STR("mine"));
    return kv_get(tx, STR("x"), &v);
}

static int count_x(struct kv_tx *tx)
{
    kv_add(tx, STR("x"), 1);
    kv_max(tx, STR("y"), 7);
    return 0;
}

static int range_with(struct kv_tx *tx, struct kv_range r)
{
    struct kv_rows rows;

    kv_put(tx, STR("mine"), STR(""));
    return kv_range(tx, &r, &rows);
}

static int range_all(struct kv_tx *tx)
{
    return range_with(tx, (struct kv_range){.begin = STR("p"), .end = STR("z")});
}

static int range_loose(struct kv_tx *tx)
{
    return range_with(tx, (struct kv_range){.begin = STR("p"), .end = STR("z"), .loose = true});
}

static int range_first(struct kv_tx *tx)
{
    return range_with(tx, (struct kv_range){.begin = STR("p"), .end = STR("z"), .max_rows = 2});
}

static int range_last(struct kv_tx *tx)
{
    return range_with(tx, (struct kv_range){.begin = STR("p"), .end = STR("z"), .max_rows = 2, .reverse = true});
}

static int fn_put_x(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_put(tx, STR("x"), STR("12345678"));
    return 0;
}

static int fn_del_x(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_del(tx, STR("x"));
    return 0;
}

static int fn_add_x(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_add(tx, STR("x"), 1);
    return 0;
}

static int fn_put_p0(struct kv_tx *tx, void *arg)
{
    (void)arg;
    kv_put(tx, STR("p0"), STR(""));
    return 0;
}

static void test_conflicts(void **state)
{
    struct t *t = *state;

    race(t, read_x, fn_put_x, 2); /* it was absent: it appears */
    race(t, read_x, fn_put_x, 2);
    race(t, read_x, fn_add_x, 2);
    race(t, read_x, fn_del_x, 2);
    race(t, read_x, fn_put_p0, 1);
    race(t, read_x_of_many, fn_put_x, 2);
    race(t, read_x_loose, fn_put_x, 1);
    race(t, read_nothing, fn_put_x, 1);
    race(t, read_own_x, fn_put_x, 1);
    race(t, count_x, fn_put_x, 1);
    race(t, count_x, fn_add_x, 1);
}

static void test_phantoms(void **state)
{
    struct t *t = *state;

    put(t->kv, "q", "1");
    put(t->kv, "r", "1");
    put(t->kv, "t", "1");
    race(t, range_all, fn_put_x, 2); /* appears */
    race(t, range_all, fn_put_x, 2); /* changes */
    race(t, range_all, fn_del_x, 2); /* disappears */
    race(t, range_loose, fn_put_x, 1);
    race(t, range_first, fn_del_x, 1); /* x lies behind the last row given */
    race(t, range_first, fn_put_p0, 2);
    del(t->kv, "p0");
    race(t, range_last, fn_put_p0, 1);
    race(t, range_last, fn_put_x, 2);
}

/* Two doctors on call: each may leave only while the other stays. */
struct doctor {
    struct kv *kv;
    const char *me, *other;
    atomic_int *meet;
    bool met;
};

static int fn_leave(struct kv_tx *tx, void *arg)
{
    struct doctor *d = arg;
    struct str v;
    int r = kv_get(tx, str_of(d->other), &v);

    if (r == ERR_NOT_FOUND)
        return ERR_BUSY;
    TRY(r);
    TRY(kv_get(tx, str_of(d->me), &v));
    if (!d->met) { /* both have read before either writes */
        d->met = true;
        for (++*d->meet; *d->meet < 2;)
            usleep(100);
    }
    kv_del(tx, str_of(d->me));
    return 0;
}

static void *leave(void *arg)
{
    struct doctor *d = arg;

    return (void *)(intptr_t)kv_update(d->kv, fn_leave, d, KV_LAZY, NULL);
}

static void test_write_skew(void **state)
{
    struct t *t = *state;
    atomic_int meet = 0;
    struct doctor d[2] = {{t->kv, "doc1", "doc2", &meet, false}, {t->kv, "doc2", "doc1", &meet, false}};
    pthread_t th[2];
    void *r[2];

    put(t->kv, "doc1", "on");
    put(t->kv, "doc2", "on");
    for (int i = 0; i < 2; i++)
        assert_int_equal(thread_start(&th[i], "doctor", leave, &d[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(th[i], &r[i]);
    assert_int_equal((intptr_t)r[0] + (intptr_t)r[1], ERR_BUSY);
    assert_int_equal(strlen(range(t->kv, "doc", "dod", 0, false)), strlen("doc1=on"));
}

/* ---- many threads ---- */

enum { THREADS = 4, TIMES = 60, ACCOUNTS = 8 };

struct crowd {
    struct kv *kv;
    unsigned id;
    uint64_t random, got, low;
    struct {
        uint64_t from, to, value; /* when it ran, and what it saw or made */
        bool read;
    } op[TIMES * 2];
    size_t ops;
};

static void run_crowd(struct t *t, void *(*fn)(void *), struct crowd *c)
{
    pthread_t th[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        memset(&c[i], 0, sizeof c[i]);
        c[i].kv = t->kv;
        c[i].id = i;
        c[i].random = i * 77;
        assert_int_equal(thread_start(&th[i], "crowd", fn, &c[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
}

static int fn_increment(struct kv_tx *tx, void *arg)
{
    struct crowd *c = arg;
    struct str v;
    int r = kv_get(tx, STR("n"), &v);

    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    c->got = 1 + (r == 0 ? kv_counter(v) : 0);
    kv_put(tx, STR("n"), str_mk(&c->got, sizeof c->got));
    kv_add(tx, STR("total"), 1);
    return 0;
}

static int fn_look(struct kv_tx *tx, void *arg)
{
    struct crowd *c = arg;
    struct str v;
    int r = kv_get(tx, STR("n"), &v);

    c->got = r == 0 ? kv_counter(v) : 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

static void *count_and_look(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < TIMES * 2; i++) {
        uint64_t from = real_ns();

        if (i % 2)
            must(kv_view(c->kv, fn_look, c, NULL));
        else
            must(kv_update(c->kv, fn_increment, c, i % 8 ? KV_LAZY : KV_SYNC, NULL));
        c->op[c->ops].from = from;
        c->op[c->ops].to = real_ns();
        c->op[c->ops].read = i % 2;
        c->op[c->ops++].value = c->got;
    }
    return NULL;
}

/* Real time order: what began after something had ended sees it. */
static void check_order(const struct crowd *a, const struct crowd *b)
{
    for (size_t i = 0; i < a->ops; i++)
        for (size_t j = 0; j < b->ops; j++) {
            if (a->op[i].to >= b->op[j].from)
                continue;
            if (b->op[j].read)
                assert_true(b->op[j].value >= a->op[i].value);
            else
                assert_true(b->op[j].value > a->op[i].value);
        }
}

static void test_increments(void **state)
{
    struct t *t = *state;
    static struct crowd c[THREADS];

    run_crowd(t, count_and_look, c);
    assert_int_equal(count_of(t->kv, "n"), THREADS * TIMES);
    assert_int_equal(count_of(t->kv, "total"), THREADS * TIMES);
    for (int a = 0; a < THREADS; a++)
        for (int b = 0; b < THREADS; b++)
            check_order(&c[a], &c[b]);
}

static struct str account(uint64_t i, char out[8])
{
    snprintf(out, 8, "acc%d", (int)i);
    return str_of(out);
}

static int fn_transfer(struct kv_tx *tx, void *arg)
{
    struct crowd *c = arg;
    uint64_t x = c->random, from = rnd(&x, ACCOUNTS), to = rnd(&x, ACCOUNTS), v[2];
    char k[2][8];
    struct str key[2] = {account(from, k[0]), account(to, k[1])}, got[2];

    if (from == to)
        return 0;
    TRY(kv_get_many(tx, key, 2, got));
    v[0] = kv_counter(got[0]) - 1;
    v[1] = kv_counter(got[1]) + 1;
    kv_put(tx, key[0], str_mk(&v[0], 8));
    kv_put(tx, key[1], str_mk(&v[1], 8));
    return 0;
}

static int fn_sum(struct kv_tx *tx, void *arg)
{
    struct kv_range r = {.begin = STR("acc"), .end = STR("acd"), .reverse = rnd(&((struct crowd *)arg)->random, 2)};
    struct crowd *c = arg;
    struct kv_rows rows;

    c->got = 0;
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n; i++)
        c->got += kv_counter(rows.row[i].value);
    kv_put(tx, STR("sum"), str_mk(&c->got, 8));
    return 0;
}

static void *bank(void *arg)
{
    struct crowd *c = arg;

    for (int i = 0; i < TIMES; i++) {
        rnd(&c->random, 2);
        must(kv_update(c->kv, fn_transfer, c, KV_LAZY, NULL));
        if (i % 4 == 0) {
            must(kv_update(c->kv, fn_sum, c, KV_LAZY, NULL));
            assert_int_equal(c->got, ACCOUNTS * 1000);
        }
    }
    return NULL;
}

static int fn_open_accounts(struct kv_tx *tx, void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < ACCOUNTS; i++) {
        char k[8];

        kv_add(tx, account(i, k), 1000);
    }
    return 0;
}

static void test_bank(void **state)
{
    struct t *t = *state;
    static struct crowd c[THREADS];

    must(kv_update(t->kv, fn_open_accounts, NULL, KV_LAZY, NULL));
    run_crowd(t, bank, c);
    must(kv_update(t->kv, fn_sum, &c[0], KV_LAZY, NULL));
    assert_int_equal(c[0].got, ACCOUNTS * 1000);
}

/* ---- durability ---- */

static void test_settle_versions(void **state)
{
    struct t *t = *state;
    uint64_t v = 99, a;

    put_d(t->kv, "old", "1", KV_SYNC);
    put_d(t->kv, "gone", "1", KV_SYNC);
    get_v(t->kv, "old", &v);
    assert_int_equal(v, 0);
    a = put_d(t->kv, "new", "1", KV_LAZY);
    assert_int_not_equal(a, 0);
    assert_int_not_equal(figures(t).unsynced, 0);
    get_v(t->kv, "old", &v); /* other rows are durable still */
    assert_int_equal(v, 0);
    get_v(t->kv, "never", &v);
    assert_int_equal(v, 0);
    get_v(t->kv, "new", &v);
    assert_int_not_equal(v, 0);
    assert_true(del(t->kv, "gone") > a);
    get_v(t->kv, "gone", &v); /* its absence is not durable */
    assert_true(v > a);
    range(t->kv, "a", "b", 0, false); /* ranges are judged by the whole store */
    assert_int_equal(kv_settle(t->kv, v), 0);
    get_v(t->kv, "new", &v);
    assert_int_equal(v, 0);
    get_v(t->kv, "gone", &v);
    assert_int_equal(v, 0);
    assert_int_equal(figures(t).unsynced, 0);
    assert_int_equal(kv_settle(t->kv, 0), 0);
}

static void test_settle_range(void **state)
{
    struct t *t = *state;
    static struct rng g;
    uint64_t v = put_d(t->kv, "x", "1", KV_LAZY);

    g.r = (struct kv_range){.begin = STR("a"), .end = STR("b")};
    must(kv_view(t->kv, fn_range, &g, &g.version));
    assert_true(g.version >= v);
    assert_int_equal(kv_settle(t->kv, v), 0);
    must(kv_view(t->kv, fn_range, &g, &g.version));
    assert_int_equal(g.version, 0);
}

static int fn_read_only(struct kv_tx *tx, void *arg)
{
    struct str v;

    TRY(kv_get(tx, STR("x"), &v));
    return *(int *)arg;
}

/* An update that wrote nothing still answers from what it read. */
static void test_settle_of_reads(void **state)
{
    struct t *t = *state;
    uint64_t v = 0;
    int code = 0, no = ERR_EXISTS;

    put_d(t->kv, "x", "1", KV_LAZY);
    must(kv_update(t->kv, fn_read_only, &code, KV_LAZY, &v));
    assert_int_not_equal(v, 0);
    v = 0;
    assert_int_equal(kv_update(t->kv, fn_read_only, &no, KV_LAZY, &v), ERR_EXISTS);
    assert_int_not_equal(v, 0);
    assert_int_equal(kv_view(t->kv, fn_read_only, &no, &v), ERR_EXISTS);
    assert_int_not_equal(v, 0);
    must(kv_update(t->kv, fn_read_only, &code, KV_SYNC, &v));
    assert_int_equal(v, 0);
    get_v(t->kv, "x", &v);
    assert_int_equal(v, 0);
}

struct hook {
    int calls, fail;
};

static int before_sync(void *arg)
{
    struct hook *h = arg;

    h->calls++;
    return h->fail-- > 0 ? ERR_IO : 0;
}

static void with_hook(struct t *t, struct hook *h)
{
    t->o.before_sync = before_sync;
    t->o.before_sync_arg = h;
    reopen(t);
}

static void test_before_sync(void **state)
{
    struct t *t = *state;
    struct hook h = {0, 0};
    uint64_t v;

    with_hook(t, &h);
    assert_int_equal(put_d(t->kv, "a", "1", KV_SYNC), 0);
    assert_int_equal(h.calls, 0); /* nothing lazy was pending */
    v = put_d(t->kv, "b", "1", KV_LAZY);
    assert_int_equal(h.calls, 0);
    assert_int_equal(kv_settle(t->kv, v), 0);
    assert_int_equal(h.calls, 1);
    assert_int_equal(kv_settle(t->kv, v), 0);
    assert_int_equal(h.calls, 1);
    put_d(t->kv, "b", "2", KV_LAZY);
    put_d(t->kv, "a", "2", KV_SYNC); /* takes the lazy one along */
    assert_int_equal(h.calls, 2);
    get_v(t->kv, "b", &v);
    assert_int_equal(v, 0);
}

static void test_before_sync_fails(void **state)
{
    struct t *t = *state;
    struct hook h = {0, 2};
    uint64_t v, syncs;

    with_hook(t, &h);
    clock_use(&jump_clock);
    syncs = figures(t).syncs;
    v = put_d(t->kv, "b", "1", KV_LAZY);
    assert_int_equal(kv_settle(t->kv, v), 0); /* tried again */
    assert_int_equal(h.calls, 3);
    assert_int_equal(figures(t).syncs, syncs + 1);
    h.fail = 1000000;
    v = put_d(t->kv, "b", "2", KV_LAZY);
    assert_int_equal(kv_settle(t->kv, v), ERR_IO);
    assert_int_equal(kv_update(t->kv, fn_put, &(struct one){.key = STR("c"), .value = STR("1")}, KV_SYNC, NULL),
                     ERR_UNKNOWN_OUTCOME);
    assert_int_equal(figures(t).syncs, syncs + 1);
    h.fail = 0;
    assert_int_equal(kv_settle(t->kv, v), 0);
}

static void *sync_put(void *arg)
{
    struct crowd *c = arg;
    char k[16];

    for (int i = 0; i < 15; i++) {
        snprintf(k, sizeof k, "s%u-%d", c->id, i);
        assert_int_equal(put_d(c->kv, k, "1", KV_SYNC), 0);
    }
    return NULL;
}

static void test_group_sync(void **state)
{
    struct t *t = *state;
    static struct crowd c[THREADS];
    struct kv_figures f;

    run_crowd(t, sync_put, c);
    f = figures(t);
    assert_true(f.syncs <= f.commits);
    assert_int_equal(f.unsynced, 0);
}

/* ---- waiting ---- */

struct waiter {
    struct kv *kv;
    uint64_t version;
    atomic_bool done;
};

static void *wait_for(void *arg)
{
    struct waiter *w = arg;

    must(kv_wait(w->kv, STR("w"), &w->version, clock_mono_ns() + 60000000000ull / SLOWER));
    w->done = true;
    return NULL;
}

static void test_wait(void **state)
{
    struct t *t = *state;
    struct waiter w = {t->kv, 0, false};
    uint64_t first;
    pthread_t th;

    assert_int_equal(kv_wait(t->kv, STR("w"), &w.version, 0), ERR_TIMEOUT);
    first = w.version;
    assert_int_not_equal(first, 0); /* a past deadline takes the version */
    assert_int_equal(kv_wait(t->kv, STR("w"), &w.version, clock_mono_ns() + 100000), ERR_TIMEOUT);
    put(t->kv, "w", "1");
    must(kv_wait(t->kv, STR("w"), &w.version, 0)); /* it changed in between: no wait, no lost wake-up */
    assert_int_not_equal(w.version, first);
    assert_int_equal(thread_start(&th, "waiter", wait_for, &w), 0);
    while (!w.done) {
        put(t->kv, "w", "2");
        usleep(1000);
    }
    pthread_join(th, NULL);
}

/* ---- scan ---- */

struct seen {
    size_t n, stop;
    char last[16];
};

static int see(void *arg, struct str key, struct str value)
{
    struct seen *s = arg;

    assert_int_equal(value.n, 3000);
    assert_true(str_cmp(str_of(s->last), key) < 0);
    snprintf(s->last, sizeof s->last, "%.*s", STR_ARG(key));
    return ++s->n == s->stop ? 7 : 0;
}

static void test_scan(void **state)
{
    struct t *t = *state;
    static char v[3000];
    struct seen s = {0};

    for (int i = 0; i < 200; i++) { /* more than one batch */
        char k[16];
        struct one o = {.value = {v, sizeof v}};

        snprintf(k, sizeof k, "scan%03d", i);
        o.key = str_of(k);
        must(kv_update(t->kv, fn_put, &o, KV_LAZY, NULL));
    }
    put(t->kv, "r", "not asked for");
    put(t->kv, "t", "not asked for");
    must(kv_scan(t->kv, STR("scan"), see, &s));
    assert_int_equal(s.n, 200);
    s = (struct seen){.stop = 5};
    assert_int_equal(kv_scan(t->kv, STR("scan"), see, &s), 7);
    assert_int_equal(s.n, 5);
    del(t->kv, "r");
    del(t->kv, "t");
    s = (struct seen){0};
    must(kv_scan(t->kv, STR(""), see, &s)); /* nothing of the layer's own */
    assert_int_equal(s.n, 200);
}

/* ---- failures ---- */

static void test_fault_before(void **state)
{
    struct t *t = *state;
    struct one o = {.key = STR("a"), .value = STR("1")};

    must(fault_arm("kv.commit.before:error IO"));
    assert_int_equal(kv_update(t->kv, fn_put, &o, KV_LAZY, NULL), ERR_IO);
    assert_string_equal(get(t->kv, "a"), "-");
    must(kv_update(t->kv, fn_put, &o, KV_LAZY, NULL));
    assert_string_equal(get(t->kv, "a"), "1");
}

static int fn_add_one(struct kv_tx *tx, void *arg)
{
    ++*(int *)arg;
    kv_add(tx, STR("n"), 1);
    return 0;
}

/* Whatever breaks once: the commit happens exactly once, and its caller sees success. */
static void test_breaks_once(void **state)
{
    static const char *const at[] = {"kv.commit.after", "kv.engine.write", "kv.sync.before", "kv.sync.after"};
    struct t *t = *state;
    int runs = 0;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t reopened = figures(t).reopened;
        char spec[64];

        snprintf(spec, sizeof spec, "%s:error IO", at[i / 2]);
        must(fault_arm(spec));
        must(kv_update(t->kv, fn_add_one, &runs, KV_SYNC, NULL));
        fault_arm(NULL);
        assert_int_equal(count_of(t->kv, "n"), i + 1);
        assert_int_equal(figures(t).unsynced, 0);
        if (!t->nasty)
            assert_int_equal(figures(t).reopened, reopened + 1);
    }
    if (!t->nasty)
        assert_int_equal(runs, 10); /* again only after the two failed writes, which did not happen */
    if (t->disk) {
        reopen(t);
        assert_int_equal(count_of(t->kv, "n"), 8);
    }
}

static void test_lazy_breaks_once(void **state)
{
    struct t *t = *state;
    int runs = 0;

    must(fault_arm("kv.engine.write:error IO"));
    must(kv_update(t->kv, fn_add_one, &runs, KV_LAZY, NULL));
    must(fault_arm("kv.commit.after:error IO"));
    must(kv_update(t->kv, fn_add_one, &runs, KV_LAZY, NULL));
    assert_int_equal(count_of(t->kv, "n"), 2);
}

/* The engine cannot be reopened for a while: errors, no success, no hanging; then it works again. */
static void test_stays_broken(void **state)
{
    struct t *t = *state;
    struct one o = {.key = STR("a"), .value = STR("1")};
    int r;

    put_d(t->kv, "kept", "1", KV_SYNC);
    clock_use(&jump_clock);
    must(fault_arm("kv.sync.before:error IO,kv.reopen:error IO*0"));
    r = kv_update(t->kv, fn_put, &o, KV_SYNC, NULL);
    assert_int_equal(r, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(kv_view(t->kv, fn_get, &o, NULL), ERR_IO);
    assert_int_equal(kv_update(t->kv, fn_put, &o, KV_LAZY, NULL), ERR_IO);
    assert_true(kv_settle(t->kv, UINT64_MAX / 2) < 0);
    fault_arm(NULL);
    jumped += 1000000000ull;
    assert_string_equal(get(t->kv, "kept"), "1");
    assert_int_equal(figures(t).reopened, 1);
    put_d(t->kv, "after", "1", KV_SYNC);
    if (!t->nasty)
        assert_string_equal(get(t->kv, "a"), "1"); /* it was in the log */
}

/* Threads go on committing while the engine fails again and again: nothing counts twice, nothing is missing. */
static void *count_through(void *arg)
{
    struct crowd *c = arg;
    int runs = 0;

    for (int i = 0; i < 20; i++)
        must(kv_update(c->kv, fn_add_one, &runs, KV_SYNC, NULL));
    return NULL;
}

static void test_breaks_under_load(void **state)
{
    struct t *t = *state;
    static struct crowd c[THREADS];

    must(fault_arm("kv.engine.write:error IO@9*2,kv.sync.before:error IO@7*2,kv.sync.after:error IO@12"));
    run_crowd(t, count_through, c);
    assert_int_equal(count_of(t->kv, "n"), THREADS * 20);
    assert_true(figures(t).reopened >= 1);
}

/* ---- RocksDB: another process, killed ---- */

static void child_only(struct t *t, const char *what, const char *fault)
{
    int status;
    pid_t pid;

    t->kv = kv_close(t->kv);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("FOREBAY_FAULT", fault, 1);
        execl("/proc/self/exe", "test_kv", "child", t->dir, what, NULL);
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void child(struct t *t, const char *what, const char *fault)
{
    child_only(t, what, fault);
    open_kv(t);
}

/* Visit the live log of a store: the one with the highest number. */
static void log_path(const char *dir, char out[512])
{
    DIR *d = opendir(dir);
    struct dirent *e;

    assert_non_null(d);
    out[0] = 0;
    while ((e = readdir(d))) {
        char path[512];

        snprintf(path, sizeof path, "%s/%.64s", dir, e->d_name);
        if (str_ends(str_of(path), STR(".log")) && strcmp(path, out) > 0)
            snprintf(out, 512, "%s", path);
    }
    closedir(d);
}

/* Twenty synced commits, then lazy ones; the file "synced" says how much of the log was synced. */
static void run_torn(struct kv *kv, const char *dir)
{
    static char big[1000];
    char k[16], path[512];
    struct stat st;
    FILE *f;

    for (int i = 0; i < 20; i++) {
        snprintf(k, sizeof k, "sync%02d", i);
        put_d(kv, k, "1", KV_SYNC);
    }
    log_path(dir, path);
    assert_int_equal(stat(path, &st), 0);
    snprintf(path, sizeof path, "%s/synced", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%lld", (long long)st.st_size);
    fclose(f);
    memset(big, 'b', sizeof big - 1);
    for (int i = 0; i < 300; i++) {
        snprintf(k, sizeof k, "lazy%03d", i);
        put(kv, k, big);
    }
}

static int run_child(const char *dir, const char *what)
{
    struct kv_options o = {.dir = dir};
    struct kv *kv;
    char k[16];

    must(kv_open(&kv_engine_rocksdb, &o, &kv));
    if (strcmp(what, "one") == 0) {
        put_d(kv, "one", "1", KV_SYNC);
        put_d(kv, "two", "1", KV_LAZY);
    }
    for (int i = 0; i < 100 && strcmp(what, "many") == 0; i++) {
        snprintf(k, sizeof k, "many%02d", i);
        put_d(kv, k, "1", i % 5 ? KV_LAZY : KV_SYNC);
    }
    if (strcmp(what, "torn") == 0)
        run_torn(kv, dir);
    for (int i = 0; i < 300 && strcmp(what, "switch") == 0; i++) {
        static char big[KV_VALUE_MAX];
        struct one one = {.value = str_mk(big, sizeof big)};

        snprintf(k, sizeof k, "big%03d", i);
        one.key = str_of(k);
        must(kv_update(kv, fn_put, &one, KV_LAZY, NULL));
    }
    raise(SIGKILL);
    return 1;
}

static void test_killed(void **state)
{
    struct t *t = *state;
    struct kv_range all = {.begin = STR("many"), .end = STR("manz")};
    static struct rng g;
    uint64_t v;

    child(t, "many", "");
    g.r = all;
    must(kv_view(t->kv, fn_range, &g, &v));
    assert_int_equal(strlen(g.out), 100 * strlen("many00=1") + 99);
    assert_int_equal(v, 0); /* what a start has found is durable */
}

static void test_killed_at(void **state)
{
    struct t *t = *state;

    child(t, "one", "kv.commit.before:kill");
    assert_string_equal(get(t->kv, "one"), "-");
    child(t, "one", "kv.commit.after:kill");
    assert_string_equal(get(t->kv, "one"), "1");
    del(t->kv, "one");
    child(t, "one", "kv.sync.after:kill");
    assert_string_equal(get(t->kv, "one"), "1");
    assert_string_equal(get(t->kv, "two"), "-");
    child(t, "one", "kv.commit.after:kill@2");
    assert_string_equal(get(t->kv, "two"), "1");
}

static int count_rows(void *arg, struct str key, struct str value)
{
    (void)key;
    (void)value;
    ++*(size_t *)arg;
    return 0;
}

static size_t rows_of(struct t *t, const char *prefix)
{
    size_t n = 0;

    must(kv_scan(t->kv, str_of(prefix), count_rows, &n));
    return n;
}

/* What a power cut may do to the part of the log that was not synced: cut it, leave a hole, leave rubbish. */
static void damage(struct t *t, int how)
{
    enum { HOLE = 8192 };
    char path[512], junk[HOLE] = {0};
    long long synced;
    FILE *f;

    snprintf(path, sizeof path, "%s/synced", t->dir);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lld", &synced), 1);
    fclose(f);
    log_path(t->dir, path);
    if (how == 0)
        assert_int_equal(truncate(path, synced + 100123), 0);
    if (how == 2)
        memset(junk, 0xa5, sizeof junk);
    f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, synced + (how == 3 ? 0 : 90000), SEEK_SET), 0);
    if (how > 0)
        assert_int_equal(fwrite(junk, sizeof junk, 1, f), 1);
    fclose(f);
}

static void test_torn_log(void **state)
{
    struct t *t = *state;

    for (int how = 0; how < 4; how++) {
        size_t n;

        child_only(t, "torn", "");
        damage(t, how);
        open_kv(t); /* never refuses */
        assert_int_equal(rows_of(t, "sync"), 20);
        n = rows_of(t, "lazy");
        assert_true(how == 3 ? n == 0 : n > 50 && n < 300);
        for (size_t i = 0; i < 300; i++) { /* what is left is a prefix */
            char k[16];

            snprintf(k, sizeof k, "lazy%03zu", i);
            assert_int_equal(strcmp(get(t->kv, k), "-") != 0, i < n);
            del(t->kv, k);
        }
    }
}

/* A bit flips in, or the disk loses, what was synced: the store is not opened, nothing of it is thrown away, and the
 * log as it was opens whole. With accept_loss it opens with what lies before. */
static void test_damaged_log(void **state)
{
    struct t *t = *state;
    struct kv_options o = {.dir = t->dir};
    char path[512], byte, bad;
    struct kv *kv;

    for (int how = 0; how < 3; how++) {
        struct stat st;

        child_only(t, "many", "");
        log_path(t->dir, path);
        assert_int_equal(stat(path, &st), 0);
        int fd = open(path, O_RDWR);
        off_t at =
            how == 2 ? 0 : st.st_size * (how + 1) / 3; /* inside of the records: the log is a few KiB, cut to its end */

        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        bad = (char)(byte ^ 4);
        assert_int_equal(pwrite(fd, &bad, 1, at), 1);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(kv_open(&kv_engine_rocksdb, &o, &kv), ERR_CORRUPT);
            assert_non_null(strstr(err_detail(ERR_CORRUPT), "forebay.kv.accept.loss"));
        }
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        open_kv(t);
        assert_int_equal(rows_of(t, "many"), 100);
        t->kv = kv_close(t->kv);
        close(fd);
        open_kv(t);
    }
    child_only(t, "many", "");
    log_path(t->dir, path);
    assert_int_equal(truncate(path, 300), 0);
    assert_int_equal(kv_open(&kv_engine_rocksdb, &o, &kv), ERR_CORRUPT);
    o.accept_loss = true;
    must(kv_open(&kv_engine_rocksdb, &o, &kv));
    kv = kv_close(kv);
    open_kv(t); /* what is there now is the truth */
    assert_true(rows_of(t, "many") > 0);
}

/* The whole store but the mark is gone: no new one is made in its place. */
static void test_vanished_store(void **state)
{
    struct t *t = *state;
    struct kv_options o = {.dir = t->dir};
    char path[512];
    struct kv *kv;

    child_only(t, "many", "");
    snprintf(path, sizeof path, "%s/CURRENT", t->dir);
    assert_int_equal(unlink(path), 0);
    assert_true(kv_open(&kv_engine_rocksdb, &o, &kv) < 0);
}

/* Killed while the memtable is handed on: everything committed is there. */
static void test_killed_at_switch(void **state)
{
    struct t *t = *state;
    size_t n;

    child(t, "switch", "kv.memtable.switch:kill");
    n = rows_of(t, "big");
    assert_true(n > 200 && n < 300);
    child(t, "switch", "kv.memtable.switch:kill@2");
    assert_int_equal(rows_of(t, "big"), 300);
}

static void test_second_process(void **state)
{
    struct t *t = *state;
    struct kv *kv;

    assert_int_equal(kv_open(t->engine, &t->o, &kv), ERR_BUSY);
}

/* Large enough to change memtables, by bytes and by deletions; then all is read back, also from a reopened store. */
struct bulk {
    int from;
    bool del;
};

static int fn_bulk(struct kv_tx *tx, void *arg)
{
    const struct bulk *b = arg;
    static const char v[90000] = {'v'};
    char k[16];

    for (int i = 0; i < 100; i++) {
        snprintf(k, sizeof k, "bulk%06d", b->from + i);
        if (b->del)
            kv_del(tx, str_of(k));
        else
            kv_put(tx, str_of(k), str_mk(v, i < 99 ? 10 : sizeof v));
    }
    kv_add(tx, STR("bulk.count"), b->del ? -100 : 100);
    return 0;
}

static void test_memtables(void **state)
{
    enum { ROWS = 30000, KEPT = 5000 };
    struct t *t = *state;
    struct bulk b = {0};
    uint64_t visits = fault_visits(FAULT_KV_MEMTABLE_SWITCH);

    must(fault_arm("kv.reopen:error IO@1000000")); /* visits are counted while something is armed */
    for (b.from = 0; b.from < ROWS; b.from += 100)
        must(kv_update(t->kv, fn_bulk, &b, KV_LAZY, NULL));
    assert_int_equal(rows_of(t, "bulk0"), ROWS);
    b.del = true;
    for (b.from = KEPT; b.from < ROWS; b.from += 100)
        must(kv_update(t->kv, fn_bulk, &b, KV_LAZY, NULL));
    assert_true(fault_visits(FAULT_KV_MEMTABLE_SWITCH) >= visits + 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rows_of(t, "bulk0"), KEPT);
        assert_int_equal(count_of(t->kv, "bulk.count"), KEPT);
        reopen(t);
    }
    must(fault_arm("kv.memtable.switch:error IO"));
    b.del = false;
    for (b.from = 0; b.from < ROWS; b.from += 100)
        must(kv_update(t->kv, fn_bulk, &b, KV_LAZY, NULL));
    assert_int_equal(figures(t).reopened, 1);
    assert_int_equal(rows_of(t, "bulk0"), ROWS);
}

/* ---- mem only ---- */

static void test_power_cut(void **state)
{
    struct t *t = *state;
    uint64_t v, hash;

    put_d(t->kv, "a", "1", KV_SYNC);
    put_d(t->kv, "gone", "1", KV_SYNC);
    hash = kv_mem_hash(t->kv);
    put(t->kv, "a", "2");
    put(t->kv, "b", "1");
    v = del(t->kv, "gone");
    assert_int_not_equal(kv_mem_hash(t->kv), hash);
    kv_mem_power_cut(t->kv);
    assert_string_equal(range(t->kv, "", "z", 0, false), "a=1 gone=1");
    assert_int_equal(kv_mem_hash(t->kv), hash);
    assert_int_equal(kv_settle(t->kv, v), ERR_IO); /* whoever saw it must not answer */
    v = put_d(t->kv, "b", "2", KV_LAZY);
    assert_int_equal(kv_settle(t->kv, v), 0);
    kv_mem_power_cut(t->kv);
    assert_string_equal(range(t->kv, "", "z", 0, false), "a=1 b=2 gone=1");
}

static void test_hash(void **state)
{
    struct t *t = *state;
    uint64_t empty = kv_mem_hash(t->kv), ab, ba;

    put(t->kv, "a", "1");
    put(t->kv, "b", "2");
    ab = kv_mem_hash(t->kv);
    del(t->kv, "a");
    del(t->kv, "b");
    assert_int_equal(kv_mem_hash(t->kv), empty);
    put(t->kv, "b", "1");
    put(t->kv, "b", "2");
    put(t->kv, "a", "1");
    ba = kv_mem_hash(t->kv);
    assert_int_equal(ab, ba);
    put(t->kv, "b", "1");
    put(t->kv, "a", "2");
    assert_int_not_equal(kv_mem_hash(t->kv), ab);
}

static void count_calls(void *arg)
{
    ++*(int *)arg;
}

struct hooked {
    struct t *t;
    int calls;
    bool absent, present;
};

/* The first call for a commit comes before it takes effect, the last after. */
static void look_around(void *arg)
{
    struct hooked *h = arg;

    h->calls++;
    if (strcmp(get(h->t->kv, "a"), "-") == 0)
        h->absent = true;
    else
        h->present = true;
}

static void test_on_commit(void **state)
{
    struct t *t = *state;
    struct hooked h = {.t = t};

    t->o.on_commit = look_around;
    t->o.on_commit_arg = &h;
    reopen(t);
    put(t->kv, "a", "1");
    assert_true(h.calls >= 2 && h.absent && h.present);
}

/* One thread, one seed: the same again, whatever the engine threw in. */
static uint64_t same_again(struct t *t, uint64_t *ret_conflicts)
{
    struct model m = {.random = 7};
    int calls = 0;
    uint64_t h;

    t->o.on_commit = count_calls;
    t->o.on_commit_arg = &calls;
    reopen(t);
    for (int i = 0; i < 60; i++) {
        int runs = 0;

        model_round(t, &m, i % 3 ? KV_LAZY : KV_SYNC);
        must(kv_update(t->kv, fn_add_one, &runs, KV_LAZY, NULL));
    }
    assert_int_equal(count_of(t->kv, "n"), 60);
    *ret_conflicts = figures(t).conflicts;
    h = kv_mem_hash(t->kv) + (uint64_t)calls;
    return h;
}

static void test_deterministic(void **state)
{
    struct t *t = *state;
    uint64_t c[2], h[2];

    clock_use(&jump_clock);
    h[0] = same_again(t, &c[0]);
    h[1] = same_again(t, &c[1]);
    assert_int_equal(h[0], h[1]);
    assert_int_equal(c[0], c[1]);
    if (t->nasty)
        assert_true(c[0] > 0);
}

/* Slot rows, versions and deletions do not pile up. */
static void test_no_growth(void **state)
{
    struct t *t = *state;
    uint64_t before = 0;

    clock_use(&jump_clock);
    for (int i = 0; i < 2000; i++) {
        char k[16];

        snprintf(k, sizeof k, "k%d", i);
        put_d(t->kv, k, "1", i % 10 ? KV_LAZY : KV_SYNC);
        put(t->kv, "same", k);
        del(t->kv, k);
        jumped += 100000000ull;
        if (i == 999)
            before = figures(t).disk_bytes;
    }
    assert_true(figures(t).disk_bytes < before * 2 + 20000);
}

/* ---- which test runs on which engine ---- */

enum { ON_DISK = 1, ON_MEM = 2, ON_NASTY = 4, ON_ALL = 7 };

static const struct {
    const char *name;
    void (*fn)(void **state);
    int on;
} tests[] = {
    {"basics", test_basics, ON_ALL},
    {"refused_writes_nothing", test_refused_writes_nothing, ON_ALL},
    {"binary_keys", test_binary_keys, ON_ALL},
    {"prefix_end", test_prefix_end, ON_MEM},
    {"range", test_range, ON_ALL},
    {"range_bytes", test_range_bytes, ON_ALL},
    {"overlay", test_overlay, ON_ALL},
    {"counters", test_counters, ON_ALL},
    {"model", test_model, ON_ALL},
    {"limits", test_limits, ON_ALL},
    {"time_limit", test_time_limit, ON_ALL},
    {"retry_ends", test_retry_ends, ON_ALL},
    {"conflicts", test_conflicts, ON_ALL},
    {"phantoms", test_phantoms, ON_ALL},
    {"write_skew", test_write_skew, ON_ALL},
    {"increments", test_increments, ON_ALL},
    {"bank", test_bank, ON_ALL},
    {"settle_versions", test_settle_versions, ON_ALL},
    {"settle_range", test_settle_range, ON_ALL},
    {"settle_of_reads", test_settle_of_reads, ON_ALL},
    {"before_sync", test_before_sync, ON_ALL},
    {"before_sync_fails", test_before_sync_fails, ON_ALL},
    {"group_sync", test_group_sync, ON_ALL},
    {"wait", test_wait, ON_ALL},
    {"scan", test_scan, ON_ALL},
    {"fault_before", test_fault_before, ON_ALL},
    {"breaks_once", test_breaks_once, ON_ALL},
    {"lazy_breaks_once", test_lazy_breaks_once, ON_ALL},
    {"stays_broken", test_stays_broken, ON_ALL},
    {"breaks_under_load", test_breaks_under_load, ON_ALL},
    {"killed", test_killed, ON_DISK},
    {"killed_at", test_killed_at, ON_DISK},
    {"torn_log", test_torn_log, ON_DISK},
    {"damaged_log", test_damaged_log, ON_DISK},
    {"vanished_store", test_vanished_store, ON_DISK},
    {"killed_at_switch", test_killed_at_switch, ON_DISK},
    {"second_process", test_second_process, ON_DISK},
    {"memtables", test_memtables, ON_DISK},
    {"power_cut", test_power_cut, ON_MEM | ON_NASTY},
    {"hash", test_hash, ON_MEM | ON_NASTY},
    {"on_commit", test_on_commit, ON_MEM | ON_NASTY},
    {"deterministic", test_deterministic, ON_MEM | ON_NASTY},
    {"no_growth", test_no_growth, ON_MEM | ON_NASTY},
};

static struct t engines[] = {
    {.name = "rocksdb", .engine = &kv_engine_rocksdb, .disk = true},
    {.name = "mem", .engine = &kv_engine_mem},
    {.name = "mem1", .engine = &kv_engine_mem, .seed = 1, .nasty = true},
    {.name = "mem2", .engine = &kv_engine_mem, .seed = 20261121, .nasty = true},
    {.name = "mem3", .engine = &kv_engine_mem, .seed = 0xdeadbeefcafe, .nasty = true},
};

#define N(a) (sizeof(a) / sizeof *(a))

int main(int argc, char **argv)
{
    static struct CMUnitTest all[N(tests) * N(engines)];
    static char name[N(tests) * N(engines)][64];
    size_t n = 0;

    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return run_child(argv[2], argv[3]);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    for (size_t e = 0; e < N(engines); e++)
        for (size_t i = 0; i < N(tests); i++) {
            int on = engines[e].disk ? ON_DISK : engines[e].nasty ? ON_NASTY : ON_MEM;

            if (!(tests[i].on & on))
                continue;
            snprintf(name[n], sizeof name[n], "%s.%s", engines[e].name, tests[i].name);
            all[n] = (struct CMUnitTest){name[n], tests[i].fn, setup, teardown, &engines[e]};
            n++;
        }
    return _cmocka_run_group_tests("kv", all, n, NULL, NULL);
}
