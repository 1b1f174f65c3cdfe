/* SPDX-License-Identifier: Apache-2.0
 *
 * `doctor`: everything that should be right before Forebay is started, and is worth a look when something is wrong.
 * Asks the running server; when none answers, looks at the stopped instance's data itself. What it finds is in
 * admin/doctor.h.
 *
 * Exit codes: 0 nothing failed; 1 at least one FAIL; 2 wrong usage.
 */
#include "base/err.h"
#include "base/log.h"
#include "bin/doctor.h"
#include "bin/files.h"
#include "bin/instance.h"
#include "bin/roles.h"
#include "admin/admin.h"
#include "conf/conf.h"
#include <strings.h>
#include "base/version.h"

static const struct cli_opt opts[] = {
    {"data", 0, "DIR", "The data directory of a stopped instance (./forebay-data).", 0},
    {"define", 'D', "K=V", "A property, as for standalone.", OPT_REPEAT},
    {"problems", 0, NULL, "Show only what is not OK.", 0},
    {0}};

struct doctor {
    struct cli *c;
    json_t *findings;
    struct conf *conf;
    char *data;
    bool running, local;
    struct cli_answer report; /* of the running server */
};

/* ---- configuration ---- */

static void warn(void *arg, const char *text)
{
    struct doctor *d = arg;
    doctor_say(d->findings, DOCTOR_WARN, "configuration", "the property is unknown, or has no effect in this version",
               "correct or remove the line; 'conf get' lists what is in force", "%s", text);
}

static void cannot_load(struct doctor *d, int code)
{
    doctor_say(d->findings, DOCTOR_FAIL, "configuration", err_detail(code),
               "correct the line; docs/properties.md says what is expected", "the configuration cannot be read");
}

struct files {
    char *file[16];
    size_t n;
};

/* "FILE:LINE" */
static void add_file(struct files *l, const char *source)
{
    const char *colon = strrchr(source, ':');
    if (!colon || source[0] == 0 || l->n == sizeof l->file / sizeof l->file[0])
        return;
    char *file AUTO_FREE = str_dup(str_mk(source, (size_t)(colon - source)));
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->file[i], file) == 0)
            return;
    l->file[l->n++] = TAKE(file);
}

/* Read the files of the running server again, for what is odd in them by now. */
static void read_again(struct doctor *d, struct files *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct conf *scratch AUTO_CONF = conf_new(CONF_STANDALONE);
        conf_on_warning(scratch, warn, d);
        int r = access(l->file[i], R_OK) == 0 ? conf_load_file(scratch, l->file[i]) : 0;
        if (r < 0)
            cannot_load(d, r);
        free(l->file[i]);
    }
}

/* The configuration of the running server, as it tells it. */
static void conf_from_server(struct doctor *d, const json_t *properties)
{
    struct files l = {.n = 0};
    size_t i;
    json_t *p;
    d->conf = conf_new(CONF_STANDALONE);
    json_array_foreach(properties, i, p)
    {
        const char *source = cli_js(p, "source"), *value = cli_js(p, "value");
        if (strcmp(source, "default") == 0 || strcmp(value, "******") == 0)
            continue;
        conf_set(d->conf, cli_js(p, "name"), value, source);
        add_file(&l, source);
        if (!cli_jb(p, "inForce") && !strchr(source, ':'))
            doctor_say(d->findings, DOCTOR_WARN, "configuration", "it has no effect in this version", "remove it",
                       "%s=%s (%s)", cli_js(p, "name"), value, source);
    }
    if (d->local)
        read_again(d, &l);
    else
        for (i = 0; i < l.n; i++)
            free(l.file[i]);
}

static int define_all(struct doctor *d)
{
    size_t at = 0;
    const char *kv;
    while ((kv = cli_next(d->c, "define", &at))) {
        const char *eq = strchr(kv, '=');
        if (!eq || eq == kv)
            return err_set(ERR_INVALID, "-D %s: write property=value", kv);
        char *name AUTO_FREE = str_dup(str_mk(kv, (size_t)(eq - kv)));
        TRY(conf_set(d->conf, name, eq + 1, "command line"));
    }
    return 0;
}

