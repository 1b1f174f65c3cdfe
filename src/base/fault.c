/* SPDX-License-Identifier: Apache-2.0
 * Fault points. Rules live in one small array under a plain mutex: only armed processes ever come here, and a point may
 * be visited under any lock. */
#include "base/fault.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum action { ACT_KILL, ACT_ABORT, ACT_ERROR, ACT_SLEEP, ACT_STOP };
enum { RULES_MAX = 64, NAME_MAX_LEN = 64 };

struct rule {
    enum fault_point point;
    enum action action;
    int code;            /* ACT_ERROR */
    uint64_t ms;         /* ACT_SLEEP */
    uint64_t hit, times; /* first visit that fires; how many do (0: all from there) */
};

struct rules {
    struct rule r[RULES_MAX];
    size_t n;
};

atomic_int fault_armed;
static struct rules armed;
static pthread_mutex_t armed_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_fast64_t visits[FAULT_COUNT + 1];
static char logged[FAULT_COUNT + 1];
static const char *log_path; /* FOREBAY_FAULT_LOG */

static const char *const texts[] = {
#define F(name, text) text,
#include "base/fault.tbl"
#undef F
    NULL};
static char names[][NAME_MAX_LEN] = {
#define F(name, text) #name,
#include "base/fault.tbl"
#undef F
    ""};

/* PAGE_SEAL_BEFORE_SYNC -> page.seal.before_sync */
static void names_make(void)
{
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        int dots = 0;
        for (char *c = names[i]; *c; c++)
            if (*c == '_' && dots < 2) {
                *c = '.';
                dots++;
            } else if (*c >= 'A' && *c <= 'Z') {
                *c = (char)(*c + 32);
            }
    }
}

const char *fault_name(enum fault_point p)
{
    return (size_t)p < FAULT_COUNT ? names[p] : "?";
}

const char *fault_text(enum fault_point p)
{
    return (size_t)p < FAULT_COUNT ? texts[p] : "?";
}

uint64_t fault_visits(enum fault_point p)
{
    return (size_t)p < FAULT_COUNT ? atomic_load(&visits[p]) : 0;
}

/* ---- parsing: point:action[@hit][*times] ---- */

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Cut s at the first c: the part before it; *rest is what follows, p NULL when there is no c. */
static struct str split(struct str s, char c, struct str *rest)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    *rest = at ? str_from(s, (size_t)(at - s.p) + 1) : str_mk(NULL, 0);
    if (at)
        s.n = (size_t)(at - s.p);
    return trim(s);
}

static int parse_point(struct str s, enum fault_point *ret)
{
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (str_eq(s, str_of(names[i]))) {
            *ret = (enum fault_point)i;
            return 0;
        }
    return err_set(ERR_INVALID, "fault list: no fault point is called \"%.*s\"", STR_ARG(s));
}

static int parse_code(struct str s, int *ret)
{
    for (int i = 0; i < ERR_IX_COUNT; i++)
        if (str_eq(s, str_of(err_info(-1 - i)->name))) {
            *ret = -1 - i;
            return 0;
        }
    return err_set(ERR_INVALID, "fault list: no error is called \"%.*s\"", STR_ARG(s));
}

static int parse_action(struct str s, struct rule *r)
{
    struct str arg, word = split(s, ' ', &arg);
    bool has_arg = arg.p != NULL;
    arg = has_arg ? trim(arg) : arg;
    if (str_eq(word, STR("error"))) {
        r->action = ACT_ERROR;
        return parse_code(arg, &r->code);
    }
    if (str_eq(word, STR("sleep"))) {
        r->action = ACT_SLEEP;
        return str_u64(arg, 86400000, &r->ms)
                   ? 0
                   : err_set(ERR_INVALID, "fault list: sleep needs milliseconds, not \"%.*s\"", STR_ARG(arg));
    }
    r->action = str_eq(word, STR("kill")) ? ACT_KILL : str_eq(word, STR("abort")) ? ACT_ABORT : ACT_STOP;
    if (has_arg || (r->action == ACT_STOP && !str_eq(word, STR("stop"))))
        return err_set(ERR_INVALID, "fault list: \"%.*s\" is none of kill, abort, stop, error CODE, sleep MS",
                       STR_ARG(s));
    return 0;
}

