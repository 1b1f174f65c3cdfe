/* SPDX-License-Identifier: Apache-2.0
 *
 * S3 driver: what an answer, or the lack of one, means.
 *
 * Codes of the XML error body count first, then the HTTP status. Three rules matter more than the table: a missing
 * bucket is a fault of the mount (ERR_UNREACHABLE), never a missing object; a failed change whose request may have been
 * executed is ERR_UNKNOWN_OUTCOME, one that cannot have been is ERR_UNREACHABLE; an <Error> inside a 200 is an error.
 */
#include "base/clock.h"
#include "base/err.h"
#include "net/xml.h"
#include "ufs/s3.h"

#define MAYBE 1 /* ERR_UNKNOWN_OUTCOME for a change, ERR_UNREACHABLE for a read */

static const struct row {
    const char *code;
    int err;
} rows[] = {
    {"NoSuchKey", ERR_NOT_FOUND},
    {"NoSuchVersion", ERR_NOT_FOUND},
    {"NoSuchBucket", ERR_UNREACHABLE},
    {"NoSuchUpload", ERR_NO_UPLOAD},
    {"SlowDown", ERR_THROTTLED},
    {"ServiceUnavailable", ERR_THROTTLED},
    {"Throttling", ERR_THROTTLED},
    {"ThrottlingException", ERR_THROTTLED},
    {"TooManyRequests", ERR_THROTTLED},
    {"RequestLimitExceeded", ERR_THROTTLED},
    {"BandwidthLimitExceeded", ERR_THROTTLED},
    {"ServerBusy", ERR_THROTTLED},
    {"OperationAborted", ERR_THROTTLED},
    {"ConditionalRequestConflict", ERR_THROTTLED}, /* nothing was written: the next try finds the winner */
    {"PreconditionFailed", ERR_PRECONDITION},
    {"BadDigest", ERR_CORRUPT},
    {"InvalidDigest", ERR_CORRUPT},
    {"XAmzContentSHA256Mismatch", ERR_CORRUPT},
    {"XAmzContentChecksumMismatch", ERR_CORRUPT},
    {"InternalError", MAYBE},
    {"InternalServerError", MAYBE},
    {"RequestTimeout", ERR_UNREACHABLE}, /* the body did not arrive in time: nothing happened */
    {"IncompleteBody", ERR_UNREACHABLE},
    {"PermanentRedirect", ERR_UNREACHABLE},
    {"TemporaryRedirect", ERR_UNREACHABLE},
    {"AccessDenied", ERR_DENIED},
    {"AccountProblem", ERR_DENIED},
    {"AllAccessDisabled", ERR_DENIED},
    {"InvalidAccessKeyId", ERR_DENIED},
    {"SignatureDoesNotMatch", ERR_DENIED},
    {"RequestTimeTooSkewed", ERR_DENIED},
    {"ExpiredToken", ERR_DENIED},
    {"InvalidToken", ERR_DENIED},
    {"AuthorizationHeaderMalformed", ERR_DENIED},
    {"InvalidObjectState", ERR_DENIED},
    {"EntityTooLarge", ERR_TOO_LARGE},
    {"EntityTooSmall", ERR_PART_SMALL},
    {"InvalidPart", ERR_INVALID_PART},
    {"InvalidPartOrder", ERR_PART_ORDER},
    {"MetadataTooLarge", ERR_METADATA_LARGE},
    {"NotImplemented", ERR_NOT_IMPLEMENTED},
    {"MethodNotAllowed", ERR_NOT_IMPLEMENTED},
    {"KeyTooLongError", ERR_NAME_TOO_LONG},
    {"QuotaExceeded", ERR_NO_SPACE},
    {"InsufficientCapacity", ERR_NO_SPACE},
    {"InsufficientStorage", ERR_NO_SPACE},
    {"XMinioStorageFull", ERR_NO_SPACE},
    {"XMinioAdminBucketQuotaExceeded", ERR_NO_SPACE},
    {"XMinioInvalidObjectName", ERR_KEY_UNSUPPORTED},
    {"XMinioParentIsObject", ERR_KEY_UNSUPPORTED},
    {"XMinioObjectExistsAsDirectory", ERR_KEY_UNSUPPORTED},
    {"ObjectParentIsFile", ERR_KEY_UNSUPPORTED},
    {"ExistingObjectIsDirectory", ERR_KEY_UNSUPPORTED},
    {"DirectoryObjectContainsData", ERR_KEY_UNSUPPORTED},
    {"DirectoryNotEmpty", ERR_NOT_EMPTY},
    {"ErrDirectoryNotEmpty", ERR_NOT_EMPTY},
};

static int of_status(long status)
{
    switch (status) {
    case 400:
        return ERR_INVALID;
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 405:
    case 501:
        return ERR_NOT_IMPLEMENTED;
    case 408:
        return ERR_UNREACHABLE;
    case 412:
        return ERR_PRECONDITION;
    case 416:
        return ERR_RANGE;
    case 429:
    case 503:
        return ERR_THROTTLED;
    case 500:
    case 502:
    case 504:
        return MAYBE;
    case 507:
        return ERR_NO_SPACE;
    default:
        return status / 100 == 3 ? ERR_UNREACHABLE : status / 100 == 5 ? MAYBE : ERR_IO;
    }
}

static const char *hint(const struct ufs_s3_call *c, struct str code)
{
    if (str_eq(code, STR("NoSuchBucket")))
        return "; check the mount's bucket and alluxio.underfs.s3.endpoint";
    if (str_eq(code, STR("RequestTimeTooSkewed")))
        return "; this host's clock is wrong";
    if (str_eq(code, STR("InvalidAccessKeyId")) || str_eq(code, STR("SignatureDoesNotMatch")))
        return "; check s3a.accessKeyId and s3a.secretKey";
    if (str_eq(code, STR("PermanentRedirect")) || c->status / 100 == 3)
        return "; check alluxio.underfs.s3.region and alluxio.underfs.s3.endpoint";
    return "";
}

