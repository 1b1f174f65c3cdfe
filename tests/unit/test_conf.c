/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include <unistd.h>

static struct buf warnings;

static void collect(void *arg, const char *text)
{
    (void)arg;
    buf_printf(&warnings, "%s\n", text);
}

static struct conf *fresh(enum conf_role role)
{
    struct conf *c = conf_new(role);
    buf_done(&warnings);
    conf_on_warning(c, collect, NULL);
    return c;
}

static void assert_warned(const char *words)
{
    if (!warnings.p || !strstr(warnings.p, words))
        fail_msg("no warning says \"%s\":\n%s", words, warnings.p ? warnings.p : "(none)");
}

static void assert_refused(struct conf *c, const char *name, const char *value, const char *words)
{
    assert_int_equal(conf_set(c, name, value, "command line"), ERR_INVALID);
    if (!strstr(err_detail(ERR_INVALID), words))
        fail_msg("\"%s\" is not in: %s", words, err_detail(ERR_INVALID));
}

static void defaults(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    assert_false(conf_bool(c, PROP_WRITE_CACHE_ENABLED));
    assert_false(conf_bool(c, PROP_S3_ENABLED));
    assert_true(conf_bool(c, PROP_S3_KEEP_ALIVE));
    assert_int_equal(conf_ms(c, PROP_ORPHAN_TIMEOUT), 3600000);
    assert_int_equal(conf_ms(c, PROP_METADATA_SYNC_INTERVAL), 60000);
    assert_int_equal(conf_size(c, PROP_PAGE_SIZE), 1 << 20);
    assert_int_equal(conf_size(c, PROP_S3_META_MAX), 2048);
    assert_int_equal(conf_u64(c, PROP_S3_PORT), 29998);
    assert_true(conf_double(c, PROP_PINNED_RATIO) == 0.3);
    assert_int_equal(conf_enum(c, PROP_S3_REDIRECT), 0);
    assert_string_equal(conf_string(c, PROP_S3_REDIRECT), "auto");
    assert_string_equal(conf_string(c, PROP_FDB_CLUSTER_FILE), "/opt/alluxio/conf/fdb.cluster");
    assert_false(conf_is_set(c, PROP_S3_PORT));
}

static void standalone_defaults(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_STANDALONE);
    assert_true(conf_bool(c, PROP_WRITE_CACHE_ENABLED));
    assert_true(conf_bool(c, PROP_S3_ENABLED));
    assert_string_equal(conf_string(c, PROP_S3_BIND), "127.0.0.1");
}

static void a_file(void **state)
{
    (void)state;
    static const char text[] = "\xef\xbb\xbf# comment \\\n"
                               "! another\r\n"
                               "\r\n"
                               "alluxio.worker.s3.port=1234\r\n"
                               "  alluxio.worker.s3.api.enabled : TRUE  \n"
                               "alluxio.write.cache.async.check.orphan.timeout 2h\n"
                               "alluxio.worker.page.store.dirs = /a,\\\n"
                               "      /b,\\\r\n"
                               "   /c\n"
                               "forebay.s3.virtual.host.domains=\\u00e4.example\\t\\=\\\\x\n"
                               "forebay.s3.bucket\\.root.ufs=\n"
                               "forebay.multipart.expire=1min\\";
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    assert_int_equal(conf_load_text(c, str_mk(text, sizeof text - 1), "t.properties"), 0);
    assert_int_equal(warnings.n, 0);
    assert_int_equal(conf_u64(c, PROP_S3_PORT), 1234);
    assert_true(conf_bool(c, PROP_S3_ENABLED));
    assert_int_equal(conf_ms(c, PROP_ORPHAN_TIMEOUT), 7200000);
    assert_string_equal(conf_string(c, PROP_PAGE_DIRS), "/a,/b,/c");
    assert_string_equal(conf_string(c, PROP_S3_VHOST_DOMAINS), "\xc3\xa4.example\t=\\x");
    assert_true(conf_is_set(c, PROP_S3_BUCKET_ROOT));
    assert_int_equal(conf_ms(c, PROP_MULTIPART_EXPIRE), 60000);
}

