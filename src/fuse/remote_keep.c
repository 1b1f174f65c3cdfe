/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's end of stream.h: what the kernel asks goes to a server on another host, its answers and notices come
 * back. Three threads, each with one direction:
 *
 *     device -> calls (requests)      calls -> device (answers)      notices -> device, then DONE
 *
 * Notices have a thread of their own because the kernel may wait, before it has heard one, for an answer that is still
 * on its way. When a connection ends all three stop; keep.c connects again. That of the notices may be in the kernel
 * then, waiting for an answer that only the next connection brings: it is not waited for, and has a part in what it
 * uses.
 *
 * The kernel is asked nothing before somebody serves: a request that a connection took along which was then given up
 * could be carried out late. Then it asks again what has no answer (FUSE_NOTIFY_RESEND, Linux 6.9; such requests got
 * EIO from us where it cannot), and forgets the pages of open files: what was changed meanwhile nobody could tell it.
 */
#include "base/map.h"
#include "base/mem.h"
#include "fuse/held.h"
#include "fuse/host.h"
#include "fuse/opened.h"
#include "fuse/remote.h"
#include "fuse/stream.h"
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

enum { GREETING_MS = 10000, ANSWER_MS = 30000, LAST_MS = 2000 };

enum { ANSWERS, REQUESTS, THREADS };

struct remote {
    atomic_uint parts; /* keep.c's, and that of the thread of the notices */
    int device;        /* a name of our own for it */
    int ended;         /* eventfd, set when a thread stopped */
    bool taken;        /* others served the mount before */
    struct stream *calls, *notices;
    pthread_t thread[THREADS];
    bool started[THREADS];
    struct lock lock; /* RANK_FUSE: what follows */
    pthread_cond_t changed;
    struct link_msg answer; /* to TAKE; kind 0: none yet */
    bool over, heard_all;   /* a connection ended; all answers were read */
    struct link_news *news; /* keep.c's; written under the lock while the threads run */
    struct map *unanswered; /* unique -> not NULL */
    struct held *held;      /* NULL: see remote.h */
    struct opened *opened;
    uint64_t *old; /* nodes that were open before we came */
    size_t old_n;
};

static void leave(struct remote *r)
{
    if (atomic_fetch_sub(&r->parts, 1) > 1)
        return;
    map_free(r->unanswered);
    free(r->old);
    stream_free(r->calls);
    stream_free(r->notices);
    close(r->ended);
    close(r->device);
    pthread_cond_destroy(&r->changed);
    lock_done(&r->lock);
    free(r);
}

/* The server closes when it sees ours end; until then it may have said why (LINK left), so answers are read to their
 * end. */
static void end(struct remote *r)
{
    uint64_t one = 1;
    (void)!write(r->ended, &one, sizeof one);
    stream_end_sending(r->calls);
    stream_cut(r->notices);
    LOCKED(&r->lock);
    r->over = true;
    pthread_cond_broadcast(&r->changed);
}

/* ---- what the server says of itself ---- */

static void take_link(struct remote *r, const struct link_msg *m, size_t n)
{
    LOCKED(&r->lock);
    if (!link_well_formed(m, (ssize_t)n))
        return;
    if (m->kind == LINK_NEWS)
        *r->news = m->news;
    if (!r->answer.kind)
        r->answer = *m;
    pthread_cond_broadcast(&r->changed);
}

/* ---- the three directions ---- */

static bool wants_answer(const struct fuse_in_header *in)
{
    return in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET && in->opcode != FUSE_INTERRUPT;
}

static void note(struct remote *r, uint64_t unique, bool asked)
{
    LOCKED(&r->lock);
    if (asked)
        map_put(r->unanswered, map_key64(&unique), r);
    else
        map_del(r->unanswered, map_key64(&unique));
}

/* The next request into b; 0: there will be none. */
static size_t next_request(struct remote *r, char *b)
{
    struct pollfd p[] = {{.fd = r->device, .events = POLLIN}, {.fd = r->ended, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents)
            return 0;
        ssize_t n = read(r->device, b, HOST_BUFFER);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)n;
        if (n >= 0 || (errno != EINTR && errno != EAGAIN && errno != ENOENT))
            return 0; /* unmounted */
    }
}

static void *send_requests(void *arg)
{
    struct remote *r = arg;
    char *b = mem_alloc(HOST_BUFFER);
    size_t n;
    while ((n = next_request(r, b))) {
        const struct fuse_in_header *in = (const void *)b;
        if (wants_answer(in))
            note(r, in->unique, true);
        if (r->held)
            held_asked(r->held, in, b + sizeof *in, n - sizeof *in);
        opened_asked(r->opened, in);
        if (stream_send(r->calls, STREAM_REQUEST, &(struct iovec){b, n}, 1) < 0)
            break;
    }
    free(b);
    end(r);
    return NULL;
}

