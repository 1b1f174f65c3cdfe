/* SPDX-License-Identifier: Apache-2.0
 *
 * `persist`: bring what is below a path to the under file system now, and wait for it if asked.
 */
#include "cli/wait.h"

static const struct cli_opt opts[] = {{"wait", 0, NULL, "Return when it is there.", 0},
                                      {"timeout", 0, "SECONDS", "With --wait: give up after so long, exit code 1.", 0},
                                      {0}};

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    uint64_t timeout;
    if (!cli_number(c, "timeout", 0, 1, 10000000, &timeout))
        return CLI_USAGE;
    if (cli_call(c, "POST", "/api/v1/async-persist/kick", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_has(c, "wait"))
        return cli_wait_persisted(c, c->word[0], timeout);
    fprintf(c->out, "All pending files are tried now; --wait waits for them\n");
    return CLI_OK;
}

const struct command cmd_persist = {NULL,
                                    "persist",
                                    "PATH",
                                    1,
                                    1,
                                    "Persist what is below a path now.",
                                    "Files that wait for a retry are tried at once.",
                                    opts,
                                    run,
                                    false,
                                    false};
