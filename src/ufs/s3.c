/* SPDX-License-Identifier: Apache-2.0
 *
 * UFS driver: any S3 store. Each call here is one request (two where the answer lacks what was promised: a copy or
 * completion is followed by a HEAD of what it made); composing large objects, retries and limits are the wrappers'
 * work.
 *
 * Mount options (names as in Alluxio's mounts): alluxio.underfs.s3.endpoint, alluxio.underfs.s3.region
 * (or alluxio.underfs.s3.endpoint.region), s3a.accessKeyId,
 * s3a.secretKey, alluxio.underfs.s3.disable.dns.buckets (path style; true unless it is Amazon's own endpoint), and
 * forebay.ufs.keys=auto|verbatim|posix, forebay.ufs.conditional=auto|yes|no (ufs_s3_probe.c),
 * forebay.ufs.s3.session.token, forebay.ufs.s3.ca.file, forebay.ufs.s3.connect.ms, forebay.ufs.s3.stall.ms. What is
 * missing comes from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
 * AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL); without a key requests are anonymous.
 *
 * Version and ETag are the store's ETag. A body is streamed once, with UNSIGNED-PAYLOAD and, where the caller knows it,
 * its Content-MD5; where nobody does, its MD5 is taken on the way and compared with the ETag.
 *
 * struct s3 is constant after opening but for the pool and alive_ns. What survives a crash is the store's.
 */
#include "ufs/s3.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/xml.h"
#include <inttypes.h>

#define ONE_PUT_MAX (5ull << 30)

/* --- keys, capabilities */

static bool has_dots(struct str key)
{
    for (size_t at = 0; at <= key.n;) {
        const char *slash = memchr(key.p + at, '/', key.n - at);
        size_t n = slash ? (size_t)(slash - key.p) - at : key.n - at;
        struct str name = str_mk(key.p + at, n);
        if (str_eq(name, STR(".")) || str_eq(name, STR("..")))
            return true;
        at += n + 1;
    }
    return false;
}

/* XML 1.0 cannot carry control characters, and stores differ in what they do about it. */
static bool fits_xml(struct str key)
{
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] < 0x20)
            return false;
    return true;
}

static int ufs_s3_key_check(struct ufs_layer *l, struct str key)
{
    struct s3 *s = (struct s3 *)l;
    if (strlen(s->prefix) + key.n > S3_KEY_MAX)
        return err_set(ERR_NAME_TOO_LONG, "%zu bytes with the mount's prefix; S3 keys have at most %d",
                       strlen(s->prefix) + key.n, S3_KEY_MAX);
    if (!str_utf8(key))
        return err_set(ERR_KEY_UNSUPPORTED, "S3 keys are valid UTF-8");
    if (!s->control && !fits_xml(key))
        return err_set(ERR_KEY_UNSUPPORTED, "this store's listings do not return control characters in keys");
    if (s->keys == S3_KEYS_POSIX)
        return ufs_key_posix(key);
    if (!s->dots && has_dots(key))
        return err_set(ERR_KEY_UNSUPPORTED,
                       "it is not known whether this store keeps \".\" and \"..\" in keys (forebay.ufs.keys=verbatim)");
    return 0;
}

static unsigned ufs_s3_caps(struct ufs_layer *l)
{
    return ((struct s3 *)l)->caps;
}

/* --- stat, tags */

static int on_tag(void *arg, const char *path, struct str text)
{
    struct buf *b = arg;
    if (!strcmp(path, "Tagging/TagSet/Tag/Key")) {
        if (b->n)
            buf_putz(b, "&");
        sigv4_encode(b, text, false);
        buf_putz(b, "=");
    } else if (!strcmp(path, "Tagging/TagSet/Tag/Value"))
        sigv4_encode(b, text, false);
    return 0;
}

int ufs_s3_tags(struct s3 *s, uint64_t until, struct str key, struct buf *ret)
{
    struct xml_calls calls = {.leaf = on_tag};
    struct ufs_s3_call c;
    ufs_s3_call_init(&c, s, until, "GET", key);
    ufs_s3_query(&c, "tagging", STR(""));
    int r = ufs_s3_send(&c);
    if (r == 0)
        r = ufs_s3_error_body(&c, "Tagging");
    if (r == 0)
        r = xml_parse(buf_str(&c.answer), &calls, ret, NULL);
    ufs_s3_call_done(&c);
    return r;
}

