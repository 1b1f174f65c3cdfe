/* SPDX-License-Identifier: Apache-2.0
 *
 * S3 driver: listings (ListObjectsV2). A page of the store is parsed whole (at most 1000 entries), objects and common
 * prefixes are merged by key, then handed out; keys travel url-encoded, so that any byte survives XML. start-after
 * inside or at a rolled-up prefix shows that prefix again in some stores and not in others: what is not above `after`
 * is dropped here.
 */
#include "base/err.h"
#include "base/mem.h"
#include "net/xml.h"
#include "ufs/s3.h"
#include <time.h>

struct page {
    struct s3 *s;
    struct ufs_entry *entry; /* keys are own memory */
    size_t n, cap;
    struct ufs_entry now;       /* being parsed */
    bool truncated, url, right; /* right: the document is a listing */
    char token[2048];
};

/* --- values */

static int month_of(const char *m)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *at = strstr(names, m);
    return at ? (int)(at - names) / 3 : 0;
}

uint64_t ufs_s3_time_ms(const char *text)
{
    struct tm tm = {0};
    unsigned ms = 0;
    char month[4];
    if (sscanf(text, "%d-%d-%dT%d:%d:%d.%3u", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec,
               &ms) >= 6)
        tm.tm_mon--;
    else if (sscanf(text, "%*3s, %d %3s %d %d:%d:%d", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min,
                    &tm.tm_sec) == 6)
        tm.tm_mon = month_of(month);
    else
        return 0;
    tm.tm_year -= 1900;
    time_t t = timegm(&tm);
    return t > 0 ? (uint64_t)t * 1000 + ms : 0;
}

void ufs_s3_etag_set(char *field, size_t cap, struct str quoted)
{
    if (str_starts(quoted, STR("W/")))
        quoted = str_from(quoted, 2);
    if (quoted.n >= 2 && quoted.p[0] == '"' && quoted.p[quoted.n - 1] == '"')
        quoted = str_mk(quoted.p + 1, quoted.n - 2);
    ufs_set_field(field, cap, quoted);
}

/* In place; '+' is a space, as the stores that write it encode '+' itself. */
static bool url_decode(struct str *s)
{
    char *to = (char *)s->p;
    for (size_t i = 0; i < s->n; i++) {
        if (s->p[i] == '%') {
            if (i + 2 >= s->n || !str_unhex(str_mk(s->p + i + 1, 2), to, 1))
                return false;
            i += 2;
        } else
            *to = s->p[i] == '+' ? ' ' : s->p[i];
        to++;
    }
    s->n = (size_t)(to - s->p);
    return true;
}

/* --- parsing */

static void page_free(struct page *p)
{
    free((char *)p->now.key.p);
    for (size_t i = 0; i < p->n; i++)
        free((char *)p->entry[i].key.p);
    free(p->entry);
}

static void set_key(struct page *p, struct str text)
{
    free((char *)p->now.key.p);
    p->now.key = str_mk(str_dup(text), text.n);
}

static void add_entry(struct page *p, bool prefix)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 256;
        p->entry = mem_grow(p->entry, p->cap, sizeof *p->entry);
    }
    p->now.prefix = prefix;
    p->entry[p->n++] = p->now;
    p->now = (struct ufs_entry){0};
}

static void object_field(struct page *p, const char *name, struct str text)
{
    struct ufs_stat *st = &p->now.st;
    if (!strcmp(name, "Key"))
        set_key(p, text);
    else if (!strcmp(name, "Size"))
        str_u64(text, UINT64_MAX, &st->size);
    else if (!strcmp(name, "LastModified"))
        st->mtime_ms = ufs_s3_time_ms(text.p);
    else if (!strcmp(name, "ETag")) {
        ufs_s3_etag_set(st->version, sizeof st->version, text);
        if (p->s->etag_md5 && strlen(st->version) < sizeof st->etag)
            UFS_SET(st->etag, str_of(st->version));
    }
}

static int on_leaf(void *arg, const char *path, struct str text)
{
    struct page *p = arg;
    if (!strcmp(path, "ListBucketResult"))
        p->right = true; /* an empty one */
    if (!strncmp(path, "ListBucketResult/Contents/", 26))
        object_field(p, path + 26, text);
    else if (!strcmp(path, "ListBucketResult/CommonPrefixes/Prefix"))
        set_key(p, text);
    else if (!strcmp(path, "ListBucketResult/IsTruncated"))
        p->truncated = str_eq(text, STR("true"));
    else if (!strcmp(path, "ListBucketResult/NextContinuationToken"))
        UFS_SET(p->token, text);
    else if (!strcmp(path, "ListBucketResult/EncodingType"))
        p->url = str_eq(text, STR("url"));
    return 0;
}

