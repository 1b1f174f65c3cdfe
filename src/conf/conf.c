/* SPDX-License-Identifier: Apache-2.0
 * A change is made on a copy of all entries; only when every value of the copy parses does it take the place of the old
 * ones. There are some hundred of them, and this happens at start only. */
#include "conf/conf_impl.h"
#include "base/mem.h"
#include <fcntl.h>

enum { DEPTH_MAX = 16, FILE_MAX_BYTES = 4 << 20 };

struct entry {
    char *raw;    /* as written; owned */
    char *source; /* owned; "default" unless set */
    char *text;   /* ${} replaced; owned */
    union conf_value value;
    bool is_set;
};

struct conf {
    enum conf_role role;
    struct entry e[PROP_COUNT];
    void (*warn)(void *arg, const char *text); /* never NULL */
    void *warn_arg;
};

static void no_warning(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

__attribute__((format(printf, 2, 3))) static void warn(struct conf *c, const char *fmt, ...)
{
    struct buf b AUTO_BUF = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    c->warn(c->warn_arg, b.p);
}

void conf_on_warning(struct conf *c, void (*fn)(void *arg, const char *text), void *arg)
{
    c->warn = fn ? fn : no_warning;
    c->warn_arg = arg;
}

/* ---- ${name} ---- */

static int expand(const struct entry *e, const char *raw, int depth, struct buf *out);

/* What ${name} stands for. ALLUXIO_HOME and ALLUXIO_CONF_DIR, which the launcher scripts of others export, fall back to
 * the properties of that meaning. */
static int expand_name(const struct entry *e, struct str name, int depth, struct buf *out)
{
    enum conf_prop p = conf_find(name);
    if (p == PROP_COUNT) {
        char *z AUTO_FREE = str_dup(name);
        const char *env = getenv(z);
        if (env) {
            buf_putz(out, env);
            return 0;
        }
        if (str_eq(name, STR("ALLUXIO_HOME")))
            p = PROP_HOME;
        else if (str_eq(name, STR("ALLUXIO_CONF_DIR")))
            p = PROP_CONF_DIR;
        else
            return err_set(ERR_INVALID, "${%.*s} is neither a property nor an environment variable", STR_ARG(name));
    }
    if (conf_rows[p].type == CONF_SECRET)
        return err_set(ERR_INVALID, "${%.*s} is a secret and cannot be part of another value", STR_ARG(name));
    if (depth == DEPTH_MAX)
        return err_set(ERR_INVALID, "${%.*s} refers to itself", STR_ARG(name));
    return expand(e, e[p].raw, depth + 1, out);
}

static int expand(const struct entry *e, const char *raw, int depth, struct buf *out)
{
    const char *at = raw, *open;
    while ((open = strstr(at, "${"))) {
        const char *close = strchr(open, '}');
        if (!close)
            break;
        buf_add(out, at, (size_t)(open - at));
        TRY(expand_name(e, str_mk(open + 2, (size_t)(close - open - 2)), depth, out));
        at = close + 1;
    }
    buf_putz(out, at);
    return 0;
}

/* ---- entries ---- */

static void entries_done(struct entry *e)
{
    for (size_t i = 0; i < PROP_COUNT; i++) {
        free(e[i].raw);
        free(e[i].source);
        free(e[i].text);
    }
}

static void entry_put(struct entry *e, struct str raw, const char *source, bool is_set)
{
    char *fresh = str_dup(raw); /* raw may point into e */
    char *where = str_dup(str_of(source));
    free(e->raw);
    free(e->source);
    e->raw = fresh;
    e->source = where;
    e->is_set = is_set;
}

static const char *shown(const struct conf_row *row, const char *value)
{
    return row->type == CONF_SECRET && *value ? "******" : value;
}

static int resolve_one(struct entry *e, enum conf_prop p)
{
    const struct conf_row *row = &conf_rows[p];
    struct buf text AUTO_BUF = {0};
    int code = expand(e, e[p].raw, 0, &text);
    if (!code)
        code = conf_parse(row, buf_str(&text), &e[p].value);
    if (code)
        return err_prefix(code, "%s: %s=%s: ", e[p].source, row->name, shown(row, e[p].raw));
    free(e[p].text);
    e[p].text = buf_take(&text, NULL);
    return 0;
}

static int resolve(struct entry *e)
{
    for (size_t i = 0; i < PROP_COUNT; i++)
        TRY(resolve_one(e, (enum conf_prop)i));
    return 0;
}

struct conf *conf_new(enum conf_role role)
{
    struct conf *c = MEM_NEW(struct conf);
    c->role = role;
    c->warn = no_warning;
    for (size_t i = 0; i < PROP_COUNT; i++) {
        const char *def = conf_role_default(role, (enum conf_prop)i);
        entry_put(&c->e[i], str_of(def), "default", false);
    }
    int code = resolve(c->e);
    CHECK(code == 0, "props.tbl: %s", err_detail(code));
    return c;
}

struct conf *conf_free(struct conf *c)
{
    if (c)
        entries_done(c->e);
    free(c);
    return NULL;
}

/* ---- changing ---- */

struct change {
    struct conf *c;
    struct entry e[PROP_COUNT]; /* the copy */
    const char *file;           /* NULL: source is the whole place */
    const char *source;
};

static struct change *change_begin(struct conf *c)
{
    struct change *ch = MEM_NEW(struct change);
    ch->c = c;
    for (size_t i = 0; i < PROP_COUNT; i++)
        entry_put(&ch->e[i], str_of(c->e[i].raw), c->e[i].source, c->e[i].is_set);
    return ch;
}

/* Put the copy in place when it is sound; the change is freed either way. */
static int change_end(struct change *ch, int code)
{
    if (!code)
        code = resolve(ch->e);
    if (!code) {
        entries_done(ch->c->e);
        memcpy(ch->c->e, ch->e, sizeof ch->e);
    } else {
        entries_done(ch->e);
    }
    free(ch);
    return code;
}

static void warn_unknown(struct conf *c, const char *place, struct str name)
{
    const char *near = conf_nearest(name);
    if (near)
        warn(c, "%s: %.*s is not a property; did you mean %s?", place, STR_ARG(name), near);
    else
        warn(c, "%s: %.*s is not a property; it is ignored", place, STR_ARG(name));
}

static int change_put(struct change *ch, const char *place, struct str name, struct str value)
{
    enum conf_prop p = conf_find(name);
    if (p == PROP_COUNT) {
        warn_unknown(ch->c, place, name);
        return 0;
    }
    const struct conf_row *row = &conf_rows[p];
    if (memchr(value.p, 0, value.n))
        return err_set(ERR_INVALID, "%s: %s: a value without NUL is expected", place, row->name);
    if (!row->in_force && !str_eq(value, str_of(row->def)))
        warn(ch->c, "%s: %s is accepted but not in force in this version", place, row->name);
    entry_put(&ch->e[p], value, place, true);
    return 0;
}

int conf_set(struct conf *c, const char *name, const char *value, const char *source)
{
    struct change *ch = change_begin(c);
    return change_end(ch, change_put(ch, source, str_of(name), str_of(value)));
}

static int load_line(void *arg, unsigned line, struct str key, struct str value)
{
    struct change *ch = arg;
    struct buf place AUTO_BUF = {0};
    buf_printf(&place, "%s:%u", ch->file, line);
    return change_put(ch, place.p, key, value);
}

int conf_load_text(struct conf *c, struct str text, const char *name)
{
    struct change *ch = change_begin(c);
    ch->file = name;
    return change_end(ch, conf_properties(text, load_line, ch));
}

static int read_file(const char *path, struct buf *out)
{
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err_from_errno(errno), "cannot open configuration file %s: %m", path);
    for (;;) {
        buf_reserve(out, 65536);
        ssize_t n = read(fd, out->p + out->n, 65536);
        if (n < 0)
            return err_set(err_from_errno(errno), "cannot read configuration file %s: %m", path);
        if (n == 0)
            return 0;
        out->n += (size_t)n;
        if (out->n > FILE_MAX_BYTES)
            return err_set(ERR_INVALID, "configuration file %s is larger than %d bytes", path, FILE_MAX_BYTES);
    }
}

