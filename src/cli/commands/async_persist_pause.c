/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist pause`: no more uploads until resume; reads and writes go on.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "POST", "/api/v1/async-persist/pause", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_say(c, "Persistence is paused until 'async-persist resume' or a restart");
    return CLI_OK;
}

const struct command cmd_async_persist_pause = {
    "async-persist", "pause", "", 0, 0, "Stop uploading for a while.", "", NULL, run, false, false};
