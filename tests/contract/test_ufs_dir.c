/* SPDX-License-Identifier: Apache-2.0
 *
 * What only a directory can do to us: roots that vanish, disks that are full, read-only or without attributes, links,
 * special files, other programs in the same tree, crashes between the steps of a put. What needs mounts runs as root
 * only.
 */
#include "libufs.h"
#include "base/fault.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MIB (1u << 20)

static char *at(const struct world *w, const char *path)
{
    static char full[8][512];
    static unsigned nth;
    char *p = full[nth++ % 8];

    snprintf(p, 512, "%s/%s", w->name, path);
    return p;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static size_t count_temps(const struct world *w)
{
    DIR *d = opendir(at(w, ".forebay/tmp"));
    size_t n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static int no_entry(void *arg, const struct ufs_entry *e)
{
    (void)arg, (void)e;
    return 0;
}

/* Every call says that the root cannot be reached: not "not found", not success. */
static void assert_unreachable(struct ufs *u)
{
    struct str key = STR("k");
    struct buf b AUTO_BUF = {0};
    struct ufs_stat st;
    int codes[1];
    bool more;

    ASSERT_CODE(ufs_stat(u, key, &st, NULL, NULL), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_stat(u, STR("never/was"), &st, NULL, NULL), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_list(u, STR(""), 0, STR(""), 0, no_entry, NULL, &more), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_list(u, STR("d/"), '/', STR(""), 0, no_entry, NULL, &more), ERR_UNREACHABLE);
    ASSERT_CODE(read_all(u, "k", &b), ERR_UNREACHABLE);
    ASSERT_CODE(put(u, "k", "x"), ERR_UNREACHABLE);
    ASSERT_CODE(put(u, "d/", ""), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_copy(u, key, STR("to"), NULL, &st), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_delete(u, key, NULL), ERR_UNREACHABLE);
    ASSERT_OK(ufs_delete_many(u, &key, 1, codes));
    ASSERT_CODE(codes[0], ERR_UNREACHABLE);
    ASSERT_CODE(ufs_rename(u, key, STR("to")), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_set_meta(u, key, &(struct ufs_meta){0}, &st), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_sync(u), ERR_UNREACHABLE);
}

/* ---- roots ---- */

static void a_removed_root(void **state)
{
    struct world *w = *state;

    ASSERT_OK(put(w->u, "k", "x"));
    remove_tree(w->name);
    assert_unreachable(w->u);
    assert_int_equal(mkdir(w->name, 0755), 0); /* another directory is not the one we knew */
    assert_unreachable(w->u);
    assert_int_equal(rmdir(w->name), 0); /* and nothing was written into it */
}

static void a_root_moved_away(void **state)
{
    struct world *w = *state;
    char away[200];

    ASSERT_OK(put(w->u, "k", "x"));
    snprintf(away, sizeof away, "%s-away", w->name);
    assert_int_equal(rename(w->name, away), 0);
    assert_unreachable(w->u);
    assert_int_equal(rename(away, w->name), 0);
    assert_text(w->u, "k", "x");
}

static void a_write_across_the_root_leaving(void **state)
{
    struct world *w = *state;
    struct ufs_put_opts o = {.size = 3};
    struct ufs_writer *wr;
    struct ufs_stat st;
    char away[200];

    ASSERT_OK(ufs_write_begin(w->u, STR("a/k"), &o, &wr));
    ASSERT_OK(ufs_write(wr, "abc", 3));
    snprintf(away, sizeof away, "%s-away", w->name);
    assert_int_equal(rename(w->name, away), 0);
    ASSERT_CODE(ufs_write_commit(wr, NULL, &st), ERR_UNREACHABLE);
    assert_int_equal(rename(away, w->name), 0);
    assert_keys(w->u, "", 0, "");
}

static void markers_and_allowed_roots(void **state)
{
    struct world *w = *state;
    struct ufs_options o = {.props = w->props};
    struct ufs *u;

    world_option(w, "forebay.ufs.dir.marker", "is-mounted");
    ASSERT_CODE(world_open(w, 0, &u), ERR_UNREACHABLE);
    write_file(at(w, "is-mounted"), "");
    ASSERT_OK(world_open(w, 0, &u));
    ASSERT_OK(put(u, "k", "x"));
    unlink(at(w, "is-mounted"));
    assert_unreachable(u);
    ufs_close(u);
    write_file(at(w, "is-mounted"), "");

    o.props = w->props;
    o.allowed_roots = "/nowhere:/usr";
    ASSERT_CODE(ufs_open(w->uri, &o, &u), ERR_DENIED);
    o.allowed_roots = "/tm"; /* a prefix of the name is no parent */
    ASSERT_CODE(ufs_open(w->uri, &o, &u), ERR_DENIED);
    o.allowed_roots = "/nowhere:/tmp/";
    ASSERT_OK(ufs_open(w->name, &o, &u)); /* a bare path too */
    ufs_close(u);
    char tricky[300];
    snprintf(tricky, sizeof tricky, "file://%s/../../usr", w->name);
    ASSERT_CODE(ufs_open(tricky, &o, &u), ERR_DENIED);

    ASSERT_CODE(ufs_open("file:///no/such/root", NULL, &u), ERR_UNREACHABLE);
    ASSERT_CODE(ufs_open("file://relative", NULL, &u), ERR_INVALID);
    ASSERT_CODE(ufs_open("ftp://x", NULL, &u), ERR_INVALID);
    ASSERT_CODE(ufs_open("", NULL, &u), ERR_INVALID);
}

/* ---- what lies in the tree ---- */

static void links_and_special_files(void **state)
{
    struct world *w = *state;
    struct buf b AUTO_BUF = {0};
    struct ufs_stat st;
    char outside[200], file[220];

    snprintf(outside, sizeof outside, "%s-outside", w->name);
    snprintf(file, sizeof file, "%s/secret", outside);
    assert_int_equal(mkdir(outside, 0755), 0);
    write_file(file, "secret");
    assert_int_equal(symlink(file, at(w, "link")), 0);
    assert_int_equal(symlink(outside, at(w, "dirlink")), 0);
    assert_int_equal(symlink("real", at(w, "inner")), 0);
    assert_int_equal(mkfifo(at(w, "fifo"), 0644), 0);
    write_file(at(w, "real"), "real");
    assert_keys(w->u, "", 0, "real");
    assert_keys(w->u, "", '/', "real");
    assert_keys(w->u, "dirlink/", 0, "");
    static const char *const keys[] = {"link", "dirlink/secret", "inner", "fifo", "dirlink/", "dirlink"};
    for (size_t i = 0; i < 6; i++) {
        ASSERT_CODE(ufs_stat(w->u, str_of(keys[i]), &st, NULL, NULL), ERR_NOT_FOUND);
        ASSERT_CODE(read_all(w->u, keys[i], &b), ERR_NOT_FOUND);
        ASSERT_CODE(put(w->u, keys[i], ""), ERR_KEY_UNSUPPORTED);
        ASSERT_CODE(ufs_copy(w->u, STR("real"), str_of(keys[i]), NULL, &st), ERR_KEY_UNSUPPORTED);
        ASSERT_OK(ufs_delete(w->u, str_of(keys[i]), NULL));
    }
    ASSERT_CODE(put(w->u, "dirlink/new/deep", "x"), ERR_KEY_UNSUPPORTED);
    ASSERT_CODE(ufs_rename(w->u, STR("real"), STR("link")), ERR_KEY_UNSUPPORTED);
    ASSERT_CODE(ufs_rename(w->u, STR("real"), STR("dirlink/x")), ERR_KEY_UNSUPPORTED);
    assert_int_equal(access(file, F_OK), 0);
    struct stat s;
    assert_int_equal(lstat(at(w, "link"), &s), 0);
    assert_int_equal(count_temps(w), 0);
    remove_tree(outside);
}

static void others_change_files(void **state)
{
    struct world *w = *state;
    struct ufs_stat a, b;
    unsigned char md5[16];
    char hex[33];

    md5_of("one", 3, md5, hex);
    ASSERT_OK(put_opts(w->u, "k", "one", 3, (struct ufs_put_opts){.etag = hex}, &a));
    assert_string_equal(a.etag, hex);
    usleep(20000);
    write_file(at(w, "k"), "two");
    ASSERT_OK(ufs_stat(w->u, STR("k"), &b, NULL, NULL));
    assert_string_not_equal(a.version, b.version);
    assert_string_equal(b.etag, ""); /* it was of other bytes */
    ASSERT_CODE(put_opts(w->u, "k", "3", 1, (struct ufs_put_opts){.if_match = a.version}, NULL), ERR_PRECONDITION);
    ASSERT_CODE(ufs_delete(w->u, STR("k"), a.version), ERR_PRECONDITION);
    assert_text(w->u, "k", "two");
    assert_int_equal(mkdir(at(w, "made"), 0755), 0);
    assert_int_equal(mkdir(at(w, "made/empty"), 0755), 0);
    assert_keys(w->u, "", 0, "k made/empty/");
    write_file(at(w, "made/empty/f"), "f");
    assert_keys(w->u, "", 0, "k made/empty/f");
    ASSERT_OK(ufs_delete(w->u, STR("made/empty/f"), NULL));
    assert_keys(w->u, "", 0, "k made/empty/"); /* not ours: it stays */
}

struct grow {
    struct world *w;
    struct buf b;
};

static int change_in_place(void *arg, const void *p, size_t n)
{
    struct grow *g = arg;

    if (!g->b.n) {
        int fd = open(at(g->w, "k"), O_WRONLY);
        usleep(20000);
        assert_int_equal(pwrite(fd, "X", 1, MIB - 1), 1);
        close(fd);
    }
    buf_add(&g->b, p, n);
    return 0;
}

static int cut_in_place(void *arg, const void *p, size_t n)
{
    struct grow *g = arg;

    (void)p, (void)n;
    assert_int_equal(truncate(at(g->w, "k"), 100), 0);
    return 0;
}

static void changes_during_a_read(void **state)
{
    struct world *w = *state;
    struct grow g = {.w = w};
    AUTO_FREE char *p = pattern(MIB, 1);
    struct ufs_stat st;

    ASSERT_OK(put_opts(w->u, "k", p, MIB, (struct ufs_put_opts){0}, &st));
    ASSERT_CODE(ufs_read(w->u, STR("k"), 0, MIB, st.version, change_in_place, &g), ERR_PRECONDITION);
    ASSERT_CODE(ufs_read(w->u, STR("k"), 0, MIB, NULL, cut_in_place, &g), ERR_IO);
    buf_done(&g.b);
}

static void implied_and_explicit_directories(void **state)
{
    struct world *w = *state;
    struct ufs_stat st;

    ASSERT_OK(put(w->u, "a/b/c/d", "x"));
    ASSERT_OK(put(w->u, "a/b/", ""));
    ASSERT_OK(ufs_delete(w->u, STR("a/b/c/d"), NULL));
    assert_keys(w->u, "", 0, "a/b/");
    ASSERT_OK(ufs_stat(w->u, STR("a/b/"), &st, NULL, NULL));
    assert_true(st.is_dir);
    ASSERT_CODE(put_opts(w->u, "a/b/", "", 0, (struct ufs_put_opts){.if_none_match = true}, &st), ERR_PRECONDITION);
    ASSERT_OK(put_opts(w->u, "a/", "", 0, (struct ufs_put_opts){.if_none_match = true}, &st)); /* so far implied */
    ASSERT_CODE(put(w->u, "a/b", "x"), ERR_KEY_UNSUPPORTED); /* empty, but somebody's */
    ASSERT_CODE(put(w->u, "z/", "data"), ERR_KEY_UNSUPPORTED);
    ASSERT_OK(put(w->u, "a/b/c", "x"));
    ASSERT_OK(ufs_delete(w->u, STR("a/b/"), NULL)); /* holds something: from now on implied */
    ASSERT_OK(ufs_delete(w->u, STR("a/b/c"), NULL));
    assert_keys(w->u, "", 0, "a/");
    ASSERT_OK(ufs_copy(w->u, STR("a/"), STR("b/"), NULL, &st));
    assert_keys(w->u, "", 0, "a/ b/");
    assert_int_equal(access(at(w, "a/b"), F_OK), -1);
}

/* ---- listings of large directories ---- */

static void make_files(const struct world *w, size_t from, size_t to)
{
    char name[32];

    for (size_t i = from; i < to; i++) {
        snprintf(name, sizeof name, "big/%06zu", (i * 7919) % 100003);
        int fd = open(at(w, name), O_CREAT | O_WRONLY, 0644);
        assert_true(fd >= 0);
        close(fd);
    }
}

struct page {
    char last[64];
    size_t n;
};

static int next_key(void *arg, const struct ufs_entry *e)
{
    struct page *p = arg;
    char key[64];

    snprintf(key, sizeof key, "%.*s", STR_ARG(e->key));
    assert_true(strcmp(key, p->last) > 0);
    strcpy(p->last, key);
    p->n++;
    return 0;
}

static size_t list_big(struct ufs *u, const char *after)
{
    struct page p = {.last = ""};
    bool more = true;

    snprintf(p.last, sizeof p.last, "%s", after);
    while (more) {
        char from[64];
        strcpy(from, p.last);
        ASSERT_OK(ufs_list(u, STR("big/"), 0, str_of(from), 1000, next_key, &p, &more));
    }
    return p.n;
}

/* More names than one window holds, and a directory that is still enough for windows to wait between pages. */
static void a_directory_larger_than_a_window(void **state)
{
    struct world *w = *state;
    size_t n = getenv("FOREBAY_QUICK") ? 2000 : 70000;
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    struct page p = {.last = ""};
    bool more;

    assert_int_equal(mkdir(at(w, "big"), 0755), 0);
    make_files(w, 0, n);
    assert_int_equal(utimensat(AT_FDCWD, at(w, "big"), old, 0), 0);
    assert_int_equal(list_big(w->u, ""), n);
    assert_int_equal(list_big(w->u, "big/05"), list_big(w->u, "big/04zz"));
    ASSERT_OK(ufs_list(w->u, STR("big/"), 0, STR(""), 1000, next_key, &p, &more));
    make_files(w, n, n + 500); /* between two pages: what lies ahead shows, what lies behind does not */
    size_t behind = 0, ahead = 0;
    for (size_t i = n; i < n + 500; i++) {
        char name[32];
        snprintf(name, sizeof name, "big/%06zu", (i * 7919) % 100003);
        *(strcmp(name, p.last) > 0 ? &ahead : &behind) += 1;
    }
    assert_int_equal(list_big(w->u, p.last), n - 1000 + ahead);
    assert_int_equal(list_big(w->u, ""), n + 500);
    assert_true(ahead > 0 && ahead + behind == 500);
}

/* ---- crashes ---- */

static uint64_t hours;

static uint64_t later_wall(void *arg)
{
    struct timespec t;

    (void)arg;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + hours * 3600000;
}

static uint64_t real_mono(void *arg)
{
    struct timespec t;

    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void no_sleep(void *arg, uint64_t until)
{
    (void)arg, (void)until;
}

static void die_at(struct world *w, const char *fault)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        fault_arm(fault);
        put_opts(w->u, "a/b/k", "new", 3, (struct ufs_put_opts){0}, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* strays: what a crash before the name leaves. */
static void crash_between_steps(struct world *w, size_t strays)
{
    static const struct clock_ops later = {later_wall, real_mono, no_sleep, NULL};
    struct ufs *u;

    die_at(w, "ufs.dir.temp:kill");
    assert_keys(w->u, "", 0, "");
    assert_int_equal(count_temps(w), strays);
    die_at(w, "ufs.dir.parent:kill");
    assert_keys(w->u, "", 0, "a/b/"); /* parents without the file yet: implied, gone with the next delete below */
    assert_int_equal(count_temps(w), 2 * strays);
    ASSERT_OK(put(w->u, "a/b/k", "old"));
    die_at(w, strays ? "ufs.dir.parent:kill" : "ufs.dir.named:kill"); /* link(2) does not replace */
    assert_text(w->u, "a/b/k", "old");
    ASSERT_OK(world_open(w, 60000, &u)); /* too young to be called stray */
    ufs_close(u);
    assert_int_equal(count_temps(w), 2 * strays + 1);
    hours = 1;
    clock_use(&later);
    ASSERT_OK(world_open(w, 60000, &u));
    clock_use(NULL);
    assert_int_equal(count_temps(w), 0);
    ufs_close(u);
    die_at(w, "ufs.put.after:kill");
    assert_text(w->u, "a/b/k", "new");
    assert_int_equal(count_temps(w), 0);
    ASSERT_OK(ufs_delete(w->u, STR("a/b/k"), NULL));
    assert_keys(w->u, "", 0, "");
}

static void crashes_between_steps(void **state)
{
    crash_between_steps(*state, 0);
}

/* As on file systems without O_TMPFILE. */
static void files_always_have_names(void **state)
{
    struct world *w = *state;
    struct ufs_stat st;

    w->u = ufs_close(w->u);
    fault_arm("ufs.dir.nameless:error IO*0");
    ASSERT_OK(world_open(w, 0, &w->u));
    crash_between_steps(w, 1);
    ASSERT_OK(put(w->u, "x/k", "one"));
    ASSERT_OK(put(w->u, "x/k", "two"));
    ASSERT_CODE(put_opts(w->u, "x/k", "three", 5, (struct ufs_put_opts){.if_none_match = true}, NULL),
                ERR_PRECONDITION);
    ASSERT_OK(put_opts(w->u, "x/n", "new", 3, (struct ufs_put_opts){.if_none_match = true}, NULL));
    ASSERT_OK(ufs_copy(w->u, STR("x/k"), STR("c"), NULL, &st));
    fault_arm(NULL);
    assert_text(w->u, "c", "two");
    assert_keys(w->u, "", 0, "c x/k x/n");
    assert_int_equal(count_temps(w), 0);
}

static void errors_between_steps(void **state)
{
    struct world *w = *state;
    struct ufs_stat st;

    ASSERT_OK(put(w->u, "k", "old"));
    fault_arm("ufs.dir.temp:error NO_SPACE*0");
    ASSERT_CODE(put(w->u, "k", "new"), ERR_NO_SPACE);
    ASSERT_CODE(ufs_copy(w->u, STR("k"), STR("c"), NULL, &st), ERR_NO_SPACE);
    fault_arm("ufs.dir.named:error IO*0");
    ASSERT_CODE(put(w->u, "k", "new"), ERR_IO);
    fault_arm("ufs.dir.parent:error IO*0");
    ASSERT_CODE(put(w->u, "k", "new"), ERR_IO);
    ASSERT_CODE(ufs_copy(w->u, STR("k"), STR("c"), NULL, &st), ERR_IO);
    ASSERT_CODE(ufs_rename(w->u, STR("k"), STR("c")), ERR_IO);
    fault_arm(NULL);
    assert_text(w->u, "k", "old");
    assert_keys(w->u, "", 0, "k");
    assert_int_equal(count_temps(w), 0);
}

/* ---- races ---- */

static void *put_and_delete(void *arg)
{
    struct world *w = arg;
    static atomic_int nth;
    char key[64];
    int me = nth++;

    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof key, "r/%d/x/%d", i % 2, me);
        int r = put(w->u, key, "x");
        if (r == 0)
            r = ufs_delete(w->u, str_of(key), NULL);
        if (r < 0)
            return str_dup(str_of(err_detail(r)));
    }
    return NULL;
}

/* Implied directories come and go under the puts of others. */
static void directories_that_come_and_go(void **state)
{
    struct world *w = *state;
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, put_and_delete, w), 0);
    for (int i = 0; i < 4; i++) {
        void *why;
        pthread_join(t[i], &why);
        if (why)
            fail_msg("%s", (char *)why);
    }
    assert_keys(w->u, "", 0, "");
}

