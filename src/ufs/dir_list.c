/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory driver: listings in byte order of full keys, in bounded memory.
 *
 * A directory "a" sorts as "a/", so names are compared in that form and a subtree's keys are contiguous. Directories
 * are walked depth first; of each only a window is held: its WINDOW smallest names not below the place where the
 * listing goes on. A larger directory is read once per window. Between two pages of one listing windows wait in a small
 * cache, so that the next page need not read and sort the directory again; a waiting window is used only if the
 * directory's inode and times are what they were and had been still for SETTLED_MS when it was read (times are coarse:
 * a younger one may hide a change).
 *
 * Window states: loaded (owned by one walk) -> cached (owned by dir->window, under the lock) -> taken by a walk or
 * freed.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "ufs/dir.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#define WINDOW 65536
#define SETTLED_MS 2000
#define WALK_STOP 1 /* the page is full */

struct window {
    char *dir; /* path below the root, "" is the root */
    struct stat st;
    char from[258];  /* holds every name >= from, up to its last one */
    char names[258]; /* ... that starts with this */
    bool whole;      /* ... and the last one is the directory's last */
    bool settled;
    size_t n, cap;
    char **name; /* sorted; in ordering form: directories end in '/' */
};

/* --- windows */

static void window_free(struct window *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++)
        free(w->name[i]);
    free(w->name);
    free(w->dir);
    free(w);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Only the smallest are kept; the rest is for a later window. */
static void window_trim(struct window *w)
{
    if (w->n)
        qsort(w->name, w->n, sizeof *w->name, name_order);
    while (w->n > WINDOW) {
        free(w->name[--w->n]);
        w->whole = false;
    }
}

static void window_add(struct window *w, const char *name, bool dir)
{
    char form[258];
    snprintf(form, sizeof form, "%s%s", name, dir ? "/" : "");
    if (strcmp(form, w->from) < 0 || strncmp(form, w->names, strlen(w->names)) != 0)
        return;
    if (!w->whole && strcmp(form, w->name[WINDOW - 1]) > 0)
        return; /* sorted up to there by window_trim() */
    if (w->n == 2 * WINDOW)
        window_trim(w);
    if (w->n == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 64;
        w->name = mem_grow(w->name, w->cap, sizeof *w->name);
    }
    w->name[w->n++] = str_dup(str_of(form));
}

/* DT_REG, DT_DIR, or 0 for what is not shown. */
static int kind_of(int fd, const struct dirent *e)
{
    struct stat s;
    if (e->d_type == DT_REG || e->d_type == DT_DIR)
        return e->d_type;
    if (e->d_type != DT_UNKNOWN || fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return S_ISREG(s.st_mode) ? DT_REG : S_ISDIR(s.st_mode) ? DT_DIR : 0;
}

static int window_fill(struct dir *d, struct window *w, int fd)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return dir_error(d, errno, "listing", str_of(w->dir));
    }
    struct dirent *e;
    for (errno = 0; (e = readdir(dir)); errno = 0) {
        const char *n = e->d_name;
        if (!strcmp(n, ".") || !strcmp(n, "..") || (!*w->dir && !strcmp(n, ".forebay")))
            continue;
        int kind = kind_of(fd, e);
        if (kind)
            window_add(w, n, kind == DT_DIR);
    }
    int eno = errno;
    closedir(dir);
    if (eno)
        return dir_error(d, eno, "listing", str_of(w->dir));
    window_trim(w);
    return 0;
}

static bool settled(const struct stat *s)
{
    uint64_t ms = (uint64_t)s->st_mtim.tv_sec * 1000 + (uint64_t)s->st_mtim.tv_nsec / 1000000;
    uint64_t now = clock_wall_ms();
    return ms + SETTLED_MS < now || now + SETTLED_MS < ms;
}

