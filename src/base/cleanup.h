/* SPDX-License-Identifier: Apache-2.0
 *
 * Scope-bound cleanup: a variable declared with one of these is released when its scope ends.
 * TAKE(p) hands it over: gives the value and leaves NULL behind.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define TAKE(p)                                                                                                        \
    ({                                                                                                                 \
        __typeof__(p) take_p_ = (p);                                                                                   \
        (p) = NULL;                                                                                                    \
        take_p_;                                                                                                       \
    })

/* Make cleanup_NAME(T *p) call fn(*p): DEFINE_CLEANUP(struct buf *, buf_free). */
#define DEFINE_CLEANUP(type, fn)                                                                                       \
    static inline void cleanup_##fn(type *p)                                                                           \
    {                                                                                                                  \
        fn(*p);                                                                                                        \
    }

static inline void cleanup_free_mem(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void cleanup_close_file(FILE **f)
{
    if (*f)
        fclose(*f);
}
#define AUTO_FREE CLEANUP(cleanup_free_mem)
#define AUTO_CLOSE CLEANUP(cleanup_close_fd)
#define AUTO_FCLOSE CLEANUP(cleanup_close_file)
