/* SPDX-License-Identifier: Apache-2.0
 *
 * multi-delete: each object once, many with one request. It is quiet: the answer holds the keys that failed, so an
 * answer with an Error is a failure, and its first error is the sample.
 */
#include "bench/client.h"
#include "net/xml.h"
#include <stdatomic.h>

static void build(struct client *c, uint64_t from, uint64_t end)
{
    buf_reset(&c->text);
    xml_open_ns(&c->text, "Delete");
    xml_bool(&c->text, "Quiet", true);
    for (uint64_t i = from; i < end; i++) {
        xml_open(&c->text, "Object");
        xml_text(&c->text, "Key", client_key(c, c->cfg->first + i));
        xml_close(&c->text, "Object");
    }
    xml_close(&c->text, "Delete");
}

static bool step(struct client *c)
{
    static const struct sigv4_pair query[] = {{{"delete", 6}, {"", 0}}};
    uint64_t from = atomic_fetch_add(&c->run->next_key, c->cfg->batch), end = from + c->cfg->batch;
    char code[48];
    if (from >= c->cfg->keys)
        return false;
    if (end > c->cfg->keys)
        end = c->cfg->keys;
    build(c, from, end);
    struct request r = {.kind = BENCH_MULTI_DELETE,
                        .method = "POST",
                        .query = query,
                        .query_n = 1,
                        .body = buf_str(&c->text),
                        .content_md5 = true,
                        .keep = true};
    if (!client_request(c, &r))
        client_failed(c, NULL);
    else if (xml_find(buf_str(&c->wire.body), "DeleteResult/Error/Code", code, sizeof code))
        client_failed(c, code);
    else
        client_done(c, end - from, 0);
    return true;
}

const struct bench_act bench_op_multi_delete = {step, NULL, NULL};
