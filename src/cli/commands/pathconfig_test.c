/* SPDX-License-Identifier: Apache-2.0
 *
 * `pathconfig test`: which rule a path falls under.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "The path; it need not exist.", OPT_REQUIRED}, {0}};

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    cli_path_query(&url, "/api/v1/pathconfig/test", cli_get(c, "path", ""));
    if (cli_call(c, "GET", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_print_json(c, a.json);
    return CLI_OK;
}

const struct command cmd_pathconfig_test = {
    "pathconfig", "test", "", 0, 0, "Print the rule that applies to a path.", "", opts, run, false, false};
