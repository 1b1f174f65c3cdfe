/* SPDX-License-Identifier: Apache-2.0
 *
 * Two clusters must not work on one place of a UFS: neither would know the other's claims. The object .forebay/lock
 * says who works there: the cluster, and the process with its host and the time until which its word holds. It is taken
 * when a mount is opened, renewed while it is open, removed when it is closed.
 *
 * Taken over is the lock of the same cluster (the same metadata, so the same claims), of a process of this host that is
 * dead, and one that was not renewed in time. A UFS where nothing may be written has no lock: nobody changes it.
 */
#include "meta/tx.h"
#include <signal.h>

#define FENCE_KEY STR(".forebay/lock")
enum { FENCE_MS = 120000, FENCE_BYTES = 1024 };

struct fence {
    char cluster[40], host[64], start[32];
    long pid;
    uint64_t until_ms;
};

static void read_word(const char *file, char *out, size_t n)
{
    FILE *f AUTO_FCLOSE = fopen(file, "re");
    out[0] = 0;
    if (f && fgets(out, (int)n, f))
        out[strcspn(out, "\n")] = 0;
}

/* When a process began, in the kernel's ticks: tells a process from a later one of the same number. */
static void start_of(long pid, char out[32])
{
    char file[64], line[1024];
    snprintf(file, sizeof file, "/proc/%ld/stat", pid);
    read_word(file, line, sizeof line);
    char *p = strrchr(line, ')');
    out[0] = 0;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p)
        snprintf(out, 32, "%.*s", (int)strcspn(p + 1, " "), p + 1);
}

static void self(struct meta *m, struct fence *f)
{
    *f = (struct fence){.pid = getpid(), .until_ms = clock_wall_ms() + FENCE_MS};
    snprintf(f->cluster, sizeof f->cluster, "%s", m->cluster);
    read_word("/proc/sys/kernel/random/boot_id", f->host, sizeof f->host);
    start_of(f->pid, f->start);
}

static void print_fence(const struct fence *f, struct buf *b)
{
    buf_printf(b, "cluster=%s\nhost=%s\npid=%ld\nstart=%s\nuntil=%llu\n", f->cluster, f->host, f->pid, f->start,
               (unsigned long long)f->until_ms);
}

static void field(const char *text, const char *name, char *out, size_t n)
{
    const char *p = strstr(text, name);
    out[0] = 0;
    if (p)
        snprintf(out, n, "%.*s", (int)strcspn(p + strlen(name), "\n"), p + strlen(name));
}

static void parse_fence(const char *text, struct fence *f)
{
    char n[32];
    field(text, "cluster=", f->cluster, sizeof f->cluster);
    field(text, "host=", f->host, sizeof f->host);
    field(text, "start=", f->start, sizeof f->start);
    field(text, "pid=", n, sizeof n);
    f->pid = strtol(n, NULL, 10);
    field(text, "until=", n, sizeof n);
    f->until_ms = strtoull(n, NULL, 10);
}

static int add_text(void *arg, const void *p, size_t n)
{
    struct buf *b = arg;
    if (b->n + n > FENCE_BYTES)
        return ERR_CORRUPT;
    buf_add(b, p, n);
    return 0;
}

struct text {
    struct str left;
};

static ssize_t give_text(void *arg, void *p, size_t n)
{
    struct text *t = arg;
    if (n > t->left.n)
        n = t->left.n;
    memcpy(p, t->left.p, n);
    t->left = str_from(t->left, n);
    return (ssize_t)n;
}

/* ver: the version that was read, "" nothing was there; the store refuses when it is another by now, where it can. */
static int put_fence(struct ufs *u, const struct fence *f, const char *ver)
{
    struct buf b AUTO_BUF = {0};
    struct ufs_stat st;
    print_fence(f, &b);
    struct text t = {buf_str(&b)};
    struct ufs_put_opts o = {.size = b.n};
    o.if_match = ver[0] && (ufs_caps(u) & UFS_CAP_IF_MATCH) ? ver : NULL;
    o.if_none_match = !ver[0] && (ufs_caps(u) & UFS_CAP_IF_NONE_MATCH);
    int r = ufs_put(u, FENCE_KEY, &o, give_text, &t, &st);
    if (r == ERR_PRECONDITION)
        return err_set(ERR_BUSY, "another Forebay took the under file system at this moment");
    return r == ERR_DENIED ? 0 : r;
}

/* What stands there now; *f all zero and ver "" when nothing does. */
static int read_fence(struct ufs *u, struct fence *f, char ver[96])
{
    struct buf b AUTO_BUF = {0};
    struct ufs_stat st;
    *f = (struct fence){0};
    ver[0] = 0;
    int r = ufs_stat(u, FENCE_KEY, &st, NULL, NULL);
    if (r == ERR_NOT_FOUND || r == ERR_DENIED)
        return 0;
    TRY(r);
    r = ufs_read(u, FENCE_KEY, 0, FENCE_BYTES, NULL, add_text, &b);
    if (r == ERR_NOT_FOUND)
        return 0;
    if (r < 0 && r != ERR_CORRUPT)
        return r;
    snprintf(ver, 96, "%s", st.version);
    if (b.n)
        parse_fence(b.p, f);
    return 0;
}

static bool dead(const struct fence *f, const struct fence *me)
{
    char start[32];
    if (strcmp(f->host, me->host))
        return clock_wall_ms() > f->until_ms;
    if (f->pid == me->pid)
        return !strcmp(f->start, me->start) ? clock_wall_ms() > f->until_ms : true;
    if (kill((pid_t)f->pid, 0) < 0 && errno == ESRCH)
        return true;
    start_of(f->pid, start);
    return strcmp(start, f->start) != 0;
}

int fence_take(struct meta *m, struct ufs *u, const char *uri)
{
    struct fence me, other;
    char ver[96];
    self(m, &me);
    TRY(read_fence(u, &other, ver));
    if (other.cluster[0] && strcmp(other.cluster, me.cluster) && !dead(&other, &me))
        return err_set(
            ERR_BUSY,
            "%s is in use by another Forebay (process %ld, metadata %s): unmount it there first, or wait two "
            "minutes after that one has died",
            uri, other.pid, other.cluster);
    return put_fence(u, &me, ver);
}

/* Only what is ours is removed. */
void fence_drop(struct meta *m, struct ufs *u)
{
    struct fence other;
    char ver[96];
    if (u && read_fence(u, &other, ver) == 0 && !strcmp(other.cluster, m->cluster))
        ufs_delete(u, FENCE_KEY, NULL);
}

/* A process that was stopped for longer than its word held may find somebody else there: it sends nothing any more. */
static int renew(void *arg, struct meta_mount *mt)
{
    struct meta *m = arg;
    struct fence me, other;
    struct ufs *u;
    char ver[96];
    if (m->read_only || meta_mount_ufs(m, mt, &u) < 0)
        return 0;
    self(m, &me);
    if (read_fence(u, &other, ver) < 0)
        return 0;
    if (other.cluster[0] && strcmp(other.cluster, me.cluster)) {
        LOCKED(&m->lock);
        mt->fenced = true;
        return 0;
    }
    put_fence(u, &me, ver);
    return 0;
}

void meta_mount_renew(struct meta *m)
{
    meta_mount_each(m, renew, m);
}
