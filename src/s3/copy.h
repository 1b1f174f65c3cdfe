/* SPDX-License-Identifier: Apache-2.0
 *
 * The source of a CopyObject or UploadPartCopy: named, looked at, judged.
 */
#pragma once
#include "s3/object.h"

struct s3_source {
    struct fs_at at;
    struct fs_attr attr;
    struct s3_pairs pairs; /* all of the source's */
    struct fs_cond cond;   /* to hand on: what was judged is what is copied */
    char if_match[80];
};
/* ERR_PRECONDITION when a condition on the source does not hold; ERR_NOT_FOUND, ERR_NO_BUCKET .. */
int s3_source_open(struct s3_call *c, struct s3_source *ret);
