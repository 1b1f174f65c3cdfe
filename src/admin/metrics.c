/* SPDX-License-Identifier: Apache-2.0
 *
 * /metrics in Prometheus' text format. The names Alluxio has keep their names; the rest begins with forebay_.
 */
#include "admin/rest.h"
#include "base/clock.h"
#include "base/version.h"
#include "base/spread.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "persist/persist.h"
#include "ufs/ufs.h"
#include "base/mem.h"
#include <math.h>
#include <sys/resource.h>

enum { BACKLOG_QUICK_MS = 20 };

void admin_metric(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

void admin_sample(struct buf *out, const char *name, const char *labels, double value)
{
    buf_printf(out, "%s%s%s%s ", name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "");
    if (fabs(value) < 9e15 && value == floor(value))
        buf_printf(out, "%.0f\n", value);
    else
        buf_printf(out, "%.13g\n", value);
}

void admin_label(struct buf *out, const char *value)
{
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_u8(out, '\\');
        if (*p == '\n')
            buf_putz(out, "\\n");
        else
            buf_add(out, p, 1);
    }
}

void admin_histogram(struct buf *out, const char *name, const char *labels, const struct spread_figures *h,
                     const uint64_t *bounds, double unit)
{
    uint64_t sum = 0;
    size_t n = strlen(labels);
    for (size_t i = 0; i < SPREAD_N; i++) {
        sum += h->n[i];
        buf_printf(out, "%s_bucket{%sle=\"", name, labels);
        if (bounds[i] == UINT64_MAX)
            buf_putz(out, "+Inf");
        else
            buf_printf(out, "%.10g", (double)bounds[i] * unit);
        buf_printf(out, "\"} %llu\n", (unsigned long long)sum);
    }
    const char *open = n ? "{" : "", *close = n ? "}" : "";
    int k = n ? (int)n - 1 : 0;
    buf_printf(out, "%s_sum%s%.*s%s %.13g\n", name, open, k, labels, close, (double)h->sum * unit);
    buf_printf(out, "%s_count%s%.*s%s %llu\n", name, open, k, labels, close, (unsigned long long)sum);
}

static void counter(struct buf *out, const char *name, const char *help, double v)
{
    admin_metric(out, name, "counter", help);
    admin_sample(out, name, "", v);
}

static void gauge(struct buf *out, const char *name, const char *help, double v)
{
    admin_metric(out, name, "gauge", help);
    admin_sample(out, name, "", v);
}

static void put_persist(struct admin *a, struct buf *out)
{
    struct persist_figures f;
    persist_figures(a->o.persist, &f);
    uint64_t now = clock_wall_ms();
    uint64_t age = f.oldest_since_ms && now > f.oldest_since_ms ? now - f.oldest_since_ms : 0;
    gauge(out, "forebay_dirty_bytes", "Bytes whose only copy is in the cache", (double)f.dirty_bytes);
    gauge(out, "forebay_dirty_files", "Files that are not persisted", (double)f.dirty_files);
    gauge(out, "forebay_dirty_oldest_age_seconds", "Age of the oldest file that is not persisted", (double)age / 1000);
    gauge(out, "forebay_persist_running", "Uploads and settles under way", (double)f.running);
    gauge(out, "forebay_persist_paused", "1 while persistence is paused", persist_paused(a->o.persist));
    counter(out, "forebay_persist_uploaded_files_total", "Files persisted", (double)f.uploaded_files);
    counter(out, "forebay_persist_uploaded_bytes_total", "Bytes persisted", (double)f.uploaded_bytes);
    counter(out, "forebay_persist_retries_total", "Uploads tried again", (double)f.upload_retries);
    counter(out, "forebay_persist_failures_total", "Files whose first upload failed", (double)f.upload_failures);
    uint64_t waiting, stopped;
    persist_order_counts(a->o.persist, &waiting, &stopped);
    gauge(out, "forebay_ordered_directories", "Directories with ordered publications that wait", (double)waiting);
    gauge(out, "forebay_ordered_directories_stopped", "Of these, directories that one failing object holds up",
          (double)stopped);
    counter(out, "forebay_persist_skipped_total", "Objects taken out of their directory's order by hand",
            (double)f.skipped);
    counter(out, "forebay_persist_conflicts_total", "Changes in the under file system under unpersisted data",
            (double)f.conflicts);
    counter(out, "forebay_persist_lost_total",
            "Renamed files whose object somebody else changed or removed before it was moved, without a copy here",
            (double)f.lost);
    counter(out, "forebay_readers_cut_total",
            "Readers whose object was overwritten or deleted before they had read it, for lack of room here",
            (double)(f.readers_cut + fs_readers_cut(a->o.fs)));
    counter(out, "forebay_settled_total", "Objects moved to where their names are", (double)f.settled);
    counter(out, "forebay_reaped_total", "Objects of removed files deleted in the under file system", (double)f.reaped);
    counter(out, "forebay_dropped_total", "Contents dropped", (double)f.dropped);
    counter(out, "forebay_orphans_total", "Abandoned writes and uploads removed", (double)f.orphans);
}

