/* SPDX-License-Identifier: Apache-2.0
 *
 * put: objects with numbers from `first` upwards, each once.
 */
#include "bench/client.h"

static bool step(struct client *c)
{
    struct content content = content_of(c->cfg->first + client_number(c));
    struct request r = {.kind = BENCH_PUT,
                        .method = "PUT",
                        .key = client_key(c, content.number),
                        .content = &content,
                        .length = c->cfg->size};
    if (client_request(c, &r))
        client_done(c, 0, c->cfg->size);
    else
        client_failed(c, NULL);
    return true;
}

const struct bench_act bench_op_put = {step, NULL, NULL};
