/* SPDX-License-Identifier: Apache-2.0
 *
 * `conf get`: values of properties: the server's when it runs, else those of the configuration file.
 */
#include "cli/cli.h"
#include "cli/server.h"
#include "base/err.h"
#include "conf/conf.h"

static const struct cli_opt opts[] = {
    {"source", 0, NULL, "Show where a value comes from instead.", 0},
    {"unit", 0, "UNIT", "Convert: B, KB, MB, GB, TB for sizes; MS, S, MIN, H, DAY for times.", 0},
    {"local", 0, NULL, "Read the configuration file, do not ask the server.", 0},
    {"master", 0, NULL, "Accepted for scripts: the server is always asked first.", 0},
    {0}};

/* From a server or a file: {"name", "value", "source", "bytes" or "ms" for what has a unit}. */
static json_t *item_json(const struct conf *conf, const struct conf_item *it)
{
    json_t *j = json_pack("{s:s, s:s, s:s}", "name", it->name, "value", it->value, "source", it->source);
    if (it->type == CONF_SIZE && it->value[0])
        json_object_set_new(j, "bytes", json_integer((json_int_t)conf_size(conf, it->prop)));
    if (it->type == CONF_MS && it->value[0])
        json_object_set_new(j, "ms", json_integer((json_int_t)conf_ms(conf, it->prop)));
    return j;
}

struct all {
    const struct conf *conf;
    json_t *list;
};

static int add_item(void *arg, const struct conf_item *it)
{
    struct all *a = arg;
    json_array_append_new(a->list, item_json(a->conf, it));
    return 0;
}

static int from_file(struct cli *c, json_t **ret)
{
    const struct conf *conf;
    struct conf_item it;
    int r = cli_conf(c, &conf);
    if (r < 0)
        return cli_fail(c, "%s", err_detail(r));
    struct all a = {conf, json_array()};
    if (c->word_n == 0)
        conf_each(conf, add_item, &a);
    else if ((r = conf_get_by_name(conf, str_of(c->word[0]), &it)) == 0)
        add_item(&a, &it);
    *ret = a.list;
    return r < 0 ? cli_fail(c, "%s", err_detail(r)) : 0;
}

/* 0 and *ret, or an exit code; *ret stays NULL when no server answered. */
static int from_server(struct cli *c, json_t **ret)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    buf_putz(&url, "/api/v1/properties");
    if (c->word_n)
        cli_query(&url, "name", c->word[0]);
    if (cli_call(c, "GET", url.p, NULL, &a) == 0)
        *ret = json_incref(json_object_get(a.json, "properties"));
    else if (a.status != 0)
        return cli_answer_fail(c, &a, NULL);
    return 0;
}

static double unit_size(const char *unit, const char *member)
{
    static const struct {
        const char *unit, *member;
        double size;
    } known[] = {{"B", "bytes", 1},
                 {"KB", "bytes", 1024},
                 {"MB", "bytes", 1048576},
                 {"GB", "bytes", 1073741824.0},
                 {"TB", "bytes", 1099511627776.0},
                 {"MS", "ms", 1},
                 {"S", "ms", 1000},
                 {"SEC", "ms", 1000},
                 {"MIN", "ms", 60000},
                 {"H", "ms", 3600000},
                 {"DAY", "ms", 86400000}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(known[i].unit, unit) == 0 && strcmp(known[i].member, member) == 0)
            return known[i].size;
    return 0;
}

static int print_in_unit(struct cli *c, const json_t *it, const char *unit)
{
    const char *member = json_object_get(it, "bytes") ? "bytes" : "ms";
    double size = unit_size(unit, member);
    if (!json_object_get(it, member) || size == 0)
        return cli_misuse(c, "%s cannot be shown in the unit %s", cli_js(it, "name"), unit);
    fprintf(c->out, "%.15g\n", (double)cli_ju(it, member) / size);
    return CLI_OK;
}

static int print_one(struct cli *c, const json_t *it)
{
    if (cli_has(c, "unit"))
        return print_in_unit(c, it, cli_get(c, "unit", ""));
    fprintf(c->out, "%s\n", cli_js(it, cli_has(c, "source") ? "source" : "value"));
    return CLI_OK;
}

static void print_all(struct cli *c, const json_t *list)
{
    size_t i;
    json_t *it;
    json_array_foreach(list, i, it)
    {
        fprintf(c->out, "%s=%s", cli_js(it, "name"), cli_js(it, "value"));
        fprintf(c->out, cli_has(c, "source") ? " (%s)\n" : "\n", cli_js(it, "source"));
    }
}

static int run(struct cli *c)
{
    json_t *list = NULL;
    int r = cli_has(c, "local") ? 0 : from_server(c, &list);
    if (r == 0 && !list)
        r = from_file(c, &list);
    if (r == 0 && cli_json(c))
        cli_print_json(c, c->word_n ? json_array_get(list, 0) : list);
    else if (r == 0 && c->word_n)
        r = print_one(c, json_array_get(list, 0));
    else if (r == 0)
        print_all(c, list);
    json_decref(list);
    return r;
}

const struct command cmd_conf_get = {
    "conf",
    "get",
    "[KEY]",
    0,
    1,
    "Print the value of a property, or all.",
    "A property that is not set prints an empty line; one that does not exist is an error.\n"
    "When no server runs, the configuration file is read.",
    opts,
    run,
    false,
    false};
