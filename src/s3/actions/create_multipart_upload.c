/* SPDX-License-Identifier: Apache-2.0
 *
 * CreateMultipartUpload: headers, tags and the wanted checksum are kept with the upload and become the object's.
 */
#include "s3/object.h"
#include "s3/upload.h"

static int collect(struct s3_call *c, struct s3_pairs *ps, struct s3_upload_sum *sum)
{
    TRY(s3_refuse_unbuilt(c));
    TRY(s3_upload_sum_asked(c, sum));
    TRY(s3_pairs_headers(ps));
    TRY(s3_pairs_tagging(ps));
    if (sum->asked)
        s3_pairs_add(ps, STR("x-amz-checksum-algorithm"), s3_upload_sum_text(c, sum));
    return 0;
}

static int set_headers(struct s3_call *c, const struct s3_upload_sum *sum)
{
    if (!sum->asked)
        return 0;
    TRY(http_set(c->rq, "x-amz-checksum-algorithm", str_of(s3_sum_info(sum->kind)->name)));
    return http_set(c->rq, "x-amz-checksum-type", str_of(s3_upload_sum_type(sum)));
}

int s3_create_multipart_upload(struct s3_call *c)
{
    struct s3_pairs ps = {.c = c};
    struct s3_upload_sum sum;
    struct buf b AUTO_BUF = {0};
    struct fs_write o;
    char id[FS_UPLOAD_ID];
    TRY(collect(c, &ps, &sum));
    s3_write_options(c, &ps, &o);
    o.cond = (struct fs_cond){0}; /* S3 judges conditions at Complete */
    TRY(fs_upload_create(c->fs, c->at, &o, id));
    TRY(set_headers(c, &sum));
    xml_decl(&b);
    xml_open_ns(&b, "InitiateMultipartUploadResult");
    xml_text(&b, "Bucket", c->bucket);
    xml_text(&b, "Key", c->key);
    xml_textz(&b, "UploadId", id);
    xml_close(&b, "InitiateMultipartUploadResult");
    return s3_reply_xml(c, 200, &b);
}
