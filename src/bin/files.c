/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and disks (contract in files.h).
 */
#include "bin/files.h"
#include "base/err.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static int make_one(const char *dir, mode_t mode)
{
    if (mkdir(dir, mode) == 0 || errno == EEXIST)
        return 0;
    return err_set(err_from_errno(errno), "cannot make the directory %s: %s", dir, strerror(errno));
}

int files_make_dir(const char *dir)
{
    char *path AUTO_FREE = str_dup(str_of(dir));
    struct stat st;
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        TRY(make_one(path, 0755));
        *p = '/';
    }
    TRY(make_one(path, 0700)); /* secrets of mounts are below it */
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(ERR_NOT_DIR, "%s is not a directory", dir);
    return 0;
}

int files_read(const char *file, size_t max, struct buf *b)
{
    FILE *f AUTO_FCLOSE = fopen(file, "rbe");
    char piece[8192];
    size_t n;
    if (!f)
        return err_set(err_from_errno(errno), "cannot read %s: %s", file, strerror(errno));
    while ((n = fread(piece, 1, sizeof piece, f)) > 0) {
        if (b->n + n > max)
            return err_set(ERR_TOO_LARGE, "%s is larger than %zu bytes", file, max);
        buf_add(b, piece, n);
    }
    return ferror(f) ? err_set(ERR_IO, "cannot read %s", file) : 0;
}

static int sync_parent(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *dir AUTO_FREE = slash ? str_dup(str_mk(file, (size_t)(slash - file) + 1)) : str_dup(STR("."));
    int fd AUTO_CLOSE = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : err_set(ERR_IO, "cannot sync %s: %s", dir, strerror(errno));
}

static int write_new(const char *file, struct str text)
{
    int fd AUTO_CLOSE = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n || fsync(fd) != 0)
        return err_set(err_from_errno(errno), "cannot write %s: %s", file, strerror(errno));
    return 0;
}

int files_write(const char *file, struct str text)
{
    struct buf fresh AUTO_BUF = {0};
    buf_printf(&fresh, "%s.new", file);
    TRY(write_new(fresh.p, text));
    if (rename(fresh.p, file) != 0)
        return err_set(err_from_errno(errno), "cannot write %s: %s", file, strerror(errno));
    return sync_parent(file);
}

static int disk(const char *dir, struct statvfs *v)
{
    if (statvfs(dir, v) == 0)
        return 0;
    return err_set(err_from_errno(errno), "cannot ask for the space of %s: %s", dir, strerror(errno));
}

int files_disk_room(const char *dir, uint64_t *ret)
{
    struct statvfs v;
    TRY(disk(dir, &v));
    *ret = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

int files_disk_size(const char *dir, uint64_t *ret)
{
    struct statvfs v;
    TRY(disk(dir, &v));
    *ret = (uint64_t)v.f_blocks * v.f_frsize;
    return 0;
}

static uint64_t entries_bytes(int dir_fd, int depth)
{
    DIR *d = fdopendir(dir_fd);
    uint64_t sum = 0;
    struct dirent *e;
    struct stat st;
    if (!d) {
        close(dir_fd);
        return 0;
    }
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_blocks * 512;
        else if (S_ISDIR(st.st_mode) && depth > 0) {
            int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            sum += fd >= 0 ? entries_bytes(fd, depth - 1) : 0;
        }
    }
    closedir(d);
    return sum;
}

uint64_t files_tree_bytes(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? entries_bytes(fd, 1) : 0;
}
