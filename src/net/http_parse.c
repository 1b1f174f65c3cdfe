/* SPDX-License-Identifier: Apache-2.0
 * Request heads, by RFC 9112 and RFC 9110, refusing everything that could be read in two ways. */
#include "net/http_parse.h"

enum { C_TOKEN = 1, C_VALUE = 2, C_TARGET = 4, C_HOST = 8 };

/* What a byte may be part of. */
static unsigned char_class[256];

static void class_add(const char *set, unsigned cls)
{
    for (; *set; set++)
        char_class[(unsigned char)*set] |= cls;
}

__attribute__((constructor)) static void class_init(void)
{
    for (int c = 0x21; c < 256; c++)
        if (c != 0x7f)
            char_class[c] |= C_VALUE | (c == '#' ? 0 : C_TARGET);
    class_add("\t ", C_VALUE);
    static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    class_add(alnum, C_TOKEN | C_HOST);
    class_add("!#$%&'*+-.^_`|~", C_TOKEN);
    class_add("-._~%!$&'()*+,;=:[]", C_HOST);
}

static bool all_of(struct str s, unsigned cls)
{
    unsigned and = cls;
    for (size_t i = 0; i < s.n; i++)
        and &= char_class[(unsigned char)s.p[i]];
    return and != 0;
}

bool http_is_token(struct str s)
{
    return s.n > 0 && all_of(s, C_TOKEN);
}

bool http_is_field_value(struct str s)
{
    return all_of(s, C_VALUE);
}

static bool refuse(struct http_fault *f, int status, const char *reason)
{
    *f = (struct http_fault){status, reason};
    return false;
}

/* ---- the end of a head ---- */

static ssize_t head_too_long(const char *p, size_t n, struct http_fault *f)
{
    if (memchr(p, '\n', n))
        refuse(f, 431, "request head is larger than allowed");
    else
        refuse(f, 414, "request line is larger than allowed");
    return -1;
}

ssize_t http_head_end(const char *p, size_t n, size_t max, size_t *scan, struct http_fault *f)
{
    size_t lim = n < max ? n : max;
    size_t at = *scan;
    for (const char *nl; at < lim && (nl = memchr(p + at, '\n', lim - at)); at = (size_t)(nl - p) + 1) {
        size_t i = (size_t)(nl - p);
        if (i == 0 || p[i - 1] != '\r') {
            refuse(f, 400, "line in the request head ends without CR");
            return -1;
        }
        /* An empty line: CR LF right after a LF. */
        if (i >= 3 && p[i - 2] == '\n')
            return (ssize_t)i + 1;
    }
    *scan = lim;
    return n >= max ? head_too_long(p, lim, f) : 0;
}

/* ---- escapes ---- */

