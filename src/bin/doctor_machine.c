/* SPDX-License-Identifier: Apache-2.0
 *
 * The doctor's look at the machine: descriptors, memory, the clock, the kernel; and at the addresses Forebay listens
 * on.
 */
#include "admin/admin.h"
#include "base/err.h"
#include "bin/doctor.h"
#include "conf/conf.h"
#include "conf/dirs.h"
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <time.h>

/* ---- numbers of the kernel ---- */

/* The number behind a word at the start of a line, or of the file when word is "". False: not there, or "max". */
static bool read_number(const char *file, const char *word, uint64_t *ret)
{
    FILE *f AUTO_FCLOSE = fopen(file, "re");
    char line[300];
    size_t n = strlen(word);
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, word, n) != 0)
            continue;
        const char *at = line + n + strspn(line + n, " \t");
        size_t digits = strspn(at, "0123456789");
        return str_u64(str_mk(at, digits), UINT64_MAX, ret);
    }
    return false;
}

static uint64_t cache_pages(const struct doctor_host *h)
{
    struct conf_dirs d = {0};
    uint64_t bytes = 0;
    if (conf_page_dirs(h->conf, h->data, &d) < 0)
        return 0;
    for (size_t i = 0; i < d.n; i++)
        bytes += d.dir[i].bytes ? d.dir[i].bytes : (uint64_t)10 << 30;
    conf_dirs_done(&d);
    return bytes / (128 << 10); /* objects may be small: many more pages than the largest size gives */
}

/* ---- descriptors ---- */

static void look_at_descriptors(const struct doctor_host *h, json_t *f)
{
    uint64_t need = conf_u64(h->conf, PROP_S3_CONNECTIONS_MAX) + 2000, have = 0;
    char file[64];
    struct rlimit r;
    snprintf(file, sizeof file, "/proc/%ld/limits", h->pid);
    if (!(h->pid && read_number(file, "Max open files", &have)) && getrlimit(RLIMIT_NOFILE, &r) == 0)
        have = r.rlim_max; /* a start raises the soft limit to this */
    if (have >= need)
        doctor_say(f, DOCTOR_OK, "limits.files", "", "", "%llu files may be open", (unsigned long long)have);
    else
        doctor_say(f, DOCTOR_WARN, "limits.files", "the limit of the process is low",
                   "LimitNOFILE= of its systemd unit, 'ulimit -Hn', or a smaller forebay.s3.connections.max",
                   "%llu files may be open, %llu connections and segments may need one", (unsigned long long)have,
                   (unsigned long long)need);
}

/* ---- memory ---- */

static void look_at_memory(const struct doctor_host *h, json_t *f)
{
    uint64_t have = 0, limit, used = 0;
    uint64_t need = conf_size(h->conf, PROP_KV_CACHE) + cache_pages(h) * 48 + ((uint64_t)256 << 20);
    if (h->pid || !read_number("/proc/meminfo", "MemAvailable:", &have))
        return; /* it runs: what it needs it has */
    have *= 1024;
    if (read_number("/sys/fs/cgroup/memory.max", "", &limit) && read_number("/sys/fs/cgroup/memory.current", "", &used))
        have = limit > used && limit - used < have ? limit - used : have;
    if (have >= need)
        doctor_say(f, DOCTOR_OK, "memory", "", "", "%s are available, about %s are needed", doctor_size(have),
                   doctor_size(need));
    else
        doctor_say(f, DOCTOR_WARN, "memory", "the machine or its control group is small for this configuration",
                   "lower alluxio.worker.page.store.sizes or forebay.kv.cache.size, or add memory",
                   "%s are available, about %s may be needed", doctor_size(have), doctor_size(need));
}

/* ---- clock and kernel ---- */

static void look_at_clock(json_t *f)
{
    struct timex t = {0};
    int state = adjtimex(&t);
    if (time(NULL) < 1700000000)
        doctor_say(f, DOCTOR_FAIL, "clock", "it was never set", "set it, and run chrony or systemd-timesyncd",
                   "the clock is years behind: S3 stores will refuse every request");
    else if (state == TIME_ERROR)
        doctor_say(
            f, DOCTOR_WARN, "clock", "no time service sets it",
            "run chrony or systemd-timesyncd: S3 stores refuse requests that are 15 minutes off, and conflicts are "
            "judged by time",
            "the kernel does not know the clock to be right");
    else
        doctor_say(f, DOCTOR_OK, "clock", "", "", "the clock is synchronised");
}

