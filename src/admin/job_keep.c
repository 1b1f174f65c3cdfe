/* SPDX-License-Identifier: Apache-2.0
 *
 * A job as JSON: what is shown, and, with the position of its walk, the row it is kept as.
 */
#include "admin/jobs.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "meta/meta.h"

static const char *const kind_names[] = {"load", "free"};
static const char *const state_names[] = {"RUNNING", "SUCCEEDED", "FAILED", "STOPPED"};
static const char *const phase_names[] = {"SCANNING", "LOADING", "VERIFYING"};

const char *job_kind_name(enum job_kind k)
{
    return kind_names[k];
}

/* ---- to JSON ---- */

struct counter {
    const char *name;
    _Atomic uint64_t *at;
};
#define COUNTERS(j)                                                                                                    \
    {                                                                                                                  \
        {"loadedBytes", &(j)->bytes}, {"skippedBytes", &(j)->skipped}, {"totalBytes", &(j)->total},                    \
            {"loadedNonEmptyFiles", &(j)->nonempty}, {"failedFiles", &(j)->failed}, {"scannedFiles", &(j)->scanned},   \
            {"processedFiles", &(j)->processed},                                                                       \
    }

static uint64_t elapsed(const struct job *j)
{
    return j->state == JOB_RUNNING ? j->spent_ms + clock_mono_ms() - j->since_ms : j->spent_ms;
}

static void put_options(json_t *o, const struct job *j)
{
    json_object_set_new(o, "skipIfExists", json_boolean(j->skip_cached));
    json_object_set_new(o, "loadMetadataOnly", json_boolean(j->metadata_only));
    json_object_set_new(o, "verify", json_boolean(j->verify));
    json_object_set_new(o, "bandwidth", json_integer((json_int_t)j->bandwidth));
    json_object_set_new(o, "fileFilterRegex", json_string(j->regex ? j->regex : ""));
    json_object_set(o, "ignoredOptions", j->ignored);
}

json_t *job_json(const struct job *j)
{
    const struct counter counters[] = COUNTERS((struct job *)(uintptr_t)j);
    bool running = j->state == JOB_RUNNING;
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(j->id));
    json_object_set_new(o, "startTime", json_integer((json_int_t)j->start_ms));
    json_object_set_new(o, "state", json_string(state_names[j->state]));
    json_object_set_new(o, "runningState", json_string(running && j->kind == JOB_LOAD ? phase_names[j->phase] : ""));
    json_object_set_new(o, "errorMessage", json_string(j->error));
    json_object_set_new(o, "failedFileListPath", json_string(""));
    json_object_set_new(o, "path", json_string(j->alias));
    json_object_set_new(o, "alias", json_string(j->alias));
    json_object_set_new(o, "paths", json_deep_copy(j->paths));
    json_object_set_new(o, "index", json_string(j->index ? j->index : ""));
    put_options(o, j);
    json_object_set_new(o, "timeElapsedMilliseconds", json_integer((json_int_t)elapsed(j)));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        json_object_set_new(o, counters[i].name, json_integer((json_int_t)*counters[i].at));
    json_object_set_new(o, "failures", json_deep_copy(j->failures));
    json_object_set_new(o, "quota", json_null());
    json_object_set_new(o, "quotaCheckError", json_string(""));
    if (!running)
        json_object_set_new(o, "endTime", json_integer((json_int_t)j->end_ms));
    return o;
}

/* Failures are many and their paths long: as many are kept as a row holds, or the job could not be kept at all. */
static char *dump_row(json_t *o)
{
    json_t *failures = json_object_get(o, "failures");
    for (;;) {
        char *text = json_dumps(o, JSON_COMPACT);
        CHECK(text, "a job that is no JSON");
        size_t n = json_array_size(failures);
        if (n == 0 || strlen(text) <= KV_VALUE_MAX)
            return text;
        free(text);
        for (size_t keep = n / 2; n > keep; n--)
            json_array_remove(failures, n - 1);
    }
}

static char *job_row(const struct job *j)
{
    json_t *o = job_json(j);
    if (j->cancelled)
        json_object_set_new(o, "state", json_string(state_names[JOB_STOPPED]));
    json_object_set_new(o, "kind", json_string(kind_names[j->kind]));
    json_object_set_new(o, "phase", json_integer(j->phase));
    json_object_set_new(o, "markPath", json_integer((json_int_t)j->mark_path));
    if (j->mark)
        json_object_set_new(o, "mark", json_string(j->mark));
    char *text = dump_row(o);
    json_decref(o);
    return text;
}

/* The text is made when it is this call's turn to write: an older one never comes over a newer one. */
int job_keep(struct job *j)
{
    struct admin *a = j->a;
    lock_take(&a->lock);
    while (j->writing)
        cond_wait(&a->job_idle, &a->lock);
    j->writing = true;
    char *text AUTO_FREE = job_row(j);
    lock_drop(&a->lock);
    int code = meta_job_put(a->o.meta, str_of(j->id), str_of(text));
    LOCKED(&a->lock);
    j->writing = false;
    pthread_cond_broadcast(&a->job_idle);
    return code;
}

