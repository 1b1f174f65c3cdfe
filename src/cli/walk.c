/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk (contract in walk.h): one request a page of a directory, so that memory does not grow with the directory.
 */
#include "cli/walk.h"

struct walk {
    struct cli *c;
    bool deep;
    int (*fn)(struct cli *c, void *arg, const json_t *entry);
    void *arg;
};

static int walk_dir(struct walk *w, const char *path);

static int walk_entries(struct walk *w, const json_t *entries)
{
    size_t i;
    json_t *e;
    json_array_foreach(entries, i, e)
    {
        int r = w->fn(w->c, w->arg, e);
        if (r == 0 && w->deep && strcmp(cli_js(e, "type"), "DIR") == 0) {
            struct buf below AUTO_BUF = {0};
            buf_printf(&below, "%s/", cli_js(e, "path"));
            r = walk_dir(w, below.p);
        }
        if (r != 0)
            return r;
    }
    return 0;
}

/* path ends in '/': a directory for sure; else whatever it is. */
static int walk_dir(struct walk *w, const char *path)
{
    char *after AUTO_FREE = NULL;
    for (;;) {
        struct buf url AUTO_BUF = {0};
        struct cli_answer a AUTO_ANSWER = {0};
        cli_path_query(&url, "/api/v1/fs/ls", path);
        if (after)
            cli_query(&url, "after", after);
        if (cli_call(w->c, "GET", url.p, NULL, &a) != 0)
            return cli_answer_fail(w->c, &a, path);
        int r = walk_entries(w, json_object_get(a.json, "entries"));
        if (r != 0 || !cli_jb(a.json, "more"))
            return r;
        free(after);
        after = str_dup(str_of(cli_js(a.json, "after")));
    }
}

int cli_walk(struct cli *c, const char *path, bool deep, int (*fn)(struct cli *c, void *arg, const json_t *entry),
             void *arg)
{
    struct walk w = {c, deep, fn, arg};
    return walk_dir(&w, path);
}
