/* SPDX-License-Identifier: Apache-2.0
 *
 * The POSIX door as a whole: its life, the table of open files, and the thread that publishes what stays open, makes
 * lazy commits durable and drops what nothing names any more.
 */
#include "fs/px_in.h"
#include "base/log.h"
#include "base/thread.h"

/* ---- gates ---- */

static void gate_init(struct px_gate *g)
{
    lock_init(&g->lock, RANK_FS + 1);
    cond_init(&g->cond);
}

static void gate_done(struct px_gate *g)
{
    lock_done(&g->lock);
    pthread_cond_destroy(&g->cond);
}

void px_gate_read(struct px_gate *g)
{
    LOCKED(&g->lock);
    while (g->writer || g->waiting) /* who waits to write is not starved by readers */
        cond_wait(&g->cond, &g->lock);
    g->readers++;
}

void px_gate_read_end(struct px_gate *g)
{
    LOCKED(&g->lock);
    if (--g->readers == 0)
        pthread_cond_broadcast(&g->cond);
}

void px_gate_write(struct px_gate *g)
{
    LOCKED(&g->lock);
    g->waiting++;
    while (g->writer || g->readers)
        cond_wait(&g->cond, &g->lock);
    g->waiting--;
    g->writer = true;
}

void px_gate_write_end(struct px_gate *g)
{
    LOCKED(&g->lock);
    g->writer = false;
    pthread_cond_broadcast(&g->cond);
}

/* ---- nodes ---- */

static void forget_rows(struct px_node *n)
{
    px_rows_free(n);
    px_window_free(n);
    n->local = n->replaced = n->md5_good = n->lazy_row = false;
}

static void show_record(struct px_node *n, const struct inode *i)
{
    n->i = *i;
    n->size = i->size;
}

static int hold_content(struct px_node *n, const struct inode *i)
{
    struct meta *m = n->px->fs->meta;
    if (i->content)
        TRY(meta_hold(m, i->content));
    if (n->held)
        meta_unhold(m, n->i.content);
    n->held = i->content != 0;
    return 0;
}

int px_node_refresh(struct px_node *n)
{
    struct meta_stat s;
    for (int i = 0;; i++) {
        TRY(meta_stat(n->px->fs->meta, n->ino, &s));
        bool same = n->held == (s.i.content != 0) && n->i.content == s.i.content && n->i.version == s.i.version;
        if (n->dirty)
            return 0;
        if (same) {
            show_record(n, &s.i);
            return 0;
        }
        int r = hold_content(n, &s.i);
        if (r == ERR_STALE && i < 10) /* replaced between the two: look again */
            continue;
        TRY(r);
        forget_rows(n);
        show_record(n, &s.i);
        return 0;
    }
}

static struct px_node *node_new(struct px *px, uint64_t ino)
{
    struct px_node *n = MEM_NEW(struct px_node);
    n->px = px;
    n->ino = ino;
    n->refs = 1;
    gate_init(&n->gate);
    return n;
}

static void node_free(struct px_node *n)
{
    px_pieces_free(n);
    px_rows_free(n);
    px_window_free(n);
    if (n->held)
        meta_unhold(n->px->fs->meta, n->i.content);
    gate_done(&n->gate);
    free(n);
}

struct px_node *px_node_find(struct px *px, uint64_t ino)
{
    LOCKED(&px->lock);
    struct px_node *n = map_get(px->nodes, map_key64(&ino));
    if (n)
        n->refs++;
    return n;
}

static struct px_node *node_join(struct px *px, uint64_t ino)
{
    struct px_node *fresh = node_new(px, ino);
    lock_take(&px->lock);
    struct px_node *n = map_get(px->nodes, map_key64(&ino));
    if (n)
        n->refs++;
    else
        map_put(px->nodes, map_key64(&ino), fresh);
    lock_drop(&px->lock);
    if (n) {
        node_free(fresh);
        return n;
    }
    meta_file_open(px->fs->meta, ino); /* before it is looked at: its name may go from now on */
    return fresh;
}

