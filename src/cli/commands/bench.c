/* SPDX-License-Identifier: Apache-2.0
 *
 * `bench`: load on an S3 endpoint, and what it took.
 */
#include "bench/bench.h"
#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"

static const struct cli_opt opts[] = {
    {"endpoint", 0, "URL", "http://HOST:PORT or https://HOST (http://127.0.0.1:29998).", 0},
    {"ca", 0, "FILE", "Certificates to trust with https, PEM (the system's).", 0},
    {"access-key", 0, "KEY", "Access key (AWS_ACCESS_KEY_ID); without one nothing is signed.", 0},
    {"secret-key", 0, "KEY", "Secret key (AWS_SECRET_ACCESS_KEY).", 0},
    {"region", 0, "NAME", "Region to sign for (us-east-1).", 0},
    {"bucket", 'b', "NAME", "Bucket, which must exist.", OPT_REQUIRED},
    {"prefix", 'p', "TEXT", "What all keys begin with (bench/).", 0},
    {"dirs", 0, "N", "Spread keys over N directories below it (16); 0: none.", 0},
    {"clients", 'c', "N", "Connections, each with one request under way (1).", 0},
    {"size", 'z', "SIZE", "Bytes of an object (10KB).", 0},
    {"part-size", 0, "SIZE", "Bytes of a part (8MB).", 0},
    {"duration", 'd', "SECONDS", "Begin operations for this long (10, without --count).", 0},
    {"count", 'n', "N", "At most N operations, all clients together.", 0},
    {"keys", 'k', "N", "How many objects an earlier put has made (1000).", 0},
    {"first", 0, "N", "Number of the first of them (0).", 0},
    {"batch", 0, "N", "Keys of one multi-delete (100).", 0},
    {"page", 0, "N", "Keys of one list request (1000).", 0},
    {"start-after", 0, "KEY", "List only what comes behind this key.", 0},
    {"signed", 0, NULL, "Sign the SHA-256 of each body, too.", 0},
    {"verify", 0, NULL, "Compare every byte that get reads.", 0},
    {"pid", 0, "PID", "Process of the server on this machine; PID,PID for several.", OPT_REPEAT},
    {0}};

/* ---- the command line ---- */

static bool parse_op(struct cli *c, enum bench_op *ret)
{
    for (unsigned i = 0; i < BENCH_OPS; i++)
        if (strcmp(bench_op_name[i], c->word[0]) == 0) {
            *ret = (enum bench_op)i;
            return true;
        }
    const char *near = cli_nearest(c->word[0], bench_op_name, BENCH_OPS);
    cli_misuse(c, "there is no operation '%s'%s%s%s", c->word[0], near ? "; did you mean '" : "", near ? near : "",
               near ? "'?" : "");
    return false;
}

/* "10KB", "8MiB", "1g", "4096". */
static bool parse_size(struct cli *c, const char *opt, uint64_t otherwise, uint64_t *ret)
{
    static const char *const unit[] = {"", "kb", "mb", "gb", "tb"};
    const char *v = cli_get(c, opt, NULL);
    *ret = otherwise;
    if (!v)
        return true;
    size_t digits = strspn(v, "0123456789");
    struct str rest = str_of(v + digits), u = rest;
    char plain[4] = "";
    if (u.n == 3 && (u.p[1] == 'i' || u.p[1] == 'I'))
        snprintf(plain, sizeof plain, "%cb", u.p[0]);
    else if (u.n == 1 && u.p[0] != 'b' && u.p[0] != 'B')
        snprintf(plain, sizeof plain, "%cb", u.p[0]);
    else if (u.n < sizeof plain)
        snprintf(plain, sizeof plain, "%s", u.p);
    uint64_t n;
    for (unsigned i = 0; i < sizeof unit / sizeof unit[0]; i++)
        if ((plain[0] || !rest.n) && str_ieq(str_of(plain), str_of(unit[i])) &&
            str_u64(str_mk(v, digits), UINT64_MAX >> (10 * i), &n)) {
            *ret = n << (10 * i);
            return true;
        }
    cli_misuse(c, "option --%s: '%s' is not a size, as 10KB or 8MB", opt, v);
    return false;
}

static bool parse_pids(struct cli *c, struct bench_config *cfg, int **ret)
{
    const char *v;
    int *pid = NULL;
    size_t n = 0;
    for (size_t at = 0; (v = cli_next(c, "pid", &at));) {
        while (*v) {
            size_t len = strcspn(v, ",");
            uint64_t one;
            if (!str_u64(str_mk(v, len), INT32_MAX, &one) || one == 0) {
                cli_misuse(c, "option --pid: '%s' is not a process's number", v);
                free(pid);
                return false;
            }
            pid = mem_grow(pid, n + 1, sizeof *pid);
            pid[n++] = (int)one;
            v += len + (v[len] == ',');
        }
    }
    cfg->pid = *ret = pid;
    cfg->pids = n;
    return true;
}

