/* SPDX-License-Identifier: Apache-2.0
 *
 * How things look: names, sizes, times, modes. Pure functions into a buffer, so that tests compare bytes.
 */
#include "cli/cli.h"
#include <time.h>

void cli_print_json(struct cli *c, const json_t *j)
{
    json_dumpf(j, c->out, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', c->out);
}

void cli_say(struct cli *c, const char *fmt, ...)
{
    struct buf b AUTO_BUF = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    json_t *j = cli_json(c) ? json_pack("{s:s}", "status", b.p) : NULL;
    if (j)
        json_dumpf(j, c->out, JSON_COMPACT);
    else
        fputs(b.p, c->out);
    fputc('\n', c->out);
    json_decref(j);
}

void cli_put_name(struct buf *b, const char *name)
{
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            buf_printf(b, "\\x%02x", *p);
        else
            buf_add(b, p, 1);
    }
}

void cli_put_size(struct buf *b, uint64_t bytes, bool human)
{
    static const char *const unit[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    size_t i = 0;
    double v = (double)bytes;
    while (human && v >= 1024 && i < 6) {
        v /= 1024;
        i++;
    }
    if (!human)
        buf_printf(b, "%llu", (unsigned long long)bytes);
    else if (i == 0)
        buf_printf(b, "%lluB", (unsigned long long)bytes);
    else
        buf_printf(b, "%.2f%s", v, unit[i]);
}

void cli_put_time(struct buf *b, uint64_t ms)
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    char day[40];
    localtime_r(&t, &tm);
    strftime(day, sizeof day, "%m-%d-%Y %H:%M:%S", &tm);
    buf_printf(b, "%s:%03u", day, (unsigned)(ms % 1000));
}

void cli_put_mode(struct buf *b, const char *type, unsigned mode)
{
    static const char rwx[] = "rwxrwxrwx";
    static const struct {
        const char *type;
        char c;
    } first[] = {{"DIR", 'd'}, {"SYMLINK", 'l'}, {"FIFO", 'p'}, {"SOCKET", 's'}, {"CHAR", 'c'}, {"BLOCK", 'b'}};
    char out[11] = "----------";
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        if (strcmp(first[i].type, type) == 0)
            out[0] = first[i].c;
    for (unsigned i = 0; i < 9; i++)
        if (mode & (0400u >> i))
            out[1 + i] = rwx[i];
    buf_putz(b, out);
}

void cli_put_age(struct buf *b, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (ms < 1000)
        buf_printf(b, "%llums", (unsigned long long)ms);
    else if (s < 60)
        buf_printf(b, "%llus", (unsigned long long)s);
    else if (s < 3600)
        buf_printf(b, "%llum %llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
    else if (s < 86400)
        buf_printf(b, "%lluh %llum", (unsigned long long)(s / 3600), (unsigned long long)(s / 60 % 60));
    else
        buf_printf(b, "%llud %lluh", (unsigned long long)(s / 86400), (unsigned long long)(s / 3600 % 24));
}

void cli_put_count(struct buf *b, uint64_t n, const char *noun)
{
    buf_printf(b, "%llu %s%s", (unsigned long long)n, noun, n == 1 ? "" : "s");
}

const char *cli_js(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s ? s : "";
}

uint64_t cli_ju(const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

bool cli_jb(const json_t *j, const char *name)
{
    return json_is_true(json_object_get(j, name));
}
