/* SPDX-License-Identifier: Apache-2.0
 * The page store under many threads: writers, readers, droppers, pinners, walkers and upkeep on a store that is too
 * small for them. Run it under TSan. Nobody may ever read a wrong byte; what is pinned is always there. */
#include "cm.h"
#include "page_lib.h"
#include "base/thread.h"
#include <stdatomic.h>
#include <unistd.h>

enum { SLOTS = 64, THREADS = 6 };

/* Each slot belongs to one thread (slot % THREADS), which writes, pins and drops its blob; all read it. */
struct shared {
    struct page_store *s;
    atomic_uint_fast64_t id[SLOTS], size[SLOTS]; /* id 0: none */
    atomic_bool stop;
    atomic_uint_fast64_t wrote, read, full;
};

struct worker {
    struct shared *sh;
    unsigned no;
};

static void own_blob(struct shared *sh, unsigned slot, uint64_t *seed, bool pinned[])
{
    uint64_t id = atomic_load(&sh->id[slot]), n = atomic_load(&sh->size[slot]), r = pl_rand(seed);
    if (id && r % 4 == 0) {
        atomic_store(&sh->id[slot], 0);
        page_drop(sh->s, id, n);
    } else if (id && r % 4 == 1) {
        page_unpin(sh->s, id, n);
        pinned[slot] = false;
    } else if (id && r % 4 == 2) {
        if (page_pin(sh->s, id, n, false) == 0)
            pinned[slot] = true;
    } else if (id && pinned[slot]) {
        OK(pl_read(sh->s, id, 0, n, r % 8 == 3)); /* mine and pinned: it must be there */
    }
}

static void new_blob(struct shared *sh, unsigned slot, uint64_t *seed, uint64_t id, bool pinned[])
{
    static const uint64_t most[] = {5000, 20000, 70 * KB, 140 * KB, 300 * KB, 700 * KB};
    uint64_t r = pl_rand(seed), n = 1 + r / 8 % most[r % 6];
    enum page_birth birth = r / 64 % 2 ? PAGE_PINNED : PAGE_EVICTABLE;
    int e = pl_write_as(sh->s, id, n, birth, r / 128 % 2 ? n : 0, 1 + r / 256 % (200 * KB), r / 512 % 8 == 0);
    if (e == ERR_NO_SPACE) {
        atomic_fetch_add(&sh->full, 1);
        return;
    }
    OK(e);
    pinned[slot] = birth == PAGE_PINNED;
    atomic_fetch_add(&sh->wrote, 1);
    atomic_store(&sh->size[slot], n);
    atomic_store(&sh->id[slot], id);
}

static void *writer(void *arg)
{
    struct worker *w = arg;
    struct shared *sh = w->sh;
    bool pinned[SLOTS] = {false};
    uint64_t seed = w->no + 1, next = (uint64_t)(w->no + 1) << 32;
    while (!atomic_load(&sh->stop)) {
        unsigned slot = (unsigned)(pl_rand(&seed) % SLOTS) / THREADS * THREADS + w->no;
        if (slot >= SLOTS)
            continue;
        if (atomic_load(&sh->id[slot]))
            own_blob(sh, slot, &seed, pinned);
        else
            new_blob(sh, slot, &seed, ++next, pinned);
    }
    return NULL;
}

static void hold_some(struct shared *sh, uint64_t id, uint64_t off)
{
    struct page_range r;
    char got[512], want[512];
    int e = page_hold(sh->s, id, off, sizeof got, &r);
    if (e < 0) {
        MUST(e == ERR_NOT_CACHED, "%s", err_detail(e));
        return;
    }
    usleep(100); /* it may be dropped, evicted, cleaned meanwhile */
    MUST(pread(r.fd, got, r.n, r.off) == (ssize_t)r.n);
    pl_bytes(id, off, want, r.n);
    MUST(memcmp(got, want, r.n) == 0, "a held range changed");
    page_release(sh->s, &r);
}

