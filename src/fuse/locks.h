/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: locks of files (fcntl, flock) that hold between all mounts of an instance.
 *
 * A session is what a mount has here. It outlives the host that serves the mount: while a connection is lost, and while
 * the instance is being stopped, nobody may be granted what the programs there believe to have.
 *
 *     attached (a host serves it) -> lost (until its keeper comes back, or the time for that is over) -> gone
 *                                 -> over (the mount has ended) -> gone
 *
 * A successor of the instance knows of locks what the keepers tell it: a book (lock_table.h) or records. Until all
 * mounts of before have come back, or GRACE_MS passed, it grants none. `fuse.kept` in the data directory says how many
 * there are.
 *
 * What a mount writes while it has a lock of the file is taken out of the other mounts' caches before the lock is given
 * up. A mount that may have missed that, because nobody served it, is made to forget a file when it locks it first.
 *
 * Threads: any. Nothing is sent under the lock.
 */
#pragma once
#include "fuse/fuse.h"
#include "fuse/lock_table.h"

struct lock_session;
struct fuse_req;

/* What a mount brings along. */
struct locks_mount {
    bool kept;                        /* it may come back after us */
    bool away;                        /* on another host: what its process numbers say is nothing here */
    bool taken;                       /* another host served it before, of this process or another */
    uint64_t id;                      /* by which it is known again while its session is lost; 0: it never is */
    struct lock_book *book;           /* taken over; NULL: none */
    const struct lock_record *record; /* or what the keeper remembers; as long as the call lasts */
    uint32_t records;
};
/* What of it somebody else has by now is told by lost(arg, fh): that open file is of no use any more. */
/* A host of before that has not found out that its connection is lost is waited for. */
void locks_attach(struct fuse_locks *k, struct fuse_host *h, const struct locks_mount *m,
                  void (*lost)(void *arg, uint64_t fh), void *arg, struct lock_session **ret);
/* It is not told of writes from now on; on return nobody is telling it. While its requests are served still: who tells
 * a kernel to forget pages may have to wait for their reader. NULL is fine. */
void locks_quiet(struct lock_session *s);
/* Nobody waits there any more, and nothing is sent to the host from now on. answer: those who waited get ENOLCK;
 * else their kernel asks the next one again. NULL is fine. */
void locks_detach(struct lock_session *s, bool answer);
/* After locks_quiet, locks_detach and the end of the device. over: the mount is no more, its locks are free; else they
 * stay for who comes back. */
void locks_end(struct lock_session *s, bool over);
/* Those whose time is over. Called now and then. */
void locks_expire(struct fuse_locks *k);

/* ERR_LOCKED, ERR_NO_LOCKS, ERR_DEADLOCK, ERR_INTERRUPTED. *ret_waits: it is answered later. */
int locks_set(struct lock_session *s, struct lock_claim *c, const struct fuse_req *wait, bool *ret_waits);
/* False: nothing is in the way. pid 0 where it means nothing here. */
bool locks_test(struct lock_session *s, struct lock_claim *c, struct lock_claim *ret);
void locks_interrupt(struct lock_session *s, uint64_t unique);
void locks_closed(struct lock_session *s, uint64_t ino, uint64_t owner);
void locks_released(struct lock_session *s, uint64_t ino, uint64_t fh);
/* This mount changed the content of the file. */
void locks_wrote(struct lock_session *s, uint64_t ino);
