/* SPDX-License-Identifier: Apache-2.0
 *
 * `info version`: the server's version.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/info/version", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c))
        cli_print_json(c, a.json);
    else
        fprintf(c->out, "%s\n", cli_js(a.json, "version"));
    return CLI_OK;
}

const struct command cmd_info_version = {"info", "version", "",  0,     0,    "Print the server's version.",
                                         "",     NULL,      run, false, false};