static int window_load(struct dir *d, const char *path, const char *from, const char *names, struct window **ret)
{
    int fd = dir_open_beneath(d, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return dir_error(d, errno, "listing", str_of(path));
    struct window *w = MEM_NEW(struct window);
    w->dir = str_dup(str_of(path));
    UFS_SET(w->from, str_of(from));
    UFS_SET(w->names, str_of(names));
    w->whole = true;
    int r = fstat(fd, &w->st) == 0 ? 0 : dir_error(d, errno, "stat of", str_of(path));
    w->settled = settled(&w->st);
    if (r == 0)
        r = window_fill(d, w, fd);
    else
        close(fd);
    if (r < 0)
        window_free(w);
    else
        *ret = w;
    return r;
}

/* --- the cache between pages */

static bool same_times(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool covers(const struct window *w, const char *path, const char *from, const char *names)
{
    return !strcmp(w->dir, path) && !strcmp(w->names, names) && strcmp(w->from, from) <= 0 &&
           (w->whole || (w->n && strcmp(w->name[w->n - 1], from) > 0));
}

static struct window *cache_take(struct dir *d, const char *path, const char *from, const char *names)
{
    LOCKED(&d->lock);
    for (int i = 0; i < DIR_WINDOWS; i++) {
        struct window *w = d->window[i];
        if (!w || !covers(w, path, from, names))
            continue;
        d->window[i] = NULL;
        return w;
    }
    return NULL;
}

static void cache_give(struct dir *d, struct window *w)
{
    struct window *out = w;
    if (w && w->settled) {
        LOCKED(&d->lock);
        out = d->window[DIR_WINDOWS - 1];
        memmove(d->window + 1, d->window, (DIR_WINDOWS - 1) * sizeof *d->window);
        d->window[0] = w;
    }
    window_free(out);
}

void dir_windows_free(struct dir *d)
{
    for (int i = 0; i < DIR_WINDOWS; i++)
        window_free(d->window[i]);
}

static int window_get(struct dir *d, const char *path, const char *from, const char *names, struct window **ret)
{
    struct window *w = cache_take(d, path, from, names);
    struct stat now;
    if (w) {
        AUTO_CLOSE int fd = dir_open_beneath(d, path, O_PATH | O_DIRECTORY);
        if (fd >= 0 && fstat(fd, &now) == 0 && same_times(&now, &w->st)) {
            *ret = w;
            return 0;
        }
        window_free(w);
    }
    return window_load(d, path, from, names, ret);
}

/* --- the walk */

struct walk {
    struct dir *d;
    const struct ufs_list_args *a;
    ufs_entry_fn *fn;
    void *arg;
    size_t shown;
    struct buf key; /* where the walk is: "dir/dir/" */
    int stop;
};

static int emit(struct walk *k, const struct ufs_entry *e)
{
    if (!str_starts(e->key, k->a->prefix) || str_cmp(e->key, k->a->after) <= 0)
        return 0;
    if (k->shown == k->a->limit)
        return WALK_STOP;
    k->shown++;
    k->stop = k->fn(k->arg, e);
    return k->stop;
}

/* A file or an empty directory, by its full key in k->key. */
static int emit_object(struct walk *k)
{
    struct ufs_entry e = {.key = buf_str(&k->key)};
    struct stat s;
    bool marker = str_ends(e.key, STR("/"));
    if (!str_starts(e.key, k->a->prefix) || str_cmp(e.key, k->a->after) <= 0)
        return 0;
    AUTO_FREE char *path = str_dup(str_mk(e.key.p, e.key.n - marker));
    AUTO_CLOSE int fd = dir_open_beneath(k->d, path, O_PATH | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &s) < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : dir_error(k->d, errno, "stat of", e.key);
    if (marker ? !S_ISDIR(s.st_mode) : !S_ISREG(s.st_mode))
        return 0; /* replaced since it was read */
    dir_fill(k->d, fd, &s, &e.st);
    return emit(k, &e);
}

static int walk_dir(struct walk *k, const char *names);

static int walk_name(struct walk *k, const char *form)
{
    size_t at = k->key.n;
    buf_putz(&k->key, form);
    struct str key = buf_str(&k->key);
    int r;
    if (!str_ends(key, STR("/")))
        r = emit_object(k);
    else if (k->a->delimiter)
        r = emit(k, &(struct ufs_entry){.key = key, .prefix = true});
    else if (str_cmp(key, k->a->after) < 0 && !str_starts(k->a->after, key))
        r = 0; /* all of it lies before */
    else
        r = walk_dir(k, "");
    k->key.n = at;
    k->key.p[at] = 0;
    return r;
}

/* The smallest name in this directory that the listing may still need. */
static void first_name(const struct walk *k, const char *names, char from[258])
{
    struct str here = buf_str(&k->key), rest = {"", 0};
    if (str_starts(k->a->after, here))
        rest = str_from(k->a->after, here.n);
    const char *slash = memchr(rest.p, '/', rest.n);
    if (slash)
        rest.n = (size_t)(slash - rest.p) + 1;
    ufs_set_field(from, 258, str_cmp(rest, str_of(names)) > 0 ? rest : str_of(names));
}

static int walk_window(struct walk *k, struct window *w, const char *from)
{
    size_t lo = 0, hi = w->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(w->name[mid], from) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < w->n; lo++) {
        int r = walk_name(k, w->name[lo]);
        if (r)
            return r;
    }
    return 0;
}

static int walk_dir(struct walk *k, const char *names)
{
    char from[258];
    bool whole = false;
    first_name(k, names, from);
    while (!whole) {
        struct window *w = NULL;
        AUTO_FREE char *path = str_dup(str_mk(k->key.p ? k->key.p : "", k->key.n ? k->key.n - 1 : 0));
        int r = window_get(k->d, path, from, names, &w);
        if (r == ERR_NOT_FOUND)
            return 0; /* removed since its parent was read */
        if (r < 0)
            return r;
        whole = w->whole;
        if (w->n == 0 && whole && !*w->from && !*names && k->key.n)
            r = emit_object(k); /* an empty directory is an object of its own */
        else
            r = walk_window(k, w, from);
        if (!whole) /* the next window starts just behind the last name; 1 is the smallest byte in a name */
            snprintf(from, sizeof from, "%.256s\1", w->name[w->n - 1]);
        cache_give(k->d, w);
        if (r)
            return r;
    }
    return 0;
}

static bool reserved(struct str base)
{
    return str_eq(base, STR(".forebay")) || str_starts(base, STR(UFS_RESERVED));
}

int dir_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
             bool *ret_more)
{
    struct walk k = {.d = (struct dir *)l, .a = a, .fn = fn, .arg = arg};
    const char *slash = a->prefix.n ? memrchr(a->prefix.p, '/', a->prefix.n) : NULL;
    struct str base = str_mk(a->prefix.p, slash ? (size_t)(slash - a->prefix.p) + 1 : 0);
    struct str names = str_from(a->prefix, base.n);
    (void)until;
    *ret_more = false;
    TRY(dir_root_check(k.d));
    if (memchr(a->prefix.p, 0, a->prefix.n) || a->prefix.n >= PATH_MAX || names.n > 255 || reserved(base) ||
        (base.n && ufs_key_posix(base) < 0))
        return 0; /* no key of a POSIX tree starts so */
    AUTO_FREE char *first = str_dup(names);
    buf_str_add(&k.key, base);
    int r = walk_dir(&k, first);
    buf_done(&k.key);
    *ret_more = r == WALK_STOP && !k.stop;
    return k.stop ? k.stop : r == WALK_STOP ? dir_root_check(k.d) : r;
}
