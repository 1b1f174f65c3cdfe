/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs cp`: copies inside the namespace (metadata only: the bytes are shared), and between it and local files, which are
 * written file:///absolute/path.
 */
#include "cli/walk.h"
#include <errno.h>

static const struct cli_opt opts[] = {{"recursive", 'R', NULL, "A directory and everything below it.", 0}, {0}};

static const char *local(const char *word)
{
    return strncmp(word, "file://", 7) == 0 ? word + 7 : NULL;
}

static int copy_inside(struct cli *c, const char *from, const char *to)
{
    struct cli_answer a AUTO_ANSWER = {0};
    json_t *j = json_pack("{s:s, s:s}", "from", from, "to", to);
    int r = cli_call(c, "POST", "/api/v1/fs/cp", j, &a);
    json_decref(j);
    if (r != 0 && cli_answer_is(&a, "IS_DIR"))
        return cli_fail(c, "%s is a directory: use fs cp -R to copy all below it", from);
    if (r != 0)
        return cli_answer_fail(c, &a, from);
    cli_say(c, "Copied %s to %s", from, cli_js(a.json, "to"));
    return CLI_OK;
}

static int copy_out(struct cli *c, const char *from, const char *file)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    cli_path_query(&url, "/api/v1/fs/cat", from);
    FILE *f AUTO_FCLOSE = fopen(file, "wbx");
    if (!f)
        return cli_fail(c, "cannot make %s: %s", file, strerror(errno));
    int r = cli_call_raw(c, "GET", url.p, "application/json", STR(""), f, &a);
    if (r == 0 && fclose(TAKE(f)) != 0)
        r = cli_fail(c, "cannot write %s: %s", file, strerror(errno));
    else if (r != 0)
        r = cli_answer_fail(c, &a, from);
    if (r != 0)
        unlink(file);
    else
        cli_say(c, "Copied %s to file://%s", from, file);
    return r == 0 ? CLI_OK : CLI_FAILED;
}

static int copy_in(struct cli *c, const char *file, const char *to)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    FILE *f AUTO_FCLOSE = fopen(file, "rb");
    if (!f)
        return cli_fail(c, "cannot read %s: %s", file, strerror(errno));
    const char *slash = strrchr(file, '/');
    cli_path_query(&url, "/api/v1/fs/put", to);
    cli_query(&url, "name", slash ? slash + 1 : file);
    if (cli_send_file(c, url.p, f, &a) != 0)
        return cli_answer_fail(c, &a, to);
    cli_say(c, "Copied file://%s to %s", file, cli_js(a.json, "to"));
    return CLI_OK;
}

struct tree {
    const char *from, *to;
};

/* Files only: the directories appear with what they hold. */
static int copy_entry(struct cli *c, void *arg, const json_t *e)
{
    const struct tree *t = arg;
    const char *path = cli_js(e, "path");
    if (strcmp(cli_js(e, "type"), "DIR") == 0)
        return 0;
    struct buf to AUTO_BUF = {0};
    buf_printf(&to, "%s%s", t->to, path + strlen(t->from));
    return copy_inside(c, path, to.p);
}

static int copy_tree(struct cli *c, const char *from, const char *to)
{
    char *f AUTO_FREE = str_dup(str_of(from)), *d AUTO_FREE = str_dup(str_of(to));
    for (char *p = f + strlen(f); p > f + 1 && p[-1] == '/';)
        *--p = 0;
    for (char *p = d + strlen(d); p > d + 1 && p[-1] == '/';)
        *--p = 0;
    struct tree t = {f, d};
    return cli_walk(c, f, true, copy_entry, &t);
}

static int run(struct cli *c)
{
    const char *from = c->word[0], *to = c->word[1];
    if (local(from) && local(to))
        return cli_misuse(c, "both paths are local files: use cp");
    if ((local(from) || local(to)) && cli_has(c, "recursive"))
        return cli_misuse(c, "local directories are not copied: use an S3 client (aws s3 cp --recursive)");
    if (local(from))
        return copy_in(c, local(from), to);
    if (local(to))
        return copy_out(c, from, local(to));
    return cli_has(c, "recursive") ? copy_tree(c, from, to) : copy_inside(c, from, to);
}

const struct command cmd_fs_cp = {
    "fs",
    "cp",
    "FROM TO",
    2,
    2,
    "Copy files.",
    "Inside the namespace a copy is metadata only: the bytes are shared. A local file is written\n"
    "file:///absolute/path, on either side.",
    opts,
    run,
    false,
    false};