static void look_at_backlog(json_t *f)
{
    uint64_t n;
    if (read_number("/proc/sys/net/core/somaxconn", "", &n) && n < 1024)
        doctor_say(f, DOCTOR_WARN, "kernel.backlog", "net.core.somaxconn is small", "sysctl -w net.core.somaxconn=4096",
                   "at most %llu clients may be connecting at once", (unsigned long long)n);
}

void doctor_machine(const struct doctor_host *h, json_t *findings)
{
    look_at_descriptors(h, findings);
    look_at_memory(h, findings);
    look_at_clock(findings);
    look_at_backlog(findings);
}

/* ---- addresses ---- */

static int try_bind(const char *host, uint64_t port)
{
    char service[24];
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *a = NULL;
    int one = 1, r = 0;
    snprintf(service, sizeof service, "%llu", (unsigned long long)port);
    int e = getaddrinfo(host, service, &hints, &a);
    if (e != 0)
        return err_set(ERR_INVALID, "%s", gai_strerror(e));
    int fd AUTO_CLOSE = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) != 0)
        r = err_set(err_from_errno(errno), "%s", strerror(errno));
    freeaddrinfo(a);
    return r;
}

static void look_at_port(const struct conf *c, enum conf_prop host, enum conf_prop port, json_t *f)
{
    uint64_t n = conf_u64(c, port);
    const char *h = conf_string(c, host);
    if (n == 0)
        return;
    int r = try_bind(h, n);
    if (r == 0)
        doctor_say(f, DOCTOR_OK, "port", "", "", "%s:%llu is free (%s)", h, (unsigned long long)n, conf_name(port));
    else
        doctor_say(f, DOCTOR_FAIL, "port", err_detail(r),
                   "'ss -ltnp' tells which program has it; stop that one, or set another port or address",
                   "%s:%llu cannot be taken (%s, %s)", h, (unsigned long long)n, conf_name(port), conf_name(host));
}

static void look_at_guard(const struct conf *c, json_t *f)
{
    const char *s3 = conf_string(c, PROP_S3_BIND), *admin = conf_string(c, PROP_ADMIN_BIND);
    const char *auth = conf_string(c, PROP_AUTH_TYPE);
    bool open = strcasecmp(auth, "SIMPLE") == 0 || strcasecmp(auth, "NOSASL") == 0;
    if (conf_bool(c, PROP_S3_ENABLED) && open && !admin_loopback(s3))
        doctor_say(f, DOCTOR_WARN, "s3.open", "signatures are not checked with this authentication type",
                   "let only trusted hosts reach it, or set forebay.s3.bind.address to 127.0.0.1",
                   "everybody who reaches %s can read and write everything (%s=%s)", s3, conf_name(PROP_AUTH_TYPE),
                   auth);
    if (!admin_loopback(admin) && !conf_string(c, PROP_ADMIN_TOKEN)[0])
        doctor_say(f, DOCTOR_FAIL, "admin.open", "admin calls from other machines need a token",
                   "set forebay.admin.token, or forebay.admin.bind.address to 127.0.0.1",
                   "the admin endpoint cannot start on %s", admin);
}

void doctor_network(const struct doctor_host *h, json_t *findings)
{
    const struct conf *c = h->conf;
    if (!h->pid) { /* else they are taken, by it */
        if (conf_bool(c, PROP_S3_ENABLED))
            look_at_port(c, PROP_S3_BIND, PROP_S3_PORT, findings);
        if (conf_bool(c, PROP_S3_ENABLED) && conf_string(c, PROP_S3_TLS_CERT)[0])
            look_at_port(c, PROP_S3_BIND, PROP_S3_TLS_PORT, findings);
        look_at_port(c, PROP_ADMIN_BIND, PROP_COORDINATOR_REST_PORT, findings);
    }
    look_at_guard(c, findings);
}
