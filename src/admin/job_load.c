/* SPDX-License-Identifier: Apache-2.0
 *
 * The load job: a first walk counts (and thereby loads the metadata), a second hands each file to one of a few threads,
 * which reads it from end to end so that its pages are cached; with verify a third reads what is not whole by then.
 *
 * Every MARK_FILES files or MARK_MS the second walk waits until all it gave away is done, and writes down where it is;
 * a start after a crash goes on from the last such mark. What was read since is read again, from the cache.
 */
#include "admin/filter.h"
#include "admin/jobs.h"
#include "base/clock.h"
#include "base/thread.h"

enum { MARK_FILES = 1000, MARK_MS = 2000, INDEX_MAX = 64 << 20 };

struct loading {
    struct job *j;
    struct filter *filter; /* NULL: all */
    struct pool *pool;
    struct lock lock;
    pthread_cond_t less;
    size_t waiting, since_mark;
    uint64_t mark_ms;
    size_t path_at;
    char *last;                     /* the file given away last */
    _Atomic uint64_t busy_until_ns; /* the bandwidth is spent until then */
};

/* ---- which files ---- */

static bool wanted(const struct loading *l, const char *path)
{
    return !l->filter || filter_fits(l->filter, path);
}

static int count_file(void *arg, const struct walk_file *f)
{
    const struct loading *l = arg;
    struct job *j = l->j;
    if (wanted(l, f->path)) {
        j->scanned++;
        j->total += f->attr.size;
    }
    return j->stop ? ERR_SHUTDOWN : 0;
}

/* ---- reading one file ---- */

/* Bytes from under file systems wait for their turn. */
static void pace(struct loading *l, size_t n)
{
    uint64_t rate = l->j->bandwidth, now = clock_mono_ns(), from, to;
    if (!rate)
        return;
    from = l->busy_until_ns;
    do
        to = (from > now ? from : now) + (uint64_t)((double)n * 1e9 / (double)rate);
    while (!atomic_compare_exchange_weak(&l->busy_until_ns, &from, to));
    while (!l->j->stop && clock_mono_ns() < to) {
        uint64_t left = (to - clock_mono_ns()) / 1000000 + 1;
        clock_sleep_ms(left < 200 ? left : 200);
    }
}

static int skip_range(void *arg, const struct page_range *g)
{
    const struct loading *l = arg;
    (void)g;
    return l->j->stop ? ERR_SHUTDOWN : 0;
}

static int skip_bytes(void *arg, const void *p, size_t n)
{
    struct loading *l = arg;
    (void)p;
    pace(l, n);
    return l->j->stop ? ERR_SHUTDOWN : 0;
}

static int read_whole(struct loading *l, const char *path, uint64_t *ret_size)
{
    const struct fs_sink sink = {skip_range, skip_bytes, l};
    struct fs_file *f;
    TRY(fs_open(l->j->a->o.fs, fs_path(str_of(path)), 0, &f));
    *ret_size = fs_file_attr(f)->size;
    int code = *ret_size ? fs_read(f, 0, *ret_size, &sink) : 0;
    fs_close(f);
    return code;
}

static bool cached_whole(struct job *j, const char *path, uint64_t size)
{
    uint64_t cached = 0;
    return fs_cached(j->a->o.fs, fs_path(str_of(path)), &cached) == 0 && cached >= size;
}

static void load_file(struct loading *l, const char *path, uint64_t size)
{
    struct job *j = l->j;
    uint64_t got = 0;
    bool again = j->phase == JOB_VERIFYING;
    if ((j->skip_cached || again) && cached_whole(j, path, size)) {
        j->skipped += again ? 0 : size;
        j->processed += again ? 0 : 1;
        return;
    }
    int code = read_whole(l, path, &got);
    if (j->stop)
        return;
    if (code < 0 && code != ERR_NOT_FOUND && code != ERR_STALE) /* gone meanwhile is no failure */
        job_failed(j, path, code);
    if (again)
        return;
    j->bytes += code == 0 ? got : 0;
    j->nonempty += code == 0 && got > 0;
    j->processed++;
}

/* ---- a bounded queue before the pool ---- */

struct load_item {
    struct loading *l;
    uint64_t size;
    char path[];
};

static void run_item(void *arg)
{
    struct load_item *it = arg;
    struct loading *l = it->l;
    if (!l->j->stop)
        load_file(l, it->path, it->size);
    free(it);
    LOCKED(&l->lock);
    l->waiting--;
    pthread_cond_signal(&l->less);
}

static void wait_below(struct loading *l, size_t n)
{
    LOCKED(&l->lock);
    while (l->waiting >= n)
        cond_wait(&l->less, &l->lock);
}

/* All that was given away is done: a start goes on from here. */
static int mark(struct loading *l)
{
    struct job *j = l->j;
    wait_below(l, 1);
    l->since_mark = 0;
    l->mark_ms = clock_mono_ms();
    if (j->stop)
        return ERR_SHUTDOWN;
    lock_take(&j->a->lock);
    free(j->mark);
    j->mark = l->last ? str_dup(str_of(l->last)) : NULL;
    j->mark_path = l->path_at;
    lock_drop(&j->a->lock);
    return job_keep(j);
}