static void put_regions(struct buf *out, const struct page_figures *p)
{
    const struct {
        const char *labels;
        uint64_t bytes;
    } region[] = {{"region=\"pinned\"", p->pinned},
                  {"region=\"evictable\"", p->evictable},
                  {"region=\"unknown\"", p->unknown},
                  {"region=\"free\"", p->free}};
    admin_metric(out, "forebay_page_bytes", "gauge",
                 "Space of the page store: pinned is not persisted, unknown is not judged yet after the start");
    for (size_t i = 0; i < sizeof region / sizeof region[0]; i++)
        admin_sample(out, "forebay_page_bytes", region[i].labels, (double)region[i].bytes);
}

/* Each directory is one disk. */
static void put_dirs(struct page_store *s, struct buf *out)
{
    static const char *const name[] = {"forebay_page_dir_capacity_bytes", "forebay_page_dir_used_bytes",
                                       "forebay_page_dir_failed"};
    static const char *const help[] = {"Space of a directory of the page store", "Bytes used of it",
                                       "1 while the directory is set aside because its disk failed"};
    for (size_t k = 0; k < 3; k++) {
        admin_metric(out, name[k], "gauge", help[k]);
        for (size_t i = 0; i < page_dir_count(s); i++) {
            struct page_dir_figures d;
            struct buf label AUTO_BUF = {0};
            page_dir_figures(s, i, &d);
            buf_putz(&label, "dir=\"");
            admin_label(&label, d.path);
            buf_putz(&label, "\"");
            admin_sample(out, name[k], label.p, k == 0 ? (double)d.bytes : k == 1 ? (double)d.used : d.failed);
        }
    }
}

/* ---- mounts ---- */

struct mounts {
    struct persist *persist;
    struct meta_mount_dirty *dirty;
    char **path;
    bool *up;
    size_t n;
};

static int add_mount(void *arg, struct meta_mount *mt)
{
    struct mounts *m = arg;
    m->dirty = mem_grow(m->dirty, m->n + 1, sizeof *m->dirty);
    m->path = mem_grow(m->path, m->n + 1, sizeof *m->path);
    m->up = mem_grow(m->up, m->n + 1, sizeof *m->up);
    m->dirty[m->n] = (struct meta_mount_dirty){.mount = mt->id};
    m->path[m->n] = str_dup(str_of(mt->path));
    m->up[m->n++] = mt->ufs && !mt->fenced && !persist_mount_away(m->persist, mt->id);
    return 0;
}

static double mount_value(const struct mounts *m, size_t i, unsigned what)
{
    const struct meta_mount_dirty *d = &m->dirty[i];
    uint64_t now = clock_wall_ms();
    double age = d->oldest_ms && now > d->oldest_ms ? (double)(now - d->oldest_ms) / 1000 : 0;
    return what == 0 ? m->up[i] : what == 1 ? (double)d->files : what == 2 ? (double)d->bytes : age;
}

