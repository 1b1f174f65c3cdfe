/* SPDX-License-Identifier: Apache-2.0
 *
 * GetObjectTagging: an object without tags has an empty set.
 */
#include "s3/tagging.h"

int s3_get_object_tagging(struct s3_call *c)
{
    return s3_tagging_get(c, c->at, false);
}
