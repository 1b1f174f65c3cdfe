/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648) as S3 uses it: with padding for digests in headers, URL-safe and without padding for tokens.
 * Pure functions.
 */
#pragma once
#include "base/buf.h"

void s3_base64_add(struct buf *b, const void *p, size_t n);    /* A-Z a-z 0-9 + / and padding */
void s3_base64url_add(struct buf *b, const void *p, size_t n); /* - and _ instead of + and /, no padding */
/* Exactly n bytes from padded text; false for anything else, also for bits left over that are not zero. */
bool s3_base64_exact(struct str text, void *ret, size_t n);
/* URL-safe text without padding, appended to b; false (b may have grown) when malformed. */
bool s3_base64url_decode(struct str text, struct buf *b);
