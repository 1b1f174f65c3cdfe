/* SPDX-License-Identifier: Apache-2.0
 *
 * AWS Signature Version 4: canonical forms and signatures (contract in sigv4.h). Pure functions.
 */
#include "net/sigv4.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/hash.h"
#include <ctype.h>
#include <time.h>

static bool unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

void sigv4_encode(struct buf *b, struct str raw, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < raw.n; i++) {
        unsigned char c = (unsigned char)raw.p[i];
        char e[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (unreserved(c) || (c == '/' && keep_slash))
            buf_add(b, &raw.p[i], 1);
        else
            buf_add(b, e, 3);
    }
}

/* --- query */

static int pair_order(const void *a, const void *b)
{
    const struct sigv4_pair *x = a, *y = b;
    int c = str_cmp(x->name, y->name);
    return c ? c : str_cmp(x->value, y->value);
}

void sigv4_canonical_query(struct buf *b, const struct sigv4_pair *query, size_t n)
{
    if (!n)
        return;
    /* The encoded forms are what is sorted: '%' sorts before the unreserved characters. */
    AUTO_FREE struct sigv4_pair *p = calloc(n, sizeof *p);
    struct buf text AUTO_BUF = {0};
    CHECK(p);
    size_t room = 0;
    for (size_t i = 0; i < n; i++)
        room += 3 * (query[i].name.n + query[i].value.n);
    buf_reserve(&text, room + 1);
    for (size_t i = 0; i < n; i++) {
        size_t at = text.n;
        sigv4_encode(&text, query[i].name, false);
        p[i].name = str_mk(text.p + at, text.n - at);
        at = text.n;
        sigv4_encode(&text, query[i].value, false);
        p[i].value = str_mk(text.p + at, text.n - at);
    }
    qsort(p, n, sizeof *p, pair_order);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%.*s=%.*s", i ? "&" : "", STR_ARG(p[i].name), STR_ARG(p[i].value));
}

/* --- headers */

static int header_order(const void *a, const void *b)
{
    const struct sigv4_pair *x = *(struct sigv4_pair *const *)a, *y = *(struct sigv4_pair *const *)b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = strncasecmp(x->name.p, y->name.p, n);
    if (!c)
        c = (x->name.n > y->name.n) - (x->name.n < y->name.n);
    return c ? c : (x > y) - (x < y); /* equal names stay in their order */
}

static const struct sigv4_pair **sorted(const struct sigv4_pair *header, size_t n)
{
    const struct sigv4_pair **p = calloc(n + 1, sizeof *p);
    CHECK(p);
    for (size_t i = 0; i < n; i++)
        p[i] = &header[i];
    qsort(p, n, sizeof *p, header_order);
    return p;
}

static void add_lower(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = (char)tolower((unsigned char)s.p[i]);
        buf_add(b, &c, 1);
    }
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static void add_trimmed(struct buf *b, struct str v)
{
    while (v.n && blank(v.p[0]))
        v = str_from(v, 1);
    while (v.n && blank(v.p[v.n - 1]))
        v.n--;
    for (size_t i = 0; i < v.n; i++)
        if (!blank(v.p[i]))
            buf_add(b, &v.p[i], 1);
        else if (!blank(v.p[i - 1]))
            buf_add(b, " ", 1);
}

void sigv4_signed_headers(struct buf *b, const struct sigv4_pair *header, size_t n)
{
    AUTO_FREE const struct sigv4_pair **p = sorted(header, n);
    for (size_t i = 0; i < n; i++) {
        if (i && str_ieq(p[i]->name, p[i - 1]->name))
            continue;
        if (i)
            buf_add(b, ";", 1);
        add_lower(b, p[i]->name);
    }
}

static void canonical_headers(struct buf *b, const struct sigv4_pair *header, size_t n)
{
    AUTO_FREE const struct sigv4_pair **p = sorted(header, n);
    for (size_t i = 0; i < n; i++) {
        if (i && str_ieq(p[i]->name, p[i - 1]->name)) {
            b->n--; /* the line's LF */
            buf_add(b, ",", 1);
        } else {
            add_lower(b, p[i]->name);
            buf_add(b, ":", 1);
        }
        add_trimmed(b, p[i]->value);
        buf_add(b, "\n", 1);
    }
}

/* --- the parts of a signature */

void sigv4_canonical_request(struct buf *b, const struct sigv4_request *r)
{
    buf_str_add(b, r->method);
    buf_add(b, "\n", 1);
    sigv4_encode(b, r->path, true);
    buf_add(b, "\n", 1);
    sigv4_canonical_query(b, r->query, r->n_query);
    buf_add(b, "\n", 1);
    canonical_headers(b, r->header, r->n_header);
    buf_add(b, "\n", 1);
    sigv4_signed_headers(b, r->header, r->n_header);
    buf_add(b, "\n", 1);
    buf_str_add(b, r->payload);
}

void sigv4_sha256_hex(const void *p, size_t n, char ret[65])
{
    unsigned char out[32];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_SHA256);
    digest_add(d, p, n);
    digest_end(d, out);
    str_hex(out, 32, ret);
}

void sigv4_string_to_sign(struct buf *b, struct str amz_date, const struct sigv4_scope *s, struct str canonical_request)
{
    char hex[65];
    sigv4_sha256_hex(canonical_request.p, canonical_request.n, hex);
    buf_printf(b, "AWS4-HMAC-SHA256\n%.*s\n%.*s/%.*s/%.*s/aws4_request\n%s", STR_ARG(amz_date), STR_ARG(s->date),
               STR_ARG(s->region), STR_ARG(s->service), hex);
}

void sigv4_key(struct str secret, const struct sigv4_scope *s, unsigned char ret[32])
{
    struct buf first AUTO_BUF = {0};
    unsigned char k[32];
    buf_putz(&first, "AWS4");
    buf_str_add(&first, secret);
    hmac_sha256(first.p, first.n, s->date.p, s->date.n, k);
    hmac_sha256(k, 32, s->region.p, s->region.n, k);
    hmac_sha256(k, 32, s->service.p, s->service.n, k);
    hmac_sha256(k, 32, "aws4_request", 12, ret);
}

void sigv4_signature(const unsigned char key[32], struct str string_to_sign, char ret[65])
{
    unsigned char mac[32];
    hmac_sha256(key, 32, string_to_sign.p, string_to_sign.n, mac);
    str_hex(mac, 32, ret);
}

void sigv4_authorization(struct buf *b, const struct sigv4_request *r, struct str access_key, struct str secret,
                         struct str amz_date, const struct sigv4_scope *s)
{
    struct buf canonical AUTO_BUF = {0}, to_sign AUTO_BUF = {0};
    unsigned char key[32];
    char sig[65];
    sigv4_canonical_request(&canonical, r);
    sigv4_string_to_sign(&to_sign, amz_date, s, buf_str(&canonical));
    sigv4_key(secret, s, key);
    sigv4_signature(key, buf_str(&to_sign), sig);
    buf_printf(b, "AWS4-HMAC-SHA256 Credential=%.*s/%.*s/%.*s/%.*s/aws4_request,SignedHeaders=", STR_ARG(access_key),
               STR_ARG(s->date), STR_ARG(s->region), STR_ARG(s->service));
    sigv4_signed_headers(b, r->header, r->n_header);
    buf_printf(b, ",Signature=%s", sig);
}

void sigv4_date(uint64_t wall_ms, char ret[17])
{
    struct tm tm;
    time_t t = (time_t)(wall_ms / 1000);
    gmtime_r(&t, &tm);
    strftime(ret, 17, "%Y%m%dT%H%M%SZ", &tm);
}
