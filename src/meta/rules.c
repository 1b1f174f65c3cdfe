/* SPDX-License-Identifier: Apache-2.0
 *
 * The path configuration: JSON of apiVersion v1.0 with a defaultRule and pathRules. Of the rules whose alluxioPath
 * matches a path, the most specific one applies: the one with the longest text before its first wildcard; of equals the
 * first. A pattern that ends in "/" and two stars matches the directory itself too. Parsed once, replaced as a whole;
 * readers keep the parsed form by reference count.
 */
#include "meta/tx.h"
#include <jansson.h>
#include <stdatomic.h>

struct rule {
    char *pattern, *json;
    size_t literal; /* bytes before the first wildcard */
    struct meta_rule rule;
};

struct rules {
    atomic_uint refs;
    struct rule fallback;
    struct rule *rule;
    size_t n;
    bool ordered; /* some rule asks for an order */
    char *text;   /* as it was set */
};

static const char *const policy_name[] = {"WRITE_THROUGH", "WRITE_BACK", "TRANSIENT", "READ_ONLY", "NO_CACHE"};

const char *meta_policy_name(enum meta_policy p)
{
    return policy_name[p];
}

static void rules_put(struct rules *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->rule[i].pattern);
        free(r->rule[i].json);
    }
    free(r->rule);
    free(r->fallback.json);
    free(r->text);
    free(r);
}

static struct rules *rules_get(struct meta *m)
{
    LOCKED(&m->lock);
    atomic_fetch_add(&m->rules->refs, 1);
    return m->rules;
}

static void rules_use(struct meta *m, struct rules *r)
{
    lock_take(&m->lock);
    struct rules *old = m->rules;
    m->rules = r;
    atomic_store(&m->ordered, r->ordered);
    lock_drop(&m->lock);
    rules_put(old);
}

/* ---- parsing ---- */

/* The line where member of the nth rule stands in the text, to point people at it. */
static int line_of(struct str text, const char *word, size_t nth)
{
    int line = 1, found = 1;
    size_t n = strlen(word);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            line++;
        if (text.n - i >= n && !memcmp(text.p + i, word, n)) {
            found = line;
            if (!nth--)
                return line;
        }
    }
    return found;
}

static int parse_policy(struct meta *m, json_t *rule, const char *where, int line, enum meta_policy *ret)
{
    const char *p = json_string_value(json_object_get(rule, "policyMode"));
    for (size_t i = 0; p && i < sizeof policy_name / sizeof *policy_name; i++)
        if (!strcmp(p, policy_name[i])) {
            if (!m->write_cache && (i == META_WRITE_BACK || i == META_TRANSIENT))
                return err_set(ERR_INVALID, "line %d: %s: policyMode %s needs alluxio.write.cache.enabled=true", line,
                               where, p);
            *ret = (enum meta_policy)i;
            return 0;
        }
    return err_set(
        ERR_INVALID,
        "line %d: %s: policyMode must be one of WRITE_THROUGH, WRITE_BACK, TRANSIENT, READ_ONLY, NO_CACHE%s%s", line,
        where, p ? ", not " : "", p ? p : "");
}

static int parse_ordered(json_t *v, const char *where, int line, struct meta_rule *rule)
{
    if (v && !json_is_boolean(v))
        return err_set(ERR_INVALID, "line %d: %s: orderedPublication must be true or false", line, where);
    if (v)
        rule->ordered = json_is_true(v);
    return 0;
}

static int parse_rule(struct meta *m, json_t *j, const char *where, int line, struct rule *r)
{
    if (!json_is_object(j))
        return err_set(ERR_INVALID, "line %d: %s must be an object", line, where);
    TRY(parse_policy(m, j, where, line, &r->rule.policy));
    r->rule.replicas = 1;
    json_t *props = json_object_get(j, "properties"), *rep = json_object_get(props, "writeReplicas");
    if (props && !json_is_object(props))
        return err_set(ERR_INVALID, "line %d: %s: properties must be an object", line, where);
    if (rep) {
        json_int_t v = json_is_integer(rep) ? json_integer_value(rep) : 0;
        if (v < 1 || v > 16)
            return err_set(ERR_INVALID, "line %d: %s: writeReplicas must be a whole number from 1 to 16", line, where);
        r->rule.replicas = (unsigned)v;
    }
    TRY(parse_ordered(json_object_get(j, "orderedPublication"), where, line, &r->rule));
    TRY(parse_ordered(json_object_get(props, "orderedPublication"), where, line, &r->rule));
    r->json = json_dumps(j, JSON_INDENT(2));
    return 0;
}

