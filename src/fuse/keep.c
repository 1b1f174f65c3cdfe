/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper: mounts, has the device served by the instance of a data directory (link.h) or by one on another host
 * (remote.h), and keeps it open while that instance is replaced.
 *
 *     mounting -> asking -> kept -> (connection ended) -> asking -> kept ...
 *     ended: unmounted from outside; told to stop; refused; nobody served it within the grace time
 */
#include "base/mem.h"
#include "fuse/host.h"
#include "fuse/link.h"
#include "fuse/held.h"
#include "fuse/opened.h"
#include "fuse/remote.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { AGAIN_MS = 50, GO_MS = 5000 };

struct keep {
    const struct fuse_keep_options *o;
    struct mounting *mounting;
    int device, conn;      /* conn: here; -1: none */
    struct remote *remote; /* or elsewhere */
    struct link_news news;
    int book; /* memory for locks, of a server here; -1: the kernel keeps them by itself, or a server elsewhere */
    struct held *held;     /* of one elsewhere; NULL: as above */
    struct opened *opened; /* of one elsewhere */
    bool told_ready;
};

static bool wants_stop(const struct keep *k, int ms)
{
    struct pollfd p = {.fd = k->o->stop_fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

static bool unmounted(const struct keep *k)
{
    struct pollfd p = {.fd = k->device};
    return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

static int connect_once(struct keep *k)
{
    struct sockaddr_un a;
    TRY(link_address(k->o->data_dir, &a));
    k->conn = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (k->conn >= 0 && connect(k->conn, (struct sockaddr *)&a, sizeof a) == 0)
        return 0;
    int r = errno == EACCES ? ERR_DENIED : ERR_UNREACHABLE;
    if (k->conn >= 0)
        close(k->conn);
    k->conn = -1;
    return err_set(r,
                   r == ERR_DENIED ? "%s: only the user Forebay runs as, and root, may mount"
                                   : "nothing serves mounts at %s: is forebay running, with this --data?",
                   a.sun_path);
}

static int ask(struct keep *k)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    int none;
    *m = (struct link_msg){.magic = LINK_MAGIC, .kind = LINK_BOOK};
    if (k->book >= 0)
        TRY(link_send(k->conn, m, k->book));
    *m = (struct link_msg){.magic = LINK_MAGIC, .kind = LINK_TAKE, .news = k->news};
    snprintf(m->path, sizeof m->path, "%s", k->o->path);
    snprintf(m->mountpoint, sizeof m->mountpoint, "%s", k->o->mountpoint);
    TRY(link_send(k->conn, m, k->device));
    int r = link_receive(k->conn, m, &none);
    if (r < 0)
        return err_set(ERR_UNREACHABLE, "the process that was to serve the mount went away");
    if (m->kind != LINK_NEWS)
        return err_set(m->code < 0 ? m->code : ERR_INVALID, "%s", m->text);
    k->news = m->news;
    return 0;
}

static void hang_up(struct keep *k)
{
    k->remote = remote_close(k->remote);
    if (k->conn >= 0)
        close(k->conn);
    k->conn = -1;
}

static int try_elsewhere(struct keep *k)
{
    const struct remote_options o = {k->o->server, k->o->token, k->o->path, k->o->mountpoint, k->held, k->opened};
    return remote_open(&o, k->device, &k->news, &k->remote);
}

static int try_once(struct keep *k)
{
    if (k->o->server)
        return try_elsewhere(k);
    TRY(connect_once(k));
    int r = ask(k);
    if (r < 0)
        hang_up(k);
    return r;
}

/* 0: served. The first time nobody waits: a mistake is told at once. */
static int get_served(struct keep *k)
{
    uint64_t until = clock_mono_ms() + (k->told_ready ? k->o->grace_ms : 0);
    for (;;) {
        int r = try_once(k);
        if (r != ERR_UNREACHABLE || clock_mono_ms() >= until)
            return r;
        if (wants_stop(k, AGAIN_MS) || unmounted(k))
            return ERR_SHUTDOWN;
    }
}

/* Until the connection ends (0), or there is nothing to keep any more (ERR_SHUTDOWN). */
static int stay(struct keep *k)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    int none, peer = k->remote ? remote_ended(k->remote) : k->conn;
    for (;;) {
        struct pollfd p[] = {
            {.fd = k->device}, {.fd = peer, .events = POLLIN}, {.fd = k->o->stop_fd, .events = POLLIN}};
        if (poll(p, 3, -1) < 0)
            continue;
        if ((p[0].revents & POLLERR) || p[2].revents)
            return ERR_SHUTDOWN;
        if (!p[1].revents)
            continue;
        if (k->remote || link_receive(k->conn, m, &none) < 0)
            return 0;
        if (m->kind == LINK_NEWS)
            k->news = m->news;
    }
}

static int keep(struct keep *k)
{
    for (;;) {
        TRY(get_served(k));
        if (!k->told_ready)
            k->o->ready(k->o->arg);
        k->told_ready = true;
        int r = stay(k);
        if (r < 0)
            return r;
        hang_up(k);
        log_info("fuse.wait",
                 "mountpoint=\"%s\" meaning=\"the instance went away; programs wait for the next one\" grace_ms=%llu",
                 k->o->mountpoint, (unsigned long long)k->o->grace_ms);
    }
}

/* While the server still answers, so that programs that are ending can write their last. */
static void unmount(struct keep *k)
{
    for (unsigned ms = 0; !mounting_undo(k->mounting, false); ms += AGAIN_MS) {
        if (ms >= GO_MS) {
            log_warn("fuse.busy",
                     "mountpoint=\"%s\" meaning=\"programs still use the mount; they get ENOTCONN\" "
                     "action=\"end them before it is unmounted\"",
                     k->o->mountpoint);
            mounting_undo(k->mounting, true);
            return;
        }
        clock_sleep_ms(AGAIN_MS);
    }
}

static void make_room_for_locks(struct keep *k)
{
    if (k->o->server)
        k->held = held_new();
    else if ((k->book = lock_book_create()) < 0)
        log_warn("fuse.locks", "meaning=\"no memory for locks: they hold within this mount only\" error=\"%m\"");
}

static int keep_mounted(struct keep *k)
{
    int r = keep(k);
    char why[512];
    snprintf(why, sizeof why, "%s", err_detail(r));
    if (k->told_ready && r == ERR_SHUTDOWN)
        unmount(k);
    else
        mounting_undo(k->mounting, true); /* nobody answers there */
    if (k->remote)
        remote_over(k->remote);
    hang_up(k);
    mounting_free(k->mounting);
    return r == ERR_SHUTDOWN ? 0 : err_set(r, "%s", why);
}

int fuse_keep(const struct fuse_keep_options *o)
{
    struct keep k = {.o = o, .conn = -1, .book = -1};
    char *options AUTO_FREE = NULL;
    bool local;
    TRY(mounting_options(o->mount_options, &options, &local));
    TRY(mounting_new(o->mountpoint, o->path, options, &k.mounting, &k.device));
    if (!local)
        make_room_for_locks(&k);
    k.opened = opened_new();
    int r = keep_mounted(&k);
    held_free(k.held);
    opened_free(k.opened);
    if (k.book >= 0)
        close(k.book);
    return r;
}
