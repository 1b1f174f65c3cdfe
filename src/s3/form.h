/* SPDX-License-Identifier: Apache-2.0
 *
 * A browser's upload form (multipart/form-data, RFC 7578) on its way in: first the fields, which are kept, then the
 * bytes of the one file, which are not. What follows the file is read and forgotten, as S3 does.
 *
 *     s3_form_open -> fields are there -> s3_form_read until 0 -> s3_form_done
 *
 * Limits: 20 KiB of fields and their heads (S3's), one line of a head 4 KiB. One thread.
 */
#pragma once
#include "s3/call.h"

enum { S3_FORM_FIELDS_MAX = 20 * 1024 };

struct s3_form {
    struct s3_call *c;
    struct http_header *field; /* names in lower case, in the order sent; memory of the call */
    size_t n, cap;
    struct str filename; /* of the file, without directories; p NULL when not given */
    /* the stream */
    char delimiter[80]; /* CRLF, "--", boundary */
    size_t delimiter_n, fields_bytes;
    char *buf;
    size_t at, have;
    bool body_ended, file_ended;
};
/* Reads up to the file's first byte. ERR_PRECONDITION: no form; ERR_FORM, ERR_FORM_LARGE. */
int s3_form_open(struct s3_form *f, struct s3_call *c);
struct str s3_form_get(const struct s3_form *f, const char *name); /* lower case; p NULL when absent */
/* Next bytes of the file; 0 at its end, when the rest of the form was read too. */
ssize_t s3_form_read(struct s3_form *f, void *p, size_t n);
void s3_form_done(struct s3_form *f);
#define AUTO_FORM CLEANUP(s3_form_done)
