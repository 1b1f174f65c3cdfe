/* SPDX-License-Identifier: Apache-2.0
 *
 * Exploring. All runs: a run follows a prefix of decisions, then takes the first option everywhere; each option not
 * taken at a state never met before is a prefix for later. Random: each decision by a generator.
 */
#include "model.h"
#include "../unit/cm.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a set of 64-bit numbers ---- */

struct set {
    uint64_t *slot;
    size_t n, cap;
};

static bool set_add(struct set *s, uint64_t v)
{
    v += !v;
    if (s->n * 2 >= s->cap) {
        struct set bigger = {.cap = s->cap ? s->cap * 2 : 4096};
        bigger.slot = mem_zero(bigger.cap, sizeof *bigger.slot);
        for (size_t i = 0; i < s->cap; i++)
            if (s->slot[i])
                set_add(&bigger, s->slot[i]);
        free(s->slot);
        *s = bigger;
    }
    size_t i = (v * 0x9e3779b97f4a7c15u >> 20) & (s->cap - 1);
    for (; s->slot[i]; i = (i + 1) & (s->cap - 1))
        if (s->slot[i] == v)
            return false;
    s->slot[i] = v;
    s->n++;
    return true;
}

/* ---- depth first ---- */

struct prefix {
    size_t n;
    unsigned char c[];
};

struct search {
    struct prefix **todo; /* in no order: a search that is cut short has seen a bit of everything */
    size_t todo_n, todo_cap;
    uint64_t random;
    struct set seen;
    unsigned char path[4096];
    size_t n, forced; /* decisions made; of them by the prefix */
};

/* The run under way, where a parent finds it when it dies. */
static struct {
    const struct scenario *s;
    struct search x;
} * last_run;

static void note_run(const struct scenario *s)
{
    if (!last_run)
        return;
    last_run->s = s;
    last_run->x.n = 0;
}

static void note_choice(size_t at, unsigned choice)
{
    if (!last_run)
        return;
    last_run->x.path[at] = (unsigned char)choice;
    last_run->x.n = at + 1;
}

static void push(struct search *s, unsigned choice)
{
    struct prefix *p = malloc(sizeof *p + s->n + 1);
    CHECK(p);
    memcpy(p->c, s->path, s->n);
    p->c[s->n] = (unsigned char)choice;
    p->n = s->n + 1;
    if (s->todo_n == s->todo_cap) {
        s->todo_cap = s->todo_cap ? 2 * s->todo_cap : 1024;
        s->todo = mem_grow(s->todo, s->todo_cap, sizeof *s->todo);
    }
    s->todo[s->todo_n++] = p;
}

static struct prefix *pull(struct search *s)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    size_t i = (s->random >> 33) % s->todo_n;
    struct prefix *p = s->todo[i];
    s->todo[i] = s->todo[--s->todo_n];
    return p;
}

static int decide_first(void *arg, const struct option *o, size_t n, uint64_t (*state)(void))
{
    struct search *s = arg;
    (void)o;
    CHECK(s->n < sizeof s->path);
    if (s->n < s->forced) {
        CHECK(s->path[s->n] < n, "the run is not the same again");
        note_choice(s->n, s->path[s->n]);
        return s->path[s->n++];
    }
    if (!set_add(&s->seen, state()))
        return -1;
    for (size_t i = n; i-- > 1;)
        push(s, (unsigned)i);
    note_choice(s->n, 0);
    s->path[s->n++] = 0;
    return 0;
}

static int decide_again(void *arg, const struct option *o, size_t n, uint64_t (*state)(void))
{
    struct search *s = arg;
    (void)o;
    (void)state;
    if (s->forced >= s->n)
        return 0;
    unsigned c = s->path[s->forced++];
    return c < n ? (int)c : 0;
}

/* The schedule of a run that went wrong, told step by step. */
static void retell(const struct scenario *s, struct search *x, const char *complaint, struct buf *ret)
{
    struct buf trace AUTO_BUF = {0};
    struct outcome out = {.trace = &trace};
    struct decider d = {decide_again, x};
    x->forced = 0;
    run_scenario(s, &d, &out);
    buf_printf(ret, "scenario %s%s: %s\n", s->name, s->arm ? s->arm : "", complaint);
    if (strcmp(out.complaint, complaint))
        buf_printf(ret, "(told again: %s)\n", out.complaint[0] ? out.complaint : "nothing is wrong");
    buf_str_add(ret, buf_str(&trace));
}

static void count(struct effort *t, const struct outcome *o, size_t depth)
{
    t->runs++;
    t->steps += o->steps;
    if (depth > t->deepest)
        t->deepest = (unsigned)depth;
}

void explore_all(const struct scenario *s, uint64_t max_runs, struct effort *t, struct buf *ret)
{
    struct search *x = MEM_NEW(struct search);
    struct decider d = {decide_first, x};
    for (bool first = true; first || x->todo_n; first = false) {
        struct outcome out = {0};
        struct prefix *p = first ? NULL : pull(x);
        x->n = x->forced = 0;
        if (p) {
            memcpy(x->path, p->c, p->n);
            x->forced = p->n;
            free(p);
        }
        note_run(s);
        run_scenario(s, &d, &out);
        count(t, &out, x->n);
        if (out.complaint[0]) {
            retell(s, x, out.complaint, ret);
            break;
        }
        if (max_runs && t->runs >= max_runs)
            break;
    }
    t->states = x->seen.n;
    while (x->todo_n)
        free(x->todo[--x->todo_n]);
    free(x->todo);
    free(x->seen.slot);
    free(x);
}

