/* SPDX-License-Identifier: Apache-2.0
 *
 * Small things with files and disks that a start needs.
 */
#pragma once
#include "base/buf.h"

int files_make_dir(const char *dir); /* with its parents, for its owner only; there already: 0 */
int files_read(const char *file, size_t max, struct buf *b); /* appended; ERR_NOT_FOUND, ERR_TOO_LARGE */
int files_write(const char *file, struct str text);          /* whole or not at all, and durable */
int files_disk_room(const char *dir, uint64_t *ret);         /* bytes that may still be written */
int files_disk_size(const char *dir, uint64_t *ret);
uint64_t files_tree_bytes(const char *dir); /* on disk below dir, one level of directories deep */
