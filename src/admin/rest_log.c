/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/log: the least important level that is logged, for all events and by name, until the process ends.
 */
#include "admin/rest.h"
#include "base/log.h"

static json_t *levels_json(void)
{
    json_t *names = json_object();
    const char *name;
    enum log_level level;
    for (unsigned i = 0; (name = log_name_level(i, &level)); i++)
        json_object_set_new(names, name, json_string(log_level_name(level)));
    return json_pack("{s:s, s:o}", "level", log_level_name(log_get_level()), "names", names);
}

int rest_log_get(struct rest *r)
{
    return rest_json(r, 200, levels_json());
}

int rest_log_set(struct rest *r)
{
    const char *word, *name = json_string_value(json_object_get(r->in, "name"));
    enum log_level level;
    TRY(rest_string(r, "level", &word));
    if (!log_level_from(word, &level))
        return err_set(ERR_INVALID, "'%s' is no level: DEBUG, INFO, WARN or ERROR", word);
    if (name && name[0] && strcmp(name, "root") != 0)
        TRY(log_set_name_level(name, level));
    else
        log_set_level(level);
    return rest_json(r, 200, levels_json());
}
