/* SPDX-License-Identifier: Apache-2.0
 *
 * The model checker. It runs the real meta, data, fs and persist code on the mem KV and the mem UFS under a scheduler
 * that decides everything: who takes the next step, which UFS request is lost, late or doubled, when the process dies.
 *
 *   world     one run's KV, UFS, page store, clock and tasks (libworld.c)
 *   spy       the KV engine between: what a task reads goes into its history, what is written into the state's hash
 * (libspy.c) actions   what clients do, the sequential model they are held to, the invariants (libactions.c,
 * libcheck.c) explore   depth first over all decisions with state hashing, or random by seed (libexplore.c)
 *
 * A step is a KV commit, or a UFS request's sending or effect, or a look at the UFS. Between two steps a task runs
 * alone. Time stands still while anybody can take a step; then it jumps to the next due time.
 *
 * A run is its list of decisions; the same list gives the same run. Everything is single-threaded; a scenario is
 * explored in a process of its own (fork), so that a failed CHECK is a finding too, and memory of dropped tasks is
 * given back.
 */
#pragma once
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "fs/fs.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "persist/persist.h"
#include "ufs/ufs_mem.h"
#include <ucontext.h>

/* ---- what clients do ---- */

enum op_kind {
    OP_PUT, /* a gets data */
    OP_DELETE,
    OP_RENAME, /* a to b; a directory's name ends in '/' */
    OP_EXCHANGE,
    OP_COPY,    /* a to b */
    OP_GET,     /* the whole object */
    OP_LOOKUP,  /* is it there? */
    OP_REWRITE, /* in place, as a mounted file is written: the same inode gets data */
    OP_REMOVE_TREE,
    OP_UPLOAD,  /* a gets data by a multipart upload */
    OP_EXT_PUT, /* somebody else writes the bucket */
    OP_EXT_DELETE
};
struct op {
    enum op_kind kind;
    const char *a, *b, *data; /* paths relative to the bucket */
};
enum { OPS = 4, CLIENTS = 3, SETUP = 8 };
struct script {
    const char *name;
    struct op op[OPS];
    size_t n;
};
struct scenario {
    const char *name;
    struct op setup[SETUP]; /* done and, unless dirty, persisted before the run */
    size_t setup_n;
    bool dirty;
    const struct script *client[CLIENTS];
    size_t clients;
    unsigned caps;     /* of the UFS; 0: UFS_MEM_CAPS */
    const char *rules; /* path configuration; NULL: WRITE_BACK everywhere */
    uint64_t sync_ms;  /* metadata sync interval; 0: never */
    bool eager;        /* pages are evicted as soon as they may be */
    bool forget_setup; /* the namespace does not know the setup's objects: they are put into the bucket directly */
    bool workers;      /* a background task a kind, instead of one that does one thing after the other */
    unsigned preempts, faults; /* how many at most; UINT_MAX: any number */
    bool refusals;             /* a request or a look that the store refuses is a fault too */
    const char *arm;           /* fault points */
};

/* Rules. What is acknowledged is in the bucket: */
#define THROUGH "{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_THROUGH\"}}"
/* What is committed in a directory appears in the bucket in that order. */
#define ORDERED                                                                                                        \
    "{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\","                                     \
    "\"properties\": {\"orderedPublication\": true}}}"
/* What is in d/ stays here; a rename of the directory takes it to where it is to be in the bucket. */
#define TRANSIENT_D                                                                                                    \
    "{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\"},"                                    \
    "\"pathRules\": [{\"alluxioPath\": \"/b/d/**\", \"policyMode\": \"TRANSIENT\"}]}"

/* ---- one run ---- */

enum choice { DO_RUN, DO_LOSE, DO_DELAY, DO_DOUBLE, DO_LOSE_ANSWER, DO_APPLY, DO_CRASH, DO_POWER, DO_REFUSE };
struct option {
    enum choice kind;
    int task;
    uint64_t request;
    bool preempt, fault;
};

struct decider {
    /* Choose among n options (n >= 2). -1: give this run up. */
    int (*choose)(void *arg, const struct option *o, size_t n, uint64_t (*state)(void));
    void *arg;
};

struct outcome {
    bool pruned;
    char complaint[2000]; /* "": fine */
    unsigned steps;
    struct buf *trace; /* NULL: not wanted */
};
void run_scenario(const struct scenario *s, const struct decider *d, struct outcome *ret);

/* ---- exploring ---- */

