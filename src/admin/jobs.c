/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of jobs, and the life of one (states in jobs.h).
 */
#include "admin/jobs.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "meta/meta.h"

static const char *const state_names[] = {"RUNNING", "SUCCEEDED", "FAILED", "STOPPED"};

void job_failed(struct job *j, const char *path, int code)
{
    j->failed++;
    LOCKED(&j->a->lock);
    if (!j->error[0]) {
        snprintf(j->error, sizeof j->error, "%s: %s", path, err_detail(code));
        str_clean(j->error);
    }
    if (json_array_size(j->failures) < JOB_FAILURES)
        json_array_append_new(j->failures, json_pack("{s:s, s:s}", "path", path, "message", err_detail(code)));
}

/* ---- one job's life ---- */

static void end_job(struct job *j, enum job_state state)
{
    lock_take(&j->a->lock);
    if (j->cancelled)
        state = JOB_STOPPED;
    j->spent_ms += clock_mono_ms() - j->since_ms;
    j->end_ms = clock_wall_ms();
    j->state = (int)state;
    lock_drop(&j->a->lock);
    int code = job_keep(j);
    if (code < 0)
        log_warn("admin.job",
                 "kind=%s id=%s error=\"%s\" meaning=\"its end is not kept: it runs again after a start\" "
                 "action=\"look at the disk of the metadata\"",
                 job_kind_name(j->kind), j->id, err_detail(code));
    log_info("admin.job", "kind=%s id=%s state=%s files=%llu bytes=%llu failed=%llu", job_kind_name(j->kind), j->id,
             state_names[state], (unsigned long long)j->processed, (unsigned long long)j->bytes,
             (unsigned long long)j->failed);
}

/* The process stops: the job stays RUNNING in its row and goes on at the next start. */
static void *job_main(void *arg)
{
    struct job *j = arg;
    int code = j->kind == JOB_LOAD ? job_load_run(j) : job_free_run(j);
    if (code < 0 && !j->stop)
        job_failed(j, j->alias, code);
    if (j->cancelled || !j->stop)
        end_job(j, j->failed ? JOB_FAILED : JOB_SUCCEEDED);
    return NULL;
}

/* ---- the table; under the lock ---- */

/* "/a" names the job of alias "/a", and the one that works on the path "/a" alone. */
static bool named(const struct job *j, const char *alias)
{
    const char *only = json_array_size(j->paths) == 1 ? json_string_value(json_array_get(j->paths, 0)) : NULL;
    return strcmp(j->alias, alias) == 0 || (only && strcmp(only, alias) == 0);
}

static struct job *find(struct admin *a, enum job_kind kind, const char *id, const char *alias, const char *index)
{
    for (struct job *j = a->jobs; j; j = j->next)
        if (j->kind == kind && ((id && strcmp(j->id, id) == 0) || (alias && named(j, alias)) ||
                                (index && j->index && strcmp(j->index, index) == 0)))
            return j;
    return NULL;
}

/* Those of jobs that were forgotten stay in the sum: counters do not go back. */
static void add_figures(struct job_sums *s, const struct job *j)
{
    s->failed += j->failed;
    s->scanned += j->scanned;
    s->processed += j->processed;
    s->skipped += j->skipped;
    s->bytes += j->bytes;
}

/* Take the oldest ended jobs past JOBS_KEPT out; returned as a list to forget and free without the lock. */
static struct job *take_old(struct admin *a)
{
    struct job *out = NULL;
    size_t n = 0;
    for (struct job **p = &a->jobs; *p;) {
        struct job *j = *p;
        if (j->state != JOB_RUNNING && ++n > JOBS_KEPT) {
            *p = j->next;
            j->next = out;
            out = j;
            if (j->kind == JOB_LOAD)
                add_figures(&a->jobs_gone, j);
        } else {
            p = &j->next;
        }
    }
    return out;
}

static void await_unused(struct job *j)
{
    LOCKED(&j->a->lock);
    while (j->users)
        cond_wait(&j->a->job_idle, &j->a->lock);
}

static void free_list(struct admin *a, struct job *j, bool forget)
{
    while (j) {
        struct job *next = j->next;
        await_unused(j);
        if (forget)
            meta_job_forget(a->o.meta, str_of(j->id));
        job_free(j);
        j = next;
    }
}

void jobs_stop(struct admin *a)
{
    lock_take(&a->lock);
    struct job *all = a->jobs;
    a->jobs = NULL;
    lock_drop(&a->lock);
    for (struct job *j = all; j; j = j->next)
        j->stop = true;
    free_list(a, all, false);
}

