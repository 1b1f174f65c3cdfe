/* SPDX-License-Identifier: Apache-2.0
 *
 * The free job: clean pages go; and what was abandoned (writes and uploads past their timeouts, contents nobody refers
 * to) is taken up at once instead of at its time.
 */
#include "admin/jobs.h"
#include "persist/persist.h"

static int free_place(struct job *j, const char *path)
{
    struct place p AUTO_PLACE = {0};
    uint64_t bytes = 0, files = 0;
    TRY(place_find(j->a->o.fs, path, PREFER_DIR, &p, NULL, NULL));
    TRY(fs_free(j->a->o.fs, place_at(&p), &bytes, &files));
    j->bytes += bytes;
    j->total += bytes;
    j->scanned += files;
    j->processed += files;
    return 0;
}

static int collect_mount(void *arg, const struct fs_mount *m)
{
    json_array_append_new(arg, json_string(m->path));
    return 0;
}

static int free_list(struct job *j, const json_t *paths)
{
    size_t i;
    json_t *v;
    json_array_foreach(paths, i, v)
    {
        if (j->stop)
            return ERR_SHUTDOWN;
        TRY(free_place(j, json_string_value(v)));
    }
    return 0;
}

static int free_everything(struct job *j)
{
    json_t *mounts = json_array();
    int code = fs_mounts(j->a->o.fs, collect_mount, mounts);
    if (code == 0)
        code = free_list(j, mounts);
    json_decref(mounts);
    return code;
}

static int clean_up(struct job *j)
{
    static const enum persist_kind kinds[] = {PERSIST_ORPHAN, PERSIST_TREE, PERSIST_DROP};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool did = true;
        uint64_t due;
        while (did && !j->stop)
            TRY(persist_step(j->a->o.persist, kinds[i], &did, &due));
    }
    return 0;
}

static bool is_root(const json_t *paths)
{
    const char *first = json_string_value(json_array_get(paths, 0));
    return first && strcmp(first, "/") == 0;
}

int job_free_run(struct job *j)
{
    TRY(clean_up(j));
    return is_root(j->paths) ? free_everything(j) : free_list(j, j->paths);
}
