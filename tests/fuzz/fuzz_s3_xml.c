/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever a client sends as XML, tags, tokens, targets, copy sources, ranges or an Authorization header is taken or
 * refused; what was taken survives a round trip. The first byte chooses. */
#include "base/err.h"
#include "s3/auth.h"
#include "s3/cond.h"
#include "s3/documents.h"
#include "s3/range.h"
#include "s3/sum.h"
#include "s3/tags.h"
#include "s3/token.h"
#include "s3/uri.h"
#include "net/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again(const struct s3_tags *t)
{
    struct s3_tags back AUTO_TAGS = {0};
    struct buf text AUTO_BUF = {0};
    s3_tags_encode(&text, t);
    CHECK(s3_tags_from_header(&back, buf_str(&text), false) == 0);
    CHECK(back.n == t->n);
    for (size_t i = 0; i < t->n; i++)
        CHECK(str_eq(back.tag[i].key, t->tag[i].key) && str_eq(back.tag[i].value, t->tag[i].value));
}

static void tags(struct str s, bool xml)
{
    struct s3_tags t AUTO_TAGS = {0};
    struct buf out AUTO_BUF = {0};
    if (xml ? s3_tags_from_xml(&t, s, false) : s3_tags_from_header(&t, s, false))
        return;
    again(&t);
    s3_tags_xml(&out, &t);
    struct buf doc AUTO_BUF = {0};
    struct s3_tags back AUTO_TAGS = {0};
    buf_printf(&doc, "<Tagging>%s</Tagging>", out.p);
    CHECK(s3_tags_from_xml(&back, buf_str(&doc), false) == 0);
    CHECK(back.n == t.n);
}

static void targets(struct str s)
{
    struct str bucket, key;
    struct s3_uri_query q;
    char *room AUTO_FREE = malloc(s.n + 1);
    if (s3_uri_split(s, room, &bucket, &key) == 0)
        CHECK(str_utf8(bucket) && str_utf8(key) && key.n <= URI_KEY_MAX);
    if (s3_uri_copy_source(s, room, &bucket, &key) == 0)
        CHECK(bucket.n && key.n && str_utf8(key));
    if (s3_uri_query_parse(s, room, &q) == 0)
        s3_uri_query_get(&q, "prefix");
}

static void headers(struct str s)
{
    struct s3_auth_v4 v4;
    uint64_t off, len;
    unsigned char raw[32];
    struct s3_cond c = {s, s, s, s};
    struct s3_range r = s3_range_parse(s, 1000);
    CHECK(r.kind == RANGE_NONE || (r.off <= 1000 && r.n <= 1000 - r.off));
    if (s3_range_copy_parse(s, 1000, &off, &len) == 0)
        CHECK(len && off + len <= 1000);
    s3_cond_read(&c, STR("abc"), 784111777000);
    s3_cond_if_range(s, STR("abc"), 784111777000);
    for (int k = 0; k < SUM_KINDS; k++)
        s3_sum_parse(k, s, raw);
    if (s.n >= 16)
        s3_auth_parse_v4(s, &v4);
}

static void documents(struct str s)
{
    struct s3_call c = {.chunks = NULL};
    struct s3_delete_doc d;
    struct s3_complete_doc k = {.c = &c};
    s3_delete_doc_begin(&d, &c);
    if (xml_parse(s, &s3_delete_calls, &d, NULL) == 0)
        for (size_t i = 0; i < d.n; i++)
            CHECK(d.item[i].key.p);
    if (xml_parse(s, &s3_complete_calls, &k, NULL) == 0)
        for (size_t i = 0; i < k.n; i++)
            CHECK(k.part[i].etag.p && k.part[i].part > (i ? k.part[i - 1].part : 0));
    s3_call_end(&c);
}

static void token(struct str s)
{
    struct buf after AUTO_BUF = {0}, same AUTO_BUF = {0};
    if (s3_token_open(s, &after))
        return;
    s3_token_make(&same, buf_str(&after));
    CHECK(str_eq(s, buf_str(&same))); /* one text for one place */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    struct str s = str_mk(data + 1, n - 1);
    switch (data[0] % 6) {
    case 0:
        tags(s, true);
        break;
    case 1:
        tags(s, false);
        break;
    case 2:
        targets(s);
        break;
    case 3:
        headers(s);
        break;
    case 4:
        documents(s);
        break;
    default:
        token(s);
    }
    return 0;
}
