/* SPDX-License-Identifier: Apache-2.0
 *
 * `info collect`: what somebody who helps from afar needs to know, in one tar file: everything the server tells of
 * itself, and the end of its log. The server masks secrets (of properties and mounts) before it tells; its log never
 * holds any.
 */
#include "cli/cli.h"
#include "base/mem.h"
#include <errno.h>
#include <sys/stat.h>
#include <time.h>

enum { LOG_TAIL = 8 << 20, BLOCK = 512 };

static const struct cli_opt opts[] = {{"output-dir", 0, "DIR", "Where the file is put (the current directory).", 0},
                                      {0}};

static const struct piece {
    const char *file, *call;
} pieces[] = {{"report.json", "/api/v1/info/report"},
              {"cache.json", "/api/v1/info/cache"},
              {"nodes.json", "/api/v1/info/nodes"},
              {"properties.json", "/api/v1/properties"},
              {"mounts.json", "/api/v1/mounts"},
              {"pathconfig.json", "/api/v1/conf"},
              {"async-persist.json", "/api/v1/async-persist"},
              {"load-jobs.json", "/api/v1/load?count=100"},
              {"doctor.json", "/api/v1/doctor"},
              {"log-levels.json", "/api/v1/log"},
              {"metrics.txt", "/metrics"}};

/* ---- tar, as POSIX has it: a header block, the bytes, zeros to the next block ---- */

static void put_octal(char *field, size_t n, uint64_t v)
{
    field[n - 1] = 0;
    for (size_t i = n - 1; i-- > 0; v >>= 3)
        field[i] = (char)('0' + (v & 7));
}

static void make_header(char h[BLOCK], const char *dir, const char *file, size_t size)
{
    unsigned sum = 0;
    memset(h, 0, BLOCK);
    snprintf(h, 100, "%s/%s", dir, file);
    put_octal(h + 100, 8, 0600);
    put_octal(h + 108, 8, 0);
    put_octal(h + 116, 8, 0);
    put_octal(h + 124, 12, size);
    put_octal(h + 136, 12, (uint64_t)time(NULL));
    memset(h + 148, ' ', 8);
    h[156] = '0';
    memcpy(h + 257, "ustar", 6);
    h[263] = h[264] = '0';
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)h[i];
    put_octal(h + 148, 7, sum);
}

static void add_file(FILE *tar, const char *dir, const char *file, struct str bytes)
{
    char h[BLOCK], zero[BLOCK] = {0};
    make_header(h, dir, file, bytes.n);
    fwrite(h, 1, BLOCK, tar);
    fwrite(bytes.p, 1, bytes.n, tar);
    fwrite(zero, 1, (BLOCK - bytes.n % BLOCK) % BLOCK, tar);
}

/* ---- what goes in ---- */

static void add_piece(struct cli *c, FILE *tar, const char *dir, const struct piece *p, size_t *failed)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", p->call, NULL, &a) == 0) {
        add_file(tar, dir, p->file, buf_str(&a.body));
        return;
    }
    struct buf why AUTO_BUF = {0};
    buf_printf(&why, "not collected: status %ld %s%s\n", a.status, a.error, a.body.p ? a.body.p : "");
    add_file(tar, dir, p->file, buf_str(&why));
    (*failed)++;
}

static const char *log_file(const json_t *properties)
{
    size_t i;
    json_t *p;
    json_array_foreach(properties, i, p) if (strcmp(cli_js(p, "name"), "forebay.log.file") == 0) return cli_js(p,
                                                                                                               "value");
    return "";
}

/* The end of the log, when it is a file of this machine. */
static void add_log(struct cli *c, FILE *tar, const char *dir)
{
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/properties", NULL, &a) != 0)
        return;
    const char *name = log_file(json_object_get(a.json, "properties"));
    FILE *f AUTO_FCLOSE = name[0] ? fopen(name, "re") : NULL;
    if (!f)
        return;
    char *text AUTO_FREE = mem_alloc(LOG_TAIL);
    if (fseeko(f, -(off_t)LOG_TAIL, SEEK_END) != 0)
        rewind(f);
    add_file(tar, dir, "forebay.log", str_mk(text, fread(text, 1, LOG_TAIL, f)));
}

static int collect(struct cli *c, FILE *tar, const char *dir, const char *file)
{
    char zero[2 * BLOCK] = {0};
    size_t failed = 0, n = sizeof pieces / sizeof pieces[0];
    for (size_t i = 0; i < n; i++)
        add_piece(c, tar, dir, &pieces[i], &failed);
    add_log(c, tar, dir);
    fwrite(zero, 1, sizeof zero, tar);
    if (fflush(tar) != 0 || ferror(tar))
        return cli_fail(c, "cannot write %s: %s", file, strerror(errno));
    if (failed)
        cli_fail(c, "%zu of %zu pieces could not be collected; the file says why", failed, n);
    if (cli_json(c)) {
        json_t *j = json_pack("{s:s, s:i, s:i}", "file", file, "pieces", (int)n, "failed", (int)failed);
        cli_print_json(c, j);
        json_decref(j);
    } else {
        fprintf(c->out, "Collected in %s\n", file);
    }
    return failed ? CLI_FAILED : CLI_OK;
}

static int run(struct cli *c)
{
    char dir[64];
    struct tm tm;
    time_t now = time(NULL);
    struct buf file AUTO_BUF = {0};
    struct cli_answer a AUTO_ANSWER = {0};
    if (cli_call(c, "GET", "/api/v1/info/version", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    gmtime_r(&now, &tm);
    strftime(dir, sizeof dir, "forebay-collect-%Y%m%d-%H%M%S", &tm);
    buf_printf(&file, "%s/%s.tar", cli_get(c, "output-dir", "."), dir);
    mode_t old = umask(077);
    FILE *tar AUTO_FCLOSE = fopen(file.p, "wxe");
    umask(old);
    if (!tar)
        return cli_fail(c, "cannot make %s: %s", file.p, strerror(errno));
    return collect(c, tar, dir, file.p);
}

const struct command cmd_info_collect = {
    "info",
    "collect",
    "",
    0,
    0,
    "Collect what the server tells of itself in one tar file.",
    "For whoever helps from afar. Secrets of properties and mounts are masked; names of files are\n"
    "not: read it before you send it on.",
    opts,
    run,
    false,
    false};
