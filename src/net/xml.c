/* SPDX-License-Identifier: Apache-2.0
 *
 * XML reader on expat and escaping writer (contract in xml.h).
 *
 * Expat is strict XML 1.0: it refuses control characters and U+FFFE and U+FFFF, raw or as references, yet S3 clients
 * send keys that hold them. So bytes pass a filter first: such a character, raw or as a reference, becomes MARK
 * followed by a letter, a MARK in the source becomes MARK MARK (MARK is U+10FFFD, a private-use character), and the
 * text handler undoes it. The filter works on a byte stream and remembers at most one unfinished character or reference
 * (HELD bytes) between two feeds.
 *
 * Elements: frames of the open elements, innermost last. A frame is announced by open() when its first child starts;
 * a frame that never had a child is a leaf.
 */
#include "net/xml.h"
#include "base/err.h"
#include <expat.h>

#define MARK "\xf4\x8f\xbf\xbd"
#define NONCHAR "\xef\xbf" /* and 0xbe or 0xbf: U+FFFE, U+FFFF */
#define HELD 16
#define DEPTH_LIMIT 64

struct frame {
    size_t path_n; /* length of the path with this element */
    bool opened;   /* has a child: open() was called */
};

struct xml_reader {
    XML_Parser expat;
    struct xml_calls calls;
    void *arg;
    struct xml_limits limits;
    struct frame frame[DEPTH_LIMIT];
    unsigned depth;
    struct buf path, text, clean;
    char held[HELD]; /* an unfinished "&#..", MARK or NONCHAR prefix of the stream */
    size_t held_n;
    uint64_t fed;
    bool cdata;
    int code; /* sticky */
};

static void fail(struct xml_reader *x, int code)
{
    if (!x->code)
        x->code = code;
    XML_StopParser(x->expat, XML_FALSE);
}

static void bad(struct xml_reader *x, const char *why)
{
    if (!x->code)
        fail(x, err_set(ERR_MALFORMED_XML, "XML: %s (line %lu)", why, XML_GetCurrentLineNumber(x->expat)));
}

/* --- elements */