int conf_load_file(struct conf *c, const char *path)
{
    struct buf text AUTO_BUF = {0};
    TRY(read_file(path, &text));
    return conf_load_text(c, buf_str(&text), path);
}

/* ---- reading ---- */

static const struct entry *typed(const struct conf *c, enum conf_prop p, enum conf_type type)
{
    CHECK((size_t)p < PROP_COUNT);
    CHECK(conf_rows[p].type == type, "%s is asked for as type %d", conf_rows[p].name, (int)type);
    return &c->e[p];
}

bool conf_bool(const struct conf *c, enum conf_prop p)
{
    return typed(c, p, CONF_BOOL)->value.b;
}

uint64_t conf_u64(const struct conf *c, enum conf_prop p)
{
    return typed(c, p, CONF_INT)->value.u;
}

uint64_t conf_size(const struct conf *c, enum conf_prop p)
{
    return typed(c, p, CONF_SIZE)->value.u;
}

uint64_t conf_ms(const struct conf *c, enum conf_prop p)
{
    return typed(c, p, conf_rows[p].type == CONF_MS_NEVER ? CONF_MS_NEVER : CONF_MS)->value.u;
}

double conf_double(const struct conf *c, enum conf_prop p)
{
    return typed(c, p, CONF_RATIO)->value.d;
}

