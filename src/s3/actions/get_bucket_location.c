/* SPDX-License-Identifier: Apache-2.0
 *
 * GetBucketLocation: empty, which means us-east-1.
 */
#include "s3/bucket.h"

int s3_get_bucket_location(struct s3_call *c)
{
    struct buf b AUTO_BUF = {0};
    TRY(s3_bucket_check(c));
    xml_decl(&b);
    xml_open_ns(&b, "LocationConstraint");
    xml_close(&b, "LocationConstraint");
    return s3_reply_xml(c, 200, &b);
}
