/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs location`: which worker has a file's bytes.
 */
#include "cli/cli.h"

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    bool done;
    int r = cli_get_path(c, "/api/v1/fs/location", c->word[0], &a, &done);
    if (done)
        return r;
    size_t i;
    json_t *l;
    json_array_foreach(json_object_get(a.json, "locations"), i, l)
        fprintf(c->out, "%s  %s  %llu of %llu bytes cached\n", cli_js(l, "worker"), cli_js(l, "address"),
                (unsigned long long)cli_ju(a.json, "cached"), (unsigned long long)cli_ju(a.json, "size"));
    return r;
}

const struct command cmd_fs_location = {
    "fs", "location", "PATH", 1, 1, "Show which worker has a file's bytes, and how many.", "", NULL, run, false, false};
