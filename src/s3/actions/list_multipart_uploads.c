/* SPDX-License-Identifier: Apache-2.0
 *
 * ListMultipartUploads: by key, then by id. A delimiter rolls up here, as list.c does it.
 */
#include "s3/list.h"
#include "s3/upload.h"

enum { STOP = 1 };

struct page {
    struct s3_call *c;
    struct str prefix, delimiter;
    uint64_t max, n;
    bool url, more;
    struct buf uploads, prefixes, key; /* key, id: the last given, or what follows a common prefix */
    char id[FS_UPLOAD_ID];
};

static void write_sum(struct buf *b, const struct fs_upload_info *u)
{
    struct s3_upload_sum sum;
    if (!u->checksum.p || !s3_upload_sum_parse(STR("x-amz-checksum-algorithm"), u->checksum, &sum))
        return;
    xml_textz(b, "ChecksumAlgorithm", s3_sum_info(sum.kind)->name);
    xml_textz(b, "ChecksumType", s3_upload_sum_type(&sum));
}

static void write_upload(struct page *p, const struct fs_upload_info *u)
{
    struct buf *b = &p->uploads;
    xml_open(b, "Upload");
    s3_xml_name(b, "Key", u->key, p->url);
    xml_textz(b, "UploadId", u->id);
    s3_xml_owner(b, "Initiator", p->c);
    s3_xml_owner(b, "Owner", p->c);
    xml_textz(b, "StorageClass", "STANDARD");
    xml_time(b, "Initiated", u->start_ms);
    write_sum(b, u);
    xml_close(b, "Upload");
}

static void set_place(struct page *p, struct str key, const char *id)
{
    buf_reset(&p->key);
    buf_str_add(&p->key, key);
    snprintf(p->id, sizeof p->id, "%s", id);
    p->n++;
}

static int on_upload(void *arg, const struct fs_upload_info *u)
{
    struct page *p = arg;
    size_t n = s3_list_rolled(u->key, p->prefix, p->delimiter);
    if (!n) {
        write_upload(p, u);
        set_place(p, u->key, u->id);
        return 0;
    }
    struct str common = str_mk(u->key.p, n);
    xml_open(&p->prefixes, "CommonPrefixes");
    s3_xml_name(&p->prefixes, "Prefix", common, p->url);
    xml_close(&p->prefixes, "CommonPrefixes");
    set_place(p, common, "");
    return STOP;
}

static int on_any(void *arg, const struct fs_upload_info *u)
{
    (void)u;
    *(bool *)arg = true;
    return STOP;
}

/* The place behind what was given last: behind all keys of a common prefix, when it was one. */
static int ask(struct page *p, size_t limit, int (*fn)(void *, const struct fs_upload_info *), void *arg, bool *more)
{
    struct buf key AUTO_BUF = {0};
    size_t rolled = s3_list_rolled(buf_str(&p->key), p->prefix, p->delimiter);
    buf_str_add(&key, buf_str(&p->key));
    if (rolled && rolled == p->key.n)
        buf_putz(&key, "\xff");
    return fs_uploads(p->c->fs, s3_bucket_at(p->c), p->prefix, buf_str(&key), p->id, limit, fn, arg, more);
}

static int fill(struct page *p)
{
    bool any = false, more = true;
    while (more && p->n < p->max) {
        uint64_t had = p->n;
        int r = ask(p, p->max - p->n, on_upload, p, &more);
        if (r < 0)
            return r;
        more = (more || r == STOP) && p->n > had;
    }
    if (more && p->max) {
        int r = ask(p, 1, on_any, &any, &more);
        if (r < 0)
            return r;
    }
    p->more = any;
    return 0;
}

static int take_params(struct page *p)
{
    struct s3_call *c = p->c;
    struct str id = s3_param(c, "upload-id-marker"), key = s3_param(c, "key-marker");
    p->prefix = s3_param(c, "prefix");
    p->delimiter = s3_param(c, "delimiter");
    TRY(s3_param_encoding(c, &p->url));
    TRY(s3_param_u64(c, "max-uploads", 0, 1000, 1000, &p->max));
    if (!str_utf8(key) || !str_utf8(p->prefix) || !str_utf8(p->delimiter) || id.n >= sizeof p->id)
        return err_set(ERR_INVALID, "a marker, the prefix or the delimiter is not valid");
    buf_str_add(&p->key, key);
    /* Without an id: behind all uploads of that key. */
    snprintf(p->id, sizeof p->id, "%.*s", STR_ARG(key.n && !id.n ? STR("ffffffffffffffffffffffffffffffff") : id));
    return 0;
}

static void write_page(struct page *p, struct buf *b)
{
    struct s3_call *c = p->c;
    xml_decl(b);
    xml_open_ns(b, "ListMultipartUploadsResult");
    xml_text(b, "Bucket", c->bucket);
    s3_xml_name(b, "KeyMarker", s3_param(c, "key-marker"), p->url);
    xml_text(b, "UploadIdMarker", s3_param(c, "upload-id-marker"));
    if (p->more) {
        s3_xml_name(b, "NextKeyMarker", buf_str(&p->key), p->url);
        xml_textz(b, "NextUploadIdMarker", p->id);
    }
    s3_xml_name(b, "Prefix", p->prefix, p->url);
    if (p->delimiter.n)
        s3_xml_name(b, "Delimiter", p->delimiter, p->url);
    if (p->url)
        xml_textz(b, "EncodingType", "url");
    xml_u64(b, "MaxUploads", p->max);
    xml_bool(b, "IsTruncated", p->more);
    buf_str_add(b, buf_str(&p->uploads));
    buf_str_add(b, buf_str(&p->prefixes));
    xml_close(b, "ListMultipartUploadsResult");
}

int s3_list_multipart_uploads(struct s3_call *c)
{
    struct page p = {.c = c};
    struct buf b AUTO_BUF = {0};
    int r = take_params(&p);
    if (!r)
        r = fill(&p);
    if (!r) {
        write_page(&p, &b);
        r = s3_reply_xml(c, 200, &b);
    }
    buf_done(&p.uploads);
    buf_done(&p.prefixes);
    buf_done(&p.key);
    return r;
}
