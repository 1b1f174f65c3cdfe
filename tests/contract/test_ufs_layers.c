/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers themselves, on a driver made for this: the defaults of what a driver leaves out, how large objects are
 * cut, how many requests run at once, when a call is made again.
 */
#include "libufs.h"
#include "ufs/ufs_driver.h"
#include <pthread.h>
#include <unistd.h>

/* A driver with one object and as little as may be; records what it is asked. */
struct little {
    struct ufs_layer l;
    pthread_mutex_t lock; /* log, fail_ */
    struct buf bytes, log;
    struct ufs_kept_meta meta;
    char key[64];
    bool there;
    unsigned caps;
    int fail_times, fail_code; /* the next calls */
    size_t largest, parts;
    _Atomic int running, most;
    _Atomic bool hold;
};

static struct ufs_counters counters;

static int visit(struct little *t, const char *what)
{
    int r = 0;

    pthread_mutex_lock(&t->lock);
    buf_printf(&t->log, "%s ", what);
    if (t->fail_times > 0) {
        t->fail_times--;
        r = t->fail_code;
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

static unsigned little_caps(struct ufs_layer *l)
{
    return ((struct little *)l)->caps;
}

static int little_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                       void *arg)
{
    struct little *t = (struct little *)l;

    (void)until;
    atomic_fetch_add(&t->running, 1);
    if (t->running > t->most)
        t->most = t->running;
    while (t->hold)
        usleep(1000);
    atomic_fetch_sub(&t->running, 1);
    TRY(visit(t, "stat"));
    if (!t->there || !str_eq(key, str_of(t->key)))
        return ERR_NOT_FOUND;
    *ret = (struct ufs_stat){.size = t->bytes.n, .version = "v"};
    for (size_t i = 0; meta && i < t->meta.meta.n; i++)
        meta(arg, t->meta.pair[i].name, t->meta.pair[i].value);
    return 0;
}

static int little_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                       bool *ret_more)
{
    (void)until, (void)a;
    TRY(visit((struct little *)l, "list"));
    *ret_more = false;
    return fn(arg, &(struct ufs_entry){.key = STR("k")});
}

static int little_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n,
                       const char *if_match, ufs_sink *sink, void *arg)
{
    struct little *t = (struct little *)l;

    (void)until, (void)key, (void)if_match;
    TRY(visit(t, "read"));
    if (n > t->bytes.n - off)
        n = t->bytes.n - off;
    return n ? sink(arg, t->bytes.p + off, n) : 0;
}

static int little_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                      struct ufs_body *b, struct ufs_stat *ret)
{
    struct little *t = (struct little *)l;
    char piece[7];
    ssize_t n;

    (void)until;
    struct buf fresh AUTO_BUF = {0};
    while ((n = ufs_pull(b, piece, sizeof piece)) > 0)
        buf_add(&fresh, piece, (size_t)n);
    TRY(visit(t, "put"));
    TRY((int)n);
    buf_reset(&t->bytes);
    buf_str_add(&t->bytes, buf_str(&fresh));
    UFS_SET(t->key, key);
    ufs_meta_drop(&t->meta);
    ufs_meta_keep(&t->meta, &o->meta);
    t->there = true;
    *ret = (struct ufs_stat){.size = t->bytes.n, .version = "v"};
    return 0;
}

static int little_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    (void)until, (void)key, (void)if_match;
    TRY(visit((struct little *)l, "del"));
    ((struct little *)l)->there = false;
    return 0;
}

static int little_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o, char *ret)
{
    (void)until, (void)key, (void)o;
    strcpy(ret, "id");
    return visit((struct little *)l, "create");
}

static int little_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                       const unsigned char *md5, struct ufs_body *b, char *ret)
{
    struct little *t = (struct little *)l;

    (void)until, (void)key, (void)upload;
    assert_non_null(md5);
    if (b->size > t->largest)
        t->largest = (size_t)b->size;
    if (++t->parts != part)
        fail_msg("part %u came as the %zuth", part, t->parts);
    if (t->parts < 4)
        buf_printf(&t->log, "part%u:%u ", part, (unsigned)b->size);
    strcpy(ret, "e");
    if (t->fail_times-- == 1)
        return t->fail_code;
    return 0;
}

static int little_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                           const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    (void)until, (void)key, (void)upload, (void)parts, (void)o;
    assert_int_equal(n, ((struct little *)l)->parts);
    *ret = (struct ufs_stat){.version = "whole"};
    return visit((struct little *)l, "complete");
}

