/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line: `forebay WORDS... [options]`. A table of commands, one file a command below commands/; the wiring
 * adds its own (the roles, fsck).
 *
 * A command is one constant struct in one file and one row in commands.tbl. Its option table drives the parser, --help,
 * the shell completion and the check for what is required, so none of them can disagree. All commands but the wiring's
 * and those marked local talk to a running server over its admin address, so they see and do exactly what REST callers
 * see and do. Nothing here holds state between runs.
 *
 * Exit codes: 0 it worked (and, for questions, the answer is yes); 1 it failed (the answer is no); 2 the command line
 * was wrong, or the command could not run at all.
 *
 * Who owns what: a struct cli and all it points to live as long as the process's one command; strings of answers belong
 * to the answer. Single-threaded.
 */
#pragma once
#include "base/buf.h"
#include <jansson.h>
#include <stdio.h>

struct cli;
struct command;

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* What the wiring knows and the command line may not name itself. */
struct cli_env {
    const char *program;               /* as it was called: "forebay" or "alluxio" */
    const struct command *const *more; /* further commands, ended by NULL; shown first */
};

/* Run one command line; the result is the exit code. */
int cli_main(const struct cli_env *env, int argc, char **argv);

/* ---- for writers of commands ---- */

enum cli_opt_flags {
    OPT_REPEAT = 1, /* may be given several times; else the last one counts */
    OPT_REQUIRED = 2
};

struct cli_opt {
    const char *name;  /* "path": --path */
    char letter;       /* 'R': -R; 0: none */
    const char *value; /* what the value is called in --help; NULL: a switch */
    const char *help;  /* one line */
    unsigned flags;
};

enum { CLI_ANY = 1000 }; /* max: any number of words */

struct command {
    const char *group; /* first word of a two-word command ("fs"); NULL: the command is one word */
    const char *name;
    const char *words; /* positional words for the usage line ("PATH..."), "" for none */
    unsigned min, max; /* how many of them */
    const char *summary;
    const char *text;           /* the rest of the manual; may hold several lines; "" for none */
    const struct cli_opt *opts; /* ends with name NULL; the options all commands share come in addition; NULL: none */
    int (*run)(struct cli *c);  /* returns an exit code */
    bool local;                 /* does not talk to a server: --admin and --token are not its options */
    bool plain;                 /* prints no data: --json is not its option */
};

struct cli {
    const struct cli_env *env;
    const struct command *cmd;
    FILE *out, *err;
    struct cli_arg {
        const struct cli_opt *opt;
        const char *value; /* "" for a switch */
    } * arg;
    size_t arg_n;
    const char **word; /* positional words, NULL at the end */
    size_t word_n;
    const char *admin; /* address of the server, once known */
    char admin_buf[300];
};

/* ---- words ---- */

bool cli_has(const struct cli *c, const char *opt);
const char *cli_get(const struct cli *c, const char *opt, const char *otherwise);
/* The values of an option that may be repeated, one by one: *at starts at 0; NULL after the last. */
const char *cli_next(const struct cli *c, const char *opt, size_t *at);
/* A number of [min, max], or the sentence is printed and false given. */
bool cli_number(struct cli *c, const char *opt, uint64_t otherwise, uint64_t min, uint64_t max, uint64_t *ret);
bool cli_json(const struct cli *c);

/* "forebay: " and the sentence on stderr; returns CLI_FAILED / CLI_USAGE. */
int cli_fail(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_misuse(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The configuration file: --conf, $FOREBAY_CONF, $ALLUXIO_CONF_DIR, ./conf, /etc/forebay; NULL when there is none. */
const char *cli_conf_path(struct cli *c);

/* ---- the server ---- */

struct cli_answer {
    long status; /* HTTP status; 0: no server was reached */
    struct buf body;
    json_t *json;    /* when the body is JSON */
    char error[600]; /* when status is 0: why */
};
void cli_answer_done(struct cli_answer *a);
#define AUTO_ANSWER CLEANUP(cli_answer_done)

/* One request. path_query: "/api/v1/..."; json may be NULL; the result is 0 when the status is 2xx, else -1 (what went
 * wrong is in the answer: cli_answer_fail prints it). */
int cli_call(struct cli *c, const char *method, const char *path_query, const json_t *json, struct cli_answer *ret);
/* The same with a body of bytes and, when sink is given, the answer's bytes streamed to it (only for 2xx). */
int cli_call_raw(struct cli *c, const char *method, const char *path_query, const char *type, struct str body,
                 FILE *sink, struct cli_answer *ret);
/* PUT what f holds from where it stands to its end. */
int cli_send_file(struct cli *c, const char *path_query, FILE *f, struct cli_answer *ret);
/* Print why a call failed; path (may be NULL) is named when it does not exist. Returns CLI_FAILED. */
int cli_answer_fail(struct cli *c, const struct cli_answer *a, const char *path);
/* Is this failed answer the error of that name ("NOT_FOUND")? */
bool cli_answer_is(const struct cli_answer *a, const char *name);

/* Query strings: begins with the path, then "?k=v&k=v", percent-encoded. */
void cli_query(struct buf *b, const char *name, const char *value);
/* "/api/v1/x?path=..." for the many that take just a path. Not NULL; valid until b is done. */
const char *cli_path_query(struct buf *b, const char *base, const char *path);

/* GET with path; prints JSON if asked for. *ret_done: everything was printed (or failed), return ret. */
int cli_get_path(struct cli *c, const char *base, const char *path, struct cli_answer *a, bool *ret_done);

/* ---- printing ---- */

/* What was done, in a sentence; with --json {"status": "..."}, one line each. */
void cli_say(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void cli_print_json(struct cli *c, const json_t *j);
void cli_put_name(struct buf *b, const char *name);                /* control characters as \xNN */
void cli_put_size(struct buf *b, uint64_t bytes, bool human);      /* "6912251" or "6.59MB" */
void cli_put_time(struct buf *b, uint64_t ms);                     /* "02-25-2024 21:22:15:742", local time */
void cli_put_mode(struct buf *b, const char *type, unsigned mode); /* "-rwx------" */
void cli_put_age(struct buf *b, uint64_t ms);                      /* "2h 3m", "41s" */

void cli_put_count(struct buf *b, uint64_t n, const char *noun); /* "1 file", "2 files" */

/* Members of answers: never fail, absent is "" or 0. */
const char *cli_js(const json_t *j, const char *name);
uint64_t cli_ju(const json_t *j, const char *name);
bool cli_jb(const json_t *j, const char *name);

/* ---- the table ---- */

extern const struct command *const cli_table[]; /* ended by NULL */
const struct command *cli_find(const struct cli_env *env, const char *w1, const char *w2, int *ret_words);
/* Visit every command, the wiring's too. */
void cli_each(const struct cli_env *env, void (*fn)(void *arg, const struct command *cmd), void *arg);
void cli_usage(const struct cli_env *env, FILE *f); /* all commands */
void cli_group_usage(const struct cli_env *env, const char *group, FILE *f);
void cli_help(const struct cli_env *env, const struct command *cmd, FILE *f);
/* Options of a command with the shared ones, in one run. */
void cli_each_opt(const struct command *cmd, void (*fn)(void *arg, const struct cli_opt *o), void *arg);
/* The nearest of the known words, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *known, size_t n);

/* Parse words behind the command's name into c->arg and c->word: 0, or an exit code after a sentence on stderr. */
int cli_parse(struct cli *c, int argc, char **argv);
void cli_done(struct cli *c);