static int head(struct s3 *s, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta, void *arg,
                bool *ret_tags)
{
    struct ufs_s3_call c;
    ufs_s3_call_init(&c, s, until, "HEAD", key);
    c.meta = meta;
    c.meta_arg = arg;
    int r = ufs_s3_send(&c);
    if (r == 0) {
        ufs_s3_stat_of(&c, ret);
        *ret_tags = c.tags;
    }
    ufs_s3_call_done(&c);
    return r;
}

static int ufs_s3_stat(struct ufs_layer *l, uint64_t until, struct str key, struct ufs_stat *ret, ufs_meta_fn *meta,
                       void *arg)
{
    struct s3 *s = (struct s3 *)l;
    struct buf tags AUTO_BUF = {0};
    bool may_have_tags = false;
    TRY(head(s, until, key, ret, meta, arg, &may_have_tags));
    if (!meta || !may_have_tags || !(s->caps & UFS_CAP_TAGS))
        return 0;
    int r = ufs_s3_tags(s, until, key, &tags);
    if (r == ERR_DENIED || r == ERR_NOT_IMPLEMENTED)
        return 0; /* reading tags is a permission of its own */
    TRY(r);
    if (tags.n)
        meta(arg, STR("x-amz-tagging"), buf_str(&tags));
    return 0;
}

/* --- read */

static int ufs_s3_read(struct ufs_layer *l, uint64_t until, struct str key, uint64_t off, uint64_t n,
                       const char *if_match, ufs_sink *sink, void *arg)
{
    struct ufs_s3_call c;
    if (n == 0)
        return 0;
    ufs_s3_call_init(&c, (struct s3 *)l, until, "GET", key);
    c.sink = sink;
    c.sink_arg = arg;
    c.off = off;
    c.n = n;
    if (off || n < UINT64_MAX - off)
        ufs_s3_headerf(&c, "range", n > INT64_MAX - off ? "bytes=%" PRIu64 "-" : "bytes=%" PRIu64 "-%" PRIu64, off,
                       off + n - 1);
    if (if_match)
        ufs_s3_headerf(&c, "if-match", "\"%s\"", if_match);
    int r = ufs_s3_send(&c);
    if (r == ERR_RANGE)
        r = 0; /* nothing there */
    ufs_s3_call_done(&c);
    return r;
}

/* --- put */

static int size_fits(const struct ufs_body *b)
{
    if (b->size == UFS_SIZE_UNKNOWN)
        return err_set(ERR_INVALID, "one request needs a known size");
    if (b->size > ONE_PUT_MAX)
        return err_set(ERR_TOO_LARGE, "%" PRIu64 " bytes in one request", b->size);
    return 0;
}

/* The MD5 that the store is told, or that is taken on the way. */
static void announce_md5(struct ufs_s3_call *c, const unsigned char *md5, const char *etag)
{
    unsigned char from_etag[16];
    if (!md5 && etag && str_unhex(str_of(etag), from_etag, 16))
        md5 = from_etag;
    if (md5) {
        ufs_s3_content_md5(c, md5);
        str_hex(md5, 16, c->md5_hex);
    } else if (c->s->etag_md5)
        c->md5 = digest_new(DIGEST_MD5);
}

/* Some stores do not look at Content-MD5: then it shows here, after the fact. */
static int check_etag(struct ufs_s3_call *c, const struct ufs_stat *st)
{
    unsigned char md5[32];
    char *hex = c->md5_hex;
    if ((!c->md5 && !*hex) || strlen(st->etag) != 32)
        return 0;
    if (c->md5) {
        digest_end(c->md5, md5);
        str_hex(md5, 16, hex);
    }
    if (strcmp(hex, st->etag) != 0)
        return err_set(ERR_CORRUPT, "%.*s was stored with MD5 %s, sent with %s", STR_ARG(c->key), st->etag, hex);
    return 0;
}

