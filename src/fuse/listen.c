/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's end of link.h: mounts that other processes of this host keep are served here. One thread waits for
 * keepers; each keeper has a host. Only the owner of the data directory, and root, may have a device served: whoever
 * holds a device could ask for anything in anybody's name.
 */
#include "base/mem.h"
#include "fuse/host.h"
#include "fuse/link.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

enum { KEEPERS = 64, FIRST = 2 /* places in the poll set before the keepers' */ };

struct keeper {
    int conn;
    struct lock_book *book; /* came before the device; NULL: none yet, or the host's */
    struct fuse_host *host; /* NULL: has not sent its device yet */
};

struct fuse_listener {
    struct fs *fs;
    struct fuse_locks *locks;
    const struct conf *conf;
    int fd, stop;
    pthread_t thread;
    struct sockaddr_un name;
    struct keeper keeper[KEEPERS]; /* the thread's */
    size_t n;
};

static bool allowed(int conn)
{
    struct ucred who;
    socklen_t n = sizeof who;
    return getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void greet(struct fuse_listener *l)
{
    int conn = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (conn < 0)
        return;
    if (l->n == KEEPERS || !allowed(conn)) {
        log_warn("fuse.keeper", "meaning=\"a mount was refused: too many, or of another user\" action=\"mount as the "
                                "user Forebay runs as\"");
        close(conn);
        return;
    }
    l->keeper[l->n++] = (struct keeper){.conn = conn};
}

static void refuse(const struct keeper *k, int code)
{
    struct link_msg m = {.magic = LINK_MAGIC, .kind = LINK_REFUSED, .code = code};
    snprintf(m.text, sizeof m.text, "%s", err_detail(code));
    link_send(k->conn, &m, -1);
}

static int tell_serving(void *arg, const struct fuse_host *h)
{
    const struct keeper *k = arg;
    struct link_msg m = {.magic = LINK_MAGIC, .kind = LINK_NEWS};
    host_news(h, LINK_SERVING, &m.news);
    return link_send(k->conn, &m, -1);
}

static bool is_fuse_device(int fd)
{
    enum { MISC = 10, FUSE = 229 };
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(MISC, FUSE);
}

static int take(struct fuse_listener *l, struct keeper *k, const struct link_msg *m, int device)
{
    const struct locks_mount held = {.kept = true, .taken = m->news.state != LINK_NEW, .book = k->book};
    const struct fuse_host_options o = {.fs = l->fs,
                                        .locks = l->locks,
                                        .held = k->book ? &held : NULL,
                                        .conf = l->conf,
                                        .mountpoint = m->mountpoint,
                                        .path = m->path,
                                        .device = device,
                                        .before = &m->news,
                                        .serving = tell_serving,
                                        .serving_arg = k};
    if (!is_fuse_device(device)) {
        if (device >= 0)
            close(device);
        return err_set(ERR_INVALID, "no FUSE device came with the request");
    }
    k->book = NULL;
    TRY(fuse_host_open(&o, &k->host));
    log_info("fuse.serve", "mountpoint=\"%s\" path=\"%s\" after=%s", m->mountpoint, m->path,
             m->news.state == LINK_NEW    ? "mount"
             : m->news.state == LINK_LEFT ? "handover"
                                          : "crash");
    return 0;
}

static int take_book(struct keeper *k, int fd)
{
    if (k->book || k->host || fd < 0) {
        if (fd >= 0)
            close(fd);
        return err_set(ERR_INVALID, "no memory for locks came with the request");
    }
    return lock_book_open(fd, &k->book);
}

/* One message of a keeper; false: it is gone, or must go. */
static bool hear(struct fuse_listener *l, struct keeper *k)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    int device;
    if (link_receive(k->conn, m, &device) < 0)
        return false;
    int r = m->kind == LINK_BOOK               ? take_book(k, device)
            : m->kind == LINK_TAKE && !k->host ? take(l, k, m, device)
                                               : ERR_INVALID;
    if (r < 0)
        refuse(k, r);
    return r == 0;
}

static void drop(struct fuse_listener *l, size_t i)
{
    fuse_host_close(l->keeper[i].host);
    lock_book_close(l->keeper[i].book);
    close(l->keeper[i].conn);
    l->keeper[i] = l->keeper[--l->n];
}

static void *run(void *arg)
{
    struct fuse_listener *l = arg;
    struct pollfd p[FIRST + KEEPERS] = {{.fd = l->stop, .events = POLLIN}, {.fd = l->fd, .events = POLLIN}};
    for (;;) {
        size_t n = l->n;
        for (size_t i = 0; i < n; i++)
            p[FIRST + i] = (struct pollfd){.fd = l->keeper[i].conn, .events = POLLIN};
        if (poll(p, FIRST + n, -1) < 0)
            continue;
        if (p[0].revents)
            return NULL;
        for (size_t i = n; i-- > 0;)
            if (p[FIRST + i].revents && !hear(l, &l->keeper[i]))
                drop(l, i);
        if (p[1].revents)
            greet(l);
    }
}

static int listen_at(struct fuse_listener *l)
{
    l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    unlink(l->name.sun_path); /* of an earlier process; the data directory's lock says that it is gone */
    mode_t old = umask(0077);
    bool ok =
        l->fd >= 0 && bind(l->fd, (struct sockaddr *)&l->name, sizeof l->name) == 0 && listen(l->fd, KEEPERS) == 0;
    umask(old);
    return ok ? 0 : err_set(err_from_errno(errno), "the socket %s for mounts: %m", l->name.sun_path);
}

int fuse_listen(struct fs *fs, const struct conf *conf, struct fuse_locks *locks, const char *data_dir,
                struct fuse_listener **ret)
{
    struct fuse_listener *l = MEM_NEW(struct fuse_listener);
    *l = (struct fuse_listener){.fs = fs, .locks = locks, .conf = conf, .fd = -1, .stop = eventfd(0, EFD_CLOEXEC)};
    int r = link_address(data_dir, &l->name);
    if (r == 0)
        r = listen_at(l);
    if (r == 0)
        r = thread_start(&l->thread, "fuse-listen", run, l);
    if (r < 0) {
        if (l->fd >= 0)
            close(l->fd);
        close(l->stop);
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

/* What is open is published before the keeper hears that it may be handed on. */
static void leave(struct keeper *k)
{
    struct link_msg m = {.magic = LINK_MAGIC, .kind = LINK_NEWS};
    if (k->host) {
        host_news(k->host, LINK_LEFT, &m.news);
        atomic_store(&k->host->comes_back, true);
        if (fuse_host_end(k->host) == 0) /* else the next one is to tell the writers */
            link_send(k->conn, &m, -1);
    }
    lock_book_close(k->book);
    close(k->conn);
}

struct fuse_listener *fuse_listen_end(struct fuse_listener *l)
{
    uint64_t one = 1;
    if (!l)
        return NULL;
    (void)!write(l->stop, &one, sizeof one);
    pthread_join(l->thread, NULL);
    close(l->fd);
    unlink(l->name.sun_path);
    for (size_t i = 0; i < l->n; i++)
        leave(&l->keeper[i]);
    close(l->stop);
    free(l);
    return NULL;
}
