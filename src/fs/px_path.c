/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a directory lies, kept for those used lately: rules and keys go by path, POSIX calls come with an inode. An
 * entry holds until any directory's name goes (removed, renamed) or the rules change, by whoever.
 */
#include "fs/px_in.h"

/* Sees every change, its own door's too. */
void px_path_watch(void *arg, uint64_t parent, struct str name, uint64_t ino)
{
    struct px *x = arg;
    bool is_dir = name.n && name.p[name.n - 1] == '/';
    if ((parent && is_dir && !ino) || (!parent && !ino)) {
        atomic_fetch_add(&x->generation, 1);
        return;
    }
    if (!parent || is_dir || !ino)
        return;
    LOCKED(&x->lock);
    struct px_node *n = map_get(x->nodes, map_key64(&ino));
    if (n) /* another name: other rules, perhaps */
        atomic_store(&n->policy_generation, 0);
}

static bool cached(struct px *x, uint64_t dir, uint64_t generation, struct buf *ret, uint64_t *ret_mount)
{
    LOCKED(&x->lock);
    struct px_path *p = &x->path[dir % PX_PATHS];
    if (p->dir != dir || p->generation != generation)
        return false;
    buf_str_add(ret, str_mk(p->text, p->n));
    *ret_mount = p->mount;
    return true;
}

static void keep(struct px *x, uint64_t dir, uint64_t generation, struct str path, uint64_t mount)
{
    LOCKED(&x->lock);
    struct px_path *p = &x->path[dir % PX_PATHS];
    free(p->text);
    *p = (struct px_path){.dir = dir, .generation = generation, .mount = mount, .text = str_dup(path), .n = path.n};
}

int px_path(struct px *x, uint64_t dir, struct buf *ret, uint64_t *ret_mount)
{
    uint64_t generation = atomic_load(&x->generation); /* before it is looked up */
    struct meta_stat s;
    buf_reset(ret);
    if (cached(x, dir, generation, ret, ret_mount))
        return 0;
    TRY(meta_stat(x->fs->meta, dir, &s));
    TRY(meta_path(x->fs->meta, dir, ret));
    *ret_mount = s.i.mount;
    keep(x, dir, generation, buf_str(ret), s.i.mount);
    return 0;
}

void px_paths_free(struct px *x)
{
    for (size_t i = 0; i < PX_PATHS; i++)
        free(x->path[i].text);
}

int px_policy_at(struct px *x, uint64_t dir, struct str name, enum meta_policy *ret)
{
    struct buf path AUTO_BUF = {0};
    uint64_t mount;
    TRY(px_path(x, dir, &path, &mount));
    buf_str_add(&path, name);
    return fs_writable_path(x->fs, buf_str(&path), ret);
}

int px_node_policy(struct px_node *n, enum meta_policy *ret)
{
    uint64_t generation = atomic_load(&n->px->generation);
    if (atomic_load(&n->policy_generation) != generation) {
        atomic_store(&n->policy_generation, generation); /* a rename from here on undoes it */
        int r = px_policy(n->px->fs, n->ino, &n->policy);
        if (r < 0) {
            atomic_store(&n->policy_generation, 0);
            return r;
        }
    }
    *ret = n->policy;
    return 0;
}
