/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs du`: how much is below paths, and how much of it is cached and not persisted.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {
    {"human-readable", 'h', NULL, "Sizes as 6.59MB.", 0},
    {"summary", 's', NULL, "Accepted for scripts: one line a path is what is printed.", 0},
    {0}};

static void put_column(struct cli *c, const json_t *j, const char *member)
{
    struct buf b AUTO_BUF = {0};
    cli_put_size(&b, cli_ju(j, member), cli_has(c, "human-readable"));
    fprintf(c->out, "%-15s ", b.p);
}

static int run(struct cli *c)
{
    for (size_t i = 0; i < c->word_n; i++) {
        struct cli_answer a AUTO_ANSWER = {0};
        bool done;
        int r = cli_get_path(c, "/api/v1/fs/du", c->word[i], &a, &done);
        if (r != CLI_OK)
            return r;
        if (done)
            continue;
        if (i == 0)
            fprintf(c->out, "%-15s %-15s %-15s %-10s %s\n", "Size", "Cached", "Not persisted", "Files", "Path");
        put_column(c, a.json, "size");
        put_column(c, a.json, "cached");
        put_column(c, a.json, "notPersisted");
        fprintf(c->out, "%-10llu %s\n", (unsigned long long)cli_ju(a.json, "files"), c->word[i]);
    }
    return CLI_OK;
}

const struct command cmd_fs_du = {"fs", "du", "PATH...", 1,     CLI_ANY, "How many bytes and files are below paths.",
                                  "",   opts, run,       false, false};
