/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: a request, its answer, and the host they belong to. */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/trace.h"
#include "fs/posix.h"
#include "fuse/fuse.h"
#include "fuse/link.h"
#include "fuse/locks.h"
#include "fuse/mounting.h"
#include "fuse/stream.h"
#include <linux/fuse.h>
#include <stdatomic.h>

enum {
    HOST_MAX_IO = 1 << 20,            /* bytes of one read or write */
    HOST_BUFFER = HOST_MAX_IO + 4096, /* with its header, as the kernel asks */
    HOST_OPS = 64,                    /* opcodes below */
    RESEND_MINOR = 40                 /* of the protocol, from which on the kernel can ask again */
};

struct fuse_host {
    struct fs_px *px;
    const struct conf *conf;
    char *mountpoint;
    struct mounting *mounting;
    struct numbers *files, *dirs;
    struct inherited *inherited;
    int fd;
    struct stream *calls, *notices; /* instead of fd: a keeper on another host; else NULL */
    struct lock notice;             /* RANK_FUSE + 1: one notice at a time */
    uint64_t root;                  /* inode that node 1 stands for */
    struct lock_session *locks;     /* NULL: the kernel keeps them by itself */
    atomic_bool comes_back;         /* the mount goes on after us: its locks stay */
    uint32_t minor;                 /* of the kernel's protocol, after INIT */
    struct timespec keep;           /* how long the kernel may keep names and attributes */
    int holder;                     /* connection to the holder; -1: there is none */
    uint32_t nonce;
    uint32_t crashed; /* nonce of the last server that died: its writers, and older ones, lost what was not published;
                         0: none */
    atomic_bool ready, stopping, gone;
    struct lock lock; /* RANK_FUSE: threads */
    pthread_cond_t changed;
    unsigned threads, idle, threads_max;
    pthread_t *thread; /* threads_max of them, started ones first; joined at the end */
    unsigned started;
};

/* One request, on the stack of the thread that read it. */
struct fuse_req {
    struct fuse_host *h;
    int fd; /* this thread's clone of the device */
    const struct fuse_in_header *in;
    const char *arg; /* behind the header */
    size_t n;
    char *out; /* HOST_BUFFER bytes for an answer */
    bool answered;
};

/* An opcode: what it needs at least behind the header, and who does it. A handler returns 0 after it answered (or set
 * `answered`, where somebody else will), or a code that becomes the errno of the answer. */
struct fuse_op {
    const char *name;
    int (*run)(struct fuse_req *q);
    size_t min;
    bool silent; /* the kernel wants no answer */
};
extern const struct fuse_op fuse_ops[HOST_OPS];

void req_answer(struct fuse_req *q, const void *p, size_t n);
void req_error(struct fuse_req *q, int eno);
/* Of a request whose handler returned without one (locks.c). eno: 0 or what is wrong. */
void host_answer(struct fuse_host *h, int fd, uint64_t unique, int eno);
/* The NUL-terminated name that starts at the argument's byte at; ERR_INVALID when there is none. *next (may be NULL):
 * behind it. */
int req_name(const struct fuse_req *q, size_t at, struct str *ret, size_t *next);
static inline uint64_t req_ino(const struct fuse_req *q, uint64_t node)
{
    return node == FUSE_ROOT_ID ? q->h->root : node;
}
/* The open file behind a number of the kernel's; node: whose it is. ERR_STALE; of a mount that was taken over: errors
 * of opening. */
int req_handle(struct fuse_req *q, uint64_t fh, uint64_t node, struct fs_px_handle **ret);

uint32_t attr_type_bits(enum fs_type t);
enum fs_type attr_type_of(uint32_t mode);
void attr_fill(const struct fs_px_stat *st, struct fuse_attr *ret);
void entry_fill(const struct fuse_host *h, const struct fs_px_stat *st, struct fuse_entry_out *ret);

