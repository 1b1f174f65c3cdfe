/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory driver: everything that makes a key appear. A temporary file is written whole, with its attributes and
 * times, and then gets the key's name: no other program sees a half object. Steps and what a crash leaves:
 *
 *   temporary written    nothing when it has no name (O_TMPFILE); else a stray file below .forebay/tmp, removed at a
 * later open parents made         empty directories marked as implied, removed by the next delete of a key below, or
 * used again given a temporary name, where it replaces an object: link(2) does not; a stray file as above linked or
 * renamed    the object, whole; durable for power loss after ufs_sync()
 *
 * Without a name because that is cheaper: one directory changes instead of two, renames between directories of a file
 * system wait for each other, and inodes lie near their directory instead of all near .forebay/tmp.
 *
 * Nothing is changed before it is known that the tree can hold the key. A writer belongs to one thread at a time.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ufs/dir.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#define RACES 100 /* how often a parent may be pruned under our hands before we give up */
#define PREALLOCATE (1 << 20)

struct dir_writer {
    struct str key; /* own copy */
    int tmp, fd;    /* fd -1: a directory marker; tmp: the directory of temp */
    char temp[64];  /* "": the file has no name yet, or its own */
    uint64_t mtime_ms;
    struct digest *md5; /* NULL: nothing to compare */
    unsigned char want[16];
    char etag[72];
    struct ufs_kept_meta meta; /* markers: pairs wait for the directory */
};

/* --- temporary files */

static int make_tmp(struct dir *d)
{
    AUTO_CLOSE int own = -1;
    if (mkdirat(d->root, ".forebay", 0777) < 0 && errno != EEXIST)
        return -1;
    own = dir_open_beneath(d, ".forebay", O_PATH | O_DIRECTORY);
    if (own < 0 || (mkdirat(own, "tmp", 0777) < 0 && errno != EEXIST))
        return -1;
    return dir_open_beneath(d, DIR_TMP, O_RDONLY | O_DIRECTORY);
}

int dir_tmp_open(struct dir *d, int *ret_fd)
{
    int fd = dir_open_beneath(d, DIR_TMP, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT)
        fd = make_tmp(d);
    if (fd < 0)
        return dir_error(d, errno, "making", STR(DIR_TMP));
    *ret_fd = fd;
    return 0;
}

static void temp_name(struct dir *d, struct dir_writer *w)
{
    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        nonce = clock_mono_ns();
    snprintf(w->temp, sizeof w->temp, "%x-%llx-%llx", (unsigned)getpid(), (unsigned long long)nonce,
             (unsigned long long)atomic_fetch_add(&d->temp_no, 1));
}

static int link_nameless(int fd, int dir, const char *name)
{
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, dir, name, AT_SYMLINK_FOLLOW);
}