static int hex_value(char ch)
{
    unsigned char c = (unsigned char)ch;
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t http_unescape(struct str in, bool plus, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '%') {
            int hi = i + 2 < in.n ? hex_value(in.p[i + 1]) : -1;
            int lo = i + 2 < in.n ? hex_value(in.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return -1;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    return (ssize_t)n;
}

struct arena {
    char *p;
};

/* The decoded form: the raw bytes themselves when nothing is escaped. */
static bool decode(struct str raw, bool plus, struct arena *a, struct str *ret)
{
    if (!memchr(raw.p, '%', raw.n) && !(plus && memchr(raw.p, '+', raw.n))) {
        *ret = raw;
        return true;
    }
    ssize_t n = http_unescape(raw, plus, a->p);
    if (n < 0)
        return false;
    *ret = str_mk(a->p, (size_t)n);
    a->p += n;
    return true;
}

/* ---- the target ---- */

static bool parse_param(struct str piece, struct arena *a, struct http_param *ret)
{
    const char *eq = memchr(piece.p, '=', piece.n);
    size_t name_n = eq ? (size_t)(eq - piece.p) : piece.n;
    ret->raw_name = str_mk(piece.p, name_n);
    ret->has_value = eq != NULL;
    ret->raw_value = eq ? str_from(piece, name_n + 1) : str_mk(piece.p + piece.n, 0);
    return decode(ret->raw_name, true, a, &ret->name) && decode(ret->raw_value, true, a, &ret->value);
}

static bool parse_query(struct http_head *h, struct arena *a, struct http_fault *f)
{
    struct str q = h->query_raw;
    while (q.n) {
        const char *amp = memchr(q.p, '&', q.n);
        struct str piece = str_mk(q.p, amp ? (size_t)(amp - q.p) : q.n);
        q = str_from(q, piece.n + 1);
        if (!piece.n)
            continue;
        if (h->n_params == HTTP_PARAMS_MAX)
            return refuse(f, 400, "too many query parameters");
        if (!parse_param(piece, a, &h->params[h->n_params]))
            return refuse(f, 400, "malformed percent escape in the query");
        h->n_params++;
    }
    return true;
}

static bool valid_authority(struct str s)
{
    return all_of(s, C_HOST);
}

/* Of "http://host/path?query", set the host and leave "/path?query". */
static bool cut_authority(struct http_head *h, size_t scheme_n, struct str *t, struct http_fault *f)
{
    *t = str_from(*t, scheme_n);
    size_t n = 0;
    while (n < t->n && t->p[n] != '/' && t->p[n] != '?')
        n++;
    h->host = str_mk(t->p, n);
    *t = str_from(*t, n);
    if (!n || !valid_authority(h->host))
        return refuse(f, 400, "malformed host in the request target");
    return true;
}

static bool strip_absolute(struct http_head *h, struct str *t, struct http_fault *f)
{
    if (t->n >= 7 && str_ieq(str_mk(t->p, 7), STR("http://")))
        return cut_authority(h, 7, t, f);
    if (t->n >= 8 && str_ieq(str_mk(t->p, 8), STR("https://")))
        return cut_authority(h, 8, t, f);
    return refuse(f, 400, "request target is neither a path nor an http URL");
}

static bool parse_target(struct http_head *h, struct arena *a, struct http_fault *f)
{
    struct str t = h->target;
    if (!t.n || !all_of(t, C_TARGET))
        return refuse(f, 400, "character not allowed in the request target");
    if (str_eq(h->method, STR("CONNECT")))
        return refuse(f, 501, "CONNECT is not implemented");
    if (str_eq(t, STR("*")) && str_eq(h->method, STR("OPTIONS"))) {
        h->path = h->path_raw = t;
        return true;
    }
    if (t.p[0] != '/' && !strip_absolute(h, &t, f))
        return false;
    const char *q = memchr(t.p, '?', t.n);
    h->path_raw = str_mk(t.p, q ? (size_t)(q - t.p) : t.n);
    if (!h->path_raw.n)
        h->path_raw = STR("/");
    if (q)
        h->query_raw = str_mk(q + 1, (size_t)(t.p + t.n - q - 1));
    if (!decode(h->path_raw, false, a, &h->path))
        return refuse(f, 400, "malformed percent escape in the path");
    h->path_nul = memchr(h->path.p, 0, h->path.n) != NULL;
    return parse_query(h, a, f);
}

/* ---- the request line ---- */

static bool parse_version(struct http_head *h, struct str v, struct http_fault *f)
{
    if (v.n != 8 || memcmp(v.p, "HTTP/", 5) || v.p[6] != '.' || v.p[5] < '0' || v.p[5] > '9' || v.p[7] < '0' ||
        v.p[7] > '9')
        return refuse(f, 400, "malformed HTTP version");
    if (v.p[5] != '1')
        return refuse(f, 505, "HTTP version is not supported");
    h->minor = v.p[7] != '0';
    return true;
}

static bool parse_request_line(struct http_head *h, struct str line, struct http_fault *f)
{
    const char *a = memchr(line.p, ' ', line.n);
    const char *b = memrchr(line.p, ' ', line.n);
    if (!a || a == b)
        return refuse(f, 400, "malformed request line");
    h->method = str_mk(line.p, (size_t)(a - line.p));
    h->target = str_mk(a + 1, (size_t)(b - a - 1));
    if (h->method.n > HTTP_METHOD_MAX || !http_is_token(h->method))
        return refuse(f, 400, "malformed method");
    return parse_version(h, str_mk(b + 1, (size_t)(line.p + line.n - b - 1)), f);
}

/* ---- the fields that frame a message ---- */

struct seen {
    bool host, te;
};

static bool take_length(struct http_head *h, struct str v, struct http_fault *f)
{
    uint64_t n;
    if (!str_u64(v, INT64_MAX, &n))
        return refuse(f, 400, "malformed Content-Length");
    if (h->has_length && (uint64_t)h->length != n)
        return refuse(f, 400, "Content-Length is given twice and differs");
    h->has_length = true;
    h->length = (int64_t)n;
    return true;
}

static bool take_encoding(struct http_head *h, struct str v, struct seen *s, struct http_fault *f)
{
    if (s->te)
        return refuse(f, 400, "Transfer-Encoding is given twice");
    s->te = true;
    if (!str_ieq(v, STR("chunked")))
        return refuse(f, 501, "Transfer-Encoding other than chunked is not implemented");
    h->chunked = true;
    return true;
}

static bool take_host(struct http_head *h, struct str v, struct seen *s, struct http_fault *f)
{
    if (s->host)
        return refuse(f, 400, "Host is given twice");
    s->host = true;
    if (!valid_authority(v))
        return refuse(f, 400, "malformed Host");
    if (!h->host.p)
        h->host = v;
    return true;
}

static void take_connection(struct http_head *h, struct str v)
{
    while (v.n) {
        const char *comma = memchr(v.p, ',', v.n);
        struct str t = str_mk(v.p, comma ? (size_t)(comma - v.p) : v.n);
        v = str_from(v, t.n + 1);
        while (t.n && (t.p[0] == ' ' || t.p[0] == '\t'))
            t = str_from(t, 1);
        while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
            t.n--;
        if (str_ieq(t, STR("close")))
            h->keep_alive = false;
    }
}

static bool take_expect(struct http_head *h, struct str v, struct http_fault *f)
{
    if (h->minor == 0)
        return true;
    if (!str_ieq(v, STR("100-continue")))
        return refuse(f, 417, "Expect other than 100-continue");
    h->expect = true;
    return true;
}

static bool take_field(struct http_head *h, struct str name, struct str v, struct seen *s, struct http_fault *f)
{
    switch (name.n) {
    case 4:
        return str_ieq(name, STR("host")) ? take_host(h, v, s, f) : true;
    case 6:
        return str_ieq(name, STR("expect")) ? take_expect(h, v, f) : true;
    case 10:
        if (str_ieq(name, STR("connection")))
            take_connection(h, v);
        return true;
    case 14:
        return str_ieq(name, STR("content-length")) ? take_length(h, v, f) : true;
    case 17:
        return str_ieq(name, STR("transfer-encoding")) ? take_encoding(h, v, s, f) : true;
    default:
        return true;
    }
}

static bool check_framing(struct http_head *h, const struct seen *s, struct http_fault *f)
{
    if (!s->host && h->minor >= 1)
        return refuse(f, 400, "Host is missing");
    if (!h->host.p)
        h->host = STR("");
    if (!h->chunked)
        return true;
    if (h->has_length)
        return refuse(f, 400, "both Content-Length and Transfer-Encoding");
    if (h->minor == 0)
        return refuse(f, 400, "Transfer-Encoding in HTTP/1.0");
    h->length = -1;
    return true;
}

/* ---- header lines ---- */

static bool parse_header_line(struct str line, struct http_header *ret, struct http_fault *f)
{
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return refuse(f, 400, "folded header line");
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon)
        return refuse(f, 400, "header line without a colon");
    struct str name = str_mk(line.p, (size_t)(colon - line.p));
    struct str v = str_from(line, name.n + 1);
    while (v.n && (v.p[0] == ' ' || v.p[0] == '\t'))
        v = str_from(v, 1);
    while (v.n && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
        v.n--;
    if (!http_is_token(name))
        return refuse(f, 400, "malformed header name");
    if (!http_is_field_value(v))
        return refuse(f, 400, "control character in a header value");
    *ret = (struct http_header){name, v};
    return true;
}

static struct str next_line(struct str *rest)
{
    const char *nl = memchr(rest->p, '\n', rest->n);
    struct str line = str_mk(rest->p, (size_t)(nl - rest->p) - 1);
    *rest = str_from(*rest, line.n + 2);
    return line;
}

static void head_init(struct http_head *h)
{
    memset(h, 0, offsetof(struct http_head, headers));
}

bool http_head_parse(const char *p, size_t n, size_t headers_max, char *arena, struct http_head *h,
                     struct http_fault *f)
{
    struct str rest = str_mk(p, n);
    struct arena a = {arena};
    struct seen s = {0};
    head_init(h);
    if (!parse_request_line(h, next_line(&rest), f))
        return false;
    h->keep_alive = h->minor >= 1;
    if (!parse_target(h, &a, f))
        return false;
    for (;;) {
        struct str line = next_line(&rest);
        if (!line.n)
            return check_framing(h, &s, f);
        if (h->n_headers == headers_max)
            return refuse(f, 431, "too many header lines");
        struct http_header *one = &h->headers[h->n_headers];
        if (!parse_header_line(line, one, f) || !take_field(h, one->name, one->value, &s, f))
            return false;
        h->n_headers++;
    }
}

/* ---- chunked bodies ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF, END, BAD };

static int size_byte(struct http_chunks *c, char ch)
{
    int v = hex_value(ch);
    if (v >= 0) {
        if (c->left >> 59)
            return BAD; /* beyond what any length can be */
        c->left = c->left << 4 | (unsigned)v;
        c->digits++;
        return SIZE;
    }
    if (!c->digits)
        return BAD;
    return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : BAD;
}

