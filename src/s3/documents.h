/* SPDX-License-Identifier: Apache-2.0
 *
 * The documents of DeleteObjects and CompleteMultipartUpload, read piece by piece while they arrive. What is kept lives
 * as long as the call.
 */
#pragma once
#include "s3/call.h"
#include "s3/upload.h"

enum { S3_DELETE_KEYS_MAX = 1000 };

struct s3_delete_item {
    struct str key, etag, version; /* p NULL when not given */
    bool conditions;               /* on time or size: not built */
    int code;                      /* for the action */
    const char *detail;
};
struct s3_delete_doc {
    struct s3_call *c;
    struct s3_delete_item *item;
    size_t n;
    bool quiet, has_key;
};
/* Ready to be the argument of s3_delete_calls. */
void s3_delete_doc_begin(struct s3_delete_doc *d, struct s3_call *c);
extern const struct xml_calls s3_delete_calls;

struct s3_complete_doc {
    struct s3_call *c;
    struct fs_part *part; /* ascending */
    size_t n, cap;
};
extern const struct xml_calls s3_complete_calls; /* argument: a struct s3_complete_doc with c set */
