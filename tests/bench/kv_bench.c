/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast the embedded metadata engine commits: a transaction of five rows, about 600 bytes, that reads two of them.
 *     kv_bench DIR [SECONDS]
 * Not part of the tests: numbers depend on the disk, and are printed with the time of a bare 4 KiB write + fdatasync
 * beside them.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "kv/kv.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 5, VALUE = 104, THREADS_MAX = 64, SAMPLES = 200000 };

struct worker {
    struct kv *kv;
    unsigned id;
    uint64_t n, until;
    enum kv_durability d;
    uint64_t *sample;
    size_t samples;
};

static int five_rows(struct kv_tx *tx, void *arg)
{
    const struct worker *w = arg;
    char key[ROWS][24], value[VALUE];
    struct str k[ROWS], got[2];

    memset(value, 'v', sizeof value);
    for (int i = 0; i < ROWS; i++)
        k[i] = str_mk(key[i], (size_t)snprintf(key[i], sizeof key[i], "%02u/%d/%012" PRIu64, w->id, i, w->n));
    TRY(kv_get_many(tx, k, 2, got));
    for (int i = 0; i < ROWS; i++)
        kv_put(tx, k[i], str_mk(value, sizeof value));
    return 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;

    while (clock_mono_ns() < w->until) {
        uint64_t t = clock_mono_ns();
        int r = kv_update(w->kv, five_rows, w, w->d, NULL);

        CHECK(r == 0, "%s", err_detail(r));
        if (w->samples < SAMPLES)
            w->sample[w->samples++] = clock_mono_ns() - t;
        w->n++;
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void run(struct kv *kv, unsigned threads, enum kv_durability d, double seconds)
{
    static uint64_t start;
    struct worker w[THREADS_MAX];
    pthread_t t[THREADS_MAX];
    struct kv_figures a, b;
    uint64_t n = 0;
    size_t mid, high;

    kv_figures(kv, &a);
    for (unsigned i = 0; i < threads; i++) {
        w[i] = (struct worker){kv, i, start, clock_mono_ns() + (uint64_t)(seconds * 1e9), d, NULL, 0};
        w[i].sample = malloc(SAMPLES * sizeof *w[i].sample);
        CHECK(w[i].sample && thread_start(&t[i], "bench", work, &w[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(t[i], NULL);
        n += w[i].n - start;
    }
    kv_figures(kv, &b);
    mid = w[0].samples / 2;
    high = w[0].samples * 99 / 100;
    qsort(w[0].sample, w[0].samples, sizeof *w[0].sample, by_size);
    printf("%-5s %2u threads: %8.0f commits/s  median %7.1f us  p99 %7.1f us  %5.1f commits a sync\n",
           d == KV_LAZY ? "lazy" : "sync", threads, (double)n / seconds, (double)w[0].sample[mid] / 1e3,
           (double)w[0].sample[high] / 1e3,
           b.syncs > a.syncs ? (double)(b.commits - a.commits) / (double)(b.syncs - a.syncs) : 0.0);
    for (unsigned i = 0; i < threads; i++)
        free(w[i].sample);
    start += 100000000;
}

/* What the disk does for one thread: append 4 KiB, fdatasync. */
static void bare_sync(const char *dir)
{
    enum { N = 500 };
    static char page[4096];
    char path[512];
    uint64_t t;
    int fd;

    snprintf(path, sizeof path, "%s.bare", dir);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && posix_fallocate(fd, 0, N * 4096) == 0 && fsync(fd) == 0);
    t = clock_mono_ns();
    for (int i = 0; i < N; i++)
        CHECK(pwrite(fd, page, sizeof page, i * 4096) == 4096 && fdatasync(fd) == 0);
    printf("bare 4 KiB write into allocated space + fdatasync: %.1f us\n", (double)(clock_mono_ns() - t) / 1e3 / N);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    struct kv_options o = {.dir = argc > 1 ? argv[1] : "kv-bench"};
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    struct kv *kv;
    int r = kv_open(&kv_engine_rocksdb, &o, &kv);

    if (r < 0) {
        fprintf(stderr, "%s\n", err_detail(r));
        return 1;
    }
    bare_sync(o.dir);
    run(kv, 1, KV_LAZY, seconds);
    run(kv, 1, KV_SYNC, seconds);
    run(kv, 16, KV_SYNC, seconds);
    run(kv, 64, KV_SYNC, seconds);
    kv_close(kv);
    return 0;
}
