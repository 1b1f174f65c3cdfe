/* SPDX-License-Identifier: Apache-2.0
 *
 * The endpoint's life, and the way of a request from its head to its line in the log (contract in s3.h).
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/trace.h"
#include "s3/call.h"

/* --- a request */

static int (*const handlers[S3_ACTION_COUNT])(struct s3_call *c) = {
#define A(name, method, level, needs, also, allows, header, run) [S3_ACTION_##name] = run,
#include "s3/actions.tbl"
#undef A
};

/* The path, with the bucket in front when the host name holds it. */
static struct str whole_path(struct s3_call *c)
{
    struct buf b AUTO_BUF = {0};
    struct str path = http_path_raw(c->rq), bucket = {NULL, 0};
    if (c->s3->set.domains[0])
        bucket = s3_uri_host_bucket(http_host(c->rq), str_of(c->s3->set.domains));
    if (!bucket.p)
        return path;
    buf_putz(&b, "/");
    buf_str_add(&b, s3_call_lower(c, bucket));
    buf_str_add(&b, path);
    return s3_call_dup(c, buf_str(&b));
}

static int take_names(struct s3_call *c)
{
    struct str path = whole_path(c);
    char *room = s3_call_mem(c, path.n + 2);
    TRY(s3_uri_split(path, room, &c->bucket, &c->key));
    if (!c->bucket.n)
        return 0;
    room[c->bucket.n] = '/'; /* "/bucket" has none behind it */
    c->at = (struct fs_at){FS_ROOT, str_mk(room, c->bucket.n + 1 + c->key.n)};
    return 0;
}

static int take_query(struct s3_call *c)
{
    struct str q = http_query_raw(c->rq);
    c->query.n = 0;
    return q.n ? s3_uri_query_parse(q, s3_call_mem(c, q.n), &c->query) : 0;
}

static struct str header_of(void *arg, const char *name)
{
    return http_header(arg, name);
}

static bool has_header(void *arg, const char *name)
{
    return http_header(arg, name).p;
}

static int take_user(struct s3_call *c)
{
    struct s3_auth_request r = {.method = http_method(c->rq),
                                .path = http_path_raw(c->rq),
                                .query = &c->query,
                                .authorization = http_header(c->rq, "Authorization"),
                                .header = header_of,
                                .arg = c->rq};
    return s3_auth_identify(c->s3->auth, &r, &c->user);
}

static int take_action(struct s3_call *c)
{
    struct s3_route_request r = {.method = http_method(c->rq),
                                 .level = c->key.n      ? S3_OBJECT
                                          : c->bucket.n ? S3_BUCKET
                                                        : S3_SERVICE,
                                 .query = &c->query,
                                 .has_header = has_header,
                                 .arg = c->rq};
    return s3_route(&r, &c->action);
}

static int check_transport(const struct s3_call *c)
{
    if (c->s3->set.only_https && !http_is_tls(c->rq))
        return err_set(ERR_DENIED, "only HTTPS is served (alluxio.worker.s3.only.https.access)");
    return 0;
}

static int run(struct s3_call *c)
{
    TRY(check_transport(c));
    TRY(take_names(c));
    TRY(take_query(c));
    TRY(take_user(c));
    TRY(take_action(c));
    TRACE(c->action->trace, c->bucket.n, c->key.n);
    return handlers[c->action - s3_action_table](c);
}

/* --- afterwards */

/* Text that may hold what a client sent, inside the quotes of a log line. */
static void add_quoted(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, " %s=\"", name);
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_putz(b, "\\");
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            buf_printf(b, "\\x%02x", (unsigned char)*p);
        else
            buf_add(b, p, 1);
    }
    buf_putz(b, "\"");
}

static void add_object(const struct s3_call *c, struct buf *b)
{
    buf_putz(b, " object=");
    if (!c->bucket.n) { /* none, or a name that was refused: as it was sent */
        buf_str_add(b, http_path_raw(c->rq));
        return;
    }
    s3_uri_encode(b, c->bucket, false);
    buf_putz(b, "/");
    s3_uri_encode(b, c->key, true);
}

static void log_line(const struct s3_call *c, const struct s3_sample *x, int code)
{
    struct buf b AUTO_BUF = {0};
    bool ours = (x->status >= 500 && x->status != 501) || (x->status < 300 && code < 0 && code != ERR_INCOMPLETE_BODY);
    add_quoted(&b, "user", c->user.name);
    add_object(c, &b);
    buf_printf(&b, " status=%d in=%llu out=%llu ms=%.3f", x->status, (unsigned long long)x->bytes_in,
               (unsigned long long)x->bytes_out, (double)x->us / 1000);
    if (code < 0) {
        buf_printf(&b, " code=%s", err_info(code)->s3_code);
        add_quoted(&b, "error", err_detail(code));
    }
    log_event(ours ? LOG_WARN : LOG_INFO, "s3.access", "id=%s action=%s peer=%s%s", http_request_id(c->rq),
              c->action ? c->action->name : "none", http_peer(c->rq), b.p);
}

static bool is_action(const struct s3_call *c, const char *name)
{
    return c->action && strcmp(c->action->name, name) == 0;
}

/* Of data only: lists and the like have bodies too. */
static void note_size(struct s3_call *c, const struct s3_sample *x)
{
    if (x->status >= 300)
        return;
    if (x->bytes_out && is_action(c, "GetObject"))
        spread_add(&c->s3->read_sizes, spread_bytes, x->bytes_out);
    else if (x->bytes_in && (is_action(c, "PutObject") || is_action(c, "UploadPart")))
        spread_add(&c->s3->write_sizes, spread_bytes, x->bytes_in);
}