static int extension_byte(char ch)
{
    return ch == '\r' ? SIZE_LF : char_class[(unsigned char)ch] & C_VALUE ? EXTENSION : BAD;
}

static int size_line_byte(struct http_chunks *c, char ch)
{
    if (++c->line_n > HTTP_CHUNK_LINE_MAX)
        return BAD;
    if (c->state == SIZE)
        return size_byte(c, ch);
    if (c->state == EXTENSION)
        return extension_byte(ch);
    if (ch != '\n')
        return BAD;
    c->line_n = c->digits = 0;
    return c->left ? DATA : TRAILER_START;
}

static int trailer_byte(struct http_chunks *c, char ch)
{
    if (++c->trailer_n > HTTP_TRAILER_MAX)
        return BAD;
    switch (c->state) {
    case TRAILER_START:
        if (ch == '\r')
            return END_LF;
        return char_class[(unsigned char)ch] & C_TOKEN ? TRAILER : BAD;
    case TRAILER:
        return ch == '\r' ? TRAILER_LF : char_class[(unsigned char)ch] & C_VALUE ? TRAILER : BAD;
    case TRAILER_LF:
        return ch == '\n' ? TRAILER_START : BAD;
    default:
        return ch == '\n' ? END : BAD;
    }
}

static int chunk_byte(struct http_chunks *c, char ch)
{
    switch (c->state) {
    case SIZE:
    case EXTENSION:
    case SIZE_LF:
        return size_line_byte(c, ch);
    case DATA_CR:
        return ch == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return ch == '\n' ? SIZE : BAD;
    default:
        return trailer_byte(c, ch);
    }
}

enum http_chunk_result http_chunks_feed(struct http_chunks *c, const char *p, size_t n, size_t *ret_used)
{
    size_t i = 0;
    if (c->state == DATA && !c->left)
        c->state = DATA_CR;
    while (i < n && c->state != DATA && c->state < END)
        c->state = chunk_byte(c, p[i++]);
    *ret_used = i;
    switch (c->state) {
    case DATA:
        return HTTP_CHUNK_DATA;
    case END:
        return HTTP_CHUNK_END;
    case BAD:
        return HTTP_CHUNK_BAD;
    default:
        return HTTP_CHUNK_MORE;
    }
}
