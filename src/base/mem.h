/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that is always there: these abort when it is out, so that small allocations need no error path.
 * What a peer can make large (bodies, listings) is bounded where it comes in, not here. free() what you got.
 */
#pragma once
#include "base/err.h"
#include <stdlib.h>

static inline void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    CHECK(p, "%zu bytes", n);
    return p;
}
/* n elements of size bytes, zeroed. */
static inline void *mem_zero(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    CHECK(p, "%zu * %zu bytes", n, size);
    return p;
}
/* Like reallocarray. */
static inline void *mem_grow(void *old, size_t n, size_t size)
{
    void *p = reallocarray(old, n ? n : 1, size ? size : 1);
    CHECK(p, "%zu * %zu bytes", n, size);
    return p;
}
/* One zeroed struct: struct x *x = MEM_NEW(struct x). */
#define MEM_NEW(type) ((type *)mem_zero(1, sizeof(type)))
