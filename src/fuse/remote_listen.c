/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's end of stream.h: mounts that `forebay fuse --server` keeps on other hosts are served here.
 *
 * One thread waits for connections. Each has a thread that greets it; that of a notices connection puts it aside, that
 * of the calls connection of the same session takes both, serves the mount, and stays until one of them ends. Whoever
 * knows the token may do anything in anybody's name, as root can on a host that mounts.
 *
 * A connection that is lost is no crash: everything that was acknowledged is published when its host is closed, and the
 * keeper's next TAKE is told apart from one after a crash by the numbers in `ended`.
 */
#include "base/mem.h"
#include "conf/conf.h"
#include "fuse/host.h"
#include "fuse/stream.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>

enum {
    REMOTES = 256,  /* connections of keepers that said who they are */
    STRANGERS = 64, /* of others; the oldest makes room for the next */
    GREETING_MS = 10000,
    NOTICE_MS = 5000, /* a kernel that takes longer to forget something has lost its mount's connection */
    SEND_MS = 15000,
    FINISH_MS = 2000,
    ENDED = 256
};

struct aside {
    unsigned char session[16];
    struct stream *notices;
    uint64_t since_ms;
};

/* A connection that has not said who it is. */
struct greeted {
    struct fuse_remotes *r;
    struct greeted *next, **at;
    struct stream *s;
    uint64_t until_ms;
    bool cut; /* to make room */
};

/* A mount, as long as its host is open. */
struct served {
    struct fuse_remotes *r;
    struct served *next;
    uint32_t nonce; /* 0: not noted */
    struct stream *calls;
};

struct fuse_remotes {
    struct fs *fs;
    struct fuse_locks *locks;
    const struct conf *conf;
    int fd, stop;
    pthread_t thread;
    struct lock lock; /* RANK_FUSE: what follows */
    pthread_cond_t changed;
    unsigned running, greeting; /* connections; of those not greeted yet */
    struct greeted *greeted;    /* newest first */
    struct served *served;
    struct aside aside[REMOTES];
    uint32_t ended[ENDED]; /* nonces of hosts whose connection was lost; newest at ended_n - 1 */
    size_t ended_n;
};

/* ---- sessions ---- */

/* It is there when the keeper hears that it is welcome, and sends the calls. (Under the lock: so few bytes never wait
 * in a new connection.) */
static void put_aside(struct fuse_remotes *r, const unsigned char session[16], const unsigned char welcome[32],
                      struct stream *notices)
{
    LOCKED(&r->lock);
    struct aside *at = &r->aside[0]; /* a free place, else the oldest */
    for (size_t i = 0; i < REMOTES && at->notices; i++)
        if (!r->aside[i].notices || r->aside[i].since_ms < at->since_ms)
            at = &r->aside[i];
    stream_free(at->notices);
    memcpy(at->session, session, sizeof at->session);
    at->notices = notices;
    at->since_ms = clock_mono_ms();
    stream_send(notices, STREAM_WELCOME, &(struct iovec){(void *)welcome, 32}, 1);
}

static struct stream *take_aside(struct fuse_remotes *r, const unsigned char session[16])
{
    LOCKED(&r->lock);
    for (size_t i = 0; i < REMOTES; i++)
        if (r->aside[i].notices && !memcmp(r->aside[i].session, session, 16)) {
            struct stream *s = r->aside[i].notices;
            r->aside[i].notices = NULL;
            return s;
        }
    return NULL;
}

static void note_served(struct fuse_remotes *r, struct served *v)
{
    LOCKED(&r->lock);
    v->next = r->served;
    r->served = v;
}

/* published: all of it. Else a keeper that comes again hears of a crash. */
static void note_ended(struct fuse_remotes *r, struct served *v, bool published)
{
    LOCKED(&r->lock);
    struct served **at = &r->served;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
    if (published)
        r->ended[r->ended_n++ % ENDED] = v->nonce;
    pthread_cond_broadcast(&r->changed);
}

static struct served *find_served(struct fuse_remotes *r, uint32_t nonce)
{
    struct served *v = r->served;
    while (v && v->nonce != nonce)
        v = v->next;
    return v;
}

/* Was it a host of this process, now closed? One that has not heard yet that its connection is lost is told, and waited
 * for. */
