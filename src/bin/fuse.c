/* SPDX-License-Identifier: Apache-2.0
 *
 * `fuse DIR` keeps a mount in the foreground; `fuse mount DIR` in the background; `fuse umount DIR` ends one. As
 * mount.fuse.forebay it is what mount(8) runs for a line of /etc/fstab. What serves the mount is the instance of a data
 * directory (fuse/fuse.h).
 */
#include "base/clock.h"
#include "base/err.h"
#include "bin/roles.h"
#include "bin/signals.h"
#include "cli/wait.h"
#include "conf/conf.h"
#include "fuse/fuse.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT_OPTS                                                                                                     \
    {"path", 0, "PATH", "Show this directory of the namespace (/).", 0},                                               \
        {"options", 'o', "OPTIONS",                                                                                    \
         "As of mount(8): allow_other,ro,nodev ...; locks=local: not shared with other mounts.", 0},                   \
        {"data", 0, "DIR", "Data directory of the instance that serves it (./forebay-data).", 0},                      \
        {"server", 0, "HOST:PORT", "Served by an instance on another host, at its forebay.fuse.listen.", 0},           \
        {"token", 0, "TOKEN", "With --server: its forebay.fuse.token (else $FOREBAY_FUSE_TOKEN, that property).", 0},  \
        {"grace", 0, "SECONDS", "How long programs wait when that instance ends, for the next one (600).", 0},         \
        {"conf", 0, "FILE", "Properties; for forebay.data.dir.", 0},                                                   \
    {                                                                                                                  \
        "define", 'D', "K=V", "A property; wins over the file.", OPT_REPEAT                                            \
    }

static const struct cli_opt keep_opts[] = {MOUNT_OPTS, {0}};

enum { GRACE_S = 600 };

/* ---- keeping ---- */

struct keeping {
    struct cli *c;
    int pipe; /* background: says to the waiting parent that the mount answers; -1: none */
};

static void say_ready(void *arg)
{
    struct keeping *k = arg;
    if (k->pipe < 0) {
        fprintf(k->c->out, "ready mount=%s\n", k->c->word[0]);
        fflush(k->c->out);
        return;
    }
    (void)!write(k->pipe, "+", 1);
    close(k->pipe);
    k->pipe = -1;
    int null AUTO_CLOSE = open("/dev/null", O_RDWR | O_CLOEXEC); /* whoever waits for the end of our output must not */
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
}

static void no_log_to_reopen(void *arg)
{
    (void)arg;
}

/* A signal becomes a byte that poll(2) sees. */
static void *wait_signal(void *arg)
{
    signals_wait(no_log_to_reopen, NULL);
    (void)!write(*(int *)arg, "x", 1);
    return NULL;
}

static int keep(struct cli *c, int ready_pipe)
{
    struct conf *conf;
    struct keeping k = {c, ready_pipe};
    static int stop[2]; /* the waiting thread outlives this call, until the process ends */
    char real[PATH_MAX];
    uint64_t grace;
    pthread_t t;
    if (!cli_number(c, "grace", GRACE_S, 0, 1000000, &grace))
        return CLI_USAGE;
    if (role_conf(c, NULL, &conf) < 0)
        return cli_fail(c, "%s", err_detail(ERR_INVALID));
    CHECK(pipe2(stop, O_CLOEXEC) == 0);
    const char *token = getenv("FOREBAY_FUSE_TOKEN");
    const struct fuse_keep_options o = {.data_dir = role_data_dir(c, conf),
                                        .server = cli_get(c, "server", NULL),
                                        .token =
                                            cli_get(c, "token", token ? token : conf_string(conf, PROP_FUSE_TOKEN)),
                                        .mountpoint = realpath(c->word[0], real) ? real : c->word[0],
                                        .path = cli_get(c, "path", "/"),
                                        .mount_options = cli_get(c, "options", NULL),
                                        .grace_ms = grace * 1000,
                                        .stop_fd = stop[0],
                                        .ready = say_ready,
                                        .arg = &k};
    signals_start();
    CHECK(pthread_create(&t, NULL, wait_signal, &stop[1]) == 0);
    pthread_detach(t);
    int r = fuse_keep(&o);
    if (r < 0)
        cli_fail(c, "%s", err_detail(r));
    conf_free(conf);
    return r < 0 ? CLI_FAILED : CLI_OK;
}

static int run_fuse(struct cli *c)
{
    return keep(c, -1);
}

