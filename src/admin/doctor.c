/* SPDX-License-Identifier: Apache-2.0
 *
 * The doctor's look at space, disks, persistence and switches (contract in doctor.h), and its REST call.
 */
#include "admin/doctor.h"
#include "admin/rest.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "persist/persist.h"

static const char *const level_names[] = {"OK", "WARN", "FAIL"};

void doctor_say(json_t *findings, enum doctor_level level, const char *check, const char *cause, const char *remedy,
                const char *fmt, ...)
{
    struct buf text AUTO_BUF = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s}", "level", level_names[level], "check", check, "text", text.p,
                          "cause", cause, "remedy", remedy);
    CHECK(j, "a finding that is no JSON: %s", text.p);
    json_array_append_new(findings, j);
}

const char *doctor_size(uint64_t bytes)
{
    static const char *const unit[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    static _Thread_local char out[4][32];
    static _Thread_local unsigned turn;
    char *o = out[turn++ % 4];
    double v = (double)bytes;
    size_t i = 0;
    for (; v >= 1024 && i < 6; i++)
        v /= 1024;
    snprintf(o, sizeof out[0], i ? "%.2f%s" : "%.0f%s", v, unit[i]);
    return o;
}

static double percent(uint64_t part, uint64_t all)
{
    return all ? 100.0 * (double)part / (double)all : 0;
}

/* ---- space and disks ---- */

static void look_at_pinned(const struct page_figures *p, json_t *f)
{
    double share = percent(p->pinned, p->pinned_limit);
    enum doctor_level level = share >= 95 ? DOCTOR_FAIL : share >= 80 ? DOCTOR_WARN : DOCTOR_OK;
    doctor_say(
        f, level, "space.pinned",
        level == DOCTOR_OK
            ? ""
            : "what is not persisted yet fills its share of the cache: writes are refused with 507 when it is full",
        level == DOCTOR_OK ? ""
                           : "see 'async-persist list' for what holds persistence up; raise "
                             "alluxio.write.cache.async.persist.thread.pool.size, or "
                             "alluxio.worker.page.store.pinned.file.capacity.limit.ratio and "
                             "alluxio.worker.page.store.sizes",
        "%.0f%% of the pinned space is used: %s of %s", share, doctor_size(p->pinned), doctor_size(p->pinned_limit));
}

static void look_at_disks(struct page_store *s, const struct page_figures *p, json_t *f)
{
    for (size_t i = 0; i < page_dir_count(s); i++) {
        struct page_dir_figures d;
        page_dir_figures(s, i, &d);
        if (d.failed)
            doctor_say(f, DOCTOR_FAIL, "disk.failed", d.reason ? d.reason : "its disk gave an error",
                       "look at the kernel's log and at the disk; the directory is taken back by itself when it works",
                       "%s is set aside: nothing new is written there", d.path);
        else
            doctor_say(f, DOCTOR_OK, "disk.pages", "", "", "%s serves: %s of %s used", d.path, doctor_size(d.used),
                       doctor_size(d.bytes));
    }
    if (p->corrupt)
        doctor_say(f, DOCTOR_FAIL, "disk.corrupt", "a disk gave back other bytes than were written to it",
                   "stop it and run 'forebay fsck --verify'; replace the disk",
                   "%llu pages did not match their checksum since the start", (unsigned long long)p->corrupt);
}

static void look_at_kv(struct kv *kv, json_t *f)
{
    struct kv_figures k;
    kv_figures(kv, &k);
    if (k.reopened)
        doctor_say(f, DOCTOR_WARN, "metadata.reopened", "the disk of the metadata gave errors, or was full",
                   "look at the kernel's log and at the space of forebay.kv.dir",
                   "the metadata store failed and was opened again %llu times since the start",
                   (unsigned long long)k.reopened);
    else
        doctor_say(f, DOCTOR_OK, "metadata", "", "", "the metadata store answers: %s on disk",
                   doctor_size(k.disk_bytes));
}

/* ---- persistence ---- */

static void look_at_age(uint64_t files, uint64_t bytes, uint64_t since_ms, bool stopped, json_t *f)
{
    uint64_t now = clock_wall_ms(), age = since_ms && now > since_ms ? (now - since_ms) / 1000 : 0;
    enum doctor_level level = files == 0 ? DOCTOR_OK : age > 3600 ? DOCTOR_FAIL : age > 600 ? DOCTOR_WARN : DOCTOR_OK;
    if (files == 0)
        doctor_say(f, DOCTOR_OK, "persist.backlog", "", "", "everything is persisted");
    else
        doctor_say(f, level, "persist.backlog",
                   level == DOCTOR_OK ? "" : "uploads do not keep up, or the under file system is away",
                   level == DOCTOR_OK ? ""
                   : stopped          ? "start it: uploads go on by themselves"
                             : "see 'async-persist list' for the last error of each file; when the cause is mended, "
                               "'async-persist kick' ends waits of up to "
                               "alluxio.worker.write.cache.async.persist.retry.max.interval",
                   "%llu file%s, %s not persisted; the oldest for %llu s", (unsigned long long)files,
                   files == 1 ? "" : "s", doctor_size(bytes), (unsigned long long)age);
}

struct failing {
    size_t n;
    unsigned attempts;
    char path[300], error[220];
};

static int see_failing(void *arg, const struct persist_item *it)
{
    struct failing *x = arg;
    if (it->error.n == 0)
        return 0;
    if (x->n++ == 0) {
        x->attempts = it->attempts;
        snprintf(x->path, sizeof x->path, "%.*s", STR_ARG(it->path));
        snprintf(x->error, sizeof x->error, "%.*s", STR_ARG(it->error));
    }
    return 0;
}

static void look_at_queue(struct persist *p, json_t *f)
{
    struct failing x = {0};
    if (persist_paused(p))
        doctor_say(f, DOCTOR_WARN, "persist.paused", "somebody ran 'async-persist pause'", "'async-persist resume'",
                   "persistence is paused: nothing is uploaded");
    if (persist_list(p, 1000, see_failing, &x) < 0 || x.n == 0)
        return;
    doctor_say(f, x.attempts >= 3 ? DOCTOR_FAIL : DOCTOR_WARN, "persist.failing", x.error,
               "mend what the error names; it is tried again by itself, and at once with 'async-persist kick'",
               "%s%zu file%s cannot be persisted; the oldest: %s, failed %u times", x.n >= 1000 ? "at least " : "", x.n,
               x.n == 1 ? "" : "s", x.path, x.attempts);
}

struct stopped {
    size_t n;
    unsigned attempts;
    char dir[300], path[300], error[220];
};

static int see_stopped(void *arg, const struct persist_order *o)
{
    struct stopped *x = arg;
    if (x->n++)
        return 0;
    x->attempts = o->attempts;
    snprintf(x->dir, sizeof x->dir, "%.*s", STR_ARG(o->dir));
    snprintf(x->path, sizeof x->path, "%.*s", STR_ARG(o->path));
    snprintf(x->error, sizeof x->error, "%.*s", STR_ARG(o->error));
    return 0;
}

static void look_at_orders(struct persist *p, json_t *f)
{
    struct stopped x = {0};
    char remedy[700], others[64] = "";
    if (persist_orders(p, 1000, true, see_stopped, &x) < 0 || !x.n)
        return;
    if (x.n > 1)
        snprintf(others, sizeof others, ", and %zu more director%s", x.n - 1, x.n == 2 ? "y" : "ies");
    snprintf(remedy, sizeof remedy,
             "mend what the error names, or release the directory: 'async-persist skip --path %s'", x.path);
    doctor_say(f, DOCTOR_FAIL, "order.stopped", x.error, remedy,
               "%s is published in order and stands still: %s failed %u times%s", x.dir, x.path, x.attempts, others);
}

static void look_at_persistence(const struct doctor_target *t, json_t *f)
{
    uint64_t files = 0, bytes = 0, oldest = 0;
    struct persist_figures p;
    if (meta_dirty(t->meta, 0, &files, &bytes, &oldest) == 0)
        look_at_age(files, bytes, oldest, !t->persist, f);
    if (!t->persist)
        return;
    look_at_queue(t->persist, f);
    look_at_orders(t->persist, f);
    persist_figures(t->persist, &p);
    if (p.lost)
        doctor_say(
            f, DOCTOR_FAIL, "persist.lost",
            "somebody changed or removed an object in the under file system before a rename had moved it",
            "find 'persist.lost' in the log: it names the files; restore them from the store's versions or a backup",
            "%llu objects were lost under a rename since the start", (unsigned long long)p.lost);
    if (p.conflicts)
        doctor_say(f, DOCTOR_WARN, "persist.conflicts",
                   "somebody changed objects in the under file system while newer ones waited here",
                   "find 'persist.conflict' in the log; compare KEY with KEY.conflict-..., and remove one of them",
                   "%llu conflicts since the start", (unsigned long long)p.conflicts);
}

/* ---- switches ---- */

static void look_at_switches(const struct conf *c, json_t *f)
{
    if (!conf_bool(c, PROP_S3_ENABLED))
        doctor_say(f, DOCTOR_WARN, "s3.enabled", "alluxio.worker.s3.api.enabled is false",
                   "set it to true, unless the S3 API is not wanted", "the S3 API is off");
    if (!conf_bool(c, PROP_WRITE_CACHE_ENABLED))
        doctor_say(f, DOCTOR_WARN, "write.cache", "alluxio.write.cache.enabled is false",
                   "set it to true, unless only reading is to be cached",
                   "the write cache is off: WRITE_BACK and TRANSIENT act as WRITE_THROUGH");
    if (conf_bool(c, PROP_S3_ENABLED) && conf_bool(c, PROP_WRITE_CACHE_ENABLED))
        doctor_say(f, DOCTOR_OK, "write.cache", "", "", "the S3 API and the write cache are on");
}

void doctor_inside(const struct doctor_target *t, json_t *findings)
{
    struct page_figures p;
    page_figures(t->pages, &p);
    look_at_switches(t->conf, findings);
    doctor_mounts(t, findings);
    doctor_rules(t, findings);
    look_at_kv(t->kv, findings);
    look_at_disks(t->pages, &p, findings);
    if (t->persist) /* else no page was judged yet: none counts as pinned */
        look_at_pinned(&p, findings);
    look_at_persistence(t, findings);
}

int rest_doctor(struct rest *r)
{
    const struct admin_options *o = &r->a->o;
    const struct doctor_target t = {o->meta, o->pages, o->kv, o->conf, o->persist};
    json_t *findings = json_array();
    doctor_inside(&t, findings);
    return rest_json(r, 200, json_pack("{s:o}", "findings", findings));
}