unsigned conf_enum(const struct conf *c, enum conf_prop p)
{
    return (unsigned)typed(c, p, CONF_ENUM)->value.u;
}

const char *conf_string(const struct conf *c, enum conf_prop p)
{
    CHECK((size_t)p < PROP_COUNT);
    return c->e[p].text;
}

bool conf_is_set(const struct conf *c, enum conf_prop p)
{
    CHECK((size_t)p < PROP_COUNT);
    return c->e[p].is_set;
}

static struct conf_item item_of(const struct conf *c, enum conf_prop p)
{
    const struct conf_row *row = &conf_rows[p];
    const struct entry *e = &c->e[p];
    return (struct conf_item){.prop = p,
                              .name = row->name,
                              .value = shown(row, e->text),
                              .source = e->source,
                              .text = row->text,
                              .choices = row->extra,
                              .type = row->type,
                              .is_set = e->is_set,
                              .in_force = row->in_force};
}

int conf_get_by_name(const struct conf *c, struct str name, struct conf_item *ret)
{
    enum conf_prop p = conf_find(name);
    const char *near = p == PROP_COUNT ? conf_nearest(name) : NULL;
    if (near)
        return err_set(ERR_NOT_FOUND, "%.*s is not a property; did you mean %s?", STR_ARG(name), near);
    if (p == PROP_COUNT)
        return err_set(ERR_NOT_FOUND, "%.*s is not a property", STR_ARG(name));
    *ret = item_of(c, p);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(conf_rows[*(const enum conf_prop *)a].name, conf_rows[*(const enum conf_prop *)b].name);
}

int conf_each(const struct conf *c, int (*fn)(void *arg, const struct conf_item *item), void *arg)
{
    enum conf_prop order[PROP_COUNT];
    for (size_t i = 0; i < PROP_COUNT; i++)
        order[i] = (enum conf_prop)i;
    qsort(order, PROP_COUNT, sizeof *order, by_name);
    for (size_t i = 0; i < PROP_COUNT; i++) {
        struct conf_item item = item_of(c, order[i]);
        int r = fn(arg, &item);
        if (r)
            return r;
    }
    return 0;
}
