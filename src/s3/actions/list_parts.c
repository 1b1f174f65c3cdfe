/* SPDX-License-Identifier: Apache-2.0
 *
 * ListParts: by number, with the checksums kept for them.
 */
#include "s3/upload.h"

struct page {
    struct buf parts;
    struct s3_upload_sum sum;
    unsigned last;
};

static void on_pair(void *arg, struct str name, struct str value)
{
    struct page *p = arg;
    s3_upload_sum_parse(name, value, &p->sum);
}

static int on_part(void *arg, const struct fs_part_info *i)
{
    struct page *p = arg;
    struct buf *b = &p->parts;
    xml_open(b, "Part");
    xml_u64(b, "PartNumber", i->part);
    xml_time(b, "LastModified", i->mtime_ms);
    s3_xml_etag(b, "ETag", i->etag);
    xml_u64(b, "Size", i->size);
    for (int k = 0; k < SUM_KINDS; k++) {
        struct str v = s3_part_sum(i->checksums, k);
        if (v.p)
            xml_text(b, s3_sum_info(k)->element, v);
    }
    xml_close(b, "Part");
    p->last = i->part;
    return 0;
}

static void write_page(struct s3_call *c, const struct page *p, const char *id, uint64_t after, uint64_t max, bool more,
                       struct buf *b)
{
    xml_decl(b);
    xml_open_ns(b, "ListPartsResult");
    xml_text(b, "Bucket", c->bucket);
    xml_text(b, "Key", c->key);
    xml_textz(b, "UploadId", id);
    s3_xml_owner(b, "Initiator", c);
    s3_xml_owner(b, "Owner", c);
    xml_textz(b, "StorageClass", "STANDARD");
    xml_u64(b, "PartNumberMarker", after);
    xml_u64(b, "NextPartNumberMarker", p->last);
    xml_u64(b, "MaxParts", max);
    xml_bool(b, "IsTruncated", more);
    if (p->sum.asked) {
        xml_textz(b, "ChecksumAlgorithm", s3_sum_info(p->sum.kind)->name);
        xml_textz(b, "ChecksumType", s3_upload_sum_type(&p->sum));
    }
    buf_str_add(b, buf_str(&p->parts));
    xml_close(b, "ListPartsResult");
}

int s3_list_parts(struct s3_call *c)
{
    struct page p = {0};
    struct buf b AUTO_BUF = {0};
    char id[FS_UPLOAD_ID];
    uint64_t max, after;
    bool more = false;
    TRY(s3_upload_id(c, id));
    TRY(s3_param_u64(c, "max-parts", 0, 1000, 1000, &max));
    TRY(s3_param_u64(c, "part-number-marker", 0, S3_PARTS_MAX, 0, &after));
    int r = fs_upload_parts(c->fs, c->at, id, (unsigned)after, max, on_part, &p, &more, on_pair);
    if (!r) {
        write_page(c, &p, id, after, max, more && max, &b);
        r = s3_reply_xml(c, 200, &b);
    }
    buf_done(&p.parts);
    return r;
}
