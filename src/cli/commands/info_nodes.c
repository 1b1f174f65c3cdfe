/* SPDX-License-Identifier: Apache-2.0
 *
 * `info nodes`: the workers.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/info/nodes", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    size_t i;
    json_t *w;
    fprintf(c->out, "%-44s %-22s %s\n", "WorkerId", "Address", "Status");
    json_array_foreach(json_object_get(a.json, "workers"), i, w)
        fprintf(c->out, "%-44s %-22s %s\n", cli_js(w, "id"), cli_js(w, "address"), cli_js(w, "status"));
    return CLI_OK;
}

const struct command cmd_info_nodes = {"info", "nodes", "", 0, 0, "List the workers.", "", NULL, run, false, false};