/* What the last start had, then the file that a start would read, then -D. */
static int conf_from_files(struct doctor *d)
{
    const char *file = cli_conf_path(d->c);
    char *saved AUTO_FREE = instance_saved_conf(role_data_dir(d->c, NULL));
    d->conf = conf_new(CONF_STANDALONE);
    if (saved)
        TRY(conf_load_file(d->conf, saved));
    conf_on_warning(d->conf, warn, d);
    if (file)
        TRY(conf_load_file(d->conf, file));
    TRY(define_all(d));
    if (saved && !file)
        doctor_say(d->findings, DOCTOR_WARN, "configuration.secrets",
                   "what was set for the last start is kept without its secrets",
                   "--conf FILE, or -D, as for the start; else mounts that need one of them seem to refuse us",
                   "no configuration file was found");
    doctor_say(d->findings, DOCTOR_OK, "configuration", "", "", "%s%s%s",
               file ? file : "no configuration file: defaults", saved ? ", and what was set for the last start: " : "",
               saved ? saved : "");
    return 0;
}

/* ---- the server ---- */

static void tell_server(struct doctor *d)
{
    const json_t *r = d->report.json;
    doctor_say(d->findings, DOCTOR_OK, "server", "", "", "Forebay %s answers at %s, up for %llu s; S3 at %s",
               cli_js(r, "version"), d->c->admin, (unsigned long long)(cli_ju(r, "uptime") / 1000),
               cli_js(r, "s3Address")[0] ? cli_js(r, "s3Address") : "no address: it is off");
    if (strcmp(cli_js(r, "version"), FOREBAY_VERSION) != 0)
        doctor_say(d->findings, DOCTOR_WARN, "version", "the program was replaced and the server not started again",
                   "start it again", "the server is %s, this program %s", cli_js(r, "version"), FOREBAY_VERSION);
}

/* Does a server answer? -1: one does, and does not let us in (a finding says so). */
static int find_server(struct doctor *d)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(d->c, "GET", "/api/v1/info/report", NULL, &d->report) != 0) {
        if (d->report.status == 0)
            return 0;
        doctor_say(d->findings, DOCTOR_FAIL, "server",
                   cli_js(json_object_get(d->report.json, "error"), "message")[0]
                       ? cli_js(json_object_get(d->report.json, "error"), "message")
                       : "it is not Forebay's admin endpoint",
                   "--token TOKEN, FOREBAY_TOKEN; --admin ADDR:PORT for another address",
                   "what answers at %s does not let us in (status %ld)", d->c->admin, d->report.status);
        return -1;
    }
    d->running = true;
    d->local = admin_loopback(d->c->admin);
    tell_server(d);
    if (cli_call(d->c, "GET", "/api/v1/properties", NULL, &a) == 0)
        conf_from_server(d, json_object_get(a.json, "properties"));
    else
        d->conf = conf_new(CONF_STANDALONE);
    return 1;
}

static void ask_server(struct doctor *d)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(d->c, "GET", "/api/v1/doctor", NULL, &a) == 0)
        json_array_extend(d->findings, json_object_get(a.json, "findings"));
    else
        doctor_say(d->findings, DOCTOR_FAIL, "server", a.status ? "it answered with an error" : a.error,
                   "look at its log", "the server does not tell how it stands (status %ld)", a.status);
}

/* ---- a stopped instance ---- */

static void open_stopped(struct doctor *d)
{
    struct instance *in;
    struct buf lock AUTO_BUF = {0};
    buf_printf(&lock, "%s/instance.lock", d->data);
    if (access(lock.p, F_OK) != 0) {
        doctor_say(d->findings, DOCTOR_OK, "server", "", "", "no server answers at %s, and %s holds no instance yet",
                   d->c->admin, d->data);
        return;
    }
    doctor_say(d->findings, DOCTOR_OK, "server", "", "", "no server answers at %s: looking at the data in %s",
               d->c->admin, d->data);
    const struct instance_options o = {.dir = d->data, .conf = TAKE(d->conf), .check_only = true};
    int r = instance_open(&o, &in);
    if (r < 0) {
        doctor_say(d->findings, DOCTOR_FAIL, "instance", err_detail(r),
                   r == ERR_BUSY ? "ask that process: --admin ADDR:PORT, as its 'ready' line shows it"
                                 : "do what the cause says; 'forebay fsck' checks the data",
                   "the instance in %s cannot be looked at", d->data);
        return;
    }
    const struct doctor_target t = {in->meta, in->pages, in->kv, in->conf, NULL};
    doctor_inside(&t, d->findings);
    instance_close(in);
}

