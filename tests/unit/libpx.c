/* SPDX-License-Identifier: Apache-2.0 */
#include "px_rig.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

char top[200];
uint64_t room;
struct conf *conf;
struct page_store *pages;
struct kv *kv;
struct meta *m;
struct fs *fs;
struct persist *persist;
struct fs_px *px;
uint64_t dir;
struct buf told;

static int before_sync(void *arg)
{
    (void)arg;
    return page_sync(pages);
}

void told_of(void *arg, uint64_t parent, struct str name, uint64_t ino)
{
    (void)arg;
    (void)parent;
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one);
    buf_printf(&told, "%.*s:%llu ", STR_ARG(name), (unsigned long long)(name.n ? 0 : ino));
    pthread_mutex_unlock(&one);
}

void start(void)
{
    char path[300];
    conf = conf_new(CONF_STANDALONE);
    OK(conf_set(conf, "alluxio.write.cache.enabled", "true", "test"));
    OK(conf_set(conf, "forebay.persist.quiet", "0", "test"));
    OK(conf_set(conf, "forebay.reader.hold", "0",
                "test")); /* else uploads wait for readers of what cannot be brought back */
    snprintf(path, sizeof path, "%s/pages", top);
    struct page_dir_spec d = {path, room};
    struct page_options po = {.dirs = &d, .dir_count = 1, .page_size = 1 << 20, .pinned_ratio = 0.9};
    OK(page_open(&po, &pages));
    char kvdir[300];
    snprintf(kvdir, sizeof kvdir, "%s/meta", top);
    struct kv_options ko = {.dir = kvdir, .before_sync = before_sync};
    OK(kv_open(&kv_engine_rocksdb, &ko, &kv));
    struct meta_options mo = {.kv = kv, .sync_ms = 60000, .write_cache = true};
    OK(meta_open(&mo, &m));
    struct fs_options fo = {m, pages, conf};
    OK(fs_new(&fo, &fs));
    struct persist_options eo = {m, pages, conf};
    OK(persist_new(&eo, &persist));
    struct fs_px_options xo = {.changed = told_of, .uid = 1000, .gid = 1000};
    OK(fs_px_new(fs, &xo, &px));
}

void stop(void)
{
    px = fs_px_free(px);
    persist = persist_free(persist);
    fs = fs_free_door(fs);
    m = meta_close(m);
    kv = kv_close(kv);
    pages = page_close(pages);
    conf = conf_free(conf);
}

void resolve(void)
{
    OK(fs_px_resolve(px, STR("/b"), &dir));
}

void restart(void)
{
    stop();
    start();
    resolve();
}

static void say(void *arg, const char *line)
{
    if (*(bool *)arg)
        print_error("fsck: %s\n", line);
}

static bool has(void *arg, uint64_t blob, uint64_t off, uint64_t n)
{
    return page_has(arg, blob, off, n);
}

/* The door's own threads may be writing: then it is looked at again. What is broken stays broken. */
void fsck(void)
{
    bool last = true;
    assert_int_equal(meta_fsck(m, has, pages, say, &last), 0);
    int r = -1;
    for (int tries = 10; r < 0 && tries--; clock_sleep_ms(r < 0 ? 100 : 0)) {
        last = tries == 0;
        r = page_check(pages, true, say, &last);
    }
    assert_int_equal(r, 0);
}

int setup(void **state)
{
    (void)state;
    room = 1ull << 30;
    snprintf(top, sizeof top, "/tmp/forebay-px-XXXXXX");
    assert_non_null(mkdtemp(top));
    char path[300], uri[300];
    snprintf(path, sizeof path, "%s/ufs", top);
    mkdir(path, 0755);
    start();
    snprintf(uri, sizeof uri, "file://%s/ufs", top);
    OK(fs_rules_set(fs,
                    STR("{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\"}, \"pathRules\": ["
                        "{\"alluxioPath\": \"/b/ro/*\", \"policyMode\": \"READ_ONLY\"},"
                        "{\"alluxioPath\": \"/b/tmp/**\", \"policyMode\": \"TRANSIENT\"}]}")));
    OK(fs_mount_add(fs, STR("/b"), uri, NULL, 0));
    resolve();
    return 0;
}

int teardown(void **state)
{
    (void)state;
    char cmd[300];
    fsck();
    stop();
    buf_done(&told);
    snprintf(cmd, sizeof cmd, "rm -rf %s", top);
    return system(cmd);
}

struct fs_px_handle *make(uint64_t parent, const char *name, int flags)
{
    struct fs_px_stat st;
    struct fs_px_handle *h;
    OK(fs_px_create(px, parent, str_of(name), 0640, 7, 8, flags, &st, &h));
    return h;
}

void put(uint64_t parent, const char *name, const char *text)
{
    struct fs_px_handle *h = make(parent, name, O_RDWR | O_TRUNC);
    OK(fs_px_write(h, 0, text, strlen(text), false));
    OK(fs_px_flush(h));
    OK(fs_px_release(h));
}

