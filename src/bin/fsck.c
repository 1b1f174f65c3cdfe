/* SPDX-License-Identifier: Apache-2.0
 *
 * `fsck`: every rule the code relies on, checked on a data directory that no process uses. Nothing is changed that an
 * ordinary start would not change too.
 *
 * Exit codes: 0 clean; 1 at least one rule is broken, each on a line of its own; 2 it could not run.
 */
#include "base/err.h"
#include "base/log.h"
#include "bin/instance.h"
#include "bin/roles.h"
#include "conf/conf.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "page/page.h"

static const struct cli_opt opts[] = {
    {"data", 0, "DIR", "The data directory (./forebay-data).", 0},
    {"conf", 0, "FILE", "Another configuration than that of the last start.", 0},
    {"define", 'D', "K=V", "A property that differs from the last start.", OPT_REPEAT},
    {"verify", 0, NULL, "Read every page and compare its checksums.", 0},
    {0}};

struct report {
    struct cli *c;
    size_t lines;
};

static void say(void *arg, const char *line)
{
    struct report *r = arg;
    fprintf(r->c->out, "%s\n", line);
    r->lines++;
}

static bool has_pages(void *pages, uint64_t blob, uint64_t off, uint64_t n)
{
    return page_has(pages, blob, off, n);
}

static int check(struct instance *in, bool verify, struct report *rep)
{
    int pages = page_check(in->pages, verify, say, rep);
    if (pages < 0 && pages != ERR_CORRUPT)
        return pages;
    return meta_fsck(in->meta, has_pages, in->pages, say, rep);
}

static int cannot(struct cli *c, int code)
{
    cli_fail(c, "fsck could not run: %s", err_detail(code));
    return CLI_USAGE;
}

static int run_on(struct cli *c, struct instance *in)
{
    struct report rep = {.c = c};
    int r = check(in, cli_has(c, "verify"), &rep);
    if (r < 0 && rep.lines == 0)
        return cannot(c, r);
    if (rep.lines == 0 && r == 0) {
        fprintf(c->out, "clean\n");
        return CLI_OK;
    }
    cli_fail(c, "%zu broken rule%s", rep.lines, rep.lines == 1 ? "" : "s");
    return CLI_FAILED;
}

static int run(struct cli *c)
{
    struct instance *in;
    struct conf *conf;
    const char *dir = role_data_dir(c, NULL);
    char *saved AUTO_FREE = instance_saved_conf(dir);
    if (!getenv("FOREBAY_LOG"))
        log_set_level(LOG_ERROR);
    int r = role_conf(c, saved, &conf);
    if (r < 0)
        return cannot(c, r);
    const struct instance_options o = {.dir = dir, .conf = conf, .check_only = true};
    r = instance_open(&o, &in);
    if (r < 0)
        return cannot(c, r);
    int code = run_on(c, in);
    instance_close(in);
    return code;
}

const struct command cmd_fsck = {
    NULL,
    "fsck",
    "",
    0,
    0,
    "Check the data of a stopped instance.",
    "Exit code 0: clean. 1: each broken rule is printed. 2: it could not run, as while the\n"
    "instance runs.",
    opts,
    run,
    true,
    true};
