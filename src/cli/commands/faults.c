/* SPDX-License-Identifier: Apache-2.0
 *
 * `faults`: the named points where a test may ask for a crash or an error.
 */
#include "cli/cli.h"
#include "base/fault.h"

static int run(struct cli *c)
{
    json_t *all = json_array();
    for (int p = 0; p < FAULT_COUNT; p++) {
        const char *name = fault_name((enum fault_point)p), *text = fault_text((enum fault_point)p);
        if (cli_json(c))
            json_array_append_new(all, json_pack("{s:s, s:s}", "name", name, "text", text));
        else
            fprintf(c->out, "%-30s %s\n", name, text);
    }
    if (cli_json(c))
        cli_print_json(c, all);
    json_decref(all);
    return CLI_OK;
}

const struct command cmd_faults = {
    NULL,
    "faults",
    "",
    0,
    0,
    "List the fault points of crash tests.",
    "A server started with FOREBAY_FAULT=\"point:action\" visits them; actions are kill, abort,\n"
    "stop, sleep MS and error CODE, then @N for the Nth visit and *N for how often.",
    NULL,
    run,
    true,
    false};
