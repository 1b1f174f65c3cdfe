/* SPDX-License-Identifier: Apache-2.0
 *
 * Tags of an object or a bucket through the door: kept as the pair x-amz-tagging.
 */
#pragma once
#include "s3/call.h"

/* Answers with the <Tagging> document. demand: ERR_NO_TAGS when there are none (buckets). */
int s3_tagging_get(struct s3_call *c, struct fs_at at, bool demand);
/* From the request's document. */
int s3_tagging_put(struct s3_call *c, struct fs_at at);
int s3_tagging_delete(struct s3_call *c, struct fs_at at);
