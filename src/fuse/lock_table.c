/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of locks (contract and invariants in lock_table.h).
 */
#include "fuse/lock_table.h"
#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "fuse/lock_book.h"

struct held_lock {
    struct held_lock *next;
    struct lock_claim c;
    uint32_t slot; /* in the holder's book */
    bool wrote;    /* its holder changed the file, and others were not told */
};

/* A file somebody has locks of. */
struct lock_inode {
    struct lock_inode *next, *prev;
    uint64_t ino;
    struct held_lock *locks[LOCK_KINDS]; /* no order */
};

struct lock_table {
    struct map *by_ino;
    struct lock_inode *first;
    struct lock_waiter *waiters, *granted; /* in order of arrival */
    uint32_t waiting;
    uint64_t search; /* number of the last search for a deadlock */
};

struct lock_table *lock_table_new(void)
{
    struct lock_table *t = MEM_NEW(struct lock_table);
    t->by_ino = map_new();
    return t;
}

static void free_locks(struct held_lock *l)
{
    while (l) {
        struct held_lock *next = l->next;
        free(l);
        l = next;
    }
}

struct lock_table *lock_table_free(struct lock_table *t)
{
    if (!t)
        return NULL;
    while (t->first) {
        struct lock_inode *i = t->first;
        t->first = i->next;
        for (int k = 0; k < LOCK_KINDS; k++)
            free_locks(i->locks[k]);
        free(i);
    }
    map_free(t->by_ino);
    free(t);
    return NULL;
}

/* ---- inodes ---- */

static struct lock_inode *inode_find(const struct lock_table *t, uint64_t ino)
{
    return map_get(t->by_ino, map_key64(&ino));
}

static struct lock_inode *inode_get(struct lock_table *t, uint64_t ino)
{
    struct lock_inode *i = inode_find(t, ino);
    if (i)
        return i;
    i = MEM_NEW(struct lock_inode);
    i->ino = ino;
    i->next = t->first;
    if (i->next)
        i->next->prev = i;
    t->first = i;
    map_put(t->by_ino, map_key64(&ino), i);
    return i;
}

/* Forgotten when nobody has a lock of it. */
static void inode_put(struct lock_table *t, struct lock_inode *i)
{
    if (i->locks[LOCK_RECORD] || i->locks[LOCK_FLOCK])
        return;
    *(i->prev ? &i->prev->next : &t->first) = i->next;
    if (i->next)
        i->next->prev = i->prev;
    map_del(t->by_ino, map_key64(&i->ino));
    free(i);
}

/* ---- single locks ---- */

static struct lock_record record_of(const struct lock_claim *c)
{
    return (struct lock_record){.ino = c->ino,
                                .owner = c->owner,
                                .fh = c->fh,
                                .start = c->start,
                                .end = c->end,
                                .pid = c->pid,
                                .type = (uint16_t)c->type,
                                .kind = (uint8_t)c->kind};
}

static void to_book(struct held_lock *l)
{
    const struct lock_record r = record_of(&l->c);
    if (l->c.holder->book)
        l->slot = lock_book_add(l->c.holder->book, &r);
}

static void from_book(const struct held_lock *l)
{
    if (l->c.holder->book)
        lock_book_del(l->c.holder->book, l->slot);
}

static void add(struct lock_inode *i, const struct lock_claim *c, bool wrote)
{
    struct held_lock *l = MEM_NEW(struct held_lock);
    *l = (struct held_lock){.next = i->locks[c->kind], .c = *c, .wrote = wrote};
    i->locks[c->kind] = l;
    c->holder->locks++;
    to_book(l);
}

static void drop(struct held_lock **at)
{
    struct held_lock *l = *at;
    *at = l->next;
    l->c.holder->locks--;
    from_book(l);
    free(l);
}

static void resize(struct held_lock *l, uint64_t start, uint64_t end)
{
    from_book(l);
    l->c.start = start;
    l->c.end = end;
    to_book(l);
}

/* ---- conflicts ---- */

static bool same_owner(const struct lock_claim *a, const struct lock_claim *b)
{
    return a->holder == b->holder && a->owner == b->owner;
}

static bool overlap(const struct lock_claim *a, const struct lock_claim *b)
{
    return a->start <= b->end && b->start <= a->end;
}

static bool touch(const struct lock_claim *a, const struct lock_claim *b)
{
    return overlap(a, b) || (a->end < b->start && b->start - a->end == 1) ||
           (b->end < a->start && a->start - b->end == 1);
}

static bool conflict(const struct lock_claim *held, const struct lock_claim *c)
{
    return !same_owner(held, c) && (held->type == F_WRLCK || c->type == F_WRLCK) && overlap(held, c);
}

static struct held_lock *next_conflict(struct held_lock *l, const struct lock_claim *c)
{
    while (l && !conflict(&l->c, c))
        l = l->next;
    return l;
}

