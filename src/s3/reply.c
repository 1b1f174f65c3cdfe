/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers (contract in call.h). An error answer forgets the headers that were prepared for the answer it replaces.
 */
#include "s3/call.h"

static int set_id(struct s3_call *c)
{
    return http_set(c->rq, "x-amz-request-id", str_of(http_request_id(c->rq)));
}

int s3_reply_empty(struct s3_call *c, int status)
{
    TRY(set_id(c));
    return http_reply(c->rq, status, NULL, 0);
}

int s3_reply_xml(struct s3_call *c, int status, const struct buf *body)
{
    TRY(set_id(c));
    TRY(http_set(c->rq, "Content-Type", STR("application/xml")));
    return http_reply(c->rq, status, body->p, body->n);
}

int s3_set_etag(struct s3_call *c, const char *name, const char *etag)
{
    return http_setf(c->rq, name, "\"%s\"", etag);
}

int s3_set_state(struct s3_call *c, const struct fs_attr *a)
{
    return http_set(c->rq, "x-forebay-state", a->persisted ? STR("PERSISTED") : STR("NOT_PERSISTED"));
}

/* --- errors */

/* A sentence may quote a name; what XML 1.0 cannot hold would make the whole document unreadable. */
static void add_message(struct buf *b, const char *message)
{
    struct buf clean AUTO_BUF = {0};
    for (const char *p = message; *p; p++)
        buf_add(&clean, (unsigned char)*p < ' ' ? "?" : p, 1);
    xml_text(b, "Message", buf_str(&clean));
}

void s3_error_xml(struct buf *b, const char *s3_code, const char *message, struct str resource, const char *request_id,
                  struct str more)
{
    xml_decl(b);
    xml_open(b, "Error");
    xml_textz(b, "Code", s3_code);
    add_message(b, message);
    buf_str_add(b, more);
    xml_text(b, "Resource", resource);
    xml_textz(b, "RequestId", request_id);
    xml_close(b, "Error");
}

static bool knows_size(const struct s3_call *c, int code)
{
    return code == ERR_RANGE && c->out_of != UINT64_MAX;
}

/* Of a request with several conditions the one that failed is not known: NULL. */
static const char *only_condition_of_write(const struct s3_call *c)
{
    static const char *const names[] = {"If-Match",
                                        "If-None-Match",
                                        "x-amz-copy-source-If-Match",
                                        "x-amz-copy-source-If-None-Match",
                                        "x-amz-copy-source-If-Modified-Since",
                                        "x-amz-copy-source-If-Unmodified-Since"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!s3_header_of(c, names[i]).p)
            continue;
        if (found)
            return NULL;
        found = names[i];
    }
    return found;
}

static const char *failed_condition(const struct s3_call *c)
{
    if (!str_eq(http_method(c->rq), STR("GET")))
        return only_condition_of_write(c);
    return s3_header_of(c, "If-Match").p ? "If-Match"
                                         : "If-Unmodified-Since"; /* which does not count beside the other */
}

/* What clients read beyond code and message. */
static void add_particulars(const struct s3_call *c, int code, struct buf *b)
{
    const char *condition = code == ERR_PRECONDITION ? failed_condition(c) : NULL;
    if (knows_size(c, code)) /* clients of the AWS CRT learn from this that an object is empty */
        xml_u64(b, "ActualObjectSize", c->out_of);
    if (condition) /* s3fs: "exists already" is a failed If-None-Match */
        xml_textz(b, "Condition", condition);
}

static int reply_error_body(struct s3_call *c, const struct err_info *e, int code)
{
    struct buf b AUTO_BUF = {0}, more AUTO_BUF = {0};
    add_particulars(c, code, &more);
    s3_error_xml(&b, e->s3_code, err_detail(code), http_path_raw(c->rq), http_request_id(c->rq), buf_str(&more));
    return s3_reply_xml(c, e->http, &b);
}

void s3_reply_error(struct s3_call *c, int code)
{
    const struct err_info *e = err_info(code);
    if (http_reply_started(c->rq)) {
        http_reply_abort(c->rq);
        return;
    }
    http_unset_all(c->rq);
    if (knows_size(c, code))
        http_setf(c->rq, "Content-Range", "bytes */%llu", (unsigned long long)c->out_of);
    if (e->http == 304 || str_eq(http_method(c->rq), STR("HEAD")))
        s3_reply_empty(c, e->http);
    else
        reply_error_body(c, e, code);
}

/* --- pieces of documents */

void s3_xml_etag(struct buf *b, const char *name, const char *etag)
{
    xml_open(b, name);
    buf_putz(b, "&quot;");
    buf_putz(b, etag);
    buf_putz(b, "&quot;");
    xml_close(b, name);
}

void s3_xml_name(struct buf *b, const char *name, struct str text, bool url)
{
    if (!url) {
        xml_text(b, name, text);
        return;
    }
    xml_open(b, name);
    s3_uri_encode(b, text, true);
    xml_close(b, name);
}

void s3_xml_owner(struct buf *b, const char *name, const struct s3_call *c)
{
    xml_open(b, name);
    xml_textz(b, "ID", s3_auth_self(c->s3->auth));
    xml_textz(b, "DisplayName", s3_auth_self(c->s3->auth));
    xml_close(b, name);
}
