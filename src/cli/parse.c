/* SPDX-License-Identifier: Apache-2.0
 *
 * The words of a command line, taken apart by a command's option table. Long options: --name VALUE or --name=VALUE, any
 * single-letter ones also joined (-Rh). "--" ends the options. What is wrong is said in one sentence that names the
 * word.
 */
#include "cli/cli.h"
#include "base/err.h"
#include <errno.h>
#include <stdarg.h>

static const struct cli_opt shared_help = {"help", 0, NULL, "Print this text.", 0};
static const struct cli_opt shared_json = {"json", 0, NULL, "Print JSON.", 0};
static const struct cli_opt shared_admin = {
    "admin", 0, "ADDR:PORT", "The server's admin address (else $FOREBAY_ADMIN, the configuration, 127.0.0.1:19999).",
    0};
static const struct cli_opt shared_token = {"token", 0, "TOKEN",
                                            "The admin token (else $FOREBAY_TOKEN, forebay.admin.token).", 0};
static const struct cli_opt shared_conf = {"conf", 0, "FILE",
                                           "The configuration file (else $FOREBAY_CONF, ./conf, /etc/forebay).", 0};

void cli_each_opt(const struct command *cmd, void (*fn)(void *arg, const struct cli_opt *o), void *arg)
{
    for (const struct cli_opt *o = cmd->opts; o && o->name; o++)
        fn(arg, o);
    if (!cmd->plain)
        fn(arg, &shared_json);
    if (!cmd->local) {
        fn(arg, &shared_admin);
        fn(arg, &shared_token);
        fn(arg, &shared_conf);
    }
    fn(arg, &shared_help);
}

struct wanted {
    const char *name;
    size_t n;
    char letter;
    const struct cli_opt *found;
};

static void match_opt(void *arg, const struct cli_opt *o)
{
    struct wanted *w = arg;
    if (w->name ? strlen(o->name) == w->n && memcmp(o->name, w->name, w->n) == 0 : o->letter && o->letter == w->letter)
        w->found = o;
}

struct names {
    const char *name[64];
    size_t n;
};

static void collect_name(void *arg, const struct cli_opt *o)
{
    struct names *l = arg;
    if (l->n < sizeof l->name / sizeof l->name[0])
        l->name[l->n++] = o->name;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours counted as two replaces) between two short words. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), row[64];
    if (n >= 64 || m >= 64)
        return 64;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t up = row[j];
            row[j] = least(diag + (a[i - 1] != b[j - 1]), least(row[j - 1], up) + 1);
            diag = up;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *word, const char *const *known, size_t n)
{
    const char *best = NULL;
    size_t limit = strlen(word) / 3 + 1, best_d = limit + 1;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, known[i]);
        bool begins = strlen(word) >= 2 && strncmp(known[i], word, strlen(word)) == 0;
        if (begins)
            d = least(d, limit);
        if (d < best_d) {
            best = known[i];
            best_d = d;
        }
    }
    return best;
}

static int say(struct cli *c, int code, const char *fmt, va_list ap)
{
    fprintf(c->err, "%s: ", c->env->program);
    vfprintf(c->err, fmt, ap);
    fputc('\n', c->err);
    return code;
}

int cli_fail(struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = say(c, CLI_FAILED, fmt, ap);
    va_end(ap);
    return r;
}

int cli_misuse(struct cli *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int r = say(c, CLI_USAGE, fmt, ap);
    va_end(ap);
    fprintf(c->err, "Try '%s %s%s%s --help'.\n", c->env->program, c->cmd->group ? c->cmd->group : "",
            c->cmd->group ? " " : "", c->cmd->name);
    return r;
}

static void add_arg(struct cli *c, const struct cli_opt *o, const char *value)
{
    struct cli_arg *p = realloc(c->arg, (c->arg_n + 1) * sizeof *p);
    CHECK(p, "no memory for the command line");
    c->arg = p;
    c->arg[c->arg_n++] = (struct cli_arg){o, value};
}

static void add_word(struct cli *c, const char *word)
{
    const char **p = realloc(c->word, (c->word_n + 2) * sizeof *p);
    CHECK(p, "no memory for the command line");
    c->word = p;
    c->word[c->word_n++] = word;
    c->word[c->word_n] = NULL;
}

static int unknown_opt(struct cli *c, const char *word, const char *name)
{
    struct names l = {.n = 0};
    cli_each_opt(c->cmd, collect_name, &l);
    const char *near = name ? cli_nearest(name, l.name, l.n) : NULL;
    if (near)
        return cli_misuse(c, "unknown option %s; did you mean --%s?", word, near);
    return cli_misuse(c, "unknown option %s", word);
}

