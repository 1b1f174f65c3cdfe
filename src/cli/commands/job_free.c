/* SPDX-License-Identifier: Apache-2.0
 *
 * `job free`: give back the space of cached data that the under file system holds too, and clean up
 * what nobody refers to any more.
 */
#include "cli/job.h"

static const struct cli_opt opts[] = {{"path", 0, "PATH", "What to free (/: everything).", 0},
                                      {"submit", 0, NULL, "Return at once; --progress asks later.", 0},
                                      {"progress", 0, NULL, "Show how a submitted job stands.", 0},
                                      {"stop", 0, NULL, "Stop a submitted job.", 0},
                                      {"list", 0, NULL, "List the jobs, newest first.", 0},
                                      {"format", 0, "FORMAT", "TEXT (default) or JSON, with --progress.", 0},
                                      {0}};

static int run(struct cli *c)
{
    return cli_job(c, "free", "Free", "/");
}

const struct command cmd_job_free = {
    "job",
    "free",
    "",
    0,
    0,
    "Free cached data below a path.",
    "Only data that is persisted goes; what is not persisted yet stays. What nobody refers to any\n"
    "more (removed files, uploads past forebay.multipart.expire) is cleaned up at once.",
    opts,
    run,
    false,
    false};
