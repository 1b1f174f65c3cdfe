/* SPDX-License-Identifier: Apache-2.0
 *
 * PutObject: the body streams through its checks into a writer of the door; published and durable before the answer.
 */
#include "s3/body.h"
#include "s3/object.h"

static int store(struct s3_call *c, struct s3_body *b, const struct s3_pairs *ps, struct fs_attr *ret)
{
    struct fs_write o;
    struct fs_writer *w;
    s3_write_options(c, ps, &o);
    o.size = b->size;
    TRY(fs_create(c->fs, c->at, &o, &w));
    return s3_body_store(b, w, ret);
}

int s3_put_object(struct s3_call *c)
{
    struct s3_pairs ps = {.c = c};
    struct s3_body b AUTO_BODY = {0};
    struct fs_attr a;
    TRY(s3_refuse_unbuilt(c));
    TRY(s3_pairs_headers(&ps));
    TRY(s3_pairs_tagging(&ps));
    TRY(s3_body_open(&b, c, BODY_OBJECT));
    TRY(store(c, &b, &ps, &a));
    TRY(s3_set_etag(c, "ETag", s3_etag(&a)));
    TRY(s3_set_state(c, &a));
    TRY(s3_body_headers(&b));
    return s3_reply_empty(c, 200);
}
