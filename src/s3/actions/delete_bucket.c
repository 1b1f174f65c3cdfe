/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteBucket: only an empty one.
 */
#include "s3/call.h"

int s3_delete_bucket(struct s3_call *c)
{
    TRY(fs_bucket_delete(c->fs, c->bucket));
    return s3_reply_empty(c, 204);
}
