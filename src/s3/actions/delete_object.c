/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteObject: gone, or not there before: both are success. If-Match: only that content.
 */
#include "s3/object.h"

int s3_delete_object(struct s3_call *c)
{
    struct fs_cond cond = s3_cond_write(c);
    int r = fs_delete(c->fs, c->at, 0, &cond);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    return s3_reply_empty(c, 204);
}
