/* SPDX-License-Identifier: Apache-2.0
 * What a handler may ask of its request. */
#include "net/http_int.h"
#include <poll.h>

struct str http_method(const struct http_req *rq)
{
    return rq->head.method;
}

struct str http_target(const struct http_req *rq)
{
    return rq->head.target;
}

struct str http_path_raw(const struct http_req *rq)
{
    return rq->head.path_raw;
}

struct str http_path(const struct http_req *rq)
{
    return rq->head.path;
}

bool http_path_has_nul(const struct http_req *rq)
{
    return rq->head.path_nul;
}

struct str http_query_raw(const struct http_req *rq)
{
    return rq->head.query_raw;
}

int http_version_minor(const struct http_req *rq)
{
    return rq->head.minor;
}

bool http_is_tls(const struct http_req *rq)
{
    return rq->c->io == &http_tls;
}

size_t http_param_count(const struct http_req *rq)
{
    return rq->head.n_params;
}

const struct http_param *http_param_at(const struct http_req *rq, size_t i)
{
    CHECK(i < rq->head.n_params);
    return &rq->head.params[i];
}

const struct http_param *http_param(const struct http_req *rq, const char *name)
{
    struct str want = str_of(name);
    for (size_t i = 0; i < rq->head.n_params; i++)
        if (str_eq(rq->head.params[i].name, want))
            return &rq->head.params[i];
    return NULL;
}

size_t http_header_count(const struct http_req *rq)
{
    return rq->head.n_headers;
}

const struct http_header *http_header_at(const struct http_req *rq, size_t i)
{
    CHECK(i < rq->head.n_headers);
    return &rq->head.headers[i];
}

struct str http_header(const struct http_req *rq, const char *name)
{
    struct str want = str_of(name);
    for (size_t i = 0; i < rq->head.n_headers; i++)
        if (str_ieq(rq->head.headers[i].name, want))
            return rq->head.headers[i].value;
    return (struct str){NULL, 0};
}

struct str http_host(const struct http_req *rq)
{
    return rq->head.host;
}

const char *http_peer(struct http_req *rq)
{
    if (!rq->peer[0])
        conn_peer_name(&rq->c->peer, rq->peer, sizeof rq->peer);
    return rq->peer;
}

const char *http_request_id(const struct http_req *rq)
{
    return rq->id;
}

uint64_t http_start_ns(const struct http_req *rq)
{
    return rq->start_ns;
}

bool http_peer_gone(struct http_req *rq)
{
    struct pollfd p = {.fd = rq->c->fd, .events = 0};
    return rq->send_error || (poll(&p, 1, 0) == 1 && p.revents & (POLLERR | POLLHUP));
}

void http_set_context(struct http_req *rq, void *context)
{
    rq->context = context;
}

void *http_context(const struct http_req *rq)
{
    return rq->context;
}
