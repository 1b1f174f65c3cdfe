/* SPDX-License-Identifier: Apache-2.0
 *
 * Who sends a request. The seam between the front and the ways to prove it: s3_auth_identify() is given everything any
 * of them needs and answers with a user or a refusal; the front knows nothing else.
 *
 * SIMPLE (alluxio.security.authentication.type, the default): the user is the access key of the request, in whatever
 * form it came (AWS4-HMAC-SHA256 or AWS header, presigned query of either version); the signature is not looked at, but
 * a header that is malformed is refused. A request without any is the process's user.
 *
 * Threads: any; struct s3_auth is read-only after s3_auth_new().
 */
#pragma once
#include "s3/uri.h"

struct s3_auth;

enum s3_auth_form {
    AUTH_ANONYMOUS,
    AUTH_HEADER_V4,
    AUTH_HEADER_V2,
    AUTH_QUERY_V4,
    AUTH_QUERY_V2,
    AUTH_FORM_V4,
    AUTH_FORM_V2
};

struct s3_auth_user {
    enum s3_auth_form form;
    char name[129]; /* access key, or the process's user */
};

struct s3_auth_request {
    struct str method;
    struct str path;                  /* still encoded, as on the request line */
    const struct s3_uri_query *query; /* decoded */
    struct str authorization;         /* the header's value, p NULL when absent */
    /* Any other header; p NULL when absent. */
    struct str (*header)(void *arg, const char *name);
    void *arg;
};

/* everybody_self (NOSASL): whatever a request says, it is the process's user. */
int s3_auth_new(bool everybody_self, struct s3_auth **ret);
struct s3_auth *s3_auth_free(struct s3_auth *a); /* NULL is fine; returns NULL */

/* 0; ERR_AUTH_HEADER or ERR_AUTH_QUERY (malformed), ERR_NOT_IMPLEMENTED (SigV4A), ERR_INVALID (another scheme). */
int s3_auth_identify(const struct s3_auth *a, const struct s3_auth_request *r, struct s3_auth_user *ret);

/* The sender of an upload form: the access key of its x-amz-credential (or AWSAccessKeyId) field. A form with a policy
 * must be signed. ERR_INVALID names the field that is missing or malformed. field: by lower-case name; p NULL when
 * absent. */
int s3_auth_identify_form(const struct s3_auth *a, struct str (*field)(void *arg, const char *name), void *arg,
                          struct s3_auth_user *ret);

/* The process's user: owner of what listings show. */
const char *s3_auth_self(const struct s3_auth *a);

/* For tests: the pieces of "AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...". */
struct s3_auth_v4 {
    struct str access_key, date, region, service, signed_headers, signature;
};
int s3_auth_parse_v4(struct str value, struct s3_auth_v4 *ret);