const struct lock_claim *lock_table_conflict(const struct lock_table *t, const struct lock_claim *c)
{
    const struct lock_inode *i = inode_find(t, c->ino);
    struct held_lock *l = i && c->type != F_UNLCK ? next_conflict(i->locks[c->kind], c) : NULL, *first = l;
    for (; l; l = next_conflict(l->next, c))
        if (l->c.start < first->c.start)
            first = l;
    return first ? &first->c : NULL;
}

/* ---- granting ---- */

/* What is left of the owner's lock at *at where c is granted. Returns the place of the next lock to look at. */
static struct held_lock **cut(struct lock_inode *i, struct held_lock **at, const struct lock_claim *c)
{
    struct held_lock *l = *at;
    struct lock_claim behind = l->c;
    bool left = l->c.start<c->start, right = l->c.end> c->end;
    behind.start = c->end + 1;
    if (left && right)
        add(i, &behind, l->wrote);
    if (left)
        resize(l, l->c.start, c->start - 1);
    else if (right)
        resize(l, behind.start, l->c.end);
    else
        drop(at);
    return left || right ? &l->next : at;
}

/* One lock of c's range and type in place of what the owner had there. */
static void put(struct lock_inode *i, const struct lock_claim *c)
{
    struct lock_claim whole = *c;
    bool wrote = false;
    for (struct held_lock **at = &i->locks[c->kind]; *at;) {
        struct held_lock *l = *at;
        if (same_owner(&l->c, c) && l->c.type == c->type && touch(&l->c, c)) {
            whole.start = l->c.start < whole.start ? l->c.start : whole.start;
            whole.end = l->c.end > whole.end ? l->c.end : whole.end;
            wrote |= l->wrote;
            drop(at);
        } else if (same_owner(&l->c, c) && overlap(&l->c, c)) {
            wrote |= l->wrote;
            at = cut(i, at, c);
        } else {
            at = &l->next;
        }
    }
    if (c->type != F_UNLCK)
        add(i, &whole, wrote);
}

/* How many locks more there may be then: the new one, and what is behind it of one that is cut in two. */
static uint32_t more_at_most(const struct lock_inode *i, const struct lock_claim *c)
{
    uint32_t more = c->type != F_UNLCK;
    for (const struct held_lock *l = i->locks[c->kind]; l; l = l->next)
        if (same_owner(&l->c, c) && l->c.start < c->start && l->c.end > c->end)
            return more + 1;
    return more;
}

static int set(struct lock_table *t, const struct lock_claim *c)
{
    struct lock_inode *i = inode_get(t, c->ino);
    if (c->holder->locks + more_at_most(i, c) > LOCKS_MAX) {
        inode_put(t, i);
        return err_set(ERR_NO_LOCKS, "the mount has %u locks", c->holder->locks);
    }
    put(i, c);
    return 0;
}

static void append(struct lock_waiter **list, struct lock_waiter *w)
{
    while (*list)
        list = &(*list)->next;
    w->next = NULL;
    *list = w;
}

