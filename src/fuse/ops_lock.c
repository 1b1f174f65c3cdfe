/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks of files: fcntl (of processes and, F_OFD_*, of open files) and flock. The kernel asks for each, and says by
 * FLUSH and RELEASE what ends with a descriptor.
 */
#include "fuse/host.h"

static int claim_of(const struct fuse_req *q, const struct fuse_lk_in *in, struct lock_claim *ret)
{
    if (!q->h->locks) /* the kernel was told to keep them by itself */
        return ERR_NOT_IMPLEMENTED;
    if (in->lk.start > in->lk.end || in->lk.type > F_UNLCK)
        return ERR_INVALID;
    *ret = (struct lock_claim){.ino = req_ino(q, q->in->nodeid),
                               .owner = in->owner,
                               .fh = in->fh,
                               .start = in->lk.start,
                               .end = in->lk.end,
                               .type = (int)in->lk.type,
                               .kind = in->lk_flags & FUSE_LK_FLOCK ? LOCK_FLOCK : LOCK_RECORD,
                               .pid = in->lk.pid};
    return 0;
}

int op_getlk(struct fuse_req *q)
{
    const struct fuse_lk_in *in = (const void *)q->arg;
    struct fuse_lk_out out = {.lk.type = F_UNLCK};
    struct lock_claim c, held;
    TRY(claim_of(q, in, &c));
    if (locks_test(q->h->locks, &c, &held))
        out.lk = (struct fuse_file_lock){held.start, held.end, (uint32_t)held.type, held.pid};
    req_answer(q, &out, sizeof out);
    return 0;
}

static int set_lock(struct fuse_req *q, bool wait)
{
    const struct fuse_lk_in *in = (const void *)q->arg;
    struct lock_claim c;
    TRY(claim_of(q, in, &c));
    if (c.type != F_UNLCK && host_lost_file(q->h, in->fh))
        return err_set(ERR_IO, "the file had a lock that somebody else has now: open it again");
    q->answered = true; /* by whoever grants it, perhaps before locks_set returns */
    bool waits = false;
    int r = locks_set(q->h->locks, &c, wait ? q : NULL, &waits);
    if (waits)
        return 0;
    q->answered = false;
    if (r == 0)
        req_answer(q, NULL, 0);
    return r;
}

int op_setlk(struct fuse_req *q)
{
    return set_lock(q, false);
}

int op_setlkw(struct fuse_req *q)
{
    return set_lock(q, true);
}

int op_interrupt(struct fuse_req *q)
{
    const struct fuse_interrupt_in *in = (const void *)q->arg;
    if (q->h->locks) /* what else may take long has a deadline of its own */
        locks_interrupt(q->h->locks, in->unique);
    return 0;
}
