/* SPDX-License-Identifier: Apache-2.0
 *
 * CopyObject: inside the namespace, metadata only: the bytes are shared. They are read only when a checksum is asked
 * for that the source does not have.
 */
#include "s3/copy.h"
#include "s3/sum.h"

struct copy {
    struct s3_call *c;
    struct s3_source src;
    struct s3_pairs pairs; /* of the new object */
    bool new_meta, new_tags, new_sum;
};

static int directive(const struct s3_call *c, const char *header, bool *ret_replace)
{
    struct str s = s3_header_of(c, header);
    if (s.p && !str_eq(s, STR("COPY")) && !str_eq(s, STR("REPLACE")))
        return err_set(ERR_INVALID, "Unknown %s: it is COPY or REPLACE", header);
    *ret_replace = s.p && str_eq(s, STR("REPLACE"));
    return 0;
}

/* --- the checksum */

static bool has_sum(const struct copy *k, enum s3_sum_kind kind)
{
    return s3_pairs_get(&k->src.pairs, str_of(s3_sum_info(kind)->header)).p &&
           str_eq(s3_pairs_get(&k->src.pairs, STR("x-amz-checksum-type")), STR("FULL_OBJECT"));
}

static int asked_sum(const struct copy *k, enum s3_sum_kind *ret)
{
    struct str name = s3_header_of(k->c, "x-amz-checksum-algorithm");
    enum s3_sum_kind kind = name.p ? s3_sum_by_name(name) : SUM_NONE;
    if (name.p && kind == SUM_NONE)
        return err_set(ERR_REQUEST, "Value for x-amz-checksum-algorithm header is invalid.");
    *ret = kind != SUM_NONE && has_sum(k, kind) ? SUM_NONE : kind;
    return 0;
}

static int add_bytes(void *arg, const void *p, size_t n)
{
    s3_sum_add(arg, p, n);
    return 0;
}

static int read_all(struct copy *k, struct s3_sum *sum)
{
    struct fs_sink sink = {.bytes = add_bytes, .arg = sum};
    struct fs_file *f;
    TRY(fs_open(k->c->fs, k->src.at, 0, &f));
    const struct fs_attr *a = fs_file_attr(f);
    int r = a->content != k->src.attr.content ? err_set(ERR_CONFLICT, "the source changed while it was read")
                                              : fs_read(f, 0, a->size, &sink);
    fs_close(f);
    return r;
}

static int compute_sum(struct copy *k, enum s3_sum_kind kind)
{
    struct s3_sum sum;
    unsigned char raw[32];
    char text[SUM_TEXT];
    s3_sum_begin(&sum, kind);
    int r = read_all(k, &sum);
    if (!r)
        s3_sum_text(raw, s3_sum_end(&sum, raw), text);
    s3_sum_done(&sum);
    if (r < 0)
        return r;
    s3_pairs_drop(&k->pairs, s3_pair_is_checksum);
    s3_pairs_add(&k->pairs, str_of(s3_sum_info(kind)->header), s3_call_dup(k->c, str_of(text)));
    s3_pairs_add(&k->pairs, STR("x-amz-checksum-type"), STR("FULL_OBJECT"));
    k->new_sum = true;
    return 0;
}

/* --- the new object's pairs */

static void keep(struct copy *k, bool (*which)(struct str name))
{
    const struct s3_pairs *from = &k->src.pairs;
    for (size_t i = 0; i < from->n; i++)
        if (which(from->p[i].name))
            s3_pairs_add(&k->pairs, from->p[i].name, from->p[i].value);
}

static bool is_metadata(struct str name)
{
    return !s3_pair_is_checksum(name) && !s3_pair_is_tagging(name);
}

static int compose(struct copy *k)
{
    if (k->new_meta)
        TRY(s3_pairs_headers(&k->pairs));
    else
        keep(k, is_metadata);
    if (k->new_tags)
        TRY(s3_pairs_tagging(&k->pairs));
    else
        keep(k, s3_pair_is_tagging);
    keep(k, s3_pair_is_checksum);
    return 0;
}

static int prepare(struct copy *k)
{
    enum s3_sum_kind sum = SUM_NONE;
    TRY(directive(k->c, "x-amz-metadata-directive", &k->new_meta));
    TRY(directive(k->c, "x-amz-tagging-directive", &k->new_tags));
    TRY(s3_source_open(k->c, &k->src));
    TRY(compose(k));
    TRY(asked_sum(k, &sum));
    if (sum != SUM_NONE)
        TRY(compute_sum(k, sum));
    if (str_eq(k->src.at.path, k->c->at.path) && !k->new_meta && !k->new_tags && !k->new_sum)
        return err_set(ERR_REQUEST,
                       "This copy request is illegal because it is trying to copy an object to itself without "
                       "changing the object's metadata or tags.");
    return 0;
}

static int copy(struct copy *k, struct fs_attr *ret)
{
    struct fs_write o;
    bool replace = k->new_meta || k->new_tags || k->new_sum;
    s3_write_options(k->c, &k->pairs, &o);
    if (!replace) {
        o.meta = NULL;
        o.meta_n = 0;
    }
    return fs_copy(k->c->fs, k->src.at, &k->src.cond, k->c->at, &o, replace, ret);
}

int s3_copy_object(struct s3_call *c)
{
    struct copy k = {.c = c, .pairs = {.c = c}};
    struct buf b AUTO_BUF = {0};
    struct fs_attr a;
    TRY(s3_refuse_unbuilt(c));
    TRY(prepare(&k));
    TRY(copy(&k, &a));
    TRY(s3_set_state(c, &a));
    xml_decl(&b);
    xml_open_ns(&b, "CopyObjectResult");
    xml_time(&b, "LastModified", a.mtime_ms);
    s3_xml_etag(&b, "ETag", s3_etag(&a));
    s3_xml_checksum(&b, &k.pairs);
    xml_close(&b, "CopyObjectResult");
    return s3_reply_xml(c, 200, &b);
}