/* ---- printing ---- */

static void print_finding(struct cli *c, const json_t *f)
{
    fprintf(c->out, "%-4s  %-16s  %s\n", cli_js(f, "level"), cli_js(f, "check"), cli_js(f, "text"));
    if (cli_js(f, "cause")[0])
        fprintf(c->out, "      cause:  %s\n", cli_js(f, "cause"));
    if (cli_js(f, "remedy")[0])
        fprintf(c->out, "      remedy: %s\n", cli_js(f, "remedy"));
}

static bool is(const json_t *f, const char *level)
{
    return strcmp(cli_js(f, "level"), level) == 0;
}

static int print(struct doctor *d)
{
    unsigned ok = 0, bad = 0, warned = 0;
    bool json = cli_json(d->c), problems = cli_has(d->c, "problems");
    json_t *shown = json_array(), *f;
    size_t i;
    json_array_foreach(d->findings, i, f)
    {
        ok += is(f, "OK");
        bad += is(f, "FAIL");
        warned += is(f, "WARN");
        if (!problems || !is(f, "OK"))
            json_array_append(shown, f);
    }
    if (json) {
        json_t *all =
            json_pack("{s:O, s:i, s:i, s:i}", "findings", shown, "ok", ok, "warnings", warned, "failures", bad);
        cli_print_json(d->c, all);
        json_decref(all);
    } else {
        struct buf b AUTO_BUF = {0};
        json_array_foreach(shown, i, f) print_finding(d->c, f);
        cli_put_count(&b, warned, "warning");
        buf_putz(&b, ", ");
        cli_put_count(&b, bad, "failure");
        fprintf(d->c->out, "%u ok, %s\n", ok, b.p);
    }
    json_decref(shown);
    return bad ? CLI_FAILED : CLI_OK;
}

/* ---- the command ---- */

/* Of the process that holds the data directory on this machine. */
static long owner_pid(const struct doctor *d)
{
    struct buf file AUTO_BUF = {0}, text AUTO_BUF = {0};
    uint64_t pid;
    buf_printf(&file, "%s/instance.lock", d->data);
    if (files_read(file.p, 100, &text) < 0 ||
        !str_u64(str_mk(text.p, strcspn(text.p ? text.p : "", "\n")), 1 << 30, &pid))
        return 0;
    return (long)pid;
}

static void look_at_host(struct doctor *d)
{
    const struct doctor_host h = {d->conf, d->data, d->running ? owner_pid(d) : 0};
    doctor_files(&h, d->findings);
    doctor_machine(&h, d->findings);
    doctor_network(&h, d->findings);
}

static void examine(struct doctor *d)
{
    int there = find_server(d), r = there == 0 ? conf_from_files(d) : 0;
    if (r < 0)
        cannot_load(d, r);
    if (there < 0 || r < 0)
        return;
    const char *dir = d->running ? cli_js(d->report.json, "dataDirectory") : role_data_dir(d->c, d->conf);
    d->data = str_dup(str_of(dir));
    if (!d->running || d->local)
        look_at_host(d);
    if (d->running)
        ask_server(d);
    else
        open_stopped(d);
}

static int run(struct cli *c)
{
    struct doctor d = {.c = c, .findings = json_array()};
    if (!getenv("FOREBAY_LOG"))
        log_set_level(LOG_ERROR);
    examine(&d);
    int r = print(&d);
    json_decref(d.findings);
    cli_answer_done(&d.report);
    conf_free(d.conf);
    free(d.data);
    return r;
}

#define DOCTOR(group)                                                                                                  \
    {                                                                                                                  \
        group, "doctor", "", 0, 0, "Look for what is wrong, and say what to do.",                                      \
            "Asks the running server; when none answers, the instance in the data directory is examined,\n"            \
            "and what a start would need. An object below .forebay/ is put, read and deleted in the UFS of\n"          \
            "each mount, and a small file in each data directory.\n"                                                   \
            "Exit code 0: nothing failed; 1: at least one FAIL.",                                                      \
            opts, run, false, false                                                                                    \
    }
const struct command cmd_doctor = DOCTOR(NULL);
const struct command cmd_info_doctor = DOCTOR("info");
