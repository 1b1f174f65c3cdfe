/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/fs/cat, head, tail, checksum: a file's bytes.
 */
#include "admin/rest.h"
#include "base/hash.h"

static int open_file(struct rest *r, struct fs_file **ret)
{
    const char *path;
    struct place p AUTO_PLACE = {0};
    TRY(rest_path(r, "path", &path));
    TRY(place_find(r->a->o.fs, path, PREFER_FILE, &p, NULL, NULL));
    if (place_is_dir(&p))
        return err_set(ERR_IS_DIR, "%s is a directory", path);
    return fs_open(r->a->o.fs, place_at(&p), 0, ret);
}

static int send_range(void *arg, const struct page_range *g)
{
    return http_send_file(arg, g->fd, g->off, g->n);
}

static int send_bytes(void *arg, const void *p, size_t n)
{
    return http_send(arg, p, n);
}

static int send_part(struct rest *r, struct fs_file *f, uint64_t off, uint64_t n)
{
    const struct fs_sink sink = {send_range, send_bytes, r->rq};
    TRY(fs_settle(r->a->o.fs, fs_file_attr(f)->version));
    http_set(r->rq, "Content-Type", STR("application/octet-stream"));
    TRY(http_reply_start(r->rq, 200, (int64_t)n));
    if (n)
        TRY(fs_read(f, off, n, &sink));
    return http_reply_end(r->rq);
}

/* first: the first n bytes, else the last. */
static int reply_part(struct rest *r, uint64_t n, bool first)
{
    struct fs_file *f = NULL;
    TRY(open_file(r, &f));
    uint64_t size = fs_file_attr(f)->size, take = n < size ? n : size;
    int code = send_part(r, f, first ? 0 : size - take, take);
    fs_close(f);
    return code;
}

int rest_fs_cat(struct rest *r)
{
    struct fs_file *f = NULL;
    uint64_t off, n;
    TRY(rest_number(r, "offset", 0, INT64_MAX, &off));
    TRY(rest_number(r, "length", INT64_MAX, INT64_MAX, &n));
    TRY(open_file(r, &f));
    uint64_t size = fs_file_attr(f)->size;
    off = off < size ? off : size;
    int code = send_part(r, f, off, n < size - off ? n : size - off);
    fs_close(f);
    return code;
}

int rest_fs_head(struct rest *r)
{
    uint64_t n;
    TRY(rest_number(r, "bytes", 1024, INT64_MAX, &n));
    return reply_part(r, n, true);
}

int rest_fs_tail(struct rest *r)
{
    uint64_t n;
    TRY(rest_number(r, "bytes", 1024, INT64_MAX, &n));
    return reply_part(r, n, false);
}

static int digest_bytes(void *arg, const void *p, size_t n)
{
    digest_add(arg, p, n);
    return 0;
}

int rest_fs_checksum(struct rest *r)
{
    struct fs_file *f = NULL;
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    const struct fs_sink sink = {NULL, digest_bytes, d};
    unsigned char sum[32];
    char hex[33];
    TRY(open_file(r, &f));
    uint64_t size = fs_file_attr(f)->size;
    int code = fs_settle(r->a->o.fs, fs_file_attr(f)->version);
    if (code == 0 && size)
        code = fs_read(f, 0, size, &sink);
    fs_close(f);
    TRY(code);
    digest_end(d, sum);
    str_hex(sum, 16, hex);
    return rest_json(r, 200, json_pack("{s:s, s:I}", "md5sum", hex, "size", (json_int_t)size));
}
