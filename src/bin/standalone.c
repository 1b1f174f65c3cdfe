/* SPDX-License-Identifier: Apache-2.0
 *
 * `standalone`: everything in one process. Opens the data directory, wires the rooms together, serves until a signal,
 * and closes in the opposite order.
 *
 *     configuration -> instance (pages, metadata) -> door -> rules, mounts -> background jobs -> S3, admin -> "ready"
 *
 * Signals: SIGTERM or SIGINT: take
 * no more requests, let those that run end (30 s), stop the jobs at their next step, close, exit 0. What is not
 * persisted stays on disk and goes on at the next start. A second one: exit at once (a crash, which is always safe).
 * SIGHUP: open the log file again.
 */
#include "admin/admin.h"
#include "base/err.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/version.h"
#include "bin/figures.h"
#include "bin/files.h"
#include "bin/instance.h"
#include "bin/roles.h"
#include "bin/signals.h"
#include "conf/conf.h"
#include "fs/fs.h"
#include "fuse/fuse.h"
#include "meta/meta.h"
#include "persist/persist.h"
#include "s3/s3.h"

enum { DRAIN_MS = 30000, ADMIN_DRAIN_MS = 2000, RULES_MAX = 1 << 20, HOSTS = 16 };

static const struct cli_opt opts[] = {
    {"conf", 0, "FILE", "Properties (alluxio-site.properties).", 0},
    {"data", 0, "DIR", "Where everything is kept (./forebay-data).", 0},
    {"ufs", 0, "/BUCKET=URI", "Mount this place at this bucket, if it is not mounted yet.", OPT_REPEAT},
    {"define", 'D', "K=V", "A property; wins over the file.", OPT_REPEAT},
    {"mount", 0, "DIR[=PATH]", "Show the namespace, or the directory PATH of it, at DIR (FUSE).", OPT_REPEAT},
    {"mount-options", 0, "OPTIONS", "As of mount(8) -o, for each --mount: allow_other,ro,nodev ...; locks=local", 0},
    {"s3", 0, "ADDR:PORT", "Where the S3 API listens (127.0.0.1:29998; port 0: any).", 0},
    {"admin", 0, "ADDR:PORT", "Where REST and /metrics listen (127.0.0.1:19999; port 0: any).", 0},
    {0}};

struct standalone {
    struct cli *c;
    struct instance *in;
    struct fs *fs;
    struct persist *persist;
    struct s3 *s3;
    struct admin *admin;
    struct figures_of figures;
    struct fuse_host *host[HOSTS];
    size_t hosts;
    struct fuse_locks *locks;
    struct fuse_listener *listener;
    struct fuse_remotes *remotes;
    char s3_listen[300], tls_listen[300], admin_listen[300];
    char *data_dir; /* absolute */
};

/* ---- rules and mounts of the start ---- */

static int apply_rules(struct standalone *s)
{
    const char *file = conf_string(s->in->conf, PROP_PATHCONFIG_FILE);
    struct buf text AUTO_BUF = {0};
    if (!file[0] || meta_rules_stored(s->in->meta))
        return 0;
    TRY(files_read(file, RULES_MAX, &text));
    int r = fs_rules_set(s->fs, buf_str(&text));
    return r < 0 ? err_prefix(r, "%s=%s: ", conf_name(PROP_PATHCONFIG_FILE), file) : 0;
}

struct wanted {
    struct str path, uri;
    bool found, same;
};

