/* SPDX-License-Identifier: Apache-2.0
 *
 * `pathconfig show`: the path configuration in force, as it was written.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/conf", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    fwrite(a.body.p, 1, a.body.n, c->out);
    if (!a.body.n || a.body.p[a.body.n - 1] != '\n')
        fputc('\n', c->out);
    return CLI_OK;
}

const struct command cmd_pathconfig_show = {"pathconfig", "show", "",  0,     0,    "Print the path configuration.",
                                            "",           NULL,   run, false, false};
