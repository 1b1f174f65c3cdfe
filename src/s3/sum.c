/* SPDX-License-Identifier: Apache-2.0
 *
 * S3's checksums (contract in sum.h).
 *
 * Combining CRCs: appending n bytes to A multiplies A's remainder by x^(8n) modulo the polynomial. All three CRCs are
 * reflected with the same value before and after (all ones), so the masks cancel and crc(AB) = shift(crc(A), n) ^
 * crc(B). Multiplication is done bit by bit over reflected values: a combine costs some 64 * log2(n) steps, which is
 * nothing beside the part it stands for.
 */
#include "s3/sum.h"
#include "base/err.h"
#include "s3/base64.h"

static const struct s3_sum_info infos[SUM_KINDS] = {
    [SUM_CRC32] = {"CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4, true, true},
    [SUM_CRC32C] = {"CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4, true, true},
    [SUM_CRC64NVME] = {"CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8, true, false},
    [SUM_SHA1] = {"SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20, false, true},
    [SUM_SHA256] = {"SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32, false, true},
};

const struct s3_sum_info *s3_sum_info(enum s3_sum_kind k)
{
    CHECK(k < SUM_KINDS);
    return &infos[k];
}

enum s3_sum_kind s3_sum_by_name(struct str name)
{
    for (int k = 0; k < SUM_KINDS; k++)
        if (str_ieq(name, str_of(infos[k].name)))
            return (enum s3_sum_kind)k;
    return SUM_NONE;
}

enum s3_sum_kind s3_sum_by_header(struct str header)
{
    for (int k = 0; k < SUM_KINDS; k++)
        if (str_ieq(header, str_of(infos[k].header)))
            return (enum s3_sum_kind)k;
    return SUM_NONE;
}

enum s3_sum_kind s3_sum_by_element(const char *element)
{
    for (int k = 0; k < SUM_KINDS; k++)
        if (!strcmp(element, infos[k].element))
            return (enum s3_sum_kind)k;
    return SUM_NONE;
}

void s3_sum_begin(struct s3_sum *s, enum s3_sum_kind kind)
{
    *s = (struct s3_sum){.kind = kind};
    if (kind == SUM_SHA1)
        s->digest = digest_new(DIGEST_SHA1);
    if (kind == SUM_SHA256)
        s->digest = digest_new(DIGEST_SHA256);
}

void s3_sum_add(struct s3_sum *s, const void *p, size_t n)
{
    if (s->digest)
        digest_add(s->digest, p, n);
    else if (s->kind == SUM_CRC32)
        s->crc = crc32_ieee((uint32_t)s->crc, p, n);
    else if (s->kind == SUM_CRC32C)
        s->crc = crc32c((uint32_t)s->crc, p, n);
    else if (s->kind == SUM_CRC64NVME)
        s->crc = crc64nvme(s->crc, p, n);
}

static void put_be(uint64_t v, size_t n, unsigned char *ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)(v >> 8 * (n - 1 - i));
}

static uint64_t get_be(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

size_t s3_sum_end(struct s3_sum *s, unsigned char ret[32])
{
    if (s->kind == SUM_NONE)
        return 0;
    if (s->digest)
        return digest_end(s->digest, ret);
    put_be(s->crc, infos[s->kind].bytes, ret);
    return infos[s->kind].bytes;
}

void s3_sum_done(struct s3_sum *s)
{
    s->digest = digest_free(s->digest);
}

void s3_sum_text(const unsigned char *raw, size_t n, char ret[SUM_TEXT])
{
    struct buf b AUTO_BUF = {0};
    s3_base64_add(&b, raw, n);
    CHECK(b.n < SUM_TEXT);
    memcpy(ret, b.p, b.n + 1);
}

bool s3_sum_parse(enum s3_sum_kind k, struct str text, unsigned char ret[32])
{
    return k < SUM_KINDS && s3_base64_exact(text, ret, infos[k].bytes);
}

/* --- combining. A reflected CRC of w bits: bit w-1 is x^0. */

static uint64_t polynomial(enum s3_sum_kind k)
{
    return k == SUM_CRC32 ? 0xedb88320u : k == SUM_CRC32C ? 0x82f63b78u : 0x9a6c9329ac4bc9b5u;
}

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t poly, unsigned w)
{
    uint64_t r = 0;
    for (uint64_t bit = 1ull << (w - 1); bit; bit >>= 1) {
        if (a & bit)
            r ^= b;
        b = b & 1 ? b >> 1 ^ poly : b >> 1;
    }
    return r;
}

uint64_t s3_sum_combine(enum s3_sum_kind k, uint64_t a, uint64_t b, uint64_t b_bytes)
{
    CHECK(k == SUM_CRC32 || k == SUM_CRC32C || k == SUM_CRC64NVME);
    unsigned w = (unsigned)infos[k].bytes * 8;
    uint64_t poly = polynomial(k);
    uint64_t power = 1ull << (w - 1) >> 8; /* x^8 */
    for (uint64_t n = b_bytes; n; n >>= 1) {
        if (n & 1)
            a = multiply(a, power, poly, w);
        power = multiply(power, power, poly, w);
    }
    return a ^ b;
}

/* --- parts */

void s3_sum_parts_begin(struct s3_sum_parts *s, enum s3_sum_kind kind, bool full)
{
    *s = (struct s3_sum_parts){.kind = kind, .full = full};
    s3_sum_begin(&s->over, full ? SUM_NONE : kind);
}

void s3_sum_parts_add(struct s3_sum_parts *s, struct str text, uint64_t bytes)
{
    unsigned char raw[32];
    s->n++;
    if (!text.p || !s3_sum_parse(s->kind, text, raw)) {
        s->missing = true;
        return;
    }
    size_t n = infos[s->kind].bytes;
    if (s->full)
        s->crc = s3_sum_combine(s->kind, s->crc, get_be(raw, n), bytes);
    else
        s3_sum_add(&s->over, raw, n);
}

bool s3_sum_parts_end(struct s3_sum_parts *s, char ret[SUM_TEXT])
{
    unsigned char raw[32];
    bool ok = s->n && !s->missing && s->kind != SUM_NONE;
    if (ok && s->full) {
        put_be(s->crc, infos[s->kind].bytes, raw);
        s3_sum_text(raw, infos[s->kind].bytes, ret);
    } else if (ok) {
        s3_sum_text(raw, s3_sum_end(&s->over, raw), ret);
        size_t at = strlen(ret);
        snprintf(ret + at, SUM_TEXT - at, "-%u", s->n);
    }
    s3_sum_done(&s->over);
    return ok;
}
