/* SPDX-License-Identifier: Apache-2.0
 *
 * ListBuckets: the top-level directories, by name.
 */
#include "s3/call.h"
#include "s3/token.h"

struct page {
    struct s3_call *c;
    struct buf out, last;
    uint64_t version;
};

static int take(void *arg, const struct fs_entry *e)
{
    struct page *p = arg;
    struct str name = e->key;
    if (!str_ends(name, STR("/")))
        return 0; /* a file beside the buckets is none */
    buf_reset(&p->last);
    buf_str_add(&p->last, name);
    name.n--;
    xml_open(&p->out, "Bucket");
    xml_text(&p->out, "Name", name);
    xml_time(&p->out, "CreationDate", e->attr->ctime_ms);
    xml_close(&p->out, "Bucket");
    return 0;
}

static int fill(struct page *p, bool *ret_more)
{
    struct buf after AUTO_BUF = {0};
    struct str prefix = s3_param(p->c, "prefix"), token = s3_param(p->c, "continuation-token");
    uint64_t max;
    TRY(s3_param_u64(p->c, "max-buckets", 1, 10000, 10000, &max));
    if (token.n)
        TRY(s3_token_open(token, &after));
    struct fs_list q = {.dir = {FS_ROOT, STR("")},
                        .prefix = prefix,
                        .after = buf_str(&after),
                        .delimiter = '/',
                        .limit = max,
                        .flags = FS_POSIX};
    TRY(fs_list(p->c->fs, &q, take, p, ret_more, &p->version));
    return fs_settle(p->c->fs, p->version);
}

static void write_page(struct page *p, bool more, struct buf *b)
{
    struct buf token AUTO_BUF = {0};
    xml_decl(b);
    xml_open_ns(b, "ListAllMyBucketsResult");
    s3_xml_owner(b, "Owner", p->c);
    xml_open(b, "Buckets");
    buf_str_add(b, buf_str(&p->out));
    xml_close(b, "Buckets");
    if (more) {
        s3_token_make(&token, buf_str(&p->last));
        xml_text(b, "ContinuationToken", buf_str(&token));
    }
    xml_close(b, "ListAllMyBucketsResult");
}

int s3_list_buckets(struct s3_call *c)
{
    struct page p = {.c = c};
    struct buf b AUTO_BUF = {0};
    bool more = false;
    int r = fill(&p, &more);
    if (!r) {
        write_page(&p, more, &b);
        r = s3_reply_xml(c, 200, &b);
    }
    buf_done(&p.out);
    buf_done(&p.last);
    return r;
}