int ufs_s3_error_code(const struct ufs_s3_call *c, struct str code, long status, const char *message)
{
    int err = of_status(status);
    for (size_t i = 0; code.n && i < sizeof rows / sizeof *rows; i++)
        if (str_eq(code, str_of(rows[i].code)))
            err = rows[i].err;
    if (err == MAYBE)
        err = c->mutates ? ERR_UNKNOWN_OUTCOME : ERR_UNREACHABLE;
    return err_set(err, "%s %s/%s%.*s: %ld %.*s%s%s%s%s%s", c->method, c->s->bucket, c->s->prefix, STR_ARG(c->key),
                   status, STR_ARG(code), *message ? ": " : "", message, hint(c, code),
                   *c->region_header ? "; bucket region " : "", c->status / 100 == 3 ? c->region_header : "");
}

/* A 404 without a body does not say what is missing: ask for the bucket, unless it was seen a moment ago. */
static int absent(const struct ufs_s3_call *c)
{
    struct s3 *s = c->s;
    if (clock_mono_ns() < atomic_load_explicit(&s->alive_ns, memory_order_relaxed))
        return err_set(ERR_NOT_FOUND, "%s/%s%.*s does not exist", s->bucket, s->prefix, STR_ARG(c->key));
    struct ufs_s3_call b;
    ufs_s3_call_init(&b, s, c->until, "HEAD", (struct str){NULL, 0});
    int r = ufs_s3_send(&b);
    bool gone = r == ERR_UNREACHABLE || b.status == 404;
    ufs_s3_call_done(&b);
    if (gone)
        return err_set(ERR_UNREACHABLE,
                       "bucket %s at %s cannot be reached or does not exist; check the mount's bucket and "
                       "alluxio.underfs.s3.endpoint",
                       s->bucket, s->host);
    return err_set(ERR_NOT_FOUND, "%s/%s%.*s does not exist", s->bucket, s->prefix, STR_ARG(c->key));
}

int ufs_s3_error(const struct ufs_s3_call *c)
{
    char code[64] = "", message[256] = "";
    if (!xml_find(buf_str(&c->answer), "Error/Code", code, sizeof code))
        UFS_SET(code, str_of(c->error_header));
    xml_find(buf_str(&c->answer), "Error/Message", message, sizeof message);
    if (c->status == 404 && !*code && c->key.p)
        return absent(c);
    if (c->status == 404 && !*code)
        return err_set(ERR_UNREACHABLE, "bucket %s does not exist at %s", c->s->bucket, c->s->host);
    return ufs_s3_error_code(c, str_of(code), c->status, message);
}

struct root {
    char name[64];
};

static int on_root(void *arg, const char *path)
{
    struct root *r = arg;
    if (!*r->name)
        UFS_SET(r->name, str_of(path));
    return 0;
}

static int on_root_leaf(void *arg, const char *path, struct str text)
{
    (void)text;
    return on_root(arg, path);
}

/* Stores answer 200 early for slow work and put the outcome into the body, white space first. */
int ufs_s3_error_body(const struct ufs_s3_call *c, const char *name)
{
    struct root root = {""};
    struct xml_calls calls = {.open = on_root, .leaf = on_root_leaf};
    int r = xml_parse(buf_str(&c->answer), &calls, &root, NULL);
    if (r == 0 && !strcmp(root.name, name))
        return 0;
    char code[64] = "", message[256] = "";
    if (r == 0 && !strcmp(root.name, "Error") && xml_find(buf_str(&c->answer), "Error/Code", code, sizeof code)) {
        xml_find(buf_str(&c->answer), "Error/Message", message, sizeof message);
        return ufs_s3_error_code(c, str_of(code), 500, message);
    }
    return err_set(c->mutates ? ERR_UNKNOWN_OUTCOME : ERR_UNREACHABLE, "%s %.*s: the answer is no whole %s", c->method,
                   STR_ARG(c->key), name);
}

/* Can the store have executed a change that got no whole answer? Not while a byte of its body is missing. (libcurl
 * forgets what it sent when it wants to send again and cannot rewind.) */
static bool may_have_happened(const struct ufs_s3_call *c, CURLcode rc)
{
    curl_off_t sent = 0;
    long request = 0;
    if (!c->mutates || !c->issued)
        return false;
    if (c->body && c->body->pulled < c->body->size)
        return false;
    if (rc == CURLE_SEND_FAIL_REWIND || c->issued > 1)
        return true;
    curl_easy_getinfo(c->curl, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl_easy_getinfo(c->curl, CURLINFO_REQUEST_SIZE, &request);
    return c->body && c->body->size ? (uint64_t)sent >= c->body->size : request > 0;
}

int ufs_s3_transport(struct ufs_s3_call *c, CURLcode rc)
{
    const char *why = c->too_long ? "the answer is too long" : curl_easy_strerror(rc);
    if (c->body && c->body->failed)
        return c->body->failed;
    if (c->ignored_range || (c->sink && c->status / 100 == 2))
        return err_set(ERR_IO, "%s %.*s from %s: %s", c->method, STR_ARG(c->key), c->s->host,
                       c->ignored_range ? "the store gave another range" : why);
    return err_set(may_have_happened(c, rc) ? ERR_UNKNOWN_OUTCOME : ERR_UNREACHABLE, "%s %.*s to %s: %s", c->method,
                   STR_ARG(c->key), c->s->host, why);
}
