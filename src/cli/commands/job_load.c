/* SPDX-License-Identifier: Apache-2.0
 *
 * `job load`: bring everything below a path into the cache.
 */
#include "cli/job.h"

static const struct cli_opt opts[] = {
    {"path", 0, "PATH", "What to load: a path, or an address in the UFS of a mount.", 0},
    {"index", 0, "FILE", "Load the paths that this file of the namespace names, one a line.", 0},
    {"alias", 0, "NAME", "A name for the job, for --progress and --stop.", 0},
    {"submit", 0, NULL, "Return at once; --progress asks later.", 0},
    {"progress", 0, NULL, "Show how a job stands.", 0},
    {"stop", 0, NULL, "Stop a job.", 0},
    {"list", 0, NULL, "List the jobs, newest first.", 0},
    {"skip-if-exists", 0, NULL, "Do not read files that are cached whole.", 0},
    {"metadata-only", 0, NULL, "Only names and attributes.", 0},
    {"verify", 0, NULL, "Look again at the end, and load what is not cached whole.", 0},
    {"bandwidth", 0, "SIZE", "Read at most this much a second from under file systems (100MB).", 0},
    {"file-filter-regex", 0, "REGEX", "Only files whose whole path fits (POSIX extended).", 0},
    {"format", 0, "FORMAT", "TEXT (default) or JSON, with --progress.", 0},
    {"verbose", 0, NULL, "With --progress: the files that failed, too.", 0},
    {"partial-listing", 0, NULL, "Accepted: listings are always taken page by page.", 0},
    {"replicas", 0, "N", "Accepted: there is one worker.", 0},
    {"batch-size", 0, "N", "Accepted without effect.", 0},
    {0}};

static int run(struct cli *c)
{
    return cli_job(c, "load", "Load", NULL);
}

const struct command cmd_job_load = {
    "job",
    "load",
    "",
    0,
    0,
    "Load what is below a path into the cache.",
    "Without --submit the command waits and shows progress. Loading a path that is being\n"
    "loaded joins that job. A job that runs when the server stops, or dies, goes on from where\n"
    "it was at the next start. Ended jobs are listed for alluxio.job.retention.time.",
    opts,
    run,
    false,
    false};
