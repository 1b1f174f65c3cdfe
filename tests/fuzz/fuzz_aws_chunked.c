/* SPDX-License-Identifier: Apache-2.0
 * The aws-chunked decoder from any bytes: the outcome does not depend on how the source cuts them. */
#include "base/buf.h"
#include "base/err.h"
#include "net/aws_chunked.h"
#include <stdlib.h>

struct source {
    struct str in;
    size_t step;
};

static ssize_t source_read(void *arg, void *p, size_t n)
{
    struct source *s = arg;
    n = n < s->step ? n : s->step;
    n = n < s->in.n ? n : s->in.n;
    if (n)
        memcpy(p, s->in.p, n);
    s->in = str_from(s->in, n);
    return (ssize_t)n;
}

static int note_chunk(void *arg, uint64_t size, struct str signature)
{
    CHECK(signature.n == 0 || signature.n == 64);
    buf_printf(arg, "[%llu %.*s]", (unsigned long long)size, STR_ARG(signature));
    return 0;
}

/* Everything that came out, as text. */
static int decode(enum aws_chunked_kind kind, int64_t length, struct str in, size_t step, size_t piece, struct buf *out)
{
    static struct aws_chunked c;
    struct source s = {in, step};
    struct buf notes AUTO_BUF = {0};
    char p[4096];
    ssize_t r;
    aws_chunked_init(&c, &(struct aws_chunked_options){.kind = kind,
                                                       .decoded_length = length,
                                                       .read = source_read,
                                                       .arg = &s,
                                                       .chunk = note_chunk,
                                                       .chunk_arg = &notes});
    while ((r = aws_chunked_read(&c, p, piece)) > 0)
        buf_add(out, p, (size_t)r);
    CHECK(r < 0 || length < 0 || out->n == (size_t)length);
    CHECK(r < 0 || s.in.n == 0, "an end before the source's");
    buf_str_add(out, buf_str(&notes));
    if (r == 0)
        aws_chunked_trailer_canonical(&c, out);
    return (int)r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > 20000)
        return 0;
    enum aws_chunked_kind kind = data[0] % 3;
    int64_t length = (int64_t)data[1] - 1;
    struct str in = str_mk(data + 2, n - 2);
    struct buf a AUTO_BUF = {0}, b AUTO_BUF = {0};
    int ra = decode(kind, length, in, SIZE_MAX, 4096, &a);
    int rb = decode(kind, length, in, 1, 3, &b);
    CHECK(ra == rb, "%d, byte by byte %d", ra, rb);
    CHECK(str_eq(buf_str(&a), buf_str(&b)));
    return 0;
}