int px_node_get(struct px *px, uint64_t ino, struct px_node **ret)
{
    struct px_node *n = node_join(px, ino);
    px_gate_write(&n->gate);
    int r = px_node_refresh(n);
    px_gate_write_end(&n->gate);
    if (r == ERR_NOT_FOUND)
        r = err_set(ERR_STALE, "the file was removed");
    if (r < 0) {
        px_node_put(n);
        return r;
    }
    *ret = n;
    return 0;
}

/* One reference goes, unless it is the last and not to be. True: it was the last, and the node is out of the table. */
static bool node_leave(struct px_node *n, bool last, bool *ret_left)
{
    LOCKED(&n->px->lock);
    *ret_left = last || n->refs > 1;
    if (*ret_left)
        n->refs--;
    if (!*ret_left || n->refs)
        return false;
    map_del(n->px->nodes, map_key64(&n->ino));
    return true;
}

static bool has_no_name(struct px *px, uint64_t ino)
{
    struct meta_stat s;
    return meta_stat(px->fs->meta, ino, &s) == 0 && !s.i.parent && s.i.type != REC_DIR;
}

int px_node_put(struct px_node *n)
{
    struct px *px = n->px;
    uint64_t ino = n->ino;
    int r = 0;
    bool left;
    node_leave(n, false, &left);
    if (left)
        return 0;
    px_gate_write(&n->gate);
    if (n->dirty && !has_no_name(px, ino))
        r = px_publish(n, false);
    bool keep = px_keep(n);
    px_gate_write_end(&n->gate);
    if (keep)
        return r;
    if (!node_leave(n, true, &left))
        return r;
    px_release_dead(n, false); /* what is published still names the rest, and drops it with itself */
    node_free(n);
    if (meta_file_close(px->fs->meta, ino) && has_no_name(px, ino)) {
        int f = meta_file_forget(px->fs->meta, ino);
        r = r < 0 ? r : f;
    }
    return r;
}

/* ---- what was seen ---- */

void px_note_seen(struct fs_px *px, const struct inode *i, bool own, bool *ret_same, uint64_t *ret_generation)
{
    LOCKED(&px->lock);
    struct px_seen *s = &px->seen[i->ino % PX_SEEN];
    bool known = s->ino == i->ino, same = known && s->content == i->content && s->version == i->version;
    if (known && !same && !own)
        s->generation++;
    if (!known)
        s->generation = clock_mono_ns(); /* after it was forgotten: one that was never given */
    s->ino = i->ino;
    s->content = i->content;
    s->version = i->version;
    if (ret_same)
        *ret_same = same;
    if (ret_generation)
        *ret_generation = s->generation;
}

/* ---- made durable later ---- */

void px_drop_later(struct px *px, const struct px_dead *d, size_t n)
{
    if (!n)
        return;
    LOCKED(&px->lock);
    px->dead = mem_grow(px->dead, px->dead_n + n, sizeof *px->dead);
    memcpy(px->dead + px->dead_n, d, n * sizeof *d);
    px->dead_n += n;
}

void px_confirm_later(struct px *px, uint64_t content)
{
    LOCKED(&px->lock);
    buf_add(&px->lazy, &content, sizeof content);
}

bool px_unconfirmed(struct px *px, uint64_t content)
{
    LOCKED(&px->lock);
    for (size_t i = 0; i < px->lazy.n; i += sizeof content)
        if (!memcmp(px->lazy.p + i, &content, sizeof content))
            return true;
    return false;
}

static void give_back(struct px *px, struct buf *lazy, struct px_dead *dead, size_t dead_n)
{
    px_drop_later(px, dead, dead_n);
    LOCKED(&px->lock);
    buf_str_add(&px->lazy, buf_str(lazy));
}

int px_settle(struct px *px)
{
    struct buf lazy AUTO_BUF = {0};
    struct px_dead *dead AUTO_FREE = NULL;
    size_t dead_n;
    lock_take(&px->lock);
    lazy = px->lazy;
    px->lazy = (struct buf){0};
    dead = px->dead;
    dead_n = px->dead_n;
    px->dead = NULL;
    px->dead_n = 0;
    lock_drop(&px->lock);
    int r = meta_sync(px->fs->meta);
    if (r == 0 && lazy.n)
        r = meta_lazy_confirm(px->fs->meta, (const uint64_t *)(const void *)lazy.p, lazy.n / sizeof(uint64_t));
    if (r < 0) {
        give_back(px, &lazy, dead, dead_n);
        return r;
    }
    for (size_t i = 0; i < dead_n; i++)
        page_drop(px->fs->pages, dead[i].blob, dead[i].bytes);
    return 0;
}

