/* SPDX-License-Identifier: Apache-2.0
 *
 * What the doors to clients (S3, the mount) say of themselves on /metrics. Here because the rooms of one floor cannot
 * ask each other.
 */
#include "bin/figures.h"
#include "admin/admin.h"
#include "base/spread.h"
#include "fs/posix.h"
#include "fuse/fuse.h"
#include "s3/s3.h"

/* ---- S3 ---- */

typedef double figure(const struct s3_action_figures *f);

static double f_count(const struct s3_action_figures *f)
{
    return (double)f->count;
}

static double f_client(const struct s3_action_figures *f)
{
    return (double)f->client_errors;
}

static double f_server(const struct s3_action_figures *f)
{
    return (double)f->server_errors;
}

static double f_in(const struct s3_action_figures *f)
{
    return (double)f->bytes_in;
}

static double f_out(const struct s3_action_figures *f)
{
    return (double)f->bytes_out;
}

static void put_by_action(const struct s3 *s3, struct buf *out, const char *name, const char *help, const char *more,
                          figure *fn, bool head)
{
    struct s3_action_figures f;
    char labels[160];
    if (head)
        admin_metric(out, name, "counter", help);
    for (size_t i = 0; s3_figures(s3, i, &f); i++) {
        if (f.count == 0)
            continue;
        snprintf(labels, sizeof labels, "op=\"%s\"%s", f.action, more);
        admin_sample(out, name, labels, fn(&f));
    }
}

static void put_latency(struct buf *out, const struct s3_action_figures *f)
{
    char labels[160];
    uint64_t sum = 0;
    for (size_t i = 0; i < S3_BUCKETS; i++) {
        sum += f->bucket[i];
        if (s3_bucket_us[i] == UINT64_MAX)
            snprintf(labels, sizeof labels, "op=\"%s\",le=\"+Inf\"", f->action);
        else
            snprintf(labels, sizeof labels, "op=\"%s\",le=\"%g\"", f->action, (double)s3_bucket_us[i] / 1e6);
        admin_sample(out, "forebay_s3_seconds_bucket", labels, (double)sum);
    }
    snprintf(labels, sizeof labels, "op=\"%s\"", f->action);
    admin_sample(out, "forebay_s3_seconds_sum", labels, (double)f->total_us / 1e6);
    admin_sample(out, "forebay_s3_seconds_count", labels, (double)sum);
}

static void put_connections(const struct s3 *s3, struct buf *out)
{
    struct s3_connection_figures c;
    s3_connections(s3, &c);
    const struct {
        const char *name, *kind, *help;
        uint64_t v;
    } row[] = {
        {"forebay_s3_connections_idle", "gauge", "Open connections without a request", c.idle},
        {"forebay_s3_connections_accepted_total", "counter", "Connections taken", c.accepted},
        {"forebay_s3_connections_refused_total", "counter", "Connections over forebay.s3.connections.max", c.refused},
        {"forebay_s3_requests_rejected_total", "counter", "Requests refused before they had an action", c.rejected},
        {"forebay_s3_timeouts_total", "counter", "Connections closed by a deadline", c.timeouts}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        admin_metric(out, row[i].name, row[i].kind, row[i].help);
        admin_sample(out, row[i].name, "", (double)row[i].v);
    }
}

static void put_sizes(const struct s3 *s3, struct buf *out)
{
    struct spread_figures r, w;
    s3_sizes(s3, &r, &w);
    admin_metric(out, "alluxio_data_access_bytes", "histogram", "Sizes of what clients read and wrote, by request");
    admin_histogram(out, "alluxio_data_access_bytes", "method=\"read\",", &r, spread_bytes, 1);
    admin_histogram(out, "alluxio_data_access_bytes", "method=\"write\",", &w, spread_bytes, 1);
}

