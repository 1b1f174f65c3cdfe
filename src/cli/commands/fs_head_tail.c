/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs head` and `fs tail`: the first and the last bytes of a file.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"bytes", 'c', "N", "How many (1024).", 0}, {0}};

static int print_end(struct cli *c, const char *call)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    uint64_t n;
    if (!cli_number(c, "bytes", 1024, 0, INT64_MAX, &n))
        return CLI_USAGE;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    cli_path_query(&url, call, c->word[0]);
    cli_query(&url, "bytes", text);
    if (cli_call_raw(c, "GET", url.p, "application/json", STR(""), c->out, &a) != 0)
        return cli_answer_fail(c, &a, c->word[0]);
    return CLI_OK;
}

static int run_head(struct cli *c)
{
    return print_end(c, "/api/v1/fs/head");
}

static int run_tail(struct cli *c)
{
    return print_end(c, "/api/v1/fs/tail");
}

const struct command cmd_fs_head = {"fs", "head", "PATH",   1,     1,   "Print the first bytes of a file.",
                                    "",   opts,   run_head, false, true};
const struct command cmd_fs_tail = {"fs", "tail", "PATH",   1,     1,   "Print the last bytes of a file.",
                                    "",   opts,   run_tail, false, true};
