/* SPDX-License-Identifier: Apache-2.0
 *
 * Copy sources (contract in copy.h).
 *
 * The conditions are judged here, dates too; the door is then told to copy exactly the content that was looked at
 * (If-Match on its ETag), so that no other can slip in between.
 */
#include "s3/copy.h"

static int locate(struct s3_call *c, struct fs_at *ret)
{
    struct str header = s3_header_of(c, "x-amz-copy-source"), bucket, key;
    TRY(s3_uri_copy_source(header, s3_call_mem(c, header.n), &bucket, &key));
    *ret = s3_object_at(c, bucket, key);
    return 0;
}

int s3_source_open(struct s3_call *c, struct s3_source *ret)
{
    struct s3_cond cond = s3_cond_of_source(c);
    ret->pairs = (struct s3_pairs){.c = c};
    TRY(locate(c, &ret->at));
    TRY(fs_stat(c->fs, ret->at, 0, &ret->attr, s3_pairs_keep, &ret->pairs));
    TRY(s3_check_object(&ret->attr));
    TRY(s3_cond_copy(&cond, str_of(s3_etag(&ret->attr)), ret->attr.mtime_ms));
    snprintf(ret->if_match, sizeof ret->if_match, "%s", ret->attr.etag[0] ? ret->attr.etag : "*");
    ret->cond = (struct fs_cond){.if_match = str_of(ret->if_match)};
    return 0;
}
