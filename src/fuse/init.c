/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel and we agree on.
 */
#include "fuse/host.h"

/* Each is taken only where the kernel offers it.
 *   ATOMIC_O_TRUNC         O_TRUNC comes with the open: one request less, and no moment with an empty file by somebody
 * else HANDLE_KILLPRIV_V2     we clear set-id bits on write and truncate; else each write asks for security.capability
 * first DO_READDIRPLUS, AUTO   attributes come with names where a program looks at them CACHE_SYMLINKS         what a
 * link points to never changes EXPLICIT_INVAL_DATA    pages go when we say so, not when a modification time looks
 * different MAX_PAGES              requests of 1 MiB instead of 128 KiB
 *   POSIX_LOCKS, FLOCK_LOCKS   we are asked for each lock, so that it holds between mounts; not with locks=local */
static const uint32_t wanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
                               FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_MAX_PAGES |
                               FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA;
static const uint32_t wanted_of_locks = FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS;

enum { BACKGROUND = 64, CONGESTION = 48 }; /* requests on their way that no program waits for (read-ahead) */

int op_init(struct fuse_req *q)
{
    const struct fuse_init_in *in = (const void *)q->arg;
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
                                .minor = FUSE_KERNEL_MINOR_VERSION,
                                .max_readahead = in->max_readahead,
                                .max_background = BACKGROUND,
                                .congestion_threshold = CONGESTION,
                                .max_write = HOST_MAX_IO,
                                .time_gran = 1,
                                .max_pages = HOST_MAX_IO / 4096};
    enum { OLDEST = 31 }; /* of 2019, Linux 5.4 */
    if (in->major < FUSE_KERNEL_VERSION || (in->major == FUSE_KERNEL_VERSION && in->minor < OLDEST)) {
        log_error("fuse.init",
                  "kernel=%u.%u meaning=\"the kernel's FUSE protocol is too old\" action=\"use Linux 5.4 or newer\"",
                  in->major, in->minor);
        req_error(q, EPROTO);
        return 0;
    }
    out.flags = in->flags & (wanted | (q->h->locks ? wanted_of_locks : 0));
    q->h->minor = in->minor;
    req_answer(q, &out, sizeof out);
    atomic_store(&q->h->ready, true);
    return 0;
}

int op_destroy(struct fuse_req *q)
{
    atomic_store(&q->h->gone, true);
    req_answer(q, NULL, 0);
    return 0;
}