static int little_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    (void)until, (void)key, (void)upload;
    return visit((struct little *)l, "abort");
}

static int little_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                           struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    struct little *t = (struct little *)l;

    (void)until, (void)key, (void)upload, (void)src;
    assert_string_equal(if_match, "v");
    buf_printf(&t->log, "copy%u:%u+%u ", part, (unsigned)off, (unsigned)n);
    t->parts++;
    strcpy(ret, "e");
    return 0;
}

static void little_close(struct ufs_layer *l)
{
    struct little *t = (struct little *)l;

    buf_done(&t->bytes);
    buf_done(&t->log);
    ufs_meta_drop(&t->meta);
    free(t);
}

static struct ufs_ops little_ops = {
    .name = "little",
    .close = little_close,
    .caps = little_caps,
    .stat = little_stat,
    .list = little_list,
    .read = little_read,
    .put = little_put,
    .del = little_del,
};

static struct little *little_new(unsigned caps)
{
    struct little *t = MEM_NEW(struct little);

    t->caps = caps;
    if (caps & UFS_CAP_MULTIPART) {
        struct ufs_ops ops = little_ops;
        ops.mpu_create = little_create;
        ops.mpu_part = little_part;
        ops.mpu_copy = little_mpu_copy;
        ops.mpu_complete = little_complete;
        ops.mpu_abort = little_abort;
        ufs_layer_init(&t->l, &ops, NULL, &counters);
    } else
        ufs_layer_init(&t->l, &little_ops, NULL, &counters);
    return t;
}

static void assert_log(struct little *t, const char *log)
{
    assert_string_equal(t->log.p ? t->log.p : "", log);
    buf_reset(&t->log);
}

static uint64_t soon(void)
{
    return clock_mono_ns() + 10000000000u;
}

static struct ufs_layer *wrap(int (*open)(const struct ufs_options *, struct ufs_counters *, struct ufs_layer *,
                                          struct ufs_layer **),
                              const char *name, const char *value, struct ufs_layer *below)
{
    struct map *props = map_new();
    struct ufs_options o = {.props = props, .deadline_ms = 10000};
    struct ufs_layer *l;
    AUTO_FREE char *v = str_dup(str_of(value));

    map_put(props, str_of(name), v);
    map_put(props, STR("forebay.ufs.retry.first.ms"), "1");
    ASSERT_OK(open(&o, &counters, below, &l));
    map_free(props);
    return l;
}

static int layer_put(struct ufs_layer *l, const char *text, struct ufs_put_opts o, struct ufs_stat *st)
{
    struct feed f = {.p = text, .n = strlen(text)};
    struct ufs_body b = {.next = feed_next, .arg = &f, .size = o.size ? o.size : f.n};

    o.size = b.size;
    return l->op.put(l, soon(), STR("k"), &o, &b, st);
}

/* ---- defaults ---- */

static void a_driver_with_little(void **state)
{
    struct little *t = little_new(0);
    struct ufs_layer *l = &t->l;
    static const struct ufs_pair pair = {{"content-type", 12}, {"a/b", 3}};
    struct ufs_put_opts o = {.size = UFS_SIZE_UNKNOWN, .meta = {&pair, 1}};
    struct str keys[2] = {STR("k"), STR("j")};
    char upload[1100];
    struct ufs_stat st;
    int codes[2] = {1, 1};
    void *w;

    (void)state;
    ASSERT_OK(l->op.begin(l, STR("k"), &o, &w)); /* a writer over put */
    ASSERT_OK(l->op.write(l, w, "hel", 3));
    ASSERT_OK(l->op.write(l, w, "lo", 2));
    assert_log(t, "");
    ASSERT_OK(l->op.commit(l, soon(), w, &(struct ufs_put_opts){0}, &st));
    assert_log(t, "put ");
    assert_string_equal(t->bytes.p, "hello");
    assert_int_equal(t->meta.meta.n, 1);
    ASSERT_OK(l->op.copy(l, soon(), STR("k"), STR("c"), "v", &st)); /* read and written through */
    assert_log(t, "stat read put ");
    assert_string_equal(t->key, "c");
    assert_true(str_eq(t->meta.pair[0].value, STR("a/b")));
    ASSERT_CODE(l->op.copy(l, soon(), STR("c"), STR("d"), "w", &st), ERR_PRECONDITION);
    ASSERT_OK(l->op.delete_many(l, soon(), keys, 2, codes));
    assert_log(t, "stat del del ");
    assert_true(codes[0] == 0 && codes[1] == 0);
    ASSERT_CODE(l->op.rename(l, soon(), STR("a"), STR("b")), ERR_NOT_IMPLEMENTED);
    ASSERT_CODE(l->op.set_meta(l, soon(), STR("a"), &o.meta, &st), ERR_NOT_IMPLEMENTED);
    ASSERT_CODE(l->op.mpu_create(l, soon(), STR("a"), &o, upload), ERR_NOT_IMPLEMENTED);
    ASSERT_OK(l->op.sync(l));
    ASSERT_OK(l->op.begin(l, STR("k"), &o, &w));
    l->op.abort(l, w);
    l->op.close(l);
}