static void files_come_from_disk(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    char path[] = "/tmp/forebay-conf-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "alluxio.worker.s3.port=77\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    assert_int_equal(conf_load_file(c, path), 0);
    assert_int_equal(conf_u64(c, PROP_S3_PORT), 77);
    unlink(path);
    assert_int_equal(conf_load_file(c, path), ERR_NOT_FOUND);
    assert_non_null(strstr(err_detail(ERR_NOT_FOUND), path));
    assert_int_equal(conf_load_file(c, "/"), ERR_IS_DIR);
}

static void bad_values_name_their_place(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    static const char text[] = "alluxio.worker.s3.port=5\n\nalluxio.worker.s3.only.https.access=yes\n";
    assert_int_equal(conf_load_text(c, str_of(text), "x.properties"), ERR_INVALID);
    assert_string_equal(err_detail(ERR_INVALID),
                        "x.properties:3: alluxio.worker.s3.only.https.access=yes: true or false is expected");
    assert_int_equal(conf_u64(c, PROP_S3_PORT), 29998); /* all or nothing */
    assert_refused(c, "alluxio.worker.s3.port", "65536",
                   "command line: alluxio.worker.s3.port=65536: a whole number of 0..65535");
    assert_refused(c, "alluxio.worker.s3.port", "", "whole number");
    assert_refused(c, "alluxio.worker.page.store.page.size", "1XB", "a size such as");
    assert_refused(c, "alluxio.worker.page.store.page.size", "-1", "a size such as");
    assert_refused(c, "alluxio.worker.page.store.page.size", "MB", "a size such as");
    assert_refused(c, "alluxio.worker.page.store.page.size", "99999999999TB", "a size such as");
    assert_refused(c, "alluxio.worker.page.store.page.size", "1.2.3MB", "a size such as");
    assert_refused(c, "forebay.ufs.request.deadline", "-1", "a time such as");
    assert_refused(c, "forebay.ufs.request.deadline", "1 fortnight", "a time such as");
    assert_refused(c, "alluxio.worker.page.store.pinned.file.capacity.limit.ratio", "1.5", "0 to 1");
    assert_refused(c, "alluxio.worker.page.store.pinned.file.capacity.limit.ratio", ".", "0 to 1");
    assert_refused(c, "forebay.write.full.policy", "panic", "one of fail|degrade");
    assert_refused(c, "forebay.write.full.policy", "", "one of fail|degrade");
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } t[] = {{"0", 0},
             {"4096", 4096},
             {"512B", 512},
             {"10KB", 10240},
             {"64kib", 65536},
             {"1MB", 1 << 20},
             {"64MiB", 64 << 20},
             {"1.5 GB", 3ull << 29},
             {"1TB", 1ull << 40},
             {"2m", 2 << 20},
             {" 1k ", 1024},
             {"1PB", 1ull << 50},
             {"18446744073709551615", UINT64_MAX}};
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(conf_set(c, "alluxio.worker.page.store.page.size", t[i].text, "test"), 0);
        assert_true(conf_size(c, PROP_PAGE_SIZE) == t[i].bytes);
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } t[] = {{"0sec", 0},       {"500ms", 500},       {"1s", 1000},     {"3sec", 3000},      {"60s", 60000},
             {"10min", 600000}, {"1h", 3600000},      {"1d", 86400000}, {"7d", 604800000},   {"250", 250},
             {"1.5 s", 1500},   {"2 Hours", 7200000}, {"5m", 300000},   {"1 MILLISECOND", 1}};
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(conf_set(c, "forebay.ufs.request.deadline", t[i].text, "test"), 0);
        assert_true(conf_ms(c, PROP_UFS_DEADLINE) == t[i].ms);
    }
    assert_int_equal(conf_set(c, "alluxio.user.file.metadata.sync.interval", "-1", "test"), 0);
    assert_true(conf_ms(c, PROP_METADATA_SYNC_INTERVAL) == CONF_NEVER);
}

static void words_in_any_case(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    assert_int_equal(conf_set(c, "alluxio.worker.s3.redirect.enabled", "False", "test"), 0);
    assert_int_equal(conf_enum(c, PROP_S3_REDIRECT), 2);
}

