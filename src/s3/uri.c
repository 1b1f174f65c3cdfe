/* SPDX-License-Identifier: Apache-2.0
 *
 * Request targets (contract in uri.h).
 */
#include "s3/uri.h"
#include "base/err.h"

static const struct str reserved = {".forebay/", 9};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool s3_uri_decode(struct str s, bool plus, char *out, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1, lo = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus)
            c = ' ';
        out[n++] = c;
    }
    *ret_n = n;
    return true;
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '~';
}

void s3_uri_encode(struct buf *b, struct str raw, bool keep_slash)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (unreserved(c) || (c == '/' && keep_slash)) {
            buf_add(b, &c, 1);
        } else {
            char e[3] = {'%', hex[(unsigned char)c >> 4], hex[(unsigned char)c & 15]};
            buf_add(b, e, 3);
        }
    }
}

/* --- names */

int s3_uri_check_key(struct str key)
{
    if (key.n == 0)
        return err_set(ERR_BAD_NAME, "the key is empty");
    if (key.n > URI_KEY_MAX)
        return err_set(ERR_NAME_TOO_LONG, "the key has %zu bytes, at most %d are allowed", key.n, URI_KEY_MAX);
    if (!str_utf8(key))
        return err_set(ERR_BAD_NAME, "the key is not valid UTF-8 or holds NUL");
    if (str_starts(key, reserved))
        return err_set(ERR_BAD_NAME, "keys below .forebay/ are reserved");
    return 0;
}

int s3_uri_check_bucket(struct str b)
{
    if (b.n == 0 || b.n > URI_BUCKET_MAX || !str_utf8(b))
        return err_set(ERR_BUCKET_NAME, "the bucket name is empty, longer than %d bytes, or not UTF-8", URI_BUCKET_MAX);
    if (str_eq(b, STR(".")) || str_eq(b, STR("..")) || str_eq(b, STR(".forebay")))
        return err_set(ERR_BUCKET_NAME, "a bucket cannot be called \"%.*s\"", STR_ARG(b));
    for (size_t i = 0; i < b.n; i++)
        if ((unsigned char)b.p[i] < ' ' || b.p[i] == 0x7f || b.p[i] == '/')
            return err_set(ERR_BUCKET_NAME, "the bucket name holds a control character or a slash");
    return 0;
}

static bool bucket_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool like_ip_address(struct str b)
{
    size_t dots = 0;
    for (size_t i = 0; i < b.n; i++) {
        if (b.p[i] != '.' && (b.p[i] < '0' || b.p[i] > '9'))
            return false;
        dots += b.p[i] == '.';
    }
    return dots == 3;
}

int s3_uri_check_new_bucket(struct str b)
{
    bool ok = b.n >= 3 && b.n <= 63 && b.p[0] != '.' && b.p[0] != '-' && b.p[b.n - 1] != '.' && b.p[b.n - 1] != '-';
    for (size_t i = 0; ok && i < b.n; i++)
        ok = bucket_char(b.p[i]) && !(i && b.p[i] == '.' && b.p[i - 1] == '.');
    if (!ok || like_ip_address(b))
        return err_set(ERR_BUCKET_NAME,
                       "a bucket name has 3 to 63 lower-case letters, digits, dots and hyphens, begins and "
                       "ends with a letter or digit, and is no IP address");
    return 0;
}

/* --- splitting */

static int split_decoded(struct str s, struct str *ret_bucket, struct str *ret_key)
{
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    size_t at = slash ? (size_t)(slash - s.p) : s.n;
    struct str bucket = str_mk(s.p, at), key = str_from(s, at + 1);
    if (bucket.n == 0 && s.n == 0) {
        *ret_bucket = *ret_key = bucket;
        return 0;
    }
    TRY(s3_uri_check_bucket(bucket));
    if (key.n)
        TRY(s3_uri_check_key(key));
    *ret_bucket = bucket;
    *ret_key = key;
    return 0;
}

int s3_uri_split(struct str path, char *out, struct str *ret_bucket, struct str *ret_key)
{
    size_t n;
    if (path.n == 0 || path.p[0] != '/')
        return err_set(ERR_BAD_NAME, "the request target does not begin with '/'");
    if (!s3_uri_decode(str_from(path, 1), false, out, &n))
        return err_set(ERR_BAD_NAME, "the request target holds a malformed percent escape");
    return split_decoded(str_mk(out, n), ret_bucket, ret_key);
}

