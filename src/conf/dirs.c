/* SPDX-License-Identifier: Apache-2.0
 *
 * Two lists separated by commas, taken apart side by side (contract in dirs.h).
 */
#include "conf/dirs.h"
#include "base/err.h"
#include "base/mem.h"
#include "conf/conf_impl.h"

/* The next element of a list without blanks around it; false at its end. */
static bool next(struct str *rest, struct str *ret)
{
    if (!rest->p)
        return false;
    const char *comma = rest->n ? memchr(rest->p, ',', rest->n) : NULL;
    struct str e = {rest->p, comma ? (size_t)(comma - rest->p) : rest->n};
    *rest = comma ? str_from(*rest, e.n + 1) : (struct str){NULL, 0};
    while (e.n && (e.p[0] == ' ' || e.p[0] == '\t'))
        e = str_from(e, 1);
    while (e.n && (e.p[e.n - 1] == ' ' || e.p[e.n - 1] == '\t'))
        e.n--;
    *ret = e;
    return true;
}

static int add(struct conf_dirs *d, struct str path)
{
    if (path.n == 0)
        return err_set(ERR_INVALID, "%s has an empty element", conf_name(PROP_PAGE_DIRS));
    d->dir = mem_grow(d->dir, d->n + 1, sizeof *d->dir);
    d->dir[d->n++] = (struct conf_dir){str_dup(path), 0};
    return 0;
}

static int parse_size(struct str text, uint64_t *ret)
{
    static const struct conf_row row = {.type = CONF_SIZE, .extra = "", .def = "", .text = ""};
    union conf_value v;
    if (text.n == 0 || conf_parse(&row, text, &v) < 0)
        return err_set(ERR_INVALID, "%s: '%.*s' is not a size: write 10GB", conf_name(PROP_PAGE_SIZES), STR_ARG(text));
    *ret = v.u;
    return 0;
}

/* One size for all, or one each. */
static int add_sizes(const struct conf *c, struct conf_dirs *d)
{
    struct str rest = str_of(conf_string(c, PROP_PAGE_SIZES)), e;
    size_t n = 0;
    uint64_t bytes = 0;
    if (rest.n == 0)
        return 0;
    while (next(&rest, &e)) {
        TRY(parse_size(e, &bytes));
        if (n < d->n)
            d->dir[n].bytes = bytes;
        n++;
    }
    if (n != 1 && n != d->n)
        return err_set(ERR_INVALID, "%s names %zu sizes for %zu directories of %s", conf_name(PROP_PAGE_SIZES), n, d->n,
                       conf_name(PROP_PAGE_DIRS));
    for (size_t i = 0; n == 1 && i < d->n; i++)
        d->dir[i].bytes = bytes;
    return 0;
}

static int fill(const struct conf *c, const char *data, struct conf_dirs *d)
{
    struct str rest = str_of(conf_string(c, PROP_PAGE_DIRS)), e;
    if (rest.n == 0) {
        struct buf b AUTO_BUF = {0};
        buf_printf(&b, "%s/pages", data);
        TRY(add(d, buf_str(&b)));
    } else {
        while (next(&rest, &e))
            TRY(add(d, e));
    }
    return add_sizes(c, d);
}

int conf_page_dirs(const struct conf *c, const char *data, struct conf_dirs *ret)
{
    struct conf_dirs d = {0};
    int r = fill(c, data, &d);
    if (r < 0)
        conf_dirs_done(&d);
    else
        *ret = d;
    return r;
}

void conf_dirs_done(struct conf_dirs *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->dir[i].path);
    free(d->dir);
    *d = (struct conf_dirs){0};
}