static const char *from_env(const struct cli *c, const char *opt, const char *var)
{
    const char *v = cli_get(c, opt, getenv(var));
    return v && v[0] ? v : NULL;
}

static bool parse_numbers(struct cli *c, struct bench_config *cfg)
{
    uint64_t clients, dirs, seconds, batch, page;
    bool counted = cli_has(c, "count");
    if (!cli_number(c, "clients", 1, 1, 10000, &clients) || !cli_number(c, "dirs", 16, 0, 1 << 20, &dirs) ||
        !cli_number(c, "duration", counted ? UINT64_MAX / 1000 : 10, 1, UINT64_MAX / 1000, &seconds) ||
        !cli_number(c, "count", UINT64_MAX, 1, UINT64_MAX, &cfg->count) ||
        !cli_number(c, "keys", 1000, 1, UINT32_MAX, &cfg->keys) ||
        !cli_number(c, "first", 0, 0, UINT32_MAX, &cfg->first) || !cli_number(c, "batch", 100, 1, 1000, &batch) ||
        !cli_number(c, "page", 1000, 1, 1000, &page) || !parse_size(c, "size", 10240, &cfg->size) ||
        !parse_size(c, "part-size", 8 << 20, &cfg->part_size))
        return false;
    if (!cfg->part_size) {
        cli_misuse(c, "option --part-size: it must not be 0");
        return false;
    }
    cfg->clients = (unsigned)clients;
    cfg->dirs = (unsigned)dirs;
    cfg->batch = (unsigned)batch;
    cfg->page = (unsigned)page;
    cfg->duration_ms = seconds * 1000;
    return true;
}

static bool parse(struct cli *c, struct bench_config *cfg, int **ret_pid)
{
    cfg->endpoint = cli_get(c, "endpoint", "http://127.0.0.1:29998");
    cfg->ca = cli_get(c, "ca", NULL);
    cfg->access = from_env(c, "access-key", "AWS_ACCESS_KEY_ID");
    cfg->secret = from_env(c, "secret-key", "AWS_SECRET_ACCESS_KEY");
    cfg->region = cli_get(c, "region", "us-east-1");
    cfg->bucket = cli_get(c, "bucket", "");
    cfg->prefix = cli_get(c, "prefix", "bench/");
    cfg->after = cli_get(c, "start-after", NULL);
    cfg->sign_payload = cli_has(c, "signed");
    cfg->verify = cli_has(c, "verify");
    if (!parse_op(c, &cfg->op) || !parse_numbers(c, cfg) || !parse_pids(c, cfg, ret_pid))
        return false;
    if (!cfg->access == !cfg->secret)
        return true;
    cli_misuse(c, "an access key and a secret key go together");
    return false;
}

/* ---- the result, for people ---- */

static double ms(uint64_t ns)
{
    return (double)ns * 1e-6;
}

static void latency_line(FILE *f, const char *name, const struct hist *h)
{
    fprintf(f, "  %-12s p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms\n", name, ms(hist_at(h, 0.5)),
            ms(hist_at(h, 0.9)), ms(hist_at(h, 0.99)), ms(hist_at(h, 0.999)), ms(h->max));
}

static unsigned kinds(const struct bench_result *r)
{
    unsigned n = 0;
    for (int k = 0; k < BENCH_KINDS; k++)
        n += r->kind[k].n > 0;
    return n;
}

/* Things done: keys where an operation is many of them. */
static double things(const struct bench_config *cfg, const struct bench_result *r)
{
    return (double)(bench_op_unit[cfg->op][0] ? r->units : r->ops);
}

static void cpu_line(FILE *f, const char *name, double cpu, const struct bench_config *cfg,
                     const struct bench_result *r)
{
    double n = things(cfg, r), gib = (double)r->bytes / 0x1p30;
    fprintf(f, "  %-12s %.2f s", name, cpu);
    if (n > 0)
        fprintf(f, "  %.3f s per 1,000", cpu * 1000 / n);
    if (gib >= 0.05)
        fprintf(f, "  %.2f s per GiB", cpu / gib);
    fputc('\n', f);
}

static void print_errors(FILE *f, const struct bench_result *r)
{
    for (size_t i = 0; i < r->error_n; i++)
        fprintf(f, "  %-12s %llu  %s  (first: %s)\n", "error", (unsigned long long)r->error[i].n, r->error[i].label,
                r->error[i].sample);
    if (r->reconnects)
        fprintf(f, "  %-12s %llu  connections the server closed between requests\n", "reconnected",
                (unsigned long long)r->reconnects);
}