static int parse_path_rule(struct meta *m, json_t *j, struct str text, size_t i, struct rule *r)
{
    char where[64];
    int line = line_of(text, "\"alluxioPath\"", i);
    snprintf(where, sizeof where, "pathRules[%zu]", i);
    const char *p = json_string_value(json_object_get(j, "alluxioPath"));
    if (!p || p[0] != '/')
        return err_set(ERR_INVALID, "line %d: %s: alluxioPath must be a string that starts with '/'", line, where);
    TRY(parse_rule(m, j, where, line, r));
    r->pattern = str_dup(str_of(p));
    r->literal = strcspn(p, "*?[\\");
    return 0;
}

static int parse_list(struct meta *m, json_t *list, struct str text, struct rules *r)
{
    if (!list)
        return 0;
    if (!json_is_array(list))
        return err_set(ERR_INVALID, "line %d: pathRules must be an array", line_of(text, "\"pathRules\"", 0));
    size_t n = json_array_size(list);
    r->rule = calloc(n ? n : 1, sizeof *r->rule);
    for (size_t i = 0; i < n; i++) {
        r->n = i + 1;
        TRY(parse_path_rule(m, json_array_get(list, i), text, i, &r->rule[i]));
        for (size_t k = 0; k < i; k++)
            if (!strcmp(r->rule[k].pattern, r->rule[i].pattern))
                return err_set(ERR_INVALID, "line %d: pathRules[%zu]: alluxioPath %s is there twice",
                               line_of(text, "\"alluxioPath\"", i), i, r->rule[i].pattern);
    }
    return 0;
}

static int parse_doc(struct meta *m, json_t *doc, struct str text, struct rules *r)
{
    const char *v = json_string_value(json_object_get(doc, "apiVersion"));
    if (!v || strcmp(v, "v1.0"))
        return err_set(ERR_INVALID, "line %d: apiVersion must be \"v1.0\", not %s", line_of(text, "\"apiVersion\"", 0),
                       v ? v : "absent");
    json_t *def = json_object_get(doc, "defaultRule");
    if (def)
        TRY(parse_rule(m, def, "defaultRule", line_of(text, "\"defaultRule\"", 0), &r->fallback));
    const char *name;
    json_t *value;
    json_object_foreach(doc, name, value) if (
        strcmp(name, "apiVersion") && strcmp(name, "defaultRule") &&
        strcmp(name, "pathRules")) return err_set(ERR_INVALID,
                                                  "unknown member \"%s\"; known are apiVersion, defaultRule, pathRules",
                                                  name);
    return parse_list(m, json_object_get(doc, "pathRules"), text, r);
}

static int rules_parse(struct meta *m, struct str text, struct rules **ret)
{
    json_error_t e;
    json_t *doc = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &e);
    if (!doc)
        return err_set(ERR_INVALID, "line %d, column %d: %s", e.line, e.column, e.text);
    struct rules *r = calloc(1, sizeof *r);
    atomic_init(&r->refs, 1);
    r->fallback.rule = (struct meta_rule){META_WRITE_THROUGH, 1, false};
    int rc = json_is_object(doc) ? parse_doc(m, doc, text, r) : err_set(ERR_INVALID, "line 1: must be a JSON object");
    json_decref(doc);
    if (rc < 0) {
        rules_put(r);
        return rc;
    }
    r->text = str_dup(text);
    r->ordered = r->fallback.rule.ordered;
    for (size_t i = 0; i < r->n; i++)
        r->ordered |= r->rule[i].rule.ordered;
    *ret = r;
    return 0;
}

static const char default_text[] = "{\n"
                                   "  \"apiVersion\": \"v1.0\",\n"
                                   "  \"defaultRule\": {\n"
                                   "    \"description\": \"Global default\",\n"
                                   "    \"policyMode\": \"WRITE_THROUGH\",\n"
                                   "    \"properties\": {\n"
                                   "      \"writeReplicas\": 1\n"
                                   "    }\n"
                                   "  },\n"
                                   "  \"pathRules\": []\n"
                                   "}\n";

/* ---- matching ---- */

