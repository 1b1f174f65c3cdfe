/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs touch`: an empty file where none is.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    for (size_t i = 0; i < c->word_n; i++) {
        struct cli_answer a AUTO_ANSWER = {0};
        json_t *j = json_pack("{s:s}", "path", c->word[i]);
        int r = cli_call(c, "POST", "/api/v1/fs/touch", j, &a);
        json_decref(j);
        if (r != 0)
            return cli_answer_fail(c, &a, c->word[i]);
        cli_say(c, cli_jb(a.json, "created") ? "%s has been created" : "%s exists already", c->word[i]);
    }
    return CLI_OK;
}

const struct command cmd_fs_touch = {
    "fs", "touch", "PATH...", 1,     CLI_ANY, "Make empty files; those that exist are left alone.",
    "",   NULL,    run,       false, false};
