/* SPDX-License-Identifier: Apache-2.0
 *
 * Headers of objects (contract in object.h).
 */
#include "s3/object.h"
#include "s3/base64.h"
#include "s3/tags.h"
#include <unistd.h>

struct system_header {
    const char *pair, *header, *override;
};
static const struct system_header systems[] = {
    {"content-type", "Content-Type", "response-content-type"},
    {"content-encoding", "Content-Encoding", "response-content-encoding"},
    {"content-disposition", "Content-Disposition", "response-content-disposition"},
    {"content-language", "Content-Language", "response-content-language"},
    {"cache-control", "Cache-Control", "response-cache-control"},
    {"expires", "Expires", "response-expires"},
};
enum { SYSTEMS = sizeof systems / sizeof *systems };
enum {
    SYSTEM_MAX = 2048,
    LINES_MAX = 20 * 1024
}; /* bytes kept: of system headers, as S3 has it; of metadata as sent */

static const struct str meta_prefix = {"x-amz-meta-", 11};

/* --- pairs */

static const struct system_header *system_of(struct str pair)
{
    for (int i = 0; i < SYSTEMS; i++)
        if (str_eq(pair, str_of(systems[i].pair)))
            return &systems[i];
    return NULL;
}

void s3_pairs_add(struct s3_pairs *ps, struct str name, struct str value)
{
    if (ps->n == ps->cap) {
        size_t cap = ps->cap ? ps->cap * 2 : 16;
        struct fs_pair *p = s3_call_mem(ps->c, cap * sizeof *p);
        if (ps->n)
            memcpy(p, ps->p, ps->n * sizeof *p);
        ps->p = p;
        ps->cap = cap;
    }
    ps->p[ps->n++] = (struct fs_pair){name, value};
}

void s3_pairs_keep(void *arg, struct str name, struct str value)
{
    struct s3_pairs *ps = arg;
    s3_pairs_add(ps, s3_call_dup(ps->c, name), s3_call_dup(ps->c, value));
}

static struct fs_pair *find(const struct s3_pairs *ps, struct str name)
{
    for (size_t i = 0; i < ps->n; i++)
        if (str_eq(ps->p[i].name, name))
            return &ps->p[i];
    return NULL;
}

struct str s3_pairs_get(const struct s3_pairs *ps, struct str name)
{
    const struct fs_pair *p = find(ps, name);
    return p ? p->value : (struct str){NULL, 0};
}

void s3_pairs_drop(struct s3_pairs *ps, bool (*which)(struct str name))
{
    size_t n = 0;
    for (size_t i = 0; i < ps->n; i++)
        if (!which(ps->p[i].name))
            ps->p[n++] = ps->p[i];
    ps->n = n;
}

bool s3_pair_is_checksum(struct str name)
{
    return str_starts(name, STR("x-amz-checksum-"));
}

bool s3_pair_is_tagging(struct str name)
{
    return str_eq(name, STR("x-amz-tagging"));
}

void s3_xml_checksum(struct buf *b, const struct s3_pairs *ps)
{
    struct str type = s3_pairs_get(ps, STR("x-amz-checksum-type"));
    for (size_t i = 0; i < ps->n; i++) {
        enum s3_sum_kind k = s3_sum_by_header(ps->p[i].name);
        if (k == SUM_NONE)
            continue;
        xml_text(b, s3_sum_info(k)->element, ps->p[i].value);
        if (type.p)
            xml_text(b, "ChecksumType", type);
        return;
    }
}

/* --- from the request */

/* Content-Encoding without the "aws-chunked" that only describes this transfer. */
static struct str strip_aws_chunked(struct s3_call *c, struct str v)
{
    struct buf out AUTO_BUF = {0};
    while (v.n) {
        const char *comma = memchr(v.p, ',', v.n);
        size_t at = comma ? (size_t)(comma - v.p) : v.n;
        struct str one = str_mk(v.p, at);
        while (one.n && one.p[0] == ' ')
            one = str_from(one, 1);
        while (one.n && one.p[one.n - 1] == ' ')
            one.n--;
        if (one.n && !str_ieq(one, STR("aws-chunked"))) {
            buf_putz(&out, out.n ? "," : "");
            buf_str_add(&out, one);
        }
        v = str_from(v, at + 1);
    }
    return s3_call_dup(c, buf_str(&out));
}

