/* SPDX-License-Identifier: Apache-2.0
 *
 * The opcodes of the protocol: one row each. What has no row is answered ENOSYS, which the kernel takes for "never ask
 * again".
 */
#include "fuse/host.h"

int op_nothing(struct fuse_req *q)
{
    (void)q;
    return 0;
}

const struct fuse_op fuse_ops[HOST_OPS] = {
    [FUSE_INIT] = {"INIT", op_init, 8, false},
    [FUSE_DESTROY] = {"DESTROY", op_destroy, 0, false},
    /* Inodes live in the namespace, not by the kernel's count of lookups. */
    [FUSE_FORGET] = {"FORGET", op_nothing, 0, true},
    [FUSE_BATCH_FORGET] = {"BATCH_FORGET", op_nothing, 0, true},
    [FUSE_INTERRUPT] = {"INTERRUPT", op_interrupt, sizeof(struct fuse_interrupt_in), true},

    [FUSE_LOOKUP] = {"LOOKUP", op_lookup, 1, false},
    [FUSE_MKDIR] = {"MKDIR", op_mkdir, sizeof(struct fuse_mkdir_in), false},
    [FUSE_MKNOD] = {"MKNOD", op_mknod, sizeof(struct fuse_mknod_in), false},
    [FUSE_SYMLINK] = {"SYMLINK", op_symlink, 1, false},
    [FUSE_READLINK] = {"READLINK", op_readlink, 0, false},
    [FUSE_LINK] = {"LINK", op_link, sizeof(struct fuse_link_in), false},
    [FUSE_UNLINK] = {"UNLINK", op_unlink, 1, false},
    [FUSE_RMDIR] = {"RMDIR", op_rmdir, 1, false},
    [FUSE_RENAME] = {"RENAME", op_rename, sizeof(struct fuse_rename_in), false},
    [FUSE_RENAME2] = {"RENAME2", op_rename2, sizeof(struct fuse_rename2_in), false},

    [FUSE_GETATTR] = {"GETATTR", op_getattr, sizeof(struct fuse_getattr_in), false},
    [FUSE_SETATTR] = {"SETATTR", op_setattr, sizeof(struct fuse_setattr_in), false},
    [FUSE_STATFS] = {"STATFS", op_statfs, 0, false},
    [FUSE_GETXATTR] = {"GETXATTR", op_getxattr, sizeof(struct fuse_getxattr_in), false},
    [FUSE_SETXATTR] = {"SETXATTR", op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, false},
    [FUSE_LISTXATTR] = {"LISTXATTR", op_listxattr, sizeof(struct fuse_getxattr_in), false},
    [FUSE_REMOVEXATTR] = {"REMOVEXATTR", op_removexattr, 1, false},

    [FUSE_OPEN] = {"OPEN", op_open, sizeof(struct fuse_open_in), false},
    [FUSE_CREATE] = {"CREATE", op_create, sizeof(struct fuse_create_in), false},
    [FUSE_TMPFILE] = {"TMPFILE", op_tmpfile, sizeof(struct fuse_create_in), false},
    [FUSE_READ] = {"READ", op_read, sizeof(struct fuse_read_in), false},
    [FUSE_WRITE] = {"WRITE", op_write, sizeof(struct fuse_write_in), false},
    [FUSE_FLUSH] = {"FLUSH", op_flush, sizeof(struct fuse_flush_in), false},
    [FUSE_FSYNC] = {"FSYNC", op_fsync, sizeof(struct fuse_fsync_in), false},
    [FUSE_RELEASE] = {"RELEASE", op_release, sizeof(struct fuse_release_in), false},
    [FUSE_FALLOCATE] = {"FALLOCATE", op_fallocate, sizeof(struct fuse_fallocate_in), false},
    [FUSE_LSEEK] = {"LSEEK", op_lseek, sizeof(struct fuse_lseek_in), false},
    [FUSE_COPY_FILE_RANGE] = {"COPY_FILE_RANGE", op_copy_range, sizeof(struct fuse_copy_file_range_in), false},

    [FUSE_GETLK] = {"GETLK", op_getlk, sizeof(struct fuse_lk_in), false},
    [FUSE_SETLK] = {"SETLK", op_setlk, sizeof(struct fuse_lk_in), false},
    [FUSE_SETLKW] = {"SETLKW", op_setlkw, sizeof(struct fuse_lk_in), false},

    [FUSE_OPENDIR] = {"OPENDIR", op_opendir, sizeof(struct fuse_open_in), false},
    [FUSE_READDIR] = {"READDIR", op_readdir, sizeof(struct fuse_read_in), false},
    [FUSE_READDIRPLUS] = {"READDIRPLUS", op_readdirplus, sizeof(struct fuse_read_in), false},
    [FUSE_RELEASEDIR] = {"RELEASEDIR", op_releasedir, sizeof(struct fuse_release_in), false},
    [FUSE_FSYNCDIR] = {"FSYNCDIR", op_fsyncdir, sizeof(struct fuse_fsync_in), false},
};
