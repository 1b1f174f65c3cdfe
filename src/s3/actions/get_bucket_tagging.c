/* SPDX-License-Identifier: Apache-2.0
 *
 * GetBucketTagging: a bucket without tags is an error, as in S3.
 */
#include "s3/tagging.h"

int s3_get_bucket_tagging(struct s3_call *c)
{
    return s3_tagging_get(c, s3_bucket_at(c), true);
}