static void add_system(struct s3_pairs *ps, const struct system_header *h, struct str v)
{
    if (v.n && !strcmp(h->pair, "content-encoding"))
        v = strip_aws_chunked(ps->c, v);
    if (v.n)
        s3_pairs_add(ps, str_of(h->pair), v);
}

/* The same name twice: one value with a comma, as RFC 9110 reads it. */
static void join(struct s3_call *c, struct fs_pair *p, struct str more)
{
    struct buf b AUTO_BUF = {0};
    buf_str_add(&b, p->value);
    buf_putz(&b, ",");
    buf_str_add(&b, more);
    p->value = s3_call_dup(c, buf_str(&b));
}

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

static void latin1_to_utf8(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char two[2] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
        if (c < 0x80)
            buf_add(b, s.p + i, 1);
        else
            buf_add(b, two, 2);
    }
}

/* Headers are ASCII. What a client sends beyond that S3 gives back as an encoded word (RFC 2047); kept like that from
 * the start, a value is the same before and after it was reloaded from a store. */
static struct str encoded_word(struct s3_call *c, struct str v)
{
    struct buf utf8 AUTO_BUF = {0}, b AUTO_BUF = {0};
    if (is_ascii(v))
        return v;
    if (str_utf8(v))
        buf_str_add(&utf8, v);
    else
        latin1_to_utf8(&utf8, v);
    buf_putz(&b, "=?UTF-8?B?");
    s3_base64_add(&b, utf8.p, utf8.n);
    buf_putz(&b, "?=");
    return s3_call_dup(c, buf_str(&b));
}

static void add_meta(struct s3_pairs *ps, const struct http_header *h)
{
    struct str name = s3_call_lower(ps->c, h->name), value = encoded_word(ps->c, h->value);
    struct fs_pair *have = find(ps, name);
    if (have)
        join(ps->c, have, value);
    else
        s3_pairs_add(ps, name, value);
}

static bool is_meta(struct str name)
{
    return name.n >= meta_prefix.n && str_ieq(str_mk(name.p, meta_prefix.n), meta_prefix);
}

/* Forms and queries may hold what no header can. */
static int check_sayable(const struct fs_pair *p)
{
    if (http_can_say(p->name, p->value))
        return 0;
    return err_set(ERR_INVALID, "%.*s: a name or value holds a character that no header may have", STR_ARG(p->name));
}

/* What is kept with an object must fit the head of an answer, or nobody could ever read it again; and stores take no
 * more than this of it. */
static int check_pairs(const struct s3_pairs *ps)
{
    size_t user = 0, lines = 0, system = 0, max = ps->c->s3->set.metadata_max;
    for (size_t i = 0; i < ps->n; i++) {
        const struct fs_pair *p = &ps->p[i];
        TRY(check_sayable(p));
        lines += p->name.n + p->value.n + 4;
        if (is_meta(p->name))
            user += p->name.n - meta_prefix.n + p->value.n;
        else if (system_of(p->name))
            system += p->name.n + p->value.n;
    }
    if (user > max)
        return err_set(
            ERR_METADATA_LARGE,
            "Your metadata headers have %zu bytes, the maximum is %zu (alluxio.worker.s3.header.metadata.max.size)",
            user, max);
    if (system > SYSTEM_MAX || lines > LINES_MAX)
        return err_set(ERR_METADATA_LARGE, "The headers to keep with the object are larger than %d bytes",
                       system > SYSTEM_MAX ? SYSTEM_MAX : LINES_MAX);
    return 0;
}

/* SDKs move x-amz-* headers into the query when they presign, and S3 reads metadata and tags in both places. Checksums
 * it does not: the SDK for JavaScript puts in that of an empty body. NULL at the end. */
static const struct s3_uri_pair *hoisted(const struct s3_call *c, size_t i)
{
    bool presigned = s3_param(c, "X-Amz-Signature").n > 0;
    return presigned && i < c->query.n ? &c->query.pair[i] : NULL;
}

static struct str hoisted_value(const struct s3_call *c, const char *name)
{
    const struct s3_uri_pair *p;
    for (size_t i = 0; (p = hoisted(c, i)); i++)
        if (str_ieq(p->name, str_of(name)))
            return p->value;
    return (struct str){NULL, 0};
}

