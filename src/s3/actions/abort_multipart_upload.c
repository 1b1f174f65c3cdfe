/* SPDX-License-Identifier: Apache-2.0
 *
 * AbortMultipartUpload: the upload and its parts are forgotten.
 */
#include "s3/upload.h"

int s3_abort_multipart_upload(struct s3_call *c)
{
    char id[FS_UPLOAD_ID];
    TRY(s3_upload_id(c, id));
    TRY(fs_upload_abort(c->fs, c->at, id));
    return s3_reply_empty(c, 204);
}
