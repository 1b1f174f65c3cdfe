/* SPDX-License-Identifier: Apache-2.0
 *
 * The mount: the namespace, or a part of it, as a directory of this host, served over the kernel's FUSE protocol.
 *
 * It speaks the protocol of <linux/fuse.h> itself (libfuse only mounts and unmounts): Debian's libfuse 3.14 has no
 * names for FUSE_HANDLE_KILLPRIV_V2, without which each write costs a request more, nor for FUSE_TMPFILE.
 *
 * The kernel keeps names, attributes and pages. What other clients change is taken out of its caches before they get
 * their answer (fs/posix.h, changed), so the time it may keep them (forebay.fuse.cache.timeout) bounds nothing but the
 * age of what was changed in the UFS behind our back.
 *
 * Two ways to mount. fuse_host_open mounts by itself: the mount ends with the process. fuse_keep (`forebay fuse`)
 * mounts in a small process of its own and has the device served by the instance of a data directory (fuse_listen):
 * when that instance ends or is replaced, programs wait and then go on, open files included. After a crash of it,
 * descriptors that were open for writing get EIO from then on, since what was written and not published is lost; the
 * others go on.
 *
 * Threads: one reads the device while others work; more are started while all are busy, up to forebay.fuse.threads.max.
 * What survives a crash of this process: what was closed or synced (fs/posix.h); programs that use the mount get
 * ENOTCONN, and the next start clears the dead mount away. Calls of one struct fuse_host: from one thread.
 */
#pragma once
#include "base/spread.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_host;
struct fuse_locks;
struct link_news;
struct stream;
struct fs;
struct conf;

/* ---- locks of files (fcntl, flock), for all mounts of an instance ---- */

/* data_dir: what a successor must know is written there. */
int fuse_locks_new(const struct conf *conf, const char *data_dir, struct fuse_locks **ret);
/* After every host is closed. NULL is fine; returns NULL. */
struct fuse_locks *fuse_locks_free(struct fuse_locks *k);

struct fuse_lock_figures {
    uint64_t held, waiting;
};
void fuse_locks_figures(struct fuse_locks *k, struct fuse_lock_figures *ret); /* any thread */

/* ---- mounts ---- */

struct fuse_host_options {
    struct fs *fs;
    struct fuse_locks *locks; /* outlives the host */
    const struct conf *conf;
    const char *mountpoint;    /* an existing directory; a dead mount of an earlier process there is cleared away */
    const char *path;          /* namespace path to show: "/", "/bucket", "/bucket/dir" */
    const char *mount_options; /* comma separated, as of mount(8) -o: allow_other, ro, nodev ...; and ours,
                                  locks=shared|local; NULL: none */
    /* of listen.c: serve this device instead of mounting; it is taken over in every case */
    const struct link_news *before; /* NULL: mount */
    int device;                     /* -1: the two streams instead */
    struct stream *calls, *notices; /* of remote_listen.c: a keeper on another host; they stay the caller's */
    const struct locks_mount
        *held; /* of listen.c and remote_listen.c: the mount's locks; NULL: its kernel keeps them */
    /* Before the first request of a device taken over is read, or when a new mount answers: the keeper must know who
     * serves it before programs rely on what this process has not published. An error ends the opening. */
    int (*serving)(void *arg, const struct fuse_host *h);
    void *serving_arg;
};
/* Mounted and answering on return. ERR_NOT_FOUND (mount point or path), ERR_BUSY (something alive is mounted there),
 * ERR_DENIED (may not mount), ERR_NOT_DIR, ERR_INVALID (mount options). */
int fuse_host_open(const struct fuse_host_options *o, struct fuse_host **ret);
/* Unmounts (lazily where programs still use it), ends the requests that run, publishes what is open; h is gone in every
 * case. An error: something that was written could not be published and is lost; whoever takes the mount over must take
 * it for one whose server crashed. NULL is fine. */
int fuse_host_end(struct fuse_host *h);
struct fuse_host *fuse_host_close(struct fuse_host *h); /* the same; returns NULL */
/* True when the kernel said goodbye: somebody unmounted it from outside. */
bool fuse_host_gone(const struct fuse_host *h);

/* Of all mounts of this process since its start. */
struct fuse_op_figures {
    const char *op;         /* "LOOKUP" */
    uint64_t count, errors; /* errors: for a reason that is not the program's, such as EIO, ENOSPC, EAGAIN */
    struct spread_figures time;
};
/* The first operation from the i-th on that happened at least once, and *i behind it; false when there is none. Any
 * thread. */
bool fuse_figures(unsigned *i, struct fuse_op_figures *ret);

/* Unmount what is at dir: umount2(2), or fusermount3 for those who may not. lazy: also where programs use it. ERR_BUSY:
 * they do; ERR_DENIED, ERR_INVALID (nothing is mounted there) ... */
int fuse_host_unmount(const char *dir, bool lazy);

/* ---- mounts that other processes of this host keep ---- */

/* Serve them, by a socket in the data directory. */
struct fuse_listener;
int fuse_listen(struct fs *fs, const struct conf *conf, struct fuse_locks *locks, const char *data_dir,
                struct fuse_listener **ret);
/* Publishes what is open and leaves the mounts to a successor. NULL is fine; returns NULL. */
struct fuse_listener *fuse_listen_end(struct fuse_listener *l);

/* Serve those of other hosts, at forebay.fuse.listen, for who knows forebay.fuse.token. */
struct fuse_remotes;
int fuse_remotes_new(struct fs *fs, const struct conf *conf, struct fuse_locks *locks, struct fuse_remotes **ret);
void fuse_remotes_address(const struct fuse_remotes *r, char *ret, size_t n); /* "HOST:PORT" */
/* As fuse_listen_end. */
struct fuse_remotes *fuse_remotes_end(struct fuse_remotes *r);

struct fuse_keep_options {
    const char *data_dir;       /* of the instance of this host that is to serve the mount */
    const char *server, *token; /* or, server not NULL: HOST:PORT of one elsewhere, and its token or "" */
    const char *mountpoint, *path, *mount_options; /* as above; path not NULL */
    uint64_t grace_ms;        /* how long to wait for another instance when the one that serves ends */
    int stop_fd;              /* readable: unmount and return */
    void (*ready)(void *arg); /* the mount answers */
    void *arg;
};
/* Mounts, and returns when that mount is over: 0 when it was unmounted or told to stop. ERR_UNREACHABLE: nobody serves
 * it (at the start, or any more); else as fuse_host_open. */
int fuse_keep(const struct fuse_keep_options *o);
