/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte ranges of requests. Pure.
 */
#pragma once
#include "base/str.h"

enum s3_range_kind {
    RANGE_ALL,  /* no range, or one S3 ignores (another unit, malformed, several): the whole object, 200 */
    RANGE_PART, /* off and n are set, n > 0: 206 */
    RANGE_NONE  /* nothing of the object is in it: 416 */
};
struct s3_range {
    enum s3_range_kind kind;
    uint64_t off, n;
};
/* The value of a Range header for an object of size bytes. */
struct s3_range s3_range_parse(struct str header, uint64_t size);

/* x-amz-copy-source-range: only "bytes=first-last", both given, inside size. 0, or ERR_INVALID with a sentence. */
int s3_range_copy_parse(struct str header, uint64_t size, uint64_t *ret_off, uint64_t *ret_n);
