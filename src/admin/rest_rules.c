/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/conf and /api/v1/pathconfig/test: the path configuration.
 */
#include "admin/rest.h"

int rest_rules_get(struct rest *r)
{
    struct buf b AUTO_BUF = {0};
    TRY(fs_rules_get(r->a->o.fs, &b));
    http_set(r->rq, "Content-Type", STR("application/json"));
    return http_reply(r->rq, 200, b.p, b.n);
}

int rest_rules_put(struct rest *r)
{
    struct buf b AUTO_BUF = {0};
    TRY(http_body_all(r->rq, 1 << 20, &b));
    TRY(fs_rules_set(r->a->o.fs, buf_str(&b)));
    return rest_json(r, 200, json_pack("{s:s}", "status", "Update successful!"));
}

int rest_rules_test(struct rest *r)
{
    const char *path;
    struct buf b AUTO_BUF = {0};
    TRY(rest_path(r, "path", &path));
    TRY(fs_rules_test(r->a->o.fs, str_of(path), &b));
    http_set(r->rq, "Content-Type", STR("application/json"));
    return http_reply(r->rq, 200, b.p, b.n);
}
