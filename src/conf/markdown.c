/* SPDX-License-Identifier: Apache-2.0
 * docs/properties.md */
#include "conf/conf_impl.h"

static const char *const type_names[] = {
    [CONF_BOOL] = "true or false",  [CONF_INT] = "number",   [CONF_SIZE] = "size",   [CONF_MS] = "time",
    [CONF_MS_NEVER] = "time or -1", [CONF_RATIO] = "0 to 1", [CONF_STRING] = "text", [CONF_ENUM] = "word",
    [CONF_SECRET] = "secret"};

/* '|' would end the cell. */
static void print_cell(FILE *f, const char *text)
{
    for (; *text; text++)
        fprintf(f, *text == '|' ? "\\|" : "%c", *text);
}

static void print_type(FILE *f, const struct conf_item *it)
{
    fputs(type_names[it->type], f);
    if (*it->choices) {
        fputs(": ", f);
        print_cell(f, it->choices);
    }
}

static void print_role_defaults(FILE *f, enum conf_prop p)
{
    for (enum conf_role r = CONF_STANDALONE; r <= CONF_CLI; r++) {
        const char *def = conf_role_default(r, p);
        if (strcmp(def, conf_rows[p].def) != 0)
            fprintf(f, "; %s: `%s`", conf_role_name(r), def);
    }
}

struct page {
    FILE *f;
    bool in_force; /* which of the two tables is being printed */
};

static int print_row(void *arg, const struct conf_item *it)
{
    struct page *pg = arg;
    const char *def = conf_rows[it->prop].def;
    if (it->in_force != pg->in_force)
        return 0;
    fprintf(pg->f, "| `%s` | ", it->name);
    print_type(pg->f, it);
    fprintf(pg->f, *def ? " | `%s`" : " | %s", def);
    print_role_defaults(pg->f, it->prop);
    fputs(" | ", pg->f);
    print_cell(pg->f, it->text);
    fputs(" |\n", pg->f);
    return 0;
}

static void print_table(FILE *f, const struct conf *c, bool in_force)
{
    struct page pg = {f, in_force};
    fputs("| Property | Kind | Default | Meaning |\n| --- | --- | --- | --- |\n", f);
    conf_each(c, print_row, &pg);
}

void conf_print_markdown(FILE *f)
{
    struct conf *c AUTO_CONF = conf_new(CONF_WORKER);
    fputs("# Properties\n\n"
          "<!-- Made by `make docs` from src/conf/props.tbl. -->\n\n"
          "They stand in `alluxio-site.properties` (Java properties syntax, UTF-8), or come as `-D name=value`, which "
          "wins.\nSizes: `4096`, `64KB`, `1.5GB`, `1TiB`; every unit is a power of 1024. Times: `500ms`, `3sec`, "
          "`10min`, `1h`, `7d`; a bare number is\nmilliseconds. `${name}` stands for another property or an "
          "environment variable. An unknown property is a warning; a value that does\nnot fit is an error that names "
          "file and line.\n\n",
          f);
    print_table(f, c, true);
    fputs("\n## Accepted, not in force in this version\n\nSetting one of these prints a notice.\n\n", f);
    print_table(f, c, false);
}
