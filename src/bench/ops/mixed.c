/* SPDX-License-Identifier: Apache-2.0
 *
 * mixed: 45 GET, 30 HEAD, 15 PUT, 10 DELETE of a hundred. Each client has keys of its own (those whose number leaves
 * its id when divided by the clients), so that nobody meets a key another deleted; a PUT makes a new key, which then is
 * its maker's. A client without keys makes one.
 */
#include "bench/client.h"
#include "base/mem.h"

struct mine {
    uint64_t *number;
    size_t n, cap;
};

static void add(struct mine *m, uint64_t number)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 1024;
        m->number = mem_grow(m->number, m->cap, sizeof *m->number);
    }
    m->number[m->n++] = number;
}

static void begin(struct client *c)
{
    struct mine *m = MEM_NEW(struct mine);
    for (uint64_t i = c->id; i < c->cfg->keys; i += c->cfg->clients)
        add(m, c->cfg->first + i);
    c->own = m;
}

static void end(struct client *c)
{
    struct mine *m = c->own;
    free(m->number);
    free(m);
}

static void put(struct client *c, struct mine *m)
{
    struct content content = content_of(c->cfg->first + c->cfg->keys + client_number(c));
    struct request r = {.kind = BENCH_PUT,
                        .method = "PUT",
                        .key = client_key(c, content.number),
                        .content = &content,
                        .length = c->cfg->size};
    if (!client_request(c, &r)) {
        client_failed(c, NULL);
        return;
    }
    add(m, content.number);
    client_done(c, 0, c->cfg->size);
}

/* HEAD has no bytes; DELETE takes the key away whatever the answer says. */
static void other(struct client *c, struct mine *m, enum bench_kind kind)
{
    size_t at = client_random(c, m->n);
    struct content content = content_of(m->number[at]);
    struct request r = {.kind = kind,
                        .method = kind == BENCH_GET    ? "GET"
                                  : kind == BENCH_HEAD ? "HEAD"
                                                       : "DELETE",
                        .key = client_key(c, content.number),
                        .expect = kind == BENCH_GET && c->cfg->verify ? &content : NULL};
    if (kind == BENCH_DELETE)
        m->number[at] = m->number[--m->n];
    if (!client_request(c, &r))
        client_failed(c, NULL);
    else if (kind == BENCH_GET && c->wire.got != c->cfg->size)
        client_failed(c, "wrong size");
    else
        client_done(c, 0, kind == BENCH_GET ? c->cfg->size : 0);
}

static bool step(struct client *c)
{
    struct mine *m = c->own;
    uint64_t dice = client_random(c, 100);
    if (dice < 15 || !m->n)
        put(c, m);
    else
        other(c, m, dice < 25 ? BENCH_DELETE : dice < 55 ? BENCH_HEAD : BENCH_GET);
    return true;
}

const struct bench_act bench_op_mixed = {step, begin, end};