static bool has_ended(struct fuse_remotes *r, uint32_t nonce)
{
    LOCKED(&r->lock);
    for (struct served *v; (v = find_served(r, nonce));) {
        stream_cut(v->calls);
        cond_wait(&r->changed, &r->lock);
    }
    for (size_t i = 0; i < r->ended_n && i < ENDED; i++)
        if (r->ended[i] == nonce)
            return true;
    return false;
}

/* ---- one mount ---- */

static void refuse(struct stream *s, int code)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    *m = (struct link_msg){.magic = LINK_MAGIC, .kind = LINK_REFUSED, .code = code};
    snprintf(m->text, sizeof m->text, "%s", err_detail(code));
    stream_send(s, STREAM_LINK, &(struct iovec){m, sizeof *m}, 1);
}

static int tell(struct stream *calls, const struct link_news *n)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    *m = (struct link_msg){.magic = LINK_MAGIC, .kind = LINK_NEWS, .news = *n};
    return stream_send(calls, STREAM_LINK, &(struct iovec){m, sizeof *m}, 1);
}

/* Noted first: a keeper that has heard of it may be back, over a new connection, before we go on here. */
static int tell_serving(void *arg, const struct fuse_host *h)
{
    struct served *v = arg;
    struct link_news n;
    host_news(h, LINK_SERVING, &n);
    v->nonce = n.nonce;
    note_served(v->r, v);
    return tell(v->calls, &n);
}

/* What a keeper says before it is served. */
union said {
    struct link_msg take;
    struct {
        struct stream_held head;
        struct lock_record record[LOCKS_MAX];
    } held;
};

static int receive_take(struct stream *calls, union said *locks, size_t *ret_locks, struct link_msg *m)
{
    enum stream_kind kind;
    size_t n;
    *ret_locks = 0;
    TRY(stream_receive(calls, &kind, locks, sizeof *locks, &n));
    if (kind == STREAM_HELD && n >= sizeof locks->held.head) {
        *ret_locks = n;
        TRY(stream_receive(calls, &kind, m, sizeof *m, &n));
    } else if (n <= sizeof *m) {
        memcpy(m, &locks->take, n);
    }
    if (kind != STREAM_LINK || !link_well_formed(m, (ssize_t)n) || m->kind != LINK_TAKE)
        return err_set(ERR_INVALID, "the other side is of another version");
    return 0;
}

static int open_host(struct served *v, struct stream *notices, struct fuse_host **ret)
{
    struct fuse_remotes *r = v->r;
    struct stream *calls = v->calls;
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    union said *locks AUTO_FREE = mem_alloc(sizeof *locks);
    size_t said;
    TRY(receive_take(calls, locks, &said, m));
    const struct locks_mount held = {
        .kept = true,
        .away = true,
        .taken = m->news.state != LINK_NEW,
        .id = locks->held.head.id,
        .record = locks->held.record,
        .records = said ? (uint32_t)((said - sizeof locks->held.head) / sizeof locks->held.record[0]) : 0};
    if (m->news.state == LINK_SERVING && has_ended(r, m->news.nonce))
        m->news.state = LINK_LEFT;
    const struct fuse_host_options o = {.fs = r->fs,
                                        .locks = r->locks,
                                        .held = said ? &held : NULL,
                                        .conf = r->conf,
                                        .mountpoint = m->mountpoint,
                                        .path = m->path,
                                        .device = -1,
                                        .calls = calls,
                                        .notices = notices,
                                        .serving = tell_serving,
                                        .serving_arg = v,
                                        .before = &m->news};
    stream_limits(calls, SEND_MS, 0);
    stream_limits(notices, SEND_MS, NOTICE_MS);
    TRY(fuse_host_open(&o, ret));
    log_info("fuse.serve", "mountpoint=\"%s\" path=\"%s\" after=%s", m->mountpoint, m->path,
             m->news.state == LINK_NEW    ? "mount"
             : m->news.state == LINK_LEFT ? "handover"
                                          : "crash");
    return 0;
}

/* Until one of the connections ends, the kernel says goodbye, or we stop: true. */
static bool stay(struct fuse_remotes *r, struct stream *calls, struct stream *notices, struct fuse_host *h)
{
    enum { LOOK_MS = 500 };
    struct pollfd p[] = {{.fd = r->stop, .events = POLLIN},
                         {.fd = stream_fd(calls), .events = POLLRDHUP},
                         {.fd = stream_fd(notices), .events = POLLRDHUP}};
    while (!fuse_host_gone(h)) {
        if (poll(p, 3, LOOK_MS) <= 0)
            continue;
        if (p[0].revents)
            return true;
        if (p[1].revents || p[2].revents)
            break;
    }
    return false;
}

