/* SPDX-License-Identifier: Apache-2.0
 *
 * get: objects at random.
 */
#include "bench/client.h"

static bool step(struct client *c)
{
    const struct bench_config *cfg = c->cfg;
    struct content content = content_of(cfg->first + client_random(c, cfg->keys));
    struct request r = {.kind = BENCH_GET,
                        .method = "GET",
                        .key = client_key(c, content.number),
                        .expect = cfg->verify ? &content : NULL};
    if (!client_request(c, &r))
        client_failed(c, NULL);
    else if (c->wire.got != cfg->size)
        client_failed(c, "wrong size");
    else
        client_done(c, 0, cfg->size);
    return true;
}

const struct bench_act bench_op_get = {step, NULL, NULL};
