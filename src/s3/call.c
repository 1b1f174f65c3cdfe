/* SPDX-License-Identifier: Apache-2.0
 *
 * One request: its memory, its headers and parameters (contract in call.h).
 */
#include "s3/call.h"
#include "base/mem.h"

/* --- memory: chunks in a list, the newest first */

struct s3_call_chunk {
    struct s3_call_chunk *next;
    size_t used, cap;
    max_align_t bytes[];
};
enum { CHUNK = 2048, ALIGN = sizeof(max_align_t) };

void *s3_call_mem(struct s3_call *c, size_t n)
{
    struct s3_call_chunk *k = c->chunks;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (!k || k->cap - k->used < n) {
        size_t cap = n > CHUNK ? n : CHUNK;
        k = mem_alloc(sizeof *k + cap);
        *k = (struct s3_call_chunk){.next = c->chunks, .cap = cap};
        c->chunks = k;
    }
    char *p = (char *)k->bytes + k->used;
    k->used += n;
    return p;
}

void s3_call_end(struct s3_call *c)
{
    while (c->chunks) {
        struct s3_call_chunk *next = c->chunks->next;
        free(c->chunks);
        c->chunks = next;
    }
}

struct str s3_call_dup(struct s3_call *c, struct str s)
{
    char *p = s3_call_mem(c, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return str_mk(p, s.n);
}

struct str s3_call_lower(struct s3_call *c, struct str s)
{
    struct str d = s3_call_dup(c, s);
    char *p = (char *)d.p;
    for (size_t i = 0; i < d.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] |= 32;
    return d;
}

/* --- what the client sent */

struct str s3_header_of(const struct s3_call *c, const char *name)
{
    return http_header(c->rq, name);
}

struct str s3_param(const struct s3_call *c, const char *name)
{
    return s3_uri_query_value(&c->query, name);
}

int s3_param_u64(const struct s3_call *c, const char *name, uint64_t lo, uint64_t hi, uint64_t def, uint64_t *ret)
{
    struct str s = s3_param(c, name);
    uint64_t v = def;
    if (s.n && (!str_u64(s, UINT32_MAX, &v) || v < lo))
        return err_set(ERR_INVALID, "%s must be a number of at least %llu", name, (unsigned long long)lo);
    *ret = v < hi ? v : hi;
    return 0;
}

int s3_param_encoding(const struct s3_call *c, bool *ret_url)
{
    struct str s = s3_param(c, "encoding-type");
    if (s.n && !str_eq(s, STR("url")))
        return err_set(ERR_INVALID, "Invalid Encoding Method specified in Request");
    *ret_url = s.n > 0;
    return 0;
}

struct fs_at s3_object_at(struct s3_call *c, struct str bucket, struct str key)
{
    char *p = s3_call_mem(c, bucket.n + 1 + key.n);
    memcpy(p, bucket.p, bucket.n);
    p[bucket.n] = '/';
    if (key.n)
        memcpy(p + bucket.n + 1, key.p, key.n);
    return (struct fs_at){FS_ROOT, str_mk(p, bucket.n + 1 + key.n)};
}

struct fs_at s3_bucket_at(const struct s3_call *c)
{
    return (struct fs_at){FS_ROOT, str_mk(c->at.path.p, c->bucket.n + 1)};
}

const char *s3_etag(const struct fs_attr *a)
{
    return a->etag[0] ? a->etag : "d41d8cd98f00b204e9800998ecf8427e";
}

int s3_check_object(const struct fs_attr *a)
{
    if (a->type == FS_DIR && !a->explicit_dir)
        return err_set(ERR_NOT_FOUND, "The specified key does not exist.");
    return 0;
}
