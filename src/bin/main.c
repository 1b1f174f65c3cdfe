/* SPDX-License-Identifier: Apache-2.0
 *
 * `forebay`, also installed as `alluxio`: the commands of the command line (cli/) and those of this room.
 */
#include "bin/roles.h"
#include <string.h>

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "forebay";
}

int main(int argc, char **argv)
{
    static const struct command *const roles[] = {&cmd_standalone,  &cmd_fsck,   &cmd_fuse,        &cmd_fuse_mount,
                                                  &cmd_fuse_umount, &cmd_doctor, &cmd_info_doctor, NULL};
    if (strcmp(base_name(argv[0]), "mount.fuse.forebay") == 0)
        return role_mount_helper(argc, argv);
    const struct cli_env env = {.program = base_name(argv[0]), .more = roles};
    return cli_main(&env, argc, argv);
}
