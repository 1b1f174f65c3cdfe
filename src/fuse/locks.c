/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks between mounts (contract in locks.h).
 */
#include "fuse/locks.h"
#include "base/map.h"
#include "base/mem.h"
#include "conf/conf.h"

#include "fuse/host.h"
#include <limits.h>

enum { GRACE_MS = 10000, EARLY = 64 };

struct lock_session {
    struct lock_holder holder; /* first: a claim's holder is a session */
    struct lock_session *next;
    struct fuse_locks *k;
    struct fuse_host *host; /* NULL: detached */
    bool kept, away, quiet;
    uint64_t id;
    uint64_t until_ms;     /* detached: when it is given up; 0: never */
    unsigned busy;         /* threads that send to the host */
    uint64_t early[EARLY]; /* interrupted before they were seen here, or long answered: a ring */
    unsigned early_n;
    struct map *fresh; /* inodes that its kernel was made to forget since it was taken over; NULL: it was not */
};

struct fuse_locks {
    struct lock lock; /* RANK_FUSE: everything */
    pthread_cond_t changed;
    struct lock_table *table;
    struct lock_session *first;
    atomic_uint attached;
    uint64_t lease_ms;
    unsigned expected; /* mounts of before that have not come back */
    uint64_t grace_end_ns;
    int count_fd; /* fuse.kept */
};

/* ---- how many mounts there are, for a successor ---- */

struct count {
    char text[16]; /* "%15u": always as long */
};

static unsigned read_count(int fd)
{
    struct count c = {{0}};
    if (pread(fd, c.text, sizeof c.text - 1, 0) <= 0)
        return 0;
    return (unsigned)strtoul(c.text, NULL, 10);
}

/* Under the lock. One page of a file, and few changes: it cannot wait for long, and the next instance must not hear of
 * another number than what is true now. */
static void write_count(struct fuse_locks *k)
{
    unsigned n = k->expected;
    struct count c;
    for (struct lock_session *s = k->first; s; s = s->next)
        n += s->kept;
    snprintf(c.text, sizeof c.text, "%14u", n);
    c.text[sizeof c.text - 2] = '\n';
    if (pwrite(k->count_fd, c.text, sizeof c.text - 1, 0) < 0)
        log_warn("fuse.locks",
                 "meaning=\"the number of mounts cannot be written: %m\" action=\"make room in the data directory\"");
}

int fuse_locks_new(const struct conf *conf, const char *data_dir, struct fuse_locks **ret)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/fuse.kept", data_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err_from_errno(errno), "%s: %m", path);
    struct fuse_locks *k = MEM_NEW(struct fuse_locks);
    lock_init(&k->lock, RANK_FUSE);
    cond_init(&k->changed);
    k->table = lock_table_new();
    k->lease_ms = conf_ms(conf, PROP_FUSE_LOCK_TIMEOUT);
    k->count_fd = fd;
    k->expected = read_count(fd);
    k->grace_end_ns = clock_mono_ns() + GRACE_MS * 1000000ull;
    *ret = k;
    return 0;
}

static void free_session(struct fuse_locks *k, struct lock_session *s)
{
    struct lock_session **at = &k->first;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    lock_table_drop(k->table, &s->holder);
    s->holder.book = lock_book_close(s->holder.book);
    map_free(s->fresh);
    free(s);
}

struct fuse_locks *fuse_locks_free(struct fuse_locks *k)
{
    if (!k)
        return NULL;
    for (struct lock_session *s; (s = k->first);) {
        s->holder.book = lock_book_close(s->holder.book); /* what it says is for the next instance */
        free_session(k, s);
    }
    lock_table_free(k->table);
    close(k->count_fd);
    pthread_cond_destroy(&k->changed);
    lock_done(&k->lock);
    free(k);
    return NULL;
}

void fuse_locks_figures(struct fuse_locks *k, struct fuse_lock_figures *ret)
{
    LOCKED(&k->lock);
    *ret = (struct fuse_lock_figures){.waiting = lock_table_waiting(k->table)};
    for (const struct lock_session *s = k->first; s; s = s->next)
        ret->held += s->holder.locks;
}

