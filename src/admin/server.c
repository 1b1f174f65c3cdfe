/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin endpoint's life, and the way of one request: guard, route, function, answer, log.
 */
#include "admin/rest.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "conf/conf.h"

static const struct route routes[] = {
#define ROUTE(method, path, fn, flags) {method, path, fn, flags},
#include "admin/routes.tbl"
#undef ROUTE
};

enum { BODY_MAX = 1 << 20 };

/* The route, or NULL; *ret_known when the path exists with another method. */
static const struct route *find_route(struct str method, struct str path, bool *ret_known)
{
    *ret_known = false;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!str_eq(path, str_of(routes[i].path)))
            continue;
        *ret_known = true;
        if (str_eq(method, str_of(routes[i].method)))
            return &routes[i];
    }
    return NULL;
}

static int check_guard(struct admin *a, struct http_req *rq, const struct route *route)
{
    struct guard_request g = {.peer = http_peer(rq),
                              .host = http_host(rq),
                              .origin = http_header(rq, "Origin"),
                              .fetch_site = http_header(rq, "Sec-Fetch-Site"),
                              .authorization = http_header(rq, "Authorization"),
                              .open = route && (route->flags & REST_OPEN)};
    return guard_check(&a->guard, &g);
}

static int read_body(struct rest *r)
{
    struct buf b AUTO_BUF = {0};
    json_error_t e;
    TRY(http_body_all(r->rq, BODY_MAX, &b));
    if (b.n == 0)
        return 0;
    json_t *j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(ERR_INVALID, "the body is not a JSON object: line %d: %s", e.line, e.text);
    }
    json_decref(r->in);
    r->in = j;
    return 0;
}

static int serve(struct rest *r, const struct route *route, bool known)
{
    if (!route)
        return known ? err_set(ERR_METHOD, "this path does not answer to %.*s", STR_ARG(http_method(r->rq)))
                     : err_set(ERR_NOT_FOUND, "there is no REST call %.*s", STR_ARG(http_path_raw(r->rq)));
    if (!(route->flags & REST_RAW))
        TRY(read_body(r));
    return route->fn(r);
}

/* Of bodies only paths are logged: options of mounts hold secrets. */
static void put_paths(struct buf *b, const json_t *in)
{
    static const char *const names[] = {"path", "from", "to"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *v = json_string_value(json_object_get(in, names[i]));
        if (v)
            buf_printf(b, " %s=\"%s\"", names[i], v);
    }
}

/* Changes, and who was turned away. */
static void log_request(const struct rest *r, const struct route *route, bool let_in, int code)
{
    struct buf more AUTO_BUF = {0};
    if (let_in && !(route && (route->flags & REST_CHANGES)))
        return;
    put_paths(&more, r->in);
    if (code < 0)
        buf_printf(&more, " error=\"%s\"", err_detail(code));
    log_event(let_in ? LOG_INFO : LOG_WARN, let_in ? "admin.change" : "admin.refused",
              "method=%.*s target=\"%.*s\"%s peer=%s status=%d id=%s", STR_ARG(http_method(r->rq)),
              STR_ARG(http_target(r->rq)), more.p ? more.p : "", http_peer(r->rq), http_reply_status(r->rq),
              http_request_id(r->rq));
}

static void handle(void *arg, struct http_req *rq)
{
    struct rest r = {.a = arg, .rq = rq, .in = json_object()};
    bool known;
    const struct route *route = find_route(http_method(rq), http_path(rq), &known);
    err_clear();
    int code = check_guard(r.a, rq, route);
    bool let_in = code == 0;
    if (let_in)
        code = serve(&r, route, known);
    TRACE("admin.request", code, http_path(rq).n);
    if (code < 0 && !http_reply_started(rq))
        rest_error(&r, code);
    else if (code < 0)
        http_reply_abort(rq);
    log_request(&r, route, let_in, code);
    json_decref(r.in);
}

static const char *error_body(void *arg, int status, const char *reason, const char *request_id, struct buf *out)
{
    (void)arg;
    (void)request_id;
    json_t *j = json_pack("{s:{s:s, s:s}}", "error", "code", http_reason(status), "message", reason);
    char *text AUTO_FREE = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    buf_putz(out, text ? text : "{}");
    return "application/json";
}

static void set_guard(struct admin *a)
{
    size_t n = 0;
    a->guard.token = conf_string(a->o.conf, PROP_ADMIN_TOKEN);
    if (gethostname(a->hostname, sizeof a->hostname - 1) == 0)
        a->guard.names[n++] = a->hostname;
    a->guard.names[n++] = conf_string(a->o.conf, PROP_COORDINATOR_HOST);
}

static int listen_on(struct admin *a)
{
    struct http_options h = {.listen = &a->o.listen,
                             .n_listen = 1,
                             .handle = handle,
                             .arg = a,
                             .threads = 8,
                             .threads_max = 128,
                             .connections_max = 1000,
                             .error_body = error_body};
    if (!guard_loopback(a->o.listen) && !a->guard.token[0])
        return err_set(ERR_DENIED,
                       "the admin endpoint may not listen on %s without a token: set forebay.admin.token, or use "
                       "127.0.0.1",
                       a->o.listen);
    TRY(http_server_start(&h, &a->http));
    snprintf(a->address, sizeof a->address, "%s", http_server_address(a->http, 0));
    return 0;
}

int admin_new(const struct admin_options *o, struct admin **ret)
{
    struct admin *a = calloc(1, sizeof *a);
    CHECK(a, "no memory for the admin endpoint");
    a->o = *o;
    a->start_ms = clock_wall_ms();
    lock_init(&a->lock, RANK_ADMIN);
    cond_init(&a->job_idle);
    set_guard(a);
    int r = jobs_restore(a);
    if (r == 0)
        r = listen_on(a);
    if (r < 0)
        admin_free(a);
    else
        *ret = a;
    return r;
}

bool admin_loopback(const char *address)
{
    return guard_loopback(address);
}

const char *admin_address(const struct admin *a)
{
    return a->address;
}

void admin_draining(struct admin *a)
{
    a->stopping = true;
}

void admin_stop(struct admin *a, unsigned timeout_ms)
{
    a->stopping = true;
    jobs_stop(a);
    if (a->http)
        http_server_stop(a->http, timeout_ms);
}

struct admin *admin_free(struct admin *a)
{
    if (!a)
        return NULL;
    admin_stop(a, 0);
    a->http = http_server_free(a->http);
    jobs_stop(a);
    pthread_cond_destroy(&a->job_idle);
    lock_done(&a->lock);
    buf_done(&a->backlog);
    free(a);
    return NULL;
}
