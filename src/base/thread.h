/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads with names, and a pool for straight-line jobs.
 */
#pragma once
#include <pthread.h>
#include <stddef.h>

/* Start a joinable thread with signals blocked; name is cut at 15 bytes. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg);

struct pool;
/* threads >= 1 workers and a queue without bound on the caller's honour (callers bound what they submit). */
int pool_new(const char *name, size_t threads, struct pool **ret);
void pool_submit(struct pool *p, void (*fn)(void *), void *arg);
size_t pool_depth(struct pool *p);      /* jobs waiting */
struct pool *pool_free(struct pool *p); /* runs what is queued, then joins; NULL is fine; returns NULL */