int ufs_s3_put_plain(struct s3 *s, uint64_t until, struct str key, const struct ufs_put_opts *o, struct ufs_body *b,
                     struct ufs_stat *ret)
{
    struct ufs_s3_call c;
    TRY(size_fits(b));
    ufs_s3_call_init(&c, s, until, "PUT", key);
    c.body = b;
    announce_md5(&c, o->md5, o->etag);
    ufs_s3_conditions(&c, o);
    int r = ufs_s3_meta(&c, &o->meta);
    if (r == 0)
        r = ufs_s3_send(&c);
    if (r == ERR_NOT_FOUND && o->if_match)
        r = err_set(ERR_PRECONDITION, "the object does not exist");
    if (r == 0) {
        ufs_s3_stat_of(&c, ret);
        ret->size = b->size;
        r = check_etag(&c, ret);
    }
    ufs_s3_call_done(&c);
    return r;
}

static int ufs_s3_put(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                      struct ufs_body *b, struct ufs_stat *ret)
{
    return ufs_s3_put_plain((struct s3 *)l, until, key, o, b, ret);
}

/* --- multipart */

static int ufs_s3_mpu_create(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_put_opts *o,
                             char *ret)
{
    struct ufs_s3_call c;
    ufs_s3_call_init(&c, (struct s3 *)l, until, "POST", key);
    ufs_s3_query(&c, "uploads", STR(""));
    int r = ufs_s3_meta(&c, &o->meta);
    if (r == 0)
        r = ufs_s3_send(&c);
    if (r == 0)
        r = ufs_s3_error_body(&c, "InitiateMultipartUploadResult");
    if (r == 0 && !xml_find(buf_str(&c.answer), "InitiateMultipartUploadResult/UploadId", ret, 1100))
        r = err_set(ERR_UNKNOWN_OUTCOME, "the store gave no upload id");
    ufs_s3_call_done(&c);
    return r;
}

static void part_query(struct ufs_s3_call *c, const char *upload, unsigned part)
{
    struct buf b = {0};
    size_t n;
    buf_printf(&b, "%u", part);
    char *p = ufs_s3_own(c, buf_take(&b, &n));
    ufs_s3_query(c, "partNumber", str_mk(p, n));
    ufs_s3_query(c, "uploadId", str_of(upload));
}

static int ufs_s3_mpu_part(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                           const unsigned char *md5, struct ufs_body *b, char *ret)
{
    struct ufs_s3_call c;
    struct ufs_stat st;
    TRY(size_fits(b));
    ufs_s3_call_init(&c, (struct s3 *)l, until, "PUT", key);
    c.body = b;
    part_query(&c, upload, part);
    announce_md5(&c, md5, NULL);
    int r = ufs_s3_send(&c);
    if (r == 0) {
        ufs_s3_stat_of(&c, &st);
        r = check_etag(&c, &st);
    }
    if (r == 0)
        ufs_set_field(ret, 72, str_of(c.etag));
    ufs_s3_call_done(&c);
    return r;
}

static void copy_source(struct ufs_s3_call *c, struct str src, const char *if_match)
{
    struct buf raw AUTO_BUF = {0}, b = {0};
    size_t n;
    buf_printf(&raw, "/%s/%s", c->s->bucket, c->s->prefix);
    buf_str_add(&raw, src);
    sigv4_encode(&b, buf_str(&raw), true);
    char *p = ufs_s3_own(c, buf_take(&b, &n));
    ufs_s3_header(c, "x-amz-copy-source", str_mk(p, n));
    if (if_match)
        ufs_s3_headerf(c, "x-amz-copy-source-if-match", "\"%s\"", if_match);
}

static int ufs_s3_mpu_copy(struct ufs_layer *l, uint64_t until, struct str key, const char *upload, unsigned part,
                           struct str src, uint64_t off, uint64_t n, const char *if_match, char *ret)
{
    struct ufs_s3_call c;
    char etag[80];
    ufs_s3_call_init(&c, (struct s3 *)l, until, "PUT", key);
    part_query(&c, upload, part);
    copy_source(&c, src, if_match);
    ufs_s3_headerf(&c, "x-amz-copy-source-range", "bytes=%" PRIu64 "-%" PRIu64, off, off + n - 1);
    int r = ufs_s3_send(&c);
    if (r == 0)
        r = ufs_s3_error_body(&c, "CopyPartResult");
    if (r == 0 && !xml_find(buf_str(&c.answer), "CopyPartResult/ETag", etag, sizeof etag))
        r = err_set(ERR_UNKNOWN_OUTCOME, "the store gave no ETag for a copied part");
    if (r == 0)
        ufs_s3_etag_set(ret, 72, str_of(etag));
    ufs_s3_call_done(&c);
    return r;
}

