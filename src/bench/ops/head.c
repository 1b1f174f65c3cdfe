/* SPDX-License-Identifier: Apache-2.0
 *
 * head: look at objects at random.
 */
#include "bench/client.h"

static bool step(struct client *c)
{
    struct request r = {
        .kind = BENCH_HEAD, .method = "HEAD", .key = client_key(c, c->cfg->first + client_random(c, c->cfg->keys))};
    if (client_request(c, &r))
        client_done(c, 0, 0);
    else
        client_failed(c, NULL);
    return true;
}

const struct bench_act bench_op_head = {step, NULL, NULL};
