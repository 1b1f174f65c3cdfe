/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteBucketTagging.
 */
#include "s3/tagging.h"

int s3_delete_bucket_tagging(struct s3_call *c)
{
    TRY(s3_tagging_delete(c, s3_bucket_at(c)));
    return s3_reply_empty(c, 204);
}
