/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteObjects: up to 1000 keys, an answer for each. Keys without a condition go to the door in one call; a key with
 * an <ETag> is judged and deleted alone. Deleting in the order named is not promised by S3.
 */
#include "s3/body.h"
#include "s3/documents.h"

enum { DOCUMENT_MAX = 12 << 20 };

/* --- the document */

static int demand_sum(struct s3_call *c)
{
    struct s3_body b AUTO_BODY = {0};
    TRY(s3_body_open(&b, c, BODY_DOCUMENT));
    return s3_body_demand_sum(&b);
}

static int read_request(struct s3_delete_doc *r)
{
    TRY(demand_sum(r->c));
    TRY(s3_body_xml(r->c, BODY_DOCUMENT, &s3_delete_calls, r, DOCUMENT_MAX));
    if (!r->n)
        return err_set(ERR_MALFORMED_XML, "Delete names no Object");
    return 0;
}

/* --- the work */

static void judge(struct s3_call *c, struct s3_delete_item *i)
{
    i->code = s3_uri_check_key(i->key);
    if (!i->code && i->conditions)
        i->code = err_set(ERR_NOT_IMPLEMENTED, "conditions on time or size are not implemented");
    if (!i->code && i->version.n && !str_eq(i->version, STR("null")))
        i->code = err_set(ERR_INVALID, "Invalid version id specified: buckets here are not versioned");
    if (i->code)
        i->detail = s3_call_dup(c, str_of(err_detail(i->code))).p;
}

static void delete_one(struct s3_call *c, struct s3_delete_item *i)
{
    struct fs_cond cond = {.if_match = i->etag};
    i->code = fs_delete(c->fs, s3_object_at(c, c->bucket, i->key), 0, &cond);
    if (i->code < 0)
        i->detail = s3_call_dup(c, str_of(err_detail(i->code))).p;
}

static int delete_plain(struct s3_delete_doc *r)
{
    struct s3_call *c = r->c;
    struct str *key = s3_call_mem(c, r->n * sizeof *key);
    int *code = s3_call_mem(c, r->n * sizeof *code);
    size_t *which = s3_call_mem(c, r->n * sizeof *which), n = 0;
    for (size_t i = 0; i < r->n; i++)
        if (!r->item[i].code && !r->item[i].etag.p) {
            key[n] = r->item[i].key;
            which[n++] = i;
        }
    if (n)
        TRY(fs_delete_many(c->fs, s3_bucket_at(c), key, n, code));
    for (size_t i = 0; i < n; i++)
        r->item[which[i]].code = code[i];
    return 0;
}

static int work(struct s3_delete_doc *r)
{
    struct fs_attr bucket;
    TRY(fs_stat(r->c->fs, s3_bucket_at(r->c), FS_NO_LOAD, &bucket, NULL, NULL));
    for (size_t i = 0; i < r->n; i++)
        judge(r->c, &r->item[i]);
    TRY(delete_plain(r));
    for (size_t i = 0; i < r->n; i++)
        if (!r->item[i].code && r->item[i].etag.p)
            delete_one(r->c, &r->item[i]);
    return 0;
}

/* --- the answer */

static void write_item(struct buf *b, const struct s3_delete_item *i, bool quiet)
{
    bool gone = i->code == 0 || i->code == ERR_NOT_FOUND;
    if (gone && quiet)
        return;
    xml_open(b, gone ? "Deleted" : "Error");
    xml_text(b, "Key", i->key);
    if (!gone) {
        xml_textz(b, "Code", err_info(i->code)->s3_code);
        xml_textz(b, "Message", i->detail ? i->detail : err_info(i->code)->text);
    }
    xml_close(b, gone ? "Deleted" : "Error");
}

int s3_delete_objects(struct s3_call *c)
{
    struct s3_delete_doc r;
    struct buf b AUTO_BUF = {0};
    s3_delete_doc_begin(&r, c);
    TRY(read_request(&r));
    TRY(work(&r));
    xml_decl(&b);
    xml_open_ns(&b, "DeleteResult");
    for (size_t i = 0; i < r.n; i++)
        write_item(&b, &r.item[i], r.quiet);
    xml_close(&b, "DeleteResult");
    return s3_reply_xml(c, 200, &b);
}
