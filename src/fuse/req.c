/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers, and what requests and answers are made of.
 */
#include "fuse/host.h"
#include <sys/stat.h>
#include <sys/uio.h>

/* The kernel takes an answer whole or not at all; that it forgot the request (ENOENT: interrupted) is no error. */
static void send_answer(struct fuse_host *h, int fd, uint64_t unique, int eno, const void *p, size_t n)
{
    struct fuse_out_header out = {.len = (uint32_t)(sizeof out + n), .error = -eno, .unique = unique};
    struct iovec v[2] = {{&out, sizeof out}, {(void *)p, n}};
    if (h->calls) {
        stream_send(h->calls, STREAM_ANSWER, v, n ? 2 : 1); /* the other side is gone: it will ask the next one */
        return;
    }
    while (writev(fd, v, n ? 2 : 1) < 0 && errno == EINTR)
        ;
}

void host_answer(struct fuse_host *h, int fd, uint64_t unique, int eno)
{
    send_answer(h, fd, unique, eno, NULL, 0);
}

static void answer(struct fuse_req *q, int eno, const void *p, size_t n)
{
    CHECK(!q->answered, "opcode %u", q->in->opcode);
    q->answered = true;
    send_answer(q->h, q->fd, q->in->unique, eno, p, n);
}

void req_answer(struct fuse_req *q, const void *p, size_t n)
{
    answer(q, 0, p, n);
}

void req_error(struct fuse_req *q, int eno)
{
    answer(q, eno, NULL, 0);
}

int req_name(const struct fuse_req *q, size_t at, struct str *ret, size_t *next)
{
    const char *end = at < q->n ? memchr(q->arg + at, 0, q->n - at) : NULL;
    if (!end)
        return ERR_INVALID;
    *ret = str_mk(q->arg + at, (size_t)(end - (q->arg + at)));
    if (next)
        *next = at + ret->n + 1;
    return 0;
}

/* ---- attributes ---- */

static const struct {
    enum fs_type type;
    uint32_t bits;
} kinds[] = {{FS_FILE, S_IFREG},    {FS_DIR, S_IFDIR},  {FS_SYMLINK, S_IFLNK}, {FS_FIFO, S_IFIFO},
             {FS_SOCKET, S_IFSOCK}, {FS_CHAR, S_IFCHR}, {FS_BLOCK, S_IFBLK}};

uint32_t attr_type_bits(enum fs_type t)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type == t)
            return kinds[i].bits;
    return S_IFREG;
}

enum fs_type attr_type_of(uint32_t mode)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].bits == (mode & S_IFMT))
            return kinds[i].type;
    return FS_FILE;
}

void attr_fill(const struct fs_px_stat *st, struct fuse_attr *ret)
{
    *ret = (struct fuse_attr){.ino = st->ino,
                              .size = st->size,
                              .blocks = st->blocks,
                              .atime = (uint64_t)st->atime.tv_sec,
                              .mtime = (uint64_t)st->mtime.tv_sec,
                              .ctime = (uint64_t)st->ctime.tv_sec,
                              .atimensec = (uint32_t)st->atime.tv_nsec,
                              .mtimensec = (uint32_t)st->mtime.tv_nsec,
                              .ctimensec = (uint32_t)st->ctime.tv_nsec,
                              .mode = attr_type_bits(st->type) | (st->mode & 07777),
                              .nlink = st->nlink,
                              .uid = st->uid,
                              .gid = st->gid,
                              .rdev = st->rdev,
                              .blksize = 65536};
}

void entry_fill(const struct fuse_host *h, const struct fs_px_stat *st, struct fuse_entry_out *ret)
{
    *ret = (struct fuse_entry_out){.nodeid = st->ino == h->root ? FUSE_ROOT_ID : st->ino,
                                   .generation = 0, /* numbers are never used again */
                                   .entry_valid = (uint64_t)h->keep.tv_sec,
                                   .entry_valid_nsec = (uint32_t)h->keep.tv_nsec,
                                   .attr_valid = (uint64_t)h->keep.tv_sec,
                                   .attr_valid_nsec = (uint32_t)h->keep.tv_nsec};
    attr_fill(st, &ret->attr);
}
