/* SPDX-License-Identifier: Apache-2.0
 *
 * Upload forms (contract in form.h).
 *
 * The stream is read through one buffer. A CRLF is put in front of it, so that the first delimiter looks like all
 * others.
 */
#include "s3/form.h"
#include "base/mem.h"

enum { BUFFER = 64 * 1024, LINE_MAX_BYTES = 4096, BOUNDARY_MAX = 70 };
#define REST_MAX (1u << 20) /* behind the file: more than any browser sends */

static int malformed(const char *what)
{
    return err_set(ERR_FORM, "The body of your POST request is not well-formed multipart/form-data: %s", what);
}

/* --- the stream */

/* More bytes behind what is there; false at the end of the body. */
static int more(struct s3_form *f, bool *ret)
{
    if (f->body_ended) {
        *ret = false;
        return 0;
    }
    if (f->at) {
        memmove(f->buf, f->buf + f->at, f->have - f->at);
        f->have -= f->at;
        f->at = 0;
    }
    if (f->have == BUFFER)
        return malformed("a line is too long");
    ssize_t n = http_body_read(f->c->rq, f->buf + f->have, BUFFER - f->have);
    if (n < 0)
        return (int)n;
    f->have += (size_t)n;
    f->body_ended = n == 0;
    *ret = n > 0;
    return 0;
}

static int need(struct s3_form *f, size_t n)
{
    bool got = true;
    while (f->have - f->at < n && got)
        TRY(more(f, &got));
    return f->have - f->at < n ? malformed("it ends in the middle") : 0;
}

/* The next line without its CRLF; valid until the next call. */
static int line(struct s3_form *f, struct str *ret)
{
    bool got = true;
    for (;;) {
        char *p = f->buf + f->at, *end = memmem(p, f->have - f->at, "\r\n", 2);
        if (end && end - p <= LINE_MAX_BYTES) {
            *ret = str_mk(p, (size_t)(end - p));
            f->at += ret->n + 2;
            f->fields_bytes += ret->n + 2;
            return 0;
        }
        if (f->have - f->at > LINE_MAX_BYTES)
            return malformed("a line of a head is too long");
        if (!got)
            return malformed("it ends in the middle of a head");
        TRY(more(f, &got));
    }
}

/* Bytes before the next delimiter that are here: *ret of them, and whether the delimiter follows. */
static int run_before(struct s3_form *f, size_t *ret, bool *ret_last)
{
    for (bool got = true;;) {
        char *p = f->buf + f->at;
        size_t n = f->have - f->at;
        char *end = memmem(p, n, f->delimiter, f->delimiter_n);
        *ret_last = end;
        *ret = end ? (size_t)(end - p) : n >= f->delimiter_n ? n - f->delimiter_n + 1 : 0;
        if (end || *ret)
            return 0;
        if (!got)
            return malformed("it ends without its final boundary");
        TRY(more(f, &got));
    }
}

/* --- heads */

/* The parameter of a header value: name=token or name="quoted"; into the call's memory. p NULL when absent. */
static struct str parameter(struct s3_call *c, struct str v, const char *name)
{
    size_t name_n = strlen(name), i = 0;
    bool quoted = false;
    for (; i < v.n; i++) {
        if (v.p[i] == '\\' && quoted)
            i++;
        else if (v.p[i] == '"')
            quoted = !quoted;
        else if (v.p[i] == ';' && !quoted) {
            size_t at = i + 1;
            while (at < v.n && (v.p[at] == ' ' || v.p[at] == '\t'))
                at++;
            if (v.n - at > name_n && str_ieq(str_mk(v.p + at, name_n), str_mk(name, name_n)) &&
                v.p[at + name_n] == '=') {
                i = at + name_n + 1;
                break;
            }
        }
    }
    if (i >= v.n)
        return (struct str){NULL, 0};
    char *out = s3_call_mem(c, v.n - i + 1);
    size_t n = 0;
    quoted = v.p[i] == '"';
    for (i += quoted; i < v.n && (quoted ? v.p[i] != '"' : v.p[i] != ';' && v.p[i] != ' '); i++) {
        if (quoted && v.p[i] == '\\' && i + 1 < v.n && (v.p[i + 1] == '"' || v.p[i + 1] == '\\'))
            i++;
        out[n++] = v.p[i];
    }
    return str_mk(out, n);
}

struct head {
    struct str name, filename;
};

static int read_head(struct s3_form *f, struct head *ret)
{
    *ret = (struct head){0};
    for (;;) {
        struct str l;
        TRY(line(f, &l));
        if (f->fields_bytes > S3_FORM_FIELDS_MAX)
            return err_set(ERR_FORM_LARGE, "Your POST request fields preceding the upload file were too large.");
        if (!l.n)
            break;
        const char *colon = memchr(l.p, ':', l.n);
        if (!colon)
            return malformed("a line of a head has no colon");
        struct str name = str_mk(l.p, (size_t)(colon - l.p)), v = str_from(l, name.n + 1);
        while (v.n && v.p[0] == ' ')
            v = str_from(v, 1);
        if (str_ieq(name, STR("Content-Disposition"))) {
            ret->name = s3_call_lower(f->c, parameter(f->c, v, "name"));
            ret->filename = parameter(f->c, v, "filename");
        }
    }
    return ret->name.n ? 0 : malformed("a field has no name");
}

