/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs rm`: remove files, empty directories, or with -R whole trees.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {{"recursive", 'R', NULL, "A directory and everything below it.", 0},
                                      {"force", 'f', NULL, "A path that does not exist is no error.", 0},
                                      {0}};

static int remove_one(struct cli *c, const char *path)
{
    struct cli_answer a AUTO_ANSWER = {0};
    json_t *j = json_pack("{s:s, s:b}", "path", path, "recursive", cli_has(c, "recursive"));
    int r = cli_call(c, "POST", "/api/v1/fs/rm", j, &a);
    json_decref(j);
    bool gone = cli_answer_is(&a, "NOT_FOUND") || cli_answer_is(&a, "NO_BUCKET");
    if (r != 0 && gone && cli_has(c, "force"))
        return CLI_OK;
    if (r != 0 && cli_answer_is(&a, "NOT_EMPTY") && !cli_has(c, "recursive"))
        return cli_fail(c, "%s is a directory that is not empty: use fs rm -R to remove all below it", path);
    if (r != 0)
        return cli_answer_fail(c, &a, path);
    cli_say(c, "%s has been removed", path);
    return CLI_OK;
}

static int run(struct cli *c)
{
    int result = CLI_OK;
    for (size_t i = 0; i < c->word_n; i++)
        if (remove_one(c, c->word[i]) != CLI_OK)
            result = CLI_FAILED;
    return result;
}

const struct command cmd_fs_rm = {
    "fs",
    "rm",
    "PATH...",
    1,
    CLI_ANY,
    "Remove files and directories.",
    "With -R a tree is gone from the namespace at once, whatever its size; pages and the\n"
    "objects in the under file system follow in the background.",
    opts,
    run,
    false,
    false};
