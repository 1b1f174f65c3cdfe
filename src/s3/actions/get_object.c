/* SPDX-License-Identifier: Apache-2.0
 *
 * GetObject: one published content, whole or a range, conditions judged first. Small answers leave in one write; larger
 * ones go from the page store's files to the socket without passing through here.
 *
 * The answer begins with the first byte that is there: a content whose first page cannot be had gives an error answer,
 * one that breaks off later cuts the connection.
 */
#include "s3/get.h"

enum { SMALL = 32 * 1024 };

/* --- small: gathered, sent at once */

static int gather(void *arg, const void *p, size_t n)
{
    struct buf *b = arg;
    buf_add(b, p, n);
    return 0;
}

static int send_small(struct s3_call *c, struct fs_file *f, const struct s3_get *g)
{
    struct buf b AUTO_BUF = {0};
    struct fs_sink sink = {.bytes = gather, .arg = &b};
    buf_reserve(&b, (size_t)g->n);
    if (g->n)
        TRY(fs_read(f, g->off, g->n, &sink));
    if (b.n != g->n)
        return err_set(ERR_CORRUPT, "%zu of %llu bytes were there", b.n, (unsigned long long)g->n);
    return http_reply(c->rq, g->status, b.p, b.n);
}

/* --- large: as it comes */

struct sending {
    struct s3_call *c;
    const struct s3_get *g;
    bool begun;
};

static int begin(struct sending *s)
{
    if (s->begun)
        return 0;
    s->begun = true;
    return http_reply_start(s->c->rq, s->g->status, (int64_t)s->g->n);
}

static int send_range(void *arg, const struct page_range *r)
{
    struct sending *s = arg;
    TRY(begin(s));
    return http_send_file(s->c->rq, r->fd, r->off, r->n);
}

static int send_bytes(void *arg, const void *p, size_t n)
{
    struct sending *s = arg;
    TRY(begin(s));
    return http_send(s->c->rq, p, n);
}

static int send_large(struct s3_call *c, struct fs_file *f, const struct s3_get *g)
{
    struct sending s = {c, g, false};
    struct fs_sink sink = {.range = send_range, .bytes = send_bytes, .arg = &s};
    TRY(fs_read(f, g->off, g->n, &sink));
    return http_reply_end(c->rq);
}

static int answer(struct s3_call *c, struct fs_file *f)
{
    struct s3_found found = {.attr = fs_file_attr(f), .file = f};
    struct s3_get g;
    TRY(s3_get_prepare(c, &found, &g));
    return g.n <= SMALL ? send_small(c, f, &g) : send_large(c, f, &g);
}

int s3_get_object(struct s3_call *c)
{
    struct fs_file *f;
    TRY(fs_open(c->fs, c->at, 0, &f));
    int r = s3_get_answer(c, answer(c, f), fs_file_attr(f));
    fs_close(f);
    return r;
}
