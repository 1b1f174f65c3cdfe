/* SPDX-License-Identifier: Apache-2.0
 *
 * What the directory driver keeps in extended attributes: headers, user metadata and tags, the ETag, the mark of an
 * implied directory. Where the file system has none (dir->xattr false) all of this is quietly absent and the capability
 * is off.
 *
 * Descriptors may be O_PATH: attributes are reached through /proc/self/fd, which leads to the inode itself. An ETag is
 * written with the size and mtime it belongs to, so that a file changed by somebody else never shows a stale one.
 */
#include "base/err.h"
#include "base/mem.h"
#include "ufs/dir.h"
#include <inttypes.h>
#include <sys/xattr.h>

#define VALUE_MAX 65536

struct proc_path {
    char p[40];
};

static struct proc_path proc(int fd)
{
    struct proc_path p;
    snprintf(p.p, sizeof p.p, "/proc/self/fd/%d", fd);
    return p;
}

bool dir_attr_probe(int fd)
{
    struct proc_path p = proc(fd);
    if (setxattr(p.p, "user.forebay.probe", "1", 1, 0) == 0) {
        removexattr(p.p, "user.forebay.probe");
        return true;
    }
    char v[8]; /* not writable: does the file system know user attributes at all? */
    return errno != ENOTSUP && (getxattr(p.p, "user.forebay.probe", v, sizeof v) >= 0 || errno == ENODATA);
}

static int attr_error(const char *name)
{
    if (errno == ENOSPC || errno == E2BIG || errno == ERANGE || errno == ENAMETOOLONG)
        return err_set(ERR_METADATA_LARGE, "the file system has no room for the metadata \"%s\" in extended attributes",
                       name);
    return err_set(err_from_errno(errno), "setting the extended attribute %s: %s", name, strerror(errno));
}

/* --- metadata pairs */

static int each_name(int fd, int (*fn)(void *arg, const char *name), void *arg)
{
    struct proc_path p = proc(fd);
    AUTO_FREE char *names = mem_alloc(VALUE_MAX);
    ssize_t n = listxattr(p.p, names, VALUE_MAX);
    for (char *s = names; n > 0 && s < names + n; s += strlen(s) + 1)
        if (!strncmp(s, DIR_XATTR_META, strlen(DIR_XATTR_META)))
            TRY(fn(arg, s));
    return 0;
}

static int remove_one(void *arg, const char *name)
{
    struct proc_path p = proc(*(int *)arg);
    return removexattr(p.p, name) == 0 || errno == ENODATA ? 0 : attr_error(name);
}

/* A real descriptor needs no walk through /proc. */
static int set_attr(int fd, const char *name, const void *value, size_t n)
{
    if (fsetxattr(fd, name, value, n, 0) == 0)
        return 0;
    struct proc_path p = proc(fd);
    return errno == EBADF && setxattr(p.p, name, value, n, 0) == 0 ? 0 : attr_error(name);
}

static int set_pair(int fd, struct str header, struct str value)
{
    struct buf name AUTO_BUF = {0};
    buf_putz(&name, DIR_XATTR_META);
    buf_str_add(&name, header);
    return set_attr(fd, name.p, value.n ? value.p : "", value.n);
}

int dir_attr_add_meta(struct dir *d, int fd, const struct ufs_meta *meta)
{
    for (size_t i = 0; i < meta->n && d->xattr; i++)
        TRY(set_pair(fd, meta->pair[i].name, meta->pair[i].value));
    return 0;
}

int dir_attr_set_meta(struct dir *d, int fd, const struct ufs_meta *meta)
{
    if (!d->xattr)
        return 0;
    TRY(each_name(fd, remove_one, &fd));
    return dir_attr_add_meta(d, fd, meta);
}

struct each {
    int fd;
    char *value;
    ufs_meta_fn *fn;
    void *arg;
};

static int get_one(void *arg, const char *name)
{
    struct each *e = arg;
    struct proc_path p = proc(e->fd);
    ssize_t n = getxattr(p.p, name, e->value, VALUE_MAX);
    if (n >= 0)
        e->fn(e->arg, str_of(name + strlen(DIR_XATTR_META)), str_mk(e->value, (size_t)n));
    return 0;
}

void dir_attr_each(struct dir *d, int fd, ufs_meta_fn *fn, void *arg)
{
    if (!d->xattr)
        return;
    AUTO_FREE char *value = mem_alloc(VALUE_MAX);
    struct each e = {fd, value, fn, arg};
    each_name(fd, get_one, &e);
}

static int copy_one(void *arg, const char *name)
{
    struct each *e = arg;
    struct proc_path from = proc(e->fd), to = proc(*(int *)e->arg);
    ssize_t n = getxattr(from.p, name, e->value, VALUE_MAX);
    if (n < 0)
        return err_set(err_from_errno(errno), "reading the extended attribute %s: %s", name, strerror(errno));
    return setxattr(to.p, name, e->value, (size_t)n, 0) == 0 ? 0 : attr_error(name);
}

int dir_attr_copy(struct dir *d, int from, int to)
{
    if (!d->xattr)
        return 0;
    AUTO_FREE char *value = mem_alloc(VALUE_MAX);
    struct each e = {.fd = from, .value = value, .arg = &to};
    return each_name(from, copy_one, &e);
}

/* --- ETag */

static uint64_t mtime_ns(const struct stat *s)
{
    return (uint64_t)s->st_mtim.tv_sec * 1000000000u + (uint64_t)s->st_mtim.tv_nsec;
}

int dir_attr_set_etag(struct dir *d, int fd, const char *etag)
{
    struct stat s;
    char v[160];
    if (!d->xattr)
        return 0;
    if (!etag || !*etag) {
        struct proc_path p = proc(fd);
        removexattr(p.p, DIR_XATTR_ETAG);
        return 0;
    }
    if (fstat(fd, &s) < 0)
        return err_set(err_from_errno(errno), "fstat: %s", strerror(errno));
    int n = snprintf(v, sizeof v, "%s %" PRIu64 " %" PRIu64, etag, (uint64_t)s.st_size, mtime_ns(&s));
    return set_attr(fd, DIR_XATTR_ETAG, v, (size_t)n);
}

void dir_attr_etag(struct dir *d, int fd, const struct stat *s, char ret[72])
{
    struct proc_path p = proc(fd);
    char v[160], etag[72];
    uint64_t size, mtime;
    ret[0] = 0;
    ssize_t n = d->xattr ? getxattr(p.p, DIR_XATTR_ETAG, v, sizeof v - 1) : -1;
    if (n < 0)
        return;
    v[n] = 0;
    if (sscanf(v, "%71s %" SCNu64 " %" SCNu64, etag, &size, &mtime) == 3 && size == (uint64_t)s->st_size &&
        mtime == mtime_ns(s))
        strcpy(ret, etag);
}

/* --- implied directories */

void dir_attr_set_implied(struct dir *d, int fd, bool implied)
{
    struct proc_path p = proc(fd);
    if (!d->xattr)
        return;
    if (implied)
        setxattr(p.p, DIR_XATTR_IMPLIED, "1", 1, 0);
    else
        removexattr(p.p, DIR_XATTR_IMPLIED);
}

bool dir_attr_implied(struct dir *d, int fd)
{
    struct proc_path p = proc(fd);
    char v[4];
    return d->xattr && getxattr(p.p, DIR_XATTR_IMPLIED, v, sizeof v) == 1 && v[0] == '1';
}
