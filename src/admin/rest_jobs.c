/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/load and /api/v1/free: submit a job, ask how it stands, list them, stop one.
 */
#include "admin/filter.h"
#include "admin/jobs.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "conf/conf.h"

/* ---- what is to be done ---- */

/* The paths as the namespace names them; ufs addresses are those of a mount. */
static int take_paths(struct rest *r, json_t *ret)
{
    json_t *paths = json_object_get(r->in, "paths"), *v;
    const char *path;
    size_t i;
    if (paths && !json_is_array(paths))
        return err_set(ERR_INVALID, "'paths' must be an array of paths");
    json_array_foreach(paths, i, v)
    {
        struct buf abs AUTO_BUF = {0};
        if (!json_is_string(v))
            return err_set(ERR_INVALID, "'paths' must be an array of paths");
        TRY(place_of_uri(r->a->o.fs, json_string_value(v), &abs));
        json_array_append_new(ret, json_string(abs.p));
    }
    if (json_array_size(ret) == 0 && rest_path(r, "path", &path) == 0)
        json_array_append_new(ret, json_string(path));
    return 0;
}

static int check_paths(struct rest *r, const json_t *paths)
{
    size_t i;
    json_t *v;
    json_array_foreach(paths, i, v)
    {
        struct place p AUTO_PLACE = {0};
        TRY(place_find(r->a->o.fs, json_string_value(v), PREFER_DIR, &p, NULL, NULL));
    }
    return 0;
}

/* ---- options ---- */

static int take_bool(const json_t *v, const char *name, bool *ret)
{
    if (!json_is_boolean(v))
        return err_set(ERR_INVALID, "options.%s must be true or false", name);
    *ret = json_is_true(v);
    return 0;
}

static int take_bandwidth(const json_t *v, uint64_t *ret)
{
    if (json_is_string(v))
        return conf_parse_size(str_of(json_string_value(v)), ret);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(ERR_INVALID, "options.bandwidth must be bytes a second, or a size such as \"100MB\"");
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

static int take_regex(const json_t *v, char **ret)
{
    struct filter *f;
    if (!json_is_string(v))
        return err_set(ERR_INVALID, "options.fileFilterRegex must be a string");
    int code = filter_new(json_string_value(v), &f);
    if (code < 0)
        return err_prefix(code, "options.fileFilterRegex: ");
    filter_free(f);
    *ret = str_dup(str_of(json_string_value(v)));
    return 0;
}

/* Known from elsewhere, and without effect with one worker that always lists in parts and in batches. */
static bool without_effect(const char *name)
{
    static const char *const known[] = {"batchSize", "replicas", "sync", "partialListing"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i], name) == 0)
            return true;
    return false;
}

static int take_option(struct job *j, const char *name, const json_t *v)
{
    if (strcmp(name, "skipIfExists") == 0)
        return take_bool(v, name, &j->skip_cached);
    if (strcmp(name, "loadMetadataOnly") == 0)
        return take_bool(v, name, &j->metadata_only);
    if (strcmp(name, "verify") == 0)
        return take_bool(v, name, &j->verify);
    if (strcmp(name, "bandwidth") == 0)
        return take_bandwidth(v, &j->bandwidth);
    if (strcmp(name, "fileFilterRegex") == 0)
        return take_regex(v, &j->regex);
    if (!without_effect(name))
        return err_set(ERR_INVALID,
                       "unknown option '%s'; known are skipIfExists, loadMetadataOnly, verify, bandwidth, "
                       "fileFilterRegex",
                       name);
    json_array_append_new(j->ignored, json_string(name));
    return 0;
}

static int take_options(struct rest *r, struct job *j)
{
    json_t *options = json_object_get(r->in, "options"), *v;
    const char *name;
    if (options && !json_is_object(options))
        return err_set(ERR_INVALID, "'options' must be an object");
    json_object_foreach(options, name, v) TRY(take_option(j, name, v));
    return 0;
}

