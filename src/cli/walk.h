/* SPDX-License-Identifier: Apache-2.0
 *
 * Listing a directory through the REST, page by page, for commands that show or copy trees.
 */
#pragma once
#include "cli/cli.h"

/* Each entry is an object as GET /api/v1/fs/ls gives it ("path", "type", "size", ...); non-zero from fn stops the walk
 * and is returned. deep: directories are entered after they were shown. The result is 0, fn's, or CLI_FAILED after a
 * sentence on stderr. A path that is a file gives that one entry. */
int cli_walk(struct cli *c, const char *path, bool deep, int (*fn)(struct cli *c, void *arg, const json_t *entry),
             void *arg);
