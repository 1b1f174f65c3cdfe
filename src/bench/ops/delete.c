/* SPDX-License-Identifier: Apache-2.0
 *
 * delete: each object once, one request each.
 */
#include "bench/client.h"

static bool step(struct client *c)
{
    uint64_t i = client_number(c);
    if (i >= c->cfg->keys)
        return false;
    struct request r = {.kind = BENCH_DELETE, .method = "DELETE", .key = client_key(c, c->cfg->first + i)};
    if (client_request(c, &r))
        client_done(c, 0, 0);
    else
        client_failed(c, NULL);
    return true;
}

const struct bench_act bench_op_delete = {step, NULL, NULL};
