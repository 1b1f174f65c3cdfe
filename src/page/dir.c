/* SPDX-License-Identifier: Apache-2.0
 *
 * One directory: its lock, its label, its segments, and its health.
 *
 *     closed (never recovered) <-> failed     page_dir_open, retried by the probe
 *     open -> failed (set aside)              page_dir_failed, at the first error of a write, a sync or a read
 *     failed -> open                          page_dir_probe: a probe file can be written, synced and read again
 *
 * While it is set aside nothing new is placed there; pages are still read as far as the disk gives them. Each failed
 * write or sync counts epoch up: writers that wrote before it fail at their seal. When the directory comes back, what
 * was not synced is verified from the disk, not from the page cache, before it is served again.
 */
#include "page/store.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { PROBE_EVERY_MS = 1000, SEG_MIN = 256 << 10, SEG_NORMAL = 64 << 20, SEGS_NORMAL = 8192 };

static int set_aside(struct dir *d, const char *reason, int eno)
{
    if (!atomic_load(&d->failed)) {
        atomic_store(&d->reason, reason);
        atomic_store(&d->failed, true);
        TRACE("page.dir_failed", d->no, eno);
    }
    return err_set(ERR_IO, "%s is set aside: %s (%s)", d->path, reason, strerror(eno));
}

int page_dir_failed(struct dir *d, const char *reason, int eno)
{
    atomic_fetch_add(&d->epoch, 1);
    return set_aside(d, reason, eno);
}

int page_dir_unreadable(struct dir *d, const char *reason, int eno)
{
    return set_aside(d, reason, eno);
}

bool page_dir_roomy(struct dir *d, uint64_t more)
{
    struct statvfs v;
    if (fstatvfs(d->fd, &v) != 0)
        return false;
    return (uint64_t)v.f_bavail * v.f_frsize >= d->store->o.keep_free + more;
}

static int failed_open(struct dir *d, const char *what, int eno)
{
    return page_dir_failed(d, what, eno);
}

/* ---- lock ---- */

static int lock_busy(struct dir *d, int fd)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
    return err_set(ERR_BUSY,
                   "%s is in use by process %s: stop it, or give this one another directory "
                   "(alluxio.worker.page.store.dirs)",
                   d->path, *pid ? pid : "unknown");
}

static int lock_dir(struct dir *d)
{
    AUTO_CLOSE int fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed_open(d, "its lock file cannot be opened", errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? lock_busy(d, fd) : failed_open(d, "its lock file cannot be locked", errno);
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return failed_open(d, "its lock file cannot be written", errno);
    d->lock_fd = page_fd_take(&fd);
    return 0;
}

/* ---- label ---- */

/* Segments of 64 MiB (256 above half a TiB, to have fewer descriptors); smaller ones where that would leave only a few.
 */
static uint32_t payload_for(const struct dir *d)
{
    uint64_t page = d->store->page_size, p = d->bytes / 32 / page * page;
    uint64_t min = page < SEG_MIN ? SEG_MIN : page;
    uint64_t max = d->bytes / SEG_NORMAL > SEGS_NORMAL ? PG_SEG_MAX : SEG_NORMAL;
    return (uint32_t)(p < min ? min : p > max ? max : p);
}

static int label_read(struct dir *d, int fd)
{
    char text[256] = "";
    unsigned version, page, payload;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n < 0)
        return failed_open(d, "its label cannot be read", errno);
    if (sscanf(text, "forebay-pages version=%u page=%u payload=%u", &version, &page, &payload) != 3)
        return err_set(ERR_CORRUPT,
                       "%s/label is not a label of a page directory: name another directory, or empty this "
                       "one if it holds nothing of worth",
                       d->path);
    if (version != PG_VERSION)
        return err_set(ERR_VERSION, "%s has format %u, this program knows %d", d->path, version, PG_VERSION);
    if (page != d->store->page_size)
        return err_set(ERR_INVALID,
                       "%s was made with pages of %u bytes: set alluxio.worker.page.store.page.size back to "
                       "that, or empty the directory",
                       d->path, page);
    if (payload < PG_SLOT_MIN || payload > PG_SEG_MAX || payload % PG_SLOT_MIN)
        return err_set(ERR_CORRUPT, "%s/label has an impossible segment size %u", d->path, payload);
    d->payload = payload;
    return 0;
}

