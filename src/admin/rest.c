/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers and arguments of REST calls (contract in rest.h).
 */
#include "admin/rest.h"

int rest_json(struct rest *r, int status, json_t *j)
{
    char *text AUTO_FREE = json_dumps(j, JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_decref(j);
    CHECK(text, "an answer that is no JSON");
    struct buf b AUTO_BUF = {0};
    buf_printf(&b, "%s\n", text);
    http_set(r->rq, "Content-Type", STR("application/json"));
    return http_reply(r->rq, status, b.p, b.n);
}

int rest_done(struct rest *r)
{
    return rest_json(r, 200, json_object());
}

int rest_error(struct rest *r, int code)
{
    const struct err_info *e = err_info(code);
    const char *text = err_detail(code);
    json_t *message = json_string(text);
    http_unset_all(r->rq);
    if (code == ERR_AUTH)
        http_set(r->rq, "WWW-Authenticate", STR("Bearer"));
    int status = code == ERR_AUTH ? 401 : e->http;
    return rest_json(
        r, status,
        json_pack("{s:{s:s, s:o}}", "error", "code", e->name, "message", message ? message : json_string(e->text)));
}

/* The decoded value is kept in r->in under a name no body can have, so that it lives as long as the request. */
const char *rest_param(struct rest *r, const char *name)
{
    char slot[80];
    snprintf(slot, sizeof slot, "\x01%s", name);
    const struct http_param *p = http_param(r->rq, name);
    if (!p)
        return NULL;
    if (!json_object_get(r->in, slot) && json_object_set_new(r->in, slot, json_stringn(p->value.p, p->value.n)) != 0)
        return NULL;
    return json_string_value(json_object_get(r->in, slot));
}

bool rest_flag(struct rest *r, const char *name)
{
    const char *v = rest_param(r, name);
    return v && (v[0] == 0 || strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

int rest_number(struct rest *r, const char *name, uint64_t otherwise, uint64_t max, uint64_t *ret)
{
    const char *v = rest_param(r, name);
    uint64_t n = otherwise;
    if (v && !str_u64(str_of(v), max, &n))
        return err_set(ERR_INVALID, "%s=%s is not a number up to %llu", name, v, (unsigned long long)max);
    *ret = n;
    return 0;
}

int rest_string(struct rest *r, const char *name, const char **ret)
{
    const char *v = json_string_value(json_object_get(r->in, name));
    if (!v)
        v = rest_param(r, name);
    if (!v && http_param(r->rq, name))
        return err_set(ERR_BAD_NAME, "'%s' is not valid UTF-8", name);
    if (!v)
        return err_set(ERR_INVALID, "'%s' is missing", name);
    *ret = v;
    return 0;
}

int rest_path(struct rest *r, const char *name, const char **ret)
{
    const char *v = "";
    TRY(rest_string(r, name, &v));
    if (v[0] != '/')
        return err_set(ERR_INVALID, "'%s' is not an absolute path: write /%s", v, v);
    *ret = v;
    return 0;
}

bool rest_bool(struct rest *r, const char *name)
{
    json_t *v = json_object_get(r->in, name);
    return v ? json_is_true(v) : rest_flag(r, name);
}
