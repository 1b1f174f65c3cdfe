/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: who holds which locks of files (fcntl, flock), and who waits for one. Bookkeeping only: no threads,
 * no I/O. Used by what serves mounts (locks.c) and by the keeper of a mount on another host (held.c).
 *
 * A holder is a mount; an owner is a number by which its kernel names a process (fcntl) or an open file (F_OFD_SETLK,
 * flock). Locks belong to inodes. Invariants:
 *
 *     record locks of one owner in one inode never overlap, and those of one type do not touch
 *     two record locks, or two flocks, of different owners overlap only if both are for reading
 *     the two kinds do not see each other
 *     a lock of a holder with a book has a slot there that says the same; so a successor can go on with them
 */
#pragma once
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum lock_kind { LOCK_RECORD, LOCK_FLOCK, LOCK_KINDS };
enum {
    LOCKS_MAX = 65536,       /* of one holder */
    LOCK_WAITERS_MAX = 4096, /* of all */
};

/* A lock as others are told of it. */
struct lock_record {
    uint64_t ino, owner, fh, start, end;
    uint32_t pid;
    uint16_t type; /* F_RDLCK, F_WRLCK */
    uint8_t kind;
    uint8_t used; /* 0: a free slot; written last */
};

/* ---- the book: a copy in memory that outlives the process ---- */

struct lock_book;
int lock_book_create(void); /* a descriptor of shared memory for one; -1 */
/* fd: taken over in every case. ERR_INVALID: that is no book. */
int lock_book_open(int fd, struct lock_book **ret);
struct lock_book *lock_book_close(struct lock_book *b); /* NULL is fine; returns NULL */

/* ---- the table ---- */

struct lock_holder {
    struct lock_book *book; /* NULL: none; the caller's */
    uint32_t locks;
};
/* A lock that is wanted, or held. end: the last byte; type: F_RDLCK, F_WRLCK, F_UNLCK. */
struct lock_claim {
    struct lock_holder *holder;
    uint64_t ino, owner, fh, start, end;
    int type;
    enum lock_kind kind;
    uint32_t pid;
};
/* Somebody who waits. The caller's memory, until it comes back. */
struct lock_waiter {
    struct lock_waiter *next;
    struct lock_claim claim;
    uint64_t unique; /* of the request */
    int fd;          /* where it is answered */
    int result;      /* when it is granted: 0, or ERR_NO_LOCKS */
    uint64_t seen;   /* the table's */
};

struct lock_table;
struct lock_table *lock_table_new(void);
struct lock_table *lock_table_free(struct lock_table *t); /* NULL is fine; returns NULL; nobody waits any more */

/* The first in the file of what keeps c from being granted, or NULL. Valid until the table changes. */
const struct lock_claim *lock_table_conflict(const struct lock_table *t, const struct lock_claim *c);
/* Grants it, or unlocks. ERR_LOCKED: there is a conflict; ERR_NO_LOCKS: too many. A flock of another type is given up
 * first, as flock(2) does, also when the new one is then not granted. */
int lock_table_set(struct lock_table *t, const struct lock_claim *c);
/* What lock_table_set does first: the owner's flock of another type is no more. */
void lock_table_give_up_flock(struct lock_table *t, const struct lock_claim *c);
/* After ERR_LOCKED. ERR_DEADLOCK: somebody it waits for waits for it (record locks only); ERR_NO_LOCKS: too many wait.
 */
int lock_table_wait(struct lock_table *t, struct lock_waiter *w);
/* Waits no more. NULL: nobody of this holder with this number does. unique 0: any. */
struct lock_waiter *lock_table_wait_no_more(struct lock_table *t, const struct lock_holder *h, uint64_t unique);
/* Those whose locks were granted by what happened since, in order. */
struct lock_waiter *lock_table_granted(struct lock_table *t);

/* Record locks of an owner in an inode: it closed a descriptor of it. */
void lock_table_closed(struct lock_table *t, const struct lock_holder *h, uint64_t ino, uint64_t owner);
/* Locks that belong to an open file: it is open no more. */
void lock_table_released(struct lock_table *t, const struct lock_holder *h, uint64_t ino, uint64_t fh);
void lock_table_drop(struct lock_table *t, const struct lock_holder *h); /* all */

/* The holder changed this file; the first is told whether it held a lock of it. Then, once: whether it did. */
void lock_table_wrote(struct lock_table *t, const struct lock_holder *h, uint64_t ino);
bool lock_table_take_wrote(struct lock_table *t, const struct lock_holder *h, uint64_t ino);

uint32_t lock_table_waiting(const struct lock_table *t);

/* What a holder has: n records; free() them. */
struct lock_record *lock_table_records(const struct lock_table *t, const struct lock_holder *h, uint32_t *ret_n);
/* What is in a book from earlier; free() them. */
struct lock_record *lock_book_records(const struct lock_book *b, uint32_t *ret_n);
void lock_book_clear(struct lock_book *b);
