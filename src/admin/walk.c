/* SPDX-License-Identifier: Apache-2.0
 *
 * All files below a place, page by page (contract in rest.h). What is created behind the position while the walk goes
 * on may or may not be seen, as with any listing.
 */
#include "admin/rest.h"

enum { PAGE = 1000 };

struct page {
    struct str base; /* absolute path of the listed directory, ending in '/' */
    struct walk_file *file;
    size_t n;
    char *last; /* last key seen, to go on after */
};

static void page_done(struct page *p)
{
    for (size_t i = 0; i < p->n; i++)
        free((char *)(uintptr_t)p->file[i].path);
    p->n = 0;
}

static int collect(void *arg, const struct fs_entry *e)
{
    struct page *p = arg;
    free(p->last);
    p->last = str_dup(e->key);
    if (e->prefix || e->attr->type == FS_DIR || p->n == PAGE)
        return 0;
    struct buf path = {0};
    buf_str_add(&path, p->base);
    buf_str_add(&path, e->key);
    p->file[p->n++] = (struct walk_file){buf_take(&path, NULL), *e->attr};
    return 0;
}

static int give(struct page *p, int (*fn)(void *arg, const struct walk_file *f), void *arg)
{
    int r = 0;
    for (size_t i = 0; i < p->n && r == 0; i++)
        r = fn(arg, &p->file[i]);
    page_done(p);
    return r;
}

static int walk_dir(struct fs *fs, struct str base, struct str start, int (*fn)(void *arg, const struct walk_file *f),
                    void *arg)
{
    struct page p = {.base = base, .file = calloc(PAGE, sizeof *p.file)};
    CHECK(p.file, "no memory to list");
    bool more = true;
    int r = 0;
    p.last = start.n ? str_dup(start) : NULL;
    while (r == 0 && more) {
        char *after AUTO_FREE = TAKE(p.last);
        struct fs_list l = {.dir = fs_path(base), .after = str_of(after ? after : ""), .limit = PAGE};
        uint64_t version;
        more = false;
        r = fs_list(fs, &l, collect, &p, &more, &version);
        if (r == 0)
            r = give(&p, fn, arg);
        if (!p.last)
            more = false;
    }
    page_done(&p);
    free(p.file);
    free(p.last);
    return r;
}

struct buckets {
    char **name;
    size_t n;
};

static int add_bucket(void *arg, const struct fs_mount *m)
{
    struct buckets *b = arg;
    b->name = realloc(b->name, (b->n + 1) * sizeof *b->name);
    CHECK(b->name, "no memory to list");
    struct buf path = {0};
    buf_printf(&path, "%s/", m->path);
    b->name[b->n++] = buf_take(&path, NULL);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Where a walk of the directory base goes on that gave after: *ret is relative to it. False: it was done before. */
static bool go_on(struct str base, const char *after, struct str *ret)
{
    struct str a = str_of(after ? after : "");
    *ret = STR("");
    if (str_starts(a, base))
        *ret = str_from(a, base.n);
    else if (a.n && str_cmp(base, a) < 0)
        return false;
    return true;
}

static int walk_all(struct fs *fs, const char *after, int (*fn)(void *arg, const struct walk_file *f), void *arg)
{
    struct buckets b = {0};
    struct str start;
    int r = fs_mounts(fs, add_bucket, &b);
    if (b.n)
        qsort(b.name, b.n, sizeof *b.name, by_name);
    for (size_t i = 0; i < b.n; i++) {
        if (r == 0 && go_on(str_of(b.name[i]), after, &start))
            r = walk_dir(fs, str_of(b.name[i]), start, fn, arg);
        free(b.name[i]);
    }
    free(b.name);
    return r;
}

int walk_files_after(struct fs *fs, const struct place *p, const char *after,
                     int (*fn)(void *arg, const struct walk_file *f), void *arg)
{
    struct str start;
    if (p->root)
        return walk_all(fs, after, fn, arg);
    if (place_is_dir(p))
        return go_on(buf_str(&p->path), after, &start) ? walk_dir(fs, buf_str(&p->path), start, fn, arg) : 0;
    struct walk_file f = {p->path.p, p->attr};
    return after ? 0 : fn(arg, &f);
}

int walk_files(struct fs *fs, const struct place *p, int (*fn)(void *arg, const struct walk_file *f), void *arg)
{
    return walk_files_after(fs, p, NULL, fn, arg);
}