static struct str without_slash(struct str s)
{
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static int compare_mount(void *arg, const struct fs_mount *m)
{
    struct wanted *w = arg;
    if (str_eq(str_of(m->path), w->path)) {
        w->found = true;
        w->same = str_eq(without_slash(str_of(m->uri)), without_slash(w->uri));
    }
    return 0;
}

static int add_mount(struct standalone *s, const char *word)
{
    const char *eq = strchr(word, '=');
    if (word[0] != '/' || !eq || eq == word + 1 || !eq[1])
        return err_set(ERR_INVALID, "--ufs %s: write /BUCKET=URI, as /demo=file:///srv/demo or /s3=s3://bucket/prefix",
                       word);
    struct wanted w = {.path = without_slash(str_mk(word, (size_t)(eq - word))), .uri = str_of(eq + 1)};
    TRY(fs_mounts(s->fs, compare_mount, &w));
    if (w.found && w.same)
        return 0;
    if (w.found)
        return err_set(ERR_EXISTS,
                       "--ufs %s: %.*s is mounted from another place already: see mount list, and mount remove", word,
                       STR_ARG(w.path));
    int r = fs_mount_add(s->fs, w.path, eq + 1, NULL, 0);
    return r < 0 ? err_prefix(r, "--ufs %s: ", word) : 0;
}

static int add_mounts(struct standalone *s)
{
    size_t at = 0;
    const char *word;
    while ((word = cli_next(s->c, "ufs", &at)))
        TRY(add_mount(s, word));
    return 0;
}

/* Standard mode has no background persistence to promise: what is left must be persisted first. */
static int check_standard_mode(struct standalone *s)
{
    uint64_t files = 0, bytes = 0, oldest;
    if (conf_bool(s->in->conf, PROP_WRITE_CACHE_ENABLED))
        return 0;
    TRY(meta_dirty(s->in->meta, 0, &files, &bytes, &oldest));
    if (files == 0)
        return 0;
    struct buf left AUTO_BUF = {0};
    cli_put_count(&left, files, "file");
    buf_putz(&left, " with ");
    cli_put_count(&left, bytes, "byte");
    return err_set(ERR_DIRTY,
                   "%s=false, but %s must be persisted first: start with true until async-persist list is empty",
                   conf_name(PROP_WRITE_CACHE_ENABLED), left.p);
}

/* ---- S3 ---- */

static void listen_address(char *out, size_t n, const char *given, const char *host, uint64_t port)
{
    bool v6 = strchr(host, ':') != NULL && host[0] != '[';
    if (given)
        snprintf(out, n, "%s", given);
    else
        snprintf(out, n, "%s%s%s:%llu", v6 ? "[" : "", host, v6 ? "]" : "", (unsigned long long)port);
}

static void warn_simple(const struct standalone *s, const char *address)
{
    const char *kind = conf_string(s->in->conf, PROP_AUTH_TYPE);
    if (admin_loopback(address) || strcasecmp(kind, "SIGV4") == 0 || strcasecmp(kind, "OIDC") == 0)
        return;
    log_warn("s3.auth",
             "address=%s %s=%s meaning=\"anybody who reaches this address can read and write everything\" "
             "action=\"listen on 127.0.0.1, or let only trusted hosts reach it\"",
             address, conf_name(PROP_AUTH_TYPE), kind);
}

static int start_s3(struct standalone *s)
{
    const struct conf *conf = s->in->conf;
    const char *plain[] = {s->s3_listen}, *tls[] = {s->tls_listen};
    const char *cert = conf_string(conf, PROP_S3_TLS_CERT), *key = conf_string(conf, PROP_S3_TLS_KEY);
    bool with_tls = cert[0] && key[0];
    if (!conf_bool(conf, PROP_S3_ENABLED))
        return 0;
    if (!with_tls && (cert[0] || key[0]))
        return err_set(ERR_INVALID, "%s and %s belong together: only one is set", conf_name(PROP_S3_TLS_CERT),
                       conf_name(PROP_S3_TLS_KEY));
    listen_address(s->s3_listen, sizeof s->s3_listen, cli_get(s->c, "s3", NULL), conf_string(conf, PROP_S3_BIND),
                   conf_u64(conf, PROP_S3_PORT));
    listen_address(s->tls_listen, sizeof s->tls_listen, NULL, conf_string(conf, PROP_S3_BIND),
                   conf_u64(conf, PROP_S3_TLS_PORT));
    struct s3_options o = {.fs = s->fs, .conf = conf, .listen = plain, .n_listen = 1};
    if (with_tls) {
        o.listen_tls = tls;
        o.n_listen_tls = 1;
        o.tls_cert = cert;
        o.tls_key = key;
    }
    warn_simple(s, s->s3_listen);
    int r = s3_new(&o, &s->s3);
    return r < 0 ? err_prefix(r, "the S3 API (--s3 ADDR:PORT, %s): ", conf_name(PROP_S3_PORT)) : 0;
}

/* ---- admin ---- */

static int start_admin(struct standalone *s)
{
    const struct conf *conf = s->in->conf;
    listen_address(s->admin_listen, sizeof s->admin_listen, cli_get(s->c, "admin", NULL),
                   conf_string(conf, PROP_ADMIN_BIND), conf_u64(conf, PROP_COORDINATOR_REST_PORT));
    s->data_dir = realpath(s->in->dir, NULL);
    if (!s->data_dir)
        return err_set(err_from_errno(errno), "%s: %s", s->in->dir, strerror(errno));
    s->figures = (struct figures_of){s->fs, s->s3, s->locks};
    const struct admin_options o = {.listen = s->admin_listen,
                                    .fs = s->fs,
                                    .persist = s->persist,
                                    .pages = s->in->pages,
                                    .kv = s->in->kv,
                                    .meta = s->in->meta,
                                    .conf = conf,
                                    .worker_id = s->in->worker_id,
                                    .data_dir = s->data_dir,
                                    .s3_address = s->s3 ? s3_address(s->s3, 0) : "",
                                    .faults = getenv("FOREBAY_FAULT") != NULL,
                                    .more_metrics = figures_put,
                                    .more_metrics_arg = &s->figures};
    int r = admin_new(&o, &s->admin);
    return r < 0 ? err_prefix(r, "the admin endpoint (--admin ADDR:PORT, %s): ", conf_name(PROP_COORDINATOR_REST_PORT))
                 : 0;
}

/* ---- mounts on this host ---- */

static int open_host(struct standalone *s, const char *word)
{
    const char *eq = strrchr(word, '=');
    char *dir AUTO_FREE = str_dup(str_mk(word, eq ? (size_t)(eq - word) : strlen(word)));
    const struct fuse_host_options o = {.fs = s->fs,
                                        .locks = s->locks,
                                        .conf = s->in->conf,
                                        .mountpoint = dir,
                                        .path = eq ? eq + 1 : "/",
                                        .mount_options = cli_get(s->c, "mount-options", NULL)};
    if (s->hosts == HOSTS)
        return err_set(ERR_INVALID, "--mount: at most %d mounts", HOSTS);
    int r = fuse_host_open(&o, &s->host[s->hosts]);
    if (r < 0)
        return err_prefix(r, "--mount %s: ", word);
    s->hosts++;
    return 0;
}

static int listen_for_hosts(struct standalone *s)
{
    const char *address = conf_string(s->in->conf, PROP_FUSE_LISTEN);
    if (!address[0])
        return 0;
    if (!admin_loopback(address) && !conf_string(s->in->conf, PROP_FUSE_TOKEN)[0])
        return err_set(ERR_INVALID, "%s=%s: set %s, which mounts of other hosts must know, or listen on 127.0.0.1",
                       conf_name(PROP_FUSE_LISTEN), address, conf_name(PROP_FUSE_TOKEN));
    int r = fuse_remotes_new(s->fs, s->in->conf, s->locks, &s->remotes);
    return r < 0 ? err_prefix(r, "%s: ", conf_name(PROP_FUSE_LISTEN)) : 0;
}

static int open_hosts(struct standalone *s)
{
    size_t at = 0;
    const char *word;
    while ((word = cli_next(s->c, "mount", &at)))
        TRY(open_host(s, word));
    TRY(fuse_listen(s->fs, s->in->conf, s->locks, s->in->dir, &s->listener));
    return listen_for_hosts(s);
}

static void close_hosts(struct standalone *s)
{
    s->remotes = fuse_remotes_end(s->remotes);
    s->listener = fuse_listen_end(s->listener);
    while (s->hosts)
        fuse_host_close(s->host[--s->hosts]);
}

/* ---- life ---- */

static int start_door(struct standalone *s)
{
    const struct fs_options f = {.meta = s->in->meta, .pages = s->in->pages, .conf = s->in->conf};
    const struct persist_options p = {.meta = s->in->meta, .pages = s->in->pages, .conf = s->in->conf};
    TRY(check_standard_mode(s));
    TRY(fs_new(&f, &s->fs));
    TRY(apply_rules(s));
    TRY(add_mounts(s));
    TRY(persist_new(&p, &s->persist));
    return persist_start(s->persist);
}

static int start_logs(const struct conf *conf)
{
    const char *file = conf_string(conf, PROP_LOG_FILE);
    if (!getenv("FOREBAY_LOG"))
        log_set_level((enum log_level)conf_enum(conf, PROP_LOG_LEVEL));
    return file[0] ? log_open(file) : 0;
}

static int start(struct standalone *s)
{
    struct conf *conf;
    struct instance_options o = {0};
    TRY(role_conf(s->c, NULL, &conf));
    int r = start_logs(conf);
    if (r < 0) {
        conf_free(conf);
        return r;
    }
    o.dir = role_data_dir(s->c, conf);
    o.conf = conf;
    TRY(instance_open(&o, &s->in));
    TRY(start_door(s));
    TRY(fuse_locks_new(s->in->conf, s->in->dir, &s->locks));
    TRY(start_s3(s));
    TRY(start_admin(s));
    return open_hosts(s);
}

static void stop(struct standalone *s)
{
    if (s->admin)
        admin_draining(s->admin);
    if (s->s3)
        s3_stop(s->s3, DRAIN_MS);
    close_hosts(s);
    if (s->admin)
        admin_stop(s->admin, ADMIN_DRAIN_MS);
    admin_free(s->admin);
    fuse_locks_free(s->locks);
    s3_free(s->s3);
    persist_free(s->persist);
    fs_free_door(s->fs);
    instance_close(s->in);
    free(s->data_dir);
}

static void print_ready(const struct standalone *s)
{
    FILE *out = s->c->out;
    const char *s3 = s->s3 ? s3_address(s->s3, 0) : NULL, *tls = s->s3 ? s3_address(s->s3, 1) : NULL;
    fprintf(out, "ready");
    if (s3)
        fprintf(out, " s3=%s", s3);
    if (tls)
        fprintf(out, " s3s=%s", tls);
    fprintf(out, " admin=%s", admin_address(s->admin));
    if (s->remotes) {
        char mounts[192];
        fuse_remotes_address(s->remotes, mounts, sizeof mounts);
        fprintf(out, " mounts=%s", mounts);
    }
    fprintf(out, " data=%s\n", s->in->dir);
    fflush(out);
}

static void tell_start(const struct standalone *s)
{
    log_info("start", "version=%s pid=%ld data=\"%s\" s3=%s admin=%s", FOREBAY_VERSION, (long)getpid(), s->data_dir,
             s->s3 ? s3_address(s->s3, 0) : "off", admin_address(s->admin));
}

static FILE *start_trace(void)
{
    const char *file = getenv("FOREBAY_TRACE");
    FILE *f = file && file[0] ? fopen(file, "ae") : NULL;
    if (f) {
        setvbuf(f, NULL, _IOLBF, 1 << 16);
        trace_sink(f);
    }
    return f;
}

static void end_trace(FILE *f)
{
    if (!f)
        return;
    trace_sink(NULL);
    fclose(f);
}

static void reopen_log(void *arg)
{
    const struct standalone *s = arg;
    const char *file = s->in ? conf_string(s->in->conf, PROP_LOG_FILE) : "";
    if (file[0] && log_open(file) < 0)
        log_warn("log.reopen",
                 "file=%s meaning=\"SIGHUP came and the file cannot be opened: the old one goes on\" "
                 "action=\"let the user of this process write there\"",
                 file);
}

static int run(struct cli *c)
{
    struct standalone s = {.c = c};
    signals_start();
    FILE *trace = start_trace();
    int r = start(&s);
    if (r < 0) {
        cli_fail(c, "%s", err_detail(r));
    } else {
        tell_start(&s);
        print_ready(&s);
        int sig = signals_wait(reopen_log, &s);
        log_info("stop", "signal=%d meaning=\"requests that run are let end; a second signal ends at once\"", sig);
    }
    stop(&s);
    end_trace(trace);
    return r < 0 ? CLI_FAILED : CLI_OK;
}

const struct command cmd_standalone = {
    NULL,
    "standalone",
    "",
    0,
    0,
    "Run everything in one process.",
    "Prints one line that starts with 'ready' when it serves. SIGTERM and Ctrl-C stop it: requests that\n"
    "run are finished, unpersisted data stays on disk and is persisted after the next start.\n"
    "Environment: FOREBAY_LOG=debug|info|warn|error, FOREBAY_TRACE=FILE, FOREBAY_FAULT=LIST (tests).",
    opts,
    run,
    true,
    true};
