/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteObject: gone, or not there before: both are success. If-Match: only that content. The conditions on time and
 * size, which S3 has for directory buckets, are refused: to ignore them would delete what was to be kept.
 */
#include "s3/object.h"

int s3_delete_object(struct s3_call *c)
{
    struct fs_cond cond = s3_cond_write(c);
    if (http_header(c->rq, "x-amz-if-match-size").p || http_header(c->rq, "x-amz-if-match-last-modified-time").p)
        return err_set(ERR_NOT_IMPLEMENTED, "conditions on time or size are not implemented");
    int r = fs_delete(c->fs, c->at, 0, &cond);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    return s3_reply_empty(c, 204);
}
