/* SPDX-License-Identifier: Apache-2.0
 * Values from text. */
#include "base/err.h"
#include "conf/conf_impl.h"
#include <math.h>

struct unit {
    const char *name;
    double factor;
};
static const struct unit size_units[] = {
    {"", 1},        {"b", 1},        {"k", 0x1p10}, {"kb", 0x1p10}, {"kib", 0x1p10}, {"m", 0x1p20},
    {"mb", 0x1p20}, {"mib", 0x1p20}, {"g", 0x1p30}, {"gb", 0x1p30}, {"gib", 0x1p30}, {"t", 0x1p40},
    {"tb", 0x1p40}, {"tib", 0x1p40}, {"p", 0x1p50}, {"pb", 0x1p50}, {"pib", 0x1p50}, {NULL, 0},
};
static const struct unit time_units[] = {
    {"", 1},          {"ms", 1},        {"msec", 1},      {"millisecond", 1}, {"milliseconds", 1}, {"s", 1e3},
    {"sec", 1e3},     {"second", 1e3},  {"seconds", 1e3}, {"m", 6e4},         {"min", 6e4},        {"minute", 6e4},
    {"minutes", 6e4}, {"h", 3.6e6},     {"hr", 3.6e6},    {"hour", 3.6e6},    {"hours", 3.6e6},    {"d", 8.64e7},
    {"day", 8.64e7},  {"days", 8.64e7}, {NULL, 0},
};

static struct str trim(struct str s)
{
    while (s.n && strchr(" \t", s.p[0]))
        s = str_from(s, 1);
    while (s.n && strchr(" \t", s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The length of the digits and at most one point at the start of s. */
static size_t number_len(struct str s)
{
    size_t n = 0, points = 0;
    while (n < s.n && ((s.p[n] >= '0' && s.p[n] <= '9') || (s.p[n] == '.' && points++ == 0)))
        n++;
    return n > points ? n : 0;
}

/* A decimal fraction without regard to the locale. */
static bool number(struct str s, double *ret)
{
    double v = 0, place = 1;
    bool fraction = false;
    if (s.n == 0 || number_len(s) != s.n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.') {
            fraction = true;
            continue;
        }
        v = v * 10 + (s.p[i] - '0');
        place *= fraction ? 10 : 1;
    }
    *ret = v / place;
    return true;
}

static bool with_unit(struct str s, const struct unit *units, uint64_t *ret)
{
    struct str digits = {s.p, number_len(s)}, unit = trim(str_from(s, digits.n));
    for (; units->name; units++) {
        if (!str_ieq(unit, str_of(units->name)))
            continue;
        uint64_t whole; /* exact where a double is not */
        if (str_u64(digits, UINT64_MAX, &whole))
            return !__builtin_mul_overflow(whole, (uint64_t)units->factor, ret);
        double v;
        if (!number(digits, &v) || v * units->factor >= 0x1p63)
            return false;
        *ret = (uint64_t)round(v * units->factor);
        return true;
    }
    return false;
}

static bool parse_bool(struct str s, bool *ret)
{
    if (!str_ieq(s, STR("true")) && !str_ieq(s, STR("false")))
        return false;
    *ret = str_ieq(s, STR("true"));
    return true;
}

static bool parse_enum(struct str s, const char *choices, uint64_t *ret)
{
    uint64_t i = 0;
    for (const char *at = choices;; i++) {
        size_t n = strcspn(at, "|");
        if (str_ieq(s, str_mk(at, n))) {
            *ret = i;
            return true;
        }
        if (!at[n])
            return false;
        at += n + 1;
    }
}

static bool parse_int(struct str s, const char *range, uint64_t *ret)
{
    const char *dots = strstr(range, "..");
    uint64_t lo, hi, v;
    CHECK(dots && str_u64(str_mk(range, (size_t)(dots - range)), UINT64_MAX, &lo) &&
              str_u64(str_of(dots + 2), UINT64_MAX, &hi),
          "props.tbl: range %s", range);
    if (!str_u64(s, hi, &v) || v < lo)
        return false;
    *ret = v;
    return true;
}

static bool parse_ratio(struct str s, double *ret)
{
    double v;
    if (!number(s, &v) || v > 1)
        return false;
    *ret = v;
    return true;
}

int conf_parse_size(struct str text, uint64_t *ret)
{
    uint64_t n;
    if (!with_unit(trim(text), size_units, &n))
        return err_set(ERR_INVALID, "'%.*s': a size such as 64KB or 1GB is expected", STR_ARG(text));
    *ret = n;
    return 0;
}

int conf_parse(const struct conf_row *row, struct str text, union conf_value *ret)
{
    struct str s = trim(text);
    switch (row->type) {
    case CONF_BOOL:
        return parse_bool(s, &ret->b) ? 0 : err_set(ERR_INVALID, "true or false is expected");
    case CONF_INT:
        return parse_int(s, row->extra, &ret->u) ? 0
                                                 : err_set(ERR_INVALID, "a whole number of %s is expected", row->extra);
    case CONF_SIZE:
        return with_unit(s, size_units, &ret->u) ? 0 : err_set(ERR_INVALID, "a size such as 64KB or 1GB is expected");
    case CONF_MS_NEVER:
        if (str_eq(s, STR("-1"))) {
            ret->u = CONF_NEVER;
            return 0;
        }
        return with_unit(s, time_units, &ret->u) ? 0
                                                 : err_set(ERR_INVALID, "a time such as 500ms, 10min or 1h, or -1 for "
                                                                        "never, is expected");
    case CONF_MS:
        return with_unit(s, time_units, &ret->u)
                   ? 0
                   : err_set(ERR_INVALID, "a time such as 500ms, 10min or 1h is expected");
    case CONF_RATIO:
        return parse_ratio(s, &ret->d) ? 0 : err_set(ERR_INVALID, "a number from 0 to 1 is expected");
    case CONF_ENUM:
        return parse_enum(s, row->extra, &ret->u) ? 0 : err_set(ERR_INVALID, "one of %s is expected", row->extra);
    case CONF_STRING:
    case CONF_SECRET:
        return memchr(text.p, 0, text.n) ? err_set(ERR_INVALID, "a text without NUL is expected") : 0;
    }
    return 0;
}