/* One "--name", "--name=value" or "--name value": the number of words used, or minus an exit code. */
static int parse_long(struct cli *c, const char *word, const char *next)
{
    const char *name = word + 2, *eq = strchr(name, '=');
    struct wanted w = {.name = name, .n = eq ? (size_t)(eq - name) : strlen(name)};
    cli_each_opt(c->cmd, match_opt, &w);
    if (!w.found) {
        char plain[64];
        snprintf(plain, sizeof plain, "%.*s", (int)(w.n < 63 ? w.n : 63), name);
        return -unknown_opt(c, word, plain);
    }
    if (!w.found->value && eq)
        return -cli_misuse(c, "option --%s takes no value", w.found->name);
    if (!w.found->value || eq) {
        add_arg(c, w.found, eq ? eq + 1 : "");
        return 1;
    }
    if (!next)
        return -cli_misuse(c, "option --%s needs a value: --%s %s", w.found->name, w.found->name, w.found->value);
    add_arg(c, w.found, next);
    return 2;
}

/* "-R", "-Rh", "-DVALUE", "-D VALUE". */
static int parse_short(struct cli *c, const char *word, const char *next)
{
    for (const char *p = word + 1; *p; p++) {
        struct wanted w = {.letter = *p};
        cli_each_opt(c->cmd, match_opt, &w);
        if (!w.found)
            return -unknown_opt(c, word, NULL);
        if (!w.found->value) {
            add_arg(c, w.found, "");
            continue;
        }
        if (p[1]) {
            add_arg(c, w.found, p + 1);
            return 1;
        }
        if (!next)
            return -cli_misuse(c, "option -%c needs a value: -%c %s", *p, *p, w.found->value);
        add_arg(c, w.found, next);
        return 2;
    }
    return 1;
}

static int check_required(struct cli *c)
{
    for (const struct cli_opt *o = c->cmd->opts; o && o->name; o++)
        if ((o->flags & OPT_REQUIRED) && !cli_has(c, o->name))
            return cli_misuse(c, "option --%s is required: --%s %s", o->name, o->name, o->value);
    if (c->word_n < c->cmd->min)
        return cli_misuse(c, "expected %s", c->cmd->words);
    if (c->word_n > c->cmd->max)
        return cli_misuse(c, "unexpected word '%s'", c->word[c->cmd->max]);
    return 0;
}

int cli_parse(struct cli *c, int argc, char **argv)
{
    bool options = true;
    for (int i = 0; i < argc;) {
        const char *w = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        int used = 1;
        if (options && strcmp(w, "--") == 0)
            options = false;
        else if (options && w[0] == '-' && w[1] == '-')
            used = parse_long(c, w, next);
        else if (options && w[0] == '-' && w[1])
            used = parse_short(c, w, next);
        else
            add_word(c, w);
        if (used < 0)
            return -used;
        i += used;
    }
    return cli_has(c, "help") ? 0 : check_required(c);
}

void cli_done(struct cli *c)
{
    free(c->arg);
    free(c->word);
    c->arg = NULL;
    c->word = NULL;
}

bool cli_has(const struct cli *c, const char *opt)
{
    return cli_get(c, opt, NULL) != NULL;
}

const char *cli_get(const struct cli *c, const char *opt, const char *otherwise)
{
    for (size_t i = c->arg_n; i-- > 0;)
        if (strcmp(c->arg[i].opt->name, opt) == 0)
            return c->arg[i].value;
    return otherwise;
}

const char *cli_next(const struct cli *c, const char *opt, size_t *at)
{
    while (*at < c->arg_n) {
        const struct cli_arg *a = &c->arg[(*at)++];
        if (strcmp(a->opt->name, opt) == 0)
            return a->value;
    }
    return NULL;
}

bool cli_number(struct cli *c, const char *opt, uint64_t otherwise, uint64_t min, uint64_t max, uint64_t *ret)
{
    const char *v = cli_get(c, opt, NULL);
    if (!v) {
        *ret = otherwise;
        return true;
    }
    uint64_t n;
    if (!str_u64(str_of(v), max, &n) || n < min) {
        cli_misuse(c, "option --%s: '%s' is not a number from %llu to %llu", opt, v, (unsigned long long)min,
                   (unsigned long long)max);
        return false;
    }
    *ret = n;
    return true;
}

bool cli_json(const struct cli *c)
{
    return cli_has(c, "json");
}