/* ---- random ---- */

struct dice {
    struct search *x;
    uint64_t state;
};

static uint64_t roll(struct dice *d)
{
    uint64_t x = d->state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Faults are rare among the options of a step, so that a run gets somewhere. */
static int decide_random(void *arg, const struct option *o, size_t n, uint64_t (*state)(void))
{
    struct dice *d = arg;
    (void)state;
    size_t c = roll(d) % n;
    if (o[c].fault && roll(d) % 12)
        c = 0;
    if (o[c].preempt && roll(d) % 3)
        c = 0;
    CHECK(d->x->n < sizeof d->x->path);
    note_choice(d->x->n, (unsigned)c);
    d->x->path[d->x->n++] = (unsigned char)c;
    return (int)c;
}

void explore_random(const struct scenario *s, uint64_t seed, uint64_t name, struct effort *t, struct buf *ret)
{
    struct search *x = MEM_NEW(struct search);
    struct dice dice = {x, seed};
    struct decider d = {decide_random, &dice};
    struct outcome out = {0};
    note_run(s);
    run_scenario(s, &d, &out);
    count(t, &out, x->n);
    if (out.complaint[0]) {
        buf_printf(ret, "FOREBAY_MODEL_SEED=%llu ", (unsigned long long)name);
        retell(s, x, out.complaint, ret);
    }
    free(x);
}

void explore_fail(const struct buf *said)
{
    fprintf(stderr, "%s\n", said->p);
    fail_msg("%.300s", said->p);
}

bool explore_quick(void)
{
    const char *q = getenv("FOREBAY_QUICK");
    return q && *q;
}

uint64_t explore_bound(uint64_t usual)
{
    const char *full = getenv("FOREBAY_MODEL_FULL");
    if (full && *full)
        return 0;
    return explore_quick() ? usual / 16 + 1 : usual;
}

/* ---- apart ---- */

static void all_of(int fd, void *p, size_t n)
{
    for (char *at = p; n;) {
        ssize_t k = write(fd, at, n);
        if (k <= 0)
            _exit(3);
        at += k;
        n -= (size_t)k;
    }
}

static void dying(int sig)
{
    (void)sig;
    if (w.out && w.out->trace && write(2, w.out->trace->p, w.out->trace->n) < 0)
        _exit(4);
    _exit(5);
}

/* A run that died is run once more, in a process that tells its steps while it dies. */
static void retell_death(void)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid) {
        CHECK(waitpid(pid, NULL, 0) == pid);
        return;
    }
    struct buf trace = {0};
    struct outcome out = {.trace = &trace};
    struct decider d = {decide_again, &last_run->x};
    static char stack[1 << 16];
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction sa = {.sa_handler = dying, .sa_flags = SA_ONSTACK};
    sigaction(SIGABRT, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    last_run->x.forced = 0;
    fprintf(stderr, "a run of %s died:\n", last_run->s->name);
    run_scenario(last_run->s, &d, &out);
    _exit(0);
}

void explore_apart(void (*fn)(void *arg, struct buf *ret, struct effort *t), void *arg, struct buf *ret,
                   struct effort *t)
{
    int fd[2], status = 0;
    if (!last_run)
        last_run = mmap(NULL, sizeof *last_run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(last_run != MAP_FAILED);
    last_run->s = NULL;
    CHECK(pipe(fd) == 0);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct buf said = {0};
        struct effort mine = {0};
        close(fd[0]);
        signal(SIGSEGV, SIG_DFL); /* cmocka's */
        signal(SIGABRT, SIG_DFL);
        fn(arg, &said, &mine);
        all_of(fd[1], &mine, sizeof mine);
        all_of(fd[1], said.p ? said.p : (char *)"", said.n);
        _exit(0);
    }
    close(fd[1]);
    struct buf got AUTO_BUF = {0};
    char part[65536];
    ssize_t n;
    while ((n = read(fd[0], part, sizeof part)) > 0)
        buf_add(&got, part, (size_t)n);
    close(fd[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    if (got.n >= sizeof *t) {
        struct effort theirs;
        memcpy(&theirs, got.p, sizeof theirs);
        t->runs += theirs.runs;
        t->states += theirs.states;
        t->steps += theirs.steps;
        t->deepest = theirs.deepest > t->deepest ? theirs.deepest : t->deepest;
        buf_str_add(ret, str_from(buf_str(&got), sizeof theirs));
    }
    if ((!WIFEXITED(status) || WEXITSTATUS(status)) && last_run->s)
        retell_death();
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        buf_printf(ret, "the run died: %s %d (its last words are above)\n",
                   WIFSIGNALED(status) ? "signal" : "exit code",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}