/* ---- sending ---- */

static struct lock_session *session_of(const struct lock_claim *c)
{
    return (struct lock_session *)c->holder;
}

static void end_sending(struct lock_session *s)
{
    LOCKED(&s->k->lock);
    s->busy--;
    pthread_cond_broadcast(&s->k->changed);
}

static void answer(struct lock_waiter *w, int code)
{
    host_answer(session_of(&w->claim)->host, w->fd, w->unique, code < 0 ? err_info(code)->eno : 0);
    free(w);
}

/* Under the lock: those who were granted something, for answer_all. Their hosts stay until it has run. */
static struct lock_waiter *take_granted(struct fuse_locks *k)
{
    struct lock_waiter *all = lock_table_granted(k->table);
    for (struct lock_waiter *w = all; w; w = w->next)
        session_of(&w->claim)->busy++;
    return all;
}

/* True: the session is busy now. */
static bool is_stale(struct lock_session *s, uint64_t ino)
{
    enum { REMEMBERED = 65536 };
    LOCKED(&s->k->lock);
    if (!s->fresh || s->quiet || map_get(s->fresh, map_key64(&ino)))
        return false;
    if (map_count(s->fresh) == REMEMBERED) {
        map_free(s->fresh);
        s->fresh = map_new();
    }
    map_put(s->fresh, map_key64(&ino), s);
    s->busy++;
    return true;
}

/* Before the program hears that it has the lock: what its kernel knows may be of a time before somebody else wrote. */
static void refresh(struct lock_session *s, uint64_t ino)
{
    if (!is_stale(s, ino))
        return;
    host_changed(s->host, 0, (struct str){0}, ino);
    end_sending(s);
}

static void answer_all(struct lock_waiter *w)
{
    while (w) {
        struct lock_waiter *next = w->next;
        struct lock_session *s = session_of(&w->claim);
        refresh(s, w->claim.ino);
        answer(w, w->result);
        end_sending(s);
        w = next;
    }
}

/* The next session after s whose host is to be told of something, kept from detaching. */
static struct lock_session *next_other(struct fuse_locks *k, struct lock_session *s, const struct lock_session * not )
{
    LOCKED(&k->lock);
    struct lock_session *from = s ? s->next : k->first;
    while (from && (from == not || from->quiet))
        from = from->next;
    if (from)
        from->busy++;
    if (s) {
        s->busy--;
        pthread_cond_broadcast(&k->changed);
    }
    return from;
}

/* What this mount wrote under locks goes out of the others' caches. */
static void show_writes(struct lock_session *s, uint64_t ino)
{
    struct fuse_locks *k = s->k;
    bool wrote;
    {
        LOCKED(&k->lock);
        wrote = lock_table_take_wrote(k->table, &s->holder, ino);
    }
    for (struct lock_session *o = wrote ? next_other(k, NULL, s) : NULL; o; o = next_other(k, o, s))
        host_changed(o->host, 0, (struct str){0}, ino);
}

void locks_wrote(struct lock_session *s, uint64_t ino)
{
    if (!s || atomic_load(&s->k->attached) < 2)
        return;
    LOCKED(&s->k->lock);
    lock_table_wrote(s->k->table, &s->holder, ino);
}

/* ---- sessions ---- */

/* Under the lock. */
static struct lock_session *find(struct fuse_locks *k, uint64_t id)
{
    struct lock_session *s = k->first;
    while (s && s->id != id)
        s = s->next;
    return s;
}

static void take_back(struct lock_session *s, const struct lock_record *v, uint32_t n,
                      void (*lost)(void *arg, uint64_t fh), void *arg)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct lock_claim c = {.holder = &s->holder,
                                     .ino = v[i].ino,
                                     .owner = v[i].owner,
                                     .fh = v[i].fh,
                                     .start = v[i].start,
                                     .end = v[i].end,
                                     .type = v[i].type,
                                     .kind = v[i].kind == LOCK_FLOCK ? LOCK_FLOCK : LOCK_RECORD,
                                     .pid = v[i].pid};
        if (c.start > c.end || (c.type != F_RDLCK && c.type != F_WRLCK) || lock_table_set(s->k->table, &c) < 0)
            lost(arg, c.fh);
    }
}

