/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"
#include "base/lock.h"
#include "base/mem.h"
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

struct start {
    char name[16];
    void *(*fn)(void *);
    void *arg;
};

static void *run(void *p)
{
    struct start s = *(struct start *)p;
    free(p);
    pthread_setname_np(pthread_self(), s.name);
    return s.fn(s.arg);
}

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg)
{
    struct start *s = MEM_NEW(struct start);
    snprintf(s->name, sizeof s->name, "%s", name);
    s->fn = fn;
    s->arg = arg;
    /* A thread inherits the mask: signals are for the main thread only. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t t;
    int r = pthread_create(&t, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r) {
        free(s);
        return err_set(ERR_NOMEM, "cannot start thread %s: error %d", name, r);
    }
    *ret = t;
    return 0;
}

struct job {
    struct job *next;
    void (*fn)(void *);
    void *arg;
};

struct pool {
    struct lock lock; /* RANK_LEAF: jobs may be submitted under any lock; guards all below */
    pthread_cond_t some;
    struct job *head, **tail;
    size_t depth;
    bool stop;
    pthread_t *threads; /* constant once started */
    size_t n;
};

static struct job *pool_next(struct pool *p)
{
    LOCKED(&p->lock);
    while (!p->head && !p->stop)
        cond_wait(&p->some, &p->lock);
    struct job *j = p->head;
    if (!j)
        return NULL;
    p->head = j->next;
    if (!p->head)
        p->tail = &p->head;
    p->depth--;
    return j;
}

static void *pool_run(void *arg)
{
    struct job *j;
    while ((j = pool_next(arg))) {
        j->fn(j->arg);
        free(j);
    }
    return NULL;
}

int pool_new(const char *name, size_t threads, struct pool **ret)
{
    CHECK(threads >= 1);
    struct pool *p = MEM_NEW(struct pool);
    lock_init(&p->lock, RANK_LEAF);
    cond_init(&p->some);
    p->tail = &p->head;
    p->threads = mem_zero(threads, sizeof *p->threads);
    for (; p->n < threads; p->n++) {
        int r = thread_start(&p->threads[p->n], name, pool_run, p);
        if (r < 0) {
            pool_free(p);
            return r;
        }
    }
    *ret = p;
    return 0;
}

void pool_submit(struct pool *p, void (*fn)(void *), void *arg)
{
    struct job *j = MEM_NEW(struct job);
    j->fn = fn;
    j->arg = arg;
    LOCKED(&p->lock);
    *p->tail = j;
    p->tail = &j->next;
    p->depth++;
    pthread_cond_signal(&p->some);
}

size_t pool_depth(struct pool *p)
{
    LOCKED(&p->lock);
    return p->depth;
}

static void pool_stop(struct pool *p)
{
    LOCKED(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->some);
}

struct pool *pool_free(struct pool *p)
{
    if (!p)
        return NULL;
    pool_stop(p);
    for (size_t i = 0; i < p->n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->some);
    lock_done(&p->lock);
    free(p->threads);
    free(p);
    return NULL;
}