/* ---- the ticker ---- */

struct due {
    struct px_node **n;
    size_t count;
};

static int find_due(void *arg, struct str key, void *value)
{
    struct due *d = arg;
    struct px_node *n = value;
    (void)key;
    n->refs++;
    d->n = mem_grow(d->n, d->count + 1, sizeof(void *));
    d->n[d->count++] = n;
    return 0;
}

/* What the ticker publishes for a mount is that mount's own change. */
static void act_for(struct px_node *n)
{
    lock_take(&n->px->lock);
    struct fs_px *by = n->by;
    lock_drop(&n->px->lock);
    meta_as(by);
}

void px_by(struct px_node *n)
{
    struct fs_px *by = (struct fs_px *)meta_acting();
    LOCKED(&n->px->lock);
    n->by = by;
}

/* What was written to a file that is gone is not lost: nobody could have read it again. */
static void note_loss(int *first, int r)
{
    if (*first == 0 && r < 0 && r != ERR_STALE && r != ERR_NOT_FOUND)
        *first = r;
}

/* The first loss. */
static int publish_due(struct px *px, bool all)
{
    struct due d = {0};
    uint64_t now = clock_mono_ms();
    int first = 0;
    lock_take(&px->lock);
    map_each(px->nodes, find_due, &d);
    lock_drop(&px->lock);
    for (size_t i = 0; i < d.count; i++) {
        px_gate_write(&d.n[i]->gate);
        bool due = d.n[i]->dirty && (all || now >= d.n[i]->since_ms + px->publish_ms);
        act_for(d.n[i]);
        int r = due ? px_publish(d.n[i], false) : 0;
        px_gate_write_end(&d.n[i]->gate);
        meta_as(NULL);
        if (r < 0)
            log_warn("px.publish",
                     "ino=%llu error=\"%s\" meaning=\"what was written to an open file is not shown to others yet\" "
                     "action=\"it is tried "
                     "again; its next close or fsync returns the error\"",
                     (unsigned long long)d.n[i]->ino, err_detail(r));
        note_loss(&first, r);
        note_loss(&first, px_node_put(d.n[i]));
    }
    free(d.n);
    return first;
}

static bool tick(struct px *px, bool *ret_waiting)
{
    LOCKED(&px->lock);
    if (!px->stop)
        cond_wait_until(&px->wake, &px->lock, clock_mono_ns() + PX_TICK_MS * 1000000ull);
    *ret_waiting = px->lazy.n || px->dead_n;
    return !px->stop;
}

static void *ticker(void *arg)
{
    struct px *px = arg;
    bool waiting;
    while (tick(px, &waiting)) {
        publish_due(px, false);
        int r = waiting ? px_settle(px) : 0;
        if (r < 0)
            log_warn("px.settle",
                     "error=\"%s\" meaning=\"what was closed lately is not safe from power loss yet\" action=\"tried "
                     "again\"",
                     err_detail(r));
    }
    return NULL;
}

/* ---- life ---- */

bool px_stopping(struct px *px)
{
    LOCKED(&px->lock);
    return px->stop;
}

static void watch(void *arg, uint64_t parent, struct str name, uint64_t ino)
{
    struct fs_px *px = arg;
    if (!parent && !ino) /* the rules */
        return;
    if (name.n && name.p[name.n - 1] == '/')
        name.n--;
    if (px->o.changed)
        px->o.changed(px->o.arg, parent, name, ino);
}

static void stop_thread(struct px *x, pthread_t t)
{
    lock_take(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->wake);
    pthread_cond_broadcast(&x->tidy_wake);
    lock_drop(&x->lock);
    pthread_join(t, NULL);
}

static int start_threads(struct px *x)
{
    TRY(thread_start(&x->ticker, "px-ticker", ticker, x));
    int r = thread_start(&x->tidier, "px-tidier", px_tidier, x);
    if (r < 0)
        stop_thread(x, x->ticker);
    return r;
}