/* Handlers, by file. */
int op_init(struct fuse_req *q);
int op_destroy(struct fuse_req *q);
int op_nothing(struct fuse_req *q);
int op_lookup(struct fuse_req *q);
int op_mkdir(struct fuse_req *q);
int op_mknod(struct fuse_req *q);
int op_symlink(struct fuse_req *q);
int op_readlink(struct fuse_req *q);
int op_link(struct fuse_req *q);
int op_unlink(struct fuse_req *q);
int op_rmdir(struct fuse_req *q);
int op_rename(struct fuse_req *q);
int op_rename2(struct fuse_req *q);
int op_getattr(struct fuse_req *q);
int op_setattr(struct fuse_req *q);
int op_statfs(struct fuse_req *q);
int op_getxattr(struct fuse_req *q);
int op_setxattr(struct fuse_req *q);
int op_listxattr(struct fuse_req *q);
int op_removexattr(struct fuse_req *q);
int op_open(struct fuse_req *q);
int op_create(struct fuse_req *q);
int op_tmpfile(struct fuse_req *q);
int op_read(struct fuse_req *q);
int op_write(struct fuse_req *q);
int op_flush(struct fuse_req *q);
int op_fsync(struct fuse_req *q);
int op_release(struct fuse_req *q);
int op_fallocate(struct fuse_req *q);
int op_lseek(struct fuse_req *q);
int op_copy_range(struct fuse_req *q);
int op_getlk(struct fuse_req *q);
int op_setlk(struct fuse_req *q);
int op_setlkw(struct fuse_req *q);
int op_interrupt(struct fuse_req *q);
int op_opendir(struct fuse_req *q);
int op_readdir(struct fuse_req *q);
int op_readdirplus(struct fuse_req *q);
int op_releasedir(struct fuse_req *q);
int op_fsyncdir(struct fuse_req *q);

void host_news(const struct fuse_host *h, enum link_state state, struct link_news *ret);

/* notify.c: told by the door. */
void host_changed(void *arg, uint64_t parent, struct str name, uint64_t ino);
/* What an earlier process had read and not answered comes again. */
void host_resend(struct fuse_host *h);

/* numbers.c: numbers for what is open. nonce: of this process, never that of an earlier one whose mount it takes over.
 */
enum { NUMBER_WRITER = 1u << 30 };
struct numbers;
struct numbers *numbers_new(uint32_t nonce);
struct numbers *numbers_free(struct numbers *t,
                             void (*fn)(void *p)); /* fn gets what is left; NULL is fine; returns NULL */
/* writer: is told by the number itself, to successors too. */
int numbers_put(struct numbers *t, void *p, bool writer, uint64_t *ret);
static inline bool numbers_writer(uint64_t number)
{
    return number & (uint32_t)NUMBER_WRITER;
}
bool numbers_ours(const struct numbers *t, uint64_t number);
void *numbers_get(struct numbers *t, uint64_t number); /* NULL: not ours, or not given */
/* fn is called under the table's lock, with each; the one it says true of, or NULL. It may be taken back by now. */
void *numbers_find(struct numbers *t, bool (*fn)(void *arg, void *p), void *arg);
void *numbers_take(struct numbers *t, uint64_t number); /* the same, and the number is free again */

/* open.c: open files, also those of an earlier process. take: the caller's to release; NULL: there is none. */
struct inherited;
struct inherited *inherited_new(void);
struct inherited *inherited_free(struct inherited *t);
void host_free_dir(void *p); /* ops_dir.c: of what dirs holds */
/* Attributes of a directory that was removed while it is open; false: it is not open. */
bool host_removed_dir(struct fuse_host *h, uint64_t ino, struct fs_px_stat *ret);
struct fs_px_handle *host_take_handle(struct fuse_host *h, uint64_t fh);
/* Its locks are somebody else's by now: it answers EIO until it is closed. */
void host_lose_file(void *host, uint64_t fh);
bool host_lost_file(struct fuse_host *h, uint64_t fh);
bool host_lost_any(struct fuse_host *h);

/* figures.c: one request of this opcode took this long; r: its code. */
void figures_count(uint32_t opcode, uint64_t ns, int r);

/* serve.c */
int serve_start(struct fuse_host *h);
void serve_stop(struct fuse_host *h);
