/* SPDX-License-Identifier: Apache-2.0
 *
 * `completion bash`: a completion function for the shell, made from the command table.
 */
#include "cli/cli.h"

struct writer {
    struct cli *c;
    const char *group; /* list this group's names; NULL: first words */
    struct buf seen;   /* words written so far, each between blanks */
};

/* False when it was there already. */
static bool first_time(struct writer *w, const char *word)
{
    char blank[64];
    snprintf(blank, sizeof blank, " %s ", word);
    if (w->seen.p && strstr(w->seen.p, blank))
        return false;
    buf_putz(&w->seen, blank);
    return true;
}

static void word(void *arg, const struct command *cmd)
{
    struct writer *w = arg;
    const char *first = cmd->group ? cmd->group : cmd->name;
    if (w->group && (!cmd->group || strcmp(cmd->group, w->group) != 0))
        return;
    if (first_time(w, w->group ? cmd->name : first))
        fprintf(w->c->out, " %s", w->group ? cmd->name : first);
}

static void option(void *arg, const struct cli_opt *o)
{
    const struct writer *w = arg;
    fprintf(w->c->out, " --%s", o->name);
}

static void options_case(void *arg, const struct command *cmd)
{
    struct writer *w = arg;
    if (cmd->group)
        fprintf(w->c->out, "    '%s %s') words='", cmd->group, cmd->name);
    else
        fprintf(w->c->out, "    '%s '*) words='", cmd->name);
    cli_each_opt(cmd, option, w);
    fprintf(w->c->out, "' ;;\n");
}

static void group_case(void *arg, const struct command *cmd)
{
    struct writer *w = arg;
    if (!cmd->group || !first_time(w, cmd->group))
        return;
    struct writer inner = {.c = w->c, .group = cmd->group};
    fprintf(w->c->out, "    %s) words='", cmd->group);
    cli_each(w->c->env, word, &inner);
    fprintf(w->c->out, "' ;;\n");
    buf_done(&inner.seen);
}

static int run(struct cli *c)
{
    struct writer w = {.c = c};
    if (strcmp(c->word[0], "bash") != 0)
        return cli_misuse(c, "only bash is known, not '%s'", c->word[0]);
    fprintf(c->out,
            "_forebay() {\n  local words='' cur=${COMP_WORDS[COMP_CWORD]}\n  if [ $COMP_CWORD = 1 ]; then words='");
    cli_each(c->env, word, &w);
    fprintf(c->out, " help'\n  elif [ $COMP_CWORD = 2 ] && [[ $cur != -* ]]; then\n    case ${COMP_WORDS[1]} in\n");
    buf_reset(&w.seen);
    cli_each(c->env, group_case, &w);
    fprintf(c->out, "    esac\n  else\n    case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
    cli_each(c->env, options_case, &w);
    fprintf(c->out, "    esac\n  fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
                    "complete -o default -F _forebay forebay alluxio\n");
    buf_done(&w.seen);
    return CLI_OK;
}

const struct command cmd_completion = {
    NULL, "completion", "bash", 1,   1, "Print shell completion.", "For this shell: source <(forebay completion bash)",
    NULL, run,          true,   true};
