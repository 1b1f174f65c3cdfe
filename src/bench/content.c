/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/content.h"
#include <endian.h>
#include <pthread.h>
#include <string.h>

static unsigned char block[CONTENT_BLOCK];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
    uint64_t x = 88172645463325252u; /* xorshift64 */
    for (size_t i = 0; i < sizeof block; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t le = htole64(x);
        memcpy(block + i, &le, 8);
    }
}

void content_init(void)
{
    pthread_once(&once, fill);
}

struct content content_of(uint64_t number)
{
    struct content c = {.number = number};
    uint64_t be = htobe64(number), mixed = htobe64((number + 1) * 0x9e3779b97f4a7c15u);
    memcpy(c.stamp, &be, 8);
    memcpy(c.stamp + 8, &mixed, 8);
    return c;
}

const unsigned char *content_at(const struct content *c, uint64_t offset, uint64_t n, size_t *ret_n)
{
    uint64_t room = CONTENT_STAMP - offset;
    const unsigned char *p = c->stamp + offset;
    if (offset >= CONTENT_STAMP) {
        size_t at = offset % CONTENT_BLOCK;
        room = CONTENT_BLOCK - at;
        p = block + at;
    }
    *ret_n = (size_t)(n < room ? n : room);
    return p;
}
