/* SPDX-License-Identifier: Apache-2.0
 *
 * UFS driver: a directory (local disk, NFS or any mounted file system).
 *
 * An object is a regular file; "a/" is a directory. Every path is opened with openat2() beneath the root's descriptor,
 * through no symlink: nothing leads out, symlinks and special files are neither followed nor listed, and a key is not
 * written over one. A POSIX tree cannot hold "a" beside "a/b": the second of the two is refused.
 *
 * Directories: put of "a/" makes an explicit one, which stays until it is deleted. A directory made only because a key
 * below it needed it carries an attribute (DIR_XATTR_IMPLIED) and goes when its last entry is deleted, as a prefix does
 * in S3. Without extended attributes no directory is ever removed with its last entry.
 *
 * Version: inode, size and mtime in nanoseconds. Not ctime: rename and attribute changes move it, the bytes are the
 * same. put gives each file an mtime whose nanoseconds are unique to it, so that a recycled inode with the same
 * milliseconds and size is still another version. A program that changes a file in place and puts its mtime back is not
 * noticed.
 *
 * Conditions: if_none_match is atomic (renameat2 or link); if_match is compared just before the rename: right as long
 * as this process is the only writer of the key, which claims on UFS keys see to.
 *
 * Root: its device and inode are remembered. When its path leads elsewhere or nowhere (unmounted, removed), every call
 * says ERR_UNREACHABLE, never "not found" and never writes into the hidden directory. `forebay.ufs.dir.marker` names an
 * entry that must be in the root, which also tells an unmounted mount point at start.
 *
 * Crash: temporary files have no name where the file system can do that (they go with the process); else, and while
 * they replace an object, they lie in .forebay/tmp and are removed at open when older than the deadline. Power loss:
 * what was put is durable after ufs_sync() (one syncfs for all).
 */
#include "ufs/dir.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define PIECE (256 * 1024)

/* --- opening */

