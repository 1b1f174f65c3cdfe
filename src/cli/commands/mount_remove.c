/* SPDX-License-Identifier: Apache-2.0
 *
 * `mount remove`: a mount leaves the namespace; its objects stay where they are.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "The mount.", OPT_REQUIRED},
                                      {"force", 0, NULL, "Also when unpersisted data is lost by it.", 0},
                                      {0}};

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    const char *path = cli_get(c, "path", "");
    cli_path_query(&url, "/api/v1/mounts", path);
    if (cli_has(c, "force"))
        cli_query(&url, "force", "true");
    if (cli_call(c, "DELETE", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, path);
    if (cli_json(c))
        cli_print_json(c, a.json);
    else
        fprintf(c->out, "Unmounted %s from Alluxio.\n", path);
    return CLI_OK;
}

const struct command cmd_mount_remove = {
    "mount",
    "remove",
    "",
    0,
    0,
    "Remove a mount.",
    "Refused while files below it are not persisted, unless --force. Nothing in the under\n"
    "file system changes.",
    opts,
    run,
    false,
    false};
