/* SPDX-License-Identifier: Apache-2.0
 *
 * S3 driver: one signed HTTP exchange over a pooled libcurl handle. A handle keeps its connection between uses; idle
 * ones wait in a stack, at most S3_IDLE.
 *
 * Whether a failed request may have happened is decided here and in ufs_s3_transport(): libcurl by itself sends a
 * request again when a kept connection turns out to be dead. For a request that changes something that would blur the
 * outcome, so the second time is allowed only while none of its body was sent; a request without body is never sent
 * twice.
 *
 * Time: a request that changes something gets three quarters of what is left until its deadline, so that the store has
 * the rest to take effect after the last byte. A read has no total limit but may not stand still longer than stall_ms
 * (time inside the sink does not count).
 *
 * Invariants: bytes reach the sink only from a 2xx answer for exactly the range that was asked for; a handle belongs to
 * one call at a time; the lock is not held during an exchange.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ufs/s3.h"
#include <ctype.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <sys/socket.h>

#define EXPECT_FROM (1u << 20) /* larger bodies wait for "100 Continue": an early refusal leaves them untouched */

/* --- pool */

CURL *ufs_s3_curl_get(struct s3 *s)
{
    {
        LOCKED(&s->lock);
        if (s->n_idle)
            return s->idle[--s->n_idle];
    }
    CURL *c = curl_easy_init();
    CHECK(c);
    return c;
}

void ufs_s3_curl_put(struct s3 *s, CURL *c)
{
    curl_easy_reset(c);
    {
        LOCKED(&s->lock);
        if (s->n_idle < S3_IDLE) {
            s->idle[s->n_idle++] = c;
            return;
        }
    }
    curl_easy_cleanup(c);
}

/* --- building a request */

void ufs_s3_call_init(struct ufs_s3_call *c, struct s3 *s, uint64_t until, const char *method, struct str key)
{
    *c = (struct ufs_s3_call){.s = s, .method = method, .key = key, .until = until};
    c->mutates = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
    c->n = UINT64_MAX;
}

void ufs_s3_call_done(struct ufs_s3_call *c)
{
    for (size_t i = 0; i < c->n_own; i++)
        free(c->own[i]);
    buf_done(&c->answer);
    buf_done(&c->meta_text);
    digest_free(c->md5);
}

char *ufs_s3_own(struct ufs_s3_call *c, char *p)
{
    CHECK(c->n_own < S3_OWN);
    return c->own[c->n_own++] = p;
}

void ufs_s3_query(struct ufs_s3_call *c, const char *name, struct str value)
{
    CHECK(c->n_query < S3_QUERY);
    c->query[c->n_query++] = (struct sigv4_pair){str_of(name), value};
}

void ufs_s3_header(struct ufs_s3_call *c, const char *name, struct str value)
{
    CHECK(c->n_header < S3_HEADERS);
    c->header[c->n_header++] = (struct sigv4_pair){str_of(name), value};
}

void ufs_s3_headerf(struct ufs_s3_call *c, const char *name, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    size_t n;
    char *p = ufs_s3_own(c, buf_take(&b, &n));
    ufs_s3_header(c, name, str_mk(p, n));
}

int ufs_s3_meta(struct ufs_s3_call *c, const struct ufs_meta *meta)
{
    for (size_t i = 0; i < meta->n; i++) {
        const struct ufs_pair *p = &meta->pair[i];
        if (str_eq(p->name, STR("x-amz-tagging")) && !(c->s->caps & UFS_CAP_TAGS))
            continue;
        if (c->n_header > S3_HEADERS - 24)
            return err_set(ERR_METADATA_LARGE, "%zu metadata headers", meta->n);
        c->header[c->n_header++] = (struct sigv4_pair){p->name, p->value};
    }
    return 0;
}

void ufs_s3_conditions(struct ufs_s3_call *c, const struct ufs_put_opts *o)
{
    if (o->if_none_match)
        ufs_s3_header(c, "if-none-match", STR("*"));
    if (o->if_match)
        ufs_s3_headerf(c, "if-match", "\"%s\"", o->if_match);
}

void ufs_s3_content_md5(struct ufs_s3_call *c, const unsigned char md5[16])
{
    unsigned char text[32];
    EVP_EncodeBlock(text, md5, 16);
    ufs_s3_headerf(c, "content-md5", "%s", (char *)text);
}