/* ---- parts ---- */

static void objects_are_cut(void **state)
{
    struct little *t = little_new(UFS_CAP_MULTIPART);
    struct ufs_layer *l = wrap(ufs_parts_open, "forebay.ufs.copy.part.size", "4", &t->l);
    struct ufs_stat st;

    (void)state;
    ASSERT_OK(layer_put(l, "12345", (struct ufs_put_opts){0}, &st));
    ASSERT_OK(layer_put(l, "12345", (struct ufs_put_opts){.part_size = 5}, &st));
    assert_log(t, "put put ");
    ASSERT_OK(layer_put(l, "12345", (struct ufs_put_opts){.part_size = 2}, &st));
    assert_log(t, "create part1:2 part2:2 part3:1 complete ");
    assert_string_equal(st.version, "whole");
    t->parts = 0;
    ASSERT_OK(layer_put(l, "12", (struct ufs_put_opts){.part_size = 2, .size = UFS_SIZE_UNKNOWN}, &st));
    assert_log(t, "put ");
    t->fail_times = 2; /* the second part */
    t->fail_code = ERR_DENIED;
    ASSERT_CODE(layer_put(l, "12345", (struct ufs_put_opts){.part_size = 2}, &st), ERR_DENIED);
    assert_non_null(strstr(t->log.p, "abort"));
    buf_reset(&t->log);
    t->parts = 0;
    ASSERT_OK(layer_put(l, "12345", (struct ufs_put_opts){0}, &st));
    buf_reset(&t->log);
    ASSERT_OK(l->op.copy(l, soon(), STR("k"), STR("c"), NULL, &st));
    assert_log(t, "stat stat create copy1:0+4 copy2:4+1 complete ");
    l->op.close(l);
    t->l.op.close(&t->l);
}

static void an_unknown_outcome_is_not_aborted(void **state)
{
    struct little *t = little_new(UFS_CAP_MULTIPART);
    struct ufs_layer *l = wrap(ufs_parts_open, "x", "y", &t->l);
    struct ufs_put_opts o = {.part_size = 2, .size = 3};
    struct ufs_stat st;
    void *w;

    (void)state;
    ASSERT_OK(l->op.begin(l, STR("k"), &o, &w));
    ASSERT_OK(l->op.write(l, w, "123", 3));
    t->fail_code = ERR_UNKNOWN_OUTCOME;
    t->fail_times = 2; /* counted down by the last part, used up by complete */
    ASSERT_CODE(l->op.commit(l, soon(), w, &o, &st), ERR_UNKNOWN_OUTCOME);
    assert_log(t, "create part1:2 part2:1 complete ");
    l->op.close(l);
    t->l.op.close(&t->l);
}

/* 10,000 parts are enough for anything: they grow. */
static void parts_grow(void **state)
{
    struct little *t = little_new(UFS_CAP_MULTIPART);
    struct ufs_layer *l = wrap(ufs_parts_open, "x", "y", &t->l);
    AUTO_FREE char *text = mem_alloc(20001);
    struct ufs_stat st;

    (void)state;
    memset(text, 'x', 20000);
    text[20000] = 0;
    ASSERT_OK(layer_put(l, text, (struct ufs_put_opts){.part_size = 1, .size = UFS_SIZE_UNKNOWN}, &st));
    /* 1000 * 1 + 1000 * 2 + 1000 * 4 + 1000 * 8 = 15000, the rest in parts of 16 */
    assert_int_equal(t->parts, 4000 + 313);
    assert_int_equal(t->largest, 16);
    t->parts = t->largest = 0;
    ASSERT_OK(layer_put(l, text, (struct ufs_put_opts){.part_size = 1}, &st));
    assert_int_equal(t->largest, 0); /* a known size: one part of 1 MiB would do, so one request does */
    l->op.close(l);
    t->l.op.close(&t->l);
}

