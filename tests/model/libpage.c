/* SPDX-License-Identifier: Apache-2.0 */
#include "fakepage.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include <sys/mman.h>
#include <unistd.h>

enum { BLOBS = 256, PAGES = 8, SLOT = 1 << 16 };

struct page {
    struct buf bytes;
    bool there, durable;
};

struct blob {
    uint64_t id, content, birth_ms;
    bool used, pinned, unknown, writing;
    unsigned held;
    struct page page[PAGES];
};

struct page_store {
    struct blob blob[BLOBS];
    uint32_t page_size;
    bool open, eager;
    int fd;
    char complaint[200];
};

struct page_writer {
    struct blob *b;
    uint64_t n;
};

static struct page_store store = {.fd = -1};

/* ---- for the checker ---- */

static void forget(struct blob *b)
{
    for (size_t i = 0; i < PAGES; i++)
        buf_reset(&b->page[i].bytes), b->page[i].there = b->page[i].durable = false;
    b->used = b->pinned = b->unknown = b->writing = false;
    b->held = 0;
}

void fakepage_reset(bool eager)
{
    for (size_t i = 0; i < BLOBS; i++)
        if (store.blob[i].used)
            forget(&store.blob[i]);
    if (store.fd < 0)
        store.fd = memfd_create("pages", MFD_CLOEXEC);
    store.eager = eager;
    store.open = false;
    store.complaint[0] = 0;
}

static bool empty(const struct blob *b)
{
    for (size_t i = 0; i < PAGES; i++)
        if (b->page[i].there)
            return false;
    return true;
}

void fakepage_crash(bool power)
{
    for (size_t i = 0; i < BLOBS; i++) {
        struct blob *b = &store.blob[i];
        if (!b->used)
            continue;
        for (size_t k = 0; k < PAGES && power; k++)
            if (!b->page[k].durable)
                b->page[k].there = false;
        b->held = 0;
        b->pinned = false;
        b->unknown = true;
        if (b->writing || empty(b))
            forget(b);
    }
    store.open = false;
}

uint64_t fakepage_hash(void)
{
    uint64_t h = 0;
    for (size_t i = 0; i < BLOBS; i++) {
        const struct blob *b = &store.blob[i];
        if (!b->used)
            continue;
        uint64_t x[3] = {b->id, b->pinned | b->unknown << 1 | b->writing << 2, 0};
        for (size_t k = 0; k < PAGES; k++)
            x[2] |= (uint64_t)b->page[k].there << k | (uint64_t)b->page[k].durable << (k + 8);
        h ^= str_hash(str_mk(x, sizeof x));
    }
    return h;
}

size_t fakepage_blobs(void)
{
    size_t n = 0;
    for (size_t i = 0; i < BLOBS; i++)
        n += store.blob[i].used;
    return n;
}

const char *fakepage_complaint(void)
{
    return store.complaint[0] ? store.complaint : NULL;
}

static struct blob *find(uint64_t id)
{
    for (size_t i = 0; i < BLOBS; i++)
        if (store.blob[i].used && store.blob[i].id == id)
            return &store.blob[i];
    return NULL;
}

static struct blob *make(uint64_t id, uint64_t content)
{
    for (size_t i = 0; i < BLOBS; i++)
        if (!store.blob[i].used) {
            struct blob *b = &store.blob[i];
            b->used = true;
            b->id = id;
            b->content = content;
            b->birth_ms = clock_wall_ms();
            return b;
        }
    CHECK(0, "the model's page store is full");
}

static void evict(struct blob *b)
{
    if (b->pinned || b->unknown || b->writing || b->held)
        return;
    forget(b);
}

/* ---- page.h ---- */

int page_open(const struct page_options *o, struct page_store **ret)
{
    CHECK(!store.open);
    store.open = true;
    store.page_size = o->page_size ? o->page_size : 1 << 20;
    *ret = &store;
    return 0;
}

