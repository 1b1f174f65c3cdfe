/* SPDX-License-Identifier: Apache-2.0
 *
 * GetBucketVersioning: never enabled, so neither Enabled nor Suspended.
 */
#include "s3/bucket.h"

int s3_get_bucket_versioning(struct s3_call *c)
{
    struct buf b AUTO_BUF = {0};
    TRY(s3_bucket_check(c));
    xml_decl(&b);
    xml_open_ns(&b, "VersioningConfiguration");
    xml_close(&b, "VersioningConfiguration");
    return s3_reply_xml(c, 200, &b);
}
