/* SPDX-License-Identifier: Apache-2.0
 *
 * `fs stat`: everything known about one path; with -f a line of one's own choice.
 */
#include "cli/cli.h"

static const struct cli_opt opts[] = {
    {"format", 'f', "FORMAT",
     "%N name, %z size, %u owner, %g group, %i inode, %y and %Y modification time (text, ms), %b blocks of 512 bytes.",
     0},
    {0}};

static void put_field(struct buf *b, const json_t *j, char field)
{
    switch (field) {
    case 'N':
        cli_put_name(b, cli_js(j, "name"));
        break;
    case 'z':
        cli_put_size(b, cli_ju(j, "size"), false);
        break;
    case 'u':
        cli_put_size(b, cli_ju(j, "uid"), false);
        break;
    case 'g':
        cli_put_size(b, cli_ju(j, "gid"), false);
        break;
    case 'i':
        buf_putz(b, cli_js(j, "inode"));
        break;
    case 'y':
        cli_put_time(b, cli_ju(j, "mtimeMs"));
        break;
    case 'Y':
        cli_put_size(b, cli_ju(j, "mtimeMs"), false);
        break;
    case 'b':
        cli_put_size(b, (cli_ju(j, "size") + 511) / 512, false);
        break;
    case '%':
        buf_u8(b, '%');
        break;
    default:
        buf_printf(b, "%%%c", field);
    }
}

void cli_stat_format(struct buf *b, const json_t *j, const char *format);
void cli_stat_format(struct buf *b, const json_t *j, const char *format)
{
    for (const char *p = format; *p; p++) {
        if (*p == '%' && p[1])
            put_field(b, j, *++p);
        else
            buf_add(b, p, 1);
    }
}

static void put_member(struct cli *c, const char *name, const json_t *v)
{
    struct buf b AUTO_BUF = {0};
    size_t n = strlen(name);
    bool time = n > 2 && strcmp(name + n - 2, "Ms") == 0;
    if (time)
        cli_put_time(&b, (uint64_t)json_integer_value(v));
    else if (strcmp(name, "mode") == 0)
        buf_printf(&b, "%04o", (unsigned)json_integer_value(v));
    else if (json_is_string(v))
        cli_put_name(&b, json_string_value(v));
    else if (json_is_boolean(v))
        buf_putz(&b, json_is_true(v) ? "true" : "false");
    else
        buf_printf(&b, "%lld", (long long)json_integer_value(v));
    fprintf(c->out, "%-14.*s %s\n", (int)(time ? n - 2 : n), name, b.p ? b.p : "");
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    bool done;
    int r = cli_get_path(c, "/api/v1/fs/stat", c->word[0], &a, &done);
    if (done)
        return r;
    if (cli_has(c, "format")) {
        struct buf b AUTO_BUF = {0};
        cli_stat_format(&b, a.json, cli_get(c, "format", ""));
        fprintf(c->out, "%s\n", b.p ? b.p : "");
        return CLI_OK;
    }
    const char *name;
    json_t *v;
    json_object_foreach(a.json, name, v)
    {
        const char *k;
        json_t *m;
        if (!json_is_object(v))
            put_member(c, name, v);
        else
            json_object_foreach(v, k, m) fprintf(c->out, "%-14s %s: %s\n", name, k, json_string_value(m));
    }
    return CLI_OK;
}

const struct command cmd_fs_stat = {"fs", "stat", "PATH", 1,     1,    "Show what is known about one path.",
                                    "",   opts,   run,    false, false};
