/* SPDX-License-Identifier: Apache-2.0
 *
 * Extended attributes as user metadata of the object, in the form of s3fs:
 *
 *     x-amz-meta-xattr    a JSON object, name: value in base64, percent-encoded
 *
 * A store takes 2 KiB of user metadata, names and values together: what does not fit beside the rest stays here only,
 * in order of the names. So does an attribute whose name is no UTF-8.
 */
#include "meta/tx.h"
#include <jansson.h>
#include <openssl/evp.h>

#define XATTR_PAIR STR("x-amz-meta-xattr")
#define META_PREFIX STR("x-amz-meta-")
enum { USER_METADATA_MAX = 2048, VALUE_MAX = 65536, ALL_BYTES = 256 << 10 };

static size_t user_bytes(struct str pairs)
{
    struct cur c = cur_of(pairs);
    struct str n, v;
    size_t sum = 0;
    while (pairs_next(&c, &n, &v))
        if (str_starts(n, META_PREFIX))
            sum += n.n - META_PREFIX.n + v.n;
    return sum;
}

static void percent(struct buf *b, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-_.~", *p))
            buf_u8(b, *p);
        else
            buf_printf(b, "%%%02X", *p);
}

static void encode(json_t *all, struct buf *b)
{
    char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    buf_reset(b);
    if (text)
        percent(b, text);
    free(text);
}

static int add_one(json_t *all, struct str name, struct str value)
{
    char *text AUTO_FREE = malloc(value.n / 3 * 4 + 5), key[300];
    if (!text)
        return ERR_NOMEM;
    int n = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)value.p, (int)value.n);
    snprintf(key, sizeof key, "%.*s", STR_ARG(name));
    json_t *v = json_stringn(text, (size_t)n);
    return json_object_set_new(all, key, v) < 0 ? ERR_INVALID : 0;
}

static int take_row(json_t *all, const struct kv_row *row, size_t room, struct buf *b)
{
    char key[300];
    struct str name = str_from(row->key, 9);
    int r = add_one(all, name, row->value);
    if (r == ERR_NOMEM)
        return r;
    encode(all, b);
    if (r == 0 && b->n > room) {
        snprintf(key, sizeof key, "%.*s", STR_ARG(name));
        json_object_del(all, key);
        encode(all, b);
    }
    return 0;
}

int xattrs_to_pairs(struct kv_tx *tx, const struct inode *i, struct buf *pairs)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0}, text AUTO_BUF = {0}, over AUTO_BUF = {0}, out AUTO_BUF = {0};
    struct kv_rows rows;
    if (!i->xattrs)
        return 0;
    pairs_add(&over, XATTR_PAIR, STR(""));
    pairs_merge(&out, buf_str(pairs), buf_str(&over));
    size_t used = user_bytes(buf_str(&out)) + XATTR_PAIR.n - META_PREFIX.n;
    size_t room = used < USER_METADATA_MAX ? USER_METADATA_MAX - used : 0;
    key_id(&begin, 'X', i->ino);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end), .max_bytes = ALL_BYTES};
    TRY(kv_range(tx, &r, &rows));
    json_t *all = json_object();
    int rc = 0;
    for (size_t k = 0; k < rows.n && rc == 0; k++)
        rc = take_row(all, &rows.row[k], room, &text);
    if (rc == 0 && json_object_size(all))
        pairs_add(&out, XATTR_PAIR, buf_str(&text));
    json_decref(all);
    buf_reset(pairs);
    buf_str_add(pairs, buf_str(&out));
    return rc;
}

/* ---- back ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static void unpercent(struct buf *b, struct str v)
{
    for (size_t i = 0; i < v.n; i++) {
        int hi = i + 2 < v.n && v.p[i] == '%' ? hex(v.p[i + 1]) : -1, lo = hi >= 0 ? hex(v.p[i + 2]) : -1;
        if (lo < 0) {
            buf_u8(b, (unsigned char)v.p[i]);
            continue;
        }
        buf_u8(b, (unsigned char)(hi * 16 + lo));
        i += 2;
    }
}

/* ret has room for n / 4 * 3 bytes. -1: it is no base64. */
static int decode(const char *text, size_t n, char *ret)
{
    if (n % 4)
        return -1;
    int got = n ? EVP_DecodeBlock((unsigned char *)ret, (const unsigned char *)text, (int)n) : 0;
    for (size_t i = n; got > 0 && i > 0 && n - i < 2 && text[i - 1] == '='; i--)
        got--;
    return got;
}

static void put_one(struct kv_tx *tx, uint64_t ino, const char *name, json_t *v, bool *ret_any)
{
    struct buf k AUTO_BUF = {0};
    size_t n = json_string_length(v), name_n = strlen(name);
    if (!json_is_string(v) || !name_n || name_n > 255 || n > VALUE_MAX)
        return;
    char *value AUTO_FREE = malloc(n / 4 * 3 + 3);
    int got = value ? decode(json_string_value(v), n, value) : -1;
    if (got < 0)
        return;
    key_xattr(&k, ino, str_of(name));
    kv_put(tx, buf_str(&k), str_mk(value, (size_t)got));
    *ret_any = true;
}

void xattrs_from_pairs(struct kv_tx *tx, struct inode *i, struct str pairs)
{
    struct buf text AUTO_BUF = {0};
    struct str v;
    const char *name;
    json_t *one;
    if (i->xattrs)
        tx_del_xattrs(tx, i->ino);
    i->xattrs = false;
    if (!pairs.n || !pairs_get(pairs, XATTR_PAIR, &v))
        return;
    unpercent(&text, v);
    json_t *all = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    json_object_foreach(all, name, one) put_one(tx, i->ino, name, one, &i->xattrs);
    json_decref(all);
}
