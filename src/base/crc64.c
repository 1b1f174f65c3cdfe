/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-64/NVME, which every object without a checksum of the client's gets, so it must cost next to nothing: 128 bytes a
 * step by carry-less multiplication where the processor has it, else 16 bytes a step by tables.
 *
 * Polynomials are kept bit-reflected: bit i of a word is the coefficient of x^(63-i), the first byte of the message
 * holds the highest powers. A 16-byte block is L x^64 + H. To move it D bits up (past D bits of message) without
 * growing it: (L x^64 + H) x^D  =  L (x^(D+64) mod P) + H (x^D mod P)     (mod P) A carry-less product of two reflected
 * words comes out one power of x too high for a reflected 128-bit word, so the factors are x^(D+63) and x^(D-1).
 */
#include "base/hash.h"
#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define POLY 0x9a6c9329ac4bc9b5u /* 0xad93d23594c93659 reflected */

static uint64_t table[16][256]; /* table[k][b]: the effect of byte b with k zero bytes behind it */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t times_x(uint64_t c)
{
    return c & 1 ? c >> 1 ^ POLY : c >> 1;
}

static void make_table(void)
{
    for (unsigned b = 0; b < 256; b++) {
        uint64_t c = b;
        for (int i = 0; i < 8; i++)
            c = times_x(c);
        table[0][b] = c;
    }
    for (int k = 1; k < 16; k++)
        for (unsigned b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

static uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static uint64_t word(uint64_t v, int last)
{
    uint64_t c = 0;
    for (int i = 0; i < 8; i++)
        c ^= table[last + 7 - i][v >> (8 * i) & 255];
    return c;
}

static uint64_t by_table(uint64_t crc, const unsigned char *at, size_t n)
{
    for (; n >= 16; n -= 16, at += 16)
        crc = word(load64(at) ^ crc, 8) ^ word(load64(at + 8), 0);
    for (; n; n--)
        crc = crc >> 8 ^ table[0][(crc ^ *at++) & 255];
    return crc;
}

#ifdef __x86_64__

enum { LANES = 8, STEP = 16 * LANES };

static uint64_t far_lo, far_hi, near_lo, near_hi; /* factors for D = STEP bytes and D = 16 bytes */
static bool folds;

static uint64_t power(unsigned n) /* x^n mod P */
{
    uint64_t c = (uint64_t)1 << 63;
    while (n--)
        c = times_x(c);
    return c;
}

static void make_factors(void)
{
    far_lo = power(8 * STEP + 63);
    far_hi = power(8 * STEP - 1);
    near_lo = power(8 * 16 + 63);
    near_hi = power(8 * 16 - 1);
    folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

#define FOLDING __attribute__((target("pclmul,sse4.1")))

FOLDING static __m128i move_up(__m128i v, __m128i by)
{
    return _mm_xor_si128(_mm_clmulepi64_si128(v, by, 0x00), _mm_clmulepi64_si128(v, by, 0x11));
}

FOLDING static __m128i load(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* The message up to a multiple of 128 bytes, at least that many, as 16 bytes that have the same remainder. */
FOLDING static void fold(uint64_t crc, const unsigned char *at, size_t n, unsigned char ret[16])
{
    const __m128i far = _mm_set_epi64x((long long)far_hi, (long long)far_lo);
    const __m128i near = _mm_set_epi64x((long long)near_hi, (long long)near_lo);
    __m128i lane[LANES];
    for (int i = 0; i < LANES; i++)
        lane[i] = load(at + 16 * i);
    lane[0] = _mm_xor_si128(lane[0], _mm_set_epi64x(0, (long long)crc));
    while ((n -= STEP) >= STEP) {
        at += STEP;
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i++)
            lane[i] = _mm_xor_si128(move_up(lane[i], far), load(at + 16 * i));
    }
    for (int i = 1; i < LANES; i++)
        lane[i] = _mm_xor_si128(move_up(lane[i - 1], near), lane[i]);
    _mm_storeu_si128((__m128i *)ret, lane[LANES - 1]);
}

static void make(void)
{
    make_table();
    make_factors();
}

static uint64_t whole(uint64_t crc, const unsigned char *at, size_t n)
{
    unsigned char rest[16];
    if (!folds || n < STEP)
        return by_table(crc, at, n);
    size_t m = n / STEP * STEP;
    fold(crc, at, m, rest);
    return by_table(by_table(0, rest, sizeof rest), at + m, n - m);
}

#else

static void make(void)
{
    make_table();
}

static uint64_t whole(uint64_t crc, const unsigned char *at, size_t n)
{
    return by_table(crc, at, n);
}

#endif

uint64_t crc64nvme(uint64_t crc, const void *p, size_t n)
{
    pthread_once(&once, make);
    return ~whole(~crc, p, n);
}
