/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf_impl.h"

#define FORCED true
#define NOT_YET false
const struct conf_row conf_rows[PROP_COUNT] = {
#define P(id, name, type, def, force, extra, text) [PROP_##id] = {name, CONF_##type, def, force, extra, text},
#define R(role, id, def)
#include "conf/props.tbl"
#undef P
#undef R
};

static const struct {
    enum conf_role role;
    enum conf_prop prop;
    const char *def;
} role_defaults[] = {
#define P(id, name, type, def, force, extra, text)
#define R(role, id, def) {CONF_##role, PROP_##id, def},
#include "conf/props.tbl"
#undef P
#undef R
};

const char *conf_role_default(enum conf_role role, enum conf_prop p)
{
    for (size_t i = 0; i < sizeof role_defaults / sizeof *role_defaults; i++)
        if (role_defaults[i].role == role && role_defaults[i].prop == p)
            return role_defaults[i].def;
    return conf_rows[p].def;
}

const char *conf_role_name(enum conf_role role)
{
    static const char *const names[] = {"standalone", "coordinator", "worker", "fuse", "cli"};
    return names[role];
}

const char *conf_name(enum conf_prop p)
{
    return conf_rows[p].name;
}

enum conf_prop conf_find(struct str name)
{
    for (size_t i = 0; i < PROP_COUNT; i++)
        if (str_eq(name, str_of(conf_rows[i].name)))
            return (enum conf_prop)i;
    return PROP_COUNT;
}

enum { NAME_LONGEST = 128 };

/* Levenshtein distance; names longer than NAME_LONGEST are near nothing. */
static size_t distance(struct str a, struct str b)
{
    size_t row[NAME_LONGEST + 1];
    if (a.n > NAME_LONGEST || b.n > NAME_LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            size_t remove = row[j] + 1, insert = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < remove ? change : remove;
            row[j] = row[j] < insert ? row[j] : insert;
        }
    }
    return row[b.n];
}

const char *conf_nearest(struct str name)
{
    size_t best = name.n / 4 + 2; /* farther than this is not a typing mistake */
    const char *found = NULL;
    for (size_t i = 0; i < PROP_COUNT; i++) {
        struct str known = str_of(conf_rows[i].name);
        size_t apart = known.n > name.n ? known.n - name.n : name.n - known.n;
        size_t d = apart < best ? distance(name, known) : SIZE_MAX;
        if (d < best) {
            best = d;
            found = conf_rows[i].name;
        }
    }
    return found;
}
