/* SPDX-License-Identifier: Apache-2.0
 *
 * Request bodies (contract in body.h).
 *
 * Which checksum: one x-amz-checksum-* header, or the one x-amz-trailer announces, never both; else, for objects,
 * CRC64NVME as AWS computes it when nothing is sent. x-amz-sdk-checksum-algorithm must agree with what is there. The
 * answers to contradictions are those of AWS (seen in versitygw's issues 1600, 1652-1659, 1691).
 */
#include "s3/body.h"
#include "base/mem.h"
#include "net/aws_chunked.h"
#include "s3/base64.h"

enum { BUFFER = 256 * 1024, DOCUMENT_BUFFER = 16 * 1024 };

/* --- framing and length */

static bool mentions_aws_chunked(struct str encoding)
{
    return encoding.p && memmem(encoding.p, encoding.n, "aws-chunked", 11);
}

/* Is the body framed, and how? A client that signs nothing sends no x-amz-content-sha256 with its frames. */
static int find_framing(struct s3_call *c, bool *ret_framed, enum aws_chunked_kind *ret_kind)
{
    struct str sha = s3_header_of(c, "x-amz-content-sha256");
    *ret_framed = true;
    if (!sha.p) {
        *ret_kind = AWS_CHUNKED_UNSIGNED_TRAILER;
        *ret_framed = mentions_aws_chunked(s3_header_of(c, "Content-Encoding")) ||
                      s3_header_of(c, "x-amz-decoded-content-length").p;
        return 0;
    }
    if (aws_chunked_kind(sha, ret_kind))
        return 0;
    if (str_starts(sha, STR("STREAMING-")))
        return err_set(ERR_NOT_IMPLEMENTED, "x-amz-content-sha256: %.*s is not implemented", STR_ARG(sha));
    *ret_framed = false;
    return 0;
}

static ssize_t read_raw(void *arg, void *p, size_t n)
{
    return http_body_read(arg, p, n);
}

static int open_framed(struct s3_body *b, enum aws_chunked_kind kind)
{
    struct str s = s3_header_of(b->c, "x-amz-decoded-content-length");
    if (!s.p)
        return err_set(ERR_LENGTH_REQUIRED, "x-amz-decoded-content-length is required with aws-chunked bodies");
    if (!str_u64(s, INT64_MAX, &b->size))
        return err_set(ERR_INVALID, "x-amz-decoded-content-length is not a number");
    struct aws_chunked_options o = {
        .kind = kind, .decoded_length = (int64_t)b->size, .read = read_raw, .arg = b->c->rq};
    b->framed = mem_alloc(sizeof *b->framed);
    aws_chunked_init(b->framed, &o);
    return 0;
}

static int open_source(struct s3_body *b)
{
    enum aws_chunked_kind kind;
    bool framed;
    TRY(find_framing(b->c, &framed, &kind));
    if (framed)
        return open_framed(b, kind);
    int64_t n = http_content_length(b->c->rq);
    if (n == 0 && !http_has_length(b->c->rq))
        return err_set(ERR_LENGTH_REQUIRED, "You must provide the Content-Length HTTP header.");
    b->size = n < 0 ? UINT64_MAX : (uint64_t)n;
    return 0;
}

/* --- what was promised about the bytes */

static int open_sha256(struct s3_body *b)
{
    struct str sha = s3_header_of(b->c, "x-amz-content-sha256");
    if (!sha.p || b->framed || str_eq(sha, STR("UNSIGNED-PAYLOAD")))
        return 0;
    if (!str_unhex(sha, b->sha256_want, 32))
        return err_set(ERR_INVALID,
                       "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD or "
                       "another of its forms, or a valid sha256 value.");
    b->sha256 = digest_new(DIGEST_SHA256);
    return 0;
}

static int open_md5(struct s3_body *b, enum s3_body_kind kind)
{
    struct str md5 = s3_header_of(b->c, "Content-MD5");
    if (!md5.p)
        return 0;
    if (!s3_base64_exact(md5, b->md5_want, 16))
        return err_set(ERR_INVALID_DIGEST, "The Content-MD5 you specified is not valid.");
    b->has_md5 = true;
    if (kind != BODY_OBJECT)
        b->md5 = digest_new(DIGEST_MD5);
    return 0;
}

