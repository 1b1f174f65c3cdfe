/* SPDX-License-Identifier: Apache-2.0
 *
 * forgetful BACKING MOUNTPOINT -f: a disk that forgets what was not flushed.
 *
 * Shows one file, MOUNTPOINT/disk, of the size of the file BACKING. A write stays in memory, sector by sector; fsync (a
 * loop device turns a flush of its block layer into one) moves everything to BACKING. So BACKING always holds exactly
 * what a disk with a volatile cache guarantees, and killing this process is a power cut.
 *
 * MOUNTPOINT/control takes commands:
 *     "cut SEED PERCENT"   power cut now: of the unflushed sectors a random PERCENT (by SEED) reaches BACKING after
 * all, as a disk may write its cache in any order; everything after that is EIO. "ignore N"           the next N
 * flushes lie: they succeed and keep nothing (N -1: all) and reading it gives "dirty=N flushes=N cut=0|1\n".
 *
 * nbdkit's cache filter under nbdfuse forgets as well, but cannot keep a chosen subset: hence this one.
 * Threads: one (fuse -s). What survives: what was flushed.
 */
#define FUSE_USE_VERSION 35
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

static int backing;
static off_t disk_size;
static size_t sectors;
static unsigned char **dirty; /* by sector: its unflushed bytes, or NULL */
static size_t dirty_count, flushes;
static long lie;
static bool cut;

static int control_stat(char *out, size_t n)
{
    return snprintf(out, n, "dirty=%zu flushes=%zu cut=%d\n", dirty_count, flushes, cut);
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    (void)fi;
    memset(st, 0, sizeof *st);
    st->st_nlink = 1;
    if (!strcmp(path, "/")) {
        st->st_mode = S_IFDIR | 0755;
        return 0;
    }
    st->st_mode = S_IFREG | 0600;
    if (!strcmp(path, "/disk"))
        st->st_size = disk_size;
    else if (!strcmp(path, "/control"))
        st->st_size = 4096;
    else
        return -ENOENT;
    return 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    (void)path, (void)off, (void)fi, (void)flags;
    fill(buf, "disk", NULL, 0, 0);
    fill(buf, "control", NULL, 0, 0);
    return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
    /* Nothing may stay in the kernel's cache of this file: it would outlive the cut. */
    fi->direct_io = !strcmp(path, "/control");
    return 0;
}

static int sector_read(size_t i, unsigned char *p)
{
    if (dirty[i]) {
        memcpy(p, dirty[i], SECTOR);
        return 0;
    }
    return pread(backing, p, SECTOR, (off_t)i * SECTOR) == SECTOR ? 0 : -EIO;
}

static int disk_read(char *buf, size_t n, off_t off)
{
    if (off >= disk_size)
        return 0;
    if ((off_t)n > disk_size - off)
        n = (size_t)(disk_size - off);
    for (size_t done = 0; done < n;) {
        unsigned char s[SECTOR];
        size_t i = (size_t)(off + (off_t)done) / SECTOR, at = (size_t)(off + (off_t)done) % SECTOR;
        size_t k = SECTOR - at < n - done ? SECTOR - at : n - done;
        if (sector_read(i, s))
            return -EIO;
        memcpy(buf + done, s + at, k);
        done += k;
    }
    return (int)n;
}

static int op_read(const char *path, char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    if (!strcmp(path, "/control")) {
        char s[128];
        int k = control_stat(s, sizeof s);
        if (off >= k)
            return 0;
        if ((off_t)n > k - off)
            n = (size_t)(k - off);
        memcpy(buf, s + off, n);
        return (int)n;
    }
    return cut ? -EIO : disk_read(buf, n, off);
}

static int disk_write(const char *buf, size_t n, off_t off)
{
    if (off + (off_t)n > disk_size)
        return -ENOSPC;
    for (size_t done = 0; done < n;) {
        size_t i = (size_t)(off + (off_t)done) / SECTOR, at = (size_t)(off + (off_t)done) % SECTOR;
        size_t k = SECTOR - at < n - done ? SECTOR - at : n - done;
        if (!dirty[i]) {
            unsigned char *s = malloc(SECTOR);
            if (!s || sector_read(i, s)) {
                free(s);
                return -EIO;
            }
            dirty[i] = s;
            dirty_count++;
        }
        memcpy(dirty[i] + at, buf + done, k);
        done += k;
    }
    return (int)n;
}

static int sector_keep(size_t i)
{
    if (!dirty[i])
        return 0;
    int rc = pwrite(backing, dirty[i], SECTOR, (off_t)i * SECTOR) == SECTOR ? 0 : -EIO;
    free(dirty[i]);
    dirty[i] = NULL;
    dirty_count--;
    return rc;
}

static int op_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)datasync, (void)fi;
    if (strcmp(path, "/disk"))
        return 0;
    if (cut)
        return -EIO;
    flushes++;
    if (lie) {
        if (lie > 0)
            lie--;
        return 0;
    }
    int rc = 0;
    for (size_t i = 0; i < sectors && dirty_count; i++)
        if (sector_keep(i))
            rc = -EIO;
    return rc;
}

static uint64_t random_next(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Sectors go in runs of 8 (a 4 KiB block of the file system) most of the time, and alone now and then: torn blocks. */
static void power_cut(uint64_t seed, unsigned percent)
{
    cut = true;
    for (size_t block = 0; block < sectors && dirty_count; block += 8) {
        bool torn = random_next(&seed) % 8 == 0;
        bool keep = random_next(&seed) % 100 < percent;
        for (size_t i = block; i < block + 8 && i < sectors; i++)
            if (torn ? random_next(&seed) % 100 < percent : keep)
                sector_keep(i);
    }
}

static int op_write(const char *path, const char *buf, size_t n, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    if (!strcmp(path, "/disk"))
        return cut ? -EIO : disk_write(buf, n, off);
    char s[128] = "";
    memcpy(s, buf, n < sizeof s - 1 ? n : sizeof s - 1);
    unsigned long long seed;
    unsigned percent;
    if (sscanf(s, "cut %llu %u", &seed, &percent) == 2)
        power_cut(seed, percent);
    else if (sscanf(s, "ignore %ld", &lie) != 1)
        return -EINVAL;
    return (int)n;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    (void)fi, (void)size;
    return strcmp(path, "/control") ? -EPERM : 0;
}

static const struct fuse_operations ops = {
    .getattr = op_getattr,
    .readdir = op_readdir,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .truncate = op_truncate,
};

int main(int argc, char **argv)
{
    struct stat st;
    if (argc < 3 || (backing = open(argv[1], O_RDWR | O_CLOEXEC)) < 0 || fstat(backing, &st)) {
        fprintf(stderr, "usage: forgetful BACKING MOUNTPOINT -f\n");
        return 2;
    }
    disk_size = st.st_size;
    sectors = (size_t)disk_size / SECTOR;
    dirty = calloc(sectors, sizeof *dirty);
    if (!dirty)
        return 2;
    argv[1] = argv[0];
    return fuse_main(argc - 1, argv + 1, &ops, NULL);
}