static void *reader(void *arg)
{
    struct worker *w = arg;
    struct shared *sh = w->sh;
    uint64_t seed = 1000 + w->no;
    while (!atomic_load(&sh->stop)) {
        uint64_t r = pl_rand(&seed);
        uint64_t id = atomic_load(&sh->id[r % SLOTS]), n = atomic_load(&sh->size[r % SLOTS]);
        if (!id)
            continue;
        uint64_t off = r / SLOTS % n, len = 1 + r / 1024 % (n - off);
        if (r / 64 % 2) {
            hold_some(sh, id, off);
        } else {
            int e = pl_read(sh->s, id, off, len, r / 128 % 2);
            MUST(e == 0 || e == ERR_NOT_CACHED, "%s", err_detail(e));
        }
        atomic_fetch_add(&sh->read, 1);
    }
    return NULL;
}

static int look(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        MUST(!b[i].unknown && b[i].pages);
        verdict[i] = PAGE_SKIP;
    }
    return 0;
}

static void *others(void *arg)
{
    struct worker *w = arg;
    struct shared *sh = w->sh;
    uint64_t seed = 5;
    for (uint64_t i = 0; !atomic_load(&sh->stop); i++) {
        OK(page_walk(sh->s, true, 5, look, NULL));
        page_upkeep(sh->s);
        OK(page_sync(sh->s));
        uint64_t slot = pl_rand(&seed) % SLOTS, id = atomic_load(&sh->id[slot]);
        if (id)
            page_evict(sh->s, id, atomic_load(&sh->size[slot]));
        int e =
            pl_fill(sh->s, (1ull << 60) + i % 50, (uint32_t)(i % 3), 256 * KB, 1 + i * 1237 % (256 * KB), i % 5 == 0);
        MUST(e == 0 || e == ERR_NO_SPACE, "%s", err_detail(e));
        if (i % 3 == 0)
            page_drop(sh->s, (1ull << 60) + i * 7 % 50, 3 * 256 * KB);
        struct page_figures f = pl_figures(sh->s);
        MUST(f.pinned <= f.pinned_limit + MB); /* pins that race may go over a little */
        usleep(1000);
    }
    return NULL;
}

static void everything_at_once(void **state)
{
    (void)state;
    char *a = pl_dir(), *b = pl_dir();
    struct pl_set set = {.bytes = 8 * MB, .page = 256 * KB, .ratio = 0.5};
    struct shared sh = {.s = pl_open2(a, b, set)};
    struct worker w[THREADS + 3];
    pthread_t t[THREADS + 3];
    for (unsigned i = 0; i < THREADS + 3; i++) {
        w[i] = (struct worker){&sh, i};
        OK(thread_start(&t[i], "test", i < THREADS ? writer : i < THREADS + 2 ? reader : others, &w[i]));
    }
    sleep(pl_quick() ? 2 : 6);
    atomic_store(&sh.stop, true);
    for (unsigned i = 0; i < THREADS + 3; i++)
        pthread_join(t[i], NULL);
    struct page_figures f = pl_figures(sh.s);
    MUST(atomic_load(&sh.wrote) > 50 && atomic_load(&sh.read) > 50 && f.evicted_bytes > 0 && f.corrupt == 0);
    pl_check(sh.s);
    page_close(sh.s);
    sh.s = pl_open2(a, b, set);
    pl_check(sh.s);
    page_close(sh.s);
    pl_gone(a);
    pl_gone(b);
}

/* Many small seals share syncs: durable records are far more than fdatasyncs. */
struct sealer {
    struct page_store *s;
    uint64_t base;
};

static void *sealer(void *arg)
{
    struct sealer *w = arg;
    for (uint64_t i = 0; i < 40; i++)
        OK(pl_write(w->s, w->base + i, 10000, PAGE_PINNED));
    return NULL;
}

static void seals_share_syncs(void **state)
{
    (void)state;
    char *d = pl_dir();
    struct page_store *s = pl_open(d, (struct pl_set){.bytes = 64 * MB, .ratio = 1});
    struct sealer w[16];
    pthread_t t[16];
    for (unsigned i = 0; i < 16; i++) {
        w[i] = (struct sealer){s, 1000 * (i + 1)};
        OK(thread_start(&t[i], "seal", sealer, &w[i]));
    }
    for (unsigned i = 0; i < 16; i++)
        pthread_join(t[i], NULL);
    assert_true(pl_figures(s).syncs < 640);
    for (unsigned i = 0; i < 16; i++)
        for (uint64_t k = 0; k < 40; k++)
            pl_same(s, 1000 * (i + 1) + k, 10000);
    pl_check(s);
    page_close(s);
    pl_gone(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(seals_share_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
