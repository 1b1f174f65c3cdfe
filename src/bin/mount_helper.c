/* SPDX-License-Identifier: Apache-2.0
 *
 * What mount(8) runs for type fuse.forebay:
 *
 *     forebay:/demo  /mnt/demo  fuse.forebay  allow_other,data=/var/lib/forebay,_netdev  0 0
 *
 * data=, server=, conf= and grace= are ours, the rest is passed on but for what only mount(8) itself understands. (No
 * token=: everybody may read the list of mounts. It is in the file of conf=.) With remount only the kernel's flags
 * change.
 */
#include "bin/roles.h"
#include "base/buf.h"
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const ours[] = {"data", "server", "conf", "grace"}; /* as --data ... */
enum { DATA, SERVER, OURS = sizeof ours / sizeof ours[0] };

struct wanted {
    struct buf options, own[OURS];
    bool again; /* remount */
    unsigned long flags;
};

/* What mount -o remount can change of a mount that is there: the kernel's own flags. */
static const struct {
    const char *name;
    unsigned long flag;
} flags[] = {{"ro", MS_RDONLY},        {"nosuid", MS_NOSUID},     {"nodev", MS_NODEV},
             {"noexec", MS_NOEXEC},    {"noatime", MS_NOATIME},   {"nodiratime", MS_NODIRATIME},
             {"sync", MS_SYNCHRONOUS}, {"relatime", MS_RELATIME}, {"strictatime", MS_STRICTATIME}};

static unsigned long flag_of(struct str o)
{
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (str_eq(o, str_of(flags[i].name)))
            return flags[i].flag;
    return 0;
}

static bool is_for_mount(struct str o)
{
    static const char *const known[] = {"auto",  "noauto",  "user",   "users",    "owner",
                                        "group", "_netdev", "nofail", "defaults", "rw"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_eq(o, str_of(known[i])))
            return true;
    return str_starts(o, STR("x-")) || str_starts(o, STR("comment="));
}

static void take_option(struct wanted *w, struct str o)
{
    if (!o.n || is_for_mount(o))
        return;
    if (str_eq(o, STR("remount"))) {
        w->again = true;
        return;
    }
    w->flags |= flag_of(o);
    for (size_t i = 0; i < OURS; i++) {
        size_t n = strlen(ours[i]);
        if (o.n > n && o.p[n] == '=' && !memcmp(o.p, ours[i], n)) {
            buf_reset(&w->own[i]);
            buf_str_add(&w->own[i], str_from(o, n + 1));
            return;
        }
    }
    if (w->options.n)
        buf_u8(&w->options, ',');
    buf_str_add(&w->options, o);
}

static void done(struct wanted *w)
{
    buf_done(&w->options);
    for (size_t i = 0; i < OURS; i++)
        buf_done(&w->own[i]);
}

static void take_options(struct wanted *w, const char *list)
{
    for (const char *end; *list; list = *end ? end + 1 : end) {
        end = strchrnul(list, ',');
        take_option(w, str_mk(list, (size_t)(end - list)));
    }
}

/* What it has stays, so that nobody who says only "ro" takes nosuid away; "rw" takes "ro" away. */
static int mount_again(struct wanted *w, const char *dir)
{
    const unsigned long stays = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
    struct statvfs is; /* its flags are those of mount(2) */
    int r = statvfs(dir, &is);
    if (r == 0)
        r = mount("none", dir, NULL, MS_REMOUNT | w->flags | (is.f_flag & stays), NULL);
    if (r < 0)
        fprintf(stderr, "mount.fuse.forebay: %s cannot be mounted anew: %m\n", dir);
    done(w);
    return r < 0 ? CLI_FAILED : CLI_OK;
}

int role_mount_helper(int argc, char **argv)
{
    struct wanted w = {0};
    const char *source = NULL, *dir = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-o") && i + 1 < argc)
            take_options(&w, argv[++i]);
        else if (argv[i][0] == '-') /* -s -f -n -v: nothing to do with us */
            continue;
        else if (!source)
            source = argv[i];
        else
            dir = argv[i];
    }
    if (!dir) {
        fprintf(stderr, "usage: mount.fuse.forebay forebay:/PATH DIR [-o OPTIONS]\n");
        return CLI_USAGE;
    }
    if (w.again)
        return mount_again(&w, dir);
    const char *colon = strchr(source, ':'), *path = colon ? colon + 1 : source[0] == '/' ? source : "/";
    char *words[6 + 2 + 2 * OURS] = {"forebay", "fuse", "mount", (char *)dir, "--path", (char *)(path[0] ? path : "/")};
    int n = 6;
    if (w.options.n) {
        words[n++] = "-o";
        words[n++] = w.options.p;
    }
    if (!w.own[DATA].n && !w.own[SERVER].n)
        buf_putz(&w.own[DATA], "/var/lib/forebay");
    char option[OURS][16];
    for (size_t i = 0; i < OURS; i++)
        if (w.own[i].n) {
            snprintf(option[i], sizeof option[i], "--%s", ours[i]);
            words[n++] = option[i];
            words[n++] = w.own[i].p;
        }
    static const struct command *const more[] = {&cmd_fuse_mount, NULL};
    const struct cli_env env = {.program = "mount.fuse.forebay", .more = more};
    int r = cli_main(&env, n, words);
    done(&w);
    return r;
}
