/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs test`: a question about a path, answered by the exit code.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"exists", 'e', NULL, "Does it exist? (the default)", 0},
                                      {"directory", 'd', NULL, "Is it a directory?", 0},
                                      {"file", 'f', NULL, "Is it a file?", 0},
                                      {"non-empty", 's', NULL, "Does it hold anything?", 0},
                                      {"zero", 'z', NULL, "Is it a file of 0 bytes?", 0},
                                      {0}};

static const char *question(const struct cli *c)
{
    for (const struct cli_opt *o = opts; o->name; o++)
        if (cli_has(c, o->name))
            return o->name;
    return "exists";
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    cli_path_query(&url, "/api/v1/fs/test", c->word[0]);
    cli_query(&url, "question", question(c));
    if (cli_call(c, "GET", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, c->word[0]);
    if (cli_json(c))
        cli_print_json(c, a.json);
    return cli_jb(a.json, "result") ? CLI_OK : CLI_FAILED;
}

const struct command cmd_fs_test = {
    "fs", "test", "PATH", 1,     1,    "Ask something about a path: exit code 0 is yes, 1 is no.",
    "",   opts,   run,    false, false};
