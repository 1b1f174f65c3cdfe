/* SPDX-License-Identifier: Apache-2.0
 *
 * Attributes, extended attributes, figures of the file system.
 */
#include "fuse/host.h"

static int answer_attr(struct fuse_req *q, int r, const struct fs_px_stat *st)
{
    struct fuse_attr_out out = {.attr_valid = (uint64_t)q->h->keep.tv_sec,
                                .attr_valid_nsec = (uint32_t)q->h->keep.tv_nsec};
    if (r < 0)
        return r;
    attr_fill(st, &out.attr);
    req_answer(q, &out, sizeof out);
    return 0;
}

int op_getattr(struct fuse_req *q)
{
    const struct fuse_getattr_in *in = (const void *)q->arg;
    uint64_t ino = req_ino(q, q->in->nodeid);
    struct fs_px_handle *h = NULL;
    struct fs_px_stat st;
    if (in->getattr_flags & FUSE_GETATTR_FH)
        TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    int r = fs_px_getattr(q->h->px, ino, h, &st);
    if ((r == ERR_STALE || r == ERR_NOT_FOUND) && !h && host_removed_dir(q->h, ino, &st))
        r = 0;
    return answer_attr(q, r, &st);
}

static const struct {
    uint32_t fattr;
    unsigned set;
} sets[] = {{FATTR_MODE, FS_PX_MODE},
            {FATTR_UID, FS_PX_UID},
            {FATTR_GID, FS_PX_GID},
            {FATTR_SIZE, FS_PX_SIZE},
            {FATTR_ATIME, FS_PX_ATIME},
            {FATTR_MTIME, FS_PX_MTIME},
            {FATTR_ATIME_NOW, FS_PX_ATIME_NOW},
            {FATTR_MTIME_NOW, FS_PX_MTIME_NOW},
            {FATTR_KILL_SUIDGID, FS_PX_KILL_PRIV}};

int op_setattr(struct fuse_req *q)
{
    const struct fuse_setattr_in *in = (const void *)q->arg;
    struct fs_px_handle *h = NULL;
    struct fs_px_stat st, to = {.mode = in->mode & 07777,
                                .uid = in->uid,
                                .gid = in->gid,
                                .size = in->size,
                                .atime = {(time_t)in->atime, (long)in->atimensec},
                                .mtime = {(time_t)in->mtime, (long)in->mtimensec}};
    unsigned set = 0;
    if (in->valid & FATTR_FH)
        TRY(req_handle(q, in->fh, q->in->nodeid, &h));
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (in->valid & sets[i].fattr)
            set |= sets[i].set;
    if (!set) /* chown(-1, -1): it changes nothing but takes set-id bits away, which is ours to do (HANDLE_KILLPRIV_V2)
               */
        set = FS_PX_KILL_PRIV;
    int r = fs_px_setattr(q->h->px, req_ino(q, q->in->nodeid), h, &to, set, &st);
    if (r == 0 && (set & FS_PX_SIZE))
        locks_wrote(q->h->locks, req_ino(q, q->in->nodeid));
    return answer_attr(q, r, &st);
}

int op_statfs(struct fuse_req *q)
{
    struct fs_px_statfs s;
    enum { BLOCK = 4096, NAME_MAX_BYTES = 255 };
    TRY(fs_px_statfs(q->h->px, &s));
    struct fuse_statfs_out out = {.st = {.blocks = s.bytes / BLOCK,
                                         .bfree = s.free / BLOCK,
                                         .bavail = s.avail / BLOCK,
                                         .files = s.files,
                                         .ffree = s.files_free,
                                         .bsize = BLOCK,
                                         .frsize = BLOCK,
                                         .namelen = NAME_MAX_BYTES}};
    req_answer(q, &out, sizeof out);
    return 0;
}

/* ---- extended attributes ---- */

/* POSIX ACLs would have to be enforced, not only kept. */
static bool is_acl(struct str name)
{
    return str_eq(name, STR("system.posix_acl_access")) || str_eq(name, STR("system.posix_acl_default"));
}

/* The kernel asks for the length first (size 0), then for the bytes. */
static int answer_sized(struct fuse_req *q, uint32_t size, struct str value)
{
    struct fuse_getxattr_out out = {.size = (uint32_t)value.n};
    if (size == 0) {
        req_answer(q, &out, sizeof out);
        return 0;
    }
    if (value.n > size)
        req_error(q, ERANGE);
    else
        req_answer(q, value.p, value.n);
    return 0;
}

int op_getxattr(struct fuse_req *q)
{
    const struct fuse_getxattr_in *in = (const void *)q->arg;
    struct buf value AUTO_BUF = {0};
    struct str name;
    TRY(req_name(q, sizeof *in, &name, NULL));
    if (is_acl(name)) {
        req_error(q, EOPNOTSUPP);
        return 0;
    }
    TRY(fs_px_getxattr(q->h->px, req_ino(q, q->in->nodeid), name, &value));
    return answer_sized(q, in->size, buf_str(&value));
}

int op_listxattr(struct fuse_req *q)
{
    const struct fuse_getxattr_in *in = (const void *)q->arg;
    struct buf names AUTO_BUF = {0};
    TRY(fs_px_listxattr(q->h->px, req_ino(q, q->in->nodeid), &names));
    return answer_sized(q, in->size, buf_str(&names));
}

int op_setxattr(struct fuse_req *q)
{
    const struct fuse_setxattr_in *in = (const void *)q->arg;
    struct str name;
    size_t at;
    TRY(req_name(q, FUSE_COMPAT_SETXATTR_IN_SIZE, &name, &at));
    if (q->n - at < in->size)
        return ERR_INVALID;
    if (is_acl(name)) {
        req_error(q, EOPNOTSUPP);
        return 0;
    }
    TRY(fs_px_setxattr(q->h->px, req_ino(q, q->in->nodeid), name, str_mk(q->arg + at, in->size), in->flags));
    req_answer(q, NULL, 0);
    return 0;
}

int op_removexattr(struct fuse_req *q)
{
    struct str name;
    TRY(req_name(q, 0, &name, NULL));
    TRY(fs_px_removexattr(q->h->px, req_ino(q, q->in->nodeid), name));
    req_answer(q, NULL, 0);
    return 0;
}