static void serve_mount(struct fuse_remotes *r, struct stream *calls, struct stream *notices)
{
    struct served v = {.r = r, .calls = calls};
    struct fuse_host *h = NULL;
    struct link_news left;
    int code = open_host(&v, notices, &h);
    if (code < 0) {
        if (v.nonce) /* it has served nothing that was told; what it was asked is asked again */
            note_ended(r, &v, true);
        refuse(calls, code);
        stream_end_reading(calls);
        stream_finish(calls, FINISH_MS);
        return;
    }
    bool stopping = stay(r, calls, notices, h);
    host_news(h, LINK_LEFT, &left);
    stream_end_reading(calls);
    bool published = fuse_host_end(h) == 0; /* then it may be said that nothing is lost */
    note_ended(r, &v, published);
    if (stopping && published) {
        tell(calls, &left);
        stream_finish(calls, FINISH_MS);
    }
    stream_cut(calls);
}

/* ---- greeting ---- */

static void end_greeting(struct greeted *g)
{
    LOCKED(&g->r->lock);
    *g->at = g->next;
    if (g->next)
        g->next->at = g->at;
    g->r->greeting--;
}

static bool proven(const struct fuse_remotes *r, const unsigned char challenge[32], const struct stream_hello *h)
{
    struct stream_hello want = *h;
    stream_prove(conf_string(r->conf, PROP_FUSE_TOKEN), challenge, &want);
    return stream_same(want.proof, h->proof);
}

static int greet(struct fuse_remotes *r, struct stream *s, struct stream_hello *ret, unsigned char welcome[32])
{
    unsigned char challenge[32];
    enum stream_kind kind;
    size_t n;
    CHECK(getrandom(challenge, sizeof challenge, 0) == sizeof challenge);
    TRY(stream_send(s, STREAM_CHALLENGE, &(struct iovec){challenge, sizeof challenge}, 1));
    TRY(stream_receive(s, &kind, ret, sizeof *ret, &n));
    if (kind != STREAM_HELLO || n != sizeof *ret || ret->magic != LINK_MAGIC)
        return err_set(ERR_INVALID, "the other side is of another version");
    if (!proven(r, challenge, ret))
        return err_set(ERR_AUTH, "the token is not the one of forebay.fuse.token");
    stream_welcome(conf_string(r->conf, PROP_FUSE_TOKEN), challenge, ret, welcome);
    return 0;
}

static void serve_connection(struct greeted *g)
{
    struct fuse_remotes *r = g->r;
    struct stream *s AUTO_STREAM = g->s;
    struct stream_hello h;
    unsigned char welcome[32];
    stream_limits(s, GREETING_MS, GREETING_MS);
    int code = greet(r, s, &h, welcome);
    end_greeting(g);
    if (code < 0) {
        log_warn("fuse.keeper",
                 "meaning=\"a mount of another host was refused\" error=\"%s\" action=\"give it the token\"",
                 err_detail(code));
        refuse(s, code);
        return;
    }
    struct stream *notices AUTO_STREAM = h.role == STREAM_CALLS ? take_aside(r, h.session) : NULL;
    if (h.role == STREAM_CALLS && !notices) {
        refuse(s, err_set(ERR_INVALID, "there is no connection for notices"));
        return;
    }
    if (!notices) {
        put_aside(r, h.session, welcome, s);
        s = NULL; /* it is not ours to free any more */
    } else if (stream_send(s, STREAM_WELCOME, &(struct iovec){welcome, sizeof welcome}, 1) == 0) {
        serve_mount(r, s, notices);
    }
}

static void *run_connection(void *arg)
{
    struct greeted *g = arg;
    struct fuse_remotes *r = g->r;
    serve_connection(g);
    free(g);
    LOCKED(&r->lock);
    r->running--;
    pthread_cond_broadcast(&r->changed);
    return NULL;
}

