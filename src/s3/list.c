/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of keys (contract in list.h).
 *
 * Rolling up here: a key that holds the delimiter behind the prefix gives its common prefix once, then the door is
 * asked again for what follows all keys of that prefix. Keys are UTF-8, so prefix + 0xff lies behind every one of them.
 */
#include "s3/list.h"

enum { STOP = 1, AFTER_MAX = 8192 }; /* a mount makes longer keys than S3 does, and tokens name them */

size_t s3_list_rolled(struct str key, struct str prefix, struct str delimiter)
{
    if (!delimiter.n || key.n < prefix.n + delimiter.n)
        return 0;
    const char *at = memmem(key.p + prefix.n, key.n - prefix.n, delimiter.p, delimiter.n);
    return at ? (size_t)(at - key.p) + delimiter.n : 0;
}

static void remember(struct s3_list *l, struct str key)
{
    buf_reset(&l->last);
    buf_str_add(&l->last, key);
    l->n++;
}

static void add_prefix(struct s3_list *l, struct str prefix)
{
    xml_open(&l->prefixes, "CommonPrefixes");
    s3_xml_name(&l->prefixes, "Prefix", prefix, l->url);
    xml_close(&l->prefixes, "CommonPrefixes");
    remember(l, prefix);
}

static int take(void *arg, const struct fs_entry *e)
{
    struct s3_list *l = arg;
    if (e->prefix) {
        add_prefix(l, e->key);
        return 0;
    }
    l->object(l, e);
    remember(l, e->key);
    return 0;
}

static struct fs_list ask(const struct s3_list *l, struct str after, size_t limit)
{
    return (struct fs_list){.dir = s3_bucket_at(l->c), .prefix = l->prefix, .after = after, .limit = limit};
}

/* --- delimiters of one byte, or none: the door does all */

static int run_plain(struct s3_list *l)
{
    struct fs_list q = ask(l, l->after, l->max);
    q.delimiter = l->delimiter.n ? l->delimiter.p[0] : 0;
    return fs_list(l->c->fs, &q, take, l, &l->more, &l->version);
}

/* --- longer ones */

static int take_until_rolled(void *arg, const struct fs_entry *e)
{
    struct s3_list *l = arg;
    size_t n = s3_list_rolled(e->key, l->prefix, l->delimiter);
    if (!n)
        return take(arg, e);
    add_prefix(l, str_mk(e->key.p, n));
    return STOP;
}

static int seen(void *arg, const struct fs_entry *e)
{
    (void)e;
    *(bool *)arg = true;
    return STOP;
}

/* Behind key, or behind everything it rolls up. */
static void set_after(const struct s3_list *l, struct buf *after, struct str key)
{
    size_t n = s3_list_rolled(key, l->prefix, l->delimiter);
    buf_reset(after);
    buf_str_add(after, key);
    if (n == key.n && n && str_starts(key, l->prefix))
        buf_putz(after, "\xff");
}

static int more_behind(struct s3_list *l, struct str after)
{
    bool any = false, more;
    uint64_t version;
    struct fs_list q = ask(l, after, 1);
    int r = fs_list(l->c->fs, &q, seen, &any, &more, &version);
    l->more = any;
    return r < 0 ? r : 0;
}

static int run_rolling(struct s3_list *l)
{
    struct buf after AUTO_BUF = {0};
    bool more = true;
    set_after(l, &after, l->after);
    for (size_t had = SIZE_MAX; more && l->n < l->max && l->n != had;) {
        uint64_t version = 0;
        had = l->n;
        struct fs_list q = ask(l, buf_str(&after), l->max - l->n);
        int r = fs_list(l->c->fs, &q, take_until_rolled, l, &more, &version);
        if (r < 0)
            return r;
        more |= r == STOP;
        l->version = version > l->version ? version : l->version;
        set_after(l, &after, buf_str(&l->last));
    }
    return more ? more_behind(l, buf_str(&after)) : 0;
}

/* --- doors */

int s3_list_params(struct s3_list *l, struct s3_call *c)
{
    l->c = c;
    l->prefix = s3_param(c, "prefix");
    l->delimiter = s3_param(c, "delimiter");
    l->after = STR("");
    if (!str_utf8(l->prefix) || !str_utf8(l->delimiter) || l->prefix.n > URI_KEY_MAX || l->delimiter.n > URI_KEY_MAX)
        return err_set(ERR_INVALID, "prefix and delimiter must be UTF-8 of at most %d bytes", URI_KEY_MAX);
    TRY(s3_param_encoding(c, &l->url));
    return s3_param_u64(c, "max-keys", 0, 1000, 1000, &l->max);
}

int s3_list_run(struct s3_list *l)
{
    if (!str_utf8(l->after) || l->after.n > AFTER_MAX)
        return err_set(ERR_INVALID, "the key to start after is not valid");
    TRY(l->delimiter.n > 1 && l->max ? run_rolling(l) : run_plain(l));
    if (l->max == 0)
        l->more = false; /* S3: nothing was asked for, nothing is left out */
    return fs_settle(l->c->fs, l->version);
}

void s3_list_done(struct s3_list *l)
{
    buf_done(&l->contents);
    buf_done(&l->prefixes);
    buf_done(&l->last);
}

/* --- documents */

void s3_list_contents(struct s3_list *l, const struct fs_entry *e)
{
    struct buf *b = &l->contents;
    xml_open(b, "Contents");
    s3_xml_name(b, "Key", e->key, l->url);
    xml_time(b, "LastModified", e->attr->mtime_ms);
    s3_xml_etag(b, "ETag", s3_etag(e->attr));
    xml_u64(b, "Size", e->attr->size);
    if (l->owner)
        s3_xml_owner(b, "Owner", l->c);
    xml_textz(b, "StorageClass", "STANDARD");
    xml_close(b, "Contents");
}

void s3_list_head(const struct s3_list *l, struct buf *b)
{
    xml_text(b, "Name", l->c->bucket);
    s3_xml_name(b, "Prefix", l->prefix, l->url);
    if (l->delimiter.n)
        s3_xml_name(b, "Delimiter", l->delimiter, l->url);
    xml_u64(b, "MaxKeys", l->max);
    if (l->url)
        xml_textz(b, "EncodingType", "url");
    xml_bool(b, "IsTruncated", l->more);
}

void s3_list_tail(const struct s3_list *l, struct buf *b)
{
    buf_str_add(b, buf_str(&l->contents));
    buf_str_add(b, buf_str(&l->prefixes));
}
