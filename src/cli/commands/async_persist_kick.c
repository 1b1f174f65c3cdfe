/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist kick`: try everything that waits for a retry at once, after an outage was mended.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "POST", "/api/v1/async-persist/kick", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    cli_say(c, "All pending files are tried now");
    return CLI_OK;
}

const struct command cmd_async_persist_kick = {
    "async-persist", "kick", "", 0, 0, "Retry all pending files now.", "", NULL, run, false, false};
