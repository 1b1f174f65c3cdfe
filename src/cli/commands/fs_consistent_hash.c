/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs consistent-hash`: which worker is responsible for what. There is one.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    size_t i;
    json_t *w;
    if (cli_call(c, "GET", "/api/v1/info/nodes", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    json_array_foreach(json_object_get(a.json, "workers"), i, w)
        fprintf(c->out, "%s  %s  every path\n", cli_js(w, "id"), cli_js(w, "address"));
    return CLI_OK;
}

const struct command cmd_fs_consistent_hash = {
    "fs", "consistent-hash", "", 0, 0, "Show which worker is responsible for which paths.", "", NULL, run, false,
    false};
