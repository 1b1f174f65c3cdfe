/* SPDX-License-Identifier: Apache-2.0
 *
 * Tag sets of objects and buckets. Kept as the URL-encoded query string of x-amz-tagging in one canonical spelling;
 * read from that header and from <Tagging> documents, checked against S3's limits unless
 * alluxio.worker.s3.tagging.restrictions.enabled is off (then only against TAGS_SANE).
 */
#pragma once
#include "base/buf.h"

#define TAGS_MAX 10    /* S3's limit */
#define TAGS_SANE 1000 /* ours, without restrictions */

struct s3_tag {
    struct str key, value; /* into the set's text */
};
struct s3_tags {
    struct s3_tag *tag;
    size_t n, cap;
    struct buf text; /* the bytes; reserved before the first tag, never moves */
};
void s3_tags_done(struct s3_tags *t);
#define AUTO_TAGS CLEANUP(s3_tags_done)

/* From "k=v&k2=v2". strict: S3's limits on count, lengths, characters. ERR_TAG, ERR_INVALID. t is empty before and
 * holds what was read also on failure. */
int s3_tags_from_header(struct s3_tags *t, struct str header, bool strict);
/* From a <Tagging><TagSet><Tag><Key/><Value/></Tag>... document. ERR_MALFORMED_XML, ERR_TAG. */
int s3_tags_from_xml(struct s3_tags *t, struct str doc, bool strict);
/* The canonical query string. */
void s3_tags_encode(struct buf *b, const struct s3_tags *t);
/* <TagSet>...</TagSet> */
void s3_tags_xml(struct buf *b, const struct s3_tags *t);
/* Number of tags in a stored string. */
size_t s3_tags_count(struct str stored);
