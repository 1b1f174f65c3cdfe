/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration: a value for every property of props.tbl, from the defaults, a file in Java properties syntax and
 * the command line, later sources winning.
 *
 * Ownership: struct conf owns everything it hands out; strings are valid until the next change or conf_free().
 * Threads: build it on one thread; afterwards nothing changes, and any thread may read.
 * Errors: ERR_INVALID with "file:line: property=value: what is expected"; a failing call changes nothing. What is
 * merely odd (an unknown property, one not in force) is a warning through the callback; loading goes on. This room
 * never logs.
 *
 * A value may contain ${name}: another property, or else an environment variable. It is replaced when read, so the
 * order of lines does not matter.
 */
#pragma once
#include "base/str.h"
#include <stdio.h>

struct conf;

enum conf_prop {
#define P(id, name, type, def, force, extra, text) PROP_##id,
#define R(role, id, def)
#include "conf/props.tbl"
#undef P
#undef R
    PROP_COUNT
};

/* Some defaults depend on the role. */
enum conf_role { CONF_STANDALONE, CONF_COORDINATOR, CONF_WORKER, CONF_FUSE, CONF_CLI };

enum conf_type {
    CONF_BOOL,     /* true, false */
    CONF_INT,      /* whole number in a range */
    CONF_SIZE,     /* bytes: 4096, 64KB, 1.5GB, 1TiB (all units are powers of 1024) */
    CONF_MS,       /* milliseconds: 500ms, 3sec, 10min, 1h, 7d; a bare number is milliseconds */
    CONF_MS_NEVER, /* the same, or -1: never */
    CONF_RATIO,    /* 0 to 1 */
    CONF_STRING,
    CONF_ENUM,  /* one of several words, in any case */
    CONF_SECRET /* a string that is never printed */
};

#define CONF_NEVER UINT64_MAX /* a CONF_MS_NEVER of -1 */

struct conf *conf_new(enum conf_role role); /* all defaults */
struct conf *conf_free(struct conf *c);     /* NULL is fine; returns NULL */
static inline void cleanup_conf_free(struct conf **c)
{
    conf_free(*c);
}
#define AUTO_CONF __attribute__((cleanup(cleanup_conf_free)))

/* Where warnings go, one sentence each, already with its place. Without a callback they are dropped. */
void conf_on_warning(struct conf *c, void (*fn)(void *arg, const char *text), void *arg);

/* ERR_NOT_FOUND when there is no such file (detail names it). */
int conf_load_file(struct conf *c, const char *path);
/* The same from memory; name stands for the file in messages. */
int conf_load_text(struct conf *c, struct str text, const char *name);
/* source: for messages and conf_each, "command line". An unknown name is a warning and 0. */
int conf_set(struct conf *c, const char *name, const char *value, const char *source);

/* Reading. Asking for another type than props.tbl says is a bug and aborts. */
bool conf_bool(const struct conf *c, enum conf_prop p);
uint64_t conf_u64(const struct conf *c, enum conf_prop p); /* CONF_INT */
uint64_t conf_size(const struct conf *c, enum conf_prop p);
uint64_t conf_ms(const struct conf *c, enum conf_prop p);
double conf_double(const struct conf *c, enum conf_prop p);      /* CONF_RATIO */
const char *conf_string(const struct conf *c, enum conf_prop p); /* any type, as written, ${} replaced; "" when unset */
unsigned conf_enum(const struct conf *c, enum conf_prop p);      /* place among the choices, from 0 */
bool conf_is_set(const struct conf *c, enum conf_prop p);        /* by a file or the command line */

struct conf_item {
    enum conf_prop prop;
    const char *name, *value;   /* effective; secrets show as "******" */
    const char *source;         /* "default", "/etc/forebay/alluxio-site.properties:12", "command line" */
    const char *text, *choices; /* description; for CONF_ENUM "a|b|c", for CONF_INT "1..65535", else "" */
    enum conf_type type;
    bool is_set, in_force;
};
/* ERR_NOT_FOUND, with the nearest name in the detail. */
int conf_get_by_name(const struct conf *c, struct str name, struct conf_item *ret);
/* Visit all by name; stops when fn returns non-zero, and returns that. */
int conf_each(const struct conf *c, int (*fn)(void *arg, const struct conf_item *item), void *arg);

const char *conf_name(enum conf_prop p);
/* A size as a CONF_SIZE is written ("64KB"): ERR_INVALID with what is expected. */
int conf_parse_size(struct str text, uint64_t *ret);
/* The reference page docs/properties.md, from the table. */
void conf_print_markdown(FILE *f);
