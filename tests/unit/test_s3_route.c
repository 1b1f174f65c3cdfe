/* SPDX-License-Identifier: Apache-2.0
 *
 * The routing table: every action is reached by the request AWS documents for it, and whatever asks for something that
 * is not built is refused, never answered by a neighbour.
 */
#include "base/err.h"
#include "s3/route.h"
#include "cm.h"

static bool has_header(void *arg, const char *name)
{
    return arg && !strcmp(arg, name);
}

static int route(const char *method, enum s3_level level, const char *query, const char *header,
                 const struct s3_action **ret)
{
    static char room[512];
    struct s3_uri_query q;
    assert_int_equal(s3_uri_query_parse(str_of(query), room, &q), 0);
    struct s3_route_request r = {str_of(method), level, &q, has_header, (void *)header};
    return s3_route(&r, ret);
}

static void goes(const char *method, enum s3_level level, const char *query, const char *header, const char *action)
{
    const struct s3_action *a = NULL;
    int r = route(method, level, query, header, &a);
    if (r || strcmp(a->name, action) != 0)
        fail_msg("%s ?%s: %s instead of %s", method, query, r ? err_detail(r) : a->name, action);
}

static void refused(const char *method, enum s3_level level, const char *query, int code)
{
    const struct s3_action *a = NULL;
    int r = route(method, level, query, NULL, &a);
    if (r != code)
        fail_msg("%s ?%s: %s", method, query, r ? err_info(r)->name : a->name);
    assert_null(a);
}

static void buckets(void **state)
{
    (void)state;
    goes("GET", S3_SERVICE, "", NULL, "ListBuckets");
    goes("GET", S3_SERVICE, "x-id=ListBuckets", NULL, "ListBuckets");
    goes("GET", S3_BUCKET, "", NULL, "ListObjects");
    goes("GET", S3_BUCKET, "prefix=&delimiter=%2F&marker=&max-keys=1000", NULL, "ListObjects");
    goes("GET", S3_BUCKET, "list-type=2&prefix=a", NULL, "ListObjectsV2");
    goes("GET", S3_BUCKET, "encoding-type=url&list-type=2&prefix=a%2F", NULL, "ListObjectsV2");
    goes("GET", S3_BUCKET, "location", NULL, "GetBucketLocation");
    goes("GET", S3_BUCKET, "location=", NULL, "GetBucketLocation");
    goes("GET", S3_BUCKET, "versioning", NULL, "GetBucketVersioning");
    goes("GET", S3_BUCKET, "versions&prefix=x", NULL, "ListObjectVersions");
    goes("GET", S3_BUCKET, "uploads", NULL, "ListMultipartUploads");
    goes("GET", S3_BUCKET, "tagging", NULL, "GetBucketTagging");
    goes("PUT", S3_BUCKET, "tagging", NULL, "PutBucketTagging");
    goes("DELETE", S3_BUCKET, "tagging", NULL, "DeleteBucketTagging");
    goes("HEAD", S3_BUCKET, "", NULL, "HeadBucket");
    goes("PUT", S3_BUCKET, "", NULL, "CreateBucket");
    goes("DELETE", S3_BUCKET, "", NULL, "DeleteBucket");
    goes("POST", S3_BUCKET, "delete", NULL, "DeleteObjects");
}

static void objects(void **state)
{
    (void)state;
    goes("GET", S3_OBJECT, "", NULL, "GetObject");
    goes("GET", S3_OBJECT, "partNumber=1&response-content-type=a", NULL, "GetObject");
    goes("GET", S3_OBJECT, "versionId=null", NULL, "GetObject");
    goes("GET", S3_OBJECT, "foo=bar", NULL, "GetObject"); /* S3 ignores what it does not know */
    goes("HEAD", S3_OBJECT, "partNumber=3", NULL, "HeadObject");
    goes("PUT", S3_OBJECT, "", NULL, "PutObject");
    goes("PUT", S3_OBJECT, "", "x-amz-copy-source", "CopyObject");
    goes("PUT", S3_OBJECT, "partNumber=1&uploadId=x", NULL, "UploadPart");
    goes("PUT", S3_OBJECT, "uploadId=x&partNumber=1", "x-amz-copy-source", "UploadPartCopy");
    goes("GET", S3_OBJECT, "uploadId=x&part-number-marker=1", NULL, "ListParts");
    goes("POST", S3_OBJECT, "uploads", NULL, "CreateMultipartUpload");
    goes("POST", S3_OBJECT, "uploads=", NULL, "CreateMultipartUpload");
    goes("POST", S3_OBJECT, "uploadId=x", NULL, "CompleteMultipartUpload");
    goes("DELETE", S3_OBJECT, "uploadId=x", NULL, "AbortMultipartUpload");
    goes("DELETE", S3_OBJECT, "", NULL, "DeleteObject");
    goes("GET", S3_OBJECT, "tagging", NULL, "GetObjectTagging");
    goes("PUT", S3_OBJECT, "tagging", NULL, "PutObjectTagging");
    goes("DELETE", S3_OBJECT, "tagging&versionId=null", NULL, "DeleteObjectTagging");
    goes("GET", S3_OBJECT, "attributes", NULL, "GetObjectAttributes");
}

