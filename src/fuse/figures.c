/* SPDX-License-Identifier: Apache-2.0
 *
 * How many requests of which kind, how long they took and how many failed: for all mounts of the process together, so
 * that counters do not fall when a mount ends.
 */
#include "fuse/host.h"

static struct {
    struct spread time;
    atomic_uint_fast64_t errors;
} figures[HOST_OPS];

/* As S3 has it: what the caller did wrong is no failure of ours. */
static bool our_fault(int r)
{
    return r < 0 && err_info(r)->http >= 500 && err_info(r)->http != 501;
}

void figures_count(uint32_t opcode, uint64_t ns, int r)
{
    spread_add(&figures[opcode].time, spread_time_ns, ns);
    if (our_fault(r))
        atomic_fetch_add_explicit(&figures[opcode].errors, 1, memory_order_relaxed);
}

bool fuse_figures(unsigned *i, struct fuse_op_figures *ret)
{
    while (*i < HOST_OPS) {
        unsigned op = (*i)++;
        if (!fuse_ops[op].run)
            continue;
        *ret = (struct fuse_op_figures){.op = fuse_ops[op].name, .errors = atomic_load(&figures[op].errors)};
        spread_read(&figures[op].time, &ret->time);
        for (size_t b = 0; b < SPREAD_N; b++)
            ret->count += ret->time.n[b];
        if (ret->count)
            return true;
    }
    return false;
}
