/* SPDX-License-Identifier: Apache-2.0
 *
 * A byte range somebody else owns: names and keys may hold any byte but are never NUL-terminated by promise.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){("" lit), sizeof(lit) - 1})
#define STR_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}
static inline struct str str_mk(const void *p, size_t n)
{
    return (struct str){p, n};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* Byte order, shorter first: the order of keys in the KV store and of S3 listings. */
static inline int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}
static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}
static inline struct str str_from(struct str s, size_t at)
{
    return at >= s.n ? (struct str){s.p + s.n, 0} : (struct str){s.p + at, s.n - at};
}

/* A NUL-terminated copy; free() it. Aborts when memory is out. */
char *str_dup(struct str s);
/* 64-bit hash (XXH3). */
uint64_t str_hash(struct str s);
/* True when s is valid UTF-8 without NUL (RFC 3629: no surrogates, no overlong forms). */
bool str_utf8(struct str s);
/* Make a text that was cut or came from elsewhere valid UTF-8, in place: what is left of a character at its end goes,
 * other bytes that are none become '?'. */
void str_clean(char *z);
/* At most max bytes of s, not ending inside a character where s is UTF-8. */
struct str str_cut(struct str s, size_t max);
/* Unsigned decimal; false when empty, not all digits, or above max. */
bool str_u64(struct str s, uint64_t max, uint64_t *ret);
/* ASCII case-insensitive equality (HTTP names). */
bool str_ieq(struct str a, struct str b);
/* Lower-case hex of n bytes into out[2n+1]. */
void str_hex(const void *bytes, size_t n, char *out);
/* Hex to bytes; false unless s is exactly 2n hex digits. */
bool str_unhex(struct str s, void *ret, size_t n);
/* Glob as in path rules: * within one component, ** across them, ? one byte but '/', [..] classes, \ escapes. */
bool str_glob(struct str pattern, struct str s);
