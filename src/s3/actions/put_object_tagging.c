/* SPDX-License-Identifier: Apache-2.0
 *
 * PutObjectTagging: replaces the set; the content and its ETag stay.
 */
#include "s3/tagging.h"

int s3_put_object_tagging(struct s3_call *c)
{
    TRY(s3_tagging_put(c, c->at));
    return s3_reply_empty(c, 200);
}