/* ---- retry ---- */

static void tries(void **state)
{
    struct little *t = little_new(0);
    struct ufs_layer *l = wrap(ufs_retry_open, "forebay.ufs.retry.attempts", "3", &t->l);
    struct ufs_stat st;

    (void)state;
    t->fail_times = 2;
    t->fail_code = ERR_THROTTLED;
    ASSERT_OK(layer_put(l, "hello", (struct ufs_put_opts){0}, &st));
    assert_log(t, "put put put ");
    assert_string_equal(t->bytes.p, "hello"); /* the same body again */
    t->fail_times = 9;
    t->fail_code = ERR_UNREACHABLE;
    ASSERT_CODE(l->op.stat(l, soon(), STR("k"), &st, NULL, NULL), ERR_UNREACHABLE);
    assert_log(t, "stat stat stat ");
    t->fail_code = ERR_UNKNOWN_OUTCOME;
    ASSERT_CODE(layer_put(l, "x", (struct ufs_put_opts){0}, &st), ERR_UNKNOWN_OUTCOME);
    ASSERT_CODE(l->op.del(l, soon(), STR("k"), NULL), ERR_UNKNOWN_OUTCOME);
    t->fail_code = ERR_NO_SPACE;
    ASSERT_CODE(layer_put(l, "x", (struct ufs_put_opts){0}, &st), ERR_NO_SPACE);
    assert_log(t, "put del put ");
    t->fail_times = 9;
    t->fail_code = ERR_THROTTLED; /* no time left: no second try */
    ASSERT_CODE(l->op.stat(l, clock_mono_ns(), STR("k"), &st, NULL, NULL), ERR_THROTTLED);
    assert_log(t, "stat ");
    t->fail_times = 0;
    struct feed f = {
        .p = "12345", .n = 5, .fail_at = 3, .piece = 3, .code = ERR_THROTTLED}; /* the source's own error */
    struct ufs_body b = {.next = feed_next, .arg = &f, .size = 5};
    ASSERT_CODE(l->op.put(l, soon(), STR("k"), &(struct ufs_put_opts){.size = 5}, &b, &st), ERR_THROTTLED);
    assert_log(t, "");
    l->op.close(l);
    t->l.op.close(&t->l);
}

/* ---- limit ---- */

static void *stat_once(void *arg)
{
    struct ufs_layer *l = arg;
    struct ufs_stat st;

    return (void *)(intptr_t)l->op.stat(l, soon(), STR("k"), &st, NULL, NULL);
}

static void at_most_so_many(void **state)
{
    struct little *t = little_new(0);
    struct ufs_layer *l = wrap(ufs_limit_open, "forebay.ufs.requests.max", "2", &t->l);
    struct ufs_stat st;
    pthread_t th[6];

    (void)state;
    t->hold = true;
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&th[i], NULL, stat_once, l), 0);
    while (t->running < 2)
        usleep(1000);
    ASSERT_CODE(l->op.stat(l, clock_mono_ns() + 20000000, STR("k"), &st, NULL, NULL),
                ERR_THROTTLED); /* no place in time */
    t->hold = false;
    for (int i = 0; i < 6; i++) {
        void *r;
        pthread_join(th[i], &r);
        assert_int_equal((intptr_t)r, ERR_NOT_FOUND);
    }
    assert_int_equal(t->most, 2);
    l->op.close(l);
    t->l.op.close(&t->l);
}

/* ---- options ---- */

static void options_are_checked(void **state)
{
    struct world w = {.uri = "mem:options"};
    static const char *const bad[][2] = {{"forebay.ufs.retry.attempts", "many"},
                                         {"forebay.ufs.retry.attempts", "-1"},
                                         {"forebay.ufs.copy.part.size", "0"}};
    struct ufs *u;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        world_option(&w, bad[i][0], bad[i][1]);
        ASSERT_CODE(world_open(&w, 0, &u), ERR_INVALID);
        assert_non_null(strstr(err_detail(ERR_INVALID), bad[i][0]));
        free(map_del(w.props, str_of(bad[i][0])));
    }
    map_free(w.props);
    ufs_mem_drop("options");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_driver_with_little),
        cmocka_unit_test(objects_are_cut),
        cmocka_unit_test(an_unknown_outcome_is_not_aborted),
        cmocka_unit_test(parts_grow),
        cmocka_unit_test(tries),
        cmocka_unit_test(at_most_so_many),
        cmocka_unit_test(options_are_checked),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
