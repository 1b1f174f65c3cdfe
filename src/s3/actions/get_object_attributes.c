/* SPDX-License-Identifier: Apache-2.0
 *
 * GetObjectAttributes: what x-amz-object-attributes asks for, of one object.
 */
#include "s3/object.h"
#include "s3/sum.h"

enum want { ETAG = 1, CHECKSUM = 2, PARTS = 4, CLASS = 8, SIZE = 16 };

static int want_of(struct str name, unsigned *want)
{
    static const char *const names[] = {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"};
    while (name.n && name.p[0] == ' ')
        name = str_from(name, 1);
    while (name.n && name.p[name.n - 1] == ' ')
        name.n--;
    for (unsigned i = 0; i < 5; i++)
        if (str_eq(name, str_of(names[i]))) {
            *want |= 1u << i;
            return 0;
        }
    return err_set(ERR_INVALID, "Invalid attribute name specified.");
}

/* The header may stand there once with commas or several times. */
static int wants(const struct s3_call *c, unsigned *ret)
{
    unsigned want = 0;
    for (size_t i = 0; i < http_header_count(c->rq); i++) {
        const struct http_header *h = http_header_at(c->rq, i);
        struct str v = str_ieq(h->name, STR("x-amz-object-attributes")) ? h->value : STR("");
        while (v.n) {
            const char *comma = memchr(v.p, ',', v.n);
            size_t at = comma ? (size_t)(comma - v.p) : v.n;
            TRY(want_of(str_mk(v.p, at), &want));
            v = str_from(v, at + 1);
        }
    }
    if (!want)
        return err_set(ERR_REQUEST,
                       "The x-amz-object-attributes header specifying the attributes to be retrieved is either "
                       "missing or empty");
    *ret = want;
    return 0;
}

static void write_checksum(const struct s3_pairs *ps, struct buf *b)
{
    struct buf in AUTO_BUF = {0};
    s3_xml_checksum(&in, ps);
    if (!in.n)
        return;
    xml_open(b, "Checksum");
    buf_str_add(b, buf_str(&in));
    xml_close(b, "Checksum");
}

static int header_u64(const struct s3_call *c, const char *name, uint64_t max, uint64_t def, uint64_t *ret)
{
    struct str s = s3_header_of(c, name);
    uint64_t v = def;
    if (s.p && !str_u64(s, UINT32_MAX, &v))
        return err_set(ERR_INVALID, "%s is not a number", name);
    *ret = v < max ? v : max;
    return 0;
}

static int write_parts(struct s3_call *c, struct fs_file *f, struct buf *b)
{
    unsigned total = fs_file_parts(f);
    uint64_t max = 0, after = 0, off, n;
    if (!total)
        return 0;
    TRY(header_u64(c, "x-amz-max-parts", 1000, 1000, &max));
    TRY(header_u64(c, "x-amz-part-number-marker", 10000, 0, &after));
    uint64_t last = after + max < total ? after + max : total;
    xml_open(b, "ObjectParts");
    xml_u64(b, "PartsCount", total);
    xml_u64(b, "PartNumberMarker", after);
    xml_u64(b, "NextPartNumberMarker", last);
    xml_u64(b, "MaxParts", max);
    xml_bool(b, "IsTruncated", last < total);
    for (uint64_t i = after + 1; i <= last; i++) {
        TRY(fs_file_part(f, (unsigned)i, &off, &n));
        xml_open(b, "Part");
        xml_u64(b, "PartNumber", i);
        xml_u64(b, "Size", n);
        xml_close(b, "Part");
    }
    xml_close(b, "ObjectParts");
    return 0;
}

static int write_all(struct s3_call *c, struct fs_file *f, unsigned want, struct buf *b)
{
    const struct fs_attr *a = fs_file_attr(f);
    struct s3_pairs ps = {.c = c};
    fs_file_meta(f, s3_pairs_keep, &ps);
    xml_decl(b);
    xml_open_ns(b, "GetObjectAttributesResponse");
    if (want & ETAG)
        xml_textz(b, "ETag", s3_etag(a));
    if (want & CHECKSUM)
        write_checksum(&ps, b);
    if (want & PARTS)
        TRY(write_parts(c, f, b));
    if (want & CLASS)
        xml_textz(b, "StorageClass", "STANDARD");
    if (want & SIZE)
        xml_u64(b, "ObjectSize", a->size);
    xml_close(b, "GetObjectAttributesResponse");
    return 0;
}

static int answer(struct s3_call *c, struct fs_file *f, unsigned want)
{
    const struct fs_attr *a = fs_file_attr(f);
    struct s3_cond cond = s3_cond_of(c);
    struct buf b AUTO_BUF = {0};
    char date[COND_DATE];
    TRY(s3_check_object(a));
    TRY(s3_cond_read(&cond, str_of(s3_etag(a)), a->mtime_ms));
    TRY(write_all(c, f, want, &b));
    TRY(fs_settle(c->fs, a->version));
    s3_cond_date_text(a->mtime_ms, date);
    TRY(http_set(c->rq, "Last-Modified", str_of(date)));
    TRY(s3_set_state(c, a));
    return s3_reply_xml(c, 200, &b);
}

int s3_get_object_attributes(struct s3_call *c)
{
    struct fs_file *f;
    unsigned want = 0;
    TRY(wants(c, &want));
    TRY(fs_open(c->fs, c->at, 0, &f));
    int r = answer(c, f, want);
    fs_close(f);
    return r;
}
