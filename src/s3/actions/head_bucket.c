/* SPDX-License-Identifier: Apache-2.0
 *
 * HeadBucket: is it there?
 */
#include "s3/bucket.h"

int s3_head_bucket(struct s3_call *c)
{
    TRY(s3_bucket_check(c));
    TRY(http_set(c->rq, "x-amz-bucket-region", STR(S3_REGION)));
    return s3_reply_empty(c, 200);
}