static void complete_document(struct buf *b, const struct ufs_part *parts, size_t n)
{
    xml_open_ns(b, "CompleteMultipartUpload");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>", parts[i].part,
                   parts[i].etag);
    xml_close(b, "CompleteMultipartUpload");
}

/* What a change made, by a HEAD; it did happen, so no failure from here on may say otherwise. */
static int made(struct s3 *s, uint64_t until, struct str key, struct ufs_stat *ret)
{
    bool tags;
    int r = head(s, until, key, ret, NULL, NULL, &tags);
    if (r < 0)
        return err_set(ERR_UNKNOWN_OUTCOME, "done, but the object cannot be looked at: %s", err_detail(r));
    return 0;
}

static int etag_as_expected(const struct ufs_s3_call *c, const char *root, const char *expected)
{
    char path[80], raw[128], etag[128];
    snprintf(path, sizeof path, "%s/ETag", root);
    if (!expected || !c->s->etag_md5 || !xml_find(buf_str(&c->answer), path, raw, sizeof raw))
        return 0;
    ufs_s3_etag_set(etag, sizeof etag, str_of(raw));
    if (strcmp(etag + strcspn(etag, "-"), expected + strcspn(expected, "-")) !=
        0) /* not of this number of parts: says nothing */
        return 0;
    bool md5_form = strlen(etag) > 33 && etag[32] == '-' && strspn(etag, "0123456789abcdef") == 32;
    if (md5_form && !str_starts(str_of(c->sse), STR("aws:kms")) && strcmp(etag, expected) != 0)
        return err_set(ERR_CORRUPT, "%.*s was completed with ETag %s, expected %s", STR_ARG(c->key), etag, expected);
    return 0;
}

static int ufs_s3_mpu_complete(struct ufs_layer *l, uint64_t until, struct str key, const char *upload,
                               const struct ufs_part *parts, size_t n, const struct ufs_put_opts *o,
                               struct ufs_stat *ret)
{
    struct ufs_s3_call c;
    struct buf doc AUTO_BUF = {0};
    complete_document(&doc, parts, n);
    struct ufs_bytes m = {.p = doc.p, .n = doc.n};
    struct ufs_body b = ufs_body_of(&m);
    ufs_s3_call_init(&c, (struct s3 *)l, until, "POST", key);
    c.body = &b;
    ufs_s3_query(&c, "uploadId", str_of(upload));
    ufs_s3_header(&c, "content-type", STR("application/xml"));
    ufs_s3_conditions(&c, o);
    int r = ufs_s3_send(&c);
    if (r == 0)
        r = ufs_s3_error_body(&c, "CompleteMultipartUploadResult");
    if (r == 0)
        r = etag_as_expected(&c, "CompleteMultipartUploadResult", o->etag);
    if (r == ERR_NOT_FOUND && o->if_match)
        r = err_set(ERR_PRECONDITION, "the object does not exist");
    ufs_s3_call_done(&c);
    return r < 0 ? r : made((struct s3 *)l, until, key, ret);
}

static int ufs_s3_mpu_abort(struct ufs_layer *l, uint64_t until, struct str key, const char *upload)
{
    struct ufs_s3_call c;
    ufs_s3_call_init(&c, (struct s3 *)l, until, "DELETE", key);
    ufs_s3_query(&c, "uploadId", str_of(upload));
    int r = ufs_s3_send(&c);
    ufs_s3_call_done(&c);
    return r;
}

/* --- copy, metadata */