static int bytes_check(const struct dir *d)
{
    uint64_t least = (uint64_t)d->payload + pg_area(d->payload);
    if (d->bytes >= least)
        return 0;
    return err_set(ERR_INVALID,
                   "%s: %" PRIu64 " bytes do not hold one segment of %" PRIu64 ": raise "
                   "alluxio.worker.page.store.sizes",
                   d->path, d->bytes, least);
}

static int label_write(struct dir *d)
{
    char text[256];
    d->payload = payload_for(d);
    TRY(bytes_check(d));
    AUTO_CLOSE int fd = openat(d->fd, "label.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed_open(d, "its label cannot be made", errno);
    int n = snprintf(text, sizeof text, "forebay-pages version=%d page=%u payload=%u\n", PG_VERSION,
                     d->store->page_size, d->payload);
    if (write(fd, text, (size_t)n) != n || fsync(fd) != 0 || renameat(d->fd, "label.new", d->fd, "label") != 0 ||
        fsync(d->fd) != 0)
        return failed_open(d, "its label cannot be written", errno);
    return 0;
}

static int label_open(struct dir *d)
{
    AUTO_CLOSE int fd = openat(d->fd, "label", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return label_read(d, fd);
    if (errno != ENOENT)
        return failed_open(d, "its label cannot be opened", errno);
    if (!d->store->o.read_only)
        return label_write(d);
    d->payload = payload_for(d); /* nothing was ever written here */
    return 0;
}

/* ---- segments ---- */

static bool segment_number(const char *name, uint32_t *ret)
{
    uint64_t v;
    if (strlen(name) != 8 || !str_u64(str_of(name), 99999999, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

/* Highest segment number found, plus one. */
static int segments_found(struct dir *d, uint32_t *ret)
{
    int fd = openat(d->fd, "segments", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return failed_open(d, "its segments cannot be listed", errno);
    DIR *list = fdopendir(fd);
    if (!list) {
        close(fd);
        return failed_open(d, "its segments cannot be listed", errno);
    }
    uint32_t top = 0, num;
    for (struct dirent *e; (e = readdir(list));)
        if (segment_number(e->d_name, &num) && num >= top)
            top = num + 1;
    closedir(list);
    *ret = top;
    return 0;
}

static void seg_init(struct dir *d, uint32_t num)
{
    struct seg *g = &d->segs[num];
    g->dir = d;
    g->num = num;
    g->no = d->no << d->store->seg_bits | num;
    g->fd = -1;
    g->state = SEG_ABSENT;
    g->surplus = num >= d->seg_count;
    lock_init(&g->sync_lock, RANK_PAGE + 6);
}

static int segments_open(struct dir *d)
{
    uint32_t found = 0;
    if (!d->store->o.read_only && mkdirat(d->fd, "segments", 0700) != 0 && errno != EEXIST)
        return failed_open(d, "its segments cannot be made", errno);
    TRY(segments_found(d, &found));
    TRY(bytes_check(d));
    d->area = pg_area(d->payload);
    d->seg_count = (uint32_t)(d->bytes / (d->payload + d->area));
    uint32_t most = 1u << d->store->seg_bits;
    if (d->seg_count > most)
        d->seg_count = most;
    if (found > most)
        return err_set(ERR_INVALID, "%s has segment %u, at most %u fit with this number of directories", d->path,
                       found - 1, most);
    d->seg_total = found > d->seg_count ? found : d->seg_count;
    d->segs = calloc(d->seg_total, sizeof *d->segs);
    CHECK(d->segs, "out of memory for segments");
    for (uint32_t i = 0; i < d->seg_total; i++)
        seg_init(d, i);
    d->absent_count = d->seg_count;
    return 0;
}

static void make_path(const char *path)
{
    AUTO_FREE char *p = str_dup(str_of(path));
    for (char *c = p + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        mkdir(p, 0755);
        *c = '/';
    }
    mkdir(p, 0700);
}

static int path_open(struct dir *d)
{
    if (!d->store->o.read_only)
        make_path(d->path);
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->fd < 0 ? failed_open(d, "it cannot be opened", errno) : 0;
}

int page_dir_open(struct dir *d)
{
    TRY(path_open(d));
    TRY(lock_dir(d));
    TRY(label_open(d));
    TRY(segments_open(d));
    page_recover_dir(d);
    atomic_store(&d->open, true);
    return 0;
}

static void seg_done(struct seg *g)
{
    if (g->fd >= 0)
        close(g->fd);
    free(g->rows);
    free(g->slots);
    lock_done(&g->sync_lock);
}

void page_dir_close(struct dir *d)
{
    for (uint32_t i = 0; d->segs && i < d->seg_total; i++)
        seg_done(&d->segs[i]);
    free(d->segs);
    d->segs = NULL;
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    d->lock_fd = d->fd = -1;
    atomic_store(&d->open, false);
}

/* ---- taking a failed one back ---- */

static int probe_file(struct dir *d)
{
    static const char text[] = "is this disk well?\n";
    char back[sizeof text] = "";
    TRY(FAULT(PAGE_PROBE));
    AUTO_CLOSE int fd = openat(d->fd, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, text, sizeof text, 0) != sizeof text || fsync(fd) != 0)
        return ERR_IO;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (pread(fd, back, sizeof back, 0) != sizeof back || memcmp(back, text, sizeof text) != 0)
        return ERR_IO;
    return 0;
}

/* A disk that was mounted anew is another file system: our descriptors would go on to fail. */
static bool same_place(struct dir *d)
{
    struct stat now, then;
    return stat(d->path, &now) == 0 && fstat(d->fd, &then) == 0 && now.st_dev == then.st_dev &&
           now.st_ino == then.st_ino;
}

/* What was written and not synced may be in the page cache only: make the next reads see the disk and verify it. */
static void distrust(struct dir *d)
{
    for (uint32_t i = 0; i < d->seg_total; i++) {
        struct seg *g = &d->segs[i];
        LOCKED(&g->sync_lock);
        if (g->fd < 0 || atomic_load(&g->synced) == atomic_load(&g->wrote))
            continue;
        posix_fadvise(g->fd, 0, 0, POSIX_FADV_DONTNEED);
        atomic_store(&g->synced, atomic_load(&g->wrote));
        if (atomic_exchange(&g->lazy, false))
            atomic_fetch_sub(&d->store->lazy_segs, 1);
    }
    LOCKED(&d->lock);
    page_small_detach(d);
}

static void unverify(struct dir *d)
{
    struct page_store *s = d->store;
    for (size_t i = 0; i < IDX_SHARDS; i++) {
        struct shard *sh = &s->shards[i];
        LOCKED(&sh->lock);
        for (uint32_t k = 0; k < sh->used; k++) {
            struct entry *e = page_idx_at(sh, k);
            if (e && loc_seg(ent_loc(e)) >> s->seg_bits == d->no)
                e->bits &= ~ENT_VERIFIED;
        }
    }
}

static bool reopen(struct dir *d)
{
    page_dir_close(d);
    d->free_count = d->ready_count = d->absent_count = 0;
    memset(d->class_free, 0, sizeof d->class_free);
    return page_dir_open(d) == 0;
}

static bool take_back(struct dir *d)
{
    if (!atomic_load(&d->open)) {
        if (d->store->o.read_only || !reopen(d))
            return false;
    } else if (!same_place(d)) {
        atomic_store(&d->reason, "another file system is mounted there now: restart to use it");
        return false;
    } else if (probe_file(d) < 0) {
        return false;
    } else {
        distrust(d);
        unverify(d);
        page_recover_lost(d);
    }
    atomic_store(&d->failed, false);
    page_space_freed(d->store);
    TRACE("page.dir_back", d->no, 0);
    return true;
}

bool page_dir_probe(struct dir *d)
{
    uint64_t now = clock_mono_ns();
    if (!atomic_load(&d->failed) || now < atomic_load(&d->probe_at_ns) || atomic_exchange(&d->probing, true))
        return false;
    atomic_store(&d->probe_at_ns, now + PROBE_EVERY_MS * 1000000ull);
    bool back = atomic_load(&d->failed) && take_back(d);
    atomic_store(&d->probing, false);
    return back;
}
