/* SPDX-License-Identifier: Apache-2.0
 *
 * Tags through the door (contract in tagging.h).
 */
#include "s3/tagging.h"
#include "s3/body.h"
#include "s3/object.h"
#include "s3/tags.h"

enum { DOCUMENT_MAX = 256 * 1024 };

static int look(struct s3_call *c, struct fs_at at, struct fs_attr *a, struct str *ret)
{
    struct s3_pairs ps = {.c = c};
    TRY(fs_stat(c->fs, at, 0, a, s3_pairs_keep, &ps));
    if (c->key.n)
        TRY(s3_check_object(a));
    *ret = s3_pairs_get(&ps, STR("x-amz-tagging"));
    return 0;
}

int s3_tagging_get(struct s3_call *c, struct fs_at at, bool demand)
{
    struct s3_tags t AUTO_TAGS = {0};
    struct buf b AUTO_BUF = {0};
    struct fs_attr a;
    struct str stored;
    TRY(look(c, at, &a, &stored));
    if (demand && !stored.n)
        return err_set(ERR_NO_TAGS, "The TagSet does not exist");
    TRY(s3_tags_from_header(&t, stored, false));
    TRY(fs_settle(c->fs, a.version));
    xml_decl(&b);
    xml_open_ns(&b, "Tagging");
    s3_tags_xml(&b, &t);
    xml_close(&b, "Tagging");
    return s3_reply_xml(c, 200, &b);
}

static int set(struct s3_call *c, struct fs_at at, struct str value)
{
    struct fs_pair pair = {STR("x-amz-tagging"), value};
    struct fs_attr a;
    struct str old;
    TRY(look(c, at, &a, &old));
    return fs_set_meta(c->fs, at, 0, &pair, 1);
}

int s3_tagging_put(struct s3_call *c, struct fs_at at)
{
    struct s3_tags t AUTO_TAGS = {0};
    struct buf doc AUTO_BUF = {0}, b AUTO_BUF = {0};
    TRY(s3_body_text(c, DOCUMENT_MAX, &doc));
    TRY(s3_tags_from_xml(&t, buf_str(&doc), c->s3->set.tag_limits));
    s3_tags_encode(&b, &t);
    return set(c, at, t.n ? buf_str(&b) : (struct str){NULL, 0});
}

int s3_tagging_delete(struct s3_call *c, struct fs_at at)
{
    return set(c, at, (struct str){NULL, 0});
}
