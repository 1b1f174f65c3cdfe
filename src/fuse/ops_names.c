/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on names.
 */
#include "fuse/host.h"

static int answer_entry(struct fuse_req *q, int r, const struct fs_px_stat *st)
{
    struct fuse_entry_out out;
    if (r < 0)
        return r;
    entry_fill(q->h, st, &out);
    req_answer(q, &out, sizeof out);
    return 0;
}

static int answer_done(struct fuse_req *q, int r)
{
    if (r == 0)
        req_answer(q, NULL, 0);
    return r;
}

int op_lookup(struct fuse_req *q)
{
    struct fs_px_stat st;
    struct str name;
    TRY(req_name(q, 0, &name, NULL));
    return answer_entry(q, fs_px_lookup(q->h->px, req_ino(q, q->in->nodeid), name, &st), &st);
}

int op_mkdir(struct fuse_req *q)
{
    const struct fuse_mkdir_in *in = (const void *)q->arg;
    struct fs_px_stat st;
    struct str name;
    TRY(req_name(q, sizeof *in, &name, NULL));
    return answer_entry(
        q, fs_px_mkdir(q->h->px, req_ino(q, q->in->nodeid), name, in->mode & 07777, q->in->uid, q->in->gid, &st), &st);
}

int op_mknod(struct fuse_req *q)
{
    const struct fuse_mknod_in *in = (const void *)q->arg;
    struct fs_px_stat st;
    struct str name;
    TRY(req_name(q, sizeof *in, &name, NULL));
    return answer_entry(q,
                        fs_px_mknod(q->h->px, req_ino(q, q->in->nodeid), name, attr_type_of(in->mode), in->mode & 07777,
                                    in->rdev, q->in->uid, q->in->gid, &st),
                        &st);
}

int op_symlink(struct fuse_req *q)
{
    struct fs_px_stat st;
    struct str name, target;
    size_t next;
    TRY(req_name(q, 0, &name, &next));
    TRY(req_name(q, next, &target, NULL));
    return answer_entry(
        q, fs_px_symlink(q->h->px, req_ino(q, q->in->nodeid), name, target, q->in->uid, q->in->gid, &st), &st);
}

int op_readlink(struct fuse_req *q)
{
    struct buf target AUTO_BUF = {0};
    TRY(fs_px_readlink(q->h->px, req_ino(q, q->in->nodeid), &target));
    req_answer(q, target.p, target.n);
    return 0;
}

int op_link(struct fuse_req *q)
{
    const struct fuse_link_in *in = (const void *)q->arg;
    struct fs_px_stat st;
    struct str name;
    TRY(req_name(q, sizeof *in, &name, NULL));
    return answer_entry(q, fs_px_link(q->h->px, req_ino(q, in->oldnodeid), req_ino(q, q->in->nodeid), name, &st), &st);
}

int op_unlink(struct fuse_req *q)
{
    struct str name;
    TRY(req_name(q, 0, &name, NULL));
    return answer_done(q, fs_px_unlink(q->h->px, req_ino(q, q->in->nodeid), name));
}

int op_rmdir(struct fuse_req *q)
{
    struct str name;
    TRY(req_name(q, 0, &name, NULL));
    return answer_done(q, fs_px_rmdir(q->h->px, req_ino(q, q->in->nodeid), name));
}

static int rename_at(struct fuse_req *q, size_t head, uint64_t newdir, unsigned flags)
{
    struct str from, to;
    size_t next;
    TRY(req_name(q, head, &from, &next));
    TRY(req_name(q, next, &to, NULL));
    return answer_done(q, fs_px_rename(q->h->px, req_ino(q, q->in->nodeid), from, req_ino(q, newdir), to, flags));
}

int op_rename(struct fuse_req *q)
{
    const struct fuse_rename_in *in = (const void *)q->arg;
    return rename_at(q, sizeof *in, in->newdir, 0);
}

int op_rename2(struct fuse_req *q)
{
    enum { NOREPLACE = 1, EXCHANGE = 2 }; /* RENAME_* of linux/fs.h */
    const struct fuse_rename2_in *in = (const void *)q->arg;
    if (in->flags & ~(uint32_t)(NOREPLACE | EXCHANGE)) /* WHITEOUT is for overlays */
        return ERR_INVALID;
    return rename_at(q, sizeof *in, in->newdir,
                     (in->flags & NOREPLACE ? FS_NOREPLACE : 0u) | (in->flags & EXCHANGE ? FS_EXCHANGE : 0u));
}
