/* SPDX-License-Identifier: Apache-2.0 */
#include "page_lib.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void pl_die(const char *file, int line, const char *expr, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%d: not so: %s ", file, line, expr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

static char *dir_below(const char *top)
{
    char path[512];
    snprintf(path, sizeof path, "%s/page-test-XXXXXX", top);
    MUST(mkdtemp(path), "%s", path);
    return str_dup(str_of(path));
}

char *pl_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    return dir_below(tmp && *tmp ? tmp : "/tmp");
}

char *pl_dir_fast(void)
{
    return access("/dev/shm", W_OK) == 0 ? dir_below("/dev/shm") : pl_dir();
}

static void remove_tree(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        unlinkat(at, name, 0);
        return;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove_tree(dirfd(d), e->d_name);
    closedir(d);
    unlinkat(at, name, AT_REMOVEDIR);
}

void pl_gone(char *dir)
{
    remove_tree(AT_FDCWD, dir);
    free(dir);
}

static struct page_options options(const struct page_dir_spec *dirs, size_t n, struct pl_set set)
{
    return (struct page_options){.dirs = dirs,
                                 .dir_count = n,
                                 .page_size = set.page ? set.page : MB,
                                 .pinned_ratio = set.ratio,
                                 .verify_always = set.verify_always,
                                 .read_only = set.read_only};
}

int pl_try_open(const char *dir, struct pl_set set, struct page_store **ret)
{
    struct page_dir_spec d = {dir, set.bytes};
    struct page_options o = options(&d, 1, set);
    return page_open(&o, ret);
}

struct page_store *pl_open(const char *dir, struct pl_set set)
{
    struct page_store *s = NULL;
    OK(pl_try_open(dir, set, &s));
    return s;
}

struct page_store *pl_open2(const char *a, const char *b, struct pl_set set)
{
    struct page_dir_spec d[2] = {{a, set.bytes}, {b, set.bytes}};
    struct page_options o = options(d, 2, set);
    struct page_store *s = NULL;
    OK(page_open(&o, &s));
    return s;
}

static uint64_t word_of(uint64_t blob, uint64_t i)
{
    uint64_t x = blob * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u + 1;
    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 32;
}

void pl_bytes(uint64_t blob, uint64_t off, void *p, size_t n)
{
    unsigned char *c = p;
    for (size_t i = 0; i < n;) {
        uint64_t at = off + i, w = word_of(blob, at / 8);
        if (at % 8 == 0 && n - i >= 8) {
            memcpy(c + i, &w, 8);
            i += 8;
        } else {
            c[i++] = (unsigned char)(w >> at % 8 * 8);
        }
    }
}

static int append_all(struct page_writer *w, uint64_t blob, uint64_t n, size_t piece)
{
    char *buf = malloc(piece);
    int r = 0;
    for (uint64_t off = 0; r == 0 && off < n;) {
        size_t k = n - off < piece ? n - off : piece;
        pl_bytes(blob, off, buf, k);
        r = page_append(w, buf, k);
        off += k;
    }
    free(buf);
    return r;
}

int pl_write_as(struct page_store *s, uint64_t blob, uint64_t n, enum page_birth birth, uint64_t hint, size_t piece,
                bool lazy)
{
    struct page_writer *w;
    int r = page_write_begin(s, blob, blob + 7, birth, hint, 0, &w);
    if (r < 0)
        return r;
    r = append_all(w, blob, n, piece);
    if (r < 0) {
        page_abort(w);
        return r;
    }
    MUST(page_written(w) == n);
    return lazy ? page_seal_lazy(w) : page_seal(w);
}

int pl_write(struct page_store *s, uint64_t blob, uint64_t n, enum page_birth birth)
{
    return pl_write_as(s, blob, n, birth, n, 256 * KB, false);
}

int pl_fill(struct page_store *s, uint64_t blob, uint32_t index, uint32_t page, size_t n, bool pin)
{
    char *buf = malloc(n);
    pl_bytes(blob, (uint64_t)index * page, buf, n);
    int r = page_fill(s, blob, blob + 7, index, buf, n, pin);
    free(buf);
    return r;
}

int pl_read(struct page_store *s, uint64_t blob, uint64_t off, size_t n, bool verify)
{
    char *got = malloc(n + 1), *want = malloc(n + 1);
    int r = page_read(s, blob, off, got, n, verify);
    if (r == 0) {
        pl_bytes(blob, off, want, n);
        MUST(memcmp(got, want, n) == 0, "blob %llx, %zu bytes at %llu", (unsigned long long)blob, n,
             (unsigned long long)off);
    }
    free(got);
    free(want);
    return r;
}

void pl_same(struct page_store *s, uint64_t blob, uint64_t n)
{
    MUST(page_has(s, blob, 0, n), "blob %llx of %llu", (unsigned long long)blob, (unsigned long long)n);
    OK(pl_read(s, blob, 0, n, false));
    OK(pl_read(s, blob, 0, n, true));
}

static void complain(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "page_check: %s\n", line);
}

void pl_check(struct page_store *s)
{
    OK(page_check(s, true, complain, NULL));
}

struct verdict {
    enum page_verdict v;
    size_t n;
};

static int give(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    struct verdict *v = arg;
    for (size_t i = 0; i < n; i++) {
        MUST(b[i].unknown && b[i].content == b[i].blob + 7);
        verdict[i] = v->v;
    }
    v->n += n;
    return 0;
}

size_t pl_verdict(struct page_store *s, enum page_verdict v)
{
    struct verdict x = {v, 0};
    OK(page_walk(s, false, 16, give, &x));
    return x.n;
}

struct page_figures pl_figures(struct page_store *s)
{
    struct page_figures f;
    page_figures(s, &f);
    return f;
}

void pl_quiet(struct page_store *s)
{
    for (int i = 0; i < 2; i++) {
        while (page_upkeep(s))
            ;
        OK(page_check(s, false, complain, NULL)); /* waits for a round that runs */
    }
}

uint64_t pl_rand(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return word_of(*seed, 0) >> 11;
}

bool pl_quick(void)
{
    return getenv("FOREBAY_QUICK") != NULL;
}
