/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist list`: what waits for the under file system or is on its way there, oldest first.
 */
#include "cli/cli.h"
#include "base/clock.h"

static const struct cli_opt opts[] = {{"worker", 0, "ID", "Only this worker's (see info nodes).", 0},
                                      {"limit", 0, "N", "At most so many lines (1000).", 0},
                                      {0}};

static void line(struct cli *c, const json_t *it)
{
    struct buf age AUTO_BUF = {0}, path AUTO_BUF = {0};
    uint64_t now = clock_wall_ms(), since = cli_ju(it, "sinceMs");
    cli_put_age(&age, since && now > since ? now - since : 0);
    cli_put_name(&path, cli_js(it, "path"));
    fprintf(c->out, "%-8s %-8s %12llu %8s %8llu  %s%s%s\n", cli_js(it, "state"), cli_js(it, "kind"),
            (unsigned long long)cli_ju(it, "size"), age.p, (unsigned long long)cli_ju(it, "retries"), path.p,
            cli_js(it, "error")[0] ? "  last error: " : "", cli_js(it, "error"));
}

/* Directories that stand still; the others only wait for what the list shows anyway. */
static void stopped(struct cli *c, const json_t *orders)
{
    size_t i;
    json_t *o;
    json_array_foreach(orders, i, o)
    {
        struct buf dir AUTO_BUF = {0}, path AUTO_BUF = {0};
        if (!cli_jb(o, "stopped"))
            continue;
        cli_put_name(&dir, cli_js(o, "directory"));
        cli_put_name(&path, cli_js(o, "path"));
        fprintf(c->out, "Stopped: %s is published in order, and %s%s failed %llu times: %s\n", dir.p,
                cli_jb(o, "deletion") ? "the deletion of " : "", path.p, (unsigned long long)cli_ju(o, "retries"),
                cli_js(o, "error"));
        fprintf(c->out, "  %llu wait; mend the cause, or: async-persist skip --path %s\n",
                (unsigned long long)cli_ju(o, "waiting"), path.p);
    }
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    uint64_t limit;
    if (!cli_number(c, "limit", 1000, 1, 100000, &limit))
        return CLI_USAGE;
    buf_printf(&url, "/api/v1/async-persist?limit=%llu", (unsigned long long)limit);
    if (cli_has(c, "worker"))
        cli_query(&url, "worker", cli_get(c, "worker", ""));
    if (cli_call(c, "GET", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    size_t i;
    json_t *it, *items = json_object_get(a.json, "items");
    if (cli_jb(a.json, "paused"))
        fprintf(c->out, "Persistence is paused: 'async-persist resume' lets it go on\n");
    stopped(c, json_object_get(a.json, "orders"));
    if (json_array_size(items) == 0)
        fprintf(c->out, "Nothing is pending: all files are persisted\n");
    else
        fprintf(c->out, "%-8s %-8s %12s %8s %8s  %s\n", "State", "Job", "Size", "Age", "Retries", "Path");
    json_array_foreach(items, i, it) line(c, it);
    if (cli_jb(a.json, "more"))
        fprintf(c->out, "... and more: --limit N shows them\n");
    return CLI_OK;
}

const struct command cmd_async_persist_list = {
    "async-persist", "list", "", 0, 0, "List files that wait to be persisted, or are being persisted.", "", opts, run,
    false,           false};
