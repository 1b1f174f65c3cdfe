/* SPDX-License-Identifier: Apache-2.0
 *
 * ListObjects (version 1): pages by marker. NextMarker is given when there is a delimiter, as S3 does; without one
 * clients go on from the last key.
 */
#include "s3/list.h"

int s3_list_objects(struct s3_call *c)
{
    struct s3_list l AUTO_LIST = {.object = s3_list_contents, .owner = true};
    struct buf b AUTO_BUF = {0};
    TRY(s3_list_params(&l, c));
    l.after = s3_param(c, "marker");
    TRY(s3_list_run(&l));
    xml_decl(&b);
    xml_open_ns(&b, "ListBucketResult");
    s3_list_head(&l, &b);
    s3_xml_name(&b, "Marker", l.after, l.url);
    if (l.more && l.delimiter.n)
        s3_xml_name(&b, "NextMarker", buf_str(&l.last), l.url);
    s3_list_tail(&l, &b);
    xml_close(&b, "ListBucketResult");
    return s3_reply_xml(c, 200, &b);
}
