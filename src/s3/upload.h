/* SPDX-License-Identifier: Apache-2.0
 *
 * What the actions of multipart uploads share: their parameters, and the checksum an upload was created with. That is
 * kept with the upload as the pair "x-amz-checksum-algorithm" = "CRC32/COMPOSITE", a name no response header has, so
 * that it stays out of sight when the upload's pairs become the object's.
 */
#pragma once
#include "s3/call.h"
#include "s3/sum.h"

#define S3_PARTS_MAX 10000

/* uploadId as the door wants it; ERR_NO_UPLOAD for one that cannot be ours. */
int s3_upload_id(const struct s3_call *c, char ret[FS_UPLOAD_ID]);
/* partNumber, 1..10000; ERR_INVALID. */
int s3_upload_part_number(const struct s3_call *c, unsigned *ret);

struct s3_upload_sum {
    bool asked;            /* by CreateMultipartUpload */
    enum s3_sum_kind kind; /* CRC64NVME when not asked */
    bool full;             /* FULL_OBJECT, else COMPOSITE */
};
/* From x-amz-checksum-algorithm and -type of a CreateMultipartUpload. */
int s3_upload_sum_asked(const struct s3_call *c, struct s3_upload_sum *ret);
/* The pair's value, and back (false for another pair). */
struct str s3_upload_sum_text(struct s3_call *c, const struct s3_upload_sum *u);
bool s3_upload_sum_parse(struct str name, struct str value, struct s3_upload_sum *ret);
/* Of an upload that exists. ERR_NO_UPLOAD. */
int s3_upload_sum_of(struct s3_call *c, const char *id, struct s3_upload_sum *ret);
const char *s3_upload_sum_type(const struct s3_upload_sum *u);

/* The value of one kind among the "name=value" lines kept with a part; p NULL when absent. */
struct str s3_part_sum(struct str lines, enum s3_sum_kind k);
