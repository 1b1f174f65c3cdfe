/* SPDX-License-Identifier: Apache-2.0
 *
 * `cache free`: the same as `job free`, under the name it has elsewhere.
 */
#include "cli/job.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "What to free (/: everything).", 0},
                                      {"worker", 0, "ID", "Everything on this worker; there is one.", 0},
                                      {0}};

static int run(struct cli *c)
{
    if (cli_has(c, "path") == cli_has(c, "worker"))
        return cli_misuse(c, "one of --path PATH and --worker ID is expected");
    return cli_job(c, "free", "Free", "/");
}

const struct command cmd_cache_free = {
    "cache", "free", "",    0,    0, "Free cached data below a path.", "Only data that is persisted goes.",
    opts,    run,    false, false};