bool dir_nameless_probe(int tmp)
{
    char name[64];
    AUTO_CLOSE int fd = openat(tmp, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    snprintf(name, sizeof name, "probe-%x-%llx", (unsigned)getpid(), (unsigned long long)clock_mono_ns());
    return fd >= 0 && link_nameless(fd, tmp, name) == 0 && unlinkat(tmp, name, 0) == 0;
}

/* parent: where it is going to lie, if that is there already (else -1). */
static int temp_create(struct dir *d, struct dir_writer *w, int parent)
{
    if (d->nameless)
        w->fd = openat(parent < 0 ? d->root : parent, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (w->fd >= 0)
        return 0; /* no: another file system is mounted there, perhaps */
    TRY(dir_tmp_open(d, &w->tmp));
    temp_name(d, w);
    w->fd = openat(w->tmp, w->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->fd < 0) {
        w->temp[0] = 0;
        return dir_error(d, errno, "making a temporary file for", w->key);
    }
    return 0;
}

static void writer_free(struct dir_writer *w)
{
    if (w->temp[0])
        unlinkat(w->tmp, w->temp, 0);
    if (w->fd >= 0)
        close(w->fd);
    if (w->tmp >= 0)
        close(w->tmp);
    digest_free(w->md5);
    ufs_meta_drop(&w->meta);
    free((char *)w->key.p);
    free(w);
}

static struct dir_writer *writer_new(struct str key)
{
    struct dir_writer *w = MEM_NEW(struct dir_writer);
    w->key = str_mk(str_dup(key), key.n);
    w->fd = w->tmp = -1;
    return w;
}

/* --- what stands in the way */

static int refused(struct str key, const char *why)
{
    return err_set(ERR_KEY_UNSUPPORTED, "the under file system cannot hold \"%.*s\": %s", STR_ARG(key), why);
}

/* The directory that will hold the key; a missing one is fine. */
static int parent_check(struct dir *d, struct str key, int *ret_parent, char name[256])
{
    *ret_parent = dir_open_parent(d, key, name);
    if (*ret_parent >= 0 || errno == ENOENT)
        return 0;
    if (errno == ENOTDIR)
        return refused(key, "a parent of it is an object, and a file and a directory cannot have one name");
    if (errno == ELOOP)
        return refused(key, "a parent of it is a symbolic link");
    return dir_error(d, errno, "opening the directory of", key);
}

/* An implied directory that is empty is a leftover: it makes room for a file. */
static bool give_way(struct dir *d, int parent, const char *name)
{
    AUTO_CLOSE int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && dir_attr_implied(d, fd) && unlinkat(parent, name, AT_REMOVEDIR) == 0;
}

/* What the name is now. *ret_exists with *ret_stat only for a file (or a directory for a marker). */
static int place_check(struct dir *d, struct str key, int parent, const char *name, bool *ret_exists,
                       struct stat *ret_stat)
{
    bool marker = str_ends(key, STR("/"));
    *ret_exists = false;
    if (fstatat(parent, name, ret_stat, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : dir_error(d, errno, "stat of", key);
    if (S_ISDIR(ret_stat->st_mode) && !marker)
        return give_way(d, parent, name)
                   ? 0
                   : refused(key, "a directory has this name, and a file and a directory cannot have one name");
    if (S_ISREG(ret_stat->st_mode) && marker)
        return refused(key, "an object has this name, and a file and a directory cannot have one name");
    if (!S_ISDIR(ret_stat->st_mode) && !S_ISREG(ret_stat->st_mode))
        return refused(key, "a symbolic link or special file has this name");
    *ret_exists = true;
    return 0;
}

/* *ret_parent: as parent_check. */
static int early_check(struct dir *d, struct str key, int *ret_parent)
{
    char name[256];
    struct stat s;
    bool exists;
    TRY(dir_root_check(d));
    TRY(parent_check(d, key, ret_parent, name));
    return *ret_parent < 0 ? 0 : place_check(d, key, *ret_parent, name, &exists, &s);
}

/* --- parents */

static int make_one(struct dir *d, struct str key, int at, const char *name, int *ret)
{
    bool made = mkdirat(at, name, 0777) == 0;
    if (!made && errno == ENOENT)
        return ERR_CONFLICT; /* `at` itself was pruned */
    if (!made && errno != EEXIST)
        return dir_error(d, errno, "making a directory for", key);
    int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return ERR_CONFLICT; /* pruned by somebody: from the top again */
    if (fd < 0)
        return refused(key, "a parent of it is not a directory");
    if (made)
        dir_attr_set_implied(d, fd, true);
    *ret = fd;
    return 0;
}

static int make_parents(struct dir *d, struct str key, int *ret_parent, char name[256])
{
    TRY(parent_check(d, key, ret_parent, name));
    if (*ret_parent >= 0)
        return 0;
    AUTO_CLOSE int at = dir_open_beneath(d, ".", O_PATH | O_DIRECTORY);
    for (struct str rest = key;;) {
        char part[256];
        const char *slash = memchr(rest.p, '/', rest.n);
        if (at < 0)
            return dir_error(d, errno, "opening", STR("."));
        if (!slash || slash == key.p + key.n - 1)
            break;
        ufs_set_field(part, sizeof part, str_mk(rest.p, (size_t)(slash - rest.p)));
        int next = -1;
        TRY(make_one(d, key, at, part, &next));
        close(at);
        at = next;
        rest = str_from(rest, (size_t)(slash - rest.p) + 1);
    }
    *ret_parent = at;
    at = -1;
    return 0;
}

/* --- the last step: a name for the temporary file */

static int holds(const struct ufs_put_opts *o, bool exists, const struct stat *s)
{
    char version[96];
    if (o->if_none_match && exists)
        return err_set(ERR_PRECONDITION, "the object exists");
    if (!o->if_match)
        return 0;
    if (exists)
        dir_version(s, version);
    if (!exists || strcmp(version, o->if_match) != 0)
        return err_set(ERR_PRECONDITION, "the object has another version");
    return 0;
}

/* Rename that never replaces; link and unlink where the file system lacks it. errno as from renameat2. */
static int rename_new(int from_dir, const char *from, int to_dir, const char *to)
{
    if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return -1;
    if (linkat(from_dir, from, to_dir, to, 0) < 0)
        return -1;
    return unlinkat(from_dir, from, 0);
}

/* A file without a name gets one below .forebay/tmp, from where it can be renamed over another. */
static int give_temp_name(struct dir *d, struct dir_writer *w)
{
    TRY(dir_tmp_open(d, &w->tmp));
    temp_name(d, w);
    if (link_nameless(w->fd, w->tmp, w->temp) == 0)
        return FAULT(UFS_DIR_NAMED);
    w->temp[0] = 0;
    return dir_error(d, errno, "making a temporary file for", w->key);
}

static int give_name(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o, int parent, const char *name)
{
    struct stat s;
    bool exists;
    TRY(place_check(d, w->key, parent, name, &exists, &s));
    TRY(holds(o, exists, &s));
    if (!w->temp[0] && exists)
        TRY(give_temp_name(d, w));
    int r = !w->temp[0]        ? link_nameless(w->fd, parent, name)
            : o->if_none_match ? rename_new(w->tmp, w->temp, parent, name)
                               : renameat(w->tmp, w->temp, parent, name);
    if (r == 0) {
        w->temp[0] = 0;
        return 0;
    }
    if (errno == ENOENT || errno == EEXIST || errno == EISDIR || errno == ENOTEMPTY)
        return ERR_CONFLICT; /* something came between: look again */
    return dir_error_change(d, errno, "renaming into place", w->key);
}

/* A directory of its own for "a/". */
static int give_directory(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o, int parent,
                          const char *name)
{
    struct stat s;
    bool exists;
    TRY(place_check(d, w->key, parent, name, &exists, &s));
    if (!exists && mkdirat(parent, name, 0777) < 0)
        return errno == EEXIST || errno == ENOENT ? ERR_CONFLICT
                                                  : dir_error_change(d, errno, "making the directory", w->key);
    AUTO_CLOSE int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return ERR_CONFLICT;
    if (exists && dir_attr_implied(d, fd))
        exists = false; /* until now it was no object */
    TRY(holds(o, exists, &s));
    TRY(dir_attr_set_meta(d, fd, &w->meta.meta));
    dir_attr_set_implied(d, fd, false);
    return 0;
}

static int place(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o)
{
    for (int i = 0; i < RACES; i++) {
        AUTO_CLOSE int parent = -1;
        char name[256];
        TRY(dir_root_check(d));
        int r = make_parents(d, w->key, &parent, name);
        if (r == 0)
            r = FAULT(UFS_DIR_PARENT);
        if (r == 0)
            r = w->fd < 0 ? give_directory(d, w, o, parent, name) : give_name(d, w, o, parent, name);
        if (r != ERR_CONFLICT)
            return r;
    }
    return err_set(ERR_UNREACHABLE, "%.*s: its directories come and go", STR_ARG(w->key));
}

/* --- writer */

static int begin_file(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o, int parent)
{
    TRY(temp_create(d, w, parent));
    if (o->size != UFS_SIZE_UNKNOWN && o->size >= PREALLOCATE &&
        fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)o->size) < 0 && (errno == ENOSPC || errno == EDQUOT))
        return dir_error(d, errno, "reserving space for", w->key);
    if (o->md5) {
        w->md5 = digest_new(DIGEST_MD5);
        memcpy(w->want, o->md5, sizeof w->want);
    }
    return dir_attr_add_meta(d, w->fd, &o->meta);
}

int dir_begin(struct ufs_layer *l, struct str key, const struct ufs_put_opts *o, void **ret)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int parent = -1;
    struct dir_writer *w = writer_new(key);
    w->mtime_ms = o->mtime_ms;
    int r = early_check(d, key, &parent);
    if (r == 0 && str_ends(key, STR("/")))
        ufs_meta_keep(&w->meta, &o->meta);
    else if (r == 0)
        r = begin_file(d, w, o, parent);
    if (r < 0) {
        writer_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

int dir_write(struct ufs_layer *l, void *arg, const void *p, size_t n)
{
    struct dir *d = (struct dir *)l;
    struct dir_writer *w = arg;
    if (w->fd < 0)
        return refused(w->key, "a key that ends in '/' is a directory and holds no data");
    if (w->md5)
        digest_add(w->md5, p, n);
    for (size_t at = 0; at < n;) {
        ssize_t put = write(w->fd, (const char *)p + at, n - at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return dir_error(d, errno, "writing", w->key);
        at += (size_t)put;
    }
    return 0;
}

static int check_md5(struct dir_writer *w)
{
    unsigned char is[32];
    if (!w->md5)
        return 0;
    digest_end(w->md5, is);
    str_hex(is, 16, w->etag);
    if (memcmp(is, w->want, 16) != 0)
        return err_set(ERR_CORRUPT, "the bytes for %.*s do not have the MD5 that was announced", STR_ARG(w->key));
    return 0;
}

/* mtime as wanted, with nanoseconds of its own: they tell versions apart that share inode, size and millisecond. */
static int set_times(struct dir *d, struct dir_writer *w)
{
    struct timespec now, t[2] = {{.tv_nsec = UTIME_OMIT}};
    clock_gettime(CLOCK_REALTIME, &now);
    t[1] = now;
    if (w->mtime_ms) {
        t[1].tv_sec = (time_t)(w->mtime_ms / 1000);
        t[1].tv_nsec = (long)(w->mtime_ms % 1000 * 1000000) + now.tv_nsec % 1000000;
    }
    return futimens(w->fd, t) == 0 ? 0 : dir_error(d, errno, "setting the time of", w->key);
}

static int finish_file(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o)
{
    TRY(check_md5(w));
    TRY(set_times(d, w));
    TRY(dir_attr_set_etag(d, w->fd, o->etag ? o->etag : w->etag));
    return FAULT(UFS_DIR_TEMP);
}

static int commit(struct dir *d, struct dir_writer *w, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    struct stat s;
    if (o->mtime_ms)
        w->mtime_ms = o->mtime_ms;
    if (w->fd >= 0)
        TRY(finish_file(d, w, o));
    TRY(place(d, w, o));
    if (w->fd < 0) {
        AUTO_CLOSE int fd = -1;
        TRY(dir_find(d, w->key, &fd, &s));
        dir_fill(d, fd, &s, ret);
    } else if (fstat(w->fd, &s) == 0)
        dir_fill(d, w->fd, &s, ret);
    else
        return dir_error(d, errno, "stat of", w->key);
    return 0;
}

int dir_commit(struct ufs_layer *l, uint64_t until, void *arg, const struct ufs_put_opts *o, struct ufs_stat *ret)
{
    (void)until;
    int r = commit((struct dir *)l, arg, o, ret);
    writer_free(arg);
    return r;
}

void dir_abort(struct ufs_layer *l, void *w)
{
    (void)l;
    writer_free(w);
}

/* --- copy */

static int copy_bytes(struct dir *d, struct dir_writer *w, int from, uint64_t size)
{
    if (ioctl(w->fd, FICLONE, from) == 0)
        return 0;
    for (uint64_t left = size; left;) {
        ssize_t n = copy_file_range(from, NULL, w->fd, NULL, left < (1u << 30) ? (size_t)left : 1u << 30, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return dir_error(d, errno, "copying to", w->key);
        if (n == 0)
            return err_set(ERR_IO, "the source became shorter while it was copied");
        left -= (uint64_t)n;
    }
    return 0;
}

static int copy_file(struct dir *d, struct dir_writer *w, int src, const struct stat *s, int parent)
{
    char etag[72];
    AUTO_CLOSE int from = dir_reopen(src, O_RDONLY);
    if (from < 0)
        return dir_error(d, errno, "opening the source of", w->key);
    TRY(temp_create(d, w, parent));
    TRY(copy_bytes(d, w, from, (uint64_t)s->st_size));
    TRY(dir_attr_copy(d, from, w->fd));
    dir_attr_etag(d, from, s, etag);
    TRY(set_times(d, w));
    TRY(dir_attr_set_etag(d, w->fd, etag));
    return FAULT(UFS_DIR_TEMP);
}

static int copy_to(struct dir *d, struct dir_writer *w, int src, const struct stat *s, struct ufs_stat *ret)
{
    static const struct ufs_put_opts any = {0};
    struct stat now;
    AUTO_CLOSE int parent = -1;
    TRY(early_check(d, w->key, &parent));
    TRY(copy_file(d, w, src, s, parent));
    TRY(place(d, w, &any));
    if (fstat(w->fd, &now) < 0)
        return dir_error(d, errno, "stat of", w->key);
    dir_fill(d, w->fd, &now, ret);
    return 0;
}

static int copy_marker(struct dir *d, struct str dst, struct ufs_stat *ret)
{
    struct ufs_put_opts o = {0};
    void *w;
    TRY(dir_begin(&d->l, dst, &o, &w));
    return dir_commit(&d->l, 0, w, &o, ret);
}

int dir_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
             struct ufs_stat *ret)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int fd = -1;
    struct stat s;
    char version[96];
    (void)until;
    TRY(dir_find(d, src, &fd, &s));
    dir_version(&s, version);
    if (if_match && strcmp(version, if_match) != 0)
        return err_set(ERR_PRECONDITION, "the source of a copy changed");
    if (str_ends(dst, STR("/")) != (bool)S_ISDIR(s.st_mode))
        return refused(dst, "an object cannot become a directory or the other way round");
    if (S_ISDIR(s.st_mode))
        return copy_marker(d, dst, ret);
    struct dir_writer *w = writer_new(dst);
    int r = copy_to(d, w, fd, &s, ret);
    writer_free(w);
    return r;
}

/* --- rename */

static int rename_once(struct dir *d, struct str src, struct str dst, int from, const char *from_name)
{
    AUTO_CLOSE int to = -1;
    char to_name[256];
    struct stat s;
    bool exists, whole = str_ends(dst, STR("/"));
    TRY(make_parents(d, dst, &to, to_name));
    TRY(FAULT(UFS_DIR_PARENT));
    TRY(place_check(d, dst, to, to_name, &exists, &s));
    if (exists && whole && !give_way(d, to, to_name))
        return err_set(ERR_EXISTS, "%.*s exists", STR_ARG(dst));
    int r = whole ? renameat2(from, from_name, to, to_name, RENAME_NOREPLACE) : renameat(from, from_name, to, to_name);
    if (r < 0 && whole && (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP))
        r = renameat(from, from_name, to, to_name);
    if (r == 0)
        return 0;
    if (errno == ENOENT || errno == EEXIST || errno == EISDIR || errno == ENOTEMPTY)
        return ERR_CONFLICT;
    return dir_error_change(d, errno, "renaming", src);
}

int dir_rename(struct ufs_layer *l, uint64_t until, struct str src, struct str dst)
{
    struct dir *d = (struct dir *)l;
    (void)until;
    for (int i = 0; i < RACES; i++) {
        AUTO_CLOSE int fd = -1, from = -1;
        struct stat s;
        char name[256];
        TRY(dir_find(d, src, &fd, &s));
        if ((from = dir_open_parent(d, src, name)) < 0)
            return dir_error(d, errno, "opening the directory of", src);
        int r = rename_once(d, src, dst, from, name);
        if (r == 0)
            dir_prune(d, src);
        if (r != ERR_CONFLICT)
            return r;
    }
    return err_set(ERR_UNREACHABLE, "%.*s: its directories come and go", STR_ARG(dst));
}
