/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory streams. A position is the number of entries before it; the stream remembers the names it gave lately and
 * one in 1,024 of those before, so that it can go on behind a name whatever was removed or made meanwhile.
 */
#include "fs/px_in.h"

enum { BATCH = 512, RECENT = 2048, EVERY = 1024 };

struct mark {
    uint64_t pos; /* behind this name; 0: unused */
    char *name;
};

struct fs_px_dir {
    struct fs_px *px;
    uint64_t ino;
    struct lock lock; /* RANK_FS + 1: recent, old */
    struct mark recent[RECENT];
    struct mark *old;
    size_t old_n;
};

int fs_px_opendir(struct fs_px *px, uint64_t ino, struct fs_px_dir **ret)
{
    struct meta_stat s;
    PX_ENTER(px);
    int r = meta_stat(px->fs->meta, ino, &s);
    if (r == ERR_NOT_FOUND)
        return err_set(ERR_STALE, "the directory was removed");
    TRY(r);
    if (s.i.type != REC_DIR)
        return ERR_NOT_DIR;
    struct fs_px_dir *d = MEM_NEW(struct fs_px_dir);
    d->px = px;
    d->ino = ino;
    lock_init(&d->lock, RANK_FS + 1);
    *ret = d;
    return 0;
}

void fs_px_closedir(struct fs_px_dir *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < RECENT; i++)
        free(d->recent[i].name);
    for (size_t i = 0; i < d->old_n; i++)
        free(d->old[i].name);
    free(d->old);
    lock_done(&d->lock);
    free(d);
}

static void remember(struct fs_px_dir *d, uint64_t pos, struct str key)
{
    LOCKED(&d->lock);
    struct mark *m = &d->recent[pos % RECENT];
    if (m->pos == pos && str_eq(str_of(m->name), key))
        return;
    free(m->name);
    *m = (struct mark){pos, str_dup(key)};
    if (pos % EVERY || (d->old_n && d->old[d->old_n - 1].pos >= pos))
        return;
    d->old = mem_grow(d->old, d->old_n + 1, sizeof *d->old);
    d->old[d->old_n++] = (struct mark){pos, str_dup(key)};
}

/* The name to go on behind, and how many entries to pass by then. */
static void find_mark(struct fs_px_dir *d, uint64_t pos, struct buf *after, uint64_t *ret_pos)
{
    LOCKED(&d->lock);
    const struct mark *m = &d->recent[pos % RECENT];
    *ret_pos = 0;
    if (!pos)
        return;
    if (m->pos != pos) {
        size_t i = d->old_n;
        while (i && d->old[i - 1].pos > pos)
            i--;
        if (!i)
            return;
        m = &d->old[i - 1];
    }
    buf_putz(after, m->name);
    *ret_pos = m->pos;
}

struct filling {
    struct fs_px_dir *d;
    uint64_t pos, from; /* of the next entry; the first one that is wanted */
    int (*fn)(void *arg, const struct fs_px_entry *e);
    void *arg;
    struct buf last;
    bool stopped;
};

static bool hidden(struct str name)
{
    return px_name_ok(name) < 0;
}

static int stat_of(struct filling *f, const struct inode *i, struct fs_px_stat *ret)
{
    struct meta_stat s = {.i = *i};
    struct px_node *n = i->type == REC_FILE ? px_node_find(f->d->px->e, i->ino) : NULL;
    if (n)
        px_node_put(n);
    if (n || i->type == REC_DIR || i->link_of) {
        int r = px_stat_ino(f->d->px, i->link_of ? i->link_of : i->ino, ret);
        if (r != ERR_STALE)
            return r;
    }
    px_fill(f->d->px, &s, ret);
    return 0;
}

static int give(void *arg, const struct meta_entry *e)
{
    struct filling *f = arg;
    struct str name = e->key;
    struct fs_px_stat st;
    if (f->stopped)
        return 0;
    if (e->i && e->i->type == REC_DIR && name.n && name.p[name.n - 1] == '/')
        name.n--;
    if (!e->i || hidden(name)) {
        buf_reset(&f->last);
        buf_str_add(&f->last, e->key);
        return 0;
    }
    if (f->pos >= f->from) {
        TRY(stat_of(f, e->i, &st));
        struct fs_px_entry x = {name, &st, f->pos + 1};
        if (f->fn(f->arg, &x)) {
            f->stopped = true;
            return 0;
        }
    }
    f->pos++;
    remember(f->d, f->pos, e->key);
    buf_reset(&f->last);
    buf_str_add(&f->last, e->key);
    return 0;
}

int fs_px_readdir(struct fs_px_dir *d, uint64_t pos, int (*fn)(void *arg, const struct fs_px_entry *e), void *arg)
{
    struct filling f = {.d = d, .from = pos, .fn = fn, .arg = arg};
    struct buf after AUTO_BUF = {0};
    bool more = true;
    int r = 0;
    PX_ENTER(d->px);
    find_mark(d, pos, &f.last, &f.pos);
    while (r == 0 && more && !f.stopped) {
        buf_reset(&after);
        buf_str_add(&after, buf_str(&f.last));
        struct fs_list l = {.dir = {d->ino, STR("")},
                            .prefix = STR(""),
                            .after = buf_str(&after),
                            .delimiter = '/',
                            .limit = BATCH,
                            .flags = FS_POSIX};
        r = fs_list_meta(d->px->fs, &l, give, &f, &more, NULL);
        if (str_eq(buf_str(&after), buf_str(&f.last))) /* nothing new came */
            break;
    }
    buf_done(&f.last);
    return r == ERR_STALE || r == ERR_NOT_FOUND ? 0 : r; /* removed meanwhile: it is empty */
}

int fs_px_fsyncdir(struct fs_px *px, uint64_t ino)
{
    (void)ino;
    PX_ENTER(px);
    return meta_sync(px->fs->meta);
}