static void print_text(FILE *f, const struct bench_config *cfg, const struct bench_result *r)
{
    const char *unit = bench_op_unit[cfg->op];
    fprintf(f, "%s: %llu operations in %.2f s, %u client%s, %llu failed\n", bench_op_name[cfg->op],
            (unsigned long long)r->ops, r->seconds, cfg->clients, cfg->clients == 1 ? "" : "s",
            (unsigned long long)r->errors);
    fprintf(f, "  %-12s %.1f operations/s", "rate", (double)r->ops / r->seconds);
    if (unit[0])
        fprintf(f, "  %.0f %s/s", (double)r->units / r->seconds, unit);
    if (r->bytes)
        fprintf(f, "  %.1f MiB/s", (double)r->bytes / 0x1p20 / r->seconds);
    fputc('\n', f);
    latency_line(f, "latency", &r->latency);
    for (int k = 0; k < BENCH_KINDS && kinds(r) > 1; k++)
        if (r->kind[k].n)
            latency_line(f, bench_kind_name[k], &r->kind[k]);
    if (cfg->pids) {
        cpu_line(f, "server CPU", r->server_cpu, cfg, r);
        fprintf(f, "  %-12s %.0f MiB, at most %.0f MiB\n", "server RSS", (double)r->server_rss / 0x1p20,
                (double)r->server_rss_max / 0x1p20);
    }
    cpu_line(f, "client CPU", r->client_cpu, cfg, r);
    print_errors(f, r);
}

/* ---- the result, for programs ---- */

static json_t *latency_json(const struct hist *h)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->n, "p50_ms", ms(hist_at(h, 0.5)),
                     "p90_ms", ms(hist_at(h, 0.9)), "p99_ms", ms(hist_at(h, 0.99)), "p999_ms", ms(hist_at(h, 0.999)),
                     "max_ms", ms(h->max));
}

static json_t *errors_json(const struct bench_result *r)
{
    json_t *a = json_array();
    for (size_t i = 0; i < r->error_n; i++)
        json_array_append_new(a, json_pack("{s:s, s:I, s:s%}", "error", r->error[i].label, "count",
                                           (json_int_t)r->error[i].n, "first", r->error[i].sample,
                                           strlen(r->error[i].sample)));
    return a;
}

static void print_json(struct cli *c, const struct bench_config *cfg, const struct bench_result *r)
{
    json_t *by = json_object();
    for (int k = 0; k < BENCH_KINDS; k++)
        if (r->kind[k].n)
            json_object_set_new(by, bench_kind_name[k], latency_json(&r->kind[k]));
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:o, s:f}", "operation",
                  bench_op_name[cfg->op], "clients", (json_int_t)cfg->clients, "size", (json_int_t)cfg->size, "seconds",
                  r->seconds, "operations", (json_int_t)r->ops, "failed", (json_int_t)r->errors, "units",
                  (json_int_t)r->units, "bytes", (json_int_t)r->bytes, "reconnects", (json_int_t)r->reconnects,
                  "operations_per_s", (double)r->ops / r->seconds, "units_per_s", (double)r->units / r->seconds,
                  "mib_per_s", (double)r->bytes / 0x1p20 / r->seconds, "latency", latency_json(&r->latency), "requests",
                  by, "errors", errors_json(r), "client_cpu_s", r->client_cpu);
    CHECK(j);
    if (cfg->pids)
        json_object_set_new(j, "server",
                            json_pack("{s:f, s:I, s:I}", "cpu_s", r->server_cpu, "rss_bytes", (json_int_t)r->server_rss,
                                      "rss_max_bytes", (json_int_t)r->server_rss_max));
    cli_print_json(c, j);
    json_decref(j);
}

static int measure(struct cli *c, const struct bench_config *cfg)
{
    struct bench_result *r = MEM_NEW(struct bench_result);
    int e = bench_run(cfg, r), code = r->errors || !r->ops ? CLI_FAILED : CLI_OK;
    if (e < 0) {
        cli_fail(c, "%s", err_detail(e));
        code = CLI_USAGE;
    } else if (cli_json(c)) {
        print_json(c, cfg, r);
    } else {
        print_text(c->out, cfg, r);
    }
    free(r);
    return code;
}

static int run(struct cli *c)
{
    struct bench_config cfg = {0};
    AUTO_FREE int *pid = NULL;
    return parse(c, &cfg, &pid) ? measure(c, &cfg) : CLI_USAGE;
}

const struct command cmd_bench = {
    NULL,
    "bench",
    "OPERATION",
    1,
    1,
    "Put load on an S3 endpoint and measure it.",
    "Operations:\n"
#define OP(name, word, unit, summary) "  " word ": " summary "\n"
#include "bench/ops.tbl"
#undef OP
    "Any S3 endpoint will do. Objects stay where they are: multi-delete takes them away.\n"
    "Latencies are of what succeeded. Exit code 1 when anything failed.",
    opts,
    run,
    true,
    false};
