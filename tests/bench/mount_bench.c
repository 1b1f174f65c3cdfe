/* SPDX-License-Identifier: Apache-2.0
 *
 * File-system operations of one program, timed without an interpreter's cost, in any directory. Not a test.
 *     mount_bench write FILE MIB SYNC          1 MiB at a time, then (SYNC) fsync, then close
 *     mount_bench read FILE                    1 MiB at a time to the end
 *     mount_bench create DIR N BYTES SYNC      N files of BYTES, each (SYNC) synced and closed
 *     mount_bench list DIR                     every name and its attributes
 *     mount_bench unlink DIR                   every file in it
 *     mount_bench randread FILE JOBS SECONDS   4 KiB, each block at most once, so that no cache answers
 *     mount_bench randwrite FILE SECONDS SYNC  4 KiB anywhere, each (SYNC) with fdatasync; then fsync and close
 *     mount_bench rename FROM TO
 * Prints how many units (files, MiB, operations) in how many seconds, as JSON; exit code 1 on the first error.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, BLOCK = 4096, JOBS = 16 };
static unsigned char bytes[MIB];
static uint64_t seed = 88172645463325252ull;

static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "%s: %m\n", what);
    exit(1);
}

static void report(double units, double seconds)
{
    printf("{\"units\": %.0f, \"seconds\": %.6f}\n", units, seconds);
}

static int open_must(const char *file, int flags)
{
    int fd = open(file, flags, 0644);
    must(fd >= 0, file);
    return fd;
}

static void put(int fd, size_t n)
{
    must(write(fd, bytes, n) == (ssize_t)n, "write");
}

static uint64_t size_of(int fd)
{
    struct stat st;
    must(fstat(fd, &st) == 0, "fstat");
    return (uint64_t)st.st_size;
}

/* ---- one large file ---- */

static void do_write(char **a)
{
    long mib = atol(a[1]);
    double t = now();
    int fd = open_must(a[0], O_CREAT | O_TRUNC | O_WRONLY);
    for (long i = 0; i < mib; i++) {
        memcpy(bytes, &i, sizeof i);
        put(fd, MIB);
    }
    must(!atoi(a[2]) || fsync(fd) == 0, "fsync");
    must(close(fd) == 0, "close");
    report((double)mib, now() - t);
}

static void do_read(char **a)
{
    double t = now(), total = 0;
    int fd = open_must(a[0], O_RDONLY);
    for (ssize_t n; (n = read(fd, bytes, MIB)); total += (double)n)
        must(n > 0, "read");
    close(fd);
    report(total / MIB, now() - t);
}

struct job {
    pthread_t thread;
    int fd;
    uint64_t first, blocks, done; /* its part of the file */
    double until;
};

/* Steps by a large odd number through a power of two of blocks: every one once, in no order that read-ahead knows. */
static void *read_blocks(void *arg)
{
    enum { STRIDE = 1000003 };
    struct job *j = arg;
    char b[BLOCK];
    for (; j->done < j->blocks && now() < j->until; j->done++) {
        uint64_t block = j->first + j->done * STRIDE % j->blocks;
        must(pread(j->fd, b, BLOCK, (off_t)(block * BLOCK)) == BLOCK, "pread");
    }
    return NULL;
}

static void do_randread(char **a)
{
    struct job job[JOBS] = {0};
    unsigned n = (unsigned)atoi(a[1]);
    double done = 0;
    must(n >= 1 && n <= JOBS, "JOBS");
    double t = now();
    for (unsigned i = 0; i < n; i++) {
        struct job *j = &job[i];
        j->fd = open_must(a[0], O_RDONLY);
        must(posix_fadvise(j->fd, 0, 0, POSIX_FADV_RANDOM) == 0, "fadvise");
        j->blocks = size_of(j->fd) / BLOCK / n;
        j->first = i * j->blocks;
        j->until = t + atof(a[2]);
        must(pthread_create(&j->thread, NULL, read_blocks, j) == 0, "thread");
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(job[i].thread, NULL);
        done += (double)job[i].done;
    }
    report(done, now() - t);
}

static void do_randwrite(char **a)
{
    int fd = open_must(a[0], O_RDWR), sync = atoi(a[2]);
    uint64_t blocks = size_of(fd) / BLOCK;
    double t = now(), until = t + atof(a[1]), n = 0;
    for (; now() < until; n++) {
        memcpy(bytes, &n, sizeof n);
        must(pwrite(fd, bytes, BLOCK, (off_t)(any() % blocks * BLOCK)) == BLOCK, "pwrite");
        must(!sync || fdatasync(fd) == 0, "fdatasync");
    }
    must(fsync(fd) == 0, "fsync");
    must(close(fd) == 0, "close");
    report(n, now() - t);
}

/* ---- names ---- */

static void do_create(char **a)
{
    char path[4096];
    long n = atol(a[1]);
    size_t size = (size_t)atol(a[2]);
    must(size <= sizeof bytes, "BYTES");
    double t = now();
    for (long i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/f%06ld", a[0], i);
        int fd = open_must(path, O_CREAT | O_EXCL | O_WRONLY);
        memcpy(bytes, &i, sizeof i);
        if (size)
            put(fd, size);
        must(!atoi(a[3]) || fsync(fd) == 0, "fsync");
        must(close(fd) == 0, "close");
    }
    report((double)n, now() - t);
}

struct names {
    char **name;
    size_t n;
};

static struct names read_names(const char *dir)
{
    struct names l = {0};
    DIR *d = opendir(dir);
    must(d != NULL, dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        if (l.n % 1024 == 0)
            must((l.name = realloc(l.name, (l.n + 1024) * sizeof *l.name)) != NULL, "memory");
        must((l.name[l.n++] = strdup(e->d_name)) != NULL, "memory");
    }
    closedir(d);
    return l;
}

static void names_free(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->name[i]);
    free(l->name);
}

static void do_list(char **a)
{
    struct stat st;
    double t = now();
    struct names l = read_names(a[0]);
    must(chdir(a[0]) == 0, a[0]);
    for (size_t i = 0; i < l.n; i++)
        must(lstat(l.name[i], &st) == 0, l.name[i]);
    report((double)l.n, now() - t);
    names_free(&l);
}

static void do_unlink(char **a)
{
    struct names l = read_names(a[0]);
    must(chdir(a[0]) == 0, a[0]);
    double t = now();
    for (size_t i = 0; i < l.n; i++)
        must(unlink(l.name[i]) == 0, l.name[i]);
    report((double)l.n, now() - t);
    names_free(&l);
}

static void do_rename(char **a)
{
    double t = now();
    must(rename(a[0], a[1]) == 0, "rename");
    report(1, now() - t);
}

static const struct {
    const char *name;
    int args;
    void (*run)(char **a);
} ops[] = {{"write", 3, do_write},         {"read", 1, do_read},     {"create", 4, do_create},
           {"list", 1, do_list},           {"unlink", 1, do_unlink}, {"randread", 3, do_randread},
           {"randwrite", 3, do_randwrite}, {"rename", 2, do_rename}};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof bytes; i += 8) { /* nothing that compresses */
        uint64_t r = any();
        memcpy(bytes + i, &r, 8);
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (argc == ops[i].args + 2 && !strcmp(argv[1], ops[i].name)) {
            ops[i].run(argv + 2);
            return 0;
        }
    fprintf(stderr, "usage: see the head of mount_bench.c\n");
    return 2;
}