struct page_store *page_close(struct page_store *s)
{
    if (s)
        s->open = false;
    return NULL;
}

int page_write_begin(struct page_store *s, uint64_t blob, uint64_t content, enum page_birth birth, uint64_t size_hint,
                     uint64_t deadline_ns, struct page_writer **ret)
{
    (void)s;
    (void)size_hint;
    (void)deadline_ns;
    CHECK(!find(blob), "blob %llu is written twice", (unsigned long long)blob);
    struct page_writer *w = MEM_NEW(struct page_writer);
    w->b = make(blob, content);
    w->b->writing = true;
    w->b->pinned = birth == PAGE_PINNED;
    *ret = w;
    return 0;
}

int page_append(struct page_writer *w, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        size_t i = w->n / store.page_size, room = store.page_size - w->n % store.page_size, k = n < room ? n : room;
        CHECK(i < PAGES, "too large for the model");
        buf_add(&w->b->page[i].bytes, at, k);
        w->b->page[i].there = true;
        w->n += k;
        at += k;
        n -= k;
    }
    return 0;
}

static int seal(struct page_writer *w, bool durable)
{
    for (size_t i = 0; i < PAGES; i++)
        w->b->page[i].durable = durable && w->b->page[i].there;
    w->b->writing = false;
    if (store.eager)
        evict(w->b);
    if (w->b->used && empty(w->b))
        forget(w->b);
    free(w);
    return 0;
}

int page_seal(struct page_writer *w)
{
    return seal(w, true);
}

int page_seal_lazy(struct page_writer *w)
{
    return seal(w, false);
}

void page_abort(struct page_writer *w)
{
    if (!w)
        return;
    forget(w->b);
    free(w);
}

uint64_t page_written(const struct page_writer *w)
{
    return w->n;
}

int page_sync(struct page_store *s)
{
    for (size_t i = 0; i < BLOBS; i++)
        for (size_t k = 0; k < PAGES && s->blob[i].used && !s->blob[i].writing; k++)
            s->blob[i].page[k].durable = s->blob[i].page[k].there;
    return 0;
}

int page_fill(struct page_store *s, uint64_t blob, uint64_t content, uint32_t index, const void *p, size_t n, bool pin)
{
    struct blob *b = find(blob);
    CHECK(index < PAGES && n <= s->page_size);
    if (!b)
        b = make(blob, content);
    if (!b->page[index].there) {
        buf_reset(&b->page[index].bytes);
        buf_add(&b->page[index].bytes, p, n);
        b->page[index].there = true;
    }
    b->pinned |= pin; /* not evicted at once even when eager: who fills in order to pin gets the chance */
    return 0;
}

static struct page *page_at(uint64_t blob, uint64_t off, struct blob **ret)
{
    struct blob *b = find(blob);
    size_t i = off / store.page_size;
    if (!b || b->writing || i >= PAGES || !b->page[i].there || off % store.page_size >= b->page[i].bytes.n)
        return NULL;
    *ret = b;
    return &b->page[i];
}

int page_hold(struct page_store *s, uint64_t blob, uint64_t off, size_t n, struct page_range *ret)
{
    struct blob *b;
    struct page *p = page_at(blob, off, &b);
    if (!p)
        return err_set(ERR_NOT_CACHED, "the page is not here");
    size_t at = off % s->page_size, left = p->bytes.n - at;
    off_t place = (off_t)((b - s->blob) * PAGES + (p - b->page)) * SLOT;
    CHECK(p->bytes.n <= SLOT && pwrite(s->fd, p->bytes.p, p->bytes.n, place) == (ssize_t)p->bytes.n);
    *ret = (struct page_range){s->fd, place + (off_t)at, n < left ? n : left, b};
    b->held++;
    return 0;
}

void page_release(struct page_store *s, struct page_range *r)
{
    struct blob *b = r->hold;
    (void)s;
    r->hold = NULL;
    if (b && b->held)
        b->held--;
}

