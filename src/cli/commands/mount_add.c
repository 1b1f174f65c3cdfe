/* SPDX-License-Identifier: Apache-2.0
 *
 * `mount add`: a place in an under file system becomes a bucket of the namespace.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {
    {"path", 0, "PATH", "Where it appears: one name below the root, as /s3.", OPT_REQUIRED},
    {"ufs-uri", 0, "URI", "s3://bucket/prefix or file:///directory.", OPT_REQUIRED},
    {"option", 0, "K=V", "A property of this mount, as s3a.accessKeyId=...", OPT_REPEAT},
    {0}};

static int collect(struct cli *c, json_t *options)
{
    size_t at = 0;
    const char *kv;
    while ((kv = cli_next(c, "option", &at))) {
        const char *eq = strchr(kv, '=');
        if (!eq || eq == kv)
            return cli_misuse(c, "option --option: '%s' is not of the form key=value", kv);
        char *key AUTO_FREE = str_dup(str_mk(kv, (size_t)(eq - kv)));
        json_object_set_new(options, key, json_string(eq + 1));
    }
    return 0;
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    json_t *options = json_object();
    const char *path = cli_get(c, "path", ""), *uri = cli_get(c, "ufs-uri", "");
    int r = collect(c, options);
    size_t n = json_object_size(options);
    json_t *j = json_pack("{s:s, s:s, s:o}", "path", path, "ufsUri", uri, "options", options);
    if (r == 0 && cli_call(c, "POST", "/api/v1/mounts", j, &a) != 0)
        r = cli_answer_fail(c, &a, NULL);
    else if (r == 0 && cli_json(c))
        cli_print_json(c, a.json);
    else if (r == 0)
        fprintf(c->out, "Mounted ufsPath=%s to alluxioPath=%s with %zu options\n", uri, path, n);
    json_decref(j);
    return r;
}

const struct command cmd_mount_add = {
    "mount",
    "add",
    "",
    0,
    0,
    "Mount a place in an under file system.",
    "Two mounts may not overlap in the under file system. The place is read once before the\n"
    "mount is taken up, so wrong credentials show at once.",
    opts,
    run,
    false,
    false};