static int shared_new(struct fs *fs, struct px **ret)
{
    struct px *x = MEM_NEW(struct px);
    x->fs = fs;
    x->publish_ms = fs->conf ? conf_ms(fs->conf, PROP_FUSE_PUBLISH) : 5000;
    x->quiet_ms = fs->conf ? conf_ms(fs->conf, PROP_PERSIST_QUIET) : 1000;
    x->max_age_ms = fs->conf ? conf_ms(fs->conf, PROP_MAX_DIRTY_AGE) : 30000;
    x->buffer_max = fs->conf ? conf_size(fs->conf, PROP_FUSE_BUFFER) : 256 << 20;
    x->nodes = map_new();
    atomic_store(&x->generation, 1);
    lock_init(&x->lock, RANK_FS);
    cond_init(&x->wake);
    cond_init(&x->tidy_wake);
    int r = meta_watch(fs->meta, px_path_watch, x);
    if (r == 0)
        r = start_threads(x);
    if (r < 0) {
        meta_unwatch(fs->meta, x);
        map_free(x->nodes);
        free(x);
        return r;
    }
    *ret = x;
    return 0;
}

static int shared_join(struct fs *fs, struct px **ret)
{
    LOCKED(&fs->px_lock);
    if (!fs->px)
        TRY(shared_new(fs, &fs->px));
    fs->px->clients++;
    *ret = fs->px;
    return 0;
}

static void shared_free(struct px *x)
{
    stop_thread(x, x->tidier);
    stop_thread(x, x->ticker);
    CHECK(map_count(x->nodes) == 0, "%zu files are open still", map_count(x->nodes));
    px_settle(x);
    meta_unwatch(x->fs->meta, x);
    px_paths_free(x);
    map_free(x->nodes);
    buf_done(&x->lazy);
    free(x->dead);
    lock_done(&x->lock);
    pthread_cond_destroy(&x->wake);
    pthread_cond_destroy(&x->tidy_wake);
    free(x);
}

static void shared_leave(struct fs *fs)
{
    struct px *gone = NULL;
    lock_take(&fs->px_lock);
    if (--fs->px->clients == 0) {
        gone = fs->px;
        fs->px = NULL;
    }
    lock_drop(&fs->px_lock);
    if (gone)
        shared_free(gone);
}

int fs_px_new(struct fs *fs, const struct fs_px_options *o, struct fs_px **ret)
{
    struct fs_px *px = MEM_NEW(struct fs_px);
    px->fs = fs;
    px->o = *o;
    px->o.file_mode = o->file_mode ? o->file_mode : 0644;
    px->o.dir_mode = o->dir_mode ? o->dir_mode : 0755;
    lock_init(&px->lock, RANK_FS + 2);
    int r = shared_join(fs, &px->e);
    if (r == 0) {
        r = meta_watch(fs->meta, watch, px);
        if (r < 0)
            shared_leave(fs);
    }
    if (r < 0) {
        lock_done(&px->lock);
        free(px);
        return r;
    }
    *ret = px;
    return 0;
}

void fs_px_figures(struct fs *fs, struct fs_px_figures *ret)
{
    LOCKED(&fs->px_lock);
    struct px *px = fs->px;
    *ret = (struct fs_px_figures){0};
    if (!px)
        return;
    ret->mounts = px->clients;
    ret->buffered = atomic_load(&px->buffered);
    LOCKED(&px->lock);
    ret->files = map_count(px->nodes);
}

static int forget_client(void *arg, struct str key, void *value)
{
    struct px_node *n = value;
    (void)key;
    if (n->by == arg)
        n->by = NULL;
    return 0;
}

int fs_px_end(struct fs_px *px)
{
    if (!px)
        return 0;
    const void *was = meta_as(px);
    int first = 0;
    while (px->handles)
        note_loss(&first, fs_px_release(px->handles));
    note_loss(&first, publish_due(px->e, true));
    note_loss(&first, px_settle(px->e));
    lock_take(&px->e->lock);
    map_each(px->e->nodes, forget_client, px);
    lock_drop(&px->e->lock);
    meta_as(was == px ? NULL : was);
    meta_unwatch(px->fs->meta, px);
    shared_leave(px->fs);
    lock_done(&px->lock);
    free(px);
    return first;
}

struct fs_px *fs_px_free(struct fs_px *px)
{
    fs_px_end(px);
    return NULL;
}
