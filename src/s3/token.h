/* SPDX-License-Identifier: Apache-2.0
 *
 * Continuation tokens: opaque to clients, carry the key after which a listing goes on and a checksum, so that a token
 * that was cut or altered is refused and not taken for another place. Valid for ever, on any worker. Pure.
 */
#pragma once
#include "base/buf.h"

void s3_token_make(struct buf *b, struct str after);
/* ERR_INVALID when it is none of ours. ret_after holds the key. */
int s3_token_open(struct str token, struct buf *ret_after);
