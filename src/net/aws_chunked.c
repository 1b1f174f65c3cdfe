/* SPDX-License-Identifier: Apache-2.0
 * The aws-chunked decoder. Lines are read through c->in; data goes past it into the caller's buffer when nothing is
 * left.
 *
 * The end is where clients differ. Signed trailers come as "name:value\n" CRLF "x-amz-trailer-signature:.." CRLF CRLF
 * from some (the form in the documents of S3) and as plain CRLF lines from others. So: lines end in LF with or without
 * CR, empty lines do not end the trailers, only the end of the source does, and it must follow an empty line. */
#include "net/aws_chunked.h"
#include "base/buf.h"
#include "base/err.h"

enum { SIZE, DATA, CRLF, TRAILER, END, BAD };
enum { EMPTY_LINES_MAX = 3 };
#define TRAILER_SIGNATURE "x-amz-trailer-signature"

bool aws_chunked_kind(struct str v, enum aws_chunked_kind *ret)
{
    static const struct {
        const char *name;
        enum aws_chunked_kind kind;
    } kinds[] = {
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", AWS_CHUNKED_SIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", AWS_CHUNKED_SIGNED_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", AWS_CHUNKED_UNSIGNED_TRAILER},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(v, str_of(kinds[i].name))) {
            *ret = kinds[i].kind;
            return true;
        }
    return false;
}

void aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_options *o)
{
    memset(c, 0, offsetof(struct aws_chunked, text));
    c->o = *o;
    c->state = SIZE;
}

static int invalid(const char *what)
{
    return err_set(ERR_INVALID, "aws-chunked body: %s", what);
}

/* ---- lines ---- */

/* More bytes behind those in hand: their number, 0 at the end of the source. */
static ssize_t fill(struct aws_chunked *c)
{
    memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
    c->in_n -= c->in_at;
    c->in_at = 0;
    ssize_t r = c->o.read(c->o.arg, c->in + c->in_n, sizeof c->in - c->in_n);
    if (r > 0)
        c->in_n += (size_t)r;
    return r;
}

static int ended_early(void)
{
    return err_set(ERR_INCOMPLETE_BODY, "the aws-chunked body ended inside its framing");
}

/* The next line up to and without its LF, valid until the next fill(). */
static int take_line(struct aws_chunked *c, size_t max, struct str *ret)
{
    for (size_t seen = 0;;) {
        const char *p = c->in + c->in_at;
        size_t n = c->in_n - c->in_at;
        const char *nl = memchr(p + seen, '\n', n - seen);
        if ((nl ? (size_t)(nl - p) : n) > max)
            return invalid("a line is too long");
        if (nl) {
            *ret = str_mk(p, (size_t)(nl - p));
            c->in_at += ret->n + 1;
            return 0;
        }
        seen = n;
        ssize_t r = fill(c);
        if (r <= 0)
            return r < 0 ? (int)r : ended_early();
    }
}

/* ---- chunk headers ---- */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int parse_size(struct str *line, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < line->n && is_hex(line->p[i]); i++) {
        if (v >> 59)
            return invalid("a chunk size is out of range");
        char ch = line->p[i];
        v = v << 4 | (unsigned)(ch <= '9' ? ch - '0' : (ch | 0x20) - 'a' + 10);
    }
    if (!i)
        return invalid("a chunk has no size");
    *line = str_from(*line, i);
    *ret = v;
    return 0;
}

static int parse_signature(const struct aws_chunked *c, struct str ext, struct str *ret)
{
    if (c->o.kind == AWS_CHUNKED_UNSIGNED_TRAILER) {
        *ret = STR("");
        return ext.n ? invalid("a chunk of an unsigned body has an extension") : 0;
    }
    struct str want = STR(";chunk-signature=");
    if (!str_starts(ext, want) || ext.n != want.n + 64)
        return invalid("a chunk has no chunk-signature of 64 hex digits");
    *ret = str_from(ext, want.n);
    for (size_t i = 0; i < 64; i++)
        if (!is_hex(ret->p[i]))
            return invalid("a chunk-signature is not hex");
    return 0;
}

static int check_size(const struct aws_chunked *c, uint64_t size)
{
    if (c->o.chunk_max && size > c->o.chunk_max)
        return err_set(ERR_TOO_LARGE, "an aws-chunked chunk of %llu bytes is larger than allowed",
                       (unsigned long long)size);
    if (c->o.decoded_length >= 0 && size > (uint64_t)c->o.decoded_length - c->total)
        return err_set(ERR_INCOMPLETE_BODY, "the chunks hold more than the %lld bytes of x-amz-decoded-content-length",
                       (long long)c->o.decoded_length);
    return 0;
}

static int begin_chunk(struct aws_chunked *c)
{
    struct str line, signature;
    uint64_t size = 0;
    TRY(take_line(c, AWS_CHUNKED_LINE_MAX, &line));
    if (!str_ends(line, STR("\r")))
        return invalid("a chunk size line ends without CR");
    line.n--;
    TRY(parse_size(&line, &size));
    TRY(parse_signature(c, line, &signature));
    TRY(check_size(c, size));
    if (c->o.chunk)
        TRY(c->o.chunk(c->o.chunk_arg, size, signature));
    c->left = size;
    c->state = size ? DATA : TRAILER;
    return 0;
}

static int end_chunk(struct aws_chunked *c)
{
    struct str line;
    TRY(take_line(c, 1, &line));
    if (!str_eq(line, STR("\r")))
        return invalid("a chunk's data is not followed by CR LF");
    c->state = SIZE;
    return 0;
}

