/* SPDX-License-Identifier: Apache-2.0
 *
 * Mounting and unmounting. (Apart from host.h: libfuse's header and the kernel's do not go together.) */
#pragma once
#include <stdbool.h>

struct mounting;
/* Takes out of options what is not mount(8)'s: locks=local (the kernel keeps them by itself), locks=shared.
 * ERR_INVALID. */
int mounting_options(const char *options, char **ret, bool *ret_local_locks);
/* path: shown as the source of the mount ("forebay:/demo"). *ret_fd: the device, owned by the mounting. Errors as
 * fuse_host_open. */
int mounting_new(const char *mountpoint, const char *path, const char *options, struct mounting **ret, int *ret_fd);
/* True when the mount is out of the way. lazy: also where it is in use. */
bool mounting_undo(struct mounting *m, bool lazy);
struct mounting *mounting_free(struct mounting *m); /* closes the device; NULL is fine; returns NULL */
