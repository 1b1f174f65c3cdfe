/* SPDX-License-Identifier: Apache-2.0
 *
 * HeadObject: what GetObject would answer, without the body. The content is opened only to find a part of it.
 */
#include "s3/get.h"

static int answer(struct s3_call *c, const struct s3_found *f)
{
    struct s3_get g;
    int r = s3_get_prepare(c, f, &g);
    if (!r)
        r = http_reply_head(c->rq, g.status, g.n);
    return s3_get_answer(c, r, f->attr);
}

static int head_opened(struct s3_call *c)
{
    struct fs_file *f;
    TRY(fs_open(c->fs, c->at, 0, &f));
    struct s3_found found = {.attr = fs_file_attr(f), .file = f};
    int r = answer(c, &found);
    fs_close(f);
    return r;
}

int s3_head_object(struct s3_call *c)
{
    struct fs_attr a;
    struct s3_pairs pairs = {.c = c};
    struct s3_found found = {.attr = &a, .pairs = &pairs};
    if (s3_param(c, "partNumber").p)
        return head_opened(c);
    TRY(fs_stat(c->fs, c->at, 0, &a, s3_pairs_keep, &pairs));
    return answer(c, &found);
}
