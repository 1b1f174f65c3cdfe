/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispatch by table (contract in route.h).
 *
 * A query parameter is one of three: a sub-resource (it changes what is asked for; on the list below), a plain
 * parameter (an action reads it or it does not matter), or unknown. Unknown ones with a value are ignored as S3 does
 * ("?x-id=..", signatures, tracing); unknown ones without a value look like a sub-resource that is newer than this
 * program and are refused.
 */
#include "s3/route.h"
#include "base/err.h"

const struct s3_action s3_action_table[S3_ACTION_COUNT] = {
#define A(name, method, level, needs, also, allows, header, run)                                                       \
    [S3_ACTION_##name] = {#name, "s3." #name, method, S3_##level, needs, also, allows, header},
#include "s3/actions.tbl"
#undef A
};

static const char *const sub_resources[] = {
    "accelerate",
    "acl",
    "analytics",
    "append",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "list-type",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "position",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

/* Plain parameters that clients also send without a value. */
static const char *const plain[] = {
    "allow-unordered", "continuation-token", "delimiter",         "encoding-type", "fetch-owner",        "key-marker",
    "marker",          "max-keys",           "max-parts",         "max-uploads",   "part-number-marker", "prefix",
    "start-after",     "upload-id-marker",   "version-id-marker", "x-id",          "bucket-region",      "max-buckets",
};

static bool on_list(struct str name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, str_of(list[i])))
            return true;
    return false;
}

static bool is_sub_resource(const struct s3_uri_pair *p)
{
    if (on_list(p->name, sub_resources, sizeof sub_resources / sizeof *sub_resources))
        return true;
    return p->value.n == 0 && !on_list(p->name, plain, sizeof plain / sizeof *plain) &&
           !str_starts(p->name, STR("X-Amz-")) && !str_starts(p->name, STR("x-amz-")) &&
           !str_starts(p->name, STR("response-"));
}

static bool in_words(const char *words, struct str name)
{
    struct str w = str_of(words);
    while (w.n) {
        const char *comma = memchr(w.p, ',', w.n);
        size_t at = comma ? (size_t)(comma - w.p) : w.n;
        if (str_eq(str_mk(w.p, at), name))
            return true;
        w = str_from(w, at + 1);
    }
    return false;
}

static bool understands(const struct s3_action *a, struct str name)
{
    return str_eq(name, str_of(a->needs)) || str_eq(name, str_of(a->also)) || in_words(a->allows, name);
}

static bool has(const struct s3_uri_query *q, const char *name)
{
    return !*name || s3_uri_query_get(q, name);
}

static bool selected(const struct s3_action *a, const struct s3_route_request *r)
{
    return a->level == r->level && str_eq(r->method, str_of(a->method)) && has(r->query, a->needs) &&
           has(r->query, a->also) && (!*a->header || r->has_header(r->arg, a->header));
}

static int refuse_unknown(const struct s3_action *a, const struct s3_uri_query *q)
{
    for (size_t i = 0; i < q->n; i++)
        if (is_sub_resource(&q->pair[i]) && !understands(a, q->pair[i].name))
            return err_set(ERR_NOT_IMPLEMENTED, "%s with ?%.*s is not implemented", a->name,
                           (int)(q->pair[i].name.n < 64 ? q->pair[i].name.n : 64), q->pair[i].name.p);
    return 0;
}

/* Nothing here is versioned: every object has the one version "null". */
static int check_version(const struct s3_uri_query *q)
{
    struct str v = s3_uri_query_value(q, "versionId");
    if (v.n && !str_eq(v, STR("null")))
        return err_set(ERR_INVALID, "Invalid version id specified: buckets here are not versioned");
    return 0;
}

static int no_row(const struct s3_route_request *r)
{
    for (size_t i = 0; i < S3_ACTION_COUNT; i++)
        if (s3_action_table[i].level == r->level && str_eq(r->method, str_of(s3_action_table[i].method)))
            return err_set(ERR_NOT_IMPLEMENTED,
                           "A header or query you provided implies functionality that is not implemented");
    if (str_eq(r->method, STR("POST")) || str_eq(r->method, STR("OPTIONS")))
        return err_set(ERR_NOT_IMPLEMENTED, "%.*s without a known sub-resource is not implemented", STR_ARG(r->method));
    return err_set(ERR_METHOD, "The specified method is not allowed against this resource");
}

int s3_route(const struct s3_route_request *r, const struct s3_action **ret)
{
    for (size_t i = 0; i < S3_ACTION_COUNT; i++) {
        const struct s3_action *a = &s3_action_table[i];
        if (!selected(a, r))
            continue;
        TRY(refuse_unknown(a, r->query));
        TRY(check_version(r->query));
        *ret = a;
        return 0;
    }
    return no_row(r);
}
