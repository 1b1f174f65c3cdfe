/* SPDX-License-Identifier: Apache-2.0
 *
 * What the roles have in common: where their configuration and data are (contract in roles.h).
 */
#include "bin/roles.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/conf.h"

static void warn(void *arg, const char *text)
{
    (void)arg;
    log_warn("conf", "%s", text);
}

/* One "-D name=value". */
static int define(struct conf *conf, const char *kv)
{
    const char *eq = strchr(kv, '=');
    if (!eq || eq == kv)
        return err_set(ERR_INVALID, "-D %s: write property=value", kv);
    char *name AUTO_FREE = str_dup(str_mk(kv, (size_t)(eq - kv)));
    return conf_set(conf, name, eq + 1, "command line");
}

static int read_all(struct cli *c, const char *saved, struct conf *conf)
{
    size_t at = 0;
    const char *kv, *file = cli_get(c, "conf", NULL);
    if (saved)
        TRY(conf_load_file(conf, saved));
    if (file)
        TRY(conf_load_file(conf, file));
    while ((kv = cli_next(c, "define", &at)))
        TRY(define(conf, kv));
    return 0;
}

int role_conf(struct cli *c, const char *saved, struct conf **ret)
{
    struct conf *conf = conf_new(CONF_STANDALONE);
    conf_on_warning(conf, warn, NULL);
    int r = read_all(c, saved, conf);
    if (r < 0)
        conf_free(conf);
    else
        *ret = conf;
    return r;
}

const char *role_data_dir(struct cli *c, const struct conf *conf)
{
    const char *dir = cli_get(c, "data", NULL);
    if (dir && dir[0])
        return dir;
    return conf && conf_is_set(conf, PROP_DATA_DIR) ? conf_string(conf, PROP_DATA_DIR) : "./forebay-data";
}