static struct str without_port(struct str host)
{
    const char *colon = host.n ? memrchr(host.p, ':', host.n) : NULL;
    return colon && host.p[0] != '[' ? str_mk(host.p, (size_t)(colon - host.p)) : host;
}

static struct str trim(struct str s)
{
    while (s.n && s.p[0] == ' ')
        s = str_from(s, 1);
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

struct str s3_uri_host_bucket(struct str host, struct str domains)
{
    host = without_port(host);
    while (domains.n) {
        const char *comma = memchr(domains.p, ',', domains.n);
        size_t at = comma ? (size_t)(comma - domains.p) : domains.n;
        struct str d = trim(str_mk(domains.p, at));
        if (d.n && host.n > d.n + 1 && host.p[host.n - d.n - 1] == '.' && str_ieq(str_from(host, host.n - d.n), d))
            return str_mk(host.p, host.n - d.n - 1);
        domains = str_from(domains, at + 1);
    }
    return (struct str){NULL, 0};
}

static int cut_version(struct str *header)
{
    const char *at = header->n ? memrchr(header->p, '?', header->n) : NULL;
    struct str tail = at ? str_from(*header, (size_t)(at - header->p)) : STR("");
    if (!str_starts(tail, STR("?versionId=")))
        return 0;
    if (!str_eq(tail, STR("?versionId=null")))
        return err_set(ERR_INVALID, "Invalid version id specified: buckets here are not versioned");
    header->n -= tail.n;
    return 0;
}

int s3_uri_copy_source(struct str header, char *out, struct str *ret_bucket, struct str *ret_key)
{
    size_t n;
    struct str bucket, key;
    TRY(cut_version(&header));
    if (header.n && header.p[0] == '/')
        header = str_from(header, 1);
    if (!s3_uri_decode(header, false, out, &n))
        return err_set(ERR_INVALID, "x-amz-copy-source holds a malformed percent escape");
    TRY(split_decoded(str_mk(out, n), &bucket, &key));
    if (!bucket.n || !key.n)
        return err_set(ERR_INVALID, "x-amz-copy-source must be bucket/key");
    *ret_bucket = bucket;
    *ret_key = key;
    return 0;
}

/* --- query */

static int take_half(struct str s, char **out, struct str *ret)
{
    size_t n;
    if (!s3_uri_decode(s, true, *out, &n) || (n && memchr(*out, 0, n)))
        return err_set(ERR_BAD_NAME, "the query holds a malformed percent escape or NUL");
    *ret = str_mk(*out, n);
    *out += n;
    return 0;
}

static int take_pair(struct str s, char **out, struct s3_uri_pair *ret)
{
    const char *eq = memchr(s.p, '=', s.n);
    size_t at = eq ? (size_t)(eq - s.p) : s.n;
    ret->bare = !eq;
    TRY(take_half(str_mk(s.p, at), out, &ret->name));
    return take_half(str_from(s, at + 1), out, &ret->value);
}

int s3_uri_query_parse(struct str query, char *out, struct s3_uri_query *ret)
{
    size_t n = 0;
    while (query.n) {
        const char *amp = memchr(query.p, '&', query.n);
        size_t at = amp ? (size_t)(amp - query.p) : query.n;
        if (at && n == URI_QUERY_MAX)
            return err_set(ERR_INVALID, "more than %d query parameters", URI_QUERY_MAX);
        if (at)
            TRY(take_pair(str_mk(query.p, at), &out, &ret->pair[n++]));
        query = str_from(query, at + 1);
    }
    ret->n = n;
    return 0;
}

const struct s3_uri_pair *s3_uri_query_get(const struct s3_uri_query *q, const char *name)
{
    struct str want = str_of(name);
    for (size_t i = 0; i < q->n; i++)
        if (str_eq(q->pair[i].name, want))
            return &q->pair[i];
    return NULL;
}

struct str s3_uri_query_value(const struct s3_uri_query *q, const char *name)
{
    const struct s3_uri_pair *p = s3_uri_query_get(q, name);
    return p ? p->value : (struct str){NULL, 0};
}
