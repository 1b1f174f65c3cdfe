/* SPDX-License-Identifier: Apache-2.0
 *
 * `cache format`: all cached data goes that the under file system has too. Data whose only copy is here stays: nothing
 * formats that away.
 */
#include "cli/job.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    int r = cli_job(c, "free", "Free", "/");
    if (r != CLI_OK || cli_json(c))
        return r;
    if (cli_call(c, "GET", "/api/v1/info/cache", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    struct buf left AUTO_BUF = {0};
    cli_put_size(&left, cli_ju(a.json, "pinnedBytes"), true);
    fprintf(c->out, "%s is not persisted, and stays\n", left.p);
    return CLI_OK;
}

const struct command cmd_cache_format = {
    "cache", "format", "", 0, 0, "Empty the cache.", "What is not persisted stays.", NULL, run, false, false};