static int copy(struct s3 *s, uint64_t until, struct str src, struct str dst, const char *if_match,
                const struct ufs_meta *replace)
{
    struct ufs_s3_call c;
    int r = 0;
    ufs_s3_call_init(&c, s, until, "PUT", dst);
    copy_source(&c, src, if_match);
    if (replace) {
        ufs_s3_header(&c, "x-amz-metadata-directive", STR("REPLACE"));
        if (s->caps & UFS_CAP_TAGS)
            ufs_s3_header(&c, "x-amz-tagging-directive", STR("REPLACE"));
        r = ufs_s3_meta(&c, replace);
    }
    if (r == 0)
        r = ufs_s3_send(&c);
    if (r == 0)
        r = ufs_s3_error_body(&c, "CopyObjectResult");
    ufs_s3_call_done(&c);
    return r;
}

static int ufs_s3_copy(struct ufs_layer *l, uint64_t until, struct str src, struct str dst, const char *if_match,
                       struct ufs_stat *ret)
{
    int r = copy((struct s3 *)l, until, src, dst, if_match, NULL);
    return r < 0 ? r : made((struct s3 *)l, until, dst, ret);
}

static int ufs_s3_set_meta(struct ufs_layer *l, uint64_t until, struct str key, const struct ufs_meta *meta,
                           struct ufs_stat *ret)
{
    int r = copy((struct s3 *)l, until, key, key, NULL, meta);
    return r < 0 ? r : made((struct s3 *)l, until, key, ret);
}

/* --- delete */

/* A POSIX-minded store will not delete a directory that holds something; where no marker shows, none is left to delete.
 */
static int delete_full_directory(struct s3 *s, uint64_t until, struct str key)
{
    struct ufs_stat st;
    bool tags;
    int r = head(s, until, key, &st, NULL, NULL, &tags);
    return r == 0 ? err_set(ERR_NOT_EMPTY, "the store does not delete %.*s while it holds something", STR_ARG(key)) : r;
}

static int ufs_s3_del(struct ufs_layer *l, uint64_t until, struct str key, const char *if_match)
{
    struct ufs_s3_call c;
    ufs_s3_call_init(&c, (struct s3 *)l, until, "DELETE", key);
    if (if_match)
        ufs_s3_headerf(&c, "if-match", "\"%s\"", if_match);
    int r = ufs_s3_send(&c);
    ufs_s3_call_done(&c);
    return r == ERR_NOT_EMPTY ? delete_full_directory((struct s3 *)l, until, key) : r;
}

struct batch { /* keys of one request, each once, and where their codes go */
    struct s3 *s;
    struct map *index; /* key with the mount's prefix -> place in at, plus 1 */
    struct str full[1000];
    size_t at[1000];
    int codes[1000]; /* ERR_UNKNOWN_OUTCOME for who is not named in the answer */
    size_t n;

    const struct ufs_s3_call *call; /* while its answer is read: */
    char *key, code[64], message[256];
    size_t key_n;
};

static int batch_leaf(void *arg, const char *path, struct str text)
{
    struct batch *b = arg;
    const char *name = strrchr(path, '/');
    if (!name)
        return 0;
    if (!strcmp(name, "/Key")) {
        free(b->key);
        b->key = str_dup(text);
        b->key_n = text.n;
    } else if (!strcmp(name, "/Code"))
        UFS_SET(b->code, text);
    else if (!strcmp(name, "/Message"))
        UFS_SET(b->message, text);
    return 0;
}

static void batch_set(struct batch *b, struct str key, int code)
{
    uintptr_t i = (uintptr_t)map_get(b->index, key);
    if (i)
        b->codes[i - 1] = code;
}

static int batch_close(void *arg, const char *path)
{
    struct batch *b = arg;
    bool error = !strcmp(path, "DeleteResult/Error");
    if (!error && strcmp(path, "DeleteResult/Deleted") != 0)
        return 0;
    int code = error ? ufs_s3_error_code(b->call, str_of(b->code), 500, b->message) : 0;
    if (b->key)
        batch_set(b, str_mk(b->key, b->key_n), code == ERR_NOT_FOUND ? 0 : code);
    b->code[0] = b->message[0] = 0;
    return 0;
}