static int run_job(struct job *j)
{
    int code = thread_start(&j->thread, job_kind_name(j->kind), job_main, j);
    j->joined = code < 0;
    return code;
}

static bool put_in(struct admin *a, struct job *j, json_t **ret_json, int *ret_code)
{
    LOCKED(&a->lock);
    const struct job *same = find(a, j->kind, NULL, j->alias, j->index);
    *ret_code = 0;
    if (same && same->state == JOB_RUNNING) {
        *ret_json = job_json(same);
        return false;
    }
    *ret_json = NULL;
    json_t *shown = job_json(j);
    if (a->stopping || run_job(j) < 0) {
        json_decref(shown);
        *ret_code = err_set(ERR_SHUTDOWN, "no job can be started now");
        return false;
    }
    *ret_json = shown;
    j->next = a->jobs;
    a->jobs = j;
    return true;
}

bool job_enter(struct admin *a, struct job *j, json_t **ret_json, int *ret_code)
{
    /* First the row: a crash from here on runs the job, whether or not its owner was told. */
    *ret_code = job_keep(j);
    if (*ret_code < 0)
        return false;
    bool in = put_in(a, j, ret_json, ret_code);
    if (!in)
        meta_job_forget(a->o.meta, str_of(j->id));
    lock_take(&a->lock);
    struct job *old = in ? take_old(a) : NULL;
    lock_drop(&a->lock);
    free_list(a, old, true);
    return in;
}

void job_put_back(struct admin *a, struct job *j)
{
    LOCKED(&a->lock);
    if (j->state == JOB_RUNNING && run_job(j) < 0) {
        j->state = JOB_FAILED;
        snprintf(j->error, sizeof j->error, "no thread for it after the start");
    }
    j->next = a->jobs;
    a->jobs = j;
}

/* Stopped is said only when the row says so: after a crash it must not go on. The lock is held, but not
 * meanwhile. */
static int cancel_locked(struct job *j)
{
    struct admin *a = j->a;
    j->cancelled = true;
    j->stop = true;
    j->users++;
    lock_drop(&a->lock);
    int code = job_keep(j);
    lock_take(&a->lock);
    j->users--;
    pthread_cond_broadcast(&a->job_idle);
    return code;
}

int job_look(struct admin *a, enum job_kind kind, const char *id, const char *alias, const char *index, bool cancel,
             json_t **ret_json)
{
    LOCKED(&a->lock);
    struct job *j = find(a, kind, id, alias, index);
    json_t *shown = j ? job_json(j) : NULL;
    int code = j && cancel && j->state == JOB_RUNNING ? cancel_locked(j) : 0;
    if (code < 0) {
        json_decref(shown);
        shown = NULL;
    }
    *ret_json = shown;
    return code;
}

json_t *job_list(struct admin *a, enum job_kind kind, const char *last, size_t count)
{
    json_t *out = json_array();
    bool on = !last;
    LOCKED(&a->lock);
    for (const struct job *j = a->jobs; j && json_array_size(out) < count; j = j->next) {
        if (j->kind != kind)
            continue;
        if (on)
            json_array_append_new(out, job_json(j));
        else
            on = strcmp(j->id, last) == 0;
    }
    return out;
}

/* ---- figures ---- */

void jobs_figures(struct admin *a, struct buf *out)
{
    double running = 0;
    lock_take(&a->lock);
    struct job_sums s = a->jobs_gone;
    for (const struct job *j = a->jobs; j; j = j->next) {
        if (j->kind != JOB_LOAD)
            continue;
        add_figures(&s, j);
        running += j->state == JOB_RUNNING;
    }
    lock_drop(&a->lock);
    const struct {
        const char *name, *help;
        uint64_t value;
    } row[] = {{"alluxio_distributed_load_job_failure_total", "Files that load jobs failed on", s.failed},
               {"alluxio_distributed_load_job_scanned_total", "Files that load jobs have seen", s.scanned},
               {"alluxio_distributed_load_job_processed_total", "Files that load jobs are done with", s.processed},
               {"alluxio_distributed_load_job_skipped_bytes_total", "Bytes that load jobs found cached", s.skipped},
               {"alluxio_distributed_load_job_loaded_bytes_total", "Bytes that load jobs have read", s.bytes}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        admin_metric(out, row[i].name, "counter", row[i].help);
        admin_sample(out, row[i].name, "", (double)row[i].value);
    }
    admin_metric(out, "forebay_load_jobs_running", "gauge", "Load jobs under way");
    admin_sample(out, "forebay_load_jobs_running", "", running);
}
