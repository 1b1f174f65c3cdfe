/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs check-cached`: how many files below a path are cached.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"limit", 0, "N", "Files to check at most (1000).", 0},
                                      {"sample", 0, "N", "Check each Nth file only (1).", 0},
                                      {0}};

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    uint64_t n;
    cli_path_query(&url, "/api/v1/fs/check-cached", c->word[0]);
    for (const struct cli_opt *o = opts; o->name; o++) {
        if (!cli_number(c, o->name, 1, 1, 1 << 30, &n))
            return CLI_USAGE;
        if (cli_has(c, o->name))
            cli_query(&url, o->name, cli_get(c, o->name, ""));
    }
    if (cli_call(c, "GET", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, c->word[0]);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    fprintf(c->out, "%llu of %llu files checked are cached whole, %llu partly, %llu not; %llu of %llu bytes%s\n",
            (unsigned long long)cli_ju(a.json, "cachedWhole"), (unsigned long long)cli_ju(a.json, "checked"),
            (unsigned long long)cli_ju(a.json, "cachedPartly"), (unsigned long long)cli_ju(a.json, "notCached"),
            (unsigned long long)cli_ju(a.json, "cached"), (unsigned long long)cli_ju(a.json, "size"),
            cli_jb(a.json, "limitReached") ? "; --limit was reached" : "");
    return CLI_OK;
}

const struct command cmd_fs_check_cached = {
    "fs", "check-cached", "PATH", 1, 1, "Count the files below a path that are cached.", "", opts, run, false, false};
