/* SPDX-License-Identifier: Apache-2.0
 * The body of a request: by length or chunked, from the bytes that came with the head and then from the socket. */
#include "net/http_int.h"

enum { REFILL = 16 << 10 };

void http_body_begin(struct http_req *rq)
{
    const struct http_head *h = &rq->head;
    rq->body = h->chunked ? BODY_CHUNKED : h->length > 0 ? BODY_LENGTH : BODY_NONE;
    rq->body_over = rq->body == BODY_NONE;
    rq->body_left = h->length > 0 ? (uint64_t)h->length : 0;
    rq->body_error = 0;
    rq->body_read = 0;
    rq->chunks = (struct http_chunks){0};
    rq->expect = h->expect;
    rq->body_at = rq->w->in_at;
}

int64_t http_content_length(const struct http_req *rq)
{
    return rq->head.length;
}

bool http_has_length(const struct http_req *rq)
{
    return rq->head.has_length;
}

uint64_t http_body_bytes(const struct http_req *rq)
{
    return rq->body_read;
}

static int fail(struct http_req *rq, int code)
{
    rq->body_error = code;
    rq->keep = false;
    return code;
}

int http_continue(struct http_req *rq)
{
    if (!rq->expect)
        return 0;
    if (rq->reply != REPLY_NONE)
        return err_set(ERR_INVALID, "the answer has begun and the peer was never asked for its body");
    rq->expect = false;
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(char *)line, sizeof line - 1};
    return http_raw_send(rq, &iov, 1, false);
}

/* From the socket: > 0 or an error; the end is an error here. */
static ssize_t receive(struct http_req *rq, char *p, size_t n)
{
    for (;;) {
        ssize_t r = rq->c->io->recv(rq->c, p, n);
        if (r > 0) {
            count(&rq->s->bytes_in, (uint64_t)r);
            return r;
        }
        if (r == IO_EOF || r == IO_FAILED)
            return err_set(ERR_INCOMPLETE_BODY, "the peer closed the connection before the end of the body");
        TRY(http_wait(rq, r));
    }
}

static ssize_t take(struct http_req *rq, char *p, size_t n)
{
    struct worker *w = rq->w;
    size_t have = w->in_n - w->in_at;
    if (!have)
        return receive(rq, p, n);
    if (n > have)
        n = have;
    memcpy(p, w->in + w->in_at, n);
    w->in_at += n;
    return (ssize_t)n;
}

static ssize_t read_length(struct http_req *rq, char *p, size_t n)
{
    if (n > rq->body_left)
        n = rq->body_left;
    ssize_t r = take(rq, p, n);
    if (r < 0)
        return r;
    rq->body_left -= (uint64_t)r;
    rq->body_over = rq->body_left == 0;
    return r;
}

/* Chunk lines are read through w->in, behind the head that the request still points into. */
static int refill(struct http_req *rq)
{
    struct worker *w = rq->w;
    w->in_at = w->in_n = rq->body_at;
    size_t room = IN_CAP - rq->body_at;
    ssize_t r = receive(rq, w->in + w->in_n, room < REFILL ? room : REFILL);
    if (r < 0)
        return (int)r;
    w->in_n += (size_t)r;
    return 0;
}

static enum http_chunk_result feed(struct http_req *rq)
{
    struct worker *w = rq->w;
    size_t used;
    enum http_chunk_result r = http_chunks_feed(&rq->chunks, w->in + w->in_at, w->in_n - w->in_at, &used);
    w->in_at += used;
    rq->body_over = r == HTTP_CHUNK_END;
    return r;
}

static ssize_t read_chunk_data(struct http_req *rq, char *p, size_t n)
{
    ssize_t r = take(rq, p, n < rq->chunks.left ? n : rq->chunks.left);
    if (r < 0)
        return r;
    rq->chunks.left -= (uint64_t)r;
    if (rq->body_read + (uint64_t)r > rq->s->o.body_max)
        return err_set(ERR_TOO_LARGE, "the request body is larger than allowed");
    return r;
}

static ssize_t read_chunked(struct http_req *rq, char *p, size_t n)
{
    for (;;) {
        switch (feed(rq)) {
        case HTTP_CHUNK_DATA:
            return read_chunk_data(rq, p, n);
        case HTTP_CHUNK_END:
            return 0;
        case HTTP_CHUNK_BAD:
            return err_set(ERR_INVALID, "the chunked request body is malformed");
        case HTTP_CHUNK_MORE:
            TRY(refill(rq));
        }
    }
}

ssize_t http_body_read(struct http_req *rq, void *p, size_t n)
{
    CHECK(n > 0);
    if (rq->body_error)
        return rq->body_error;
    if (rq->body_over)
        return 0;
    int c = http_continue(rq);
    if (c < 0)
        return fail(rq, c);
    ssize_t r = rq->body == BODY_LENGTH ? read_length(rq, p, n) : read_chunked(rq, p, n);
    if (r < 0)
        return fail(rq, (int)r);
    rq->body_read += (uint64_t)r;
    return r;
}

int http_body_all(struct http_req *rq, size_t max, struct buf *b)
{
    size_t start = b->n;
    if (http_content_length(rq) > (int64_t)max)
        return err_set(ERR_TOO_LARGE, "the request body is larger than %zu bytes", max);
    for (;;) {
        char chunk[8192];
        ssize_t r = http_body_read(rq, chunk, sizeof chunk);
        if (r <= 0)
            return (int)r;
        if (b->n - start + (size_t)r > max)
            return err_set(ERR_TOO_LARGE, "the request body is larger than %zu bytes", max);
        buf_add(b, chunk, (size_t)r);
    }
}

bool http_body_keeps(struct http_req *rq)
{
    if (rq->body_error)
        return false;
    /* A handler that took the last data byte need not have seen the last chunk, which is usually here already. */
    if (rq->body == BODY_CHUNKED && !rq->body_over && !rq->expect)
        feed(rq);
    if (rq->body_over)
        return true;
    return !rq->expect && rq->body == BODY_LENGTH && rq->body_left <= rq->s->o.drain_max;
}

bool http_body_finish(struct http_req *rq)
{
    while (!rq->body_over && !rq->body_error) {
        if (rq->expect || rq->body != BODY_LENGTH || rq->body_left > rq->s->o.drain_max)
            return false;
        http_body_read(rq, rq->w->arena, sizeof rq->w->arena); /* nobody looks at the decoded path any more */
    }
    return rq->body_over;
}