int dir_open_beneath(struct dir *d, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    for (;;) {
        long fd = syscall(SYS_openat2, d->root, *path ? path : ".", &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            return (int)fd;
    }
}

int dir_reopen(int path_fd, int flags)
{
    char p[40];
    snprintf(p, sizeof p, "/proc/self/fd/%d", path_fd);
    return open(p, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* "a/b/c" or "a/b/c/": "a/b" into dir, "c" into name. */
static void split(struct str key, char *dir, char name[256])
{
    if (str_ends(key, STR("/")))
        key.n--;
    const char *slash = memrchr(key.p, '/', key.n);
    size_t n = slash ? (size_t)(slash - key.p) : 0, at = slash ? n + 1 : 0;
    memcpy(dir, key.p, n);
    dir[n] = 0;
    memcpy(name, key.p + at, key.n - at);
    name[key.n - at] = 0;
}

int dir_open_parent(struct dir *d, struct str key, char name[256])
{
    char path[PATH_MAX];
    split(key, path, name);
    return dir_open_beneath(d, path, O_PATH | O_DIRECTORY);
}

/* --- errors */

static int gone(struct dir *d, const char *why)
{
    return err_set(ERR_UNREACHABLE, "the under file system's root %s %s: is it mounted?", d->path, why);
}

int dir_root_check(struct dir *d)
{
    struct stat s;
    if (stat(d->path, &s) < 0)
        return gone(d, strerror(errno));
    if (s.st_dev != d->dev || s.st_ino != d->ino)
        return gone(d, "is another directory than before");
    if (d->marker && fstatat(d->root, d->marker, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return gone(d, "lacks its marker (forebay.ufs.dir.marker)");
    return 0;
}

int dir_absent(struct dir *d)
{
    TRY(dir_root_check(d));
    return err_set(ERR_NOT_FOUND, "the object does not exist");
}

int dir_error(struct dir *d, int eno, const char *what, struct str key)
{
    int code;
    switch (eno) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return dir_absent(d);
    case EACCES:
    case EPERM:
    case EROFS:
        code = ERR_DENIED;
        break;
    case ENOSPC:
    case EDQUOT:
        code = ERR_NO_SPACE;
        break;
    case ENOTCONN:
    case ESTALE:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENODEV:
    case ENXIO:
    case ESHUTDOWN:
        code = ERR_UNREACHABLE;
        break;
    case EXDEV:
        code = ERR_KEY_UNSUPPORTED; /* another file system is mounted below the root */
        break;
    default:
        code = ERR_IO;
    }
    return err_set(code, "%s %.*s in %s: %s", what, STR_ARG(key), d->path, strerror(eno));
}

int dir_error_change(struct dir *d, int eno, const char *what, struct str key)
{
    int code = dir_error(d, eno, what, key);
    if (d->network && (code == ERR_IO || (code == ERR_UNREACHABLE && eno != ENOTCONN)))
        return err_set(ERR_UNKNOWN_OUTCOME, "%s %.*s in %s: %s", what, STR_ARG(key), d->path, strerror(eno));
    return code;
}

/* --- stat */

void dir_version(const struct stat *s, char ret[96])
{
    if (S_ISDIR(s->st_mode))
        snprintf(ret, 96, "d-%" PRIx64, (uint64_t)s->st_ino);
    else
        snprintf(ret, 96, "%" PRIx64 "-%" PRIx64 "-%" PRIx64 ".%09ld", (uint64_t)s->st_ino, (uint64_t)s->st_size,
                 (uint64_t)s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
}

void dir_fill(struct dir *d, int path_fd, const struct stat *s, struct ufs_stat *ret)
{
    *ret = (struct ufs_stat){
        .size = S_ISDIR(s->st_mode) ? 0 : (uint64_t)s->st_size,
        .mtime_ms = (uint64_t)s->st_mtim.tv_sec * 1000 + (uint64_t)s->st_mtim.tv_nsec / 1000000,
        .is_dir = S_ISDIR(s->st_mode),
    };
    dir_version(s, ret->version);
    if (!ret->is_dir)
        dir_attr_etag(d, path_fd, s, ret->etag);
}

int dir_find(struct dir *d, struct str key, int *ret_fd, struct stat *ret_stat)
{
    bool marker = str_ends(key, STR("/"));
    char path[PATH_MAX];
    TRY(dir_root_check(d));
    memcpy(path, key.p, key.n);
    path[key.n - marker] = 0;
    AUTO_CLOSE int fd = dir_open_beneath(d, path, O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return dir_error(d, errno, "opening", key);
    if (fstat(fd, ret_stat) < 0)
        return dir_error(d, errno, "stat of", key);
    if (marker ? !S_ISDIR(ret_stat->st_mode) : !S_ISREG(ret_stat->st_mode))
        return dir_absent(d);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int dir_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                    void *arg)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int fd = -1;
    struct stat s;
    (void)until;
    TRY(dir_find(d, key, &fd, &s));
    dir_fill(d, fd, &s, ret);
    if (meta)
        dir_attr_each(d, fd, meta, arg);
    return 0;
}

/* --- read */

static int same_version(const struct stat *s, const char *if_match)
{
    char version[96];
    dir_version(s, version);
    if (if_match && strcmp(version, if_match) != 0)
        return err_set(ERR_PRECONDITION, "the object has another version");
    return 0;
}

static int read_range(struct dir *d, struct str key, int fd, uint64_t off, uint64_t n, ufs_sink *sink, void *arg)
{
    AUTO_FREE char *piece = mem_alloc(n < PIECE ? (size_t)n : PIECE);
    while (n) {
        ssize_t got = pread(fd, piece, n < PIECE ? (size_t)n : PIECE, (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dir_error(d, errno, "reading", key);
        if (got == 0)
            return err_set(ERR_IO, "%.*s became shorter while it was read", STR_ARG(key));
        int r = sink(arg, piece, (size_t)got);
        if (r)
            return r;
        off += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return 0;
}

static int dir_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n, const char *if_match,
                    ufs_sink *sink, void *arg)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int path_fd = -1;
    struct stat s;
    (void)until;
    TRY(dir_find(d, key, &path_fd, &s));
    AUTO_CLOSE int fd = dir_reopen(path_fd, O_RDONLY);
    if (fd < 0)
        return dir_error(d, errno, "opening", key);
    if (fstat(fd, &s) < 0)
        return dir_error(d, errno, "stat of", key);
    TRY(same_version(&s, if_match));
    uint64_t size = S_ISDIR(s.st_mode) ? 0 : (uint64_t)s.st_size;
    if (off >= size)
        return 0;
    int r = read_range(d, key, fd, off, n < size - off ? n : size - off, sink, arg);
    if (r == 0 && if_match && fstat(fd, &s) == 0)
        r = same_version(&s, if_match); /* changed in place meanwhile */
    return r;
}

/* --- delete */

void dir_prune(struct dir *d, struct str key)
{
    char path[PATH_MAX], name[256];
    for (;;) {
        split(key, path, name);
        key = str_mk(key.p, strlen(path));
        if (!key.n)
            return;
        AUTO_CLOSE int fd = dir_open_beneath(d, path, O_PATH | O_DIRECTORY);
        if (fd < 0 || !dir_attr_implied(d, fd))
            return;
        AUTO_CLOSE int parent = dir_open_parent(d, key, name);
        if (parent < 0 || unlinkat(parent, name, AT_REMOVEDIR) < 0)
            return;
    }
}

/* A directory that still holds something stops being explicit; an empty one goes. */
static int remove_marker(struct dir *d, struct str key, int parent, const char *name, int fd)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return dir_error_change(d, errno, "removing", key);
    dir_attr_set_implied(d, fd, true);
    unlinkat(parent, name, AT_REMOVEDIR); /* the last entry may have gone before it was implied */
    return 0;
}

static int dir_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int fd = -1;
    struct stat s;
    char name[256];
    (void)until;
    TRY(dir_find(d, key, &fd, &s));
    TRY(same_version(&s, if_match));
    AUTO_CLOSE int parent = dir_open_parent(d, key, name);
    if (parent < 0)
        return dir_error(d, errno, "opening the directory of", key);
    if (S_ISDIR(s.st_mode))
        TRY(remove_marker(d, key, parent, name, fd));
    else if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        return dir_error_change(d, errno, "deleting", key);
    dir_prune(d, key);
    return 0;
}

/* --- metadata, sync, capabilities */

static int dir_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                        struct ufs_stat *ret)
{
    struct dir *d = (struct dir *)l;
    AUTO_CLOSE int fd = -1;
    struct stat s;
    (void)until;
    TRY(dir_find(d, key, &fd, &s));
    if (!d->xattr)
        return err_set(ERR_NOT_IMPLEMENTED, "%s has no extended attributes: it keeps no metadata", d->path);
    TRY(dir_attr_set_meta(d, fd, meta));
    dir_fill(d, fd, &s, ret);
    return 0;
}

/* The lock is held, and given up during the call. */
static int sync_group(struct dir *d)
{
    uint64_t last = d->sync_asked;
    d->syncing = true;
    lock_drop(&d->lock);
    int eno = syncfs(d->root) < 0 ? errno : 0;
    lock_take(&d->lock);
    d->syncing = false;
    d->sync_over = last;
    if (eno)
        d->sync_failed = last;
    pthread_cond_broadcast(&d->sync_ended);
    return eno;
}

/* An error of syncfs is told to one caller only, so it counts for the whole group. */
static int dir_sync(struct ufs_layer *l)
{
    struct dir *d = (struct dir *)l;
    int eno = 0;
    TRY(dir_root_check(d));
    {
        LOCKED(&d->lock);
        uint64_t mine = ++d->sync_asked;
        while (d->sync_over < mine)
            if (d->syncing)
                cond_wait(&d->sync_ended, &d->lock);
            else
                eno = sync_group(d);
        if (!eno && mine <= d->sync_failed)
            eno = EIO;
    }
    return eno ? dir_error(d, eno, "syncing", STR(".")) : 0;
}

static unsigned dir_caps(struct ufs_layer *l)
{
    struct dir *d = (struct dir *)l;
    return UFS_CAP_IF_MATCH | UFS_CAP_IF_NONE_MATCH | UFS_CAP_COPY | UFS_CAP_RENAME | UFS_CAP_DELETE_IF_MATCH |
           (d->network ? 0 : UFS_CAP_CERTAIN) | (d->xattr ? UFS_CAP_META | UFS_CAP_TAGS : 0);
}

static int dir_key_check(struct ufs_layer *l, struct str key)
{
    (void)l;
    return ufs_key_posix(key);
}

/* --- open */

static void dir_close(struct ufs_layer *l)
{
    struct dir *d = (struct dir *)l;
    dir_windows_free(d);
    pthread_cond_destroy(&d->sync_ended);
    lock_done(&d->lock);
    if (d->root >= 0)
        close(d->root);
    free(d->marker);
    free(d->path);
    free(d);
}

static const struct ufs_ops dir_ops = {
    .name = "dir",
    .close = dir_close,
    .caps = dir_caps,
    .key_check = dir_key_check,
    .stat = dir_stat,
    .list = dir_list,
    .read = dir_read,
    .begin = dir_begin,
    .write = dir_write,
    .commit = dir_commit,
    .abort = dir_abort,
    .copy = dir_copy,
    .del = dir_del,
    .rename = dir_rename,
    .set_meta = dir_set_meta,
    .sync = dir_sync,
};

static bool below(const char *path, const char *root)
{
    size_t n = strlen(root);
    while (n && root[n - 1] == '/')
        n--;
    return !strncmp(path, root, n) && (path[n] == 0 || path[n] == '/');
}

static int allowed(const char *path, const char *roots)
{
    if (!roots || !*roots)
        return 0;
    AUTO_FREE char *list = str_dup(str_of(roots));
    for (char *save, *r = strtok_r(list, ":", &save); r; r = strtok_r(NULL, ":", &save)) {
        AUTO_FREE char *real = realpath(r, NULL);
        if (real && below(path, real))
            return 0;
    }
    return err_set(ERR_DENIED, "%s is not below an allowed root (%s)", path, roots);
}

/* File systems whose answers come over a wire (statfs magic numbers). */
static bool is_network(int fd)
{
    static const uint32_t magic[] = {
        0x6969 /* NFS */,      0x517b /* SMB */,        0xff534d42 /* CIFS */, 0xfe534d42 /* SMB2 */,
        0x65735546 /* FUSE */, 0x01021997 /* 9P */,     0x00c36400 /* Ceph */, 0x0bd00bd0 /* Lustre */,
        0x47504653 /* GPFS */, 0x19830326 /* BeeGFS */,
    };
    struct statfs s;
    if (fstatfs(fd, &s) < 0)
        return true;
    for (size_t i = 0; i < sizeof magic / sizeof *magic; i++)
        if ((uint32_t)s.f_type == magic[i])
            return true;
    return false;
}

static int open_root(struct dir *d)
{
    struct stat s;
    d->root = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->root < 0 || fstat(d->root, &s) < 0)
        return err_set(errno == EACCES ? ERR_DENIED : ERR_UNREACHABLE, "the under file system's root %s: %s", d->path,
                       strerror(errno));
    d->dev = s.st_dev;
    d->ino = s.st_ino;
    AUTO_CLOSE int fd = dir_open_beneath(d, ".", O_PATH | O_DIRECTORY);
    if (fd < 0 && errno == ENOSYS)
        return err_set(ERR_NOT_IMPLEMENTED, "a directory as under file system needs openat2 (Linux 5.6 or newer)");
    return dir_root_check(d);
}

static void remove_strays(struct dir *d, int tmp)
{
    uint64_t now = clock_wall_ms();
    DIR *dir = fdopendir(dup(tmp));
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct stat s;
        if (e->d_name[0] == '.' || fstatat(tmp, e->d_name, &s, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(s.st_mode))
            continue;
        if ((uint64_t)s.st_ctim.tv_sec * 1000 + d->deadline_ms < now)
            unlinkat(tmp, e->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

/* What the file system can: tried on our own directory, or looked at when nothing can be written. */
static void find_abilities(struct dir *d)
{
    int tmp = -1;
    bool writable = dir_tmp_open(d, &tmp) == 0;
    d->network = is_network(d->root);
    d->xattr = dir_attr_probe(writable ? tmp : d->root);
    if (!writable)
        return;
    d->nameless = FAULT(UFS_DIR_NAMELESS) == 0 && dir_nameless_probe(tmp);
    remove_strays(d, tmp);
    close(tmp);
}

static int open_dir(struct dir *d, const char *path, const struct ufs_options *o)
{
    d->path = realpath(path, NULL);
    if (!d->path)
        return err_set(errno == EACCES ? ERR_DENIED : ERR_UNREACHABLE, "the under file system's root %s: %s", path,
                       strerror(errno));
    TRY(allowed(d->path, o->allowed_roots));
    if (ufs_option(o, "forebay.ufs.dir.marker"))
        d->marker = str_dup(str_of(ufs_option(o, "forebay.ufs.dir.marker")));
    TRY(open_root(d));
    find_abilities(d);
    return 0;
}

int ufs_dir_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret)
{
    const char *path = str_starts(str_of(uri), STR("file://")) ? uri + 7 : uri;
    if (*path != '/')
        return err_set(ERR_INVALID, "%s: file:// is followed by an absolute path", uri);
    struct dir *d = MEM_NEW(struct dir);
    d->root = -1;
    d->deadline_ms = o->deadline_ms;
    lock_init(&d->lock, RANK_UFS);
    cond_init(&d->sync_ended);
    ufs_layer_init(&d->l, &dir_ops, NULL, c);
    int r = open_dir(d, path, o);
    if (r < 0) {
        dir_close(&d->l);
        return r;
    }
    *ret = &d->l;
    return 0;
}
