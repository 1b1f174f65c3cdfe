/* SPDX-License-Identifier: Apache-2.0
 * CRC-32s by ISA-L (its 2.30 has no CRC-64/NVME: crc64.c), digests by OpenSSL. */
#define crc32_ieee isal_crc32_ieee /* the library's is another function, see hash.h */
#include <isa-l/crc.h>
#undef crc32_ieee
#include "base/hash.h"
#include "base/mem.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    enum { STEP = 1 << 30 }; /* the library counts in int */
    unsigned char *at = (unsigned char *)p;
    crc = ~crc;
    for (; n > STEP; n -= STEP, at += STEP)
        crc = crc32_iscsi(at, STEP, crc);
    return ~crc32_iscsi(at, (int)n, crc);
}

uint32_t crc32_ieee(uint32_t crc, const void *p, size_t n)
{
    return crc32_gzip_refl(crc, p, n);
}

struct digest {
    EVP_MD_CTX *ctx;
};

struct digest *digest_new(enum digest_kind kind)
{
    const EVP_MD *md = kind == DIGEST_MD5 ? EVP_md5() : kind == DIGEST_SHA1 ? EVP_sha1() : EVP_sha256();
    struct digest *d = MEM_NEW(struct digest);
    d->ctx = EVP_MD_CTX_new();
    CHECK(d->ctx);
    CHECK(EVP_DigestInit_ex(d->ctx, md, NULL) == 1, "digest %d is not available", (int)kind);
    return d;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
    CHECK(EVP_DigestUpdate(d->ctx, p, n) == 1);
}

size_t digest_end(struct digest *d, unsigned char out[32])
{
    unsigned n = 0;
    CHECK(EVP_DigestFinal_ex(d->ctx, out, &n) == 1);
    return n;
}

struct digest *digest_free(struct digest *d)
{
    if (d)
        EVP_MD_CTX_free(d->ctx);
    free(d);
    return NULL;
}

void hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, unsigned char out[32])
{
    unsigned len = 0;
    CHECK(HMAC(EVP_sha256(), key_n ? key : "", (int)key_n, p, n, out, &len) && len == 32);
}
