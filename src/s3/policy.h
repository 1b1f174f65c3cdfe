/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy of an upload form: what the owner of the bucket lets whoever has the form send. It is checked whoever
 * asks; that its signature is right is the business of authentication.
 */
#pragma once
#include "s3/form.h"

struct s3_policy_range { /* content-length-range */
    uint64_t min, max;
};
/* bucket, key: as they will be used. A form without a policy may send anything. *ret: 0..UINT64_MAX when nothing is
 * said. ERR_POLICY: not base64 of a policy document; ERR_DENIED: expired, a condition does not hold, or a field without
 * one. */
int s3_policy_check(const struct s3_form *f, struct str bucket, struct str key, struct s3_policy_range *ret);