static void *claim(void *arg)
{
    struct world *w = arg;

    return (void *)(intptr_t)put_opts(w->u, "c/one", "x", 1, (struct ufs_put_opts){.if_none_match = true}, NULL);
}

static void one_of_many_wins(void **state)
{
    struct world *w = *state;

    for (int round = 0; round < 20; round++) {
        pthread_t t[4];
        int won = 0;
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&t[i], NULL, claim, w), 0);
        for (int i = 0; i < 4; i++) {
            void *r;
            pthread_join(t[i], &r);
            won += r == NULL;
            if (r)
                assert_int_equal((intptr_t)r, ERR_PRECONDITION);
        }
        assert_int_equal(won, 1);
        ASSERT_OK(ufs_delete(w->u, STR("c/one"), NULL));
    }
}

/* ---- metadata that does not fit ---- */

static void more_metadata_than_fits(void **state)
{
    struct world *w = *state;
    AUTO_FREE char *p = mem_alloc(60001);
    struct ufs_pair pair = {STR("x-amz-meta-large"), {p, 60000}};
    struct ufs_put_opts o = {.meta = {&pair, 1}};

    memset(p, 'v', 60000);
    int r = put_opts(w->u, "k", "x", 1, o, NULL);
    if (r == 0) /* a file system with room for it */
        skip();
    ASSERT_CODE(r, ERR_METADATA_LARGE);
    assert_keys(w->u, "", 0, "");
    assert_int_equal(count_temps(w), 0);
}

