/* SPDX-License-Identifier: Apache-2.0
 *
 * /api/v1/mounts: the mount table.
 */
#include "admin/rest.h"

/* "k=v" lines to an object. */
static json_t *options_json(const char *lines)
{
    json_t *j = json_object();
    while (lines && *lines) {
        size_t n = strcspn(lines, "\n");
        const char *eq = memchr(lines, '=', n);
        if (eq)
            json_object_setn_new(j, lines, (size_t)(eq - lines), json_stringn(eq + 1, n - (size_t)(eq - lines) - 1));
        lines += n + (lines[n] == '\n');
    }
    return j;
}

static int add_mount(void *arg, const struct fs_mount *m)
{
    json_array_append_new(arg, json_pack("{s:s, s:s, s:o, s:b, s:I, s:I}", "path", m->path, "ufsUri", m->uri, "options",
                                         options_json(m->options), "reachable", m->reachable, "notPersistedFiles",
                                         (json_int_t)m->dirty_files, "notPersistedBytes", (json_int_t)m->dirty_bytes));
    return 0;
}

int rest_mounts_get(struct rest *r)
{
    json_t *mounts = json_array();
    int code = fs_mounts(r->a->o.fs, add_mount, mounts);
    if (code < 0) {
        json_decref(mounts);
        return code;
    }
    return rest_json(r, 200, json_pack("{s:o}", "mounts", mounts));
}

/* A trailing '/' as the pages write it (--path /s3/) is not part of the name. */
static struct str trimmed(const char *path)
{
    struct str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

int rest_mounts_add(struct rest *r)
{
    const char *path, *uri;
    TRY(rest_path(r, "path", &path));
    TRY(rest_string(r, "ufsUri", &uri));
    json_t *options = json_object_get(r->in, "options"), *v;
    size_t n = 0, max = json_object_size(options);
    char **option = calloc(max ? max : 1, sizeof *option);
    CHECK(option, "no memory for a mount");
    const char *k;
    json_object_foreach(options, k, v)
    {
        struct buf b = {0};
        buf_printf(&b, "%s=%s", k, json_string_value(v) ? json_string_value(v) : "");
        option[n++] = buf_take(&b, NULL);
    }
    int code = fs_mount_add(r->a->o.fs, trimmed(path), uri, (const char *const *)option, n);
    for (size_t i = 0; i < n; i++)
        free(option[i]);
    free(option);
    if (code == ERR_UNREACHABLE || code == ERR_DENIED || code == ERR_TIMEOUT || code == ERR_NOT_FOUND)
        return err_prefix(code, "%s cannot be mounted: ", uri);
    return code < 0 ? code : rest_json(r, 201, json_pack("{s:s, s:s}", "path", path, "ufsUri", uri));
}

int rest_mounts_remove(struct rest *r)
{
    const char *path;
    TRY(rest_path(r, "path", &path));
    TRY(fs_mount_remove(r->a->o.fs, trimmed(path), rest_bool(r, "force") ? FS_FORCE : 0));
    return rest_done(r);
}
