/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable byte buffer, and the reader that takes the same bytes apart again.
 *
 * Invariants: p[n] is always NUL once something was appended (text can be printed); cap > n. A zeroed struct is an
 * empty buffer. Memory: aborts when memory is out, so appending cannot fail. Not thread-safe.
 */
#pragma once
#include "base/cleanup.h"
#include "base/str.h"
#include <stdarg.h>

struct buf {
    char *p;
    size_t n, cap;
};
#define AUTO_BUF CLEANUP(buf_done)

void buf_done(struct buf *b);                 /* release; the struct is empty again */
void buf_reserve(struct buf *b, size_t more); /* room for more bytes and a NUL */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
char *buf_take(struct buf *b, size_t *ret_n); /* the bytes, to free(); never NULL; the struct is empty again */

static inline void buf_reset(struct buf *b)
{
    b->n = 0;
    if (b->p)
        b->p[0] = 0;
}
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}
static inline void buf_str_add(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}
static inline void buf_putz(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}

/* Numbers: big-endian where order matters (keys), so that byte order is number order. */
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);
void buf_be64(struct buf *b, uint64_t v);
void buf_varint(struct buf *b, uint64_t v);  /* LEB128, at most 10 bytes */
void buf_bytes(struct buf *b, struct str s); /* varint length, then the bytes */

/* Taking apart. After the first short or malformed read, bad is set and every getter returns 0 or an empty str. */
struct cur {
    const unsigned char *p, *end;
    bool bad;
};
static inline struct cur cur_of(struct str s)
{
    return (struct cur){(const unsigned char *)s.p, (const unsigned char *)s.p + s.n, false};
}
uint8_t cur_u8(struct cur *c);
uint16_t cur_be16(struct cur *c);
uint32_t cur_be32(struct cur *c);
uint64_t cur_be64(struct cur *c);
uint64_t cur_varint(struct cur *c);
struct str cur_bytes(struct cur *c); /* points into the source */
struct str cur_rest(struct cur *c);  /* all that is left */
