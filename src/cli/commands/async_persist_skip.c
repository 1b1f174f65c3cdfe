/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist skip`: release a directory that is published in order from an object that cannot be persisted.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "The object that holds its directory up.", OPT_REQUIRED},
                                      {0}};

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0}, path AUTO_BUF = {0};
    cli_path_query(&url, "/api/v1/async-persist/skip", cli_get(c, "path", ""));
    if (cli_call(c, "POST", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_put_name(&path, cli_js(a.json, "path"));
    cli_say(c, "Skipped %s: %s", path.p, cli_js(a.json, "result"));
    return CLI_OK;
}

const struct command cmd_async_persist_skip = {
    "async-persist",
    "skip",
    "",
    0,
    0,
    "Release a directory that is published in order from one object.",
    "Where the path configuration says orderedPublication, an object that cannot be persisted stops its\n"
    "directory ('async-persist list' names both). The object stays here, complete and SKIPPED; what was\n"
    "committed after it goes on. It is sent again when it is written or renamed.",
    opts,
    run,
    false,
    false};
