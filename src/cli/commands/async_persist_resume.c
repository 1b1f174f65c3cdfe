/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist resume`: the end of a pause.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "POST", "/api/v1/async-persist/resume", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_say(c, "Persistence goes on");
    return CLI_OK;
}

const struct command cmd_async_persist_resume = {"async-persist", "resume", "", 0, 0, "Go on uploading.", "", NULL, run,
                                                 false,           false};
