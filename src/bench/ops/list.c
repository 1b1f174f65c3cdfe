/* SPDX-License-Identifier: Apache-2.0
 *
 * list: everything below the prefix, page by page; one page is one operation, so that latencies are of pages. A client
 * begins again at the start when it is through.
 */
#include "bench/client.h"
#include "base/mem.h"
#include "net/xml.h"

struct place {
    char token[2048]; /* "": at the start */
};

static void begin(struct client *c)
{
    c->own = MEM_NEW(struct place);
}

static void end(struct client *c)
{
    free(c->own);
}

/* Text of keys is escaped, so an element's tag is found by its bytes. */
static uint64_t count_keys(struct str body)
{
    static const char tag[] = "<Contents>";
    uint64_t n = 0;
    for (const char *p = body.p, *e = body.p + body.n; (p = memmem(p, (size_t)(e - p), tag, sizeof tag - 1)); n++)
        p += sizeof tag - 1;
    return n;
}

/* The text of the first element of that name, which lies below the document; false when there is none. */
static bool element(struct str body, const char *name, char *ret, size_t cap)
{
    char open[64], close[64];
    int on = snprintf(open, sizeof open, "<%s>", name), cn = snprintf(close, sizeof close, "</%s>", name);
    const char *from = memmem(body.p, body.n, open, (size_t)on);
    const char *to = from ? memmem(from, body.n - (size_t)(from - body.p), close, (size_t)cn) : NULL;
    return to && xml_find(str_mk(from, (size_t)(to - from) + (size_t)cn), name, ret, cap);
}

/* What to ask for: the pairs point into p and the config. */
static size_t make_query(const struct bench_config *cfg, const struct place *p, const char *page,
                         struct sigv4_pair q[4])
{
    size_t n = 0;
    q[n++] = (struct sigv4_pair){STR("list-type"), STR("2")};
    q[n++] = (struct sigv4_pair){STR("max-keys"), str_of(page)};
    q[n++] = (struct sigv4_pair){STR("prefix"), str_of(cfg->prefix)};
    if (p->token[0])
        q[n++] = (struct sigv4_pair){STR("continuation-token"), str_of(p->token)};
    else if (cfg->after)
        q[n++] = (struct sigv4_pair){STR("start-after"), str_of(cfg->after)};
    return n;
}

static bool step(struct client *c)
{
    struct place *p = c->own;
    struct sigv4_pair query[4];
    char page[12], more[8];
    snprintf(page, sizeof page, "%u", c->cfg->page);
    struct request r = {.kind = BENCH_LIST, .method = "GET", .query = query, .keep = true};
    r.query_n = make_query(c->cfg, p, page, query);
    bool ok = client_request(c, &r);
    struct str body = buf_str(&c->wire.body);
    p->token[0] = 0;
    if (!ok)
        client_failed(c, NULL);
    else if (!element(body, "IsTruncated", more, sizeof more) ||
             (strcmp(more, "true") == 0 && !element(body, "NextContinuationToken", p->token, sizeof p->token)))
        client_failed(c, "not a listing");
    else
        client_done(c, count_keys(body), 0);
    return true;
}

const struct bench_act bench_op_list = {step, begin, end};
