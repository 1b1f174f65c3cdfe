/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/mem.h"
#include <xxhash.h>

char *str_dup(struct str s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

uint64_t str_hash(struct str s)
{
    return XXH3_64bits(s.n ? s.p : "", s.n);
}

/* Bytes of the sequence at p, or 0 when it is not valid. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n == 0 || n > left || c == 0)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if (c == 0xe0 && p[1] < 0xa0) /* overlong */
        return 0;
    if (c == 0xed && p[1] >= 0xa0) /* surrogate */
        return 0;
    if (c == 0xf0 && p[1] < 0x90) /* overlong */
        return 0;
    if (c == 0xf4 && p[1] >= 0x90) /* above U+10FFFF */
        return 0;
    return n;
}

bool str_utf8(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = utf8_len((const unsigned char *)s.p + i, s.n - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Could the n bytes at p be the beginning of a character? */
static bool utf8_begun(const unsigned char *p, size_t n)
{
    unsigned char c = p[0];
    size_t whole = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    return n < whole;
}

void str_clean(char *z)
{
    size_t len = strlen(z);
    for (size_t i = 0; i < len;) {
        const unsigned char *p = (const unsigned char *)z + i;
        size_t n = utf8_len(p, len - i);
        if (n == 0 && utf8_begun(p, len - i)) {
            z[i] = 0;
            return;
        }
        if (n == 0)
            z[i] = '?';
        i += n ? n : 1;
    }
}

struct str str_cut(struct str s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max && ((unsigned char)s.p[max] & 0xc0) == 0x80)
        max--;
    return str_mk(s.p, max);
}

bool str_u64(struct str s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

static unsigned char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : (unsigned char)c;
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

void str_hex(const void *bytes, size_t n, char *out)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) {
        *out++ = "0123456789abcdef"[p[i] >> 4];
        *out++ = "0123456789abcdef"[p[i] & 15];
    }
    *out = 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_unhex(struct str s, void *ret, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (hex_digit(s.p[i]) < 0)
            return false;
    unsigned char *out = ret;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)((unsigned)hex_digit(s.p[2 * i]) << 4 | (unsigned)hex_digit(s.p[2 * i + 1]));
    return true;
}

/* The position after the ']' of the class that starts at p (after '['); *ret: whether it holds c. A class without end
 * is no class: returns 0. */
static size_t glob_class(struct str pat, size_t p, unsigned char c, bool *ret)
{
    bool invert = false, hit = false;
    if (p < pat.n && (pat.p[p] == '!' || pat.p[p] == '^')) {
        invert = true;
        p++;
    }
    for (bool first = true; p < pat.n && (first || pat.p[p] != ']'); first = false) {
        if (pat.p[p] == '\\' && p + 1 < pat.n)
            p++;
        unsigned char lo = (unsigned char)pat.p[p++], hi = lo;
        if (p + 1 < pat.n && pat.p[p] == '-' && pat.p[p + 1] != ']') {
            p++;
            if (pat.p[p] == '\\' && p + 1 < pat.n)
                p++;
            hi = (unsigned char)pat.p[p++];
        }
        hit |= c >= lo && c <= hi;
    }
    if (p >= pat.n)
        return 0;
    *ret = c != '/' && hit != invert;
    return p + 1;
}

/* Match one byte of s at one element of the pattern; the pattern position behind the element, or 0 for no match. */
static size_t glob_one(struct str pat, size_t p, unsigned char c)
{
    if (p >= pat.n)
        return 0;
    if (pat.p[p] == '?')
        return c != '/' ? p + 1 : 0;
    if (pat.p[p] == '[') {
        bool hit = false;
        size_t next = glob_class(pat, p + 1, c, &hit);
        if (next)
            return hit ? next : 0;
    }
    if (pat.p[p] == '\\' && p + 1 < pat.n)
        p++;
    return (unsigned char)pat.p[p] == c ? p + 1 : 0;
}

enum { NOWHERE = -1 };

/* Where to go on when a match fails: the last star and the last double star. Going back to those two only is enough,
 * as an earlier star never has to match more than it did; so the time is at most |s|^2 and never explodes. */
struct glob_back {
    ssize_t star_p, star_i; /* behind '*'; next byte it would swallow */
    ssize_t deep_p, deep_i; /* behind "**" */
    bool components;        /* deep: the element was "**" and '/', it swallows whole components */
};

static bool glob_go_back(struct glob_back *b, struct str s, size_t *p, size_t *i)
{
    if (b->star_p != NOWHERE && (size_t)b->star_i < s.n && s.p[b->star_i] != '/') {
        *p = (size_t)b->star_p;
        *i = (size_t)++b->star_i;
        return true;
    }
    b->star_p = NOWHERE;
    if (b->deep_p == NOWHERE || (size_t)b->deep_i >= s.n)
        return false;
    if (b->components) {
        const char *slash = memchr(s.p + b->deep_i, '/', s.n - (size_t)b->deep_i);
        if (!slash)
            return false;
        b->deep_i = slash - s.p;
    }
    *p = (size_t)b->deep_p;
    *i = (size_t)++b->deep_i;
    return true;
}

/* Take the stars at p; the position behind them. */
static size_t glob_stars(struct glob_back *b, struct str pat, size_t p, size_t i)
{
    if (p + 1 < pat.n && pat.p[p + 1] == '*') {
        size_t end = p + 2;
        while (end < pat.n && pat.p[end] == '*')
            end++;
        b->components = end < pat.n && pat.p[end] == '/' && (p == 0 || pat.p[p - 1] == '/');
        end += b->components;
        b->deep_p = (ssize_t)end;
        b->deep_i = (ssize_t)i;
        b->star_p = NOWHERE;
        return end;
    }
    b->star_p = (ssize_t)p + 1;
    b->star_i = (ssize_t)i;
    return p + 1;
}

bool str_glob(struct str pat, struct str s)
{
    struct glob_back back = {.star_p = NOWHERE, .deep_p = NOWHERE};
    size_t p = 0, i = 0;
    for (;;) {
        if (p < pat.n && pat.p[p] == '*') {
            p = glob_stars(&back, pat, p, i);
            continue;
        }
        if (i == s.n && p == pat.n)
            return true;
        size_t next = i < s.n ? glob_one(pat, p, (unsigned char)s.p[i]) : 0;
        if (next) {
            p = next;
            i++;
        } else if (!glob_go_back(&back, s, &p, &i)) {
            return false;
        }
    }
}