static void presigned(void **state)
{
    (void)state;
    goes("GET", S3_OBJECT, "X-Amz-Algorithm=a&X-Amz-Signature=b&X-Amz-Security-Token=", NULL, "GetObject");
    goes("PUT", S3_OBJECT, "AWSAccessKeyId=a&Signature=b&Expires=1", NULL, "PutObject");
}

/* Every sub-resource that S3 has and this table has not, with every method. */
static void not_built(void **state)
{
    (void)state;
    static const char *const bucket[] = {
        "acl",
        "policy",
        "policyStatus",
        "cors",
        "lifecycle",
        "website",
        "logging",
        "notification",
        "replication",
        "encryption",
        "object-lock",
        "requestPayment",
        "accelerate",
        "analytics&id=1",
        "inventory",
        "metrics",
        "intelligent-tiering",
        "ownershipControls",
        "publicAccessBlock",
        "metadataTable",
        "session",
        "a-new-one",
        "new=",
    };
    static const char *const object[] = {"acl",          "torrent",           "retention",
                                         "legal-hold",   "restore",           "select&select-type=2",
                                         "renameObject", "append&position=0", "a-new-one"};
    static const char *const methods[] = {"GET", "PUT", "DELETE", "HEAD", "POST"};
    for (size_t m = 0; m < 5; m++) {
        for (size_t i = 0; i < sizeof bucket / sizeof *bucket; i++)
            refused(methods[m], S3_BUCKET, bucket[i], ERR_NOT_IMPLEMENTED);
        for (size_t i = 0; i < sizeof object / sizeof *object; i++)
            refused(methods[m], S3_OBJECT, object[i], ERR_NOT_IMPLEMENTED);
    }
    refused("PUT", S3_BUCKET, "versioning", ERR_NOT_IMPLEMENTED);
    refused("PUT", S3_OBJECT, "partNumber=1", ERR_NOT_IMPLEMENTED);
    refused("PUT", S3_OBJECT, "uploadId=1", ERR_NOT_IMPLEMENTED);
    goes("POST", S3_BUCKET, "", NULL, "PostObject"); /* what is no form is refused there */
    refused("GET", S3_OBJECT, "tagging&acl", ERR_NOT_IMPLEMENTED);
}

static void other_refusals(void **state)
{
    (void)state;
    refused("GET", S3_OBJECT, "versionId=3sL4kqtJlcpXroDTDmJ", ERR_INVALID);
    refused("PATCH", S3_OBJECT, "", ERR_METHOD);
    refused("HEAD", S3_SERVICE, "", ERR_METHOD);
    refused("DELETE", S3_SERVICE, "", ERR_METHOD);
    refused("OPTIONS", S3_OBJECT, "", ERR_NOT_IMPLEMENTED);
    refused("get", S3_OBJECT, "", ERR_METHOD);
}

/* Each row is reached by its own selectors: none is hidden by one above it. */
static void no_row_is_hidden(void **state)
{
    (void)state;
    for (size_t i = 0; i < S3_ACTION_COUNT; i++) {
        const struct s3_action *a = &s3_action_table[i];
        char query[128];
        snprintf(query, sizeof query, "%s%s%s%s", a->needs, *a->needs ? "=2&" : "", a->also, *a->also ? "=2" : "");
        goes(a->method, a->level, query, *a->header ? a->header : NULL, a->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets),   cmocka_unit_test(objects),        cmocka_unit_test(presigned),
        cmocka_unit_test(not_built), cmocka_unit_test(other_refusals), cmocka_unit_test(no_row_is_hidden),
    };
    return cmocka_run_group_tests_name("s3 route", tests, NULL, NULL);
}