/* Under the lock. False: as many as may be open at all are on their way out. */
static bool cut_oldest(struct fuse_remotes *r)
{
    struct greeted *oldest = NULL;
    for (struct greeted *g = r->greeted; g; g = g->next)
        if (!g->cut)
            oldest = g;
    if (!oldest || r->greeting >= 2 * STRANGERS)
        return false;
    oldest->cut = true;
    stream_cut(oldest->s);
    return true;
}

static bool begin_greeting(struct greeted *g)
{
    struct fuse_remotes *r = g->r;
    LOCKED(&r->lock);
    if (r->running - r->greeting >= REMOTES)
        return false;
    if (r->greeting >= STRANGERS && !cut_oldest(r))
        return false;
    r->running++;
    r->greeting++;
    g->until_ms = clock_mono_ms() + GREETING_MS;
    g->next = r->greeted;
    g->at = &r->greeted;
    if (g->next)
        g->next->at = &g->next;
    r->greeted = g;
    return true;
}

/* Those who are too slow to say who they are; all: now. */
static void cut_greeted(struct fuse_remotes *r, bool all)
{
    LOCKED(&r->lock);
    for (struct greeted *g = r->greeted; g; g = g->next)
        if (all || clock_mono_ms() >= g->until_ms)
            stream_cut(g->s);
}

static void begin(struct fuse_remotes *r, int fd)
{
    pthread_t t;
    struct greeted *g = MEM_NEW(struct greeted);
    *g = (struct greeted){.r = r, .s = stream_new(fd)};
    if (!begin_greeting(g)) {
        log_warn("fuse.keeper",
                 "meaning=\"a mount of another host was refused: %d connections are open\" action=\"use "
                 "fewer mounts\"",
                 REMOTES);
    } else if (thread_start(&t, "fuse-remote", run_connection, g) == 0) {
        pthread_detach(t);
        return;
    } else {
        end_greeting(g);
        LOCKED(&r->lock);
        r->running--;
    }
    stream_free(g->s);
    free(g);
}

static void *accept_all(void *arg)
{
    enum { FULL_MS = 100, LOOK_MS = 1000 };
    struct fuse_remotes *r = arg;
    struct pollfd p[] = {{.fd = r->stop, .events = POLLIN}, {.fd = r->fd, .events = POLLIN}};
    for (;;) {
        int n = poll(p, 2, LOOK_MS);
        cut_greeted(r, false);
        locks_expire(r->locks);
        if (n <= 0)
            continue;
        if (p[0].revents) {
            cut_greeted(r, true);
            return NULL;
        }
        int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            begin(r, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            clock_sleep_ms(FULL_MS);
    }
}

/* ---- life ---- */

int fuse_remotes_new(struct fs *fs, const struct conf *conf, struct fuse_locks *locks, struct fuse_remotes **ret)
{
    struct fuse_remotes *r = MEM_NEW(struct fuse_remotes);
    char where[192];
    r->fs = fs;
    r->locks = locks;
    r->conf = conf;
    r->fd = -1;
    lock_init(&r->lock, RANK_FUSE);
    cond_init(&r->changed);
    r->stop = eventfd(0, EFD_CLOEXEC);
    int code = stream_listen(conf_string(conf, PROP_FUSE_LISTEN), &r->fd);
    if (code == 0)
        code = thread_start(&r->thread, "fuse-accept", accept_all, r);
    if (code < 0) {
        if (r->fd >= 0)
            close(r->fd);
        close(r->stop);
        pthread_cond_destroy(&r->changed);
        lock_done(&r->lock);
        free(r);
        return code;
    }
    stream_address(r->fd, where, sizeof where);
    log_info("fuse.listen", "address=%s", where);
    *ret = r;
    return 0;
}

void fuse_remotes_address(const struct fuse_remotes *r, char *ret, size_t n)
{
    stream_address(r->fd, ret, n);
}

struct fuse_remotes *fuse_remotes_end(struct fuse_remotes *r)
{
    uint64_t one = 1;
    if (!r)
        return NULL;
    (void)!write(r->stop, &one, sizeof one);
    pthread_join(r->thread, NULL);
    close(r->fd);
    lock_take(&r->lock);
    while (r->running)
        cond_wait(&r->changed, &r->lock);
    lock_drop(&r->lock);
    for (size_t i = 0; i < REMOTES; i++)
        stream_free(r->aside[i].notices);
    close(r->stop);
    pthread_cond_destroy(&r->changed);
    lock_done(&r->lock);
    free(r);
    return NULL;
}
