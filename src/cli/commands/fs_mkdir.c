/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs mkdir`: directories, with the parents they lack.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    for (size_t i = 0; i < c->word_n; i++) {
        struct cli_answer a AUTO_ANSWER = {0};
        json_t *j = json_pack("{s:s}", "path", c->word[i]);
        int r = cli_call(c, "POST", "/api/v1/fs/mkdir", j, &a);
        json_decref(j);
        if (r != 0)
            return cli_answer_fail(c, &a, NULL); /* what is missing is not this path but one above */
        cli_say(c, "Successfully created directory %s", c->word[i]);
    }
    return CLI_OK;
}

const struct command cmd_fs_mkdir = {
    "fs", "mkdir", "PATH...", 1, CLI_ANY, "Make directories and the parents they lack.", "", NULL, run, false, false};