static void delete_document(struct buf *b, const struct str *keys, size_t n)
{
    xml_open_ns(b, "Delete");
    for (size_t i = 0; i < n; i++) {
        xml_open(b, "Object");
        xml_text(b, "Key", keys[i]);
        xml_close(b, "Object");
    }
    xml_close(b, "Delete");
}

static int exchange_batch(struct ufs_s3_call *c, struct batch *b, struct buf *doc)
{
    struct xml_calls calls = {.leaf = batch_leaf, .close = batch_close};
    unsigned char md5[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, doc->p, doc->n);
    digest_end(d, md5);
    ufs_s3_content_md5(c, md5);
    ufs_s3_query(c, "delete", STR(""));
    ufs_s3_header(c, "content-type", STR("application/xml"));
    TRY(ufs_s3_send(c));
    TRY(ufs_s3_error_body(c, "DeleteResult"));
    b->call = c;
    return xml_parse(buf_str(&c->answer), &calls, b, NULL);
}

static int send_batch(struct batch *b, uint64_t until)
{
    struct buf doc AUTO_BUF = {0};
    struct ufs_s3_call c;
    delete_document(&doc, b->full, b->n);
    struct ufs_bytes m = {.p = doc.p, .n = doc.n};
    struct ufs_body body = ufs_body_of(&m);
    ufs_s3_call_init(&c, b->s, until, "POST", (struct str){NULL, 0});
    c.body = &body;
    int r = exchange_batch(&c, b, &doc);
    ufs_s3_call_done(&c);
    return r;
}

static void batch_reset(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        free((char *)b->full[i].p);
    b->n = 0;
    free(b->key);
    b->key = NULL;
    map_free(b->index);
    b->index = map_new();
}

static int run_batch(struct batch *b, uint64_t until, int *codes)
{
    int r = b->n ? send_batch(b, until) : 0;
    for (size_t i = 0; r == 0 && i < b->n; i++)
        codes[b->at[i]] = b->codes[i];
    batch_reset(b);
    return r;
}

static struct str full_key(const struct s3 *s, struct str key)
{
    struct buf b = {0};
    size_t n;
    buf_putz(&b, s->prefix);
    buf_str_add(&b, key);
    char *p = buf_take(&b, &n);
    return str_mk(p, n);
}

/* False when the batch has the key already. */
static bool batch_add(struct batch *b, struct str key, size_t at)
{
    struct str full = full_key(b->s, key);
    if (map_get(b->index, full)) {
        free((char *)full.p);
        return false;
    }
    b->at[b->n] = at;
    b->codes[b->n] = ERR_UNKNOWN_OUTCOME;
    b->full[b->n++] = full;
    map_put(b->index, full, (void *)(uintptr_t)b->n);
    return true;
}

/* What a batch cannot carry (control characters, a key named twice) goes by itself. */
static int delete_all(struct batch *b, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    for (size_t i = 0; i < n; i++) {
        if (!fits_xml(keys[i]) || !batch_add(b, keys[i], i))
            codes[i] = ufs_s3_del(&b->s->l, until, keys[i], NULL);
        if (b->n == 1000)
            TRY(run_batch(b, until, codes));
    }
    return run_batch(b, until, codes);
}

static int ufs_s3_delete_many(struct ufs_layer *l, uint64_t until, const struct str *keys, size_t n, int *codes)
{
    AUTO_FREE struct batch *b = MEM_NEW(struct batch);
    b->s = (struct s3 *)l;
    b->index = map_new();
    int r = delete_all(b, until, keys, n, codes);
    batch_reset(b);
    map_free(b->index);
    return r;
}

/* --- open */

static void ufs_s3_close(struct ufs_layer *l)
{
    struct s3 *s = (struct s3 *)l;
    while (s->n_idle)
        curl_easy_cleanup(s->idle[--s->n_idle]);
    lock_done(&s->lock);
    free(s->scheme);
    free(s->host);
    free(s->bucket);
    free(s->prefix);
    free(s->region);
    free(s->access_key);
    free(s->secret);
    free(s->token);
    free(s->ca_file);
    free(s);
}

