/* SPDX-License-Identifier: Apache-2.0
 * Java properties syntax: # and ! comments; key and value apart by '=', ':' or blanks; a backslash at the end of a line
 * joins the next; escapes \t \n \r \f \uXXXX, any other escaped character stands for itself. The text is UTF-8. */
#include "conf/conf_impl.h"

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

struct reader {
    struct str rest;
    unsigned line; /* of the last physical line taken */
};

/* The next physical line without its end; false when there is none. */
static bool take_line(struct reader *r, struct str *ret)
{
    if (r->rest.n == 0)
        return false;
    size_t n = 0;
    while (n < r->rest.n && r->rest.p[n] != '\n' && r->rest.p[n] != '\r')
        n++;
    struct str line = {r->rest.p, n};
    size_t end = n < r->rest.n ? n + 1 : n;
    if (n + 1 < r->rest.n && r->rest.p[n] == '\r' && r->rest.p[n + 1] == '\n')
        end++;
    r->rest = str_from(r->rest, end);
    r->line++;
    while (line.n && blank(line.p[0]))
        line = str_from(line, 1);
    *ret = line;
    return true;
}

static bool continues(struct str line)
{
    size_t n = 0;
    while (n < line.n && line.p[line.n - 1 - n] == '\\')
        n++;
    return n % 2 == 1;
}

/* The next logical line into out, continuation lines joined; its first line's number, or 0 at the end. */
static unsigned take_entry(struct reader *r, struct buf *out)
{
    struct str line;
    do {
        if (!take_line(r, &line))
            return 0;
    } while (line.n == 0 || line.p[0] == '#' || line.p[0] == '!');
    unsigned first = r->line;
    buf_reset(out);
    while (continues(line)) {
        buf_add(out, line.p, line.n - 1);
        if (!take_line(r, &line))
            return first;
    }
    buf_str_add(out, line);
    return first;
}

static void add_utf8(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_u8(b, (uint8_t)c);
    } else if (c < 0x800) {
        buf_u8(b, (uint8_t)(0xc0 | c >> 6));
        buf_u8(b, (uint8_t)(0x80 | (c & 0x3f)));
    } else {
        buf_u8(b, (uint8_t)(0xe0 | c >> 12));
        buf_u8(b, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
        buf_u8(b, (uint8_t)(0x80 | (c & 0x3f)));
    }
}

/* One escape behind the backslash at s[i]; the position behind it. */
static size_t unescape(struct str s, size_t i, struct buf *out)
{
    static const char from[] = "tnrf", to[] = "\t\n\r\f";
    if (i >= s.n)
        return i;
    unsigned char hex[2];
    if (s.p[i] == 'u' && i + 5 <= s.n && str_unhex(str_mk(s.p + i + 1, 4), hex, 2)) {
        add_utf8(out, (unsigned)hex[0] << 8 | hex[1]);
        return i + 5;
    }
    const char *known = s.p[i] ? strchr(from, s.p[i]) : NULL;
    buf_u8(out, (uint8_t)(known ? to[known - from] : s.p[i]));
    return i + 1;
}

/* Unescape s from i into out up to its end, or up to the first bare separator when key is set; where it stopped. */
static size_t take_text(struct str s, size_t i, bool key, struct buf *out)
{
    while (i < s.n) {
        if (key && (blank(s.p[i]) || s.p[i] == '=' || s.p[i] == ':'))
            break;
        if (s.p[i] == '\\')
            i = unescape(s, i + 1, out);
        else
            buf_u8(out, (uint8_t)s.p[i++]);
    }
    return i;
}

static size_t skip_separator(struct str s, size_t i)
{
    while (i < s.n && blank(s.p[i]))
        i++;
    if (i < s.n && (s.p[i] == '=' || s.p[i] == ':'))
        i++;
    while (i < s.n && blank(s.p[i]))
        i++;
    return i;
}

int conf_properties(struct str text, int (*fn)(void *arg, unsigned line, struct str key, struct str value), void *arg)
{
    struct reader r = {.rest = text};
    struct buf entry AUTO_BUF = {0}, key AUTO_BUF = {0}, value AUTO_BUF = {0};
    unsigned line;
    if (str_starts(r.rest, STR("\xef\xbb\xbf"))) /* some editors put a byte order mark there */
        r.rest = str_from(r.rest, 3);
    while ((line = take_entry(&r, &entry))) {
        buf_reset(&key);
        buf_reset(&value);
        size_t i = take_text(buf_str(&entry), 0, true, &key);
        take_text(buf_str(&entry), skip_separator(buf_str(&entry), i), false, &value);
        while (value.n && blank(value.p[value.n - 1])) /* Java keeps these; nobody means them */
            value.p[--value.n] = 0;
        int code = fn(arg, line, buf_str(&key), buf_str(&value));
        if (code)
            return code;
    }
    return 0;
}
