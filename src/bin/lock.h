/* SPDX-License-Identifier: Apache-2.0
 *
 * One owner per data directory.
 */
#pragma once

/* Take the lock: 0 and the descriptor that holds it until it is closed, or ERR_BUSY with the holder's process id. */
int lock_file(const char *file, int *ret_fd);