static bool rule_matches(const struct rule *r, struct str path)
{
    struct str pat = str_of(r->pattern);
    if (str_glob(pat, path))
        return true;
    if (!str_ends(pat, STR("/**")))
        return false;
    pat.n -= 3; /* everything below a directory speaks of the directory itself as well */
    return str_glob(pat, path) ||
           (path.n && path.p[path.n - 1] == '/' && str_glob(pat, (struct str){path.p, path.n - 1}));
}

static const struct rule *rules_match(const struct rules *r, struct str path)
{
    const struct rule *best = NULL;
    for (size_t i = 0; i < r->n; i++)
        if ((!best || r->rule[i].literal > best->literal) && rule_matches(&r->rule[i], path))
            best = &r->rule[i];
    return best ? best : &r->fallback;
}

static void absolute(struct str path, struct buf *out)
{
    if (!path.n || path.p[0] != '/')
        buf_u8(out, '/');
    buf_str_add(out, path);
}

struct meta_rule meta_rule(struct meta *m, struct str path)
{
    struct rules *r = rules_get(m);
    struct buf abs AUTO_BUF = {0};
    absolute(path, &abs);
    struct meta_rule rule = rules_match(r, buf_str(&abs))->rule;
    rules_put(r);
    if (!m->write_cache && (rule.policy == META_WRITE_BACK || rule.policy == META_TRANSIENT))
        rule.policy = META_WRITE_THROUGH;
    return rule;
}

int meta_rules_test(struct meta *m, struct str path, struct buf *ret_json)
{
    struct rules *r = rules_get(m);
    struct buf abs AUTO_BUF = {0};
    absolute(path, &abs);
    const struct rule *k = rules_match(r, buf_str(&abs));
    if (k->json)
        buf_putz(ret_json, k->json);
    else
        buf_printf(ret_json,
                   "{\n  \"description\": \"built-in default\",\n  \"policyMode\": \"%s\",\n  \"properties\": {\n"
                   "    \"writeReplicas\": %u\n  }\n}",
                   meta_policy_name(k->rule.policy), k->rule.replicas);
    rules_put(r);
    return 0;
}

int meta_rules_json(struct meta *m, struct buf *ret)
{
    struct rules *r = rules_get(m);
    buf_putz(ret, r->text);
    rules_put(r);
    return 0;
}

/* ---- keeping ---- */

struct rules_arg {
    struct str text;
    struct buf out;
    bool found;
};

static int load_tx(struct kv_tx *tx, void *arg)
{
    struct rules_arg *a = arg;
    struct str v;
    int r = kv_get(tx, STR("P"), &v);
    buf_reset(&a->out);
    a->found = r == 0;
    if (r == 0)
        buf_str_add(&a->out, v);
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int store_tx(struct kv_tx *tx, void *arg)
{
    struct rules_arg *a = arg;
    kv_put(tx, STR("P"), a->text);
    /* What is there already and may be persisted now is found by a walk from the root. */
    tx_queue(tx, Q_RULES, clock_wall_ms(), META_ROOT, STR(""), NULL);
    return 0;
}

int rules_open(struct meta *m)
{
    struct rules_arg a = {0};
    struct rules *r = NULL;
    bool cache = m->write_cache;
    int rc = kv_view(m->kv, load_tx, &a, NULL);
    m->write_cache = true; /* what was stored is read whatever the switch says now; meta_rule() applies the switch */
    if (rc == 0)
        rc = rules_parse(m, a.found ? buf_str(&a.out) : str_of(default_text), &r);
    m->write_cache = cache;
    buf_done(&a.out);
    if (rc < 0)
        return rc;
    m->rules = r;
    atomic_store(&m->ordered, r->ordered);
    return 0;
}

void rules_close(struct meta *m)
{
    rules_put(m->rules);
    m->rules = NULL;
}

bool meta_rules_stored(struct meta *m)
{
    struct rules_arg a = {0};
    int r = kv_view(m->kv, load_tx, &a, NULL);
    buf_done(&a.out);
    return r == 0 && a.found;
}

int meta_rules_set(struct meta *m, struct str json)
{
    struct rules *r;
    if (json.n > KV_VALUE_MAX)
        return err_set(ERR_TOO_LARGE, "the path configuration may have at most %d bytes", KV_VALUE_MAX);
    TRY(rules_parse(m, json, &r));
    struct rules_arg a = {.text = json};
    int rc = meta_update(m, store_tx, &a);
    if (rc < 0) {
        rules_put(r);
        return rc;
    }
    rules_use(m, r);
    watch_rules(m);
    meta_kick(m, Q_RULES);
    return 0;
}