/* ---- mounts ---- */

static void need_root(void)
{
    if (geteuid() != 0) {
        print_message("needs root to mount\n");
        skip();
    }
}

/* Another file system over the root of the test, opened. */
static void mount_over(struct world *w, const char *type, const char *options)
{
    need_root();
    w->u = ufs_close(w->u);
    assert_int_equal(mount("none", w->name, type, 0, options), 0);
    ASSERT_OK(world_open(w, 0, &w->u));
}

static void unmount(struct world *w)
{
    w->u = ufs_close(w->u);
    assert_int_equal(umount2(w->name, MNT_DETACH), 0);
}

static void an_unmounted_root(void **state)
{
    struct world *w = *state;

    mount_over(w, "tmpfs", "size=1m");
    ASSERT_OK(put(w->u, "k", "x"));
    assert_int_equal(umount2(w->name, MNT_DETACH), 0);
    assert_unreachable(w->u);
    assert_int_equal(access(at(w, "k"), F_OK), -1); /* nothing in the directory below */
}

static void a_full_disk(void **state)
{
    struct world *w = *state;
    AUTO_FREE char *p = pattern(4 * MIB, 1);
    struct ufs_stat st;

    mount_over(w, "tmpfs", "size=1m");
    ASSERT_OK(put_opts(w->u, "half", p, 600000, (struct ufs_put_opts){0}, NULL));
    ASSERT_CODE(put_opts(w->u, "k", p, 4 * MIB, (struct ufs_put_opts){0}, NULL), ERR_NO_SPACE);
    ASSERT_CODE(put_opts(w->u, "k", p, 4 * MIB, (struct ufs_put_opts){.size = UFS_SIZE_UNKNOWN}, NULL), ERR_NO_SPACE);
    ASSERT_CODE(ufs_copy(w->u, STR("half"), STR("other"), NULL, &st), ERR_NO_SPACE);
    ASSERT_CODE(put_opts(w->u, "half", p, 800000, (struct ufs_put_opts){0}, NULL), ERR_NO_SPACE);
    assert_content(w->u, "half", p, 600000);
    assert_keys(w->u, "", 0, "half");
    assert_int_equal(count_temps(w), 0);
    ASSERT_OK(put_opts(w->u, "small", p, 100000, (struct ufs_put_opts){0}, NULL));
    unmount(w);
}

