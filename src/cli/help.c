/* SPDX-License-Identifier: Apache-2.0
 *
 * Manual texts, made from the command table.
 */
#include "cli/cli.h"

struct listing {
    const struct cli_env *env;
    FILE *f;
    const char *group;
};

static void summary_line(void *arg, const struct command *cmd)
{
    const struct listing *l = arg;
    if (l->group && (!cmd->group || strcmp(cmd->group, l->group) != 0))
        return;
    char words[64];
    snprintf(words, sizeof words, "%s%s%s", cmd->group ? cmd->group : "", cmd->group ? " " : "", cmd->name);
    fprintf(l->f, "  %-22s %s\n", words, cmd->summary);
}

void cli_usage(const struct cli_env *env, FILE *f)
{
    fprintf(f,
            "Forebay: a write cache in front of object storage.\n\n"
            "Usage: %s COMMAND [WORDS] [OPTIONS]\n\nCommands:\n",
            env->program);
    struct listing l = {.env = env, .f = f};
    cli_each(env, summary_line, &l);
    fprintf(f, "\n'%s COMMAND --help' tells more. Exit codes: 0 done, 1 failed, 2 wrong usage.\n", env->program);
}

void cli_group_usage(const struct cli_env *env, const char *group, FILE *f)
{
    fprintf(f, "Usage: %s %s COMMAND [WORDS] [OPTIONS]\n\nCommands:\n", env->program, group);
    struct listing l = {.env = env, .f = f, .group = group};
    cli_each(env, summary_line, &l);
}

static void opt_line(void *arg, const struct cli_opt *o)
{
    const struct listing *l = arg;
    char head[64], letter[8] = "";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(head, sizeof head, "%s--%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
    fprintf(l->f, "  %-26s %s%s%s\n", head, o->help, (o->flags & OPT_REPEAT) ? " Repeatable." : "",
            (o->flags & OPT_REQUIRED) ? " Required." : "");
}

void cli_help(const struct cli_env *env, const struct command *cmd, FILE *f)
{
    fprintf(f, "Usage: %s %s%s%s%s%s [OPTIONS]\n\n%s\n", env->program, cmd->group ? cmd->group : "",
            cmd->group ? " " : "", cmd->name, cmd->words[0] ? " " : "", cmd->words, cmd->summary);
    if (cmd->text[0])
        fprintf(f, "\n%s\n", cmd->text);
    fprintf(f, "\nOptions:\n");
    struct listing l = {.env = env, .f = f};
    cli_each_opt(cmd, opt_line, &l);
}