/* ---- trailers ---- */

static bool name_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.';
}

static char *keep_text(struct aws_chunked *c, struct str s)
{
    char *p = c->text + c->text_n;
    if (s.n)
        memcpy(p, s.p, s.n);
    c->text_n += s.n;
    return p;
}

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static int keep_name(struct aws_chunked *c, struct str raw, struct str *ret)
{
    char *p = keep_text(c, raw);
    for (size_t i = 0; i < raw.n; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] | 0x20);
        if (!name_char(p[i]))
            return invalid("malformed trailer name");
    }
    *ret = str_mk(p, raw.n);
    return raw.n ? 0 : invalid("trailer without a name");
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

static int add_trailer(struct aws_chunked *c, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon)
        return invalid("trailer without a colon");
    if (c->o.kind == AWS_CHUNKED_SIGNED)
        return invalid("trailers in a body that announced none");
    if (c->n_trailers == AWS_CHUNKED_TRAILERS_MAX || c->text_n + line.n > sizeof c->text)
        return invalid("too many trailers");
    struct str name, value = trim(str_from(line, (size_t)(colon - line.p) + 1));
    TRY(keep_name(c, str_mk(line.p, (size_t)(colon - line.p)), &name));
    if (has_control(value))
        return invalid("control character in a trailer");
    for (size_t i = 0; i < c->n_trailers; i++)
        if (str_eq(c->trailers[i].name, name))
            return invalid("a trailer is given twice");
    c->trailers[c->n_trailers++] = (struct aws_chunked_trailer){name, str_mk(keep_text(c, value), value.n)};
    return 0;
}

static int finish(struct aws_chunked *c)
{
    if (c->o.decoded_length >= 0 && c->total != (uint64_t)c->o.decoded_length)
        return err_set(ERR_INCOMPLETE_BODY, "the chunks hold %llu bytes, x-amz-decoded-content-length says %lld",
                       (unsigned long long)c->total, (long long)c->o.decoded_length);
    c->state = END;
    return 0;
}

/* 1: the source has ended, 0: it has not. */
static int at_end(struct aws_chunked *c)
{
    if (c->in_at < c->in_n)
        return 0;
    ssize_t r = fill(c);
    return r < 0 ? (int)r : r == 0;
}

static int read_trailers(struct aws_chunked *c)
{
    for (int empty = 0;;) {
        struct str line;
        TRY(take_line(c, AWS_CHUNKED_TRAILER_BYTES, &line));
        if (str_ends(line, STR("\r")))
            line.n--;
        if (line.n) {
            /* After an empty line only the signature of the others may follow. */
            if (empty && !(line.n > strlen(TRAILER_SIGNATURE) &&
                           str_ieq(str_mk(line.p, strlen(TRAILER_SIGNATURE)), STR(TRAILER_SIGNATURE))))
                return invalid("bytes after the last chunk");
            TRY(add_trailer(c, line));
            continue;
        }
        int end = at_end(c);
        if (end)
            return end < 0 ? end : finish(c);
        if (++empty > EMPTY_LINES_MAX)
            return invalid("bytes after the last chunk");
    }
}

/* ---- reading ---- */

static ssize_t read_data(struct aws_chunked *c, void *p, size_t n)
{
    size_t have = c->in_n - c->in_at;
    ssize_t r;
    if (n > c->left)
        n = c->left;
    if (have) {
        r = (ssize_t)(n < have ? n : have);
        memcpy(p, c->in + c->in_at, (size_t)r);
        c->in_at += (size_t)r;
    } else {
        r = c->o.read(c->o.arg, p, n);
        if (r <= 0)
            return r < 0 ? r : ended_early();
    }
    c->left -= (uint64_t)r;
    c->total += (uint64_t)r;
    if (!c->left)
        c->state = CRLF;
    return r;
}

static ssize_t step(struct aws_chunked *c, void *p, size_t n)
{
    switch (c->state) {
    case SIZE:
        return begin_chunk(c);
    case DATA:
        return read_data(c, p, n);
    case CRLF:
        return end_chunk(c);
    default:
        return read_trailers(c);
    }
}

ssize_t aws_chunked_read(struct aws_chunked *c, void *p, size_t n)
{
    CHECK(n > 0);
    while (c->state != END) {
        if (c->state == BAD)
            return c->error;
        ssize_t r = step(c, p, n);
        if (r > 0)
            return r;
        if (r < 0) {
            c->state = BAD;
            c->error = (int)r;
        }
    }
    return 0;
}

size_t aws_chunked_trailer_count(const struct aws_chunked *c)
{
    return c->n_trailers;
}

const struct aws_chunked_trailer *aws_chunked_trailer_at(const struct aws_chunked *c, size_t i)
{
    CHECK(i < c->n_trailers);
    return &c->trailers[i];
}

struct str aws_chunked_trailer(const struct aws_chunked *c, const char *name)
{
    for (size_t i = 0; i < c->n_trailers; i++)
        if (str_eq(c->trailers[i].name, str_of(name)))
            return c->trailers[i].value;
    return (struct str){NULL, 0};
}

void aws_chunked_trailer_canonical(const struct aws_chunked *c, struct buf *b)
{
    for (size_t i = 0; i < c->n_trailers; i++) {
        const struct aws_chunked_trailer *t = &c->trailers[i];
        if (!str_eq(t->name, STR(TRAILER_SIGNATURE)))
            buf_printf(b, "%.*s:%.*s\n", STR_ARG(t->name), STR_ARG(t->value));
    }
}