/* The path on the wire, raw. */
static void add_path(const struct ufs_s3_call *c, struct buf *b)
{
    buf_putz(b, "/");
    if (c->s->path_style)
        buf_putz(b, c->s->bucket);
    if (!c->key.p)
        return;
    if (c->s->path_style)
        buf_putz(b, "/");
    buf_putz(b, c->s->prefix);
    buf_str_add(b, c->key);
}

static void sign(struct ufs_s3_call *c, struct str path, struct str payload)
{
    struct s3 *s = c->s;
    char date[17];
    struct buf value = {0};
    size_t n;
    sigv4_date(clock_wall_ms(), date);
    ufs_s3_header(c, "host", str_of(s->host));
    if (!s->access_key)
        return;
    ufs_s3_headerf(c, "x-amz-date", "%s", date);
    ufs_s3_header(c, "x-amz-content-sha256", payload);
    if (s->token)
        ufs_s3_header(c, "x-amz-security-token", str_of(s->token));
    struct sigv4_request r = {str_of(c->method), path, c->query, c->n_query, c->header, c->n_header, payload};
    struct sigv4_scope scope = {str_mk(date, 8), str_of(s->region), STR("s3")};
    sigv4_authorization(&value, &r, str_of(s->access_key), str_of(s->secret), str_mk(date, 16), &scope);
    char *p = ufs_s3_own(c, buf_take(&value, &n));
    ufs_s3_header(c, "authorization", str_mk(p, n));
}

/* --- libcurl's callbacks */

static int on_prereq(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    struct ufs_s3_call *c = arg;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    bool untouched = c->body && c->body->size > 0 && c->body->pulled == 0;
    if (c->issued && c->mutates && !untouched)
        return CURL_PREREQFUNC_ABORT;
    c->issued++;
    return CURL_PREREQFUNC_OK;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
    struct ufs_s3_call *c = arg;
    ssize_t got = ufs_pull(c->body, p, size * n);
    c->last_progress = clock_mono_ns();
    if (got < 0)
        return CURL_READFUNC_ABORT;
    if (c->md5)
        digest_add(c->md5, p, (size_t)got);
    return (size_t)got;
}

static size_t to_answer(struct ufs_s3_call *c, const char *p, size_t n)
{
    size_t room = S3_ANSWER_MAX - c->answer.n;
    if (n > room && c->status / 100 == 2) {
        c->too_long = true;
        return 0;
    }
    buf_add(&c->answer, p, n < room ? n : room);
    return n;
}

/* The range of a 2xx answer is what was asked for? */
static bool range_fits(const struct ufs_s3_call *c)
{
    return c->status == 206 ? c->range_from == c->off : c->off == 0;
}

static size_t to_sink(struct ufs_s3_call *c, const char *p, size_t n)
{
    if (!range_fits(c)) {
        c->ignored_range = true;
        return 0;
    }
    uint64_t left = c->n - c->given;
    size_t take = n < left ? n : (size_t)left;
    if (take) {
        c->stop = c->sink(c->sink_arg, p, take);
        c->given += take;
    }
    c->last_progress = clock_mono_ns();
    c->clipped = take < n; /* the store sends more than the range: enough is enough */
    return c->stop || c->clipped ? 0 : n;
}

static size_t on_write(char *p, size_t size, size_t n, void *arg)
{
    struct ufs_s3_call *c = arg;
    n *= size;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
    c->last_progress = clock_mono_ns();
    return c->sink && c->status / 100 == 2 ? to_sink(c, p, n) : to_answer(c, p, n);
}

static int on_progress(void *arg, curl_off_t down, curl_off_t down_now, curl_off_t up, curl_off_t up_now)
{
    struct ufs_s3_call *c = arg;
    (void)down, (void)down_now, (void)up;
    bool sent = c->mutates && c->issued && (!c->body || (uint64_t)up_now >= c->body->size);
    uint64_t now = clock_mono_ns();
    if (!c->last_progress)
        c->last_progress = now;
    /* Once all is sent the store may work in silence until the deadline. */
    return !sent && now - c->last_progress > c->s->stall_ms * 1000000;
}

static bool metadata_header(struct str name)
{
    static const char *const names[] = {"content-type",     "content-encoding", "content-disposition",
                                        "content-language", "cache-control",    "expires"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq(name, str_of(names[i])))
            return true;
    return str_starts(name, STR("x-amz-meta-"));
}