static int parse_count(struct str s, const char *what, uint64_t *ret)
{
    if (s.p && !str_u64(trim(s), UINT32_MAX, ret))
        return err_set(ERR_INVALID, "fault list: %s must be a number, not \"%.*s\"", what, STR_ARG(s));
    return 0;
}

static int parse_rule(struct str s, struct rule *r)
{
    struct str times, hit, action, point;
    s = split(s, '*', &times);
    s = split(s, '@', &hit);
    point = split(s, ':', &action);
    if (!action.p)
        return err_set(ERR_INVALID, "fault list: \"%.*s\" is not of the form point:action[@hit][*times]", STR_ARG(s));
    *r = (struct rule){.hit = 1, .times = 1};
    TRY(parse_point(point, &r->point));
    TRY(parse_action(trim(action), r));
    TRY(parse_count(hit, "the visit after @", &r->hit));
    TRY(parse_count(times, "the count after *", &r->times));
    if (r->hit == 0)
        return err_set(ERR_INVALID, "fault list: visits are counted from 1, not 0");
    return 0;
}

static int parse_rules(struct str s, struct rules *ret)
{
    while (s.p) {
        struct str rest, one = split(s, ',', &rest);
        if (one.n) {
            if (ret->n == RULES_MAX)
                return err_set(ERR_INVALID, "fault list: more than %d rules", RULES_MAX);
            TRY(parse_rule(one, &ret->r[ret->n]));
            ret->n++;
        }
        s = rest;
    }
    return 0;
}

int fault_arm(const char *spec)
{
    struct rules fresh = {.n = 0};
    TRY(parse_rules(str_of(spec), &fresh));
    pthread_mutex_lock(&armed_lock);
    armed = fresh;
    if (fresh.n) /* visits count from here; a disarmed process keeps its counts for reading */
        for (size_t i = 0; i < FAULT_COUNT; i++)
            atomic_store(&visits[i], 0);
    atomic_store(&fault_armed, fresh.n != 0 || log_path != NULL);
    pthread_mutex_unlock(&armed_lock);
    return 0;
}

/* ---- visiting ---- */

static void log_visit(enum fault_point p)
{
    char line[NAME_MAX_LEN + 1];
    int n = snprintf(line, sizeof line, "%s\n", fault_name(p));
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        fprintf(stderr, "forebay: cannot write FOREBAY_FAULT_LOG %s\n", log_path);
    if (fd >= 0)
        close(fd);
}

static int act(const struct rule *r)
{
    switch (r->action) {
    case ACT_KILL:
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    case ACT_ABORT:
        abort();
    case ACT_STOP:
        kill(getpid(), SIGSTOP);
        return 0;
    case ACT_SLEEP:
        clock_sleep_ms(r->ms);
        return 0;
    case ACT_ERROR:
        return err_set(r->code, "asked for at fault point %s", fault_name(r->point));
    }
    return 0;
}

int fault_hit(enum fault_point p)
{
    struct rules firing = {.n = 0};
    pthread_mutex_lock(&armed_lock);
    uint64_t visit = atomic_fetch_add(&visits[p], 1) + 1;
    if (log_path && !logged[p]) {
        logged[p] = 1;
        log_visit(p);
    }
    for (size_t i = 0; i < armed.n; i++) {
        const struct rule *r = &armed.r[i];
        if (r->point == p && visit >= r->hit && (r->times == 0 || visit - r->hit < r->times))
            firing.r[firing.n++] = *r;
    }
    pthread_mutex_unlock(&armed_lock);
    int result = 0;
    for (size_t i = 0; i < firing.n; i++) {
        int code = act(&firing.r[i]);
        result = result ? result : code;
    }
    return result;
}

/* A list that does not parse ends the process: a test that armed nothing would pass for the wrong reason. */
__attribute__((constructor)) static void fault_start(void)
{
    names_make();
    log_path = getenv("FOREBAY_FAULT_LOG");
    if (log_path && !*log_path)
        log_path = NULL;
    if (fault_arm(getenv("FOREBAY_FAULT")) < 0) {
        fprintf(stderr, "forebay: FOREBAY_FAULT: %s\n", err_detail(ERR_INVALID));
        _exit(2);
    }
}
