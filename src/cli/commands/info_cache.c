/* SPDX-License-Identifier: Apache-2.0
 *
 * `info cache`: how much space there is, and what it is used for.
 */
#include "cli/cli.h"

static void line(struct cli *c, const char *label, const json_t *j, const char *member)
{
    struct buf b AUTO_BUF = {0};
    uint64_t v = cli_ju(j, member), all = cli_ju(j, "capacityBytes");
    cli_put_size(&b, v, true);
    fprintf(c->out, "    %-34s %12s  %5.1f%%\n", label, b.p, all ? 100.0 * (double)v / (double)all : 0.0);
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/info/cache", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    const json_t *j = a.json;
    if (cli_json(c)) {
        cli_print_json(c, j);
        return CLI_OK;
    }
    fprintf(c->out, "Capacity information for all workers:\n");
    line(c, "Total Capacity", j, "capacityBytes");
    line(c, "Used Capacity", j, "usedBytes");
    line(c, "  Pinned (not persisted)", j, "pinnedBytes");
    line(c, "    limit of pinned", j, "pinnedLimitBytes");
    line(c, "  Evictable (persisted)", j, "evictableBytes");
    line(c, "  Not yet known after the start", j, "unknownBytes");
    line(c, "Free", j, "freeBytes");
    fprintf(c->out, "Hit ratio by bytes: %.1f%%\n", json_number_value(json_object_get(j, "hitRatio")) * 100);
    size_t i;
    json_t *d;
    json_array_foreach(json_object_get(j, "dirs"), i, d)
    {
        struct buf used AUTO_BUF = {0}, all AUTO_BUF = {0};
        cli_put_size(&used, cli_ju(d, "usedBytes"), true);
        cli_put_size(&all, cli_ju(d, "capacityBytes"), true);
        fprintf(c->out, "Directory %s: %s of %s%s%s\n", cli_js(d, "path"), used.p, all.p,
                cli_jb(d, "failed") ? ", SET ASIDE: " : "", cli_jb(d, "failed") ? cli_js(d, "reason") : "");
    }
    return CLI_OK;
}

const struct command cmd_info_cache = {
    "info", "cache", "", 0, 0, "Show the space of the cache and what uses it.", "", NULL, run, false, false};
