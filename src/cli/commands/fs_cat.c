/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs cat`: a file's bytes on standard output.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    for (size_t i = 0; i < c->word_n; i++) {
        struct cli_answer a AUTO_ANSWER = {0};
        struct buf url AUTO_BUF = {0};
        cli_path_query(&url, "/api/v1/fs/cat", c->word[i]);
        if (cli_call_raw(c, "GET", url.p, "application/json", STR(""), c->out, &a) != 0)
            return cli_answer_fail(c, &a, c->word[i]);
    }
    return CLI_OK;
}

const struct command cmd_fs_cat = {"fs", "cat", "PATH...", 1, CLI_ANY, "Print files.", "", NULL, run, false, true};
