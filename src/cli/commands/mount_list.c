/* SPDX-License-Identifier: Apache-2.0
 *
 * `mount list`: what is mounted where.
 */
#include "cli/cli.h"

static void put_options(struct buf *b, const json_t *options)
{
    const char *k, *between = "";
    json_t *v;
    buf_putz(b, "properties={");
    json_object_foreach((json_t *)(uintptr_t)options, k, v)
    {
        buf_printf(b, "%s%s=%s", between, k, json_string_value(v));
        between = ", ";
    }
    buf_putz(b, "}");
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/mounts", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    size_t i;
    json_t *m, *mounts = json_object_get(a.json, "mounts");
    fprintf(c->out, json_array_size(mounts) ? "Listing all mount points\n" : "Nothing is mounted\n");
    json_array_foreach(mounts, i, m)
    {
        struct buf b AUTO_BUF = {0};
        put_options(&b, json_object_get(m, "options"));
        fprintf(c->out, "%s  on  %s/  %s%s\n", cli_js(m, "ufsUri"), cli_js(m, "path"), b.p,
                cli_jb(m, "reachable") ? "" : "  UNREACHABLE");
    }
    return CLI_OK;
}

const struct command cmd_mount_list = {"mount", "list", "", 0, 0, "List the mounts.", "", NULL, run, false, false};