struct fs_px_stat look(uint64_t parent, const char *name)
{
    struct fs_px_stat st = {0};
    OK(fs_px_lookup(px, parent, str_of(name), &st));
    return st;
}

struct fs_px_handle *open_it(uint64_t parent, const char *name, int flags)
{
    struct fs_px_handle *h = NULL;
    OK(fs_px_open(px, look(parent, name).ino, flags, &h, NULL));
    return h;
}

const char *handle_text(struct fs_px_handle *h)
{
    static char text[100000];
    size_t n;
    OK(fs_px_read(h, 0, text, sizeof text - 1, &n));
    text[n] = 0;
    return text;
}

void holds(uint64_t parent, const char *name, const char *text)
{
    struct fs_px_handle *h = open_it(parent, name, O_RDONLY);
    assert_string_equal(handle_text(h), text);
    OK(fs_px_release(h));
}

int into(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

void s3_holds(const char *path, const char *text)
{
    struct buf b AUTO_BUF = {0};
    struct fs_file *f;
    struct fs_sink sink = {.bytes = into, .arg = &b};
    OK(fs_open(fs, fs_path(str_of(path)), 0, &f));
    OK(fs_read(f, 0, UINT64_MAX, &sink));
    assert_int_equal(fs_file_attr(f)->size, b.n);
    assert_string_equal(b.n ? b.p : "", text);
    fs_close(f);
}

void s3_put(const char *path, const char *text)
{
    struct fs_write o = {.size = strlen(text)};
    struct fs_writer *w;
    struct fs_attr a;
    OK(fs_create(fs, fs_path(str_of(path)), &o, &w));
    OK(fs_write(w, text, strlen(text)));
    OK(fs_commit(w, NULL, &a));
}

void persist_all(void)
{
    uint64_t files = 1, bytes, oldest;
    for (int i = 0; i < 100 && files; i++) {
        OK(persist_drain(persist));
        OK(meta_dirty(m, 0, &files, &bytes, &oldest));
        if (files)
            clock_sleep_ms(5);
    }
    assert_int_equal(files, 0);
}

void ufs_holds(const char *key, const char *text)
{
    char path[400], got[1000];
    snprintf(path, sizeof path, "%s/ufs/%s", top, key);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s is not in the under file system", key);
    size_t n = fread(got, 1, sizeof got - 1, f);
    got[n] = 0;
    fclose(f);
    assert_string_equal(got, text);
}

char *pattern(size_t n, unsigned seed)
{
    char *p = malloc(n + 1);
    uint64_t s = seed * 2654435761u + 88172645463325252ull;
    for (size_t i = 0; i < n; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        p[i] = (char)s;
    }
    p[n] = 0;
    return p;
}

void put_bytes(const char *name, const char *p, size_t n)
{
    struct fs_px_handle *h = make(dir, name, O_RDWR | O_TRUNC);
    OK(fs_px_write(h, 0, p, n, false));
    OK(fs_px_release(h));
}

void same_bytes(struct fs_px_handle *h, const char *want, size_t n)
{
    char *got = malloc(n + 2);
    size_t k;
    OK(fs_px_read(h, 0, got, n + 1, &k));
    assert_int_equal(k, n);
    assert_memory_equal(got, want, n);
    free(got);
}

void has_bytes(const char *name, const char *want, size_t n)
{
    struct fs_px_handle *h = open_it(dir, name, O_RDONLY);
    same_bytes(h, want, n);
    OK(fs_px_release(h));
}

void free_all(void)
{
    uint64_t freed, files;
    OK(fs_free(fs, fs_path(STR("/b")), &freed, &files));
}

uint64_t pinned(void)
{
    struct page_figures f;
    page_figures(pages, &f);
    return f.pinned;
}

void share_all(const char *a, const char *b, size_t n)
{
    struct fs_px_handle *in = open_it(dir, a, O_RDONLY), *out = make(dir, b, O_RDWR);
    uint64_t done;
    OK(fs_px_copy_range(in, 0, out, 0, n, &done));
    assert_int_equal(done, n);
    OK(fs_px_release(in));
    OK(fs_px_release(out));
}

static int count_rows(void *arg, uint64_t off, const struct extent *e, size_t n, bool stored)
{
    (void)off;
    (void)e;
    (void)stored;
    *(size_t *)arg += n;
    return 0;
}

size_t extents_of(const char *name)
{
    struct meta_stat s;
    size_t n = 0;
    OK(meta_stat(m, look(dir, name).ino, &s));
    OK(meta_rows(m, s.i.content, count_rows, &n));
    return n;
}

void wait_few(const char *name, size_t most)
{
    for (int i = 0; i < 3000 && extents_of(name) > most; i++)
        clock_sleep_ms(10);
    assert_in_range(extents_of(name), 1, most);
}

uint64_t rnd(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

void skip_under_tsan(void)
{
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer knows no threads after fork\n");
    skip();
#endif
}

void in_child(void (*fn)(void))
{
    int status;
    skip_under_tsan();
    stop();
    pid_t pid = fork();
    if (pid == 0) {
        start();
        resolve();
        fn();
        kill(getpid(), SIGKILL);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    start();
    resolve();
}
