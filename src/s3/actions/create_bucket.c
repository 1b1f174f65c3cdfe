/* SPDX-License-Identifier: Apache-2.0
 *
 * CreateBucket: the door makes and mounts a place below forebay.s3.bucket.root.ufs. The document may name a region;
 * there is only one here.
 */
#include "s3/body.h"
#include "s3/object.h"

enum { DOCUMENT_MAX = 65536 };

static int read_document(struct s3_call *c)
{
    struct xml_calls calls = {NULL, NULL, NULL};
    if (http_content_length(c->rq) == 0)
        return 0;
    return s3_body_xml(c, BODY_DOCUMENT, &calls, NULL, DOCUMENT_MAX);
}

static int set_location(struct s3_call *c)
{
    struct buf b AUTO_BUF = {0};
    buf_putz(&b, "/");
    s3_uri_encode(&b, c->bucket, false);
    return http_set(c->rq, "Location", buf_str(&b));
}

int s3_create_bucket(struct s3_call *c)
{
    if (str_ieq(s3_header_of(c, "x-amz-bucket-object-lock-enabled"), STR("true")))
        return err_set(ERR_NOT_IMPLEMENTED, "object lock is not implemented");
    TRY(s3_refuse_unbuilt(c));
    TRY(s3_uri_check_new_bucket(c->bucket));
    TRY(read_document(c));
    TRY(fs_bucket_create(c->fs, c->bucket));
    TRY(set_location(c));
    return s3_reply_empty(c, 200);
}
