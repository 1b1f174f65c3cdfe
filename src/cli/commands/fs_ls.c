/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs ls`: what is at a path, with PERSISTED or NOT_PERSISTED beside each file.
 *
 * Lines are printed as they come, unless they must be sorted or reversed or become JSON.
 */
#include "cli/walk.h"

static const struct cli_opt opts[] = {
    {"directory", 'd', NULL, "Show a directory itself, not what it holds.", 0},
    {"human-readable", 'h', NULL, "Sizes as 6.59MB.", 0},
    {"load-metadata", 'f', NULL,
     "Accepted: how old what is known of the UFS may be is alluxio.user.file.metadata.sync.interval.", 0},
    {"omit-mount-info", 'm', NULL, "Accepted: none is shown.", 0},
    {"pinned-files", 'p', NULL, "Only files whose only copy is here: NOT_PERSISTED ones.", 0},
    {"recursive", 'R', NULL, "Everything below.", 0},
    {"reverse", 'r', NULL, "In reverse order.", 0},
    {"sort", 0, "KEY", "Sort by name (default), path, size, lastModificationTime or creationTime.", 0},
    {"timestamp", 0, "KIND", "Show lastModificationTime (default) or creationTime.", 0},
    {0}};

struct ls {
    bool human, created, keep, pinned;
    json_t *kept;
    const char *sort;
};

void cli_fs_line(struct buf *b, const json_t *e, bool human, bool created);

/* -rwx------     6912251     PERSISTED 02-25-2024 21:22:15:742 FILE /data/x.csv */
void cli_fs_line(struct buf *b, const json_t *e, bool human, bool created)
{
    struct buf size AUTO_BUF = {0};
    cli_put_size(&size, cli_ju(e, "size"), human);
    cli_put_mode(b, cli_js(e, "type"), (unsigned)cli_ju(e, "mode"));
    buf_printf(b, " %11s %13s ", size.p, cli_js(e, "state"));
    cli_put_time(b, cli_ju(e, created ? "ctimeMs" : "mtimeMs"));
    buf_printf(b, " %4s ", cli_js(e, "type"));
    cli_put_name(b, cli_js(e, "path"));
}

static void show(struct cli *c, const struct ls *l, const json_t *e)
{
    struct buf line AUTO_BUF = {0};
    cli_fs_line(&line, e, l->human, l->created);
    fprintf(c->out, "%s\n", line.p);
}

static int visit(struct cli *c, void *arg, const json_t *e)
{
    struct ls *l = arg;
    if (l->pinned && (strcmp(cli_js(e, "type"), "DIR") == 0 || strcmp(cli_js(e, "state"), "PERSISTED") == 0))
        return 0;
    if (l->keep)
        json_array_append(l->kept, (json_t *)(uintptr_t)e);
    else
        show(c, l, e);
    return 0;
}

static const char *sort_key; /* of the comparison below; qsort has no argument for it */

static int compare(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    if (strcmp(sort_key, "path") == 0)
        return strcmp(cli_js(x, "path"), cli_js(y, "path"));
    uint64_t p = cli_ju(x, sort_key), q = cli_ju(y, sort_key);
    return p < q ? -1 : p > q ? 1 : strcmp(cli_js(x, "path"), cli_js(y, "path"));
}

static json_t *sorted(json_t *all, const char *key, bool reverse)
{
    size_t n = json_array_size(all);
    json_t **v = calloc(n ? n : 1, sizeof(json_t *)), *out = json_array();
    for (size_t i = 0; v && i < n; i++)
        v[i] = json_array_get(all, i);
    sort_key = key;
    if (v && key)
        qsort(v, n, sizeof(json_t *), compare);
    for (size_t i = 0; v && i < n; i++)
        json_array_append(out, v[reverse ? n - 1 - i : i]);
    free(v);
    json_decref(all);
    return out;
}

/* The member to sort by; NULL: as it comes. False for a word that is no key. */
static bool sort_member(const char *word, const char **ret)
{
    static const char *const known[][2] = {{"name", NULL},
                                           {"path", "path"},
                                           {"size", "size"},
                                           {"lastModificationTime", "mtimeMs"},
                                           {"creationTime", "ctimeMs"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i][0], word) == 0) {
            *ret = known[i][1];
            return true;
        }
    return false;
}

static int print_kept(struct cli *c, struct ls *l)
{
    l->kept = sorted(l->kept, l->sort, cli_has(c, "reverse"));
    if (cli_json(c)) {
        cli_print_json(c, l->kept);
        return CLI_OK;
    }
    size_t i;
    json_t *e;
    json_array_foreach(l->kept, i, e) show(c, l, e);
    return CLI_OK;
}

static int itself(struct cli *c, struct ls *l)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    if (cli_call(c, "GET", cli_path_query(&url, "/api/v1/fs/stat", c->word[0]), NULL, &a) != 0)
        return cli_answer_fail(c, &a, c->word[0]);
    return visit(c, l, a.json);
}

static int run(struct cli *c)
{
    struct ls l = {.human = cli_has(c, "human-readable"), .pinned = cli_has(c, "pinned-files")};
    const char *stamp = cli_get(c, "timestamp", "lastModificationTime");
    if (!sort_member(cli_get(c, "sort", "name"), &l.sort))
        return cli_misuse(c, "cannot sort by '%s'", cli_get(c, "sort", ""));
    l.created = strcmp(stamp, "creationTime") == 0;
    if (!l.created && strcmp(stamp, "lastModificationTime") != 0)
        return cli_misuse(c, "there is no timestamp '%s'", stamp);
    l.keep = cli_json(c) || l.sort || cli_has(c, "reverse");
    l.kept = json_array();
    int r = cli_has(c, "directory") ? itself(c, &l) : cli_walk(c, c->word[0], cli_has(c, "recursive"), visit, &l);
    if (r == 0 && l.keep)
        r = print_kept(c, &l);
    json_decref(l.kept);
    return r;
}

const struct command cmd_fs_ls = {
    "fs",
    "ls",
    "PATH",
    1,
    1,
    "List a directory or a file, with its persistence state.",
    "The columns are mode, size, PERSISTED or NOT_PERSISTED (- for directories that exist only\n"
    "through what they hold), time, FILE or DIR, and path. Objects that somebody put straight\n"
    "into the under file system appear too.",
    opts,
    run,
    false,
    false};
