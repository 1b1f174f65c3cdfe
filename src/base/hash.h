/* SPDX-License-Identifier: Apache-2.0
 *
 * Checksums and digests. Thread-safe; contexts belong to one thread at a time.
 */
#pragma once
#include "base/cleanup.h"
#include <stddef.h>
#include <stdint.h>

/* CRC-32C (RFC 3720), finalised form: crc32c(0, "123456789", 9) == 0xe3069283; chain by passing the last result. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* CRC-32 (IEEE 802.3, as zlib): crc32_ieee(0, "123456789", 9) == 0xcbf43926. */
uint32_t crc32_ieee(uint32_t crc, const void *p, size_t n) __asm__("fb_crc32_ieee"); /* libisal has one of that name */
/* CRC-64/NVME (reflected 0xad93d23594c93659): crc64nvme(0, "123456789", 9) == 0xae8b14860a799888. */
uint64_t crc64nvme(uint64_t crc, const void *p, size_t n);

enum digest_kind { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256 };
struct digest;
struct digest *digest_new(enum digest_kind kind);
void digest_add(struct digest *d, const void *p, size_t n);
size_t digest_end(struct digest *d, unsigned char out[32]); /* bytes written; the context can only be freed now */
struct digest *digest_free(struct digest *d);
static inline void cleanup_digest_free(struct digest **d)
{
    digest_free(*d);
}
#define AUTO_DIGEST CLEANUP(cleanup_digest_free)
void hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, unsigned char out[32]);