static void put_s3(const struct s3 *s3, struct buf *out)
{
    struct s3_action_figures f;
    put_by_action(s3, out, "alluxio_meta_operation_total", "Requests by action", "", f_count, true);
    put_by_action(s3, out, "forebay_s3_errors_total", "Requests that failed, by whose fault", ",kind=\"client\"",
                  f_client, true);
    put_by_action(s3, out, "forebay_s3_errors_total", "", ",kind=\"server\"", f_server, false);
    put_by_action(s3, out, "forebay_s3_received_bytes_total", "Bytes of request bodies", "", f_in, true);
    put_by_action(s3, out, "forebay_s3_sent_bytes_total", "Bytes of answer bodies", "", f_out, true);
    admin_metric(out, "forebay_s3_seconds", "histogram", "Time of requests, by action");
    for (size_t i = 0; s3_figures(s3, i, &f); i++)
        if (f.count)
            put_latency(out, &f);
    put_sizes(s3, out);
    put_connections(s3, out);
}

/* ---- the mount ---- */

static void put_fuse_counts(struct buf *out, bool errors)
{
    struct fuse_op_figures f;
    for (unsigned i = 0; fuse_figures(&i, &f);) {
        char labels[80];
        snprintf(labels, sizeof labels, "op=\"%s\"", f.op);
        if (errors)
            admin_sample(out, "forebay_fuse_errors_total", labels, (double)f.errors);
        else
            admin_sample(out, "forebay_fuse_requests_total", labels, (double)f.count);
    }
}

static void put_fuse_times(struct buf *out)
{
    struct fuse_op_figures f;
    admin_metric(out, "forebay_fuse_seconds", "histogram", "Time of the kernel's requests to mounts, by operation");
    for (unsigned i = 0; fuse_figures(&i, &f);) {
        char labels[80];
        snprintf(labels, sizeof labels, "op=\"%s\",", f.op);
        admin_histogram(out, "forebay_fuse_seconds", labels, &f.time, spread_time_ns, 1e-9);
    }
}

static void put_locks(struct fuse_locks *locks, struct buf *out)
{
    struct fuse_lock_figures f;
    fuse_locks_figures(locks, &f);
    admin_metric(out, "forebay_fuse_locks", "gauge", "Locks of files (fcntl, flock) that programs have through mounts");
    admin_sample(out, "forebay_fuse_locks", "", (double)f.held);
    admin_metric(out, "forebay_fuse_lock_waiters", "gauge", "Programs that wait for such locks");
    admin_sample(out, "forebay_fuse_lock_waiters", "", (double)f.waiting);
}

static void put_fuse(const struct figures_of *o, struct buf *out)
{
    struct fuse_op_figures f;
    struct fs_px_figures p;
    unsigned i = 0;
    if (!fuse_figures(&i, &f))
        return;
    fs_px_figures(o->fs, &p);
    admin_metric(out, "forebay_fuse_requests_total", "counter", "Requests of the kernel to mounts, by operation");
    put_fuse_counts(out, false);
    admin_metric(out, "forebay_fuse_errors_total", "counter",
                 "Requests to mounts that failed for a reason that is not the program's");
    put_fuse_counts(out, true);
    put_fuse_times(out);
    admin_metric(out, "forebay_fuse_mounts", "gauge", "Mounts that are served");
    admin_sample(out, "forebay_fuse_mounts", "", (double)p.mounts);
    admin_metric(out, "forebay_fuse_open_files", "gauge",
                 "Files that are open through mounts, or about to be published");
    admin_sample(out, "forebay_fuse_open_files", "", (double)p.files);
    admin_metric(out, "forebay_fuse_buffered_bytes", "gauge", "Bytes written through mounts that only memory holds");
    admin_sample(out, "forebay_fuse_buffered_bytes", "", (double)p.buffered);
    put_locks(o->locks, out);
}

void figures_put(void *arg, struct buf *out)
{
    const struct figures_of *o = arg;
    if (o->s3)
        put_s3(o->s3, out);
    put_fuse(o, out);
}
