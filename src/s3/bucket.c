/* SPDX-License-Identifier: Apache-2.0
 *
 * What the actions on buckets share (contract in bucket.h).
 */
#include "s3/bucket.h"

int s3_bucket_check(struct s3_call *c)
{
    struct fs_attr a;
    TRY(fs_stat(c->fs, s3_bucket_at(c), 0, &a, NULL, NULL));
    return fs_settle(c->fs, a.version);
}