static void add_hoisted_meta(struct s3_pairs *ps)
{
    const struct s3_uri_pair *p;
    for (size_t i = 0; (p = hoisted(ps->c, i)); i++)
        if (is_meta(p->name) && !find(ps, s3_call_lower(ps->c, p->name)))
            add_meta(ps, &(struct http_header){.name = p->name, .value = p->value});
}

int s3_pairs_headers(struct s3_pairs *ps)
{
    for (int i = 0; i < SYSTEMS; i++)
        add_system(ps, &systems[i], s3_header_of(ps->c, systems[i].header));
    for (size_t i = 0; i < http_header_count(ps->c->rq); i++)
        if (is_meta(http_header_at(ps->c->rq, i)->name))
            add_meta(ps, http_header_at(ps->c->rq, i));
    add_hoisted_meta(ps);
    return check_pairs(ps);
}

int s3_pairs_fields(struct s3_pairs *ps, const struct http_header *field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct system_header *h = system_of(field[i].name);
        if (h)
            add_system(ps, h, field[i].value);
        else if (is_meta(field[i].name))
            add_meta(ps, &field[i]);
    }
    return check_pairs(ps);
}

int s3_pairs_tagging(struct s3_pairs *ps)
{
    struct s3_tags t AUTO_TAGS = {0};
    struct buf b AUTO_BUF = {0};
    struct str header = s3_header_of(ps->c, "x-amz-tagging");
    if (!header.p)
        header = hoisted_value(ps->c, "x-amz-tagging");
    if (!header.n)
        return 0;
    TRY(s3_tags_from_header(&t, header, ps->c->s3->set.tag_limits));
    s3_tags_encode(&b, &t);
    if (t.n)
        s3_pairs_add(ps, STR("x-amz-tagging"), s3_call_dup(ps->c, buf_str(&b)));
    return 0;
}

/* Values that ask for nothing but what happens anyway are fine. */
struct unbuilt {
    const char *name; /* or its beginning, with '*' behind it */
    const char *fine[2];
};
static const struct unbuilt unbuilts[] = {
    {"x-amz-server-side-encryption*", {NULL, NULL}},
    {"x-amz-object-lock-*", {NULL, NULL}},
    {"x-amz-website-redirect-location", {NULL, NULL}},
    {"x-amz-write-offset-bytes", {NULL, NULL}},
    {"x-amz-grant-*", {NULL, NULL}},
    {"x-amz-acl", {"private", "bucket-owner-full-control"}},
    {"x-amz-storage-class", {"STANDARD", NULL}},
};

static bool name_matches(struct str name, const char *pattern)
{
    size_t n = strlen(pattern);
    if (n && pattern[n - 1] == '*')
        return name.n >= n - 1 && str_ieq(str_mk(name.p, n - 1), str_mk(pattern, n - 1));
    return str_ieq(name, str_mk(pattern, n));
}

static bool is_fine(const struct unbuilt *u, struct str value)
{
    return (u->fine[0] && str_eq(value, str_of(u->fine[0]))) || (u->fine[1] && str_eq(value, str_of(u->fine[1])));
}

static int refuse_header(const struct http_header *h)
{
    for (size_t i = 0; i < sizeof unbuilts / sizeof *unbuilts; i++)
        if (name_matches(h->name, unbuilts[i].name) && !is_fine(&unbuilts[i], h->value))
            return err_set(ERR_NOT_IMPLEMENTED,
                           "A header you provided implies functionality that is not implemented: %.*s",
                           STR_ARG(h->name));
    return 0;
}

int s3_refuse_unbuilt_fields(const struct http_header *field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct http_header h = field[i];
        if (str_eq(h.name, STR("acl")))
            h.name = STR("x-amz-acl");
        TRY(refuse_header(&h));
    }
    return 0;
}

int s3_refuse_unbuilt(struct s3_call *c)
{
    for (size_t i = 0; i < http_header_count(c->rq); i++) {
        const struct http_header *h = http_header_at(c->rq, i);
        if (h->name.n > 6 && str_ieq(str_mk(h->name.p, 6), STR("x-amz-")))
            TRY(refuse_header(h));
    }
    const struct s3_uri_pair *p;
    for (size_t i = 0; (p = hoisted(c, i)); i++)
        TRY(refuse_header(&(struct http_header){.name = p->name, .value = p->value}));
    return 0;
}