/* Of the algorithms that are not built none may pass unverified. */
static int refuse_other_sums(const struct s3_call *c)
{
    static const char *const about[] = {"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"};
    for (size_t i = 0; i < http_header_count(c->rq); i++) {
        struct str name = http_header_at(c->rq, i)->name;
        bool sum = name.n > 15 && str_ieq(str_mk(name.p, 15), STR("x-amz-checksum-"));
        for (size_t j = 0; j < sizeof about / sizeof *about; j++)
            sum &= !str_ieq(name, str_of(about[j]));
        if (sum && s3_sum_by_header(name) == SUM_NONE)
            return err_set(ERR_NOT_IMPLEMENTED, "The checksum %.*s is not implemented", STR_ARG(name));
    }
    return 0;
}

static int find_sum_header(struct s3_body *b, enum s3_sum_kind *ret)
{
    for (int k = 0; k < SUM_KINDS; k++) {
        struct str v = s3_header_of(b->c, s3_sum_info(k)->header);
        unsigned char raw[32];
        if (!v.p)
            continue;
        if (*ret != SUM_NONE)
            return err_set(ERR_REQUEST,
                           "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
        if (!s3_sum_parse(k, v, raw))
            return err_set(ERR_REQUEST, "Value for %s header is invalid.", s3_sum_info(k)->header);
        *ret = k;
        b->want = v;
    }
    return 0;
}

static enum s3_sum_kind sum_in_list(struct str list)
{
    enum s3_sum_kind found = SUM_NONE;
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t at = comma ? (size_t)(comma - list.p) : list.n;
        struct str one = str_mk(list.p, at);
        while (one.n && one.p[0] == ' ')
            one = str_from(one, 1);
        if (found == SUM_NONE)
            found = s3_sum_by_header(one);
        list = str_from(list, at + 1);
    }
    return found;
}

static int find_sum_trailer(struct s3_body *b, enum s3_sum_kind *ret)
{
    struct str list = s3_header_of(b->c, "x-amz-trailer");
    if (!list.p || !b->framed)
        return 0;
    if (*ret != SUM_NONE)
        return err_set(ERR_REQUEST, "Expecting a single x-amz-checksum- header");
    *ret = sum_in_list(list);
    if (*ret == SUM_NONE)
        return err_set(ERR_REQUEST, "The value specified in the x-amz-trailer header is not supported");
    b->in_trailer = true;
    return 0;
}

static int check_sdk_algorithm(const struct s3_body *b, enum s3_sum_kind k)
{
    struct str name = s3_header_of(b->c, "x-amz-sdk-checksum-algorithm");
    if (!name.p)
        return 0;
    if (s3_sum_by_name(name) == SUM_NONE)
        return err_set(ERR_REQUEST, "Value for x-amz-sdk-checksum-algorithm header is invalid.");
    if (k == SUM_NONE)
        return err_set(ERR_REQUEST, "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
                                    "x-amz-trailer headers were found.");
    if (k != s3_sum_by_name(name))
        return err_set(ERR_REQUEST, "Value for x-amz-sdk-checksum-algorithm header is invalid.");
    return 0;
}

static int open_sum(struct s3_body *b, enum s3_body_kind kind)
{
    enum s3_sum_kind k = SUM_NONE;
    TRY(refuse_other_sums(b->c));
    if (kind == BODY_PARTS)
        return 0;
    TRY(find_sum_header(b, &k));
    TRY(find_sum_trailer(b, &k));
    TRY(check_sdk_algorithm(b, k));
    b->given = k != SUM_NONE;
    s3_sum_begin(&b->sum, k == SUM_NONE && kind == BODY_OBJECT ? SUM_CRC64NVME : k);
    return 0;
}

int s3_body_open(struct s3_body *b, struct s3_call *c, enum s3_body_kind kind)
{
    *b = (struct s3_body){.c = c, .size = UINT64_MAX, .sum.kind = SUM_NONE};
    TRY(open_source(b));
    TRY(open_sha256(b));
    TRY(open_md5(b, kind));
    return open_sum(b, kind);
}

