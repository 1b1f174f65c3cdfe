/* SPDX-License-Identifier: Apache-2.0
 *
 * `conf log`: the least important level that is logged, changed in the running server.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {
    {"name", 0, "NAME", "Only events called so, or NAME.something: s3, persist.failed (root: all).", 0},
    {"level", 0, "LEVEL", "DEBUG, INFO, WARN or ERROR. Without it the levels are shown.", 0},
    {"target", 0, "WHERE", "Accepted for scripts: there is one process.", 0},
    {0}};

static int show(struct cli *c, const json_t *j)
{
    const char *name;
    json_t *v;
    if (cli_json(c)) {
        cli_print_json(c, j);
        return CLI_OK;
    }
    fprintf(c->out, "root=%s\n", cli_js(j, "level"));
    json_object_foreach(json_object_get(j, "names"), name, v) fprintf(c->out, "%s=%s\n", name, json_string_value(v));
    return CLI_OK;
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    const char *level = cli_get(c, "level", NULL), *name = cli_get(c, "name", "root");
    if (!level && cli_has(c, "name"))
        return cli_misuse(c, "option --name needs --level LEVEL");
    json_t *body = level ? json_pack("{s:s, s:s}", "level", level, "name", name) : NULL;
    int r = cli_call(c, level ? "PUT" : "GET", "/api/v1/log", body, &a);
    json_decref(body);
    return r == 0 ? show(c, a.json) : cli_answer_fail(c, &a, NULL);
}

const struct command cmd_conf_log = {"conf",
                                     "log",
                                     "",
                                     0,
                                     0,
                                     "Show or change what the running server logs.",
                                     "Until it is started again; forebay.log.level says what holds then.",
                                     opts,
                                     run,
                                     false,
                                     false};