/* Those who wait for locks of this file, as far as nothing is in their way any more. */
static void grant(struct lock_table *t, uint64_t ino)
{
    for (struct lock_waiter **at = &t->waiters; *at;) {
        struct lock_waiter *w = *at;
        if (w->claim.ino != ino || lock_table_conflict(t, &w->claim)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        t->waiting--;
        w->result = set(t, &w->claim);
        append(&t->granted, w);
    }
}

/* Something of it was given up. */
static void settle(struct lock_table *t, struct lock_inode *i)
{
    uint64_t ino = i->ino;
    inode_put(t, i);
    if (t->waiters)
        grant(t, ino);
}

void lock_table_give_up_flock(struct lock_table *t, const struct lock_claim *c)
{
    struct lock_inode *i = inode_find(t, c->ino);
    for (struct held_lock **at = i ? &i->locks[LOCK_FLOCK] : NULL; at && *at; at = &(*at)->next)
        if (same_owner(&(*at)->c, c) && (*at)->c.type != c->type) {
            drop(at);
            settle(t, i);
            return;
        }
}

int lock_table_set(struct lock_table *t, const struct lock_claim *c)
{
    if (c->type == F_UNLCK && !inode_find(t, c->ino))
        return 0;
    if (c->kind == LOCK_FLOCK && c->type != F_UNLCK)
        lock_table_give_up_flock(t, c);
    if (lock_table_conflict(t, c))
        return ERR_LOCKED;
    TRY(set(t, c));
    settle(t, inode_find(t, c->ino));
    return 0;
}

/* ---- waiting ---- */

/* Does the owner of c wait, through whatever chain, for want's owner? c waits or would wait. */
static bool waits_for(struct lock_table *t, const struct lock_claim *c, const struct lock_claim *want)
{
    const struct lock_inode *i = inode_find(t, c->ino);
    for (struct held_lock *l = i ? next_conflict(i->locks[LOCK_RECORD], c) : NULL; l; l = next_conflict(l->next, c)) {
        if (same_owner(&l->c, want))
            return true;
        for (struct lock_waiter *w = t->waiters; w; w = w->next) {
            if (w->claim.kind != LOCK_RECORD || w->seen == t->search || !same_owner(&w->claim, &l->c))
                continue;
            w->seen = t->search;
            if (waits_for(t, &w->claim, want))
                return true;
        }
    }
    return false;
}

int lock_table_wait(struct lock_table *t, struct lock_waiter *w)
{
    if (t->waiting == LOCK_WAITERS_MAX)
        return err_set(ERR_NO_LOCKS, "%u programs wait for locks", t->waiting);
    t->search++;
    w->seen = 0;
    if (w->claim.kind == LOCK_RECORD && waits_for(t, &w->claim, &w->claim))
        return ERR_DEADLOCK;
    append(&t->waiters, w);
    t->waiting++;
    return 0;
}

struct lock_waiter *lock_table_wait_no_more(struct lock_table *t, const struct lock_holder *h, uint64_t unique)
{
    for (struct lock_waiter **at = &t->waiters; *at; at = &(*at)->next) {
        struct lock_waiter *w = *at;
        if (w->claim.holder != h || (unique && w->unique != unique))
            continue;
        *at = w->next;
        t->waiting--;
        return w;
    }
    return NULL;
}

struct lock_waiter *lock_table_granted(struct lock_table *t)
{
    struct lock_waiter *w = t->granted;
    t->granted = NULL;
    return w;
}

uint32_t lock_table_waiting(const struct lock_table *t)
{
    return t->waiting;
}

/* ---- giving up ---- */

enum scope { OF_OWNER, OF_FILE, ALL };

static bool in_scope(const struct lock_claim *c, const struct lock_holder *h, enum scope s, uint64_t number)
{
    return c->holder == h && (s == ALL || (s == OF_OWNER ? c->owner : c->fh) == number);
}

static bool drop_some(struct lock_inode *i, enum lock_kind k, const struct lock_holder *h, enum scope s,
                      uint64_t number)
{
    bool any = false;
    for (struct held_lock **at = &i->locks[k]; *at;) {
        if (!in_scope(&(*at)->c, h, s, number)) {
            at = &(*at)->next;
            continue;
        }
        drop(at);
        any = true;
    }
    return any;
}

void lock_table_closed(struct lock_table *t, const struct lock_holder *h, uint64_t ino, uint64_t owner)
{
    struct lock_inode *i = inode_find(t, ino);
    if (i && drop_some(i, LOCK_RECORD, h, OF_OWNER, owner))
        settle(t, i);
}

void lock_table_released(struct lock_table *t, const struct lock_holder *h, uint64_t ino, uint64_t fh)
{
    struct lock_inode *i = inode_find(t, ino);
    bool records = i && drop_some(i, LOCK_RECORD, h, OF_FILE, fh);
    bool flocks = i && drop_some(i, LOCK_FLOCK, h, OF_FILE, fh);
    if (records || flocks)
        settle(t, i);
}

void lock_table_drop(struct lock_table *t, const struct lock_holder *h)
{
    for (struct lock_inode *i = t->first, *next; i; i = next) {
        next = i->next;
        bool records = drop_some(i, LOCK_RECORD, h, ALL, 0), flocks = drop_some(i, LOCK_FLOCK, h, ALL, 0);
        if (records || flocks)
            settle(t, i);
    }
}

/* ---- what was written under a lock ---- */

static bool mark_wrote(struct lock_table *t, const struct lock_holder *h, uint64_t ino, bool to)
{
    struct lock_inode *i = inode_find(t, ino);
    bool was = false;
    for (int k = 0; i && k < LOCK_KINDS; k++)
        for (struct held_lock *l = i->locks[k]; l; l = l->next)
            if (l->c.holder == h) {
                was |= l->wrote;
                l->wrote = to;
            }
    return was;
}

void lock_table_wrote(struct lock_table *t, const struct lock_holder *h, uint64_t ino)
{
    mark_wrote(t, h, ino, true);
}

bool lock_table_take_wrote(struct lock_table *t, const struct lock_holder *h, uint64_t ino)
{
    return mark_wrote(t, h, ino, false);
}

/* ---- for a successor ---- */

struct lock_record *lock_table_records(const struct lock_table *t, const struct lock_holder *h, uint32_t *ret_n)
{
    struct lock_record *v = mem_alloc(h->locks * sizeof *v);
    uint32_t n = 0;
    for (const struct lock_inode *i = t->first; i; i = i->next)
        for (int k = 0; k < LOCK_KINDS; k++)
            for (const struct held_lock *l = i->locks[k]; l; l = l->next)
                if (l->c.holder == h)
                    v[n++] = record_of(&l->c);
    *ret_n = n;
    return v;
}
