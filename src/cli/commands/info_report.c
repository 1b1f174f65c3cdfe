/* SPDX-License-Identifier: Apache-2.0
 *
 * `info report`: what the server is and how it stands, as JSON.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/info/report", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_print_json(c, a.json);
    return CLI_OK;
}

const struct command cmd_info_report = {
    "info", "report", "", 0, 0, "Print what the server is and how it stands, as JSON.", "", NULL, run, false, false};