static void put_mounts(struct admin *a, struct buf *out)
{
    static const char *const name[] = {"forebay_mount_up", "forebay_mount_dirty_files", "forebay_mount_dirty_bytes",
                                       "forebay_mount_dirty_oldest_age_seconds"};
    static const char *const help[] = {"1 while the under file system of the mount answers",
                                       "Files below the mount that are not persisted",
                                       "Bytes below the mount that are not persisted", "Age of the oldest of them"};
    struct mounts m = {.persist = a->o.persist};
    meta_mount_each(a->o.meta, add_mount, &m);
    meta_dirty_by_mount(a->o.meta, m.dirty, m.n);
    for (unsigned k = 0; k < 4; k++) {
        admin_metric(out, name[k], "gauge", help[k]);
        for (size_t i = 0; i < m.n; i++) {
            struct buf label AUTO_BUF = {0};
            buf_putz(&label, "mount=\"");
            admin_label(&label, m.path[i]);
            buf_putz(&label, "\"");
            admin_sample(out, name[k], label.p, mount_value(&m, i, k));
        }
    }
    for (size_t i = 0; i < m.n; i++)
        free(m.path[i]);
    free(m.path);
    free(m.dirty);
    free(m.up);
}

static void put_pages(struct admin *a, struct buf *out, const struct traffic *t)
{
    struct page_figures p;
    page_figures(a->o.pages, &p);
    gauge(out, "alluxio_cached_capacity_bytes", "Capacity of the cache", (double)p.capacity);
    gauge(out, "alluxio_cached_storage_bytes", "Bytes in the cache", (double)(p.pinned + p.evictable + p.unknown));
    counter(out, "alluxio_cached_data_read_bytes_total", "Bytes read from the cache", (double)p.hit_bytes);
    counter(out, "alluxio_external_data_read_bytes_total", "Bytes read from under file systems", (double)t->ufs_read);
    counter(out, "alluxio_cached_evicted_data_bytes_total", "Bytes evicted", (double)p.evicted_bytes);
    put_regions(out, &p);
    gauge(out, "forebay_page_pinned_limit_bytes", "Most that may be pinned", (double)p.pinned_limit);
    gauge(out, "forebay_cache_hit_ratio", "Share of the bytes read that came from the cache, since the start",
          traffic_hit_ratio(p.hit_bytes, t));
    counter(out, "forebay_page_hits_total", "Pages read from the cache", (double)p.hits);
    counter(out, "forebay_page_corrupt_total", "Pages whose checksum did not match", (double)p.corrupt);
    counter(out, "forebay_page_cleaned_bytes_total", "Bytes copied to clean segments", (double)p.cleaned_bytes);
    counter(out, "forebay_page_syncs_total", "Syncs of page data", (double)p.syncs);
    gauge(out, "forebay_page_dirs", "Directories of the page store", (double)p.dirs);
    gauge(out, "forebay_page_dirs_failed", "Directories set aside because their disk failed", (double)p.dirs_failed);
    put_dirs(a->o.pages, out);
}

static void put_calls(struct buf *out, const char *name, const char *help, const uint64_t *v)
{
    admin_metric(out, name, "counter", help);
    for (unsigned i = 0; i < 16 && ufs_call_name(i); i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "op=\"%s\"", ufs_call_name(i));
        admin_sample(out, name, labels, (double)v[i]);
    }
}

static void put_latency(struct buf *out, const struct traffic *t)
{
    admin_metric(out, "forebay_ufs_call_seconds", "histogram", "Time of calls of under file systems");
    for (unsigned i = 0; i < 16 && ufs_call_name(i); i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "op=\"%s\",", ufs_call_name(i));
        if (t->calls[i])
            admin_histogram(out, "forebay_ufs_call_seconds", labels, &t->time[i], spread_time_ns, 1e-9);
    }
}

static void put_ufs(struct buf *out, const struct traffic *t)
{
    admin_metric(out, "alluxio_ufs_data_access_bytes_total", "counter",
                 "Bytes read from and written to under file systems");
    admin_sample(out, "alluxio_ufs_data_access_bytes_total", "method=\"read\"", (double)t->ufs_read);
    admin_sample(out, "alluxio_ufs_data_access_bytes_total", "method=\"write\"", (double)t->ufs_written);
    put_calls(out, "forebay_ufs_calls_total", "Calls of under file systems", t->calls);
    put_calls(out, "forebay_ufs_errors_total", "Calls of under file systems that failed", t->errors);
    put_latency(out, t);
    counter(out, "forebay_ufs_throttled_total", "Times an under file system asked to slow down", (double)t->throttled);
}

