/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/mem.h"

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_reserve(struct buf *b, size_t more)
{
    size_t need;
    CHECK(!__builtin_add_overflow(b->n, more, &need) && need < SIZE_MAX / 2, "%zu more bytes", more);
    if (b->p && need < b->cap)
        return;
    size_t cap = b->cap < 32 ? 64 : b->cap * 2;
    if (cap <= need)
        cap = need + 1;
    b->p = mem_grow(b->p, cap, 1);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    buf_reserve(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    buf_reserve(b, 0);
    int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
    CHECK(n >= 0, "format %s", fmt);
    if ((size_t)n >= b->cap - b->n) {
        buf_reserve(b, (size_t)n);
        vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
    }
    va_end(again);
    b->n += (size_t)n;
}

char *buf_take(struct buf *b, size_t *ret_n)
{
    buf_add(b, "", 0);
    char *p = b->p;
    if (ret_n)
        *ret_n = b->n;
    *b = (struct buf){0};
    return p;
}

static void put_be(struct buf *b, uint64_t v, int bytes)
{
    unsigned char t[8];
    for (int i = 0; i < bytes; i++)
        t[i] = (unsigned char)(v >> (8 * (bytes - 1 - i)));
    buf_add(b, t, (size_t)bytes);
}

void buf_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

void buf_be16(struct buf *b, uint16_t v)
{
    put_be(b, v, 2);
}

void buf_be32(struct buf *b, uint32_t v)
{
    put_be(b, v, 4);
}

void buf_be64(struct buf *b, uint64_t v)
{
    put_be(b, v, 8);
}

void buf_varint(struct buf *b, uint64_t v)
{
    unsigned char t[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        t[n++] = (unsigned char)(v | 0x80);
    t[n++] = (unsigned char)v;
    buf_add(b, t, n);
}

void buf_bytes(struct buf *b, struct str s)
{
    buf_varint(b, s.n);
    buf_add(b, s.p, s.n);
}

/* The next n bytes, or NULL and bad. */
static const unsigned char *cur_take(struct cur *c, size_t n)
{
    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return NULL;
    }
    const unsigned char *p = c->p;
    if (n)
        c->p += n;
    return p;
}

static uint64_t get_be(struct cur *c, size_t bytes)
{
    const unsigned char *p = cur_take(c, bytes);
    uint64_t v = 0;
    for (size_t i = 0; p && i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

uint8_t cur_u8(struct cur *c)
{
    return (uint8_t)get_be(c, 1);
}

uint16_t cur_be16(struct cur *c)
{
    return (uint16_t)get_be(c, 2);
}

uint32_t cur_be32(struct cur *c)
{
    return (uint32_t)get_be(c, 4);
}

uint64_t cur_be64(struct cur *c)
{
    return get_be(c, 8);
}

uint64_t cur_varint(struct cur *c)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        const unsigned char *p = cur_take(c, 1);
        if (!p)
            return 0;
        if (shift == 63 && *p > 1) /* would not fit 64 bits */
            break;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if (*p < 0x80)
            return v;
    }
    c->bad = true;
    return 0;
}

struct str cur_bytes(struct cur *c)
{
    uint64_t n = cur_varint(c);
    const unsigned char *p = n <= SIZE_MAX ? cur_take(c, n) : NULL;
    return p ? str_mk(p, n) : str_mk("", 0);
}

struct str cur_rest(struct cur *c)
{
    if (c->bad || c->p == c->end)
        return str_mk("", 0);
    struct str s = str_mk(c->p, (size_t)(c->end - c->p));
    c->p = c->end;
    return s;
}
