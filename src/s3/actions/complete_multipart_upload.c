/* SPDX-License-Identifier: Apache-2.0
 *
 * CompleteMultipartUpload: a list of parts becomes the object. No data moves: the door publishes, and the object's
 * checksum follows from those kept with the parts.
 *
 * Repeated after a success the door gives the first answer again; the parts are gone then, and the checksum comes from
 * the object.
 */
#include "s3/body.h"
#include "s3/documents.h"
#include "s3/object.h"
#include "s3/upload.h"

enum { DOCUMENT_MAX = 8 << 20 };

struct complete {
    struct s3_call *c;
    char id[FS_UPLOAD_ID];
    struct s3_complete_doc doc;
    /* the checksum */
    struct s3_upload_sum want;
    struct s3_sum_parts sum;
    size_t next; /* the first named part that was not met yet */
    uint64_t bytes;
    bool begun;
    char text[SUM_TEXT]; /* "" : none */
};

/* --- the document */

static int read_document(struct complete *k)
{
    TRY(s3_body_xml(k->c, BODY_PARTS, &s3_complete_calls, &k->doc, DOCUMENT_MAX));
    if (!k->doc.n)
        return err_set(ERR_MALFORMED_XML, "CompleteMultipartUpload names no Part");
    return 0;
}

/* --- the checksum of the whole */

static void on_pair(void *arg, struct str name, struct str value)
{
    struct complete *k = arg;
    s3_upload_sum_parse(name, value, &k->want);
}

static void begin_sum(struct complete *k)
{
    if (!k->begun)
        s3_sum_parts_begin(&k->sum, k->want.kind, k->want.full);
    k->begun = true;
}

static int on_part(void *arg, const struct fs_part_info *p)
{
    struct complete *k = arg;
    begin_sum(k); /* the upload's pairs come before its parts */
    while (k->next < k->doc.n && k->doc.part[k->next].part < p->part)
        k->next++;
    if (k->next == k->doc.n || k->doc.part[k->next].part != p->part)
        return 0; /* uploaded but not named */
    s3_sum_parts_add(&k->sum, s3_part_sum(p->checksums, k->want.kind), p->size);
    k->bytes += p->size;
    k->next++;
    return 0;
}

static int sum_parts(struct complete *k)
{
    bool more;
    k->want = (struct s3_upload_sum){.kind = SUM_CRC64NVME, .full = true};
    int r = fs_upload_parts(k->c->fs, k->c->at, k->id, 0, S3_PARTS_MAX, on_part, k, &more, on_pair);
    bool all = r == 0 && k->begun && k->sum.n == k->doc.n;
    if (k->begun && !s3_sum_parts_end(&k->sum, k->text))
        k->text[0] = 0;
    if (!all)
        k->text[0] = 0;
    return r == ERR_NO_UPLOAD ? 0 : r;
}

/* S3 takes a composite checksum with "-N" behind it and without. */
static bool sum_is(const struct complete *k, struct str said)
{
    struct str text = str_of(k->text);
    const char *dash = strchr(k->text, '-');
    return str_eq(said, text) || (dash && str_eq(said, str_mk(text.p, (size_t)(dash - text.p))));
}

static int check_sum(const struct complete *k)
{
    struct str type = s3_header_of(k->c, "x-amz-checksum-type");
    const struct s3_sum_info *want = s3_sum_info(k->want.kind);
    if (type.p && !str_eq(type, str_of(s3_upload_sum_type(&k->want))))
        return err_set(ERR_BAD_DIGEST, "The upload was created with the checksum type %s.",
                       s3_upload_sum_type(&k->want));
    for (int kind = 0; kind < SUM_KINDS; kind++) {
        const struct s3_sum_info *i = s3_sum_info(kind);
        struct str said = s3_header_of(k->c, i->header);
        if (said.p && i != want)
            return err_set(ERR_REQUEST,
                           "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
                           want->name, i->name);
        if (said.p && !sum_is(k, said))
            return err_set(ERR_BAD_DIGEST, "The %s you specified did not match the calculated checksum.", i->name);
    }
    return 0;
}

/* What the client says of the whole object. */
static int check_whole(const struct complete *k)
{
    struct str size = s3_header_of(k->c, "x-amz-mp-object-size");
    uint64_t n;
    if (!k->text[0])
        return 0;
    TRY(check_sum(k));
    if (size.p && (!str_u64(size, UINT64_MAX, &n) || n != k->bytes))
        return err_set(ERR_REQUEST,
                       "The provided 'x-amz-mp-object-size' header value does not match what was computed: %llu",
                       (unsigned long long)k->bytes);
    return 0;
}

static int publish(struct complete *k, struct fs_attr *ret)
{
    struct fs_cond cond = s3_cond_write(k->c);
    struct fs_pair pair[2] = {{str_of(s3_sum_info(k->want.kind)->header), str_of(k->text)},
                              {STR("x-amz-checksum-type"), str_of(s3_upload_sum_type(&k->want))}};
    return fs_upload_complete(k->c->fs, k->c->at, k->id, k->doc.part, k->doc.n, &cond, pair, k->text[0] ? 2 : 0, ret);
}

/* --- the answer */

/* A repeated Complete: the object says it, if it still is that one. */
static void write_sum_of_object(struct complete *k, const struct fs_attr *a, struct buf *b)
{
    struct s3_pairs ps = {.c = k->c};
    struct fs_attr now;
    if (!fs_stat(k->c->fs, k->c->at, 0, &now, s3_pairs_keep, &ps) && !strcmp(now.etag, a->etag))
        s3_xml_checksum(b, &ps);
}

static void write_location(const struct s3_call *c, struct buf *b)
{
    struct buf url AUTO_BUF = {0};
    struct str host = http_host(c->rq);
    buf_printf(&url, "%s://%.*s/", http_is_tls(c->rq) ? "https" : "http", STR_ARG(host));
    s3_uri_encode(&url, c->at.path, true);
    xml_text(b, "Location", buf_str(&url));
}

static int answer(struct complete *k, const struct fs_attr *a)
{
    struct buf b AUTO_BUF = {0};
    xml_decl(&b);
    xml_open_ns(&b, "CompleteMultipartUploadResult");
    write_location(k->c, &b);
    xml_text(&b, "Bucket", k->c->bucket);
    xml_text(&b, "Key", k->c->key);
    s3_xml_etag(&b, "ETag", s3_etag(a));
    if (k->text[0]) {
        xml_textz(&b, s3_sum_info(k->want.kind)->element, k->text);
        xml_textz(&b, "ChecksumType", s3_upload_sum_type(&k->want));
    } else
        write_sum_of_object(k, a, &b);
    xml_close(&b, "CompleteMultipartUploadResult");
    TRY(s3_set_state(k->c, a));
    return s3_reply_xml(k->c, 200, &b);
}

int s3_complete_multipart_upload(struct s3_call *c)
{
    struct complete k = {.c = c, .doc = {.c = c}};
    struct fs_attr a;
    TRY(s3_upload_id(c, k.id));
    TRY(read_document(&k));
    TRY(sum_parts(&k));
    TRY(check_whole(&k));
    TRY(publish(&k, &a));
    return answer(&k, &a);
}
