/* SPDX-License-Identifier: Apache-2.0
 *
 * `version`: of this program; info version asks the server.
 */
#include "cli/cli.h"
#include "base/version.h"

static int run(struct cli *c)
{
    if (cli_json(c))
        fprintf(c->out, "{\"version\": \"%s\"}\n", FOREBAY_VERSION);
    else
        fprintf(c->out, "%s\n", FOREBAY_VERSION);
    return CLI_OK;
}

const struct command cmd_version = {NULL, "version", "",  0,    0,    "Print this program's version.",
                                    "",   NULL,      run, true, false};
