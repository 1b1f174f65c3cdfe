/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/sign.h"

#define SIGNED "host;x-amz-content-sha256;x-amz-date"

static struct sigv4_scope scope_of(const struct signer *s)
{
    return (struct sigv4_scope){str_mk(s->day, 8), str_of(s->region), STR("s3")};
}

static void set_time(struct signer *s, uint64_t wall_ms)
{
    if (s->when[0] && s->second == wall_ms / 1000)
        return;
    s->second = wall_ms / 1000;
    sigv4_date(wall_ms, s->when);
    if (memcmp(s->day, s->when, 8) == 0)
        return;
    memcpy(s->day, s->when, 8);
    struct sigv4_scope scope = scope_of(s);
    sigv4_key(str_of(s->secret), &scope, s->key);
}

static void set_target(struct signer *s, const struct sign_request *r)
{
    buf_reset(&s->path);
    buf_reset(&s->query);
    buf_putz(&s->path, "/");
    sigv4_encode(&s->path, r->bucket, false);
    if (r->key.n) {
        buf_putz(&s->path, "/");
        sigv4_encode(&s->path, r->key, true);
    }
    sigv4_canonical_query(&s->query, r->query, r->query_n);
}

static void signature(struct signer *s, const struct sign_request *r, char ret[65])
{
    struct sigv4_scope scope = scope_of(s);
    struct buf *c = &s->canonical;
    buf_reset(c);
    buf_reset(&s->to_sign);
    buf_putz(c, r->method);
    buf_putz(c, "\n");
    buf_str_add(c, buf_str(&s->path));
    buf_putz(c, "\n");
    buf_str_add(c, buf_str(&s->query));
    buf_putz(c, "\nhost:");
    buf_putz(c, s->host);
    buf_putz(c, "\nx-amz-content-sha256:");
    buf_putz(c, r->payload);
    buf_putz(c, "\nx-amz-date:");
    buf_putz(c, s->when);
    buf_putz(c, "\n\n" SIGNED "\n");
    buf_putz(c, r->payload);
    sigv4_string_to_sign(&s->to_sign, str_of(s->when), &scope, buf_str(c));
    sigv4_signature(s->key, buf_str(&s->to_sign), ret);
}

/* All strings, ended by NULL; a request is made for every operation, and printf() is a good part of what that takes. */
static void add_all(struct buf *b, const char *const *text)
{
    for (; *text; text++)
        buf_putz(b, *text);
}

static void add_authorization(struct signer *s, const struct sign_request *r, uint64_t wall_ms, struct buf *head)
{
    char sig[65];
    set_time(s, wall_ms);
    signature(s, r, sig);
    add_all(head, (const char *const[]){"x-amz-content-sha256: ", r->payload, "\r\nx-amz-date: ", s->when,
                                        "\r\nAuthorization: AWS4-HMAC-SHA256 Credential=", s->access, "/", s->day, "/",
                                        s->region, "/s3/aws4_request,SignedHeaders=", SIGNED, ",Signature=", sig,
                                        "\r\n", NULL});
}

void sign_head(struct signer *s, const struct sign_request *r, uint64_t wall_ms, struct buf *head)
{
    set_target(s, r);
    buf_reset(head);
    add_all(head,
            (const char *const[]){r->method, " ", buf_str(&s->path).p, r->query_n ? "?" : "", buf_str(&s->query).p,
                                  " HTTP/1.1\r\nHost: ", s->host, "\r\nUser-Agent: forebay-bench\r\n", NULL});
    if (s->access)
        add_authorization(s, r, wall_ms, head);
    buf_putz(head, r->extra ? r->extra : "");
    buf_printf(head, "Content-Length: %llu\r\n\r\n", (unsigned long long)r->length);
}

void sign_done(struct signer *s)
{
    buf_done(&s->path);
    buf_done(&s->query);
    buf_done(&s->canonical);
    buf_done(&s->to_sign);
}
