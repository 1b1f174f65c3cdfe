/* SPDX-License-Identifier: Apache-2.0
 *
 * Continuation tokens (contract in token.h): base64url of a format byte, the CRC-32C of the key, the key.
 */
#include "s3/token.h"
#include "base/err.h"
#include "base/hash.h"
#include "s3/base64.h"

enum { TOKEN_FORMAT = 1, TOKEN_MAX = 8192 };

void s3_token_make(struct buf *b, struct str after)
{
    struct buf raw AUTO_BUF = {0};
    buf_u8(&raw, TOKEN_FORMAT);
    buf_be32(&raw, crc32c(0, after.p, after.n));
    buf_str_add(&raw, after);
    s3_base64url_add(b, raw.p, raw.n);
}

int s3_token_open(struct str token, struct buf *ret_after)
{
    struct buf raw AUTO_BUF = {0};
    bool ok = token.n < TOKEN_MAX && s3_base64url_decode(token, &raw);
    struct cur c = cur_of(buf_str(&raw));
    uint8_t format = cur_u8(&c);
    uint32_t crc = cur_be32(&c);
    struct str after = cur_rest(&c);
    if (!ok || c.bad || format != TOKEN_FORMAT || crc != crc32c(0, after.p, after.n) || !str_utf8(after))
        return err_set(ERR_INVALID, "The continuation token provided is incorrect");
    buf_str_add(ret_after, after);
    return 0;
}
