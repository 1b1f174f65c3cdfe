/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"
#include "base/err.h"
#include "base/str.h"
#include <stdio.h>
#include <sys/random.h>

void uuid_new(char ret[UUID_TEXT])
{
    unsigned char b[16];
    char hex[33];
    CHECK(getrandom(b, sizeof b, 0) == sizeof b, "no random bytes");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80); /* variant */
    str_hex(b, 16, hex);
    snprintf(ret, UUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}