static void give_away(struct loading *l, const struct walk_file *f)
{
    size_t n = strlen(f->path) + 1;
    struct load_item *it = malloc(sizeof *it + n);
    CHECK(it, "no memory for a job");
    it->l = l;
    it->size = f->attr.size;
    memcpy(it->path, f->path, n);
    wait_below(l, JOB_QUEUE);
    lock_take(&l->lock);
    l->waiting++;
    lock_drop(&l->lock);
    pool_submit(l->pool, run_item, it);
    free(l->last);
    l->last = str_dup(str_of(f->path));
}

static int submit_file(void *arg, const struct walk_file *f)
{
    struct loading *l = arg;
    if (wanted(l, f->path)) {
        give_away(l, f);
        l->since_mark++;
    }
    if (l->j->stop)
        return ERR_SHUTDOWN;
    if (l->since_mark >= MARK_FILES || (l->since_mark && clock_mono_ms() - l->mark_ms >= MARK_MS))
        return mark(l);
    return 0;
}

/* ---- the paths ---- */

/* From path first on; there behind the file after. Paths that are gone by now are no failure of the job that had them.
 */
static int each_path(struct loading *l, const json_t *paths, size_t first, const char *after,
                     int (*fn)(void *arg, const struct walk_file *f))
{
    for (size_t i = first; i < json_array_size(paths); i++) {
        struct place p AUTO_PLACE = {0};
        struct fs *fs = l->j->a->o.fs;
        const char *path = json_string_value(json_array_get(paths, i));
        l->path_at = i;
        free(TAKE(l->last));
        int code = place_find(fs, path, PREFER_DIR, &p, NULL, NULL);
        if (code == 0)
            code = walk_files_after(fs, &p, i == first ? after : NULL, fn, l);
        if (code < 0 && (l->j->stop || code != ERR_NOT_FOUND))
            return code;
        if (code < 0 && l->j->phase == JOB_LOADING) /* the other walks tell of the same paths */
            job_failed(l->j, path, code);
    }
    return 0;
}

static int add_text(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

static int add_line(struct job *j, json_t *paths, char *line)
{
    struct buf abs AUTO_BUF = {0};
    size_t n = strcspn(line, "\r\n");
    line[n] = 0;
    if (n == 0)
        return 0;
    TRY(place_of_uri(j->a->o.fs, line, &abs));
    json_t *v = json_string(abs.p);
    if (!v)
        return err_set(ERR_INVALID, "%s: a line is not valid UTF-8", j->index);
    json_array_append_new(paths, v);
    return 0;
}

/* The lines of the index file. */
static int read_index(struct job *j, json_t *paths)
{
    struct buf text AUTO_BUF = {0};
    const struct fs_sink sink = {NULL, add_text, &text};
    struct fs_file *f;
    TRY(fs_open(j->a->o.fs, fs_path(str_of(j->index)), 0, &f));
    uint64_t size = fs_file_attr(f)->size;
    int code = size > INDEX_MAX ? err_set(ERR_TOO_LARGE, "%s is larger than %d bytes", j->index, INDEX_MAX)
               : size           ? fs_read(f, 0, size, &sink)
                                : 0;
    fs_close(f);
    char *at = text.p, *line;
    while (code == 0 && (line = strsep(&at, "\n")))
        code = add_line(j, paths, line);
    return code;
}

/* ---- the job ---- */

static int count(struct loading *l, const json_t *paths)
{
    struct job *j = l->j;
    j->scanned = j->total = 0; /* of a walk that did not come to its end before a crash */
    TRY(each_path(l, paths, 0, NULL, count_file));
    if (j->metadata_only) {
        j->processed = (uint64_t)j->scanned;
        return 0;
    }
    j->phase = JOB_LOADING;
    return job_keep(j);
}

static int read_all(struct loading *l, const json_t *paths)
{
    struct job *j = l->j;
    char *after AUTO_FREE = j->mark ? str_dup(str_of(j->mark)) : NULL;
    TRY(each_path(l, paths, j->mark_path, after, submit_file));
    wait_below(l, 1);
    if (j->stop || !j->verify)
        return 0;
    j->phase = JOB_VERIFYING;
    return 0;
}

static int verify_all(struct loading *l, const json_t *paths)
{
    l->since_mark = 0;
    TRY(each_path(l, paths, 0, NULL, submit_file));
    wait_below(l, 1);
    return 0;
}

static int run_phases(struct loading *l, const json_t *paths)
{
    struct job *j = l->j;
    int code = j->phase == JOB_SCANNING ? count(l, paths) : 0;
    if (code == 0 && j->phase == JOB_LOADING)
        code = read_all(l, paths);
    if (code == 0 && j->phase == JOB_VERIFYING && !j->stop)
        code = verify_all(l, paths);
    return code;
}

static int with_pool(struct loading *l, const json_t *paths)
{
    TRY(pool_new("load", JOB_LOADERS, &l->pool));
    lock_init(&l->lock, RANK_ADMIN);
    cond_init(&l->less);
    l->mark_ms = clock_mono_ms();
    int code = run_phases(l, paths);
    pool_free(l->pool);
    pthread_cond_destroy(&l->less);
    lock_done(&l->lock);
    free(l->last);
    return code;
}

int job_load_run(struct job *j)
{
    struct loading l = {.j = j};
    json_t *paths = json_deep_copy(j->paths);
    int code = j->index ? read_index(j, paths) : 0;
    if (code == 0 && j->regex)
        code = filter_new(j->regex, &l.filter);
    if (code == 0)
        code = with_pool(&l, paths);
    filter_free(l.filter);
    json_decref(paths);
    return code;
}