static struct lock_session *new_session(struct fuse_locks *k, const struct locks_mount *m,
                                        void (*lost)(void *arg, uint64_t fh), void *arg)
{
    struct lock_session *s = MEM_NEW(struct lock_session);
    *s = (struct lock_session){.k = k, .next = k->first, .kept = m->kept, .away = m->away, .id = m->id};
    k->first = s;
    if (m->taken && k->expected)
        k->expected--;
    if (m->book) {
        uint32_t n;
        struct lock_record *v = lock_book_records(m->book, &n);
        lock_book_clear(m->book);
        s->holder.book = m->book;
        take_back(s, v, n, lost, arg);
        free(v);
    }
    take_back(s, m->record, m->records, lost, arg);
    return s;
}

static void await_detached(struct fuse_locks *k, uint64_t id)
{
    for (struct lock_session *s; (s = find(k, id)) && s->host;)
        cond_wait(&k->changed, &k->lock);
}

void locks_attach(struct fuse_locks *k, struct fuse_host *h, const struct locks_mount *m,
                  void (*lost)(void *arg, uint64_t fh), void *arg, struct lock_session **ret)
{
    LOCKED(&k->lock);
    if (m->id)
        await_detached(k, m->id);
    struct lock_session *s = m->id ? find(k, m->id) : NULL;
    if (!s)
        s = new_session(k, m, lost, arg);
    if (m->taken && !s->fresh)
        s->fresh = map_new();
    s->host = h;
    s->quiet = false;
    s->until_ms = 0;
    atomic_fetch_add(&k->attached, 1);
    if (s->kept)
        write_count(k);
    pthread_cond_broadcast(&k->changed); /* of those who wait for mounts of before */
    *ret = s;
}

void locks_quiet(struct lock_session *s)
{
    if (!s)
        return;
    LOCKED(&s->k->lock);
    s->quiet = true;
    while (s->busy)
        cond_wait(&s->k->changed, &s->k->lock);
    if (s->fresh) { /* from now on it misses what is written */
        map_free(s->fresh);
        s->fresh = map_new();
    }
}

static struct lock_waiter *next_waiter(struct lock_session *s)
{
    LOCKED(&s->k->lock);
    return lock_table_wait_no_more(s->k->table, &s->holder, 0);
}

void locks_detach(struct lock_session *s, bool answer_waiters)
{
    if (!s)
        return;
    for (struct lock_waiter *w; (w = next_waiter(s));)
        if (answer_waiters)
            answer(w, ERR_NO_LOCKS);
        else
            free(w);
    LOCKED(&s->k->lock);
    while (s->busy)
        cond_wait(&s->k->changed, &s->k->lock);
    s->host = NULL;
    atomic_fetch_sub(&s->k->attached, 1);
    pthread_cond_broadcast(&s->k->changed);
}

/* Its locks are free. */
static void give_up(struct fuse_locks *k, struct lock_session *s)
{
    struct lock_waiter *w;
    {
        LOCKED(&k->lock);
        bool kept = s->kept;
        free_session(k, s);
        if (kept)
            write_count(k);
        w = take_granted(k);
    }
    answer_all(w);
}

void locks_end(struct lock_session *s, bool over)
{
    if (!s)
        return;
    if (over) {
        give_up(s->k, s);
        return;
    }
    LOCKED(&s->k->lock);
    s->until_ms = clock_mono_ms() + s->k->lease_ms;
}

static struct lock_session *find_expired(struct fuse_locks *k)
{
    LOCKED(&k->lock);
    for (struct lock_session *s = k->first; s; s = s->next)
        if (!s->host && s->until_ms && clock_mono_ms() >= s->until_ms) {
            s->id = 0; /* who comes back now comes too late */
            return s;
        }
    return NULL;
}

