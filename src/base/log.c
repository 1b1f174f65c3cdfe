/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static atomic_int level_min = LOG_INFO;
static atomic_int out_fd = STDERR_FILENO;
static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

/* Levels by name: a place is filled once and stays its name's; only its level changes. Readers take no lock. */
static struct named {
    char name[LOG_NAME_MAX];
    atomic_int level;
} named[LOG_NAMES];
static atomic_uint named_n;
static pthread_mutex_t named_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_below(const char *event, const char *name)
{
    size_t n = strlen(name);
    return strncmp(event, name, n) == 0 && (event[n] == 0 || event[n] == '.');
}

/* The level of the longest name that fits, else everybody's. */
static int level_of(const char *event)
{
    int level = atomic_load_explicit(&level_min, memory_order_relaxed);
    size_t best = 0;
    for (unsigned i = 0, n = atomic_load_explicit(&named_n, memory_order_acquire); i < n; i++)
        if (strlen(named[i].name) > best && is_below(event, named[i].name)) {
            best = strlen(named[i].name);
            level = atomic_load_explicit(&named[i].level, memory_order_relaxed);
        }
    return level;
}

static void add_time(struct buf *b)
{
    uint64_t ms = clock_wall_ms();
    time_t s = (time_t)(ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
               t.tm_sec, (unsigned)(ms % 1000));
}

/* Names come from strangers: a line break in one must not look like an event of its own. */
static void add_escaped(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            buf_putz(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\x%02x", c);
        else
            buf_u8(b, c);
    }
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    if ((int)level < level_of(event))
        return;
    int eno = errno;
    struct buf text AUTO_BUF = {0}, line AUTO_BUF = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    add_time(&line);
    buf_printf(&line, " %s %s ", level_names[level], event);
    add_escaped(&line, buf_str(&text));
    if (text.n == 0)
        line.n--;
    buf_u8(&line, '\n');
    /* One write a line, so that lines of threads do not mix. There is nowhere to report a failure to. */
    ssize_t done = write(atomic_load(&out_fd), line.p, line.n);
    (void)done;
    errno = eno;
}

void log_set_level(enum log_level level)
{
    atomic_store(&level_min, (int)level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load(&level_min);
}

/* Under the lock. */
static struct named *place_of(const char *name)
{
    unsigned n = atomic_load(&named_n);
    for (unsigned i = 0; i < n; i++)
        if (strcmp(named[i].name, name) == 0)
            return &named[i];
    return n < LOG_NAMES ? &named[n] : NULL;
}

int log_set_name_level(const char *name, enum log_level level)
{
    if (strlen(name) >= LOG_NAME_MAX || !name[0])
        return err_set(ERR_INVALID, "'%s' is no name of events", name);
    pthread_mutex_lock(&named_lock);
    struct named *p = place_of(name);
    if (p)
        atomic_store(&p->level, (int)level);
    if (p && !p->name[0]) {
        snprintf(p->name, sizeof p->name, "%s", name);
        atomic_fetch_add_explicit(&named_n, 1, memory_order_release);
    }
    pthread_mutex_unlock(&named_lock);
    return p ? 0 : err_set(ERR_LIMIT, "levels of %d names are set already", LOG_NAMES);
}

const char *log_name_level(unsigned i, enum log_level *ret)
{
    if (i >= atomic_load_explicit(&named_n, memory_order_acquire))
        return NULL;
    *ret = (enum log_level)atomic_load(&named[i].level);
    return named[i].name;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_from(const char *word, enum log_level *ret)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (str_ieq(str_of(word), str_of(level_names[i]))) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

int log_open(const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set(err_from_errno(errno), "cannot open log file %s: %m", file);
    int old = atomic_load(&out_fd);
    if (old == STDERR_FILENO) {
        atomic_store(&out_fd, fd);
        return 0;
    }
    /* Reopening after a rotation: keep the number, other threads may be about to write to it. */
    int r = dup3(fd, old, O_CLOEXEC);
    int eno = errno;
    close(fd);
    return r < 0 ? err_set(err_from_errno(eno), "cannot switch to log file %s", file) : 0;
}

__attribute__((constructor)) static void log_start(void)
{
    const char *want = getenv("FOREBAY_LOG");
    enum log_level level;
    if (want && log_level_from(want, &level))
        log_set_level(level);
}
