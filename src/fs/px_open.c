/* SPDX-License-Identifier: Apache-2.0
 *
 * Open files: made, opened, flushed, closed.
 */
#include "fs/px_in.h"

static int handle_new(struct fs_px *px, struct px_node *n, int flags, struct fs_px_handle **ret)
{
    struct fs_px_handle *h = MEM_NEW(struct fs_px_handle);
    h->px = px;
    h->node = n;
    h->flags = flags;
    lock_take(&px->lock);
    h->next = px->handles;
    h->at = &px->handles;
    if (h->next)
        h->next->at = &h->next;
    px->handles = h;
    lock_drop(&px->lock);
    *ret = h;
    return 0;
}

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

static int empty(struct px_node *n)
{
    px_gate_write(&n->gate);
    int r = n->size || n->dirty ? px_truncate(n, 0) : 0;
    px_gate_write_end(&n->gate);
    return r;
}

int fs_px_open(struct fs_px *px, uint64_t ino, int flags, struct fs_px_handle **ret, bool *ret_keep)
{
    struct px_node *n;
    enum meta_policy policy;
    bool same = false;
    PX_ENTER(px);
    if (writes(flags))
        TRY(px_policy(px->fs, ino, &policy));
    TRY(px_node_get(px->e, ino, &n));
    int r = n->i.type == REC_DIR ? err_set(ERR_IS_DIR, "a directory is not opened as a file") : 0;
    if (r == 0) {
        px_gate_read(&n->gate); /* others look at the record, too */
        px_note_seen(px, &n->i, false, &same, NULL);
        px_gate_read_end(&n->gate);
        if (flags & O_TRUNC)
            r = empty(n);
    }
    if (r < 0) {
        px_node_put(n);
        return r;
    }
    if (ret_keep)
        *ret_keep = same;
    return handle_new(px, n, flags, ret);
}

static int open_made(struct fs_px *px, uint64_t ino, int flags, struct fs_px_stat *ret_stat, struct fs_px_handle **ret)
{
    struct px_node *n;
    TRY(px_node_get(px->e, ino, &n));
    struct meta_stat s = {.i = n->i};
    px_fill(px, &s, ret_stat);
    return handle_new(px, n, flags, ret);
}

/* What is known of its path already need not be found by its number. */
static void seed_policy(struct px_node *n, uint64_t parent, struct str name)
{
    uint64_t generation = atomic_load(&n->px->generation);
    px_gate_write(&n->gate);
    atomic_store(&n->policy_generation, generation); /* a rename from here on undoes it */
    if (px_policy_at(n->px, parent, name, &n->policy) < 0)
        atomic_store(&n->policy_generation, 0);
    px_gate_write_end(&n->gate);
}

int fs_px_create(struct fs_px *px, uint64_t parent, struct str name, uint32_t mode, uint32_t uid, uint32_t gid,
                 int flags, struct fs_px_stat *ret_stat, struct fs_px_handle **ret)
{
    int r = fs_px_mknod(px, parent, name, FS_FILE, mode, 0, uid, gid, ret_stat);
    PX_ENTER(px);
    if (r == 0) {
        TRY(open_made(px, ret_stat->ino, flags, ret_stat, ret));
        seed_policy((*ret)->node, parent, name);
        return 0;
    }
    if (r != ERR_EXISTS || (flags & O_EXCL))
        return r;
    TRY(fs_px_lookup(px, parent, name, ret_stat));
    TRY(fs_px_open(px, ret_stat->ino, flags, ret, NULL));
    r = px_stat_ino(px, ret_stat->ino, ret_stat);
    if (r < 0)
        fs_px_release(*ret);
    return r;
}

int fs_px_tmpfile(struct fs_px *px, uint64_t parent, uint32_t mode, uint32_t uid, uint32_t gid, int flags,
                  struct fs_px_stat *ret_stat, struct fs_px_handle **ret)
{
    struct meta_unnamed u = {.dir = parent, .mode = mode & 07777, .uid = uid, .gid = gid};
    enum meta_policy policy;
    PX_ENTER(px);
    TRY(px_policy(px->fs, parent, &policy));
    TRY(meta_mint(px->fs->meta, 1, &u.ino));
    meta_file_open(px->fs->meta, u.ino);
    int r = meta_file_unnamed(px->fs->meta, &u);
    if (r == 0)
        r = open_made(px, u.ino, flags, ret_stat, ret);
    if (meta_file_close(px->fs->meta, u.ino) && r < 0)
        meta_file_forget(px->fs->meta, u.ino);
    return r;
}

/* ---- closing ---- */

static int publish(struct fs_px_handle *h, bool sync)
{
    struct px_node *n = h->node;
    enum meta_policy policy = META_WRITE_BACK;
    px_gate_write(&n->gate);
    int r = px_publish(n, sync);
    bool dirty = n->i.dirty;
    if (r == 0 && dirty && writes(h->flags))
        r = px_node_policy(n, &policy);
    px_gate_write_end(&n->gate);
    return r == 0 && dirty && px_through(policy) ? fs_wait_persisted(h->px->fs, n->ino) : r;
}

int fs_px_flush(struct fs_px_handle *h)
{
    PX_ENTER(h->px);
    return writes(h->flags) ? publish(h, false) : 0;
}

int fs_px_fsync(struct fs_px_handle *h, bool datasync)
{
    (void)datasync;
    PX_ENTER(h->px);
    TRY(publish(h, true));
    return meta_sync(h->px->fs->meta); /* what was published lazily before, and the names that lead to it */
}

int fs_px_release(struct fs_px_handle *h)
{
    PX_ENTER(h->px);
    lock_take(&h->px->lock);
    *h->at = h->next;
    if (h->next)
        h->next->at = h->at;
    lock_drop(&h->px->lock);
    int r = px_node_put(h->node);
    free(h);
    return r;
}
