/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/client.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "net/xml.h"
#include <openssl/evp.h>

/* ---- errors ---- */

/* What a server sends may be anything. */
static void printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static struct bench_error *error_row(struct spread *t, const char *label)
{
    for (size_t i = 0; i < t->error_n; i++)
        if (strcmp(t->error[i].label, label) == 0)
            return &t->error[i];
    if (t->error_n == BENCH_ERRORS - 1)
        label = "other";
    if (t->error_n == BENCH_ERRORS)
        return &t->error[BENCH_ERRORS - 1];
    struct bench_error *e = &t->error[t->error_n++];
    snprintf(e->label, sizeof e->label, "%s", label);
    printable(e->label);
    return e;
}

static void count_error(struct client *c, const char *label, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void count_error(struct client *c, const char *label, const char *fmt, ...)
{
    struct bench_error *e = error_row(&c->tally, label);
    if (e->n++ > 0)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->sample, sizeof e->sample, fmt, ap);
    va_end(ap);
    printable(e->sample);
}

static void count_status(struct client *c, const struct request *r)
{
    char code[48], message[128], label[BENCH_LABEL];
    struct str body = buf_str(&c->wire.body);
    if (!xml_find(body, "Error/Code", code, sizeof code))
        code[0] = 0;
    if (!xml_find(body, "Error/Message", message, sizeof message))
        message[0] = 0;
    snprintf(label, sizeof label, "%d%s%s", c->wire.status, code[0] ? " " : "", code);
    count_error(c, label, "%s %.*s: %s", r->method, STR_ARG(r->key), message);
}

/* Of a server that is gone, so that a run over a number of operations does not spin through them. */
enum { PAUSE_MS = 10 };

static void count_broken(struct client *c, const struct request *r, int err)
{
    count_error(c, err_info(err)->name, "%s %.*s: %s", r->method, STR_ARG(r->key), err_detail(err));
    clock_sleep_ms(PAUSE_MS);
}

/* ---- requests ---- */

struct body {
    const struct request *r;
};

static const unsigned char *source(void *arg, uint64_t offset, uint64_t n, size_t *ret_n)
{
    const struct request *r = ((struct body *)arg)->r;
    if (r->content)
        return content_at(r->content, r->offset + offset, n, ret_n);
    *ret_n = (size_t)n;
    return (const unsigned char *)r->body.p + offset;
}

static bool compare(void *arg, uint64_t offset, const unsigned char *p, size_t n)
{
    const struct request *r = ((struct body *)arg)->r;
    while (n) {
        size_t k;
        const unsigned char *want = content_at(r->expect, offset, n, &k);
        if (memcmp(want, p, k) != 0)
            return false;
        offset += k;
        p += k;
        n -= k;
    }
    return true;
}

static void digest_body(enum digest_kind kind, struct body *b, uint64_t length, unsigned char ret[32])
{
    struct digest *d AUTO_DIGEST = digest_new(kind);
    for (uint64_t at = 0; at < length;) {
        size_t k;
        const unsigned char *p = source(b, at, length - at, &k);
        digest_add(d, p, k);
        at += k;
    }
    digest_end(d, ret);
}

static void make_head(struct client *c, const struct request *r, struct body *b, uint64_t length)
{
    char hex[65] = SIGV4_UNSIGNED, md5[64] = "";
    unsigned char sum[32];
    if (c->cfg->sign_payload && c->cfg->access) {
        digest_body(DIGEST_SHA256, b, length, sum);
        str_hex(sum, 32, hex);
    }
    if (r->content_md5) {
        unsigned char text[32];
        digest_body(DIGEST_MD5, b, length, sum);
        EVP_EncodeBlock(text, sum, 16);
        snprintf(md5, sizeof md5, "Content-MD5: %s\r\n", (const char *)text);
    }
    struct sign_request s = {.method = r->method,
                             .bucket = str_of(c->cfg->bucket),
                             .key = r->key,
                             .query = r->query,
                             .query_n = r->query_n,
                             .payload = hex,
                             .extra = md5,
                             .length = length};
    sign_head(&c->signer, &s, clock_wall_ms(), &c->head);
}

static bool judge(struct client *c, const struct request *r, int err)
{
    if (err < 0)
        count_broken(c, r, err);
    else if (c->wire.status >= 300)
        count_status(c, r);
    else if (!c->wire.sink_ok)
        count_error(c, "wrong bytes", "%s %.*s", r->method, STR_ARG(r->key));
    else
        return true;
    return false;
}

bool client_request(struct client *c, const struct request *r)
{
    struct body b = {r};
    uint64_t length = r->content ? r->length : r->body.n, begin = clock_mono_ns();
    make_head(c, r, &b, length);
    struct exchange x = {.head = buf_str(&c->head),
                         .source = source,
                         .length = length,
                         .sink = r->expect ? compare : NULL,
                         .arg = &b,
                         .keep = r->keep,
                         .no_body = r->kind == BENCH_HEAD};
    int err = wire_exchange(&c->wire, &x);
    uint64_t ns = clock_mono_ns() - begin;
    c->op_ns += ns;
    if (!judge(c, r, err))
        return false;
    hist_add(&c->tally.kind[r->kind], ns);
    return true;
}

void client_done(struct client *c, uint64_t units, uint64_t bytes)
{
    hist_add(&c->tally.latency, c->op_ns);
    c->tally.ops++;
    c->tally.units += units;
    c->tally.bytes += bytes;
    c->op_ns = 0;
}

void client_failed(struct client *c, const char *what)
{
    if (what)
        count_error(c, what, "%.*s", STR_ARG(buf_str(&c->key)));
    c->tally.errors++;
    c->op_ns = 0;
}

/* ---- keys ---- */

uint64_t client_number(struct client *c)
{
    return atomic_fetch_add_explicit(&c->run->next_key, 1, memory_order_relaxed);
}

uint64_t client_random(struct client *c, uint64_t n)
{
    c->dice ^= c->dice << 13;
    c->dice ^= c->dice >> 7;
    c->dice ^= c->dice << 17;
    return (uint64_t)(((unsigned __int128)c->dice * n) >> 64);
}

void bench_key(const struct bench_config *cfg, uint64_t number, struct buf *b)
{
    buf_putz(b, cfg->prefix);
    if (cfg->dirs)
        buf_printf(b, "%02x/", (unsigned)(number % cfg->dirs));
    buf_printf(b, "%08llu", (unsigned long long)number);
}

struct str client_key(struct client *c, uint64_t number)
{
    buf_reset(&c->key);
    bench_key(c->cfg, number, &c->key);
    return buf_str(&c->key);
}

/* ---- life ---- */

void client_init(struct client *c, struct run *run, unsigned id)
{
    c->run = run;
    c->cfg = run->cfg;
    c->id = id;
    c->dice = (id + 1) * 0x9e3779b97f4a7c15u;
    c->signer = (struct signer){.host = target_host(run->target),
                                .access = run->cfg->access,
                                .secret = run->cfg->secret,
                                .region = run->cfg->region};
    wire_init(&c->wire, run->target);
}

void client_end(struct client *c)
{
    wire_done(&c->wire);
    sign_done(&c->signer);
    buf_done(&c->head);
    buf_done(&c->key);
    buf_done(&c->text);
}
