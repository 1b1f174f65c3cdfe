/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of MD5 (RFC 1321): one stream, or up to eight side by side. Pure; for md5.c and its test.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { MD5_LANES = 8, MD5_BLOCK = 64 };

struct md5_lane {
    uint32_t *state;        /* a, b, c, d */
    const unsigned char *p; /* blocks of 64 bytes, in no alignment */
};

/* Advance n lanes (1..MD5_LANES, no two with one state) by `blocks` blocks each. */
typedef void md5_lanes_fn(const struct md5_lane *lane, size_t n, size_t blocks);

md5_lanes_fn md5_lanes_plain; /* one after the other, on any machine */
/* The best this machine has: AVX-512VL, AVX2 or md5_lanes_plain. */
md5_lanes_fn *md5_lanes_best(void);
/* Each kind this machine can run, for the test: NULL beyond the last. */
md5_lanes_fn *md5_lanes_kind(size_t i, const char **ret_name);
