/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs from the command line (contract in job.h). A job lives in the server: whoever waits for it here may go away.
 */
#include "cli/job.h"
#include "base/clock.h"

static void put_rate(struct buf *b, uint64_t bytes, uint64_t ms)
{
    cli_put_size(b, ms ? bytes * 1000 / ms : 0, true);
    buf_putz(b, "/s");
}

static void put_settings(struct buf *b, const json_t *job)
{
    uint64_t rate = cli_ju(job, "bandwidth");
    buf_putz(b, "\tSettings:\tbandwidth: ");
    if (rate) {
        cli_put_size(b, rate, true);
        buf_putz(b, "/s");
    } else {
        buf_putz(b, "unlimited");
    }
    buf_printf(b, "\tverify: %s\tmetadata-only: %s\n", cli_jb(job, "verify") ? "true" : "false",
               cli_jb(job, "loadMetadataOnly") ? "true" : "false");
}

void cli_job_progress(struct buf *b, const json_t *job, const char *gerund)
{
    uint64_t ms = cli_ju(job, "timeElapsedMilliseconds"), loaded = cli_ju(job, "loadedBytes");
    uint64_t failed = cli_ju(job, "failedFiles"), processed = cli_ju(job, "processedFiles");
    buf_printf(b, "Progress for %s path '%s':\n", gerund, cli_js(job, "path"));
    put_settings(b, job);
    buf_putz(b, "\tTime Elapsed: ");
    cli_put_age(b, ms);
    buf_printf(b, "\n\tJob State: %s\n", cli_js(job, "state"));
    if (cli_js(job, "errorMessage")[0])
        buf_printf(b, "\tError: %s\n", cli_js(job, "errorMessage"));
    buf_printf(b, "\tInodes Scanned: %llu\n\tInodes Processed: %llu\n", (unsigned long long)cli_ju(job, "scannedFiles"),
               (unsigned long long)processed);
    buf_putz(b, "\tBytes Loaded: ");
    cli_put_size(b, loaded, true);
    buf_putz(b, " out of ");
    cli_put_size(b, cli_ju(job, "totalBytes"), true);
    buf_putz(b, "\n\tThroughput: ");
    put_rate(b, loaded, ms);
    buf_printf(b, "\n\tFile Failure rate: %.2f%%\n\tSubtask Failure rate: %.2f%%\n\tFiles Failed: %llu\n",
               processed ? 100.0 * (double)failed / (double)processed : 0.0,
               processed ? 100.0 * (double)failed / (double)processed : 0.0, (unsigned long long)failed);
    buf_putz(b, "\tSubtask Retry rate: 0.00%\n\tSubtasks on Retry Dead Letter Queue: 0\n");
}

void cli_job_failures(struct buf *b, const json_t *job)
{
    size_t i;
    json_t *f;
    json_array_foreach(json_object_get(job, "failures"), i, f)
    {
        buf_putz(b, "\tFailed: ");
        cli_put_name(b, cli_js(f, "path"));
        buf_printf(b, ": %s\n", cli_js(f, "message"));
    }
}

static bool running(const json_t *job)
{
    return strcmp(cli_js(job, "state"), "RUNNING") == 0;
}

static int show(struct cli *c, const struct cli_answer *a, const char *kind, bool json)
{
    if (json) {
        cli_print_json(c, a->json);
        return CLI_OK;
    }
    struct buf b AUTO_BUF = {0};
    cli_job_progress(&b, a->json, strcmp(kind, "load") == 0 ? "loading" : "freeing");
    if (cli_has(c, "verbose"))
        cli_job_failures(&b, a->json);
    fwrite(b.p, 1, b.n, c->out);
    return CLI_OK;
}

/* What a switch or option of the command becomes in the request. */
static json_t *options(struct cli *c)
{
    static const char *const switches[][2] = {{"skip-if-exists", "skipIfExists"},
                                              {"metadata-only", "loadMetadataOnly"},
                                              {"verify", "verify"},
                                              {"partial-listing", "partialListing"}};
    static const char *const words[][2] = {{"bandwidth", "bandwidth"},
                                           {"file-filter-regex", "fileFilterRegex"},
                                           {"replicas", "replicas"},
                                           {"batch-size", "batchSize"}};
    json_t *o = json_object();
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++)
        if (cli_has(c, switches[i][0]))
            json_object_set_new(o, switches[i][1], json_true());
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (cli_has(c, words[i][0]))
            json_object_set_new(o, words[i][1], json_string(cli_get(c, words[i][0], "")));
    return o;
}

static int submit(struct cli *c, const char *kind, const char *path, struct cli_answer *a)
{
    char url[64];
    snprintf(url, sizeof url, "/api/v1/%s", kind);
    json_t *j = json_pack("{s:o}", "options", options(c));
    if (cli_has(c, "index"))
        json_object_set_new(j, "index", json_string(path));
    else
        json_object_set_new(j, "paths", json_pack("[s]", path));
    if (cli_has(c, "alias"))
        json_object_set_new(j, "alias", json_string(cli_get(c, "alias", "")));
    int r = cli_call(c, "POST", url, j, a);
    json_decref(j);
    return r == 0 || a->status == 409 ? 0 : cli_answer_fail(c, a, path);
}

