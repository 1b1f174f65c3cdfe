/* SPDX-License-Identifier: Apache-2.0
 *
 * The 64 steps are written once (ROUNDS), over operations that each kind names for itself: words of one stream, or
 * vectors that hold the same word of eight.
 */
#include "base/md5_lanes.h"
#include <endian.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* One step: a = b + rotate(a + f(b, c, d) + word + constant). The first sum does not wait for the step before. */
#define STEP(F, a, b, c, d, k, r, t) a = ADD(b, ROL(ADD(ADD(a, ADD(WORD(k), CONST(t))), F(b, c, d)), r))

#define FOUR(F, k0, k1, k2, k3, r0, r1, r2, r3, t0, t1, t2, t3)                                                        \
    STEP(F, a, b, c, d, k0, r0, t0);                                                                                   \
    STEP(F, d, a, b, c, k1, r1, t1);                                                                                   \
    STEP(F, c, d, a, b, k2, r2, t2);                                                                                   \
    STEP(F, b, c, d, a, k3, r3, t3)

#define ROUNDS                                                                                                         \
    FOUR(F1, 0, 1, 2, 3, 7, 12, 17, 22, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);                               \
    FOUR(F1, 4, 5, 6, 7, 7, 12, 17, 22, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);                               \
    FOUR(F1, 8, 9, 10, 11, 7, 12, 17, 22, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);                             \
    FOUR(F1, 12, 13, 14, 15, 7, 12, 17, 22, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);                           \
    FOUR(F2, 1, 6, 11, 0, 5, 9, 14, 20, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);                               \
    FOUR(F2, 5, 10, 15, 4, 5, 9, 14, 20, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);                              \
    FOUR(F2, 9, 14, 3, 8, 5, 9, 14, 20, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);                               \
    FOUR(F2, 13, 2, 7, 12, 5, 9, 14, 20, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);                              \
    FOUR(F3, 5, 8, 11, 14, 4, 11, 16, 23, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);                             \
    FOUR(F3, 1, 4, 7, 10, 4, 11, 16, 23, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);                              \
    FOUR(F3, 13, 0, 3, 6, 4, 11, 16, 23, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);                              \
    FOUR(F3, 9, 12, 15, 2, 4, 11, 16, 23, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);                             \
    FOUR(F4, 0, 7, 14, 5, 6, 10, 15, 21, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);                              \
    FOUR(F4, 12, 3, 10, 1, 6, 10, 15, 21, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);                             \
    FOUR(F4, 8, 15, 6, 13, 6, 10, 15, 21, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);                             \
    FOUR(F4, 4, 11, 2, 9, 6, 10, 15, 21, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391)

/* ---- one stream ---- */

#define ADD(x, y) ((x) + (y))
#define ROL(x, r) rol(x, r)
#define CONST(t) (t)
#define WORD(k) word(p, k)
#define F1(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define F2(b, c, d) (((d) & (b)) + (~(d) & (c)))
#define F3(b, c, d) ((b) ^ (c) ^ (d))
#define F4(b, c, d) ((c) ^ ((b) | ~(d)))

static inline uint32_t rol(uint32_t x, int r)
{
    return x << r | x >> (32 - r);
}

static inline uint32_t word(const unsigned char *p, int k)
{
    uint32_t w;
    memcpy(&w, p + 4 * k, sizeof w);
    return le32toh(w);
}

static void one_stream(uint32_t *s, const unsigned char *p, size_t blocks)
{
    uint32_t a = s[0], b = s[1], c = s[2], d = s[3];
    for (; blocks; blocks--, p += MD5_BLOCK) {
        uint32_t a0 = a, b0 = b, c0 = c, d0 = d;
        ROUNDS;
        a += a0;
        b += b0;
        c += c0;
        d += d0;
    }
    s[0] = a;
    s[1] = b;
    s[2] = c;
    s[3] = d;
}

void md5_lanes_plain(const struct md5_lane *lane, size_t n, size_t blocks)
{
    for (size_t i = 0; i < n; i++)
        one_stream(lane[i].state, lane[i].p, blocks);
}

#undef ADD
#undef ROL
#undef CONST
#undef WORD
#undef F1
#undef F2
#undef F3
#undef F4

#ifdef __x86_64__

/* ---- eight streams ---- */

#define ADD(x, y) _mm256_add_epi32(x, y)
#define CONST(t) _mm256_set1_epi32((int)(t))
#define WORD(k) m[k]

#define PAIR(lo, hi, from, x, y, OP)                                                                                   \
    __m256i lo = _mm256_unpacklo_##OP(from[x], from[y]), hi = _mm256_unpackhi_##OP(from[x], from[y])

