/* SPDX-License-Identifier: Apache-2.0
 *
 * The admin REST of a server, asked over libcurl: one connection per process, kept between calls.
 *
 * Errors of the server come as {"error": {"code": "NOT_FOUND", "message": "..."}}: the message is for people and
 * printed as it is, the code is for programs. Nothing here waits without a deadline: 10 s to connect, and a call ends
 * when no byte came for two minutes (jobs answer at once and are polled).
 */
#include "cli/cli.h"
#include "cli/server.h"
#include "base/err.h"
#include <curl/curl.h>
#include <sys/stat.h>

static CURL *handle;

void cli_answer_done(struct cli_answer *a)
{
    buf_done(&a->body);
    json_decref(a->json);
    a->json = NULL;
}

void cli_query(struct buf *b, const char *name, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    buf_printf(b, "%c%s=", b->p && strchr(b->p, '?') ? '&' : '?', name);
    for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
        bool plain =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~/", *p);
        if (plain)
            buf_add(b, p, 1);
        else
            buf_printf(b, "%%%c%c", hex[*p >> 4], hex[*p & 15]);
    }
}

const char *cli_path_query(struct buf *b, const char *base, const char *path)
{
    buf_reset(b);
    buf_putz(b, base);
    cli_query(b, "path", path);
    return b->p;
}

struct transfer {
    CURL *curl;
    struct cli_answer *a;
    FILE *sink;
};

static size_t take_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->sink && status >= 200 && status < 300)
        return fwrite(p, size, n, t->sink);
    buf_add(&t->a->body, p, size * n);
    return size * n;
}

static void set_common(CURL *h, const char *url, struct transfer *t)
{
    curl_easy_reset(h);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, 120L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
}

static struct curl_slist *headers(struct cli *c, const char *type)
{
    char line[1200];
    struct curl_slist *l = NULL;
    const char *token = cli_server_token(c);
    snprintf(line, sizeof line, "Content-Type: %s", type);
    l = curl_slist_append(l, line);
    l = curl_slist_append(l, "Expect:");
    if (token && token[0]) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", token);
        l = curl_slist_append(l, line);
    }
    return l;
}

static int perform(struct cli *c, CURL *h, struct cli_answer *ret)
{
    char error[CURL_ERROR_SIZE] = "";
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error);
    CURLcode code = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL);
    if (code == CURLE_OK)
        return 0;
    ret->status = 0;
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        snprintf(ret->error, sizeof ret->error,
                 "no server answers at %s: start one with 'forebay standalone', or name it with --admin ADDR:PORT",
                 c->admin);
    else if (code == CURLE_WRITE_ERROR)
        snprintf(ret->error, sizeof ret->error, "the output could not be written");
    else
        snprintf(ret->error, sizeof ret->error, "the connection to %s broke: %s", c->admin,
                 error[0] ? error : curl_easy_strerror(code));
    return -1;
}

/* A handle aimed at path_query of the server, or NULL with the reason in ret. */
static CURL *aim(struct cli *c, const char *method, const char *path_query, struct transfer *t)
{
    *t->a = (struct cli_answer){0};
    if (cli_server_find(c) != 0) {
        snprintf(t->a->error, sizeof t->a->error, "%s", err_detail(ERR_INVALID));
        return NULL;
    }
    if (!handle)
        handle = curl_easy_init();
    CHECK(handle, "no memory for a connection");
    struct buf url AUTO_BUF = {0};
    buf_printf(&url, "http://%s%s", c->admin, path_query);
    t->curl = handle;
    set_common(handle, url.p, t);
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
    return handle;
}

static int finish(struct cli *c, CURL *h, const char *type, struct cli_answer *ret)
{
    struct curl_slist *l = headers(c, type);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, l);
    int r = perform(c, h, ret);
    curl_slist_free_all(l);
    if (r == 0 && ret->body.n)
        ret->json = json_loadb(ret->body.p, ret->body.n, JSON_DECODE_ANY, NULL);
    return r == 0 && ret->status >= 200 && ret->status < 300 ? 0 : -1;
}

int cli_call_raw(struct cli *c, const char *method, const char *path_query, const char *type, struct str body,
                 FILE *sink, struct cli_answer *ret)
{
    struct transfer t = {NULL, ret, sink};
    CURL *h = aim(c, method, path_query, &t);
    if (!h)
        return -1;
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.n ? body.p : "");
    }
    return finish(c, h, type, ret);
}

static size_t give_bytes(char *p, size_t size, size_t n, void *f)
{
    size_t got = fread(p, size, n, f);
    return got == 0 && ferror((FILE *)f) ? CURL_READFUNC_ABORT : got;
}

int cli_send_file(struct cli *c, const char *path_query, FILE *f, struct cli_answer *ret)
{
    struct transfer t = {NULL, ret, NULL};
    CURL *h = aim(c, "PUT", path_query, &t);
    struct stat st;
    if (!h)
        return -1;
    curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(h, CURLOPT_READFUNCTION, give_bytes);
    curl_easy_setopt(h, CURLOPT_READDATA, f);
    if (fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode))
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
    return finish(c, h, "application/octet-stream", ret);
}

int cli_call(struct cli *c, const char *method, const char *path_query, const json_t *json, struct cli_answer *ret)
{
    char *text AUTO_FREE = json ? json_dumps(json, JSON_COMPACT) : NULL;
    return cli_call_raw(c, method, path_query, "application/json", str_of(text), NULL, ret);
}

bool cli_answer_is(const struct cli_answer *a, const char *name)
{
    return strcmp(cli_js(json_object_get(a->json, "error"), "code"), name) == 0;
}

int cli_answer_fail(struct cli *c, const struct cli_answer *a, const char *path)
{
    const char *message = cli_js(json_object_get(a->json, "error"), "message");
    if (a->status == 0)
        return cli_fail(c, "%s", a->error);
    if (path && (cli_answer_is(a, "NOT_FOUND") || cli_answer_is(a, "NO_BUCKET")))
        return cli_fail(c, "Path does not exist: %s", path);
    if (a->status == 404 && !message[0])
        return cli_fail(c, "the server at %s does not know this request: is it Forebay's admin address?", c->admin);
    if (!message[0])
        return cli_fail(c, "the server at %s answered with status %ld", c->admin, a->status);
    return cli_fail(c, "%s", message);
}

int cli_get_path(struct cli *c, const char *base, const char *path, struct cli_answer *a, bool *ret_done)
{
    struct buf url AUTO_BUF = {0};
    *ret_done = true;
    if (cli_call(c, "GET", cli_path_query(&url, base, path), NULL, a) != 0)
        return cli_answer_fail(c, a, path);
    if (cli_json(c))
        cli_print_json(c, a->json);
    else
        *ret_done = false;
    return CLI_OK;
}
