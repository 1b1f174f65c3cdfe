/* SPDX-License-Identifier: Apache-2.0
 *
 * Tag sets (contract in tags.h).
 *
 * The text buffer is reserved for the whole source at once: decoding and unescaping only shorten, so the strings that
 * point into it stay valid while tags are added.
 */
#include "s3/tags.h"
#include "base/mem.h"
#include "net/xml.h"
#include "s3/uri.h"

void s3_tags_done(struct s3_tags *t)
{
    free(t->tag);
    buf_done(&t->text);
    *t = (struct s3_tags){0};
}

static void grow(struct s3_tags *t)
{
    if (t->n < t->cap)
        return;
    t->cap = t->cap ? t->cap * 2 : 8;
    t->tag = mem_grow(t->tag, t->cap, sizeof *t->tag);
}

static size_t characters(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* Letters, digits and spaces of any script, and + - = . _ : / @ of ASCII. */
static bool allowed(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c < 0x80 && !letter && !strchr(" +-=._:/@", c))
            return false;
    }
    return true;
}

static int check_strict(struct s3_tag g)
{
    if (characters(g.key) > 128)
        return err_set(ERR_TAG, "The TagKey you have provided is invalid: it has more than 128 characters");
    if (characters(g.value) > 256)
        return err_set(ERR_TAG, "The TagValue you have provided is invalid: it has more than 256 characters");
    if (!allowed(g.key) || !allowed(g.value))
        return err_set(ERR_TAG, "a tag holds a character that S3 does not allow");
    if (str_starts(g.key, STR("aws:")))
        return err_set(ERR_TAG, "tag keys that begin with aws: are reserved");
    return 0;
}

static int check(const struct s3_tags *t, struct s3_tag g, bool strict)
{
    if (g.key.n == 0 || !str_utf8(g.key) || !str_utf8(g.value))
        return err_set(ERR_TAG, "The TagKey you have provided is invalid: it is empty, or a tag is not UTF-8");
    if (strict)
        TRY(check_strict(g));
    if (t->n >= (size_t)(strict ? TAGS_MAX : TAGS_SANE))
        return err_set(ERR_TAGS_MANY,
                       "Tags cannot be greater than %zu (alluxio.worker.s3.tagging.restrictions.enabled)",
                       (size_t)(strict ? TAGS_MAX : TAGS_SANE));
    for (size_t i = 0; i < t->n; i++)
        if (str_eq(t->tag[i].key, g.key))
            return err_set(ERR_TAG, "Cannot provide multiple Tags with the same key");
    return 0;
}

static int add(struct s3_tags *t, struct s3_tag g, bool strict)
{
    TRY(check(t, g, strict));
    grow(t);
    t->tag[t->n++] = g;
    return 0;
}

/* --- header */

static int decode_half(struct s3_tags *t, struct str s, struct str *ret)
{
    size_t n;
    char *at = t->text.p + t->text.n;
    if (!s3_uri_decode(s, true, at, &n))
        return err_set(ERR_INVALID,
                       "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
                       "without tag name duplicates.");
    t->text.n += n;
    *ret = str_mk(at, n);
    return 0;
}

static int add_encoded(struct s3_tags *t, struct str s, bool strict)
{
    const char *eq = memchr(s.p, '=', s.n);
    size_t at = eq ? (size_t)(eq - s.p) : s.n;
    struct s3_tag g;
    TRY(decode_half(t, str_mk(s.p, at), &g.key));
    TRY(decode_half(t, str_from(s, at + 1), &g.value));
    return add(t, g, strict);
}

int s3_tags_from_header(struct s3_tags *t, struct str header, bool strict)
{
    buf_reserve(&t->text, header.n + 1);
    while (header.n) {
        const char *amp = memchr(header.p, '&', header.n);
        size_t at = amp ? (size_t)(amp - header.p) : header.n;
        if (at)
            TRY(add_encoded(t, str_mk(header.p, at), strict));
        header = str_from(header, at + 1);
    }
    return 0;
}

/* --- document */

struct reading {
    struct s3_tags *t;
    bool strict;
    struct s3_tag now;
    bool has_key, has_value, has_set;
};

static struct str keep(struct s3_tags *t, struct str s)
{
    char *at = t->text.p + t->text.n;
    if (s.n)
        memcpy(at, s.p, s.n);
    t->text.n += s.n;
    return str_mk(at, s.n);
}

static int on_leaf(void *arg, const char *path, struct str text)
{
    struct reading *r = arg;
    if (!strcmp(path, "Tagging/TagSet/Tag/Key") && !r->has_key) {
        r->now.key = keep(r->t, text);
        r->has_key = true;
    } else if (!strcmp(path, "Tagging/TagSet/Tag/Value") && !r->has_value) {
        r->now.value = keep(r->t, text);
        r->has_value = true;
    } else if (!strcmp(path, "Tagging/TagSet"))
        r->has_set = true; /* empty */
    else
        return err_set(ERR_MALFORMED_XML, "unexpected element %s", path);
    return 0;
}

static int on_open(void *arg, const char *path)
{
    struct reading *r = arg;
    if (!strcmp(path, "Tagging/TagSet"))
        r->has_set = true;
    if (!strcmp(path, "Tagging/TagSet/Tag"))
        r->has_key = r->has_value = false;
    return 0;
}

static int on_close(void *arg, const char *path)
{
    struct reading *r = arg;
    if (strcmp(path, "Tagging/TagSet/Tag") != 0)
        return 0;
    if (!r->has_key || !r->has_value)
        return err_set(ERR_MALFORMED_XML, "a Tag needs one Key and one Value");
    return add(r->t, r->now, r->strict);
}

int s3_tags_from_xml(struct s3_tags *t, struct str doc, bool strict)
{
    struct reading r = {.t = t, .strict = strict};
    struct xml_calls calls = {.open = on_open, .leaf = on_leaf, .close = on_close};
    buf_reserve(&t->text, doc.n + 1);
    TRY(xml_parse(doc, &calls, &r, NULL));
    if (!r.has_set)
        return err_set(ERR_MALFORMED_XML, "Tagging needs a TagSet");
    return 0;
}

/* --- out */

void s3_tags_encode(struct buf *b, const struct s3_tags *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (i)
            buf_putz(b, "&");
        s3_uri_encode(b, t->tag[i].key, false);
        buf_putz(b, "=");
        s3_uri_encode(b, t->tag[i].value, false);
    }
}

void s3_tags_xml(struct buf *b, const struct s3_tags *t)
{
    xml_open(b, "TagSet");
    for (size_t i = 0; i < t->n; i++) {
        xml_open(b, "Tag");
        xml_text(b, "Key", t->tag[i].key);
        xml_text(b, "Value", t->tag[i].value);
        xml_close(b, "Tag");
    }
    xml_close(b, "TagSet");
}

size_t s3_tags_count(struct str stored)
{
    size_t n = stored.n > 0;
    for (size_t i = 0; i < stored.n; i++)
        n += stored.p[i] == '&';
    return n;
}
