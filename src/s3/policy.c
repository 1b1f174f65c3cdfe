/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies of upload forms (contract in policy.h).
 */
#define _XOPEN_SOURCE 700 /* strptime */
#include "s3/policy.h"
#include "base/clock.h"
#include "s3/base64.h"
#include <jansson.h>
#include <time.h>

struct check {
    const struct s3_form *f;
    struct str bucket, key;
    struct s3_policy_range range;
    bool *met; /* for each field of the form: a condition names it */
};

static int bad_policy(const char *what)
{
    return err_set(ERR_POLICY, "Invalid Policy: %s", what);
}

static int denied(const char *what)
{
    return err_set(ERR_DENIED, "Invalid according to Policy: %s", what);
}

/* --- conditions */

static void lower_name(const char *name, char out[128])
{
    size_t n = 0;
    for (; name[n] && n < 127; n++)
        out[n] = (char)(name[n] >= 'A' && name[n] <= 'Z' ? name[n] | 32 : name[n]);
    out[n] = 0;
}

/* The value a condition is about; p NULL when the form has no such field. */
static struct str subject(struct check *k, const char *name)
{
    if (!strcmp(name, "bucket") || !strcmp(name, "key")) {
        for (size_t i = 0; i < k->f->n; i++)
            k->met[i] |= str_eq(k->f->field[i].name, str_of(name));
        return name[0] == 'b' ? k->bucket : k->key;
    }
    for (size_t i = 0; i < k->f->n; i++)
        if (str_eq(k->f->field[i].name, str_of(name))) {
            k->met[i] = true;
            return k->f->field[i].value;
        }
    return (struct str){NULL, 0};
}

static int compare(struct check *k, const char *raw_name, struct str want, bool starts)
{
    char name[128];
    lower_name(raw_name, name);
    struct str is = subject(k, name);
    if (is.p ? (starts ? str_starts(is, want) : str_eq(is, want)) : want.n == 0)
        return 0;
    return err_set(ERR_DENIED, "Invalid according to Policy: Policy Condition failed: [\"%s\", \"$%s\", \"%.*s\"]",
                   starts ? "starts-with" : "eq", raw_name, (int)(want.n < 200 ? want.n : 200), want.p);
}

static struct str text_of(const json_t *j)
{
    return json_is_string(j) ? str_mk(json_string_value(j), json_string_length(j)) : (struct str){NULL, 0};
}

/* {"acl": "private"}: one pair or several. */
static int check_pairs(struct check *k, json_t *o)
{
    const char *name;
    json_t *v;
    json_object_foreach(o, name, v)
    {
        struct str want = text_of(v);
        if (!want.p)
            return bad_policy("a simple condition is not a string");
        TRY(compare(k, name, want, false));
    }
    return 0;
}

static int bound(const json_t *j, uint64_t *ret)
{
    struct str s = text_of(j);
    if (json_is_integer(j) && json_integer_value(j) >= 0)
        *ret = (uint64_t)json_integer_value(j);
    else if (!s.p || !str_u64(s, UINT64_MAX, ret))
        return bad_policy("content-length-range needs two numbers");
    return 0;
}

/* ["starts-with", "$key", "user/"] */
static int check_list(struct check *k, json_t *a)
{
    struct str op = text_of(json_array_get(a, 0)), name = text_of(json_array_get(a, 1)),
               want = text_of(json_array_get(a, 2));
    if (json_array_size(a) != 3 || !op.p)
        return bad_policy("a condition has not three parts");
    if (str_ieq(op, STR("content-length-range"))) {
        TRY(bound(json_array_get(a, 1), &k->range.min));
        return bound(json_array_get(a, 2), &k->range.max);
    }
    bool starts = str_ieq(op, STR("starts-with"));
    if (!starts && !str_ieq(op, STR("eq")))
        return bad_policy("a condition is none of eq, starts-with, content-length-range");
    if (!name.n || name.p[0] != '$' || !want.p)
        return bad_policy("a condition names no $field, or its value is not a string");
    return compare(k, name.p + 1, want, starts);
}

/* --- the document */

static int check_expiry(const json_t *doc)
{
    const char *text = json_string_value(json_object_get(doc, "expiration"));
    struct tm tm = {0};
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (end && *end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    if (!end || strcmp(end, "Z") != 0)
        return bad_policy("expiration is missing or no time like 2026-12-01T12:00:00.000Z");
    return (int64_t)(clock_wall_ms() / 1000) >= (int64_t)timegm(&tm) ? denied("Policy expired.") : 0;
}

static bool needs_no_condition(struct str name)
{
    return str_eq(name, STR("x-amz-signature")) || str_eq(name, STR("policy")) || str_eq(name, STR("awsaccesskeyid")) ||
           str_eq(name, STR("signature")) || str_starts(name, STR("x-ignore-"));
}

static int check_document(struct check *k, json_t *doc)
{
    json_t *conditions = json_object_get(doc, "conditions"), *one;
    size_t i;
    if (!json_is_object(doc) || !json_is_array(conditions))
        return bad_policy("it has no conditions");
    TRY(check_expiry(doc));
    json_array_foreach(conditions, i, one)
    {
        if (!json_is_object(one) && !json_is_array(one))
            return bad_policy("a condition is neither an object nor a list");
        TRY(json_is_object(one) ? check_pairs(k, one) : check_list(k, one));
    }
    for (i = 0; i < k->f->n; i++)
        if (!k->met[i] && !needs_no_condition(k->f->field[i].name))
            return err_set(ERR_DENIED, "Invalid according to Policy: Extra input fields: %.*s",
                           (int)(k->f->field[i].name.n < 200 ? k->f->field[i].name.n : 200), k->f->field[i].name.p);
    return 0;
}

static int decode(struct str text, struct buf *ret)
{
    struct buf url AUTO_BUF = {0};
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\r' || c == '\n' || c == ' ')
            continue;
        c = c == '+' ? '-' : c == '/' ? '_' : c;
        if (c != '=')
            buf_add(&url, &c, 1);
    }
    return s3_base64url_decode(buf_str(&url), ret) ? 0 : bad_policy("it is not base64");
}

int s3_policy_check(const struct s3_form *f, struct str bucket, struct str key, struct s3_policy_range *ret)
{
    struct str text = s3_form_get(f, "policy");
    struct check k = {.f = f, .bucket = bucket, .key = key, .range = {0, UINT64_MAX}};
    struct buf json AUTO_BUF = {0};
    json_error_t e;
    if (!text.p) {
        *ret = k.range;
        return 0;
    }
    TRY(decode(text, &json));
    json_t *doc = json_loadb(json.p ? json.p : "", json.n, JSON_REJECT_DUPLICATES, &e);
    if (!doc)
        return bad_policy("it is not JSON");
    k.met = s3_call_mem(f->c, f->n + 1);
    memset(k.met, 0, f->n + 1);
    int r = check_document(&k, doc);
    json_decref(doc);
    if (r == 0)
        *ret = k.range;
    return r;
}