/* Whole, as the kernel wants it; that it has forgotten the request (ENOENT) is no error. */
static void to_kernel(struct remote *r, const char *b, size_t n)
{
    while (write(r->device, b, n) < 0 && errno == EINTR)
        ;
}

static void *take_answers(void *arg)
{
    struct remote *r = arg;
    char *b = mem_alloc(HOST_BUFFER);
    enum stream_kind kind;
    size_t n;
    while (stream_receive(r->calls, &kind, b, HOST_BUFFER, &n) == 0) {
        if (kind == STREAM_LINK)
            take_link(r, (const void *)b, n);
        if (kind != STREAM_ANSWER || n < sizeof(struct fuse_out_header))
            continue;
        const struct fuse_out_header *out = (const void *)b;
        note(r, out->unique, false);
        if (r->held)
            held_answered(r->held, out->unique, out->error);
        opened_answered(r->opened, out, out + 1, n - sizeof *out);
        to_kernel(r, b, n);
    }
    free(b);
    end(r);
    LOCKED(&r->lock);
    r->heard_all = true;
    pthread_cond_broadcast(&r->changed);
    return NULL;
}

static void tell_kernel(struct remote *r, int code, const void *p, size_t n)
{
    struct fuse_out_header out = {.error = code, .len = (uint32_t)(sizeof out + n)};
    struct iovec v[] = {{&out, sizeof out}, {(void *)p, n}};
    while (writev(r->device, v, n ? 2 : 1) < 0 && errno == EINTR)
        ;
}

static bool is_over(struct remote *r)
{
    LOCKED(&r->lock);
    return r->over;
}

static void forget_pages(struct remote *r)
{
    for (size_t i = 0; i < r->old_n && !is_over(r); i++) {
        struct fuse_notify_inval_inode_out o = {.ino = r->old[i]};
        tell_kernel(r, FUSE_NOTIFY_INVAL_INODE, &o, sizeof o);
    }
}

static void *take_notices(void *arg)
{
    struct remote *r = arg;
    forget_pages(r);
    char *b = mem_alloc(HOST_BUFFER);
    enum stream_kind kind;
    size_t n;
    while (stream_receive(r->notices, &kind, b, HOST_BUFFER, &n) == 0) {
        if (kind != STREAM_NOTICE)
            continue;
        to_kernel(r, b, n);
        if (stream_send(r->notices, STREAM_DONE, NULL, 0) < 0)
            break;
    }
    free(b);
    end(r);
    leave(r);
    return NULL;
}

/* ---- connecting ---- */

static int refused(const struct link_msg *m, size_t n)
{
    return link_well_formed(m, (ssize_t)n) && m->kind == LINK_REFUSED && m->code < 0
               ? err_set(m->code, "%s", m->text)
               : err_set(ERR_INVALID, "the other side is of another version");
}

static int greet(struct stream *s, const char *token, struct stream_hello *h)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    unsigned char challenge[32], want[32];
    enum stream_kind kind;
    size_t n;
    stream_limits(s, GREETING_MS, GREETING_MS);
    TRY(stream_receive(s, &kind, challenge, sizeof challenge, &n));
    if (kind != STREAM_CHALLENGE || n != sizeof challenge)
        return err_set(ERR_INVALID, "this is no address of forebay.fuse.listen");
    stream_prove(token, challenge, h);
    TRY(stream_send(s, STREAM_HELLO, &(struct iovec){h, sizeof *h}, 1));
    TRY(stream_receive(s, &kind, m, sizeof *m, &n));
    stream_limits(s, 0, 0); /* TCP itself finds out that the other host is gone */
    if (kind != STREAM_WELCOME)
        return refused(m, n);
    stream_welcome(token, challenge, h, want);
    if (n != sizeof want || !stream_same(want, (const unsigned char *)m))
        return err_set(ERR_AUTH, "the server does not know the token (forebay.fuse.token)");
    return 0;
}

static int connect_both(struct remote *r, const struct remote_options *o)
{
    struct stream_hello h = {.magic = LINK_MAGIC, .role = STREAM_NOTICES};
    CHECK(getrandom(h.session, sizeof h.session, 0) == sizeof h.session);
    TRY(stream_connect(o->server, &r->notices));
    TRY(greet(r->notices, o->token, &h));
    TRY(stream_connect(o->server, &r->calls));
    h.role = STREAM_CALLS;
    return greet(r->calls, o->token, &h);
}

static int start_thread(struct remote *r, size_t i)
{
    TRY(thread_start(&r->thread[i], "fuse-remote", i == ANSWERS ? take_answers : send_requests, r));
    r->started[i] = true;
    return 0;
}