static const struct ufs_ops ufs_s3_ops = {
    .name = "s3",
    .close = ufs_s3_close,
    .caps = ufs_s3_caps,
    .key_check = ufs_s3_key_check,
    .stat = ufs_s3_stat,
    .list = ufs_s3_list,
    .read = ufs_s3_read,
    .put = ufs_s3_put,
    .mpu_create = ufs_s3_mpu_create,
    .mpu_part = ufs_s3_mpu_part,
    .mpu_copy = ufs_s3_mpu_copy,
    .mpu_complete = ufs_s3_mpu_complete,
    .mpu_abort = ufs_s3_mpu_abort,
    .copy = ufs_s3_copy,
    .del = ufs_s3_del,
    .delete_many = ufs_s3_delete_many,
    .set_meta = ufs_s3_set_meta,
};

static const char *setting(const struct ufs_options *o, const char *option, const char *env, const char *env2)
{
    const char *v = ufs_option(o, option);
    if (!v || !*v)
        v = getenv(env);
    if ((!v || !*v) && env2)
        v = getenv(env2);
    return v && *v ? v : NULL;
}

static char *dup_or_null(const char *z)
{
    return z ? str_dup(str_of(z)) : NULL;
}

/* "s3://bucket/prefix": the prefix gets its '/'. */
static int parse_uri(struct s3 *s, const char *uri)
{
    const char *rest = uri + strlen("s3://"), *at = strchr(rest, '@'), *slash = strchr(rest, '/');
    if (at && (!slash || at < slash))
        return err_set(ERR_INVALID,
                       "keys do not belong into the URI; use the options s3a.accessKeyId and s3a.secretKey");
    size_t n = slash ? (size_t)(slash - rest) : strlen(rest);
    if (n == 0)
        return err_set(ERR_INVALID, "%s names no bucket", uri);
    s->bucket = str_dup(str_mk(rest, n));
    struct buf b = {0};
    buf_putz(&b, slash ? slash + 1 : "");
    if (b.n && b.p[b.n - 1] != '/')
        buf_putz(&b, "/");
    s->prefix = buf_take(&b, &n);
    return 0;
}

static int parse_endpoint(struct s3 *s, const char *endpoint)
{
    const char *host = strstr(endpoint, "://");
    struct buf b = {0};
    size_t n;
    s->scheme = host ? str_dup(str_mk(endpoint, (size_t)(host - endpoint))) : str_dup(STR("https"));
    host = host ? host + 3 : endpoint;
    n = strcspn(host, "/");
    if (n == 0 || (host[n] && host[n + 1]) || (strcmp(s->scheme, "http") && strcmp(s->scheme, "https")))
        return err_set(ERR_INVALID,
                       "alluxio.underfs.s3.endpoint=%s: expected http://HOST[:PORT] or https://HOST[:PORT]", endpoint);
    if (!s->path_style)
        buf_printf(&b, "%s.", s->bucket);
    buf_add(&b, host, n);
    s->host = buf_take(&b, &n);
    const char *port = !strcmp(s->scheme, "http") ? ":80" : ":443"; /* a Host header does not name the usual port */
    if (str_ends(str_mk(s->host, n), str_of(port)))
        s->host[n - strlen(port)] = 0;
    return 0;
}

static int choose(const struct ufs_options *o, const char *name, const char *const *words, int *ret)
{
    const char *v = ufs_option(o, name);
    for (int i = 0; words[i]; i++)
        if (!strcmp(v && *v ? v : words[0], words[i])) {
            *ret = i;
            return 0;
        }
    return err_set(ERR_INVALID, "mount option %s=%s: expected %s, %s or %s", name, v, words[0], words[1], words[2]);
}

