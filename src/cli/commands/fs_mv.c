/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs mv`: rename a file or a directory, whatever it holds; metadata only, the under file system follows.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    json_t *j = json_pack("{s:s, s:s}", "from", c->word[0], "to", c->word[1]);
    int r = cli_call(c, "POST", "/api/v1/fs/mv", j, &a);
    json_decref(j);
    if (r != 0)
        return cli_answer_fail(c, &a, NULL); /* its message names which of the two is missing */
    cli_say(c, "Renamed %s to %s", c->word[0], cli_js(a.json, "to"));
    return CLI_OK;
}

const struct command cmd_fs_mv = {
    "fs",
    "mv",
    "FROM TO",
    2,
    2,
    "Rename a file or a directory.",
    "Atomic and metadata only, whatever a directory holds. When TO is a directory, FROM moves\n"
    "into it. The objects in the under file system move in the background.",
    NULL,
    run,
    false,
    false};
