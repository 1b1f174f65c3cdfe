/* SPDX-License-Identifier: Apache-2.0
 *
 * From argv to a command's function: the table, the lookup by one or two words, help, and the nearest word for a typo.
 */
#include "cli/cli.h"

#define COMMAND(name) extern const struct command cmd_##name;
#include "cli/commands.tbl"
#undef COMMAND

const struct command *const cli_table[] = {
#define COMMAND(name) &cmd_##name,
#include "cli/commands.tbl"
#undef COMMAND
    NULL};

void cli_each(const struct cli_env *env, void (*fn)(void *arg, const struct command *cmd), void *arg)
{
    for (const struct command *const *p = env->more; p && *p; p++)
        fn(arg, *p);
    for (const struct command *const *p = cli_table; *p; p++)
        fn(arg, *p);
}

struct lookup {
    const char *w1, *w2;
    const struct command *found;
    bool group; /* w1 is the first word of some command */
};

static void match_command(void *arg, const struct command *cmd)
{
    struct lookup *l = arg;
    if (!cmd->group) {
        if (strcmp(cmd->name, l->w1) == 0)
            l->found = cmd;
        return;
    }
    if (strcmp(cmd->group, l->w1) != 0)
        return;
    l->group = true;
    if (l->w2 && strcmp(cmd->name, l->w2) == 0)
        l->found = cmd;
}

const struct command *cli_find(const struct cli_env *env, const char *w1, const char *w2, int *ret_words)
{
    struct lookup l = {.w1 = w1, .w2 = w2};
    cli_each(env, match_command, &l);
    if (l.found)
        *ret_words = l.found->group ? 2 : 1;
    return l.found;
}

struct words {
    const char *w[128];
    size_t n;
    const char *group; /* collect the names of this group; NULL: first words */
};

static void collect_word(void *arg, const struct command *cmd)
{
    struct words *l = arg;
    const char *w = cmd->group ? cmd->group : cmd->name;
    if (l->group) {
        if (!cmd->group || strcmp(cmd->group, l->group) != 0)
            return;
        w = cmd->name;
    }
    if (l->n && strcmp(l->w[l->n - 1], w) == 0)
        return;
    if (l->n < sizeof l->w / sizeof l->w[0])
        l->w[l->n++] = w;
}

static int unknown_command(const struct cli_env *env, const char *w1, const char *w2)
{
    struct lookup l = {.w1 = w1};
    cli_each(env, match_command, &l);
    struct words known = {.group = l.group ? w1 : NULL};
    cli_each(env, collect_word, &known);
    const char *near = cli_nearest(l.group ? w2 : w1, known.w, known.n);
    fprintf(stderr, "%s: unknown command '%s%s%s'", env->program, w1, l.group ? " " : "", l.group ? w2 : "");
    if (near)
        fprintf(stderr, "; did you mean '%s%s%s'?\n", l.group ? w1 : "", l.group ? " " : "", near);
    else
        fprintf(stderr, "\nTry '%s help'.\n", env->program);
    return CLI_USAGE;
}

static bool is_help(const char *w)
{
    return strcmp(w, "--help") == 0 || strcmp(w, "-h") == 0 || strcmp(w, "help") == 0;
}

static int run(const struct cli_env *env, const struct command *cmd, int argc, char **argv)
{
    struct cli c = {.env = env, .cmd = cmd, .out = stdout, .err = stderr};
    int r = cli_parse(&c, argc, argv);
    if (r == 0 && cli_has(&c, "help"))
        cli_help(env, cmd, stdout);
    else if (r == 0)
        r = cmd->run(&c);
    cli_done(&c);
    if (fflush(stdout) != 0 && r == CLI_OK)
        r = CLI_FAILED;
    return r;
}

/* "fs" alone, "fs --help": what the group holds. */
static int group_alone(const struct cli_env *env, const char *group, bool asked)
{
    cli_group_usage(env, group, asked ? stdout : stderr);
    return asked ? CLI_OK : CLI_USAGE;
}

int cli_main(const struct cli_env *env, int argc, char **argv)
{
    const char *w1 = argc > 1 ? argv[1] : NULL, *w2 = argc > 2 ? argv[2] : NULL;
    if (!w1 || (is_help(w1) && !w2)) {
        cli_usage(env, w1 ? stdout : stderr);
        return w1 ? CLI_OK : CLI_USAGE;
    }
    if (strcmp(w1, "--version") == 0)
        w1 = "version";
    if (is_help(w1)) {
        char *swapped[] = {argv[0], argv[2], argc > 3 ? argv[3] : "--help", "--help", NULL};
        return cli_main(env, argc > 3 ? 4 : 3, swapped);
    }
    int words = 0;
    const struct command *cmd = cli_find(env, w1, w2, &words);
    if (cmd)
        return run(env, cmd, argc - 1 - words, argv + 1 + words);
    struct lookup l = {.w1 = w1};
    cli_each(env, match_command, &l);
    if (l.group && (!w2 || is_help(w2)))
        return group_alone(env, w1, w2 != NULL);
    return unknown_command(env, w1, w2 ? w2 : "");
}