static void substitution(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    static const char text[] = "alluxio.user.fuse.path.based.config.file.path=${ALLUXIO_HOME}/conf/pathConfig.json\n"
                               "alluxio.foundationdb.cluster.file.path=${alluxio.conf.dir}/x/${FB_TEST_ENV}.y${\n"
                               "forebay.s3.tls.port=${alluxio.worker.s3.port}\n"
                               "alluxio.worker.s3.port=4\n"
                               "alluxio.home=/h\n";
    unsetenv("ALLUXIO_HOME");
    setenv("FB_TEST_ENV", "env", 1);
    assert_int_equal(conf_load_text(c, str_of(text), "t"), 0);
    assert_string_equal(conf_string(c, PROP_WRITE_BACK_PATHS), "/h/conf/pathConfig.json");
    assert_string_equal(conf_string(c, PROP_FDB_CLUSTER_FILE), "/h/conf/x/env.y${");
    assert_int_equal(conf_u64(c, PROP_S3_TLS_PORT), 4);
    assert_refused(c, "alluxio.home", "${alluxio.conf.dir}", "refers to itself");
    assert_refused(c, "alluxio.home", "${no.such.thing}", "${no.such.thing} is neither");
    assert_refused(c, "alluxio.home", "${s3a.secretKey}", "secret");
    assert_string_equal(conf_string(c, PROP_HOME), "/h");
}

static void odd_lines_are_warnings(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    static const char text[] = "alluxio.worker.s3.prot=1\n"
                               "com.example.other=1\n"
                               "alluxio.etcd.endpoints=http://e:2379\n"
                               "alluxio.worker.s3.port=9\n";
    assert_int_equal(conf_load_text(c, str_of(text), "t"), 0);
    assert_warned("t:1: alluxio.worker.s3.prot is not a property; did you mean alluxio.worker.s3.port?");
    assert_warned("t:2: com.example.other is not a property; it is ignored");
    assert_warned("t:3: alluxio.etcd.endpoints is accepted but not in force in this version");
    assert_int_equal(conf_u64(c, PROP_S3_PORT), 9);
}

static int find_secret(void *arg, const struct conf_item *it)
{
    (*(int *)arg)++;
    assert_null(strstr(it->value, "hush"));
    return strcmp(it->name, "s3a.secretKey") == 0 ? 5 : 0;
}

static void secrets_are_not_shown(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    int n = 0;
    assert_int_equal(conf_set(c, "s3a.secretKey", "hush", "test"), 0);
    assert_string_equal(conf_string(c, PROP_S3A_SECRET_KEY), "hush");
    assert_int_equal(conf_each(c, find_secret, &n), 5);
    assert_int_equal(n, PROP_COUNT); /* the last by name */
    assert_int_equal(conf_set(c, "s3a.secretKey", "hush${x", "test"), 0);
    assert_int_equal(conf_set(c, "s3a.secretKey", "hush${x}", "test"), ERR_INVALID);
    assert_null(strstr(err_detail(ERR_INVALID), "hush"));
}

static void by_name(void **state)
{
    (void)state;
    struct conf *c AUTO_CONF = fresh(CONF_WORKER);
    struct conf_item it;
    assert_int_equal(conf_get_by_name(c, STR("alluxio.write.cache.enabled"), &it), 0);
    assert_string_equal(it.value, "false");
    assert_string_equal(it.source, "default");
    assert_false(it.is_set);
    assert_true(it.in_force);
    assert_int_equal(conf_set(c, it.name, "true", "command line"), 0);
    assert_int_equal(conf_get_by_name(c, STR("alluxio.write.cache.enabled"), &it), 0);
    assert_string_equal(it.source, "command line");
    assert_int_equal(conf_get_by_name(c, STR("alluxio.write.cache.enable"), &it), ERR_NOT_FOUND);
    assert_non_null(strstr(err_detail(ERR_NOT_FOUND), "did you mean alluxio.write.cache.enabled?"));
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (int i = 0; i < PROP_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(conf_name((enum conf_prop)i), conf_name((enum conf_prop)j));
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    conf_print_markdown(f);
    fclose(f);
    for (int i = 0; i < PROP_COUNT; i++)
        assert_non_null(strstr(text, conf_name((enum conf_prop)i)));
    assert_non_null(strstr(text, "| `false`; standalone: `true` |"));
    free(text);
}

static int done(void **state)
{
    (void)state;
    buf_done(&warnings);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(standalone_defaults),
        cmocka_unit_test(a_file),
        cmocka_unit_test(files_come_from_disk),
        cmocka_unit_test(bad_values_name_their_place),
        cmocka_unit_test(sizes),
        cmocka_unit_test(times),
        cmocka_unit_test(words_in_any_case),
        cmocka_unit_test(substitution),
        cmocka_unit_test(odd_lines_are_warnings),
        cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(by_name),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
