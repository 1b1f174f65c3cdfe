/* SPDX-License-Identifier: Apache-2.0
 *
 * The wait (contract in wait.h): the server is asked again and again, each time for a few seconds at most, so that
 * Ctrl-C ends it and a restart of the server does not.
 */
#include "cli/wait.h"
#include "base/clock.h"

static void progress(struct cli *c, const json_t *j)
{
    struct buf left AUTO_BUF = {0};
    if (!isatty(fileno(c->err)))
        return;
    cli_put_count(&left, cli_ju(j, "pendingFiles"), "file");
    buf_putz(&left, ", ");
    cli_put_size(&left, cli_ju(j, "pendingBytes"), true);
    fprintf(c->err, "\r%s to go\033[K", left.p);
}

static int too_late(struct cli *c, const char *path, const json_t *j)
{
    const char *error = cli_js(j, "error");
    struct buf left AUTO_BUF = {0};
    cli_put_count(&left, cli_ju(j, "pendingFiles"), "file");
    buf_putz(&left, ", ");
    cli_put_count(&left, cli_ju(j, "pendingBytes"), "byte");
    return cli_fail(c, "%s is not persisted yet: %s to go%s%s", path, left.p, error[0] ? "; last error: " : "", error);
}

static uint64_t round_ms(uint64_t end, uint64_t now)
{
    uint64_t most = 5000;
    return end <= now ? 0 : end - now < most ? end - now : most;
}

int cli_wait_persisted(struct cli *c, const char *path, uint64_t timeout_s)
{
    uint64_t end = timeout_s ? clock_mono_ms() + timeout_s * 1000 : UINT64_MAX;
    for (;;) {
        struct cli_answer a AUTO_ANSWER = {0};
        char ms[24];
        snprintf(ms, sizeof ms, "%llu", (unsigned long long)round_ms(end, clock_mono_ms()));
        struct buf url AUTO_BUF = {0};
        cli_path_query(&url, "/api/v1/async-persist/wait", path);
        cli_query(&url, "timeoutMs", ms);
        if (cli_call(c, "POST", url.p, NULL, &a) != 0)
            return cli_answer_fail(c, &a, path);
        bool done = cli_jb(a.json, "persisted"), late = clock_mono_ms() >= end;
        if (!done && !late) {
            progress(c, a.json);
            continue;
        }
        if (isatty(fileno(c->err)))
            fprintf(c->err, "\r\033[K");
        if (!done)
            return too_late(c, path, a.json);
        if (cli_json(c))
            cli_print_json(c, a.json);
        else
            fprintf(c->out, "%s is persisted\n", path);
        return CLI_OK;
    }
}
