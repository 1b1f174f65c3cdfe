/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte ranges of requests (contract in range.h; RFC 9110 section 14, and S3: one range only).
 */
#include "s3/range.h"
#include "base/err.h"

/* "first-last" after "bytes=": digits or nothing on each side. */
struct pair {
    bool has_first, has_last;
    uint64_t first, last;
};

static bool take_number(struct str s, bool *ret_has, uint64_t *ret)
{
    *ret_has = s.n > 0;
    return s.n == 0 || str_u64(s, UINT64_MAX, ret);
}

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool parse_pair(struct str header, struct pair *ret)
{
    header = trim(header);
    if (header.n < 6 || !str_ieq(str_mk(header.p, 6), STR("bytes=")))
        return false;
    struct str s = trim(str_from(header, 6));
    const char *dash = s.n ? memchr(s.p, '-', s.n) : NULL;
    if (!dash)
        return false;
    size_t at = (size_t)(dash - s.p);
    if (!take_number(str_mk(s.p, at), &ret->has_first, &ret->first) ||
        !take_number(str_from(s, at + 1), &ret->has_last, &ret->last))
        return false;
    return ret->has_first || ret->has_last;
}

static struct s3_range part(uint64_t off, uint64_t n)
{
    return (struct s3_range){n ? RANGE_PART : RANGE_NONE, off, n};
}

struct s3_range s3_range_parse(struct str header, uint64_t size)
{
    struct pair p = {0};
    struct s3_range all = {RANGE_ALL, 0, size};
    if (!header.p || !parse_pair(header, &p))
        return all;
    if (!p.has_first) {
        uint64_t n = p.last < size ? p.last : size;
        return part(size - n, n);
    }
    if (p.has_last && p.last < p.first)
        return all;
    if (p.first >= size)
        return part(0, 0);
    uint64_t left = size - p.first;
    return part(p.first, p.has_last && p.last - p.first < left ? p.last - p.first + 1 : left);
}

int s3_range_copy_parse(struct str header, uint64_t size, uint64_t *ret_off, uint64_t *ret_n)
{
    struct pair p = {0};
    if (!parse_pair(header, &p) || !p.has_first || !p.has_last || p.last < p.first)
        return err_set(ERR_INVALID, "x-amz-copy-source-range must be bytes=first-last");
    if (p.last >= size)
        return err_set(ERR_INVALID, "x-amz-copy-source-range ends at %llu, the source has %llu bytes",
                       (unsigned long long)p.last, (unsigned long long)size);
    *ret_off = p.first;
    *ret_n = p.last - p.first + 1;
    return 0;
}
