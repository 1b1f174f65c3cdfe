/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures of the page store on this machine. Not a test: nothing is asserted.
 *     page_bench DIR [GIB]      GIB: size of the store (default 2)
 * Prints: a bare pwrite+fdatasync into written blocks (the floor), durable 10 KiB blobs with 1 and 16 threads before
 * and after the store has wrapped, 10 MiB blobs, a start with a million small records, memory of the index.
 */
#include "page/store.h"
#include "base/thread.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL = 10 << 10, LARGE = 10 << 20 };

static struct page_store *store;
static char *bytes;
static atomic_uint_fast64_t next_id = 1;

static void must(int r, const char *what)
{
    if (r == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, err_detail(r));
    exit(1);
}

static struct page_store *open_store(const char *dir, uint64_t size)
{
    struct page_dir_spec d = {dir, size};
    struct page_options o = {.dirs = &d, .dir_count = 1, .page_size = 1 << 20, .pinned_ratio = 1};
    struct page_store *s = NULL;
    must(page_open(&o, &s), "open");
    return s;
}

static void put(size_t n, enum page_birth birth, bool lazy)
{
    struct page_writer *w;
    must(page_write_begin(store, atomic_fetch_add(&next_id, 1), 1, birth, n, 0, &w), "begin");
    must(page_append(w, bytes, n), "append");
    must(lazy ? page_seal_lazy(w) : page_seal(w), "seal");
}

/* ---- many seals ---- */

struct job {
    unsigned count;
    uint64_t *ns;
};

static void *seal_many(void *arg)
{
    struct job *j = arg;
    for (unsigned i = 0; i < j->count; i++) {
        uint64_t t = clock_mono_ns();
        put(SMALL, PAGE_EVICTABLE, false);
        j->ns[i] = clock_mono_ns() - t;
    }
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, uint64_t *ns, unsigned n, uint64_t took)
{
    qsort(ns, n, sizeof *ns, by_number);
    printf("%-34s %8.0f ops/s   p50 %6.0f us   p99 %6.0f us\n", what, n * 1e9 / (double)took, (double)ns[n / 2] / 1e3,
           (double)ns[n / 100 * 99] / 1e3);
}

static void seals(const char *what, unsigned threads, unsigned each)
{
    uint64_t *ns = calloc((size_t)threads * each, sizeof *ns), t = clock_mono_ns();
    struct job *j = calloc(threads, sizeof *j);
    pthread_t *id = calloc(threads, sizeof *id);
    for (unsigned i = 0; i < threads; i++) {
        j[i] = (struct job){each, ns + (size_t)i * each};
        must(thread_start(&id[i], "bench", seal_many, &j[i]), "thread");
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    report(what, ns, threads * each, clock_mono_ns() - t);
    free(ns);
    free(j);
    free(id);
}

/* The floor: one thread, 12 KiB, a file whose blocks were written before. */
static void bare(const char *dir)
{
    enum { N = 2000, ROOM = 64 << 20 };
    static uint64_t ns[N];
    char path[4096];
    snprintf(path, sizeof path, "%s/bare", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    for (off_t at = 0; at < ROOM; at += LARGE / 10)
        if (pwrite(fd, bytes, LARGE / 10, at) < 0)
            exit(1);
    fsync(fd);
    uint64_t start = clock_mono_ns();
    for (int i = 0; i < N; i++) {
        uint64_t t = clock_mono_ns();
        if (pwrite(fd, bytes, 12 << 10, (off_t)i * (12 << 10)) < 0 || fdatasync(fd) != 0)
            exit(1);
        ns[i] = clock_mono_ns() - t;
    }
    report("bare pwrite + fdatasync, 12 KiB", ns, N, clock_mono_ns() - start);
    close(fd);
    unlink(path);
}

static void large(unsigned count)
{
    uint64_t t = clock_mono_ns();
    for (unsigned i = 0; i < count; i++)
        put(LARGE, PAGE_EVICTABLE, false);
    printf("%-34s %8.0f MiB/s\n", "10 MiB blobs, durable, 1 thread",
           count * 10.0 * 1e9 / (double)(clock_mono_ns() - t));
    t = clock_mono_ns();
    static char buf[1 << 20];
    uint64_t last = atomic_load(&next_id) - 1;
    for (unsigned i = 0; i < 10; i++)
        for (uint64_t off = 0; off < LARGE; off += sizeof buf)
            must(page_read(store, last - i, off, buf, sizeof buf, true), "read");
    printf("%-34s %8.0f MiB/s\n", "read, verified, page cache", 100 * 1e9 / (double)(clock_mono_ns() - t));
}

static size_t index_bytes(void)
{
    size_t n = 0;
    for (size_t i = 0; i < IDX_SHARDS; i++)
        n += page_idx_memory(&store->shards[i]);
    return n;
}

static void start_time(const char *dir, uint64_t size)
{
    enum { RECORDS = 1000000 };
    char sub[4096];
    snprintf(sub, sizeof sub, "%s/million", dir);
    store = open_store(sub, size);
    uint64_t t = clock_mono_ns();
    for (unsigned i = 0; i < RECORDS; i++)
        put(1000, PAGE_PINNED, true);
    printf("%-34s %8.0f ops/s\n", "1000 byte blobs, lazy, 1 thread", RECORDS * 1e9 / (double)(clock_mono_ns() - t));
    page_close(store);
    if (system("sync; echo 3 > /proc/sys/vm/drop_caches 2>/dev/null") != 0)
        puts("(the page cache could not be dropped)");
    t = clock_mono_ns();
    store = open_store(sub, size);
    struct page_figures f;
    page_figures(store, &f);
    printf("%-34s %8.0f ms for %lu pages\n", "start", (double)(clock_mono_ns() - t) / 1e6, (unsigned long)f.pages);
    printf("%-34s %8.1f bytes a page\n", "index memory", (double)index_bytes() / (double)f.pages);
    page_close(store);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    uint64_t size = (uint64_t)(argc > 2 ? atoi(argv[2]) : 2) << 30;
    char sub[4096];
    bytes = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    bare(argv[1]);
    snprintf(sub, sizeof sub, "%s/seals", argv[1]);
    store = open_store(sub, size);
    seals("10 KiB durable, 1 thread, new", 1, 2000);
    for (uint64_t n = 0; n < 2 * size; n += 12 << 10)
        put(SMALL, PAGE_EVICTABLE, true);
    must(page_sync(store), "sync");
    seals("10 KiB durable, 1 thread, wrapped", 1, 4000);
    seals("10 KiB durable, 16 threads", 16, 4000);
    seals("10 KiB durable, 64 threads", 64, 1500);
    large(100);
    large(100);
    page_close(store);
    start_time(argv[1], 10ull << 30);
    return 0;
}