static int configure_address(struct s3 *s, const struct ufs_options *o)
{
    const char *endpoint = setting(o, "alluxio.underfs.s3.endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    const char *region = ufs_option(o, "alluxio.underfs.s3.endpoint.region");
    if (!region || !*region)
        region = setting(o, "alluxio.underfs.s3.region", "AWS_REGION", "AWS_DEFAULT_REGION");
    const char *path_style = ufs_option(o, "alluxio.underfs.s3.disable.dns.buckets");
    char amazon[128];
    s->region = str_dup(str_of(region ? region : "us-east-1"));
    s->path_style = path_style && *path_style ? !strcmp(path_style, "true") : endpoint || strchr(s->bucket, '.');
    if (!endpoint) {
        snprintf(amazon, sizeof amazon, "https://s3.%s.amazonaws.com", s->region);
        endpoint = amazon;
    }
    return parse_endpoint(s, endpoint);
}

static int configure_keys(struct s3 *s, const struct ufs_options *o)
{
    s->access_key = dup_or_null(setting(o, "s3a.accessKeyId", "AWS_ACCESS_KEY_ID", NULL));
    s->secret = dup_or_null(setting(o, "s3a.secretKey", "AWS_SECRET_ACCESS_KEY", NULL));
    if (!ufs_option(o, "s3a.accessKeyId") || ufs_option(o, "forebay.ufs.s3.session.token"))
        s->token = dup_or_null(setting(o, "forebay.ufs.s3.session.token", "AWS_SESSION_TOKEN", NULL));
    if (!s->access_key != !s->secret)
        return err_set(ERR_INVALID, "s3a.accessKeyId and s3a.secretKey belong together");
    return 0;
}

static int configure(struct s3 *s, const struct ufs_options *o)
{
    TRY(configure_address(s, o));
    TRY(configure_keys(s, o));
    s->ca_file = dup_or_null(ufs_option(o, "forebay.ufs.s3.ca.file"));
    TRY(ufs_option_u64(o, "forebay.ufs.s3.connect.ms", 5000, 600000, &s->connect_ms));
    return ufs_option_u64(o, "forebay.ufs.s3.stall.ms", 20000, 3600000, &s->stall_ms);
}

static int on_any(void *arg, const struct ufs_entry *e)
{
    (void)arg, (void)e;
    return 0;
}

/* Is the bucket there, and may we read it? */
static int check_root(struct s3 *s, uint64_t deadline_ms)
{
    struct ufs_list_args a = {.limit = 1};
    bool more;
    return ufs_s3_list(&s->l, clock_mono_ns() + deadline_ms * 1000000, &a, on_any, NULL, &more);
}

static int find_abilities(struct s3 *s, const struct ufs_options *o)
{
    static const char *const key_words[] = {"auto", "verbatim", "posix", NULL};
    static const char *const condition_words[] = {"auto", "yes", "no", NULL};
    int keys, conditions;
    TRY(choose(o, "forebay.ufs.keys", key_words, &keys));
    TRY(choose(o, "forebay.ufs.conditional", condition_words, &conditions));
    s->caps = UFS_CAP_COPY | UFS_CAP_META | UFS_CAP_TAGS | UFS_CAP_MULTIPART | UFS_CAP_MARKERS;
    s->keys = keys == 2 ? S3_KEYS_POSIX : S3_KEYS_VERBATIM;
    s->dots = keys == 1;
    s->control = true;
    s->etag_md5 = true;
    if (conditions == 1)
        s->caps |= UFS_CAP_IF_MATCH | UFS_CAP_IF_NONE_MATCH | UFS_CAP_DELETE_IF_MATCH;
    TRY(check_root(s, o->deadline_ms));
    struct ufs_s3_known known = {.keys = keys != 0, .conditional = conditions != 0};
    if (!known.keys || !known.conditional)
        TRY(ufs_s3_probe(s, o->deadline_ms, &known));
    if (s->keys == S3_KEYS_VERBATIM)
        s->caps |= UFS_CAP_VERBATIM;
    if (s->etag_md5)
        s->caps |= UFS_CAP_ETAG_MD5;
    return 0;
}

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int open_s3(struct s3 *s, const char *uri, const struct ufs_options *o)
{
    TRY(parse_uri(s, uri));
    TRY(configure(s, o));
    return find_abilities(s, o);
}

int ufs_s3_open(const char *uri, const struct ufs_options *o, struct ufs_counters *c, struct ufs_layer **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    struct s3 *s = MEM_NEW(struct s3);
    lock_init(&s->lock, RANK_UFS);
    ufs_layer_init(&s->l, &ufs_s3_ops, NULL, c);
    int r = open_s3(s, uri, o);
    if (r < 0) {
        ufs_s3_close(&s->l);
        return r;
    }
    *ret = &s->l;
    return 0;
}
