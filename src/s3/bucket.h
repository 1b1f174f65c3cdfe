/* SPDX-License-Identifier: Apache-2.0
 *
 * What the actions on buckets share.
 */
#pragma once
#include "s3/call.h"

#define S3_REGION "us-east-1" /* what clients assume when nothing is said */

/* ERR_NO_BUCKET unless the call's bucket is there; what was seen is durable on return. */
int s3_bucket_check(struct s3_call *c);
