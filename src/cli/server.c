/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding the server and the configuration file (contract in server.h).
 */
#include "cli/server.h"
#include "cli/cli.h"
#include "base/err.h"
#include "conf/conf.h"

static struct conf *conf_read; /* once a process; its command is the only user */
static char conf_place[4200];

static const char *existing(const char *dir)
{
    if (!dir || !dir[0])
        return NULL;
    snprintf(conf_place, sizeof conf_place, "%s/alluxio-site.properties", dir);
    return access(conf_place, R_OK) == 0 ? conf_place : NULL;
}

const char *cli_conf_path(struct cli *c)
{
    const char *file = cli_get(c, "conf", getenv("FOREBAY_CONF"));
    if (file && file[0])
        return file;
    const char *const dirs[] = {getenv("ALLUXIO_CONF_DIR"), "conf", "/etc/forebay"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        if ((file = existing(dirs[i])))
            return file;
    return NULL;
}

static void warn(void *arg, const char *text)
{
    const struct cli *c = arg;
    fprintf(c->err, "%s: warning: %s\n", c->env->program, text);
}

int cli_conf(struct cli *c, const struct conf **ret)
{
    if (!conf_read) {
        struct conf *fresh = conf_new(CONF_CLI);
        const char *file = cli_conf_path(c);
        conf_on_warning(fresh, warn, c);
        int r = file ? conf_load_file(fresh, file) : 0;
        if (r < 0) {
            conf_free(fresh);
            return r;
        }
        conf_read = fresh;
    }
    *ret = conf_read;
    return 0;
}

/* Host and port as the configuration names them. */
static int from_conf(struct cli *c)
{
    const struct conf *conf;
    int r = cli_conf(c, &conf);
    if (r < 0)
        return err_set(ERR_INVALID, "%s", err_detail(r));
    const char *host = conf_string(conf, PROP_COORDINATOR_HOST);
    uint64_t port = conf_u64(conf, PROP_COORDINATOR_REST_PORT);
    bool v6 = strchr(host, ':') != NULL;
    snprintf(c->admin_buf, sizeof c->admin_buf, "%s%s%s:%llu", v6 ? "[" : "", host[0] ? host : "127.0.0.1",
             v6 ? "]" : "", (unsigned long long)port);
    c->admin = c->admin_buf;
    return 0;
}

int cli_server_find(struct cli *c)
{
    const char *given = cli_get(c, "admin", getenv("FOREBAY_ADMIN"));
    if (c->admin)
        return 0;
    if (!given || !given[0])
        return from_conf(c);
    if (strncmp(given, "http://", 7) == 0)
        given += 7;
    size_t n = strcspn(given, "/");
    if (n == 0 || n >= sizeof c->admin_buf || !memchr(given, ':', n))
        return err_set(ERR_INVALID, "'%s' is not an admin address: write ADDR:PORT, as 127.0.0.1:19999", given);
    snprintf(c->admin_buf, sizeof c->admin_buf, "%.*s", (int)n, given);
    c->admin = c->admin_buf;
    return 0;
}

const char *cli_server_token(struct cli *c)
{
    const struct conf *conf;
    const char *token = cli_get(c, "token", getenv("FOREBAY_TOKEN"));
    if (token && token[0])
        return token;
    return cli_conf(c, &conf) == 0 ? conf_string(conf, PROP_ADMIN_TOKEN) : NULL;
}