static void start_answer(struct ufs_s3_call *c)
{
    buf_reset(&c->answer);
    buf_reset(&c->meta_text);
    c->etag[0] = c->last_modified[0] = c->date[0] = c->error_header[0] = c->region_header[0] = c->sse[0] = 0;
    c->length = c->range_from = c->total = UINT64_MAX;
    c->tags = true;
}

static void content_range(struct ufs_s3_call *c, const char *value)
{
    uint64_t from, to, total;
    if (sscanf(value, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &from, &to, &total) == 3) {
        c->range_from = from;
        c->total = total;
    }
}

static void take_header(struct ufs_s3_call *c, struct str name, struct str value)
{
    AUTO_FREE char *z = str_dup(value);
    if (str_eq(name, STR("etag")))
        ufs_s3_etag_set(c->etag, sizeof c->etag, value);
    else if (str_eq(name, STR("last-modified")))
        UFS_SET(c->last_modified, value);
    else if (str_eq(name, STR("date")))
        UFS_SET(c->date, value);
    else if (str_eq(name, STR("content-length")))
        str_u64(value, UINT64_MAX - 1, &c->length);
    else if (str_eq(name, STR("content-range")))
        content_range(c, z);
    else if (str_eq(name, STR("x-amz-bucket-region")))
        UFS_SET(c->region_header, value);
    else if (str_eq(name, STR("x-amz-server-side-encryption")))
        UFS_SET(c->sse, value);
    else if (str_eq(name, STR("x-amz-tagging-count")))
        c->tags = !str_eq(value, STR("0"));
    else if (str_eq(name, STR("x-minio-error-code")) || str_eq(name, STR("x-amz-error-code")))
        UFS_SET(c->error_header, value);
    if (c->meta && metadata_header(name)) {
        buf_bytes(&c->meta_text, name);
        buf_bytes(&c->meta_text, value);
    }
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct ufs_s3_call *c = arg;
    n *= size;
    c->last_progress = clock_mono_ns();
    if (n > 5 && !memcmp(p, "HTTP/", 5))
        start_answer(c);
    const char *colon = memchr(p, ':', n);
    if (!colon)
        return n;
    char name[256];
    size_t name_n = (size_t)(colon - p);
    if (name_n >= sizeof name)
        return n;
    for (size_t i = 0; i < name_n; i++)
        name[i] = (char)tolower((unsigned char)p[i]);
    struct str value = str_mk(colon + 1, n - name_n - 1);
    while (value.n && isspace((unsigned char)value.p[0]))
        value = str_from(value, 1);
    while (value.n && isspace((unsigned char)value.p[value.n - 1]))
        value.n--;
    take_header(c, str_mk(name, name_n), value);
    return n;
}

/* --- the exchange */

static struct curl_slist *headers(const struct ufs_s3_call *c)
{
    struct curl_slist *list = NULL;
    for (size_t i = 0; i < c->n_header; i++) {
        struct buf b AUTO_BUF = {0};
        /* "name;" is how libcurl is told to send a header without value */
        buf_str_add(&b, c->header[i].name);
        buf_putz(&b, c->header[i].value.n ? ": " : ";");
        buf_str_add(&b, c->header[i].value);
        list = curl_slist_append(list, b.p);
        CHECK(list);
    }
    if (c->body && c->body->size < EXPECT_FROM)
        list = curl_slist_append(list, "Expect:"); /* no asking first: the round trip costs more than the body */
    return list;
}

static void set_method(struct ufs_s3_call *c)
{
    CURL *h = c->curl;
    if (!strcmp(c->method, "HEAD"))
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    else if (!strcmp(c->method, "GET"))
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
    else if (c->body || strcmp(c->method, "DELETE") != 0) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(c->body ? c->body->size : 0));
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, c->mutates ? c->method : NULL);
}

static void set_limits(struct ufs_s3_call *c)
{
    uint64_t left = ufs_left_ms(c->until), most = c->mutates ? left * 3 / 4 + 1 : 0;
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->s->connect_ms < left ? c->s->connect_ms : left));
    if (most)
        curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)most);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(c->curl, CURLOPT_MAXAGE_CONN, 25L);
    curl_easy_setopt(c->curl, CURLOPT_TCP_KEEPALIVE, 1L);
}

