/* SPDX-License-Identifier: Apache-2.0
 *
 * Open directories. Positions 0 and 1 are "." and ".."; the door's own follow.
 */
#include "base/mem.h"
#include "fuse/host.h"
#include <dirent.h>

enum { DOTS = 2 };

/* Beside the door's stream: whose directory it is, for ".". */
struct dir {
    struct fs_px_dir *d;
    uint64_t ino;
    struct fs_px_stat st; /* when it was opened: what fstat says after it was removed */
};

struct wanted {
    uint64_t ino;
    struct fs_px_stat st;
};

static bool is_wanted(void *arg, void *p)
{
    struct wanted *w = arg;
    const struct dir *d = p;
    if (d->ino != w->ino)
        return false;
    w->st = d->st;
    return true;
}

bool host_removed_dir(struct fuse_host *h, uint64_t ino, struct fs_px_stat *ret)
{
    struct wanted w = {.ino = ino};
    if (!numbers_find(h->dirs, is_wanted, &w))
        return false;
    *ret = w.st;
    ret->nlink = 0;
    return true;
}

void host_free_dir(void *p)
{
    struct dir *d = p;
    fs_px_closedir(d->d);
    free(d);
}

static int open_dir(struct fuse_req *q, struct dir **ret)
{
    struct dir *d = MEM_NEW(struct dir);
    d->ino = req_ino(q, q->in->nodeid);
    int r = fs_px_getattr(q->h->px, d->ino, NULL, &d->st);
    if (r == 0)
        r = fs_px_opendir(q->h->px, d->ino, &d->d);
    if (r < 0) {
        free(d);
        return r;
    }
    *ret = d;
    return 0;
}

int op_opendir(struct fuse_req *q)
{
    struct fuse_open_out out = {0};
    struct dir *d;
    TRY(open_dir(q, &d));
    int r = numbers_put(q->h->dirs, d, false, &out.fh);
    if (r < 0) {
        host_free_dir(d);
        return r;
    }
    req_answer(q, &out, sizeof out);
    return 0;
}

struct page {
    struct fuse_req *q;
    size_t n, room;
    bool plus;
};

static bool put_dirent(struct page *p, struct str name, uint64_t ino, enum fs_type type, uint64_t off)
{
    struct fuse_dirent *e = (void *)(p->q->out + p->n);
    size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.n);
    if (size > p->room - p->n)
        return false;
    memset(e, 0, size);
    *e = (struct fuse_dirent){
        .ino = ino, .off = off, .namelen = (uint32_t)name.n, .type = type ? attr_type_bits(type) >> 12 : DT_UNKNOWN};
    memcpy(e->name, name.p, name.n);
    p->n += size;
    return true;
}

static bool put_entry(struct page *p, struct str name, const struct fs_px_stat *st, uint64_t ino, enum fs_type type,
                      uint64_t off)
{
    struct fuse_entry_out *e = (void *)(p->q->out + p->n);
    if (!p->plus)
        return put_dirent(p, name, ino, type, off);
    if (sizeof *e > p->room - p->n)
        return false;
    if (st)
        entry_fill(p->q->h, st, e);
    else /* "." and ".." too: the kernel makes no name of an entry without a node */
        *e = (struct fuse_entry_out){0};
    p->n += sizeof *e;
    if (put_dirent(p, name, ino, type, off))
        return true;
    p->n -= sizeof *e;
    return false;
}

static int one(void *arg, const struct fs_px_entry *e)
{
    const struct fs_px_stat *st = e->stat; /* a guess: the kernel is to look the name up */
    return !put_entry(arg, e->name, st->guessed ? NULL : st, st->ino, st->guessed ? 0 : st->type, e->next + DOTS);
}

/* The C library leaves entries with number 0 out. */
static uint64_t parent_of(struct fuse_req *q, const struct dir *d)
{
    enum { UNKNOWN = 0xffffffff };
    if (d->ino == q->h->root)
        return d->ino;
    return d->st.parent ? d->st.parent : UNKNOWN;
}

static int read_entries(struct fuse_req *q, const struct dir *d, bool plus)
{
    const struct fuse_read_in *in = (const void *)q->arg;
    struct page p = {.q = q, .room = in->size < HOST_MAX_IO ? in->size : HOST_MAX_IO, .plus = plus};
    uint64_t pos = in->offset;
    for (; pos < DOTS; pos++)
        if (!put_entry(&p, pos ? STR("..") : STR("."), NULL, pos ? parent_of(q, d) : d->ino, FS_DIR, pos + 1))
            break;
    if (pos >= DOTS)
        TRY(fs_px_readdir(d->d, pos - DOTS, one, &p));
    req_answer(q, q->out, p.n);
    return 0;
}

/* A stream of an earlier process is opened anew for each page: positions are the directory's, not the stream's. */
static int read_dir(struct fuse_req *q, bool plus)
{
    const struct fuse_read_in *in = (const void *)q->arg;
    struct dir *d = numbers_get(q->h->dirs, in->fh);
    if (d)
        return read_entries(q, d, plus);
    if (numbers_ours(q->h->dirs, in->fh))
        return ERR_STALE;
    TRY(open_dir(q, &d));
    int r = read_entries(q, d, plus);
    host_free_dir(d);
    return r;
}

int op_readdir(struct fuse_req *q)
{
    return read_dir(q, false);
}

int op_readdirplus(struct fuse_req *q)
{
    return read_dir(q, true);
}

int op_releasedir(struct fuse_req *q)
{
    const struct fuse_release_in *in = (const void *)q->arg;
    struct dir *d = numbers_take(q->h->dirs, in->fh);
    if (d)
        host_free_dir(d);
    req_answer(q, NULL, 0);
    return 0;
}

int op_fsyncdir(struct fuse_req *q)
{
    TRY(fs_px_fsyncdir(q->h->px, req_ino(q, q->in->nodeid)));
    req_answer(q, NULL, 0);
    return 0;
}
