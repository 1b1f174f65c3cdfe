/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads of objects (contract in get.h).
 */
#include "s3/get.h"

static bool wants_sums(const struct s3_call *c)
{
    return str_ieq(s3_header_of(c, "x-amz-checksum-mode"), STR("ENABLED"));
}

/* --- range or part */

static int take_part(struct s3_call *c, struct fs_file *f, struct str number, struct s3_get *g)
{
    uint64_t part;
    unsigned parts = fs_file_parts(f);
    if (!str_u64(number, 10000, &part) || part == 0)
        return err_set(ERR_INVALID, "Part number must be an integer between 1 and 10000, inclusive");
    if (s3_header_of(c, "Range").p)
        return err_set(ERR_REQUEST, "Cannot specify both Range header and partNumber query parameter");
    if (part > (parts ? parts : 1))
        return err_set(ERR_RANGE, "The requested partnumber is not satisfiable");
    if (parts) {
        TRY(fs_file_part(f, (unsigned)part, &g->off, &g->n));
        TRY(http_setf(c->rq, "x-amz-mp-parts-count", "%u", parts));
    }
    g->status = g->n ? 206 : 200;
    return 0;
}

static int take_range(struct s3_call *c, const struct fs_attr *a, struct s3_get *g)
{
    struct str header = s3_header_of(c, "Range"), if_range = s3_header_of(c, "If-Range");
    if (if_range.p && !s3_cond_if_range(if_range, str_of(s3_etag(a)), a->mtime_ms))
        return 0;
    struct s3_range r = s3_range_parse(header, a->size);
    if (r.kind == RANGE_NONE) {
        c->out_of = a->size;
        return err_set(ERR_RANGE, "The requested range is not satisfiable");
    }
    if (r.kind == RANGE_PART)
        *g = (struct s3_get){206, r.off, r.n};
    return 0;
}

static int take_extent(struct s3_call *c, const struct s3_found *f, struct s3_get *g)
{
    struct str part = s3_param(c, "partNumber");
    *g = (struct s3_get){200, 0, f->attr->size};
    TRY(part.p && f->file ? take_part(c, f->file, part, g) : take_range(c, f->attr, g));
    if (g->status == 206)
        return http_setf(c->rq, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)g->off,
                         (unsigned long long)(g->off + g->n - 1), (unsigned long long)f->attr->size);
    return 0;
}

static void tell_pairs(const struct s3_found *f, struct s3_object_headers *h)
{
    if (f->file)
        fs_file_meta(f->file, s3_object_header, h);
    else
        for (size_t i = 0; i < f->pairs->n; i++)
            s3_object_header(h, f->pairs->p[i].name, f->pairs->p[i].value);
}

int s3_get_prepare(struct s3_call *c, const struct s3_found *f, struct s3_get *ret)
{
    const struct fs_attr *a = f->attr;
    struct s3_cond cond = s3_cond_of(c);
    struct s3_object_headers h = S3_OBJECT_HEADERS(c);
    TRY(s3_check_object(a));
    TRY(s3_cond_read(&cond, str_of(s3_etag(a)), a->mtime_ms));
    TRY(take_extent(c, f, ret));
    h.sums = wants_sums(c) && ret->n == a->size;
    tell_pairs(f, &h);
    TRY(s3_object_headers_end(&h, a));
    TRY(http_set(c->rq, "x-amz-request-id", str_of(http_request_id(c->rq))));
    return fs_settle(c->fs, a->version);
}

/* --- the other answers */

static int not_modified(struct s3_call *c, const struct fs_attr *a)
{
    struct s3_object_headers h = S3_OBJECT_HEADERS(c);
    h.has_type = true;
    http_unset_all(c->rq);
    TRY(s3_object_headers_end(&h, a));
    TRY(fs_settle(c->fs, a->version));
    return s3_reply_empty(c, 304);
}

int s3_get_answer(struct s3_call *c, int code, const struct fs_attr *a)
{
    if (code == ERR_NOT_MODIFIED && !http_reply_started(c->rq))
        return not_modified(c, a);
    return code;
}