/* --- options of a write, conditions */

struct fs_cond s3_cond_write(const struct s3_call *c)
{
    return (struct fs_cond){s3_header_of(c, "If-Match"), s3_header_of(c, "If-None-Match")};
}

void s3_write_options(struct s3_call *c, const struct s3_pairs *ps, struct fs_write *ret)
{
    *ret = (struct fs_write){.size = UINT64_MAX,
                             .cond = s3_cond_write(c),
                             .meta = ps->p,
                             .meta_n = ps->n,
                             .uid = geteuid(),
                             .gid = getegid()};
}

struct s3_cond s3_cond_of(const struct s3_call *c)
{
    return (struct s3_cond){.if_match = s3_header_of(c, "If-Match"),
                            .if_none_match = s3_header_of(c, "If-None-Match"),
                            .if_modified_since = s3_header_of(c, "If-Modified-Since"),
                            .if_unmodified_since = s3_header_of(c, "If-Unmodified-Since")};
}

struct s3_cond s3_cond_of_source(const struct s3_call *c)
{
    return (struct s3_cond){.if_match = s3_header_of(c, "x-amz-copy-source-if-match"),
                            .if_none_match = s3_header_of(c, "x-amz-copy-source-if-none-match"),
                            .if_modified_since = s3_header_of(c, "x-amz-copy-source-if-modified-since"),
                            .if_unmodified_since = s3_header_of(c, "x-amz-copy-source-if-unmodified-since")};
}

/* --- to the response */

static int set_system(struct s3_object_headers *h, const struct system_header *s, struct str value)
{
    if (s3_param(h->c, s->override).p)
        return 0;
    if (s == &systems[0])
        h->has_type = true;
    return http_set(h->c->rq, s->header, value);
}

static int set_sum(struct s3_object_headers *h, struct str name, struct str value)
{
    enum s3_sum_kind k = s3_sum_by_header(name);
    if (str_eq(name, STR("x-amz-checksum-type")) && !h->has_sum_type) {
        h->has_sum_type = true;
        return http_set(h->c->rq, "x-amz-checksum-type", value);
    }
    if (k == SUM_NONE || h->sum != SUM_NONE)
        return 0;
    h->sum = k;
    return http_set(h->c->rq, s3_sum_info(k)->header, value);
}

static int set_pair(struct s3_object_headers *h, struct str name, struct str value)
{
    const struct system_header *s = system_of(name);
    if (s)
        return set_system(h, s, value);
    if (s3_pair_is_tagging(name))
        return http_setf(h->c->rq, "x-amz-tagging-count", "%zu", s3_tags_count(value));
    if (is_meta(name))
        return http_set(h->c->rq, s3_call_dup(h->c, name).p, value);
    return h->sums ? set_sum(h, name, value) : 0;
}

void s3_object_header(void *arg, struct str name, struct str value)
{
    struct s3_object_headers *h = arg;
    int r = h->code ? 0 : set_pair(h, name, value);
    if (r < 0)
        h->code = r;
}

static int set_overrides(struct s3_object_headers *h)
{
    for (int i = 0; i < SYSTEMS; i++) {
        struct str v = s3_param(h->c, systems[i].override);
        if (!v.p)
            continue;
        TRY(http_set(h->c->rq, systems[i].header, v));
        h->has_type |= i == 0;
    }
    return 0;
}

int s3_object_headers_end(struct s3_object_headers *h, const struct fs_attr *a)
{
    char date[COND_DATE];
    if (h->code)
        return h->code;
    TRY(set_overrides(h));
    if (!h->has_type)
        TRY(http_set(h->c->rq, "Content-Type", STR("binary/octet-stream")));
    s3_cond_date_text(a->mtime_ms, date);
    TRY(http_set(h->c->rq, "Last-Modified", str_of(date)));
    TRY(http_set(h->c->rq, "Accept-Ranges", STR("bytes")));
    TRY(s3_set_etag(h->c, "ETag", s3_etag(a)));
    return s3_set_state(h->c, a);
}