static void a_read_only_file_system(void **state)
{
    struct world *w = *state;
    struct ufs_stat st;

    mount_over(w, "tmpfs", "size=1m");
    ASSERT_OK(put(w->u, "k", "x"));
    assert_int_equal(mount("none", w->name, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    for (int again = 0; again < 2; again++) {
        assert_text(w->u, "k", "x");
        assert_keys(w->u, "", 0, "k");
        assert_true(ufs_caps(w->u) & UFS_CAP_META);
        ASSERT_CODE(put(w->u, "k", "y"), ERR_DENIED);
        ASSERT_CODE(put(w->u, "d/", ""), ERR_DENIED);
        ASSERT_CODE(ufs_delete(w->u, STR("k"), NULL), ERR_DENIED);
        ASSERT_CODE(ufs_copy(w->u, STR("k"), STR("c"), NULL, &st), ERR_DENIED);
        ufs_close(w->u);
        ASSERT_OK(world_open(w, 0, &w->u)); /* opens read-only, too */
    }
    unmount(w);
}

static void count_pair(void *arg, struct str name, struct str value)
{
    (void)name, (void)value;
    ++*(int *)arg;
}

static void no_extended_attributes(void **state)
{
    static const struct ufs_pair pair = {{"content-type", 12}, {"a/b", 3}};
    struct world *w = *state;
    struct ufs_meta m = {&pair, 1};
    struct ufs_stat st;
    int pairs = 0;

    mount_over(w, "ramfs", "");
    assert_int_equal(ufs_caps(w->u) & (UFS_CAP_META | UFS_CAP_TAGS), 0);
    assert_true(ufs_caps(w->u) & UFS_CAP_IF_NONE_MATCH);
    ASSERT_OK(put_opts(w->u, "a/b/k", "v", 1,
                       (struct ufs_put_opts){.meta = m, .etag = "9e3669d19b675bd57058fd4664205d2a"}, &st));
    assert_string_equal(st.etag, "");
    ASSERT_OK(ufs_stat(w->u, STR("a/b/k"), &st, count_pair, &pairs));
    assert_int_equal(pairs, 0);
    ASSERT_CODE(ufs_set_meta(w->u, STR("a/b/k"), &m, &st), ERR_NOT_IMPLEMENTED);
    ASSERT_OK(ufs_copy(w->u, STR("a/b/k"), STR("c"), NULL, &st));
    assert_text(w->u, "c", "v");
    ASSERT_OK(put(w->u, "d/", ""));
    ASSERT_OK(ufs_delete(w->u, STR("a/b/k"), NULL));
    assert_keys(w->u, "", 0, "a/b/ c d/"); /* nobody knows whose a/b was: it stays */
    unmount(w);
}

/* In place of libc's: counts, and fails when it is told to. */
static atomic_uint syncs_begun;
static atomic_bool sync_fails;
int syncfs(int fd)
{
    atomic_fetch_add(&syncs_begun, 1);
    if (atomic_load(&sync_fails)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_syncfs, fd);
}

/* What was put before the call is synced by a syncfs that began after it, whoever made it. */
static void *sync_often(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 20; i++) {
        unsigned before = atomic_load(&syncs_begun);
        if (ufs_sync(w->u) != 0 || atomic_load(&syncs_begun) == before)
            return w;
    }
    return NULL;
}

static void syncs_are_shared(void **state)
{
    enum { THREADS = 8 };
    struct world *w = *state;
    pthread_t t[THREADS];
    void *bad;

    ASSERT_OK(put(w->u, "k", "x"));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, sync_often, w), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    atomic_store(&sync_fails, true);
    int r = ufs_sync(w->u);
    atomic_store(&sync_fails, false);
    assert_int_equal(r, ERR_IO);
    ASSERT_OK(ufs_sync(w->u));
}

#define TEST(fn) cmocka_unit_test_prestate_setup_teardown(fn, world_setup, world_teardown, &dir)

int main(int argc, char **argv)
{
    static struct world dir = {.kind = KIND_DIR, .label = "dir"};
    const struct CMUnitTest tests[] = {
        TEST(a_removed_root),
        TEST(a_root_moved_away),
        TEST(a_write_across_the_root_leaving),
        TEST(markers_and_allowed_roots),
        TEST(links_and_special_files),
        TEST(others_change_files),
        TEST(changes_during_a_read),
        TEST(implied_and_explicit_directories),
        TEST(a_directory_larger_than_a_window),
        TEST(crashes_between_steps),
        TEST(files_always_have_names),
        TEST(errors_between_steps),
        TEST(directories_that_come_and_go),
        TEST(one_of_many_wins),
        TEST(syncs_are_shared),
        TEST(more_metadata_than_fits),
        TEST(an_unmounted_root),
        TEST(a_full_disk),
        TEST(a_read_only_file_system),
        TEST(no_extended_attributes),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