static int start_notices(struct remote *r)
{
    pthread_t t;
    r->old = opened_nodes(r->opened, &r->old_n);
    atomic_fetch_add(&r->parts, 1);
    int code = thread_start(&t, "fuse-remote", take_notices, r);
    if (code < 0)
        leave(r);
    else
        pthread_detach(t);
    return code;
}

static int wait_answer(struct remote *r)
{
    uint64_t until = clock_mono_ns() + ANSWER_MS * 1000000ull;
    LOCKED(&r->lock);
    while (!r->answer.kind && !r->over && clock_mono_ns() < until)
        cond_wait_until(&r->changed, &r->lock, until);
    if (!r->answer.kind)
        return err_set(ERR_UNREACHABLE, "the instance that was to serve the mount went away, or is too slow");
    return r->answer.kind == LINK_NEWS
               ? 0
               : err_set(r->answer.code < 0 ? r->answer.code : ERR_INVALID, "%s", r->answer.text);
}

/* Somebody serves the mount now. */
static int go_on(struct remote *r)
{
    enum { RESEND = 7 }; /* FUSE_NOTIFY_RESEND; older kernels refuse it */
    TRY(start_notices(r));
    if (!r->taken)
        return 0;
    tell_kernel(r, RESEND, NULL, 0);
    return start_thread(r, REQUESTS);
}

static int say_held(struct remote *r)
{
    struct stream_held h = {held_id(r->held)};
    uint32_t n;
    struct lock_record *v AUTO_FREE = held_records(r->held, &n);
    return stream_send(r->calls, STREAM_HELD, (struct iovec[]){{&h, sizeof h}, {v, n * sizeof *v}}, 2);
}

static int ask(struct remote *r, const struct remote_options *o)
{
    struct link_msg *m AUTO_FREE = MEM_NEW(struct link_msg);
    *m = (struct link_msg){.magic = LINK_MAGIC, .kind = LINK_TAKE, .news = *r->news};
    snprintf(m->path, sizeof m->path, "%s", o->path);
    snprintf(m->mountpoint, sizeof m->mountpoint, "%s", o->mountpoint);
    if (r->held)
        TRY(say_held(r));
    TRY(stream_send(r->calls, STREAM_LINK, &(struct iovec){m, sizeof *m}, 1));
    TRY(start_thread(r, ANSWERS));
    if (!r->taken) /* then it is the kernel's INIT that is waited for */
        TRY(start_thread(r, REQUESTS));
    TRY(wait_answer(r));
    return go_on(r);
}

int remote_open(const struct remote_options *o, int device, struct link_news *news, struct remote **ret)
{
    struct remote *r = MEM_NEW(struct remote);
    char why[512];
    *r = (struct remote){.parts = 1,
                         .device = fcntl(device, F_DUPFD_CLOEXEC, 0),
                         .ended = eventfd(0, EFD_CLOEXEC),
                         .taken = news->state != LINK_NEW,
                         .news = news,
                         .unanswered = map_new(),
                         .held = o->held,
                         .opened = o->opened};
    if (r->held)
        held_forget_asked(r->held);
    opened_forget_asked(r->opened);
    lock_init(&r->lock, RANK_FUSE);
    cond_init(&r->changed);
    fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK); /* polled */
    int code = connect_both(r, o);
    if (code == 0)
        code = ask(r, o);
    if (code == 0) {
        *ret = r;
        return 0;
    }
    snprintf(why, sizeof why, "%s", err_detail(code));
    remote_close(r);
    return err_set(code == ERR_IO ? ERR_UNREACHABLE : code, "%s", why);
}

int remote_ended(const struct remote *r)
{
    return r->ended;
}

static int fail_one(void *arg, struct str key, void *value)
{
    struct remote *r = arg;
    struct fuse_out_header out = {.len = sizeof out, .error = -EIO};
    (void)value;
    memcpy(&out.unique, key.p, sizeof out.unique);
    to_kernel(r, (const char *)&out, sizeof out);
    return 0;
}

void remote_over(struct remote *r)
{
    stream_send(r->calls, STREAM_OVER, NULL, 0); /* the connection may be lost: then it will find out */
}

static void end_all(struct remote *r)
{
    uint64_t until = clock_mono_ns() + LAST_MS * 1000000ull;
    end(r);
    lock_take(&r->lock);
    while (!r->heard_all && clock_mono_ns() < until)
        cond_wait_until(&r->changed, &r->lock, until);
    lock_drop(&r->lock);
    stream_cut(r->calls);
}

struct remote *remote_close(struct remote *r)
{
    if (!r)
        return NULL;
    if (r->started[ANSWERS])
        end_all(r);
    for (size_t i = 0; i < THREADS; i++)
        if (r->started[i])
            pthread_join(r->thread[i], NULL);
    if (r->news->minor < RESEND_MINOR) /* the kernel will not ask again */
        map_each(r->unanswered, fail_one, r);
    leave(r);
    return NULL;
}
