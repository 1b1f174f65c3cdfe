/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditional requests (RFC 9110 section 13): the four headers judged against one object. Pure.
 */
#pragma once
#include "base/str.h"

/* Header values; p NULL where the header is absent. */
struct s3_cond {
    struct str if_match, if_none_match, if_modified_since, if_unmodified_since;
};

/* For GET and HEAD: 0, ERR_NOT_MODIFIED or ERR_PRECONDITION. An ETag condition silences the date beside it. */
int s3_cond_read(const struct s3_cond *c, struct str etag, uint64_t mtime_ms);
/* For a copy's source: 0 or ERR_PRECONDITION. */
int s3_cond_copy(const struct s3_cond *c, struct str etag, uint64_t mtime_ms);
/* If-Range: may the range be used? A weak tag never matches; a date must be the object's. */
bool s3_cond_if_range(struct str header, struct str etag, uint64_t mtime_ms);

/* Is etag (no quotes) in a list as If-Match writes it: "*", quoted or bare tags, commas between. weak: W/ tags count.
 */
bool s3_cond_etag_in(struct str list, struct str etag, bool weak);
/* An HTTP date in any of its three forms to seconds since 1970; false when it is none. */
bool s3_cond_date(struct str s, uint64_t *ret_sec);
#define COND_DATE 30
void s3_cond_date_text(uint64_t wall_ms, char ret[COND_DATE]); /* "Sun, 06 Nov 1994 08:49:37 GMT" */