void s3_body_use(struct s3_body *b, enum s3_sum_kind k)
{
    if (b->given)
        return;
    s3_sum_done(&b->sum);
    s3_sum_begin(&b->sum, k);
}

void s3_body_done(struct s3_body *b)
{
    free(TAKE(b->framed));
    s3_sum_done(&b->sum);
    b->sha256 = digest_free(b->sha256);
    b->md5 = digest_free(b->md5);
}

/* --- reading */

ssize_t s3_body_read(struct s3_body *b, void *p, size_t n)
{
    ssize_t r = b->framed ? aws_chunked_read(b->framed, p, n) : http_body_read(b->c->rq, p, n);
    if (r > 0) {
        s3_sum_add(&b->sum, p, (size_t)r);
        if (b->sha256)
            digest_add(b->sha256, p, (size_t)r);
        if (b->md5)
            digest_add(b->md5, p, (size_t)r);
    }
    return r;
}

static int end_sha256(struct s3_body *b)
{
    unsigned char got[32];
    if (!b->sha256)
        return 0;
    digest_end(b->sha256, got);
    if (memcmp(got, b->sha256_want, 32) != 0)
        return err_set(ERR_SHA_MISMATCH,
                       "The provided 'x-amz-content-sha256' header does not match what was computed.");
    return 0;
}

static int end_md5(struct s3_body *b)
{
    unsigned char got[32];
    if (!b->md5)
        return 0;
    digest_end(b->md5, got);
    if (memcmp(got, b->md5_want, 16) != 0)
        return err_set(ERR_BAD_DIGEST, "The Content-MD5 you specified did not match what we received.");
    return 0;
}

/* The value in the trailers; only what x-amz-trailer announced may be there. */
static int take_trailer(struct s3_body *b)
{
    for (size_t i = 0; b->framed && i < aws_chunked_trailer_count(b->framed); i++) {
        const struct aws_chunked_trailer *t = aws_chunked_trailer_at(b->framed, i);
        enum s3_sum_kind k = s3_sum_by_header(t->name);
        unsigned char raw[32];
        if (k == SUM_NONE)
            continue;
        if (!b->in_trailer || k != b->sum.kind)
            return err_set(ERR_TRAILER, "the trailer %.*s was not announced by x-amz-trailer", STR_ARG(t->name));
        if (!s3_sum_parse(k, t->value, raw))
            return err_set(ERR_REQUEST, "Value for %s trailing header is invalid.", s3_sum_info(k)->header);
        b->want = t->value;
    }
    if (b->in_trailer && !b->want.p)
        return err_set(ERR_TRAILER, "x-amz-trailer announced a checksum, the body ended without it");
    return 0;
}

static int end_sum(struct s3_body *b)
{
    unsigned char raw[32];
    TRY(take_trailer(b));
    if (b->sum.kind == SUM_NONE)
        return 0;
    s3_sum_text(raw, s3_sum_end(&b->sum, raw), b->text);
    if (b->want.p && !str_eq(b->want, str_of(b->text)))
        return err_set(ERR_BAD_DIGEST, "The %s you specified did not match the calculated checksum.",
                       s3_sum_info(b->sum.kind)->name);
    return 0;
}

int s3_body_end(struct s3_body *b)
{
    TRY(end_sha256(b));
    TRY(end_md5(b));
    return end_sum(b);
}

/* --- what is known then */

size_t s3_body_pairs(const struct s3_body *b, struct fs_pair ret[2])
{
    if (b->sum.kind == SUM_NONE)
        return 0;
    ret[0] = (struct fs_pair){str_of(s3_sum_info(b->sum.kind)->header), str_of(b->text)};
    ret[1] = (struct fs_pair){STR("x-amz-checksum-type"), STR("FULL_OBJECT")};
    return 2;
}

int s3_body_headers(const struct s3_body *b)
{
    struct fs_pair p[2];
    size_t n = s3_body_pairs(b, p);
    for (size_t i = 0; i < n; i++)
        TRY(http_set(b->c->rq, i ? "x-amz-checksum-type" : s3_sum_info(b->sum.kind)->header, p[i].value));
    return 0;
}

