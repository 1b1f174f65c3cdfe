/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in the objects: bytes that do not compress, the same in every run and on every machine. Object i begins with
 * its own number, so that no two are equal; the rest is one block, repeated. A part of an object is the same bytes as
 * if it had come in one.
 *
 * The block is shared and constant after content_init().
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { CONTENT_BLOCK = 1 << 20, CONTENT_STAMP = 16 };

struct content {
    uint64_t number;
    unsigned char stamp[CONTENT_STAMP];
};

void content_init(void);
struct content content_of(uint64_t number);
/* The longest run of bytes at `offset` that lies in one piece, at most n: its address and length. */
const unsigned char *content_at(const struct content *c, uint64_t offset, uint64_t n, size_t *ret_n);
