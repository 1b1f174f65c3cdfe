/* SPDX-License-Identifier: Apache-2.0
 *
 * ListObjectsV2: pages by an opaque token (token.h); start-after counts only where no token is.
 */
#include "s3/list.h"
#include "s3/token.h"

static int take_start(struct s3_list *l, struct buf *place)
{
    struct str token = s3_param(l->c, "continuation-token"), start = s3_param(l->c, "start-after");
    if (token.p && !token.n)
        return err_set(ERR_INVALID, "The continuation token provided is incorrect");
    l->after = start.p ? start : STR("");
    if (!token.p)
        return 0;
    TRY(s3_token_open(token, place));
    l->after = buf_str(place);
    return 0;
}

static void write_token(const struct s3_list *l, struct buf *b)
{
    struct buf token AUTO_BUF = {0};
    if (!l->more)
        return;
    s3_token_make(&token, buf_str(&l->last));
    xml_text(b, "NextContinuationToken", buf_str(&token));
}

static void write_page(const struct s3_list *l, struct buf *b)
{
    struct str token = s3_param(l->c, "continuation-token"), start = s3_param(l->c, "start-after");
    xml_decl(b);
    xml_open_ns(b, "ListBucketResult");
    s3_list_head(l, b);
    xml_u64(b, "KeyCount", l->n);
    if (token.p)
        xml_text(b, "ContinuationToken", token);
    write_token(l, b);
    if (start.n)
        s3_xml_name(b, "StartAfter", start, l->url);
    s3_list_tail(l, b);
    xml_close(b, "ListBucketResult");
}

int s3_list_objects_v2(struct s3_call *c)
{
    struct s3_list l AUTO_LIST = {.object = s3_list_contents};
    struct buf b AUTO_BUF = {0}, place AUTO_BUF = {0};
    if (!str_eq(s3_param(c, "list-type"), STR("2")))
        return err_set(ERR_INVALID, "list-type must be 2");
    TRY(s3_list_params(&l, c));
    l.owner = str_ieq(s3_param(c, "fetch-owner"), STR("true"));
    TRY(take_start(&l, &place));
    TRY(s3_list_run(&l));
    write_page(&l, &b);
    return s3_reply_xml(c, 200, &b);
}
