/* SPDX-License-Identifier: Apache-2.0
 *
 * Upkeep: what nobody waits for. For each directory, in this order: take a failed one back, write the tables of full
 * segments, keep one or two log segments ready (formatted, every block written before), clean sparse segments, keep a
 * little empty space ahead of the writers, empty segments beyond the configured bytes.
 *
 * page_upkeep does one round and may be called by anybody; the keeper thread calls it when kicked and four times a
 * second.
 */
#include "page/store.h"
#include "base/thread.h"

enum { EVERY_MS = 250, ROUNDS = 64 };

static uint32_t ready_target(const struct dir *d)
{
    return d->seg_count >= 32 ? 2 : 1;
}

static struct seg *to_prepare(struct dir *d)
{
    LOCKED(&d->lock);
    if (d->ready_count >= ready_target(d) || d->free_count + d->absent_count <= page_seg_reserve(d) + 1)
        return NULL;
    return page_seg_take(d, false, true);
}

static bool prepare(struct dir *d)
{
    struct seg *g = to_prepare(d);
    if (!g || page_seg_format(g, 0, true) < 0)
        return false;
    LOCKED(&d->lock);
    page_seg_set(g, SEG_READY);
    return true;
}

/* Small stores evict when somebody asks; larger ones a little before. */
static bool keep_ahead(struct dir *d)
{
    {
        LOCKED(&d->lock);
        if (d->seg_count < 32 || page_seg_empty(d) > page_seg_reserve(d) + 1)
            return false;
    }
    return page_reclaim(d, 0) > 0;
}

static bool upkeep_dir(struct dir *d)
{
    bool did = page_dir_probe(d);
    if (!atomic_load(&d->open) || atomic_load(&d->failed))
        return did;
    did |= page_small_seal_full(d);
    did |= prepare(d);
    did |= page_clean_sparse(d);
    did |= keep_ahead(d);
    did |= page_clean_surplus(d);
    return did;
}

static bool round_begin(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    s->upkeeps += !s->paused;
    return !s->paused;
}

static void round_end(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    s->upkeeps--;
    if (s->paused)
        pthread_cond_broadcast(&s->wait_cond);
}

bool page_upkeep(struct page_store *s)
{
    bool did = false;
    if (s->o.read_only || !round_begin(s))
        return false;
    for (size_t i = 0; i < s->dir_count; i++)
        did |= upkeep_dir(&s->dirs[i]);
    round_end(s);
    return did;
}

void page_upkeep_pause(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    s->paused++;
    while (s->upkeeps)
        cond_wait(&s->wait_cond, &s->wait_lock);
}

void page_upkeep_resume(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    s->paused--;
}

static bool keeper_wait(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    if (!s->stop && !s->kicked)
        cond_wait_until(&s->keeper_cond, &s->wait_lock, clock_mono_ns() + EVERY_MS * 1000000ull);
    s->kicked = false;
    return !s->stop;
}

static void *keeper(void *arg)
{
    struct page_store *s = arg;
    while (keeper_wait(s))
        for (int i = 0; i < ROUNDS && page_upkeep(s); i++)
            ;
    return NULL;
}

void page_keeper_kick(struct page_store *s)
{
    LOCKED(&s->wait_lock);
    s->kicked = true;
    pthread_cond_signal(&s->keeper_cond);
}

int page_keeper_start(struct page_store *s)
{
    TRY(thread_start(&s->keeper, "page-keeper", keeper, s));
    s->keeper_runs = true;
    return 0;
}

void page_keeper_stop(struct page_store *s)
{
    if (!s->keeper_runs)
        return;
    {
        LOCKED(&s->wait_lock);
        s->stop = true;
        pthread_cond_signal(&s->keeper_cond);
    }
    pthread_join(s->keeper, NULL);
    s->keeper_runs = false;
}
