/* SPDX-License-Identifier: Apache-2.0
 *
 * The lock of a data directory: flock on a file that holds the owner's process id. The kernel lets go of it when the
 * process dies, however that happens; the text alone says nothing.
 */
#include "bin/lock.h"
#include "base/err.h"
#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int busy(const char *file, int fd)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = 0;
    pid[strcspn(pid, "\n")] = 0;
    return err_set(ERR_BUSY, "%s is held by process %s: stop it first, or use another --data directory", file,
                   pid[0] ? pid : "unknown");
}

static int take(const char *file, int fd)
{
    char pid[32];
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? busy(file, fd)
                                    : err_set(err_from_errno(errno), "cannot lock %s: %s", file, strerror(errno));
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return err_set(err_from_errno(errno), "cannot write %s: %s", file, strerror(errno));
    return 0;
}

int lock_file(const char *file, int *ret_fd)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(err_from_errno(errno), "cannot open %s: %s", file, strerror(errno));
    int r = take(file, fd);
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}
