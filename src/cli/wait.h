/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting until everything below a path is in the under file system.
 */
#pragma once
#include "cli/cli.h"

/* CLI_OK when it is; CLI_FAILED when timeout_s passed first (0: no limit), with how much is left on stderr. Progress
 * goes to stderr when that is a terminal. */
int cli_wait_persisted(struct cli *c, const char *path, uint64_t timeout_s);
