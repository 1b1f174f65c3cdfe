/* SPDX-License-Identifier: Apache-2.0
 *
 * The doctor's look at mounts and rules: is each UFS there, may the credentials do what is needed, what can the store
 * do, and do the rules speak of something that exists. All mounts are tried at once, so that one that is away does not
 * hold up the others.
 */
#include "admin/doctor.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/thread.h"
#include "conf/conf.h"
#include "meta/meta.h"

/* One try and a short deadline: the doctor is asked by somebody who waits. A mount's own options come first. */
static const char impatient[] = "\nforebay.ufs.retry.attempts=1\n";

struct visit {
    struct meta *meta;
    char *path, *uri, *options;
    struct visit_result {
        bool failed;
        char step[40], error[400];
    } r;
    unsigned caps;
    bool fenced;
};

/* ---- one mount ---- */

struct probe_body {
    struct str left;
};

static ssize_t give(void *arg, void *p, size_t n)
{
    struct probe_body *b = arg;
    size_t k = n < b->left.n ? n : b->left.n;
    memcpy(p, b->left.p, k);
    b->left = str_from(b->left, k);
    return (ssize_t)k;
}

static int take(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

static int ignore_entry(void *arg, const struct ufs_entry *e)
{
    (void)arg;
    (void)e;
    return 0;
}

static int failed(struct visit *v, const char *step, int code)
{
    v->r.failed = true;
    snprintf(v->r.step, sizeof v->r.step, "%s", step);
    snprintf(v->r.error, sizeof v->r.error, "%s", err_detail(code));
    str_clean(v->r.error);
    return code;
}

static int read_back(struct ufs *u, struct str key, struct str want)
{
    struct buf got AUTO_BUF = {0};
    TRY(ufs_read(u, key, 0, want.n, NULL, take, &got));
    return str_eq(buf_str(&got), want) ? 0 : err_set(ERR_CORRUPT, "other bytes came back than were put");
}

/* Put, read, delete. What was put is taken away whatever happens. */
static int try_object(struct visit *v, struct ufs *u)
{
    static const char text[] = "forebay doctor was here\n";
    struct probe_body body = {STR("forebay doctor was here\n")};
    struct ufs_put_opts o = {.size = sizeof text - 1};
    struct ufs_stat st;
    struct buf key AUTO_BUF = {0};
    buf_printf(&key, ".forebay/doctor-%llx-%x", (unsigned long long)clock_mono_ns(), (unsigned)getpid());
    int code = ufs_put(u, buf_str(&key), &o, give, &body, &st);
    if (code < 0)
        failed(v, "put an object", code);
    else if ((code = read_back(u, buf_str(&key), str_of(text))) < 0)
        failed(v, "read an object", code);
    int gone = ufs_delete(u, buf_str(&key), NULL);
    if (code == 0 && gone < 0)
        code = failed(v, "delete an object", gone);
    return code;
}

static void *visit_main(void *arg)
{
    struct visit *v = arg;
    struct buf options AUTO_BUF = {0};
    struct ufs *u = NULL;
    bool more;
    buf_printf(&options, "%s%s", v->options ? v->options : "", impatient);
    err_clear();
    int code = meta_ufs_open(v->meta, v->uri, options.p, &u);
    if (code < 0) {
        failed(v, "reach it", code);
        return NULL;
    }
    v->caps = ufs_caps(u);
    code = ufs_list(u, STR(""), '/', STR(""), 1, ignore_entry, NULL, &more);
    if (code < 0)
        failed(v, "list it", code);
    else
        try_object(v, u);
    ufs_close(u);
    return NULL;
}

/* ---- all mounts ---- */

struct visits {
    struct meta *meta;
    struct visit *v;
    size_t n;
};

static int add_visit(void *arg, struct meta_mount *mt)
{
    struct visits *all = arg;
    all->v = mem_grow(all->v, all->n + 1, sizeof *all->v);
    all->v[all->n++] = (struct visit){.meta = all->meta,
                                      .path = str_dup(str_of(mt->path)),
                                      .uri = str_dup(str_of(mt->uri)),
                                      .options = str_dup(str_of(mt->options)),
                                      .fenced = mt->fenced};
    return 0;
}

static void run_all(struct visits *all)
{
    pthread_t *t = mem_zero(all->n, sizeof *t);
    bool *on = mem_zero(all->n, sizeof *on);
    for (size_t i = 0; i < all->n; i++) {
        on[i] = thread_start(&t[i], "doctor", visit_main, &all->v[i]) == 0;
        if (!on[i])
            failed(&all->v[i], "start a thread", ERR_NOMEM);
    }
    for (size_t i = 0; i < all->n; i++)
        if (on[i])
            pthread_join(t[i], NULL);
    free(t);
    free(on);
}

static const char *remedy(const struct visit *v)
{
    if (strncmp(v->uri, "s3://", 5) == 0)
        return "check s3a.accessKeyId, s3a.secretKey (or the mount's own options), alluxio.underfs.s3.endpoint, its "
               "region, and that the keys may list, read, put and delete below the mount's prefix";
    return "check that the directory is there, mounted, and owned by or open to the user of this process; and "
           "forebay.ufs.allowed.roots";
}

static void put_caps(struct buf *b, unsigned caps)
{
    static const struct {
        unsigned cap;
        const char *name;
    } known[] = {
        {UFS_CAP_VERBATIM, "any key"}, {UFS_CAP_IF_MATCH, "If-Match"},   {UFS_CAP_IF_NONE_MATCH, "If-None-Match"},
        {UFS_CAP_COPY, "copy"},        {UFS_CAP_RENAME, "rename"},       {UFS_CAP_META, "metadata"},
        {UFS_CAP_TAGS, "tags"},        {UFS_CAP_MULTIPART, "multipart"}, {UFS_CAP_DELETE_IF_MATCH, "delete If-Match"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (caps & known[i].cap)
            buf_printf(b, "%s%s", b->n ? ", " : "", known[i].name);
}

static void tell(const struct visit *v, json_t *f)
{
    struct buf caps AUTO_BUF = {0};
    if (v->r.failed) {
        doctor_say(f, DOCTOR_FAIL, "mount", v->r.error, remedy(v), "%s on %s: could not %s", v->uri, v->path,
                   v->r.step);
        return;
    }
    if (v->fenced)
        doctor_say(f, DOCTOR_FAIL, "mount.taken", "its .forebay/lock names another instance",
                   "stop the other one, then start this one again: two may not work on one place",
                   "another Forebay took %s (%s): nothing is sent there", v->uri, v->path);
    put_caps(&caps, v->caps);
    doctor_say(f, DOCTOR_OK, "mount", "", "", "%s on %s: lists, reads, writes, deletes; it can: %s", v->uri, v->path,
               caps.p ? caps.p : "nothing special");
    bool s3 = strncmp(v->uri, "s3://", 5) == 0;
    if (s3 && !((v->caps & UFS_CAP_IF_MATCH) && (v->caps & UFS_CAP_IF_NONE_MATCH)))
        doctor_say(f, DOCTOR_WARN, "mount.conditions", "the store ignores or refuses conditional puts",
                   "let nobody else write below this mount, or use a store that honours If-Match and If-None-Match",
                   "%s: a change somebody makes between Forebay's look and its put is overwritten unnoticed", v->path);
}

void doctor_mounts(const struct doctor_target *t, json_t *findings)
{
    struct visits all = {.meta = t->meta};
    if (meta_mount_each(t->meta, add_visit, &all) == 0)
        run_all(&all);
    if (all.n == 0)
        doctor_say(findings, DOCTOR_WARN, "mount", "nothing is mounted: every S3 request gets NoSuchBucket",
                   "'mount add --path /s3 --ufs-uri s3://bucket/prefix'", "there is no mount");
    for (size_t i = 0; i < all.n; i++) {
        tell(&all.v[i], findings);
        free(all.v[i].path);
        free(all.v[i].uri);
        free(all.v[i].options);
    }
    free(all.v);
}

/* ---- rules ---- */

struct has_mount {
    struct str first; /* "/name" of a rule; may hold wildcards */
    bool found;
};

static int is_mount(void *arg, struct meta_mount *mt)
{
    struct has_mount *h = arg;
    h->found |= str_glob(h->first, str_of(mt->path));
    return 0;
}

/* A rule for "/name/..." where no mount is called so. */
static void look_at_rule(const struct doctor_target *t, const json_t *rule, json_t *f)
{
    const char *pattern = json_string_value(json_object_get(rule, "alluxioPath"));
    const char *policy = json_string_value(json_object_get(rule, "policyMode"));
    const json_t *replicas = json_object_get(json_object_get(rule, "properties"), "writeReplicas");
    if (!pattern || !policy)
        return;
    struct has_mount h = {str_mk(pattern, 1 + strcspn(pattern + 1, "/")), false};
    meta_mount_each(t->meta, is_mount, &h);
    if (!h.found)
        doctor_say(f, DOCTOR_WARN, "rules.unused", "no mount has a path that fits",
                   "correct the rule with 'pathconfig edit', or mount what it speaks of",
                   "the rule for %s applies to nothing", pattern);
    if (!conf_bool(t->conf, PROP_WRITE_CACHE_ENABLED) &&
        (!strcmp(policy, "WRITE_BACK") || !strcmp(policy, "TRANSIENT")))
        doctor_say(f, DOCTOR_WARN, "rules.policy", "alluxio.write.cache.enabled is false", "set it to true",
                   "the rule for %s says %s and acts as WRITE_THROUGH", pattern, policy);
    if (json_is_integer(replicas) && json_integer_value(replicas) > 1)
        doctor_say(f, DOCTOR_WARN, "rules.replicas", "there is one worker",
                   "set writeReplicas to 1, and know that unpersisted data has one copy, on this machine's disk",
                   "the rule for %s asks for %lld copies and gets one", pattern,
                   (long long)json_integer_value(replicas));
}

void doctor_rules(const struct doctor_target *t, json_t *findings)
{
    struct buf text AUTO_BUF = {0};
    size_t i;
    json_t *rule;
    if (meta_rules_json(t->meta, &text) < 0)
        return;
    json_t *doc = json_loadb(text.p, text.n, 0, NULL), *rules = json_object_get(doc, "pathRules");
    doctor_say(findings, DOCTOR_OK, "rules", "", "", "the path configuration is valid: %zu rules and a default",
               json_array_size(rules));
    json_array_foreach(rules, i, rule) look_at_rule(t, rule, findings);
    json_decref(doc);
}