static int finished(struct cli *c, const json_t *job, const char *kind)
{
    bool load = strcmp(kind, "load") == 0, ok = strcmp(cli_js(job, "state"), "SUCCEEDED") == 0;
    struct buf done AUTO_BUF = {0}, failed AUTO_BUF = {0};
    cli_put_count(&done, cli_ju(job, "processedFiles"), "file");
    buf_putz(&done, ", ");
    cli_put_size(&done, cli_ju(job, "loadedBytes"), true);
    cli_put_count(&failed, cli_ju(job, "failedFiles"), "file");
    if (cli_json(c))
        cli_print_json(c, job);
    else if (ok)
        fprintf(c->out, "%s %s, below %s\n", load ? "Loaded" : "Freed", done.p, cli_js(job, "path"));
    if (ok)
        return CLI_OK;
    return cli_fail(c, "the job ended %s: %s failed%s%s", cli_js(job, "state"), failed.p,
                    cli_js(job, "errorMessage")[0] ? "; " : "", cli_js(job, "errorMessage"));
}

static void tick(struct cli *c, const json_t *job)
{
    struct buf b AUTO_BUF = {0};
    if (!isatty(fileno(c->err)))
        return;
    cli_put_size(&b, cli_ju(job, "loadedBytes"), true);
    fprintf(c->err, "\r%llu of %llu files, %s\033[K", (unsigned long long)cli_ju(job, "processedFiles"),
            (unsigned long long)cli_ju(job, "scannedFiles"), b.p);
}

static int watch(struct cli *c, const char *kind, const char *id)
{
    uint64_t pause = 10;
    for (;;) {
        struct cli_answer a AUTO_ANSWER = {0};
        struct buf url AUTO_BUF = {0};
        buf_printf(&url, "/api/v1/%s", kind);
        cli_query(&url, "id", id);
        if (cli_call(c, "GET", url.p, NULL, &a) != 0)
            return cli_answer_fail(c, &a, NULL);
        if (!running(a.json)) {
            if (isatty(fileno(c->err)))
                fprintf(c->err, "\r\033[K");
            return finished(c, a.json, kind);
        }
        tick(c, a.json);
        clock_sleep_ms(pause);
        pause = pause < 500 ? pause * 2 : 500;
    }
}

/* Which job is meant: --alias, --index, or --path. */
static void put_which(struct cli *c, struct buf *url, const char *path)
{
    if (cli_has(c, "alias"))
        cli_query(url, "alias", cli_get(c, "alias", ""));
    else
        cli_query(url, cli_has(c, "index") ? "index" : "path", path);
}

static int about(struct cli *c, const char *method, const char *kind, const char *path, const char *title)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    buf_printf(&url, "/api/v1/%s", kind);
    put_which(c, &url, path);
    if (cli_call(c, method, url.p, NULL, &a) != 0)
        return a.status == 404 ? cli_fail(c, "no %s job is known for %s", kind, path) : cli_answer_fail(c, &a, path);
    if (strcmp(method, "GET") == 0)
        return show(c, &a, kind, cli_json(c) || strcasecmp(cli_get(c, "format", "TEXT"), "JSON") == 0);
    if (cli_json(c))
        cli_print_json(c, a.json);
    else
        fprintf(c->out, "%s '%s' is successfully stopped.\n", title, path);
    return CLI_OK;
}

static int list(struct cli *c, const char *kind)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0};
    buf_printf(&url, "/api/v1/%s", kind);
    if (cli_call(c, "GET", url.p, NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    if (cli_json(c)) {
        cli_print_json(c, a.json);
        return CLI_OK;
    }
    size_t i;
    json_t *j;
    fprintf(c->out, "%-36s  %-9s  %-23s  %9s  %9s  %s\n", "JobId", "State", "Started", "Files", "Bytes", "Path");
    json_array_foreach(a.json, i, j)
    {
        struct buf start AUTO_BUF = {0}, bytes AUTO_BUF = {0}, path AUTO_BUF = {0};
        cli_put_time(&start, cli_ju(j, "startTime"));
        cli_put_size(&bytes, cli_ju(j, "loadedBytes"), true);
        cli_put_name(&path, cli_js(j, "path"));
        fprintf(c->out, "%-36s  %-9s  %-23s  %9llu  %9s  %s\n", cli_js(j, "id"), cli_js(j, "state"), start.p,
                (unsigned long long)cli_ju(j, "processedFiles"), bytes.p, path.p ? path.p : "");
    }
    return CLI_OK;
}

static int submitted(struct cli *c, const struct cli_answer *a, const char *path, const char *title)
{
    if (cli_json(c))
        cli_print_json(c, a->json);
    else
        fprintf(c->out, "%s '%s' is %s.\nJobId: %s\n", title, path,
                a->status == 409 ? "already running" : "successfully submitted", cli_js(a->json, "id"));
    return CLI_OK;
}

int cli_job(struct cli *c, const char *kind, const char *title, const char *otherwise)
{
    const char *path = cli_get(c, "index", cli_get(c, "path", otherwise)), *format = cli_get(c, "format", "TEXT");
    struct cli_answer a AUTO_ANSWER = {0};
    if (strcasecmp(format, "TEXT") != 0 && strcasecmp(format, "JSON") != 0)
        return cli_misuse(c, "option --format: '%s' is neither TEXT nor JSON", format);
    if (cli_has(c, "list"))
        return list(c, kind);
    if (!path)
        return cli_misuse(c, "which one? --path PATH%s", strcmp(kind, "load") == 0 ? ", or --index FILE" : "");
    if (cli_has(c, "progress"))
        return about(c, "GET", kind, path, title);
    if (cli_has(c, "stop"))
        return about(c, "DELETE", kind, path, title);
    int r = submit(c, kind, path, &a);
    if (r != 0)
        return r;
    return cli_has(c, "submit") ? submitted(c, &a, path, title) : watch(c, kind, cli_js(a.json, "id"));
}
