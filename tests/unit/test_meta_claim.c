/* SPDX-License-Identifier: Apache-2.0
 *
 * Claims of writes that keep no file: what a listing sees that is under way meanwhile.
 */
#include "base/clock.h"
#include "base/err.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "ufs/ufs_mem.h"
#include "cm.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int ok_r_ = (call);                                                                                            \
        if (ok_r_ < 0)                                                                                                 \
            fail_msg("%s: %s", #call, err_detail(ok_r_));                                                              \
    } while (0)

static struct kv *kv;
static struct meta *m;
static uint64_t mount;

static struct ufs_stat stat_of(const char *version, uint64_t size)
{
    struct ufs_stat st = {.size = size, .mtime_ms = clock_wall_ms()};
    snprintf(st.version, sizeof st.version, "%s", version);
    return st;
}

/* As a listing loads what it saw in the UFS. */
static void load(const char *key, const struct ufs_stat *st)
{
    struct meta_load_entry e = {.path = str_of(key), .st = st, .ident = str_of(key)};
    struct meta_load l = {
        .dir = META_ROOT, .path = STR("demo/"), .entry = &e, .n = 1, .whole_epoch = true, .start_ms = clock_wall_ms()};
    OK(meta_epoch(m, mount, STR(""), true, &l.epoch));
    OK(meta_load(m, &l));
    assert_false(e.ask_again);
}

static int collect(void *arg, const struct meta_entry *e)
{
    buf_printf(arg, "%.*s=%s ", STR_ARG(e->key), e->i->ver);
    return 0;
}

static void lists(const char *want)
{
    struct meta_list q = {.dir = META_ROOT, .path = STR("demo/"), .limit = 100};
    struct buf got AUTO_BUF = {0};
    bool more;
    OK(meta_list(m, &q, collect, &got, NULL, &more, NULL));
    buf_putz(&got, "");
    assert_string_equal(got.p, want);
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    print_message("%s\n", line);
}

static void a_file_loaded_under_a_claim_stays(void **state)
{
    (void)state;
    struct meta_claim c = {.dir = META_ROOT, .path = STR("demo/d/k"), .kind = CLAIM_PUT};
    struct ufs_stat old = stat_of("old", 5), new = stat_of("new", 7);
    OK(meta_claim(m, &c));
    load("d/k", &old);
    lists("d/k=old ");
    c.st = &new;
    OK(meta_unclaim(m, &c, true, 0));
    lists("d/k=new ");
    assert_int_equal(meta_fsck(m, NULL, NULL, print_line, NULL), 0);
}

static void a_deleted_one_goes(void **state)
{
    (void)state;
    struct meta_claim c = {.dir = META_ROOT, .path = STR("demo/d/k"), .kind = CLAIM_PUT};
    struct ufs_stat old = stat_of("old", 5);
    OK(meta_claim(m, &c));
    load("d/k", &old);
    OK(meta_unclaim(m, &c, true, 0));
    lists("");
    assert_int_equal(meta_fsck(m, NULL, NULL, print_line, NULL), 0);
}

static int build(void **state)
{
    struct kv_options ko = {0};
    struct meta_mount *mt;
    struct ufs *u;
    (void)state;
    OK(kv_open(&kv_engine_mem, &ko, &kv));
    struct meta_options mo = {.kv = kv, .deadline_ms = 1000, .write_cache = true, .sync_ms = 60000};
    OK(meta_open(&mo, &m));
    OK(ufs_open("mem:claim", NULL, &u));
    OK(meta_mount_add(m, STR("/demo"), "mem:claim", "", u));
    OK(meta_mount_find(m, STR("/demo"), &mt));
    mount = mt->id;
    meta_mount_put(m, mt);
    return 0;
}

static int wreck(void **state)
{
    (void)state;
    m = meta_close(m);
    kv = kv_close(kv);
    ufs_mem_drop("claim");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_loaded_under_a_claim_stays, build, wreck),
        cmocka_unit_test_setup_teardown(a_deleted_one_goes, build, wreck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
