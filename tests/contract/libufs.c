/* SPDX-License-Identifier: Apache-2.0 */
#include "libufs.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- worlds ---- */

void world_option(struct world *w, const char *name, const char *value)
{
    if (!w->props)
        w->props = map_new();
    free(map_put(w->props, str_of(name), str_dup(str_of(value))));
}

int world_open(struct world *w, uint64_t deadline_ms, struct ufs **ret)
{
    struct ufs_options o = {.props = w->props, .deadline_ms = deadline_ms};

    return ufs_open(w->uri, &o, ret);
}

static int rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

void remove_tree(const char *path)
{
    nftw(path, rm_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void setup_s3(struct world *w)
{
    static unsigned nth;

    snprintf(w->name, sizeof w->name, "t%d-%u-%llx", getpid(), ++nth, (unsigned long long)clock_wall_ms());
    snprintf(w->uri, sizeof w->uri, "s3://forebay-test/%s", w->name);
    world_option(w, "alluxio.underfs.s3.endpoint", w->endpoint);
    world_option(w, "s3a.accessKeyId", getenv("FOREBAY_TEST_S3_ACCESS_KEY"));
    world_option(w, "s3a.secretKey", getenv("FOREBAY_TEST_S3_SECRET_KEY"));
}

int world_setup(void **state)
{
    struct world *w = *state;
    static unsigned nth;

    if (w->kind == KIND_DIR) {
        snprintf(w->name, sizeof w->name, "/tmp/forebay-test-ufs-XXXXXX");
        assert_non_null(mkdtemp(w->name));
        snprintf(w->uri, sizeof w->uri, "file://%s", w->name);
    } else if (w->kind == KIND_MEM) {
        snprintf(w->name, sizeof w->name, "t%u", ++nth);
        snprintf(w->uri, sizeof w->uri, "mem:%s", w->name);
        w->m = ufs_mem_store(w->name);
    } else
        setup_s3(w);
    ASSERT_OK(world_open(w, 0, &w->u));
    w->caps = ufs_caps(w->u);
    return 0;
}

static int free_value(void *arg, struct str key, void *value)
{
    (void)arg, (void)key;
    free(value);
    return 0;
}

static void wipe(struct ufs *u)
{
    struct listed *l = list_all(u, STR(""), 0, STR(""), 1000);
    int codes[4096];

    ufs_delete_many(u, l->key, l->n, codes);
    listed_free(l);
}

int world_teardown(void **state)
{
    struct world *w = *state;

    if (w->kind == KIND_S3 && w->u)
        wipe(w->u);
    if (w->u)
        w->u = ufs_close(w->u);
    if (w->kind == KIND_DIR)
        remove_tree(w->name);
    if (w->kind == KIND_MEM)
        ufs_mem_drop(w->name);
    if (w->props)
        map_each(w->props, free_value, NULL);
    w->props = map_free(w->props);
    return 0;
}

/* ---- bytes ---- */

char *pattern(size_t n, unsigned seed)
{
    char *p = mem_alloc(n + 1);
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        p[i] = (char)(x >> 56);
    }
    p[n] = 0;
    return p;
}

void md5_of(const void *p, size_t n, unsigned char md5[16], char hex[33])
{
    unsigned char out[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);

    digest_add(d, p, n);
    digest_end(d, out);
    if (md5)
        memcpy(md5, out, 16);
    str_hex(out, 16, hex);
}

ssize_t feed_next(void *arg, void *p, size_t n)
{
    struct feed *f = arg;
    size_t left = f->n - f->at;

    if (f->before) {
        f->before(f->arg);
        f->before = NULL;
    }
    if (f->code && f->at >= f->fail_at)
        return f->code;
    if (n > left)
        n = left;
    if (f->piece && n > f->piece)
        n = f->piece;
    memcpy(p, f->p + f->at, n);
    f->at += n;
    return (ssize_t)n;
}

int put_opts(struct ufs *u, const char *key, const void *p, size_t n, struct ufs_put_opts o, struct ufs_stat *ret)
{
    struct feed f = {.p = p, .n = n};
    struct ufs_stat st;

    if (o.size != UFS_SIZE_UNKNOWN)
        o.size = n;
    return ufs_put(u, str_of(key), &o, feed_next, &f, ret ? ret : &st);
}

int put(struct ufs *u, const char *key, const char *text)
{
    return put_opts(u, key, text, strlen(text), (struct ufs_put_opts){0}, NULL);
}

int put_str(struct ufs *u, struct str key, const char *text)
{
    struct feed f = {.p = text, .n = strlen(text)};
    struct ufs_put_opts o = {.size = f.n};
    struct ufs_stat st;

    return ufs_put(u, key, &o, feed_next, &f, &st);
}

int sink_buf(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

int read_all(struct ufs *u, const char *key, struct buf *b)
{
    return ufs_read(u, str_of(key), 0, UINT64_MAX, NULL, sink_buf, b);
}

void assert_content(struct ufs *u, const char *key, const void *p, size_t n)
{
    struct buf b AUTO_BUF = {0};

    ASSERT_OK(read_all(u, key, &b));
    if (b.n != n || (n && memcmp(b.p, p, n) != 0))
        fail_msg("%s: %zu bytes, expected %zu, or other bytes", key, b.n, n);
}

void assert_text(struct ufs *u, const char *key, const char *text)
{
    assert_content(u, key, text, strlen(text));
}

/* ---- listings ---- */

struct listed *listed_free(struct listed *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)l->key[i].p);
    free(l);
    return NULL;
}

static int add_entry(void *arg, const struct ufs_entry *e)
{
    struct listed *l = arg;

    assert_true(l->n < 4096);
    l->key[l->n] = str_mk(str_dup(e->key), e->key.n);
    l->prefix[l->n] = e->prefix;
    l->is_dir[l->n] = e->st.is_dir;
    l->st[l->n++] = e->st;
    return 0;
}

struct listed *list_all(struct ufs *u, struct str prefix, char delimiter, struct str after, size_t limit)
{
    struct listed *l = MEM_NEW(struct listed);
    bool more = true;

    while (more) {
        size_t had = l->n;

        ASSERT_OK(ufs_list(u, prefix, delimiter, l->n ? l->key[l->n - 1] : after, limit, add_entry, l, &more));
        if (limit && l->n - had > limit)
            fail_msg("%zu entries in a page of %zu", l->n - had, limit);
        if (more && l->n == had)
            fail_msg("an empty page that is not the last");
    }
    return l;
}

void assert_keys(struct ufs *u, const char *prefix, char delimiter, const char *expected)
{
    struct listed *l = list_all(u, str_of(prefix), delimiter, STR(""), 0);
    struct buf b AUTO_BUF = {0};

    for (size_t i = 0; i < l->n; i++) {
        if (i)
            buf_putz(&b, " ");
        buf_str_add(&b, l->key[i]);
    }
    listed_free(l);
    assert_string_equal(buf_str(&b).p, expected);
}