const struct command cmd_fuse = {
    NULL,
    "fuse",
    "DIR",
    1,
    1,
    "Mount the namespace at DIR, in the foreground.",
    "Prints one line that starts with 'ready' when the mount answers. SIGTERM and Ctrl-C unmount it. The instance of\n"
    "--data serves it; when that one is stopped, upgraded or crashes, programs wait for the next one and go on.",
    keep_opts,
    run_fuse,
    true,
    true};

/* The child goes on without the terminal. */
static int background(struct cli *c)
{
    int up[2];
    char ok;
    CHECK(pipe2(up, O_CLOEXEC) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return cli_fail(c, "no process can be started: %m");
    if (pid == 0) {
        close(up[0]);
        setsid();
        _exit(keep(c, up[1]));
    }
    close(up[1]);
    if (read(up[0], &ok, 1) == 1) {
        close(up[0]);
        return CLI_OK;
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILED;
}

static int run_mount(struct cli *c)
{
    int r = background(c);
    if (r == CLI_OK)
        fprintf(c->out, "Mounted %s at %s\n", cli_get(c, "path", "/"), c->word[0]);
    return r;
}

const struct command cmd_fuse_mount = {"fuse",
                                       "mount",
                                       "DIR",
                                       1,
                                       1,
                                       "Mount the namespace at DIR, in the background.",
                                       "Returns when the mount answers. 'fuse umount DIR' ends it.",
                                       keep_opts,
                                       run_mount,
                                       true,
                                       true};

/* ---- unmounting ---- */

static const struct cli_opt umount_opts[] = {
    {"wait", 0, NULL, "First wait until what is below it is persisted.", 0},
    {"timeout", 0, "SECONDS", "With --wait: give up after so long, exit code 1.", 0},
    {"force", 0, NULL, "Also while programs use it.", 0},
    {0}};

/* The namespace path that a mount shows, from its source "forebay:/demo"; false: no mount of ours is there. */
static bool shown_path(const char *dir, char *ret, size_t n)
{
    char line[8192], at[4096], source[4096];
    bool found = false;
    FILE *f AUTO_FCLOSE = fopen("/proc/self/mounts", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%4095s %4095s", source, at) == 2 && !strcmp(at, dir) && !strncmp(source, "forebay:", 8)) {
            snprintf(ret, n, "%s", source[8] ? source + 8 : "/");
            found = true;
        }
    return found;
}

static int unmount(struct cli *c, const char *dir)
{
    int r = fuse_host_unmount(dir, cli_has(c, "force"));
    if (r == ERR_BUSY)
        return cli_fail(
            c, "%s cannot be unmounted: programs use it (fuser -vm shows which); --force unmounts all the same", dir);
    return r < 0 ? cli_fail(c, "%s", err_detail(r)) : CLI_OK;
}

/* What is still to come in the bucket: said, not an error. */
static void say_left(struct cli *c, const char *path)
{
    struct cli_answer a AUTO_ANSWER = {0};
    struct buf url AUTO_BUF = {0}, left AUTO_BUF = {0};
    cli_path_query(&url, "/api/v1/async-persist/wait", path);
    cli_query(&url, "timeoutMs", "0");
    if (cli_call(c, "POST", url.p, NULL, &a) != 0 || cli_jb(a.json, "persisted"))
        return;
    cli_put_count(&left, cli_ju(a.json, "pendingFiles"), "file");
    buf_putz(&left, " with ");
    cli_put_count(&left, cli_ju(a.json, "pendingBytes"), "byte");
    fprintf(c->err, "%s below %s are not persisted yet; the instance goes on with them (persist --wait %s)\n", left.p,
            path, path);
}

static int run_umount(struct cli *c)
{
    char real[PATH_MAX], path[4096];
    const char *dir = realpath(c->word[0], real) ? real : c->word[0]; /* a dead mount has no real path */
    uint64_t timeout;
    if (!cli_number(c, "timeout", 0, 1, 10000000, &timeout))
        return CLI_USAGE;
    if (!shown_path(dir, path, sizeof path))
        return cli_fail(c, "no mount of Forebay is at %s (see: mount -t fuse.forebay)", c->word[0]);
    if (cli_has(c, "wait") && cli_wait_persisted(c, path, timeout) != CLI_OK)
        return CLI_FAILED;
    int r = unmount(c, dir);
    if (r == CLI_OK && !cli_has(c, "wait"))
        say_left(c, path);
    if (r == CLI_OK)
        fprintf(c->out, "Unmounted %s\n", c->word[0]);
    return r;
}

const struct command cmd_fuse_umount = {
    "fuse",
    "umount",
    "DIR",
    1,
    1,
    "Unmount it, and say what is still to be persisted.",
    "What is not persisted is safe in the instance's data directory and goes on from there.",
    umount_opts,
    run_umount,
    false,
    false};
