/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist stat`: where one file stands.
 */
#include "cli/cli.h"
#include "base/clock.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "The file.", OPT_REQUIRED}, {0}};

static void times(struct cli *c, const json_t *j)
{
    struct buf age AUTO_BUF = {0}, due AUTO_BUF = {0};
    uint64_t now = clock_wall_ms(), since = cli_ju(j, "sinceMs"), at = cli_ju(j, "dueMs");
    if (since) {
        cli_put_age(&age, now > since ? now - since : 0);
        fprintf(c->out, "Unpersisted for: %s\n", age.p);
    }
    if (at > now) {
        cli_put_age(&due, at - now);
        fprintf(c->out, "Next attempt in: %s\n", due.p);
    }
}

static void order(struct cli *c, const json_t *j)
{
    struct buf path AUTO_BUF = {0};
    const json_t *by = json_object_get(j, "stoppedBy");
    if (cli_jb(j, "ordered"))
        fprintf(c->out, "Order: waits for its turn in its directory\n");
    if (!by)
        return;
    cli_put_name(&path, cli_js(by, "path"));
    fprintf(c->out, "Stopped by: %s, which failed %llu times: %s\n", path.p, (unsigned long long)cli_ju(by, "retries"),
            cli_js(by, "error"));
    fprintf(c->out, "Remedy: mend the cause, or: async-persist skip --path %s\n", path.p);
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    bool done;
    int r = cli_get_path(c, "/api/v1/async-persist/stat", cli_get(c, "path", ""), &a, &done);
    if (done)
        return r;
    fprintf(c->out, "Path: %s\nState: %s\n", cli_get(c, "path", ""), cli_js(a.json, "state"));
    if (cli_js(a.json, "kind")[0])
        fprintf(c->out, "Job: %s (%s)\n", cli_js(a.json, "kind"), cli_jb(a.json, "running") ? "running" : "waiting");
    if (cli_js(a.json, "kind")[0])
        fprintf(c->out, "Retry count: %llu\n", (unsigned long long)cli_ju(a.json, "retries"));
    times(c, a.json);
    if (cli_js(a.json, "error")[0])
        fprintf(c->out, "Last error: %s\n", cli_js(a.json, "error"));
    order(c, a.json);
    return CLI_OK;
}

const struct command cmd_async_persist_stat = {
    "async-persist", "stat", "", 0, 0, "Show the persistence state of one file.", "", opts, run, false, false};
