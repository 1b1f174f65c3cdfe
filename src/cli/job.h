/* SPDX-License-Identifier: Apache-2.0
 *
 * What `job load` and `job free` have in common: submit, watch, stop.
 */
#pragma once
#include "cli/cli.h"

/* kind: the last part of the REST path ("load"); title: how lines begin ("Load"); otherwise: the path when none is
 * given (NULL: one must be). */
int cli_job(struct cli *c, const char *kind, const char *title, const char *otherwise);
/* The progress text of one job, as `job load --progress` prints it. */
void cli_job_progress(struct buf *b, const json_t *job, const char *gerund);
/* A line for each file that failed. */
void cli_job_failures(struct buf *b, const json_t *job);