/* Words 0..7 of eight streams, from eight words of each: an 8x8 transposition. */
#define TRANSPOSE(r, m)                                                                                                \
    do {                                                                                                               \
        PAIR(p0, p1, r, 0, 1, epi32);                                                                                  \
        PAIR(p2, p3, r, 2, 3, epi32);                                                                                  \
        PAIR(p4, p5, r, 4, 5, epi32);                                                                                  \
        PAIR(p6, p7, r, 6, 7, epi32);                                                                                  \
        __m256i p[8] = {p0, p1, p2, p3, p4, p5, p6, p7};                                                               \
        PAIR(q0, q1, p, 0, 2, epi64);                                                                                  \
        PAIR(q2, q3, p, 1, 3, epi64);                                                                                  \
        PAIR(q4, q5, p, 4, 6, epi64);                                                                                  \
        PAIR(q6, q7, p, 5, 7, epi64);                                                                                  \
        (m)[0] = _mm256_permute2x128_si256(q0, q4, 0x20);                                                              \
        (m)[1] = _mm256_permute2x128_si256(q1, q5, 0x20);                                                              \
        (m)[2] = _mm256_permute2x128_si256(q2, q6, 0x20);                                                              \
        (m)[3] = _mm256_permute2x128_si256(q3, q7, 0x20);                                                              \
        (m)[4] = _mm256_permute2x128_si256(q0, q4, 0x31);                                                              \
        (m)[5] = _mm256_permute2x128_si256(q1, q5, 0x31);                                                              \
        (m)[6] = _mm256_permute2x128_si256(q2, q6, 0x31);                                                              \
        (m)[7] = _mm256_permute2x128_si256(q3, q7, 0x31);                                                              \
    } while (0)

/* Lanes beyond n repeat the last one; what they compute is thrown away. */
#define EIGHT_STREAMS                                                                                                  \
    do {                                                                                                               \
        const unsigned char *at[MD5_LANES];                                                                            \
        uint32_t s[4][MD5_LANES];                                                                                      \
        for (size_t i = 0; i < MD5_LANES; i++) {                                                                       \
            const struct md5_lane *l = &lane[i < n ? i : n - 1];                                                       \
            at[i] = l->p;                                                                                              \
            for (size_t k = 0; k < 4; k++)                                                                             \
                s[k][i] = l->state[k];                                                                                 \
        }                                                                                                              \
        __m256i a = GET(s[0]), b = GET(s[1]), c = GET(s[2]), d = GET(s[3]);                                            \
        for (size_t off = 0; off < blocks * MD5_BLOCK; off += MD5_BLOCK) {                                             \
            __m256i a0 = a, b0 = b, c0 = c, d0 = d, m[16], r[8];                                                       \
            for (size_t half = 0; half < 2; half++) {                                                                  \
                for (size_t i = 0; i < MD5_LANES; i++)                                                                 \
                    r[i] = GET(at[i] + off + 32 * half);                                                               \
                TRANSPOSE(r, m + 8 * half);                                                                            \
            }                                                                                                          \
            ROUNDS;                                                                                                    \
            a = ADD(a, a0);                                                                                            \
            b = ADD(b, b0);                                                                                            \
            c = ADD(c, c0);                                                                                            \
            d = ADD(d, d0);                                                                                            \
        }                                                                                                              \
        PUT(s[0], a);                                                                                                  \
        PUT(s[1], b);                                                                                                  \
        PUT(s[2], c);                                                                                                  \
        PUT(s[3], d);                                                                                                  \
        for (size_t i = 0; i < n; i++)                                                                                 \
            for (size_t k = 0; k < 4; k++)                                                                             \
                lane[i].state[k] = s[k][i];                                                                            \
    } while (0)

#define GET(p) _mm256_loadu_si256((const __m256i *)(p))
#define PUT(p, v) _mm256_storeu_si256((__m256i *)(p), v)

#define ROL(x, r) _mm256_or_si256(_mm256_slli_epi32(x, r), _mm256_srli_epi32(x, 32 - (r)))
#define F1(b, c, d) _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)))
#define F2(b, c, d) _mm256_or_si256(_mm256_and_si256(d, b), _mm256_andnot_si256(d, c))
#define F3(b, c, d) _mm256_xor_si256(_mm256_xor_si256(c, d), b)
#define F4(b, c, d) _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, _mm256_set1_epi32(-1))))

__attribute__((target("avx2"))) static void lanes_avx2(const struct md5_lane *lane, size_t n, size_t blocks)
{
    if (n == 1)
        md5_lanes_plain(lane, n, blocks); /* alone a vector is slower: it rotates in three steps */
    else
        EIGHT_STREAMS;
}

#undef ROL
#undef F1
#undef F2
#undef F3
#undef F4

/* vpternlogd computes any function of three bits: its table is the last argument, bit (b << 2 | c << 1 | d). */
#define ROL(x, r) _mm256_rol_epi32(x, r)
#define F1(b, c, d) _mm256_ternarylogic_epi32(b, c, d, 0xca)
#define F2(b, c, d) _mm256_ternarylogic_epi32(b, c, d, 0xe4)
#define F3(b, c, d) _mm256_ternarylogic_epi32(b, c, d, 0x96)
#define F4(b, c, d) _mm256_ternarylogic_epi32(b, c, d, 0x39)

__attribute__((target("avx2,avx512f,avx512vl"))) static void lanes_avx512(const struct md5_lane *lane, size_t n,
                                                                          size_t blocks)
{
    if (n == 1)
        md5_lanes_plain(lane, n, blocks);
    else
        EIGHT_STREAMS;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}

#endif

static bool always(void)
{
    return true;
}

static const struct kind {
    const char *name;
    md5_lanes_fn *run;
    bool (*here)(void);
} kinds[] = {
#ifdef __x86_64__
    {"avx512vl", lanes_avx512, has_avx512},
    {"avx2", lanes_avx2, has_avx2},
#endif
    {"plain", md5_lanes_plain, always},
};

md5_lanes_fn *md5_lanes_kind(size_t i, const char **ret_name)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (kinds[k].here() && i-- == 0) {
            *ret_name = kinds[k].name;
            return kinds[k].run;
        }
    return NULL;
}

md5_lanes_fn *md5_lanes_best(void)
{
    const char *name;
    return md5_lanes_kind(0, &name);
}
