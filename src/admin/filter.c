/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of paths (contract in filter.h).
 */
#include "admin/filter.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include <ctype.h>
#include <regex.h>

enum { ANEW_AFTER = 4096 }; /* bytes of paths: as many states at most are remembered */

struct filter {
    char *text;
    regex_t re;
    size_t seen;
};

/* ---- its size with repetitions written out: a group is what is in it, everything else that stands for a byte is 1 */

struct level {
    uint64_t sum, last; /* of this group; of the last thing in it, which a repetition is about */
};

struct measure {
    const char *at;
    struct level of[FILTER_BYTES + 1];
    size_t depth;
};

static void add(struct measure *m, uint64_t n)
{
    struct level *l = &m->of[m->depth];
    l->sum += n;
    l->last = n;
}

static void repeat(struct measure *m, uint64_t times)
{
    struct level *l = &m->of[m->depth];
    if (times < 2)
        return;
    l->sum += l->last * (times - 1);
    l->last *= times;
}

/* Behind '[': to behind the ']' that ends it. */
static void skip_bracket(struct measure *m)
{
    const char *p = m->at + (*m->at == '^');
    p += *p == ']';
    while (*p && *p != ']') {
        char kind = p[0] == '[' ? p[1] : 0;
        bool named = kind == ':' || kind == '.' || kind == '=';
        const char end[] = {kind, ']', 0}, *over = named ? strstr(p + 2, end) : NULL;
        p = over ? over + 2 : p + 1;
    }
    m->at = p + (*p == ']');
}

/* Behind '{': the highest of "{3}", "{3,}", "{,5}", "{3,5}". */
static void read_times(struct measure *m)
{
    uint64_t from = 0, to = 0;
    const char *p = m->at;
    for (; isdigit((unsigned char)*p); p++)
        from = from < FILTER_SIZE ? from * 10 + (uint64_t)(*p - '0') : from;
    if (*p == ',')
        p++;
    for (; isdigit((unsigned char)*p); p++)
        to = to < FILTER_SIZE ? to * 10 + (uint64_t)(*p - '0') : to;
    if (*p != '}') { /* no repetition: it stands for itself */
        add(m, 1);
        return;
    }
    m->at = p + 1;
    repeat(m, from + 1 > to ? from + 1 : to);
}

static void close_group(struct measure *m)
{
    uint64_t n = m->of[m->depth].sum;
    if (m->depth) {
        m->depth--;
        add(m, n + 1);
    } else {
        add(m, 1); /* it closes nothing: it stands for itself */
    }
}

static void open_group(struct measure *m)
{
    m->of[++m->depth] = (struct level){0};
}

static int take_one(struct measure *m)
{
    char c = *m->at++;
    if (c == '\\' && *m->at >= '1' && *m->at <= '9')
        return err_set(ERR_INVALID, "\\%c: a filter cannot refer back to a group", *m->at);
    if (c == '\\' && *m->at)
        m->at++;
    if (c == '(')
        open_group(m);
    else if (c == ')')
        close_group(m);
    else if (c == '{')
        read_times(m);
    else if (c == '+' || c == '*' || c == '?')
        repeat(m, 2);
    else
        add(m, 1);
    if (c == '[')
        skip_bracket(m);
    return 0;
}

static int check_size(const char *regex)
{
    struct measure m = {.at = regex};
    if (strlen(regex) > FILTER_BYTES)
        return err_set(ERR_INVALID, "a filter has at most %d bytes", FILTER_BYTES);
    while (*m.at) {
        TRY(take_one(&m));
        if (m.of[m.depth].sum > FILTER_SIZE)
            return err_set(ERR_INVALID, "with its repetitions written out the filter is larger than %d", FILTER_SIZE);
    }
    return 0;
}

/* ---- */

static int compile(const char *regex, regex_t *ret)
{
    char text[200];
    int e = regcomp(ret, regex, REG_EXTENDED);
    if (e == 0)
        return 0;
    regerror(e, ret, text, sizeof text);
    return err_set(e == REG_ESPACE ? ERR_NOMEM : ERR_INVALID, "%s", text);
}

int filter_new(const char *regex, struct filter **ret)
{
    regex_t re;
    TRY(check_size(regex));
    TRY(compile(regex, &re));
    struct filter *f = MEM_NEW(struct filter);
    f->text = str_dup(str_of(regex));
    f->re = re;
    *ret = f;
    return 0;
}

static void forget_states(struct filter *f)
{
    regex_t re;
    f->seen = 0;
    if (compile(f->text, &re) < 0) /* it could be compiled before: no memory, and then the old one is as good */
        return;
    regfree(&f->re);
    f->re = re;
}

bool filter_fits(struct filter *f, const char *path)
{
    regmatch_t m;
    f->seen += strlen(path);
    if (f->seen > ANEW_AFTER)
        forget_states(f);
    return regexec(&f->re, path, 1, &m, 0) == 0 && m.rm_so == 0 && path[m.rm_eo] == 0;
}

struct filter *filter_free(struct filter *f)
{
    if (!f)
        return NULL;
    regfree(&f->re);
    free(f->text);
    free(f);
    return NULL;
}