int page_read(struct page_store *s, uint64_t blob, uint64_t off, void *p, size_t n, bool verify)
{
    char *out = p;
    (void)verify;
    while (n) {
        struct blob *b;
        struct page *at = page_at(blob, off, &b);
        if (!at)
            return err_set(ERR_NOT_CACHED, "the page is not here");
        size_t from = off % s->page_size, k = at->bytes.n - from < n ? at->bytes.n - from : n;
        memcpy(out, at->bytes.p + from, k);
        out += k;
        off += k;
        n -= k;
    }
    return 0;
}

bool page_has(struct page_store *s, uint64_t blob, uint64_t off, uint64_t n)
{
    struct blob *b;
    while (n) {
        struct page *p = page_at(blob, off, &b);
        if (!p)
            return false;
        uint64_t k = p->bytes.n - off % s->page_size;
        k = k < n ? k : n;
        off += k;
        n -= k;
    }
    return true;
}

void page_unpin(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    struct blob *b = find(blob);
    (void)bytes;
    if (!b)
        return;
    b->pinned = b->unknown = false;
    if (s->eager)
        evict(b);
}

int page_pin(struct page_store *s, uint64_t blob, uint64_t bytes, bool force)
{
    struct blob *b = find(blob);
    (void)force;
    if (!b || !page_has(s, blob, 0, bytes))
        return err_set(ERR_NOT_CACHED, "a page is not here");
    b->pinned = true;
    b->unknown = false;
    return 0;
}

void page_drop(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    struct blob *b = find(blob);
    (void)s;
    (void)bytes;
    if (b)
        forget(b);
}

uint64_t page_evict(struct page_store *s, uint64_t blob, uint64_t bytes)
{
    struct blob *b = find(blob);
    (void)s;
    (void)bytes;
    if (b)
        evict(b);
    return 0;
}

static void decide(struct page_store *s, struct blob *b, enum page_verdict v)
{
    if (v == PAGE_DROP) {
        forget(b);
    } else if (v != PAGE_SKIP) {
        b->unknown = false;
        b->pinned = v == PAGE_KEEP_PINNED;
        if (s->eager)
            evict(b);
    }
}

int page_walk(struct page_store *s, bool all, size_t n,
              int (*fn)(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict), void *arg)
{
    (void)n;
    for (size_t i = 0; i < BLOBS; i++) {
        struct blob *b = &s->blob[i];
        enum page_verdict v = PAGE_SKIP;
        if (!b->used || b->writing || !(all || b->unknown))
            continue;
        struct page_blob one = {
            .blob = b->id, .content = b->content, .birth_ms = b->birth_ms, .pages = 1, .unknown = b->unknown};
        for (size_t k = 0; k < PAGES; k++)
            one.bytes += b->page[k].there ? b->page[k].bytes.n : 0;
        int r = fn(arg, &one, 1, &v);
        if (r)
            return r;
        decide(s, b, v);
    }
    return 0;
}

void page_walk_done(struct page_store *s)
{
    (void)s;
}

bool page_upkeep(struct page_store *s)
{
    (void)s;
    return false;
}

void page_figures(struct page_store *s, struct page_figures *ret)
{
    (void)s;
    *ret = (struct page_figures){.capacity = 1 << 30, .pinned_limit = 1 << 30, .free = 1 << 30};
}

size_t page_dir_count(struct page_store *s)
{
    (void)s;
    return 0;
}

void page_dir_figures(struct page_store *s, size_t i, struct page_dir_figures *ret)
{
    (void)s;
    (void)i;
    *ret = (struct page_dir_figures){0};
}

int page_check(struct page_store *s, bool verify, void (*say)(void *arg, const char *line), void *arg)
{
    (void)s;
    (void)verify;
    (void)say;
    (void)arg;
    return 0;
}