int job_check_room(struct job *j)
{
    lock_take(&j->a->lock);
    char *text AUTO_FREE = job_row(j);
    lock_drop(&j->a->lock);
    if (strlen(text) <= JOB_TOLD)
        return 0;
    return err_set(
        ERR_TOO_LARGE,
        "a job may have at most %d bytes of paths and options: put the paths into a file, one a line, and give "
        "that as 'index'",
        JOB_TOLD);
}

/* ---- from JSON ---- */

static uint64_t number(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static char *text_or_null(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s && s[0] ? str_dup(str_of(s)) : NULL;
}

static int word(const json_t *o, const char *name, const char *const *words, size_t n)
{
    const char *s = json_string_value(json_object_get(o, name));
    for (size_t i = 0; s && i < n; i++)
        if (strcmp(words[i], s) == 0)
            return (int)i;
    return -1;
}

struct job *job_new(struct admin *a, enum job_kind kind)
{
    struct job *j = MEM_NEW(struct job);
    j->a = a;
    j->kind = kind;
    j->joined = true;
    j->failures = json_array();
    j->ignored = json_array();
    j->since_ms = clock_mono_ms();
    return j;
}

void job_free(struct job *j)
{
    if (!j->joined)
        pthread_join(j->thread, NULL);
    json_decref(j->paths);
    json_decref(j->failures);
    json_decref(j->ignored);
    free(j->index);
    free(j->alias);
    free(j->regex);
    free(j->mark);
    free(j);
}

static json_t *array_of(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    return json_is_array(v) ? json_incref(v) : json_array();
}

static void fill(struct job *j, const json_t *o)
{
    const struct counter counters[] = COUNTERS(j);
    const char *error = json_string_value(json_object_get(o, "errorMessage"));
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        *counters[i].at = number(o, counters[i].name);
    snprintf(j->error, sizeof j->error, "%s", error ? error : "");
    j->paths = array_of(o, "paths");
    json_decref(j->failures);
    json_decref(j->ignored);
    j->failures = array_of(o, "failures");
    j->ignored = array_of(o, "ignoredOptions");
    j->index = text_or_null(o, "index");
    j->alias = text_or_null(o, "alias");
    j->regex = text_or_null(o, "fileFilterRegex");
    j->mark = text_or_null(o, "mark");
    j->mark_path = number(o, "markPath");
    j->skip_cached = json_is_true(json_object_get(o, "skipIfExists"));
    j->metadata_only = json_is_true(json_object_get(o, "loadMetadataOnly"));
    j->verify = json_is_true(json_object_get(o, "verify"));
    j->bandwidth = number(o, "bandwidth");
    j->start_ms = number(o, "startTime");
    j->spent_ms = number(o, "timeElapsedMilliseconds");
    j->end_ms = json_object_get(o, "endTime") ? number(o, "endTime") : j->start_ms + j->spent_ms;
    j->phase = (int)number(o, "phase") <= JOB_VERIFYING ? (int)number(o, "phase") : JOB_SCANNING;
}

/* NULL for a row of a later version that cannot be understood; it stays as it is. */
static struct job *from_row(struct admin *a, struct str id, struct str value)
{
    json_t *o = json_loadb(value.p, value.n, 0, NULL);
    int kind = word(o, "kind", kind_names, 2), state = word(o, "state", state_names, 4);
    struct job *j = NULL;
    if (kind >= 0 && state >= 0 && id.n < sizeof j->id && json_string_value(json_object_get(o, "alias"))) {
        j = job_new(a, (enum job_kind)kind);
        j->state = state;
        memcpy(j->id, id.p, id.n);
        fill(j, o);
    }
    json_decref(o);
    return j;
}

struct restoring {
    struct admin *a;
    struct job *list;
};

static int take_row(void *arg, struct str id, struct str value)
{
    struct restoring *r = arg;
    struct job *j = from_row(r->a, id, value);
    if (!j) {
        log_warn("admin.job",
                 "id=%.*s error=\"its row is not understood\" meaning=\"a later version wrote it; it is left alone\" "
                 "action=\"none\"",
                 STR_ARG(id));
        return 0;
    }
    j->next = r->list;
    r->list = j;
    return 0;
}

static bool expired(const struct job *j)
{
    uint64_t keep = conf_ms(j->a->o.conf, PROP_JOB_RETENTION), now = clock_wall_ms();
    return j->state != JOB_RUNNING && j->end_ms + keep < now;
}

static int by_start(const void *a, const void *b)
{
    const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;
    return x->start_ms < y->start_ms ? -1 : x->start_ms > y->start_ms ? 1 : strcmp(x->id, y->id);
}

/* Oldest first, so that the newest comes to stand first in the table. */
static void put_all_back(struct admin *a, struct job *list)
{
    size_t n = 0;
    for (struct job *j = list; j; j = j->next)
        n++;
    struct job **v = mem_zero(n, sizeof(struct job *));
    n = 0;
    for (struct job *j = list; j; j = j->next)
        v[n++] = j;
    qsort(v, n, sizeof(struct job *), by_start);
    for (size_t i = 0; i < n; i++) {
        if (!expired(v[i])) {
            job_put_back(a, v[i]);
            continue;
        }
        meta_job_forget(a->o.meta, str_of(v[i]->id));
        job_free(v[i]);
    }
    free(v);
}

int jobs_restore(struct admin *a)
{
    struct restoring r = {a, NULL};
    int code = meta_job_each(a->o.meta, take_row, &r);
    put_all_back(a, r.list);
    return code;
}
