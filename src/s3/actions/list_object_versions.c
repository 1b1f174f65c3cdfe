/* SPDX-License-Identifier: Apache-2.0
 *
 * ListObjectVersions: nothing is versioned, so each object is its own one and latest version "null".
 */
#include "s3/list.h"

static void write_version(struct s3_list *l, const struct fs_entry *e)
{
    struct buf *b = &l->contents;
    xml_open(b, "Version");
    s3_xml_name(b, "Key", e->key, l->url);
    xml_textz(b, "VersionId", "null");
    xml_bool(b, "IsLatest", true);
    xml_time(b, "LastModified", e->attr->mtime_ms);
    s3_xml_etag(b, "ETag", s3_etag(e->attr));
    xml_u64(b, "Size", e->attr->size);
    s3_xml_owner(b, "Owner", l->c);
    xml_textz(b, "StorageClass", "STANDARD");
    xml_close(b, "Version");
}

int s3_list_object_versions(struct s3_call *c)
{
    struct s3_list l AUTO_LIST = {.object = write_version};
    struct buf b AUTO_BUF = {0};
    TRY(s3_list_params(&l, c));
    l.after = s3_param(c, "key-marker");
    TRY(s3_list_run(&l));
    xml_decl(&b);
    xml_open_ns(&b, "ListVersionsResult");
    s3_list_head(&l, &b);
    s3_xml_name(&b, "KeyMarker", l.after, l.url);
    xml_text(&b, "VersionIdMarker", s3_param(c, "version-id-marker"));
    if (l.more) {
        s3_xml_name(&b, "NextKeyMarker", buf_str(&l.last), l.url);
        xml_textz(&b, "NextVersionIdMarker", "null");
    }
    s3_list_tail(&l, &b);
    xml_close(&b, "ListVersionsResult");
    return s3_reply_xml(c, 200, &b);
}
