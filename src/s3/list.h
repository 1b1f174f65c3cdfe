/* SPDX-License-Identifier: Apache-2.0
 *
 * One page of a bucket's keys, as all versions of ListObjects need it: prefix, delimiter of any length, a place to go
 * on from, and what of it was rolled up. The door lists with delimiters of one byte; longer ones are rolled up here.
 */
#pragma once
#include "s3/call.h"

struct s3_list {
    struct s3_call *c;
    struct str prefix, delimiter, after;
    uint64_t max;
    bool url; /* encoding-type=url */
    /* Writes one key into contents. */
    void (*object)(struct s3_list *l, const struct fs_entry *e);
    bool owner; /* for object() */

    /* What came out. */
    struct buf contents, prefixes, last; /* last: the last key or common prefix given */
    size_t n;
    bool more;
    uint64_t version;
};
/* prefix, delimiter, encoding-type, max-keys of the request, checked. */
int s3_list_params(struct s3_list *l, struct s3_call *c);
/* Fills the page, and waits until what it shows is durable. */
int s3_list_run(struct s3_list *l);
void s3_list_done(struct s3_list *l);
#define AUTO_LIST CLEANUP(s3_list_done)

/* <Contents> of ListObjects. */
void s3_list_contents(struct s3_list *l, const struct fs_entry *e);
/* The elements all of them share: Name, Prefix, Delimiter, MaxKeys, EncodingType, IsTruncated. */
void s3_list_head(const struct s3_list *l, struct buf *b);
/* And at the end: what was found. */
void s3_list_tail(const struct s3_list *l, struct buf *b);

/* Where a key is rolled up: the length of its common prefix, 0 when it is not. */
size_t s3_list_rolled(struct str key, struct str prefix, struct str delimiter);