static char *string_member(struct rest *r, const char *name)
{
    const char *s = json_string_value(json_object_get(r->in, name));
    return s && s[0] ? str_dup(str_of(s)) : NULL;
}

static int fill_job(struct rest *r, struct job *j)
{
    j->paths = json_array();
    j->index = string_member(r, "index");
    TRY(take_paths(r, j->paths));
    TRY(take_options(r, j));
    if (j->index && json_array_size(j->paths))
        return err_set(ERR_INVALID, "either 'paths' or 'index' is given, not both");
    if (!j->index && json_array_size(j->paths) == 0)
        json_array_append_new(j->paths, json_string("/"));
    TRY(check_paths(r, j->paths));
    if (j->index) {
        struct place p AUTO_PLACE = {0};
        TRY(place_find(r->a->o.fs, j->index, PREFER_FILE, &p, NULL, NULL));
    }
    j->alias = string_member(r, "alias");
    if (!j->alias)
        j->alias = str_dup(str_of(j->index ? j->index : json_string_value(json_array_get(j->paths, 0))));
    j->start_ms = clock_wall_ms();
    uuid_new(j->id);
    return job_check_room(j);
}

/* ---- the calls ---- */

static int start(struct rest *r, enum job_kind kind)
{
    struct job *j = job_new(r->a, kind);
    json_t *shown = NULL;
    int code = fill_job(r, j);
    bool in = code == 0 && job_enter(r->a, j, &shown, &code);
    if (!in)
        job_free(j);
    return shown ? rest_json(r, in ? 200 : 409, shown) : code;
}

static int no_job(struct rest *r)
{
    return rest_json(r, 404, json_pack("{s:s}", "status", "No job found for this id, alias, index or path"));
}

struct asked {
    const char *id, *alias, *index;
};

/* 1: something was asked for; 0: nothing. A path may be an address in a mount's UFS: buf holds what it stands for. */
static int take_asked(struct rest *r, struct buf *path, struct asked *ret)
{
    const char *given = rest_param(r, "path");
    *ret = (struct asked){rest_param(r, "id"), rest_param(r, "alias"), rest_param(r, "index")};
    if (given && !ret->alias) {
        TRY(place_of_uri(r->a->o.fs, given, path));
        ret->alias = path->p;
    }
    return ret->id || ret->alias || ret->index;
}

static int get(struct rest *r, enum job_kind kind)
{
    struct buf path AUTO_BUF = {0};
    struct asked q;
    json_t *j;
    uint64_t count;
    int asked = take_asked(r, &path, &q);
    if (asked < 0)
        return asked;
    if (asked == 0) {
        TRY(rest_number(r, "count", JOBS_KEPT, JOBS_KEPT, &count));
        return rest_json(r, 200, job_list(r->a, kind, rest_param(r, "lastKey"), count));
    }
    TRY(job_look(r->a, kind, q.id, q.alias, q.index, false, &j));
    return j ? rest_json(r, 200, j) : no_job(r);
}

static int stop(struct rest *r, enum job_kind kind)
{
    struct buf path AUTO_BUF = {0};
    struct asked q;
    json_t *j = NULL;
    int asked = take_asked(r, &path, &q);
    if (asked <= 0)
        return asked < 0 ? asked : err_set(ERR_INVALID, "which job? id, alias, index or path is missing");
    TRY(job_look(r->a, kind, q.id, q.alias, q.index, true, &j));
    return j ? rest_json(r, 200, j) : no_job(r);
}

int rest_load_start(struct rest *r)
{
    return start(r, JOB_LOAD);
}

int rest_load_get(struct rest *r)
{
    return get(r, JOB_LOAD);
}

int rest_load_stop(struct rest *r)
{
    return stop(r, JOB_LOAD);
}

int rest_free_start(struct rest *r)
{
    return start(r, JOB_FREE);
}

int rest_free_get(struct rest *r)
{
    return get(r, JOB_FREE);
}

int rest_free_stop(struct rest *r)
{
    return stop(r, JOB_FREE);
}