int s3_body_demand_sum(const struct s3_body *b)
{
    if (!b->has_md5 && !b->given)
        return err_set(ERR_REQUEST, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
    return 0;
}

/* --- where it goes */

/* Fill p from the body: n bytes, fewer at its end. */
static ssize_t fill(struct s3_body *b, char *p, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t r = s3_body_read(b, p + have, n - have);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        have += (size_t)r;
    }
    return (ssize_t)have;
}

/* All has come that was announced: nothing may follow but trailers, which are read with the end. */
static int pump_end(struct s3_body *b, struct fs_writer *w)
{
    char more;
    ssize_t n = s3_body_read(b, &more, 1);
    return n > 0 ? fs_write(w, &more, 1) : (int)n; /* the commit finds it too long */
}

/* A large body goes into the writer's own memory. */
static int pump_large(struct s3_body *b, struct fs_writer *w)
{
    for (uint64_t total = 0; total < b->size;) {
        size_t room;
        void *p = fs_write_room(w, &room);
        size_t want = b->size - total < room ? (size_t)(b->size - total) : room;
        ssize_t n = fill(b, p, want);
        if (n < 0)
            return (int)n;
        if (n)
            TRY(fs_write_filled(w, (size_t)n));
        if ((size_t)n < want)
            return 0;
        total += want;
    }
    return pump_end(b, w);
}

static int pump(struct s3_body *b, struct fs_writer *w)
{
    size_t room;
    if (fs_write_room(w, &room))
        return pump_large(b, w);
    size_t cap = b->size < BUFFER ? (size_t)b->size + 1 : BUFFER; /* the one byte more finds the end */
    char *p AUTO_FREE = mem_alloc(cap);
    for (;;) {
        ssize_t n = fill(b, p, cap);
        if (n < 0)
            return (int)n;
        if (n)
            TRY(fs_write(w, p, (size_t)n));
        if ((size_t)n < cap)
            return 0;
    }
}

int s3_body_store(struct s3_body *b, struct fs_writer *w, struct fs_attr *ret)
{
    struct fs_pair pair[2];
    int r = pump(b, w);
    if (!r)
        r = s3_body_end(b);
    if (r < 0) {
        fs_abort(w);
        return r;
    }
    struct fs_commit commit = {.md5 = b->has_md5 ? b->md5_want : NULL, .meta = pair, .meta_n = s3_body_pairs(b, pair)};
    return fs_commit(w, &commit, ret);
}

/* --- documents */

static int too_long(uint64_t max)
{
    return err_set(ERR_MALFORMED_XML, "the document is longer than %llu bytes", (unsigned long long)max);
}

static int each_piece(struct s3_body *b, uint64_t max, int (*take)(void *arg, const void *p, size_t n), void *arg)
{
    char *p AUTO_FREE = mem_alloc(DOCUMENT_BUFFER);
    uint64_t total = 0;
    for (;;) {
        ssize_t n = s3_body_read(b, p, DOCUMENT_BUFFER);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return s3_body_end(b);
        total += (uint64_t)n;
        if (total > max)
            return too_long(max);
        TRY(take(arg, p, (size_t)n));
    }
}

static int feed(void *arg, const void *p, size_t n)
{
    return xml_feed(arg, p, n);
}

static int keep(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

int s3_body_xml(struct s3_call *c, enum s3_body_kind kind, const struct xml_calls *calls, void *arg, uint64_t max)
{
    struct s3_body b AUTO_BODY = {0};
    struct xml_limits limits = {.max_bytes = max};
    TRY(s3_body_open(&b, c, kind));
    struct xml_reader *x = xml_reader_new(calls, arg, &limits);
    int r = each_piece(&b, max, feed, x);
    if (!r)
        r = xml_end(x);
    xml_reader_free(x);
    return r;
}

int s3_body_text(struct s3_call *c, uint64_t max, struct buf *ret)
{
    struct s3_body b AUTO_BODY = {0};
    TRY(s3_body_open(&b, c, BODY_DOCUMENT));
    return each_piece(&b, max, keep, ret);
}