struct effort {
    uint64_t runs, states, steps;
    unsigned deepest;
};
/* All runs of s (up to max_runs; 0: no bound), until one complains: its schedule and complaint, else "". */
void explore_all(const struct scenario *s, uint64_t max_runs, struct effort *t, struct buf *ret_complaint);
/* One random run. name: the seed for people. */
void explore_random(const struct scenario *s, uint64_t seed, uint64_t name, struct effort *t,
                    struct buf *ret_complaint);
/* fn in a forked process; what it puts into the buffer comes back. A death is told in it too. */
void explore_apart(void (*fn)(void *arg, struct buf *ret, struct effort *t), void *arg, struct buf *ret,
                   struct effort *t);
void explore_fail(const struct buf *said); /* prints it whole and fails the test */
bool explore_quick(void);
/* How many runs of one scenario: all of them with FOREBAY_MODEL_FULL=1, a few in a quick run. */
uint64_t explore_bound(uint64_t usual);

/* ---- between the files ---- */

enum task_state { TASK_NEW, TASK_READY, TASK_SLEEP, TASK_IDLE, TASK_DONE };
enum point { AT_START, AT_COMMIT, AT_COMMITTED, AT_READ, AT_SENT, AT_EFFECT, AT_SLEEP, AT_IDLE };

struct task {
    ucontext_t ctx;
    char *stack;
    size_t stack_n;
    enum task_state state;
    enum point at;
    uint64_t request; /* AT_SENT, AT_EFFECT */
    uint64_t wake_ns, history, id_next, id_end;
    bool in_commit;
    char name[24];
    const struct script *script; /* NULL: background */
    unsigned kinds;              /* background: 1 << persist_kind */
    void *fake, *fiber;
};

/* What became of one operation. */
struct done {
    const struct op *op;
    int client;
    bool begun, acked, landed; /* landed: the bucket was seen to hold what it writes */
    int code;
    unsigned begin, end; /* order of events; end UINT_MAX while not acknowledged */
    char value[80];      /* GET: what was read, "" nothing */
};

enum { TASKS = 10, DONE = CLIENTS * OPS, HAD = 400, KEYS = 32 };

struct world {
    const struct scenario *s;
    const struct decider *d;
    struct outcome *out;
    struct kv *kv;
    struct meta *meta;
    struct fs *fs;
    struct persist *persist;
    struct page_store *pages;
    struct ufs_mem *ufs;
    uint64_t mount, now_ns;
    struct task task[TASKS];
    size_t tasks;
    int cur;                   /* running task, -1: the scheduler */
    int last;                  /* who took the last step */
    bool exploring;            /* hooks switch */
    unsigned preempts, faults; /* left */
    unsigned crashes, events, jumps;
    bool faulted, crashed;
    struct done done[DONE];
    size_t dones;
    /* what the namespace has shown at each path, in order; value NULL: nothing */
    struct had {
        char path[32];
        const char *value;
        unsigned commit; /* those of one commit came at once */
    } had[HAD];
    size_t hads;
    unsigned commits;
    /* how far in that order the bucket's key of that name has come */
    struct reached {
        char path[32];
        size_t at;
    } reached[KEYS];
    size_t reacheds;
    bool names_moved;
    /* what the UFS holds, as last seen */
    struct key {
        char key[64];
        const char *value;
    } key[KEYS];
    size_t keys;
    ucontext_t main;
};
extern struct world w;

void world_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void world_note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a line of the trace */
bool world_bad(void);
void world_step(enum point at, uint64_t request); /* the running task pauses here */
void world_advance(void);                         /* time jumps to the next due record or sleeper */
uint64_t world_next_due(void);                    /* wall ms; UINT64_MAX: none */

/* libspy.c */
extern struct kv_engine spy_engine;
void spy_reset(void);
uint64_t spy_hash(void);
void spy_rehash(struct kv *kv); /* after a power cut */

/* libactions.c */
void actions_begin(void);
int action_run(const struct op *op, struct done *d); /* by the running task, or outside of tasks */
const char *value_of_etag(const char *etag);         /* NULL: bytes nobody wrote */
const char *value_of_bytes(struct str bytes);
void value_learn(const char *data);
const char *op_text(const struct op *op);

/* libcheck.c */
void check_begin(void);
void check_names(void); /* after a commit that changed names */
void check_ufs(void);   /* after an effect */
void check_acked(const struct done *d);
void check_end(void); /* at rest */
uint64_t check_hash(void);
