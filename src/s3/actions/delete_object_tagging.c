/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteObjectTagging.
 */
#include "s3/tagging.h"

int s3_delete_object_tagging(struct s3_call *c)
{
    TRY(s3_tagging_delete(c, c->at));
    return s3_reply_empty(c, 204);
}