/* Behind a delimiter: "--" ends the form. */
static int after_delimiter(struct s3_form *f, bool *ret_end)
{
    struct str rest;
    TRY(need(f, f->delimiter_n + 2));
    f->at += f->delimiter_n;
    *ret_end = f->buf[f->at] == '-' && f->buf[f->at + 1] == '-';
    if (*ret_end)
        return 0;
    TRY(line(f, &rest));
    for (size_t i = 0; i < rest.n; i++)
        if (rest.p[i] != ' ' && rest.p[i] != '\t')
            return malformed("there is something behind a boundary");
    return 0;
}

static void add_field(struct s3_form *f, struct str name, struct str value)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        struct http_header *h = s3_call_mem(f->c, cap * sizeof *h);
        if (f->n)
            memcpy(h, f->field, f->n * sizeof *h);
        f->field = h;
        f->cap = cap;
    }
    f->field[f->n++] = (struct http_header){name, value};
}

static int read_field(struct s3_form *f, struct str name)
{
    struct buf value AUTO_BUF = {0};
    for (bool last = false; !last;) {
        size_t n;
        TRY(run_before(f, &n, &last));
        buf_add(&value, f->buf + f->at, n);
        f->at += n;
        f->fields_bytes += n;
        if (f->fields_bytes > S3_FORM_FIELDS_MAX)
            return err_set(ERR_FORM_LARGE, "Your POST request fields preceding the upload file were too large.");
    }
    if (s3_form_get(f, s3_call_dup(f->c, name).p).p)
        return malformed("a field is there twice");
    add_field(f, name, s3_call_dup(f->c, buf_str(&value)));
    return 0;
}

/* "C:\dir\name" and "dir/name": browsers of old sent where the file was. */
static struct str base_name(struct str s)
{
    for (size_t i = s.n; i > 0; i--)
        if (s.p[i - 1] == '/' || s.p[i - 1] == '\\')
            return str_from(s, i);
    return s;
}

/* --- open, read */

static int take_boundary(struct s3_form *f)
{
    struct str type = s3_header_of(f->c, "Content-Type");
    struct str form = STR("multipart/form-data");
    if (type.n < form.n || !str_ieq(str_mk(type.p, form.n), form))
        return err_set(ERR_PRECONDITION, "Bucket POST must be of the enclosure-type multipart/form-data");
    struct str b = parameter(f->c, type, "boundary");
    if (!b.n || b.n > BOUNDARY_MAX)
        return malformed("Content-Type names no boundary, or one of more than 70 bytes");
    f->delimiter_n = (size_t)snprintf(f->delimiter, sizeof f->delimiter, "\r\n--%.*s", STR_ARG(b));
    return 0;
}

int s3_form_open(struct s3_form *f, struct s3_call *c)
{
    struct head h;
    size_t n;
    bool end = false, last = false;
    *f = (struct s3_form){.c = c};
    TRY(take_boundary(f));
    f->buf = mem_alloc(BUFFER);
    memcpy(f->buf, "\r\n", 2);
    f->have = 2;
    while (!last) { /* what stands in front of the first boundary does not count */
        TRY(run_before(f, &n, &last));
        f->at += n;
        f->fields_bytes += n;
        if (f->fields_bytes > S3_FORM_FIELDS_MAX)
            return malformed("it does not begin with its boundary");
    }
    for (;;) {
        TRY(after_delimiter(f, &end));
        if (end)
            return err_set(ERR_INVALID, "POST requires exactly one file upload per request.");
        TRY(read_head(f, &h));
        if (str_eq(h.name, STR("file")))
            break;
        TRY(read_field(f, h.name));
    }
    f->filename = h.filename.p ? base_name(h.filename) : h.filename;
    return 0;
}

struct str s3_form_get(const struct s3_form *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->field[i].name, str_of(name)))
            return f->field[i].value;
    return (struct str){NULL, 0};
}

/* Fields behind the file are ignored, but the form must have an end. */
static int read_rest(struct s3_form *f)
{
    size_t total = 0;
    bool end, got = true;
    TRY(after_delimiter(f, &end));
    while (got && total <= REST_MAX) {
        total += f->have - f->at;
        f->at = f->have;
        TRY(more(f, &got));
    }
    return 0; /* a longer rest is the server's to cut off */
}

ssize_t s3_form_read(struct s3_form *f, void *p, size_t n)
{
    size_t have;
    bool last;
    if (f->file_ended)
        return 0;
    TRY(run_before(f, &have, &last));
    if (!have) {
        f->file_ended = true;
        return read_rest(f);
    }
    if (have > n)
        have = n;
    memcpy(p, f->buf + f->at, have);
    f->at += have;
    return (ssize_t)have;
}

void s3_form_done(struct s3_form *f)
{
    free(f->buf);
    f->buf = NULL;
}
