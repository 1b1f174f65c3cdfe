/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics of the doors, as text for the admin endpoint. */
#pragma once

struct buf;
struct fs;
struct fuse_locks;
struct s3;

struct figures_of {
    struct fs *fs;
    const struct s3 *s3; /* NULL: off */
    struct fuse_locks *locks;
};
/* Appends metrics in the text format of Prometheus. arg: a struct figures_of. Any thread. */
void figures_put(void *arg, struct buf *out);
