/* SPDX-License-Identifier: Apache-2.0
 *
 * `async-persist wait`: until everything below a path is in the under file system.
 */
#include "cli/wait.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "A file or a directory (/: everything).", 0},
                                      {"timeout", 0, "SECONDS", "Give up after so long: exit code 1.", 0},
                                      {0}};

static int run(struct cli *c)
{
    uint64_t timeout;
    if (!cli_number(c, "timeout", 0, 1, 10000000, &timeout))
        return CLI_USAGE;
    return cli_wait_persisted(c, cli_get(c, "path", "/"), timeout);
}

const struct command cmd_async_persist_wait = {
    "async-persist", "wait", "", 0, 0, "Wait until everything below a path is persisted.", "", opts, run, false, false};
