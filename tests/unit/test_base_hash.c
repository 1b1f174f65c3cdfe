/* SPDX-License-Identifier: Apache-2.0 */
#include "cm.h"
#include "base/hash.h"
#include "base/str.h"

static const char nine[] = "123456789";

static void check_values(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, nine, 9), 0xe3069283);
    assert_int_equal(crc32_ieee(0, nine, 9), 0xcbf43926);
    assert_true(crc64nvme(0, nine, 9) == 0xae8b14860a799888);
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32_ieee(0, "", 0), 0);
    assert_true(crc64nvme(0, "", 0) == 0);
    unsigned char zeros[32] = {0};
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720 B.4 */
}

/* Bit by bit: what each table and instruction must agree with. */
static uint64_t slow64(const unsigned char *p, size_t n)
{
    uint64_t c = ~0ull;
    for (; n; n--) {
        c ^= *p++;
        for (int i = 0; i < 8; i++)
            c = c & 1 ? c >> 1 ^ 0x9a6c9329ac4bc9b5 : c >> 1;
    }
    return ~c;
}

static void chaining_and_alignment(void **state)
{
    (void)state;
    unsigned char b[1100];
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)(i * 31 + i / 7);
    for (size_t off = 0; off < 17; off++)
        for (size_t n = 0; n < 1000; n += 61) {
            const unsigned char *p = b + off;
            assert_true(crc64nvme(0, p, n) == slow64(p, n));
            for (size_t cut = 0; cut <= n; cut += 37) {
                assert_true(crc64nvme(crc64nvme(0, p, cut), p + cut, n - cut) == crc64nvme(0, p, n));
                assert_int_equal(crc32c(crc32c(0, p, cut), p + cut, n - cut), crc32c(0, p, n));
                assert_int_equal(crc32_ieee(crc32_ieee(0, p, cut), p + cut, n - cut), crc32_ieee(0, p, n));
            }
        }
}

static void assert_digest(enum digest_kind kind, const char *want)
{
    unsigned char out[32];
    char hex[65];
    struct digest *d AUTO_DIGEST = digest_new(kind);
    digest_add(d, "a", 1);
    digest_add(d, "", 0);
    digest_add(d, "bc", 2);
    str_hex(out, digest_end(d, out), hex);
    assert_string_equal(hex, want);
}

static void digests(void **state)
{
    (void)state;
    assert_digest(DIGEST_MD5, "900150983cd24fb0d6963f7d28e17f72");
    assert_digest(DIGEST_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_digest(DIGEST_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_null(digest_free(NULL));
}

static void hmac(void **state)
{
    (void)state;
    unsigned char out[32];
    char hex[65];
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out); /* RFC 4231, case 2 */
    str_hex(out, 32, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac_sha256(NULL, 0, "", 0, out);
    str_hex(out, 32, hex);
    assert_string_equal(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_values),
        cmocka_unit_test(chaining_and_alignment),
        cmocka_unit_test(digests),
        cmocka_unit_test(hmac),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