static const char *local_name(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static void announce(struct xml_reader *x)
{
    struct frame *f = &x->frame[x->depth - 1];
    if (f->opened)
        return;
    f->opened = true;
    int r = x->calls.open ? x->calls.open(x->arg, x->path.p) : 0;
    if (r)
        fail(x, r);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attrs)
{
    struct xml_reader *x = arg;
    (void)attrs;
    if (x->code)
        return;
    if (x->depth)
        announce(x);
    if (x->code)
        return;
    if (x->depth == x->limits.max_depth || x->path.n > 4096) {
        bad(x, "nested too deep");
        return;
    }
    if (x->depth)
        buf_putz(&x->path, "/");
    buf_putz(&x->path, local_name(name));
    x->frame[x->depth++] = (struct frame){.path_n = x->path.n};
    buf_reset(&x->text);
}

static void leave(struct xml_reader *x)
{
    x->depth--;
    x->path.n = x->depth ? x->frame[x->depth - 1].path_n : 0;
    x->path.p[x->path.n] = 0;
    buf_reset(&x->text);
}

static void on_end(void *arg, const XML_Char *name)
{
    struct xml_reader *x = arg;
    (void)name;
    if (x->code)
        return;
    int r = 0;
    if (x->frame[x->depth - 1].opened)
        r = x->calls.close ? x->calls.close(x->arg, x->path.p) : 0;
    else
        r = x->calls.leaf ? x->calls.leaf(x->arg, x->path.p, buf_str(&x->text)) : 0;
    if (r)
        fail(x, r);
    else
        leave(x);
}

static void on_text(void *arg, const XML_Char *s, int n)
{
    struct xml_reader *x = arg;
    if (x->code || !x->depth || x->frame[x->depth - 1].opened)
        return;
    if (x->text.n + (size_t)n > x->limits.max_text)
        bad(x, "a value is too long");
    else
        buf_add(&x->text, s, (size_t)n);
}

static void on_doctype(void *arg, const XML_Char *n, const XML_Char *s, const XML_Char *p, int internal)
{
    (void)n, (void)s, (void)p, (void)internal;
    bad(arg, "a document type declaration is not allowed");
}

static void on_cdata_start(void *arg)
{
    ((struct xml_reader *)arg)->cdata = true;
}

static void on_cdata_end(void *arg)
{
    ((struct xml_reader *)arg)->cdata = false;
}

/* --- what XML forbids through expat: MARK + ('A' + c) for a control character c, U+FFFE and U+FFFF after them */

enum { MARKED_FFFE = 0x20, MARKED_FFFF };

static void add_marked(struct buf *b, unsigned c)
{
    char two[5] = MARK;
    two[4] = (char)('A' + c);
    buf_add(b, two, 5);
}

/* The character that was marked as c, at to; its length. */
static size_t unmarked(char *to, int c)
{
    if (c < MARKED_FFFE) {
        *to = (char)c;
        return 1;
    }
    memcpy(to, c == MARKED_FFFE ? NONCHAR "\xbe" : NONCHAR "\xbf", 3);
    return 3;
}

/* In text, in place: MARK MARK is MARK, MARK letter is a control character. */
static void unmark(struct buf *b)
{
    char *end = b->p + b->n, *to, *s;
    s = to = b->p ? memmem(b->p, b->n, MARK, 4) : NULL;
    if (!s)
        return;
    while (s < end) {
        if (end - s >= 5 && !memcmp(s, MARK, 4)) {
            if (end - s >= 8 && !memcmp(s + 4, MARK, 4)) {
                memmove(to, s, 4);
                to += 4, s += 8;
            } else {
                to += unmarked(to, (unsigned char)s[4] - 'A');
                s += 5;
            }
        } else
            *to++ = *s++;
    }
    b->n = (size_t)(to - b->p);
    b->p[b->n] = 0;
}

static bool is_control(unsigned c)
{
    return c < 0x20 && c && c != '\t' && c != '\n' && c != '\r';
}

/* The value of a whole "&#..;", or -1. */
static long reference(const char *s, size_t n)
{
    bool hex = n > 3 && (s[2] == 'x' || s[2] == 'X');
    long v = 0;
    size_t from = hex ? 3 : 2;
    if (n < from + 2 || n > HELD)
        return -1;
    for (size_t i = from; i < n - 1; i++) {
        char c = s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : hex && (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0 || v > 0x110000)
            return -1;
        v = v * (hex ? 16 : 10) + d;
    }
    return v;
}

static void flush_held(struct xml_reader *x)
{
    buf_add(&x->clean, x->held, x->held_n);
    x->held_n = 0;
}

/* True when what is held, with c at its end, may still become a reference or MARK. */
static bool may_hold(const struct xml_reader *x, char c)
{
    size_t n = x->held_n;
    if (n >= HELD)
        return false;
    if (x->held[0] == MARK[0])
        return n < 4 && c == MARK[n];
    if (x->held[0] == NONCHAR[0])
        return n == 1 ? c == NONCHAR[1] : (c & '\xfe') == '\xbe';
    if (n == 1)
        return c == '#';
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f') || (n == 2 && (c | 32) == 'x') || c == ';';
}

static bool begins_held(char c)
{
    return c == '&' || c == MARK[0] || c == NONCHAR[0];
}

/* Does c end what is held? */
static bool held_whole(const struct xml_reader *x, char c)
{
    return x->held[0] == '&' ? c == ';' : x->held_n == (x->held[0] == MARK[0] ? 4 : 3);
}

static long held_value(const struct xml_reader *x)
{
    if (x->held[0] == NONCHAR[0])
        return x->held[2] == '\xbe' ? 0xfffe : 0xffff;
    return reference(x->held, x->held_n);
}

/* What is held is whole: put out its marked form where it needs one. */
static void settle_held(struct xml_reader *x)
{
    if (x->held_n == 4 && x->held[0] == MARK[0]) {
        buf_add(&x->clean, MARK, 4);
        flush_held(x);
        return;
    }
    long v = held_value(x);
    if (v == 0xfffe || v == 0xffff || (v > 0 && v < 0x20 && is_control((unsigned)v))) {
        add_marked(&x->clean, v < 0x20 ? (unsigned)v : v == 0xfffe ? MARKED_FFFE : MARKED_FFFF);
        x->held_n = 0;
        return;
    }
    if (v == 0x10fffd)
        buf_add(&x->clean, MARK, 4);
    flush_held(x);
}

static void clean_byte(struct xml_reader *x, char c)
{
    if (x->held_n && !may_hold(x, c))
        flush_held(x);
    if (x->held_n) {
        x->held[x->held_n++] = c;
        if (held_whole(x, c))
            settle_held(x);
    } else if (begins_held(c))
        x->held[x->held_n++] = c;
    else if (is_control((unsigned char)c))
        add_marked(&x->clean, (unsigned char)c);
    else
        buf_add(&x->clean, &c, 1);
}

static void clean(struct xml_reader *x, const char *p, size_t n)
{
    buf_reset(&x->clean);
    size_t i = 0;
    while (i < n) {
        size_t from = i;
        while (!x->held_n && i < n && !begins_held(p[i]) && !is_control((unsigned char)p[i]))
            i++;
        buf_add(&x->clean, p + from, i - from);
        if (i < n)
            clean_byte(x, p[i++]);
    }
}

/* --- doors */

/* Text with marks is unmarked just before the leaf call; inside CDATA a mark would be a guess, so it is refused. */
static void on_text_marked(void *arg, const XML_Char *s, int n)
{
    struct xml_reader *x = arg;
    if (x->cdata && memmem(s, (size_t)n, MARK, 4)) {
        bad(x, "control characters inside CDATA");
        return;
    }
    on_text(arg, s, n);
}

static void on_end_unmark(void *arg, const XML_Char *name)
{
    struct xml_reader *x = arg;
    if (!x->code && x->depth && !x->frame[x->depth - 1].opened)
        unmark(&x->text);
    on_end(arg, name);
}

struct xml_reader *xml_reader_new(const struct xml_calls *calls, void *arg, const struct xml_limits *limits)
{
    struct xml_reader *x = calloc(1, sizeof *x);
    CHECK(x);
    x->expat = XML_ParserCreate("UTF-8");
    CHECK(x->expat);
    x->calls = *calls;
    x->arg = arg;
    if (limits)
        x->limits = *limits;
    if (!x->limits.max_depth || x->limits.max_depth > DEPTH_LIMIT)
        x->limits.max_depth = x->limits.max_depth ? DEPTH_LIMIT : 16;
    if (!x->limits.max_text)
        x->limits.max_text = 65536;
    if (!x->limits.max_bytes)
        x->limits.max_bytes = 8 << 20;
    XML_SetUserData(x->expat, x);
    XML_SetElementHandler(x->expat, on_start, on_end_unmark);
    XML_SetCharacterDataHandler(x->expat, on_text_marked);
    XML_SetStartDoctypeDeclHandler(x->expat, on_doctype);
    XML_SetCdataSectionHandler(x->expat, on_cdata_start, on_cdata_end);
    return x;
}

static int feed_clean(struct xml_reader *x, bool final)
{
    if (XML_Parse(x->expat, x->clean.p ? x->clean.p : "", (int)x->clean.n, final) == XML_STATUS_OK)
        return x->code;
    if (!x->code)
        x->code = err_set(ERR_MALFORMED_XML, "XML: %s (line %lu)", XML_ErrorString(XML_GetErrorCode(x->expat)),
                          XML_GetCurrentLineNumber(x->expat));
    return x->code;
}

int xml_feed(struct xml_reader *x, const void *p, size_t n)
{
    if (x->code)
        return x->code;
    x->fed += n;
    if (x->fed > x->limits.max_bytes)
        return x->code = err_set(ERR_MALFORMED_XML, "XML: the document is longer than %llu bytes",
                                 (unsigned long long)x->limits.max_bytes);
    for (size_t i = 0; i < n;) {
        size_t piece = n - i < 65536 ? n - i : 65536;
        clean(x, (const char *)p + i, piece);
        TRY(feed_clean(x, false));
        i += piece;
    }
    return x->code;
}

int xml_end(struct xml_reader *x)
{
    if (x->code)
        return x->code;
    buf_reset(&x->clean);
    flush_held(x);
    return feed_clean(x, true);
}

struct xml_reader *xml_reader_free(struct xml_reader *x)
{
    if (!x)
        return NULL;
    XML_ParserFree(x->expat);
    buf_done(&x->path);
    buf_done(&x->text);
    buf_done(&x->clean);
    free(x);
    return NULL;
}

int xml_parse(struct str doc, const struct xml_calls *calls, void *arg, const struct xml_limits *limits)
{
    struct xml_reader *x = xml_reader_new(calls, arg, limits);
    int r = xml_feed(x, doc.p, doc.n);
    if (!r)
        r = xml_end(x);
    xml_reader_free(x);
    return r;
}

struct finder {
    const char *path;
    char *ret;
    size_t cap;
    bool found;
};

static int find_leaf(void *arg, const char *path, struct str text)
{
    struct finder *f = arg;
    if (f->found || strcmp(path, f->path))
        return 0;
    size_t n = text.n < f->cap ? text.n : f->cap - 1;
    memcpy(f->ret, text.p, n);
    f->ret[n] = 0;
    f->found = true;
    return 0;
}

bool xml_find(struct str doc, const char *path, char *ret, size_t cap)
{
    struct finder f = {.path = path, .ret = ret, .cap = cap};
    struct xml_calls calls = {.leaf = find_leaf};
    return xml_parse(doc, &calls, &f, NULL) == 0 && f.found;
}

/* --- writer */

void xml_decl(struct buf *b)
{
    buf_putz(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

/* Listings consist of tags: by hand, printf was a third of their time. */
static void add_tag(struct buf *b, const char *begin, const char *name)
{
    buf_putz(b, begin);
    buf_putz(b, name);
    buf_add(b, ">", 1);
}

void xml_open(struct buf *b, const char *name)
{
    add_tag(b, "<", name);
}

void xml_open_ns(struct buf *b, const char *name)
{
    buf_printf(b, "<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", name);
}

void xml_close(struct buf *b, const char *name)
{
    add_tag(b, "</", name);
}

/* Length of the valid UTF-8 character at s; 0: invalid. */
static size_t char_len(const char *s, size_t left)
{
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n > left || !str_utf8(str_mk(s, n)))
        return 0;
    return n;
}

/* U+FFFE and U+FFFF: characters that XML forbids, as it does most control characters. */
static bool is_noncharacter(const char *s, size_t n)
{
    return n == 3 && !memcmp(s, "\xef\xbf", 2) && (unsigned char)s[2] >= 0xbe;
}

static const char *escape_of(unsigned char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\r':
        return "&#xd;";
    default:
        return NULL;
    }
}

/* How many bytes from s on stand for themselves: ASCII but what is escaped. */
static size_t plain_run(const char *s, size_t left)
{
    size_t n = 0;
    while (n < left && (unsigned char)s[n] < 0x7f && !is_control((unsigned char)s[n]) && s[n] &&
           !escape_of((unsigned char)s[n]))
        n++;
    return n;
}

void xml_escape(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = plain_run(text.p + i, text.n - i);
        if (n) {
            buf_add(b, text.p + i, n);
            i += n;
            continue;
        }
        unsigned char c = (unsigned char)text.p[i];
        n = 1;
        const char *e = escape_of(c);
        if (e)
            buf_putz(b, e);
        else if (is_control(c))
            buf_printf(b, "&#x%x;", c);
        else if (c == 0 || !(n = char_len(text.p + i, text.n - i))) {
            buf_putz(b, "&#xfffd;");
            n = 1;
        } else if (is_noncharacter(text.p + i, n))
            buf_printf(b, "&#xff%x;", (unsigned char)text.p[i + 2] + 0x40);
        else
            buf_add(b, text.p + i, n);
        i += n;
    }
}

