/* SPDX-License-Identifier: Apache-2.0
 *
 * What GetObject and HeadObject share: conditions, range or part, and the headers of the answer.
 */
#pragma once
#include "s3/object.h"
#include "s3/range.h"

/* What is asked about: an open content, or what fs_stat() told. */
struct s3_found {
    const struct fs_attr *attr;
    struct fs_file *file;         /* NULL: only looked at */
    const struct s3_pairs *pairs; /* then its pairs */
};
struct s3_get {
    int status;      /* 200 or 206 */
    uint64_t off, n; /* what the body is, or would be */
};
/* Judges everything and sets the headers. ERR_NOT_MODIFIED, ERR_PRECONDITION, ERR_RANGE .. partNumber needs an open
 * content. Waits until what was found is durable. */
int s3_get_prepare(struct s3_call *c, const struct s3_found *f, struct s3_get *ret);
/* ERR_NOT_MODIFIED becomes a 304 with the headers it must have; other codes pass. */
int s3_get_answer(struct s3_call *c, int code, const struct fs_attr *a);
