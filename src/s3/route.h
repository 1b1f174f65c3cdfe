/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request's method, place, query and headers to the S3 action it asks for: a table (actions.tbl), no code per
 * action. What the table does not hold is refused as NotImplemented: a sub-resource that is not understood must never
 * be answered as if it were not there. Pure and read-only.
 */
#pragma once
#include "s3/uri.h"

enum s3_level { S3_SERVICE, S3_BUCKET, S3_OBJECT };

enum s3_action_index {
#define A(name, method, level, needs, also, allows, header, run) S3_ACTION_##name,
#include "s3/actions.tbl"
#undef A
    S3_ACTION_COUNT
};

struct s3_action {
    const char *name;  /* "GetObject" */
    const char *trace; /* "s3.GetObject" */
    const char *method;
    enum s3_level level;
    const char *needs, *also, *allows, *header; /* "" for none */
};
extern const struct s3_action s3_action_table[S3_ACTION_COUNT];

struct s3_route_request {
    struct str method;
    enum s3_level level;
    const struct s3_uri_query *query;
    bool (*has_header)(void *arg, const char *name);
    void *arg;
};
/* 0; ERR_METHOD when the method has no action at this level, ERR_NOT_IMPLEMENTED, ERR_INVALID for a versionId. */
int s3_route(const struct s3_route_request *r, const struct s3_action **ret);
