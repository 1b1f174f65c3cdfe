/* SPDX-License-Identifier: Apache-2.0
 *
 * Open files.
 */
#include "fuse/host.h"
#include <fcntl.h>

static int number(struct fuse_req *q, struct fs_px_handle *h, uint32_t flags, uint64_t *ret)
{
    int r = numbers_put(q->h->files, h, (flags & O_ACCMODE) != O_RDONLY, ret);
    if (r < 0)
        fs_px_release(h);
    return r;
}

int op_open(struct fuse_req *q)
{
    const struct fuse_open_in *in = (const void *)q->arg;
    uint64_t ino = req_ino(q, q->in->nodeid);
    struct fs_px_handle *h;
    bool keep;
    TRY(fs_px_open(q->h->px, ino, (int)in->flags, &h, &keep));
    if (in->open_flags & FUSE_OPEN_KILL_SUIDGID) {
        struct fs_px_stat to = {0}, st;
        int r = fs_px_setattr(q->h->px, ino, h, &to, FS_PX_KILL_PRIV, &st);
        if (r < 0) {
            fs_px_release(h);
            return r;
        }
    }
    struct fuse_open_out out = {.open_flags = keep ? FOPEN_KEEP_CACHE : 0};
    TRY(number(q, h, in->flags, &out.fh));
    req_answer(q, &out, sizeof out);
    return 0;
}

static int answer_created(struct fuse_req *q, const struct fs_px_stat *st, struct fs_px_handle *h, uint32_t flags)
{
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {0};
    TRY(number(q, h, flags, &out.open.fh));
    entry_fill(q->h, st, &out.entry);
    req_answer(q, &out, sizeof out);
    return 0;
}

int op_create(struct fuse_req *q)
{
    const struct fuse_create_in *in = (const void *)q->arg;
    struct fs_px_stat st;
    struct fs_px_handle *h;
    struct str name;
    TRY(req_name(q, sizeof *in, &name, NULL));
    TRY(fs_px_create(q->h->px, req_ino(q, q->in->nodeid), name, in->mode & 07777, q->in->uid, q->in->gid,
                     (int)in->flags, &st, &h));
    return answer_created(q, &st, h, in->flags);
}

int op_tmpfile(struct fuse_req *q)
{
    const struct fuse_create_in *in = (const void *)q->arg;
    struct fs_px_stat st;
    struct fs_px_handle *h;
    TRY(fs_px_tmpfile(q->h->px, req_ino(q, q->in->nodeid), in->mode & 07777, q->in->uid, q->in->gid, (int)in->flags,
                      &st, &h));
    return answer_created(q, &st, h, in->flags);
}

int op_read(struct fuse_req *q)
{
    const struct fuse_read_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    size_t want = in->size < HOST_MAX_IO ? in->size : HOST_MAX_IO, got;
    TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    TRY(fs_px_read(h, in->offset, q->out, want, &got));
    req_answer(q, q->out, got);
    return 0;
}

int op_write(struct fuse_req *q)
{
    const struct fuse_write_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    struct fuse_write_out out = {.size = in->size};
    if (q->n - sizeof *in < in->size)
        return ERR_INVALID;
    TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    TRY(fs_px_write(h, in->offset, q->arg + sizeof *in, in->size, in->write_flags & FUSE_WRITE_KILL_SUIDGID));
    locks_wrote(q->h->locks, req_ino(q, q->in->nodeid));
    req_answer(q, &out, sizeof out);
    return 0;
}

int op_flush(struct fuse_req *q)
{
    const struct fuse_flush_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    int r = req_handle(q, in->fh, q->in->nodeid, &h);
    if (r == 0)
        r = fs_px_flush(h);
    locks_closed(q->h->locks, req_ino(q, q->in->nodeid), in->lock_owner); /* whatever became of the bytes */
    if (r == 0)
        req_answer(q, NULL, 0);
    return r;
}

int op_fsync(struct fuse_req *q)
{
    const struct fuse_fsync_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    TRY(fs_px_fsync(h, in->fsync_flags & FUSE_FSYNC_FDATASYNC));
    req_answer(q, NULL, 0);
    return 0;
}

int op_release(struct fuse_req *q)
{
    const struct fuse_release_in *in = (const void *)q->arg;
    locks_released(q->h->locks, req_ino(q, q->in->nodeid), in->fh); /* before the number may be given again */
    struct fs_px_handle *h = host_take_handle(q->h, in->fh);
    if (h)
        fs_px_release(h); /* close(2) was answered at FLUSH; nobody waits for this one */
    req_answer(q, NULL, 0);
    return 0;
}

int op_fallocate(struct fuse_req *q)
{
    const struct fuse_fallocate_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    TRY(fs_px_fallocate(h, (int)in->mode, in->offset, in->length));
    locks_wrote(q->h->locks, req_ino(q, q->in->nodeid));
    req_answer(q, NULL, 0);
    return 0;
}

int op_lseek(struct fuse_req *q)
{
    const struct fuse_lseek_in *in = (const void *)q->arg;
    struct fs_px_handle *h;
    struct fuse_lseek_out out;
    TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    TRY(fs_px_lseek(h, in->offset, (int)in->whence, &out.offset));
    req_answer(q, &out, sizeof out);
    return 0;
}

int op_copy_range(struct fuse_req *q)
{
    const struct fuse_copy_file_range_in *in = (const void *)q->arg;
    enum { MOST = 1 << 30 }; /* the answer is a 32-bit number; the kernel asks again for the rest */
    uint64_t done, n = in->len < MOST ? in->len : MOST;
    struct fs_px_handle *from, *to;
    if (in->flags)
        return ERR_INVALID;
    TRY(req_handle(q, in->fh_in, q->in->nodeid, &from));
    TRY(req_handle(q, in->fh_out, in->nodeid_out, &to));
    TRY(fs_px_copy_range(from, in->off_in, to, in->off_out, n, &done));
    locks_wrote(q->h->locks, req_ino(q, in->nodeid_out));
    struct fuse_write_out out = {.size = (uint32_t)done};
    req_answer(q, &out, sizeof out);
    return 0;
}
