/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 in both alphabets (contract in base64.h). The decoder is strict: one text for one value, so that a digest or a
 * token that was tampered with is never taken for another spelling of the same.
 */
#include "s3/base64.h"

static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct buf *b, const unsigned char *p, size_t n, const char *alphabet, bool pad)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= have > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= have > 2 ? p[i + 2] : 0;
        char quad[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63], alphabet[v >> 6 & 63], alphabet[v & 63]};
        for (size_t k = have + 1; k < 4; k++)
            quad[k] = '=';
        buf_add(b, quad, pad ? 4 : have + 1);
    }
}

void s3_base64_add(struct buf *b, const void *p, size_t n)
{
    encode(b, p, n, plain, true);
}

void s3_base64url_add(struct buf *b, const void *p, size_t n)
{
    encode(b, p, n, url, false);
}

static int value_of(char c, const char *alphabet)
{
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/* text holds no padding. */
static bool decode(struct str text, const char *alphabet, struct buf *b)
{
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = value_of(text.p[i], alphabet);
        if (d < 0)
            return false;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_u8(b, (uint8_t)(v >> bits));
            v &= (1u << bits) - 1;
        }
    }
    return bits < 6 && v == 0;
}

bool s3_base64url_decode(struct str text, struct buf *b)
{
    return decode(text, url, b);
}

bool s3_base64_exact(struct str text, void *ret, size_t n)
{
    struct buf b AUTO_BUF = {0};
    size_t full = (n + 2) / 3 * 4, pad = (3 - n % 3) % 3;
    if (text.n != full)
        return false;
    for (size_t i = 0; i < pad; i++)
        if (text.p[full - 1 - i] != '=')
            return false;
    if (!decode(str_mk(text.p, full - pad), plain, &b) || b.n != n || n == 0)
        return false;
    memcpy(ret, b.p, n);
    return true;
}
