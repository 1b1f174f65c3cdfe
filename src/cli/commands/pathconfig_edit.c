/* SPDX-License-Identifier: Apache-2.0
 *
 * `pathconfig edit`: the path configuration in $EDITOR, put in force when the editor ends.
 *
 * The editor is a shell command that gets the file's name behind it, with our own standard input, so that
 * EDITOR="cp /dev/stdin" takes a configuration from a pipe. A configuration that is refused stays in its file, which is
 * named, so that no typing is lost.
 */
#include "cli/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

static int write_file(struct cli *c, char *file, struct str text)
{
    int fd AUTO_CLOSE = mkostemps(file, 5, O_CLOEXEC);
    if (fd < 0)
        return cli_fail(c, "cannot make %s: %s (set TMPDIR to a place that can be written)", file, strerror(errno));
    if (write(fd, text.p, text.n) != (ssize_t)text.n)
        return cli_fail(c, "cannot write %s: %s", file, strerror(errno));
    return 0;
}

static int edit(struct cli *c, const char *file)
{
    const char *editor = getenv("EDITOR");
    struct buf b AUTO_BUF = {0};
    buf_printf(&b, "%s '%s'", editor && editor[0] ? editor : "vi", file);
    int status = system(b.p);
    if (status == -1)
        return cli_fail(c, "cannot start the editor: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return cli_fail(c, "the editor (%s) failed: nothing was changed", editor && editor[0] ? editor : "vi");
    return 0;
}

static int read_file(struct cli *c, const char *file, struct buf *b)
{
    FILE *f AUTO_FCLOSE = fopen(file, "rb");
    char piece[4096];
    size_t n;
    if (!f)
        return cli_fail(c, "cannot read %s again: %s", file, strerror(errno));
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(b, piece, n);
    return 0;
}

static int put(struct cli *c, const char *file)
{
    struct buf text AUTO_BUF = {0};
    struct cli_answer a AUTO_ANSWER = {0};
    int r = read_file(c, file, &text);
    if (r != 0)
        return r;
    if (cli_call_raw(c, "PUT", "/api/v1/conf", "application/json", buf_str(&text), NULL, &a) == 0) {
        cli_say(c, "Update successful!");
        unlink(file);
        return CLI_OK;
    }
    r = cli_answer_fail(c, &a, NULL);
    fprintf(c->err, "Nothing was changed; what you wrote is kept in %s\n", file);
    return r;
}

static int run(struct cli *c)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf file AUTO_BUF = {0};
    const char *tmp = getenv("TMPDIR");
    if (cli_call(c, "GET", "/api/v1/conf", NULL, &a) != 0)
        return cli_answer_fail(c, &a, NULL);
    buf_printf(&file, "%s/pathconfig-XXXXXX.json", tmp && tmp[0] ? tmp : "/tmp");
    int r = write_file(c, file.p, buf_str(&a.body));
    if (r == 0 && (r = edit(c, file.p)) != 0)
        unlink(file.p);
    return r == 0 ? put(c, file.p) : r;
}

const struct command cmd_pathconfig_edit = {
    "pathconfig",
    "edit",
    "",
    0,
    0,
    "Edit the path configuration with $EDITOR.",
    "It is taken or refused as a whole, and in force everywhere when the command ends.\n"
    "From a script: EDITOR=\"cp /dev/stdin\" forebay pathconfig edit < rules.json",
    NULL,
    run,
    false,
    false};
