/* SPDX-License-Identifier: Apache-2.0
 *
 * PutBucketTagging: replaces the set.
 */
#include "s3/tagging.h"

int s3_put_bucket_tagging(struct s3_call *c)
{
    TRY(s3_tagging_put(c, s3_bucket_at(c)));
    return s3_reply_empty(c, 204);
}
