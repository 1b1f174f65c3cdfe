/* SPDX-License-Identifier: Apache-2.0
 *
 * UploadPartCopy: bytes of an object become a part; inside the namespace they are shared, not copied.
 */
#include "s3/copy.h"
#include "s3/range.h"
#include "s3/upload.h"

static int copy(struct s3_call *c, struct fs_attr *ret)
{
    struct s3_source src;
    struct str range = s3_header_of(c, "x-amz-copy-source-range");
    uint64_t off = 0, n = UINT64_MAX;
    unsigned part;
    char id[FS_UPLOAD_ID];
    TRY(s3_upload_part_number(c, &part));
    TRY(s3_upload_id(c, id));
    TRY(s3_source_open(c, &src));
    if (range.p)
        TRY(s3_range_copy_parse(range, src.attr.size, &off, &n));
    return fs_upload_part_copy(c->fs, c->at, id, part, src.at, &src.cond, off, n, ret);
}

int s3_upload_part_copy(struct s3_call *c)
{
    struct buf b AUTO_BUF = {0};
    struct fs_attr a;
    TRY(s3_refuse_unbuilt(c));
    TRY(copy(c, &a));
    xml_decl(&b);
    xml_open_ns(&b, "CopyPartResult");
    xml_time(&b, "LastModified", a.mtime_ms);
    s3_xml_etag(&b, "ETag", a.etag);
    xml_close(&b, "CopyPartResult");
    return s3_reply_xml(c, 200, &b);
}
