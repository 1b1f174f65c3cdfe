/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounting and unmounting, by libfuse: mount(2) for root, fusermount3 for everybody else.
 */
#define FUSE_USE_VERSION 314
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "fuse/fuse.h"
#include "fuse/mounting.h"
#include <fuse_lowlevel.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

struct mounting {
    struct fuse_session *session;
    char *mountpoint;
    bool mounted;
};

/* For those who are not root: the helper may unmount what its caller mounted. */
static bool helper_unmounts(const char *mountpoint, bool lazy)
{
    char *argv[] = {"fusermount3", "-u", "-q", lazy ? "-z" : "--", (char *)mountpoint, NULL};
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        return false;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int fuse_host_unmount(const char *dir, bool lazy)
{
    if (umount2(dir, lazy ? MNT_DETACH : 0) == 0)
        return 0;
    int eno = errno;
    if (eno == EPERM && helper_unmounts(dir, lazy))
        return 0;
    return err_set(err_from_errno(eno), "%s cannot be unmounted: %s", dir, strerror(eno));
}

/* A mount whose process died answers ENOTCONN. It is of no use to anybody: cleared away, as its owner would by hand. */
static int clear_dead(const char *mountpoint)
{
    struct stat st;
    struct statvfs figures; /* asks whoever serves it; stat alone may be answered from the kernel's cache */
    if (statvfs(mountpoint, &figures) == 0 && stat(mountpoint, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : err_set(ERR_NOT_DIR, "%s is not a directory", mountpoint);
    if (errno != ENOTCONN && errno != ECONNABORTED)
        return err_set(err_from_errno(errno), "the mount point %s: %m", mountpoint);
    if (fuse_host_unmount(mountpoint, true) < 0)
        return err_set(ERR_DENIED, "%s is a dead mount that cannot be cleared away: umount -l it", mountpoint);
    log_info("fuse.stale", "mountpoint=\"%s\" meaning=\"the mount of a process that died was cleared away\"",
             mountpoint);
    return stat(mountpoint, &st) == 0 ? 0 : err_set(err_from_errno(errno), "the mount point %s: %m", mountpoint);
}

/* libfuse mounts over whatever is there; two live mounts on one directory are a mistake. */
static int check_free(const char *mountpoint)
{
    char real[PATH_MAX], line[8192], at[4096];
    if (!realpath(mountpoint, real))
        return err_set(err_from_errno(errno), "the mount point %s: %m", mountpoint);
    FILE *f AUTO_FCLOSE = fopen("/proc/self/mountinfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %*s %*s %*s %4095s", at) == 1 && !strcmp(at, real) && strstr(line, " - fuse"))
            return err_set(ERR_BUSY, "%s is mounted already: unmount it first (fusermount3 -u)", mountpoint);
    return 0;
}

static int one_option(struct str o, struct buf *left, bool *local)
{
    if (str_eq(o, STR("locks=local")) || str_eq(o, STR("locks=shared"))) {
        *local = str_eq(o, STR("locks=local"));
        return 0;
    }
    if (str_starts(o, STR("locks=")))
        return err_set(ERR_INVALID, "mount option %.*s: locks are \"shared\" or \"local\"", (int)o.n, o.p);
    if (left->n && o.n)
        buf_add(left, ",", 1);
    buf_add(left, o.p, o.n);
    return 0;
}

int mounting_options(const char *options, char **ret, bool *ret_local_locks)
{
    struct buf left AUTO_BUF = {0};
    bool local = false;
    for (const char *at = options ? options : "", *end; *at; at = *end ? end + 1 : end) {
        end = strchrnul(at, ',');
        TRY(one_option(str_mk(at, (size_t)(end - at)), &left, &local));
    }
    *ret = buf_take(&left, NULL);
    *ret_local_locks = local;
    return 0;
}

int mounting_new(const char *mountpoint, const char *path, const char *options, struct mounting **ret, int *ret_fd)
{
    static const struct fuse_lowlevel_ops none;
    TRY(clear_dead(mountpoint));
    TRY(check_free(mountpoint));
    struct mounting *m = MEM_NEW(struct mounting);
    m->mountpoint = str_dup(str_of(mountpoint));
    char common[512];
    bool plain = strlen(path) < 400 && !strpbrk(path, ",\\\"' \t\n"); /* what an option cannot hold is not shown */
    snprintf(common, sizeof common, "fsname=forebay:%s,subtype=forebay,default_permissions", plain ? path : "");
    char *argv[6] = {"forebay", "-o", common, "-o", NULL, NULL};
    char *more = str_dup(str_of(options ? options : ""));
    argv[4] = more;
    struct fuse_args args = FUSE_ARGS_INIT(more[0] ? 5 : 3, argv);
    m->session = fuse_session_new(&args, &none, sizeof none, NULL);
    fuse_opt_free_args(&args);
    int r = m->session ? 0 : err_set(ERR_INVALID, "mount options \"%s\" are not known", more);
    free(more);
    if (r == 0 && fuse_session_mount(m->session, mountpoint) != 0)
        r = err_set(ERR_DENIED,
                    "%s cannot be mounted: is /dev/fuse there, is fusermount3 (package fuse3) installed, and does "
                    "/etc/fuse.conf have "
                    "user_allow_other where allow_other is asked for by somebody who is not root?",
                    mountpoint);
    if (r < 0) {
        mounting_free(m);
        return r;
    }
    m->mounted = true;
    *ret_fd = fuse_session_fd(m->session);
    *ret = m;
    return 0;
}

bool mounting_undo(struct mounting *m, bool lazy)
{
    if (!m->mounted)
        return true;
    int r = fuse_host_unmount(m->mountpoint, lazy);
    if (r == 0 || r == ERR_INVALID || r == ERR_NOT_FOUND) /* done, or somebody else did it */
        m->mounted = false;
    return !m->mounted;
}

struct mounting *mounting_free(struct mounting *m)
{
    if (!m)
        return NULL;
    if (m->session)
        fuse_session_destroy(m->session); /* closes the device */
    free(m->mountpoint);
    free(m);
    return NULL;
}