/* Close with a reset, also when the kernel closes for a dead process: there are stores that take a body which ends
 * early with an orderly close for the whole object (versitygw 1.8.0 does). */
static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    (void)arg, (void)purpose;
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

static void set_callbacks(struct ufs_s3_call *c)
{
    CURL *h = c->curl;
    curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, on_socket);
    curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_prereq);
    curl_easy_setopt(h, CURLOPT_PREREQDATA, c);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    if (c->body) {
        curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(h, CURLOPT_READDATA, c);
    }
}

static void set_url(struct ufs_s3_call *c, struct str path, struct buf *url)
{
    buf_printf(url, "%s://%s", c->s->scheme, c->s->host);
    sigv4_encode(url, path, true);
    if (c->n_query) {
        buf_putz(url, "?");
        sigv4_canonical_query(url, c->query, c->n_query);
    }
    curl_easy_setopt(c->curl, CURLOPT_URL, url->p);
    curl_easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "forebay");
    if (c->s->ca_file)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->s->ca_file);
}

static CURLcode exchange(struct ufs_s3_call *c)
{
    struct buf path AUTO_BUF = {0}, url AUTO_BUF = {0};
    bool empty = !c->body || c->body->size == 0;
    c->curl = ufs_s3_curl_get(c->s);
    start_answer(c);
    c->status = 0;
    c->issued = 0;
    add_path(c, &path);
    sign(c, buf_str(&path), empty ? STR(SIGV4_EMPTY_SHA256) : STR(SIGV4_UNSIGNED));
    struct curl_slist *list = headers(c);
    set_url(c, buf_str(&path), &url);
    set_method(c);
    set_limits(c);
    set_callbacks(c);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
    CURLcode rc = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
    curl_slist_free_all(list);
    return rc;
}

/* A ranged answer must hold all of the range that the object has. */
static int check_given(const struct ufs_s3_call *c)
{
    if (!c->sink || c->clipped)
        return 0;
    uint64_t size = c->status == 206 ? c->total : c->length, want = UINT64_MAX;
    if (size != UINT64_MAX)
        want = c->off >= size ? 0 : c->n < size - c->off ? c->n : size - c->off;
    if (!range_fits(c) || (want != UINT64_MAX && c->given != want))
        return err_set(ERR_IO, "%.*s: the store gave %" PRIu64 " bytes of a range of %" PRIu64, STR_ARG(c->key),
                       c->given, want);
    return 0;
}

static void give_meta(struct ufs_s3_call *c)
{
    struct cur cur = cur_of(buf_str(&c->meta_text));
    while (c->meta && cur.p < cur.end && !cur.bad) {
        struct str name = cur_bytes(&cur), value = cur_bytes(&cur);
        c->meta(c->meta_arg, name, value);
    }
}

static int judge(struct ufs_s3_call *c, CURLcode rc)
{
    if (c->stop)
        return c->stop;
    if (rc != CURLE_OK && !c->clipped)
        return ufs_s3_transport(c, rc);
    if (c->status / 100 != 2)
        return ufs_s3_error(c);
    atomic_store_explicit(&c->s->alive_ns, clock_mono_ns() + S3_ALIVE_NS, memory_order_relaxed);
    TRY(check_given(c));
    give_meta(c);
    return 0;
}

int ufs_s3_send(struct ufs_s3_call *c)
{
    if (!ufs_left_ms(c->until))
        return err_set(ERR_UNREACHABLE, "%s: the deadline passed before the request was sent", c->s->host);
    CURLcode rc = exchange(c);
    int r = judge(c, rc);
    ufs_s3_curl_put(c->s, c->curl);
    c->curl = NULL;
    if (r == ERR_THROTTLED)
        atomic_fetch_add_explicit(&c->s->l.counters->throttled, 1, memory_order_relaxed);
    return r;
}

void ufs_s3_stat_of(const struct ufs_s3_call *c, struct ufs_stat *ret)
{
    *ret = (struct ufs_stat){.size = c->length == UINT64_MAX ? 0 : c->length};
    ret->mtime_ms = ufs_s3_time_ms(*c->last_modified ? c->last_modified : c->date);
    UFS_SET(ret->version, str_of(c->etag));
    if (c->s->etag_md5 && strlen(c->etag) < sizeof ret->etag && !str_starts(str_of(c->sse), STR("aws:kms")))
        UFS_SET(ret->etag, str_of(c->etag));
}