static void account(struct s3_call *c, int code)
{
    struct s3_sample x = {.status = http_reply_status(c->rq),
                          .bytes_in = http_body_bytes(c->rq),
                          .bytes_out = http_reply_bytes(c->rq),
                          .us = (clock_mono_ns() - http_start_ns(c->rq)) / 1000};
    size_t i = c->action ? (size_t)(c->action - s3_action_table) : S3_ACTION_COUNT;
    s3_stats_add(&c->s3->stats[i], &x);
    note_size(c, &x);
    TRACE("s3.done", x.status, code);
    bool failed = x.status >= 400 || (code < 0 && code != ERR_NOT_MODIFIED);
    if (failed || c->s3->set.access_log)
        log_line(c, &x, code);
}

void s3_handle(void *arg, struct http_req *rq)
{
    struct s3_call c;
    c.s3 = arg;
    c.rq = rq;
    c.fs = c.s3->fs;
    c.action = NULL;
    c.user.name[0] = 0;
    c.bucket = c.key = c.at.path = STR("");
    c.query.n = 0; /* its pairs stay unset: 2.5 KiB that no request needs cleared */
    c.out_of = UINT64_MAX;
    c.chunks = NULL;
    err_clear();
    int code = run(&c);
    if (code < 0)
        s3_reply_error(&c, code);
    account(&c, code);
    s3_call_end(&c);
}

/* --- what the server does by itself */

static void on_event(void *arg, const struct http_event *ev)
{
    (void)arg;
    log_info("s3.connection", "peer=%s status=%d reason=\"%s\"", ev->peer, ev->status, ev->reason);
}

static int code_of(int status)
{
    static const struct {
        int status, code;
    } known[] = {{408, ERR_TIMEOUT}, {413, ERR_TOO_LARGE}, {501, ERR_NOT_IMPLEMENTED}, {503, ERR_SHUTDOWN}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].code;
    return status >= 500 ? ERR_BUG : ERR_REQUEST;
}

static const char *on_error_body(void *arg, int status, const char *reason, const char *request_id, struct buf *out)
{
    (void)arg;
    s3_error_xml(out, err_info(code_of(status))->s3_code, reason, STR(""), request_id, STR(""));
    return "application/xml";
}

/* --- life */

static int start(struct s3 *s, const char *const *listen, size_t n, const char *cert, const char *key,
                 struct http_server **ret)
{
    uint64_t idle = s->set.idle_timeout_ms, body = s->set.body_timeout_ms;
    struct http_options o = {.listen = listen,
                             .n_listen = n,
                             .handle = s3_handle,
                             .arg = s,
                             .threads = s->set.threads,
                             .connections_max = s->set.connections_max,
                             .idle_timeout_ms = idle && idle < UINT32_MAX ? (unsigned)idle : UINT32_MAX,
                             .body_timeout_ms = body < UINT32_MAX ? (unsigned)body : 0,
                             .no_keep_alive = !s->set.keep_alive,
                             .tls_cert = cert,
                             .tls_key = key,
                             .event = on_event,
                             .error_body = on_error_body};
    return n ? http_server_start(&o, ret) : 0;
}

int s3_new(const struct s3_options *o, struct s3 **ret)
{
    struct s3 *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
    CHECK(s);
    memset(s, 0, sizeof *s);
    s->fs = o->fs;
    int r = s3_settings_read(&s->set, o->conf);
    if (!r)
        r = s3_auth_new(s->set.everybody_self, &s->auth);
    if (!r)
        r = start(s, o->listen, o->n_listen, NULL, NULL, &s->http[0]);
    if (!r)
        r = start(s, o->listen_tls, o->n_listen_tls, o->tls_cert, o->tls_key, &s->http[1]);
    if (r < 0) {
        s3_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

size_t s3_stop(struct s3 *s, unsigned timeout_ms)
{
    size_t cut = 0;
    for (int i = 0; i < S3_SERVERS; i++)
        if (s->http[i])
            cut += http_server_stop(s->http[i], timeout_ms);
    return cut;
}

struct s3 *s3_free(struct s3 *s)
{
    if (!s)
        return NULL;
    for (int i = 0; i < S3_SERVERS; i++)
        http_server_free(s->http[i]);
    s3_auth_free(s->auth);
    free(s->set.domains);
    free(s);
    return NULL;
}

const char *s3_address(const struct s3 *s, size_t i)
{
    for (int k = 0; k < S3_SERVERS; k++)
        for (size_t j = 0; s->http[k] && http_server_address(s->http[k], j); j++)
            if (i-- == 0)
                return http_server_address(s->http[k], j);
    return NULL;
}

/* --- figures */

bool s3_figures(const struct s3 *s, size_t i, struct s3_action_figures *ret)
{
    if (i > S3_ACTION_COUNT)
        return false;
    ret->action = i < S3_ACTION_COUNT ? s3_action_table[i].name : "Other";
    s3_stats_read(&s->stats[i], ret);
    return true;
}

void s3_sizes(const struct s3 *s, struct spread_figures *ret_read, struct spread_figures *ret_written)
{
    spread_read(&s->read_sizes, ret_read);
    spread_read(&s->write_sizes, ret_written);
}

void s3_connections(const struct s3 *s, struct s3_connection_figures *ret)
{
    *ret = (struct s3_connection_figures){0};
    for (int i = 0; i < S3_SERVERS; i++) {
        struct http_figures f;
        if (!s->http[i])
            continue;
        http_server_figures(s->http[i], &f);
        ret->open += f.connections;
        ret->idle += f.idle;
        ret->accepted += f.accepted;
        ret->refused += f.refused;
        ret->requests += f.requests;
        ret->rejected += f.rejected;
        ret->timeouts += f.timeouts;
        ret->bytes_in += f.bytes_in;
        ret->bytes_out += f.bytes_out;
    }
}
