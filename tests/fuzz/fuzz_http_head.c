/* SPDX-License-Identifier: Apache-2.0
 * Request heads and chunked bodies from any bytes: the verdict does not depend on how they were cut, and what comes out
 * points into what went in. */
#include "base/err.h"
#include "net/http_parse.h"
#include <stdlib.h>

static struct http_head head;
static char arena[HTTP_HEAD_MAX];

static void check_inside(struct str s, const char *p, size_t n)
{
    bool in_head = s.p >= p && s.p + s.n <= p + n;
    bool in_arena = s.p >= arena && s.p + s.n <= arena + n;
    CHECK(!s.n || in_head || in_arena || str_eq(s, STR("/")));
}

static void check_head(const char *p, size_t n)
{
    const struct http_head *h = &head;
    CHECK(http_is_token(h->method) && h->path.n && (h->path.p[0] == '/' || str_eq(h->path, STR("*"))));
    CHECK(h->length >= -1 && (h->length == -1) == h->chunked && !(h->chunked && h->has_length));
    check_inside(h->target, p, n);
    check_inside(h->path, p, n);
    check_inside(h->path_raw, p, n);
    check_inside(h->host, p, n);
    for (size_t i = 0; i < h->n_headers; i++) {
        CHECK(http_is_token(h->headers[i].name) && http_is_field_value(h->headers[i].value));
        check_inside(h->headers[i].value, p, n);
    }
    for (size_t i = 0; i < h->n_params; i++) {
        CHECK(h->params[i].value.n <= h->params[i].raw_value.n);
        check_inside(h->params[i].name, p, n);
        check_inside(h->params[i].value, p, n);
    }
}

static void fuzz_head(const char *p, size_t n)
{
    struct http_fault f = {0}, g = {0};
    size_t scan = 0, scan2 = 0, max = 4096;
    ssize_t r = http_head_end(p, n, max, &scan, &f), r2 = 0;
    for (size_t k = 1; k <= n && !r2; k++)
        r2 = http_head_end(p, k, max, &scan2, &g);
    CHECK(r == r2 && f.status == g.status, "%zd %d, byte by byte %zd %d", r, f.status, r2, g.status);
    if (r <= 0)
        return;
    if (http_head_parse(p, (size_t)r, HTTP_HEADERS_MAX, arena, &head, &f))
        check_head(p, (size_t)r);
    else
        CHECK(f.status >= 400 && f.reason);
}

/* The data's length and hash, the end and the state it ended in. */
struct outcome {
    uint64_t n, hash;
    enum http_chunk_result last;
    size_t used;
};

static struct outcome dechunk(const char *p, size_t n, size_t step)
{
    struct outcome o = {.hash = 14695981039346656037u};
    struct http_chunks c = {0};
    for (size_t at = 0;;) {
        size_t used, give = n - at < step ? n - at : step;
        o.last = http_chunks_feed(&c, p + at, give, &used);
        CHECK(used <= give);
        at += used;
        o.used = at;
        if (o.last == HTTP_CHUNK_END || o.last == HTTP_CHUNK_BAD || (at == n && o.last == HTTP_CHUNK_MORE))
            return o;
        if (o.last == HTTP_CHUNK_DATA) {
            if (at == n)
                return o;
            CHECK(c.left > 0);
            o.hash = (o.hash ^ (unsigned char)p[at++]) * 1099511628211u;
            o.n++;
            c.left--;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 20000)
        return 0;
    fuzz_head((const char *)data, n);
    struct outcome a = dechunk((const char *)data, n, SIZE_MAX), b = dechunk((const char *)data, n, 1);
    CHECK(a.n == b.n && a.hash == b.hash && a.last == b.last && a.used == b.used);
    return 0;
}