void locks_expire(struct fuse_locks *k)
{
    for (struct lock_session *s; (s = find_expired(k));) {
        if (s->holder.locks)
            log_warn("fuse.locks",
                     "locks=%u meaning=\"the locks of a mount on another host are given up: its connection was lost "
                     "for too long\" action=\"mend the network, or raise %s\"",
                     s->holder.locks, conf_name(PROP_FUSE_LOCK_TIMEOUT));
        give_up(k, s);
    }
}

/* ---- requests ---- */

/* Under the lock. Somebody of before may have it, and has not said so yet. */
static void wait_for_others(struct fuse_locks *k)
{
    while (k->expected && clock_mono_ns() < k->grace_end_ns)
        cond_wait_until(&k->changed, &k->lock, k->grace_end_ns);
    if (!k->expected)
        return;
    k->expected = 0;
    write_count(k);
}

static bool interrupted_early(struct lock_session *s, uint64_t unique)
{
    for (unsigned i = 0; i < EARLY; i++)
        if (s->early[i] == unique) {
            s->early[i] = 0;
            return true;
        }
    return false;
}

static int start_waiting(struct lock_session *s, const struct lock_claim *c, const struct fuse_req *q)
{
    struct lock_waiter *w = MEM_NEW(struct lock_waiter);
    *w = (struct lock_waiter){.claim = *c, .unique = q->in->unique, .fd = q->fd};
    int r = interrupted_early(s, w->unique) ? ERR_INTERRUPTED : lock_table_wait(s->k->table, w);
    if (r < 0)
        free(w);
    return r;
}

int locks_set(struct lock_session *s, struct lock_claim *c, const struct fuse_req *wait, bool *ret_waits)
{
    struct fuse_locks *k = s->k;
    struct lock_waiter *granted;
    int r;
    c->holder = &s->holder;
    show_writes(s, c->ino);
    {
        LOCKED(&k->lock);
        if (c->type != F_UNLCK)
            wait_for_others(k);
        r = lock_table_set(k->table, c);
        if (r == ERR_LOCKED && wait) {
            r = start_waiting(s, c, wait);
            *ret_waits = r == 0;
        }
        granted = take_granted(k);
    }
    answer_all(granted);
    if (r == 0 && !*ret_waits && c->type != F_UNLCK)
        refresh(s, c->ino);
    return r;
}

bool locks_test(struct lock_session *s, struct lock_claim *c, struct lock_claim *ret)
{
    LOCKED(&s->k->lock);
    wait_for_others(s->k);
    c->holder = &s->holder;
    const struct lock_claim *held = lock_table_conflict(s->k->table, c);
    if (!held)
        return false;
    *ret = *held;
    if (held->holder != c->holder && (s->away || session_of(held)->away))
        ret->pid = 0;
    return true;
}

void locks_interrupt(struct lock_session *s, uint64_t unique)
{
    struct lock_waiter *w;
    {
        LOCKED(&s->k->lock);
        w = lock_table_wait_no_more(s->k->table, &s->holder, unique);
        if (!w)
            s->early[s->early_n++ % EARLY] = unique;
    }
    if (w)
        answer(w, ERR_INTERRUPTED); /* by a thread of this host, which is there until it has ended */
}

void locks_closed(struct lock_session *s, uint64_t ino, uint64_t owner)
{
    struct lock_waiter *granted;
    if (!s)
        return;
    show_writes(s, ino);
    {
        LOCKED(&s->k->lock);
        lock_table_closed(s->k->table, &s->holder, ino, owner);
        granted = take_granted(s->k);
    }
    answer_all(granted);
}

void locks_released(struct lock_session *s, uint64_t ino, uint64_t fh)
{
    struct lock_waiter *granted;
    if (!s)
        return;
    show_writes(s, ino);
    {
        LOCKED(&s->k->lock);
        lock_table_released(s->k->table, &s->holder, ino, fh);
        granted = take_granted(s->k);
    }
    answer_all(granted);
}
