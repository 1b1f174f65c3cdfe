/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: the table's rows, and the pieces conf.c is made of.
 */
#pragma once
#include "base/buf.h"
#include "conf/conf.h"

struct conf_row {
    const char *name;
    enum conf_type type;
    const char *def;
    bool in_force;
    const char *extra; /* CONF_ENUM: "a|b"; CONF_INT: "1..65535" */
    const char *text;
};
extern const struct conf_row conf_rows[PROP_COUNT];

const char *conf_role_default(enum conf_role role, enum conf_prop p);
const char *conf_role_name(enum conf_role role);
/* The row's index, or PROP_COUNT. */
enum conf_prop conf_find(struct str name);
/* The property whose name is closest to this, NULL when none is near. */
const char *conf_nearest(struct str name);

union conf_value {
    bool b;
    uint64_t u; /* CONF_INT, CONF_SIZE, CONF_MS; CONF_ENUM: the place among the choices */
    double d;
};
/* ERR_INVALID with a detail that says what is expected ("true or false"). */
int conf_parse(const struct conf_row *row, struct str text, union conf_value *ret);

/* Take a Java properties text apart; key and value are unescaped. line is where the entry begins. Stops when fn fails.
 */
int conf_properties(struct str text, int (*fn)(void *arg, unsigned line, struct str key, struct str value), void *arg);
