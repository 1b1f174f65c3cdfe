/* SPDX-License-Identifier: Apache-2.0
 *
 * SIMPLE authentication (contract in auth.h).
 */
#include "s3/auth.h"
#include "base/mem.h"
#include "net/sigv4.h"
#include <pwd.h>
#include <unistd.h>

struct s3_auth {
    char self[129];
    bool everybody_self;
};

static const struct str v4_name = {"AWS4-HMAC-SHA256", 16};

int s3_auth_new(bool everybody_self, struct s3_auth **ret)
{
    struct s3_auth *a = MEM_NEW(struct s3_auth);
    a->everybody_self = everybody_self;
    struct passwd pw, *found = NULL;
    char room[1024];
    if (getpwuid_r(geteuid(), &pw, room, sizeof room, &found) == 0 && found)
        snprintf(a->self, sizeof a->self, "%s", found->pw_name);
    else
        snprintf(a->self, sizeof a->self, "%u", (unsigned)geteuid());
    *ret = a;
    return 0;
}

struct s3_auth *s3_auth_free(struct s3_auth *a)
{
    free(a);
    return NULL;
}

const char *s3_auth_self(const struct s3_auth *a)
{
    return a->self;
}

/* --- pieces */

static struct str trim(struct str s)
{
    while (s.n && s.p[0] == ' ')
        s = str_from(s, 1);
    while (s.n && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* Takes the text behind the last '/' off *s; p NULL when there is no slash. */
static struct str cut_last(struct str *s)
{
    const char *at = s->n ? memrchr(s->p, '/', s->n) : NULL;
    if (!at)
        return (struct str){NULL, 0};
    struct str last = str_from(*s, (size_t)(at - s->p) + 1);
    s->n = (size_t)(at - s->p);
    return last;
}

/* "KEY/20261120/us-east-1/s3/aws4_request"; the access key itself may hold slashes. */
static bool parse_credential(struct str s, struct s3_auth_v4 *ret)
{
    struct str end = cut_last(&s);
    ret->service = cut_last(&s);
    ret->region = cut_last(&s);
    ret->date = cut_last(&s);
    ret->access_key = s;
    return end.p && str_eq(end, STR("aws4_request")) && ret->service.p && ret->region.p && ret->date.p &&
           ret->date.n == 8 && s.n > 0;
}

static int take_piece(struct str piece, struct s3_auth_v4 *ret, struct str *credential)
{
    if (str_starts(piece, STR("Credential=")))
        *credential = str_from(piece, 11);
    else if (str_starts(piece, STR("SignedHeaders=")))
        ret->signed_headers = str_from(piece, 14);
    else if (str_starts(piece, STR("Signature=")))
        ret->signature = str_from(piece, 10);
    else
        return err_set(ERR_AUTH_HEADER, "The authorization header is malformed; unexpected \"%.*s\"",
                       (int)(piece.n < 40 ? piece.n : 40), piece.p);
    return 0;
}

int s3_auth_parse_v4(struct str value, struct s3_auth_v4 *ret)
{
    struct str s = trim(str_from(value, v4_name.n)), credential = {NULL, 0};
    *ret = (struct s3_auth_v4){0};
    while (s.n) {
        const char *comma = memchr(s.p, ',', s.n);
        size_t at = comma ? (size_t)(comma - s.p) : s.n;
        struct str piece = trim(str_mk(s.p, at));
        if (piece.n)
            TRY(take_piece(piece, ret, &credential));
        s = str_from(s, at + 1);
    }
    if (!credential.p || !ret->signed_headers.n || !ret->signature.n)
        return err_set(ERR_AUTH_HEADER,
                       "The authorization header is malformed; it needs Credential, SignedHeaders, Signature");
    if (!parse_credential(credential, ret))
        return err_set(ERR_AUTH_HEADER,
                       "The authorization header is malformed; the Credential is mal-formed; expecting "
                       "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"");
    return 0;
}

static int name_user(struct str key, enum s3_auth_form form, int code, struct s3_auth_user *ret)
{
    if (key.n == 0 || key.n >= sizeof ret->name || !str_utf8(key))
        return err_set(code, "the access key is empty, longer than 128 bytes, or not text");
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] < ' ' || key.p[i] == 0x7f)
            return err_set(code, "the access key holds a control character");
    memcpy(ret->name, key.p, key.n);
    ret->name[key.n] = 0;
    ret->form = form;
    return 0;
}

/* --- forms */

static int from_header_v2(struct str value, struct s3_auth_user *ret)
{
    struct str s = trim(str_from(value, 4));
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    if (!colon || (size_t)(colon - s.p) + 1 == s.n)
        return err_set(ERR_AUTH_HEADER, "The authorization header is malformed; expecting \"AWS key:signature\"");
    return name_user(str_mk(s.p, (size_t)(colon - s.p)), AUTH_HEADER_V2, ERR_AUTH_HEADER, ret);
}

static int from_header(struct str value, struct s3_auth_user *ret)
{
    struct s3_auth_v4 v4;
    value = trim(value);
    if (str_starts(value, STR("AWS4-ECDSA-P256-SHA256")))
        return err_set(ERR_NOT_IMPLEMENTED, "SigV4A (AWS4-ECDSA-P256-SHA256) is not implemented; sign with SigV4");
    if (str_starts(value, STR("AWS ")))
        return from_header_v2(value, ret);
    if (!str_starts(value, v4_name))
        return err_set(ERR_INVALID, "Unsupported Authorization Type");
    TRY(s3_auth_parse_v4(value, &v4));
    return name_user(v4.access_key, AUTH_HEADER_V4, ERR_AUTH_HEADER, ret);
}

static int from_query_v4(const struct s3_uri_query *q, struct str algorithm, struct s3_auth_user *ret)
{
    struct s3_auth_v4 v4 = {0};
    struct str credential = s3_uri_query_value(q, "X-Amz-Credential");
    if (str_eq(algorithm, STR("AWS4-ECDSA-P256-SHA256")))
        return err_set(ERR_NOT_IMPLEMENTED, "SigV4A (AWS4-ECDSA-P256-SHA256) is not implemented; sign with SigV4");
    if (!str_eq(algorithm, v4_name))
        return err_set(ERR_AUTH_QUERY, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    if (!s3_uri_query_value(q, "X-Amz-Signature").n || !s3_uri_query_value(q, "X-Amz-Date").n ||
        !s3_uri_query_value(q, "X-Amz-SignedHeaders").n || !s3_uri_query_value(q, "X-Amz-Expires").n)
        return err_set(ERR_AUTH_QUERY,
                       "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
                       "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.");
    if (!credential.p || !parse_credential(credential, &v4))
        return err_set(ERR_AUTH_QUERY, "the X-Amz-Credential parameter is malformed; expecting "
                                       "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"");
    return name_user(v4.access_key, AUTH_QUERY_V4, ERR_AUTH_QUERY, ret);
}

int s3_auth_identify(const struct s3_auth *a, const struct s3_auth_request *r, struct s3_auth_user *ret)
{
    struct s3_auth_user user = {.form = AUTH_ANONYMOUS};
    struct str algorithm = s3_uri_query_value(r->query, "X-Amz-Algorithm");
    struct str key_v2 = s3_uri_query_value(r->query, "AWSAccessKeyId");
    if (a->everybody_self)
        memcpy(user.name, a->self, sizeof user.name);
    else if (r->authorization.p)
        TRY(from_header(r->authorization, &user));
    else if (algorithm.p)
        TRY(from_query_v4(r->query, algorithm, &user));
    else if (key_v2.p && s3_uri_query_value(r->query, "Signature").p)
        TRY(name_user(key_v2, AUTH_QUERY_V2, ERR_AUTH_QUERY, &user));
    else
        memcpy(user.name, a->self, sizeof user.name);
    *ret = user;
    return 0;
}

/* --- upload forms */

static int from_form_v4(struct str (*field)(void *arg, const char *name), void *arg, struct s3_auth_user *ret)
{
    static const char *const names[] = {"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature",
                                        "policy"};
    struct s3_auth_v4 v4 = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!field(arg, names[i]).n)
            return err_set(
                ERR_INVALID,
                "Bucket POST must contain a field named '%s'.  If it is specified, please check the order of "
                "the fields.",
                names[i]);
    if (!str_eq(field(arg, names[0]), v4_name))
        return err_set(ERR_INVALID, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    if (!parse_credential(field(arg, names[1]), &v4))
        return err_set(ERR_INVALID,
                       "the X-Amz-Credential field is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/"
                       "aws4_request\"");
    return name_user(v4.access_key, AUTH_FORM_V4, ERR_INVALID, ret);
}

static int from_form(const struct s3_auth *a, struct str (*field)(void *arg, const char *name), void *arg,
                     struct s3_auth_user *ret)
{
    struct str key_v2 = field(arg, "awsaccesskeyid");
    if (key_v2.p && !field(arg, "signature").n)
        return err_set(ERR_INVALID, "Bucket POST must contain a field named 'signature'.");
    if (key_v2.p)
        return name_user(key_v2, AUTH_FORM_V2, ERR_INVALID, ret);
    if (field(arg, "policy").p || field(arg, "x-amz-signature").p || field(arg, "x-amz-credential").p)
        return from_form_v4(field, arg, ret);
    memcpy(ret->name, a->self, sizeof ret->name);
    return 0;
}

int s3_auth_identify_form(const struct s3_auth *a, struct str (*field)(void *arg, const char *name), void *arg,
                          struct s3_auth_user *ret)
{
    struct s3_auth_user user = {.form = AUTH_ANONYMOUS};
    if (a->everybody_self)
        memcpy(user.name, a->self, sizeof user.name);
    else
        TRY(from_form(a, field, arg, &user));
    *ret = user;
    return 0;
}
