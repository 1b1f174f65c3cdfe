/* SPDX-License-Identifier: Apache-2.0
 *
 * UploadPart: one part streams in; kept with it is the checksum the upload wants, so that Complete needs no byte of it.
 */
#include "s3/body.h"
#include "s3/object.h"
#include "s3/upload.h"

static int store(struct s3_call *c, struct s3_body *b, struct fs_attr *ret)
{
    struct s3_pairs none = {.c = c};
    struct fs_write o;
    struct fs_writer *w;
    unsigned part;
    char id[FS_UPLOAD_ID];
    TRY(s3_upload_part_number(c, &part));
    TRY(s3_upload_id(c, id));
    if (!b->given) {
        struct s3_upload_sum sum;
        TRY(s3_upload_sum_of(c, id, &sum));
        s3_body_use(b, sum.kind);
    }
    s3_write_options(c, &none, &o);
    o.cond = (struct fs_cond){0};
    o.size = b->size;
    TRY(fs_upload_part(c->fs, c->at, id, part, &o, &w));
    return s3_body_store(b, w, ret);
}

int s3_upload_part(struct s3_call *c)
{
    struct s3_body b AUTO_BODY = {0};
    struct fs_attr a;
    TRY(s3_refuse_unbuilt(c));
    TRY(s3_body_open(&b, c, BODY_OBJECT));
    TRY(store(c, &b, &a));
    TRY(s3_set_etag(c, "ETag", a.etag));
    if (b.sum.kind != SUM_NONE)
        TRY(http_set(c->rq, s3_sum_info(b.sum.kind)->header, str_of(b.text)));
    return s3_reply_empty(c, 200);
}