static int on_close(void *arg, const char *path)
{
    struct page *p = arg;
    if (!strcmp(path, "ListBucketResult"))
        p->right = true;
    bool object = !strcmp(path, "ListBucketResult/Contents");
    if (!object && strcmp(path, "ListBucketResult/CommonPrefixes") != 0)
        return 0;
    if (!p->now.key.p)
        return err_set(ERR_MALFORMED_XML, "a listing has an entry without key");
    add_entry(p, !object);
    return 0;
}

static int entry_order(const void *a, const void *b)
{
    return str_cmp(((const struct ufs_entry *)a)->key, ((const struct ufs_entry *)b)->key);
}

/* Keys become those of the mount: decoded, without its prefix. */
static int fix_keys(struct page *p)
{
    size_t skip = strlen(p->s->prefix);
    for (size_t i = 0; i < p->n; i++) {
        struct str *k = &p->entry[i].key;
        if ((p->url && !url_decode(k)) || !str_starts(*k, str_of(p->s->prefix)))
            return err_set(ERR_MALFORMED_XML, "a listing has a key outside its prefix");
        memmove((char *)k->p, k->p + skip, k->n - skip);
        k->n -= skip;
    }
    return 0;
}

static int parse(struct page *p, const struct ufs_s3_call *c)
{
    struct xml_calls calls = {.leaf = on_leaf, .close = on_close};
    struct xml_limits limits = {.max_bytes = S3_ANSWER_MAX};
    TRY(ufs_s3_error_body(c, "ListBucketResult"));
    int r = xml_parse(buf_str(&c->answer), &calls, p, &limits);
    if (r == 0)
        r = fix_keys(p);
    if (r < 0) /* not something a caller of a listing can know: the store cannot be understood now */
        return err_set(ERR_UNREACHABLE, "listing %s: %s", p->s->bucket, err_detail(r));
    if (p->n)
        qsort(p->entry, p->n, sizeof *p->entry, entry_order);
    return 0;
}

static struct str with_prefix(struct ufs_s3_call *c, struct str key)
{
    struct buf b = {0};
    size_t n;
    buf_putz(&b, c->s->prefix);
    buf_str_add(&b, key);
    char *p = ufs_s3_own(c, buf_take(&b, &n));
    return str_mk(p, n);
}

/* The part of a prefix or key that is UTF-8: callers may cut one inside a character, stores choke on that. */
static struct str utf8_head(struct str s)
{
    size_t n = s.n;
    for (size_t cut = 0; cut < 4 && cut <= s.n; cut++)
        if (str_utf8(str_mk(s.p, s.n - cut)))
            return str_mk(s.p, s.n - cut);
    for (n = 0; n < s.n && (unsigned char)s.p[n] < 0x80; n++)
        ;
    return str_mk(s.p, n);
}

static int fetch(struct page *p, uint64_t until, const struct ufs_list_args *a, const char *token)
{
    struct ufs_s3_call c;
    char max[24];
    ufs_s3_call_init(&c, p->s, until, "GET", (struct str){NULL, 0});
    snprintf(max, sizeof max, "%zu", a->limit);
    ufs_s3_query(&c, "list-type", STR("2"));
    ufs_s3_query(&c, "encoding-type", STR("url"));
    ufs_s3_query(&c, "max-keys", str_of(max));
    ufs_s3_query(&c, "prefix", with_prefix(&c, utf8_head(a->prefix)));
    if (a->delimiter)
        ufs_s3_query(&c, "delimiter", STR("/"));
    if (*token)
        ufs_s3_query(&c, "continuation-token", str_of(token));
    else if (a->after.n)
        ufs_s3_query(&c, "start-after", with_prefix(&c, utf8_head(a->after)));
    int r = ufs_s3_send(&c);
    if (r == 0)
        r = parse(p, &c);
    ufs_s3_call_done(&c);
    return r;
}

static int give(const struct page *p, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg, size_t *shown)
{
    for (size_t i = 0; i < p->n && *shown < a->limit; i++) {
        struct str key = p->entry[i].key;
        if (key.n == 0 || !str_starts(key, a->prefix) || str_cmp(key, a->after) <= 0 ||
            (i && str_eq(key, p->entry[i - 1].key)))
            continue; /* the mount's own marker, or more than was asked for */
        ++*shown;
        int r = fn(arg, &p->entry[i]);
        if (r)
            return r;
    }
    return 0;
}

int ufs_s3_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                bool *ret_more)
{
    char token[2048] = "";
    size_t shown = 0;
    bool more = true;
    while (more && !shown) {
        struct page p = {.s = (struct s3 *)l};
        int r = fetch(&p, until, a, token);
        if (r == 0)
            r = give(&p, a, fn, arg, &shown);
        more = p.truncated;
        if (r == 0 && more && !shown && (!*p.token || !strcmp(p.token, token)))
            r = err_set(ERR_IO, "the store's listing makes no progress");
        UFS_SET(token, str_of(p.token));
        page_free(&p);
        if (r)
            return r;
    }
    *ret_more = more;
    return 0;
}
