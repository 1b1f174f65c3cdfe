/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands that open stores themselves.
 */
#pragma once
#include "cli/cli.h"

struct conf;

extern const struct command cmd_standalone;
extern const struct command cmd_fsck;
extern const struct command cmd_doctor;
extern const struct command cmd_info_doctor; /* the same */
extern const struct command cmd_fuse;
extern const struct command cmd_fuse_mount;
extern const struct command cmd_fuse_umount;

/* mount.fuse.forebay SOURCE DIR [-o OPTIONS]: for mount(8); SOURCE is "forebay:/path", "/path" or "none". */
int role_mount_helper(int argc, char **argv);

/* The configuration of a role from --conf, a file that was saved (or NULL) and -D, in this order. Warnings are logged.
 */
int role_conf(struct cli *c, const char *saved, struct conf **ret);
/* --data, else forebay.data.dir if it was set, else ./forebay-data. */
const char *role_data_dir(struct cli *c, const struct conf *conf);