void xml_text(struct buf *b, const char *name, struct str text)
{
    xml_open(b, name);
    xml_escape(b, text);
    xml_close(b, name);
}

void xml_textz(struct buf *b, const char *name, const char *text)
{
    xml_text(b, name, str_of(text));
}

static char *digits(char *p, uint64_t v, int n)
{
    for (int i = n; i--; v /= 10)
        p[i] = (char)('0' + v % 10);
    return p + n;
}

void xml_u64(struct buf *b, const char *name, uint64_t v)
{
    char text[20];
    int n = 1;
    for (uint64_t x = v; x >= 10; x /= 10)
        n++;
    digits(text, v, n);
    xml_open(b, name);
    buf_add(b, text, (size_t)n);
    xml_close(b, name);
}

void xml_bool(struct buf *b, const char *name, bool v)
{
    xml_open(b, name);
    buf_putz(b, v ? "true" : "false");
    xml_close(b, name);
}

/* Days since 1970 to a date of the Gregorian calendar, whose years here begin in March, so that leap days come last. */
static void date_of(uint64_t days, uint64_t *ret_y, uint64_t *ret_m, uint64_t *ret_d)
{
    uint64_t z = days + 719468, era = z / 146097, of_era = z % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t day = of_era - (365 * year + year / 4 - year / 100), m = (5 * day + 2) / 153;
    *ret_d = day - (153 * m + 2) / 5 + 1;
    *ret_m = m < 10 ? m + 3 : m - 9;
    *ret_y = year + era * 400 + (*ret_m <= 2);
}

void xml_time(struct buf *b, const char *name, uint64_t wall_ms)
{
    char text[24], *p = text;
    uint64_t s = wall_ms / 1000, y, m, d;
    date_of(s / 86400, &y, &m, &d);
    p = digits(p, y, 4);
    *p++ = '-';
    p = digits(p, m, 2);
    *p++ = '-';
    p = digits(p, d, 2);
    *p++ = 'T';
    p = digits(p, s / 3600 % 24, 2);
    *p++ = ':';
    p = digits(p, s / 60 % 60, 2);
    *p++ = ':';
    p = digits(p, s % 60, 2);
    *p++ = '.';
    p = digits(p, wall_ms % 1000, 3);
    *p++ = 'Z';
    xml_open(b, name);
    buf_add(b, text, (size_t)(p - text));
    xml_close(b, name);
}
