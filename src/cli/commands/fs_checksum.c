/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs checksum`: the MD5 of a file's bytes, read by the server.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    bool done;
    int r = cli_get_path(c, "/api/v1/fs/checksum", c->word[0], &a, &done);
    if (!done)
        fprintf(c->out, "md5sum: %s\n", cli_js(a.json, "md5sum"));
    return r;
}

const struct command cmd_fs_checksum = {"fs", "checksum", "PATH", 1,     1,    "The MD5 of a file.",
                                        "",   NULL,       run,    false, false};