static void put_kv(struct admin *a, struct buf *out)
{
    struct kv_figures k;
    kv_figures(a->o.kv, &k);
    counter(out, "forebay_kv_commits_total", "Metadata transactions committed", (double)k.commits);
    counter(out, "forebay_kv_conflicts_total", "Metadata transactions run again after a conflict", (double)k.conflicts);
    counter(out, "forebay_kv_syncs_total", "Syncs of the metadata log", (double)k.syncs);
    admin_metric(out, "forebay_kv_commit_seconds", "histogram", "Time of commits, without the wait for durability");
    admin_histogram(out, "forebay_kv_commit_seconds", "", &k.commit_time, spread_time_ns, 1e-9);
    admin_metric(out, "forebay_kv_sync_seconds", "histogram", "Time of syncs, each of which many commits share");
    admin_histogram(out, "forebay_kv_sync_seconds", "", &k.sync_time, spread_time_ns, 1e-9);
    counter(out, "forebay_kv_reopened_total", "Times the metadata engine failed and was opened again",
            (double)k.reopened);
    gauge(out, "forebay_kv_unsynced", "Commits not yet durable", (double)k.unsynced);
    gauge(out, "forebay_kv_disk_bytes", "Size of the metadata on disk", (double)k.disk_bytes);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f AUTO_FCLOSE = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%lu %lu", &pages, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void put_process(struct admin *a, struct buf *out)
{
    struct http_figures h;
    http_server_figures(a->http, &h);
    gauge(out, "process_start_time_seconds", "When the process was started", (double)a->start_ms / 1000);
    gauge(out, "process_resident_memory_bytes", "Memory in use", (double)resident_bytes());
    counter(out, "process_cpu_seconds_total", "Processor time used", cpu_seconds());
    gauge(out, "forebay_admin_connections", "Open connections to the admin endpoint", (double)h.connections);
    admin_metric(out, "forebay_build_info", "gauge", "Always 1");
    admin_sample(out, "forebay_build_info", "version=\"" FOREBAY_VERSION "\"", 1);
}

/* What is not persisted is counted in the queue: with a long one that takes time, and is not done again at once. At
 * most a twentieth of one processor goes into it. */
static void put_backlog(struct admin *a, struct buf *out)
{
    uint64_t began = clock_mono_ms();
    lock_take(&a->lock);
    bool fresh = a->backlog.n && began < a->backlog_until_ms;
    if (fresh)
        buf_str_add(out, buf_str(&a->backlog));
    lock_drop(&a->lock);
    if (fresh)
        return;
    struct buf text AUTO_BUF = {0};
    put_persist(a, &text);
    put_mounts(a, &text);
    buf_str_add(out, buf_str(&text));
    uint64_t took = clock_mono_ms() - began;
    if (took < BACKLOG_QUICK_MS)
        return;
    LOCKED(&a->lock);
    buf_reset(&a->backlog);
    buf_str_add(&a->backlog, buf_str(&text));
    a->backlog_until_ms = clock_mono_ms() + 20 * took;
}

int rest_metrics(struct rest *r)
{
    struct admin *a = r->a;
    struct buf b AUTO_BUF = {0};
    struct traffic t;
    traffic_read(a, &t);
    put_backlog(a, &b);
    put_pages(a, &b, &t);
    put_ufs(&b, &t);
    put_kv(a, &b);
    put_process(a, &b);
    jobs_figures(a, &b);
    if (a->o.more_metrics)
        a->o.more_metrics(a->o.more_metrics_arg, &b);
    http_set(r->rq, "Content-Type", STR("text/plain; version=0.0.4; charset=utf-8"));
    return http_reply(r->rq, 200, b.p, b.n);
}
