/* SPDX-License-Identifier: Apache-2.0
 *
 * The doctor's look at directories and disks: who owns them, what file system they are on, how much room there is, and
 * whether a durable write takes as long as one must.
 */
#include "base/clock.h"
#include "base/err.h"
#include "bin/doctor.h"
#include "bin/files.h"
#include "conf/conf.h"
#include "conf/dirs.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { SYNCS = 15, TOO_FAST_US = 15, TOO_SLOW_US = 20000 };

/* ---- file systems ---- */

static const struct fs_kind {
    long magic;
    const char *name, *cause; /* cause: why it is no good place; NULL: it is one */
} fs_kinds[] = {
    {0xEF53, "ext4", NULL},
    {0x58465342, "xfs", NULL},
    {0x9123683E, "btrfs", "it copies on every write, which makes durable small writes slow"},
    {0x2fc12fc1, "zfs", "it copies on every write, which makes durable small writes slow"},
    {0x01021994, "tmpfs", "it is memory: everything is lost when this machine stops"},
    {0x858458f6, "ramfs", "it is memory: everything is lost when this machine stops"},
    {0x794c7630, "overlay", "it is a container's own layer: everything is lost with the container"},
    {0x6969, "nfs", "it is on another machine: what is acknowledged is as safe as that one's promises"},
    {0xFF534D42, "cifs", "it is on another machine: what is acknowledged is as safe as that one's promises"},
    {0x00c36400, "ceph", "it is on other machines: durable writes take a network round trip"},
    {0x65735546, "fuse", "what a durable write means there is up to the program behind it"},
};

static void look_at_kind(const char *dir, json_t *f)
{
    struct statfs s;
    if (statfs(dir, &s) != 0)
        return;
    for (size_t i = 0; i < sizeof fs_kinds / sizeof fs_kinds[0]; i++)
        if ((long)s.f_type == fs_kinds[i].magic && fs_kinds[i].cause)
            doctor_say(f, DOCTOR_WARN, "disk.kind", fs_kinds[i].cause,
                       "put it on ext4 or xfs on a local disk: forebay.data.dir, alluxio.worker.page.store.dirs",
                       "%s is on %s", dir, fs_kinds[i].name);
}

/* ---- how long a durable write takes ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int time_syncs(int fd, uint64_t us[SYNCS])
{
    char block[4096];
    memset(block, 7, sizeof block);
    for (int i = 0; i < SYNCS; i++) {
        uint64_t start = clock_mono_ns();
        if (pwrite(fd, block, sizeof block, 0) != sizeof block || fdatasync(fd) != 0)
            return err_set(err_from_errno(errno), "%s", strerror(errno));
        us[i] = (clock_mono_ns() - start) / 1000;
    }
    qsort(us, SYNCS, sizeof us[0], by_value);
    return 0;
}

static void look_at_syncs(const char *dir, json_t *f)
{
    struct buf file AUTO_BUF = {0};
    uint64_t us[SYNCS] = {0};
    buf_printf(&file, "%s/doctor-XXXXXX", dir);
    int fd AUTO_CLOSE = mkostemp(file.p, O_CLOEXEC);
    if (fd < 0) {
        doctor_say(f, DOCTOR_FAIL, "disk.write", strerror(errno), "let the user of this process write there",
                   "%s cannot be written to", dir);
        return;
    }
    int r = time_syncs(fd, us);
    unlink(file.p);
    uint64_t half = us[SYNCS / 2];
    if (r < 0)
        doctor_say(f, DOCTOR_FAIL, "disk.sync", err_detail(r), "look at the kernel's log and at the space of the disk",
                   "a durable write in %s failed", dir);
    else if (half < TOO_FAST_US)
        doctor_say(f, DOCTOR_WARN, "disk.sync",
                   "no disk is that fast: it is memory, or a (virtual) disk that does not pass flushes on",
                   "switch the volatile write cache off, or give the virtual machine a cache mode that honours flushes",
                   "a durable write in %s takes %llu us", dir, (unsigned long long)half);
    else if (half > TOO_SLOW_US)
        doctor_say(f, DOCTOR_WARN, "disk.sync", "the disk is slow, or busy", "use an NVMe disk, one for each directory",
                   "a durable write in %s takes %llu us: every PUT waits for one", dir, (unsigned long long)half);
    else
        doctor_say(f, DOCTOR_OK, "disk.sync", "", "", "a durable write in %s takes %llu us", dir,
                   (unsigned long long)half);
}

/* ---- one directory ---- */

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void look_at_parent(const char *dir, json_t *f)
{
    char *at AUTO_FREE = str_dup(str_of(dir)), *slash;
    while (access(at, F_OK) != 0 && (slash = strrchr(at, '/')) && slash != at)
        *slash = 0;
    const char *there = access(at, F_OK) == 0 ? at : strchr(dir, '/') == dir ? "/" : ".";
    if (access(there, W_OK | X_OK) == 0)
        doctor_say(f, DOCTOR_OK, "data", "", "", "%s is not there yet: the first start makes it", dir);
    else
        doctor_say(f, DOCTOR_FAIL, "data", "its parent cannot be written to by this user",
                   "make it and give it to the user Forebay runs as, or name another: forebay.data.dir, --data",
                   "%s is not there and cannot be made", dir);
}

/* Is it there and ours? */
static bool look_at_owner(const char *dir, bool secrets, json_t *f)
{
    struct stat st;
    if (stat(dir, &st) != 0) {
        look_at_parent(dir, f);
        return false;
    }
    if (!is_dir(dir)) {
        doctor_say(f, DOCTOR_FAIL, "data", "a file of that name is in the way", "remove it, or name another directory",
                   "%s is not a directory", dir);
        return false;
    }
    if (st.st_uid != geteuid())
        doctor_say(f, DOCTOR_WARN, "data.owner", "another user owns it",
                   "run the doctor, and Forebay, as the user that owns the directory",
                   "%s belongs to user %u, this is %u", dir, (unsigned)st.st_uid, (unsigned)geteuid());
    if (secrets && (st.st_mode & 077))
        doctor_say(f, DOCTOR_WARN, "data.mode", "secrets of mounts and everybody's data are below it", "chmod 700 it",
                   "other users may look into %s (mode %04o)", dir, (unsigned)(st.st_mode & 07777));
    return true;
}

static void look_at_room(const char *dir, uint64_t want, uint64_t keep, json_t *f)
{
    uint64_t room = 0, all = 0;
    if (files_disk_room(dir, &room) < 0 || files_disk_size(dir, &all) < 0)
        return;
    uint64_t have = room + files_tree_bytes(dir);
    if (keep > all / 20)
        keep = all / 20;
    if (want && have < want)
        doctor_say(f, DOCTOR_FAIL, "disk.room", "others use the disk, or the size is larger than it",
                   "lower alluxio.worker.page.store.sizes, or free space", "%s may grow to %s, but has %s", dir,
                   doctor_size(want), doctor_size(have));
    else if (room < keep)
        doctor_say(f, DOCTOR_WARN, "disk.room", "the disk is nearly full", "free space: the metadata needs some, too",
                   "the disk of %s has %s left", dir, doctor_size(room));
    else
        doctor_say(f, DOCTOR_OK, "disk.room", "", "", "%s has room: %s are free on its disk", dir, doctor_size(room));
}

/* ---- all ---- */

static void look_at_sharing(const struct conf_dirs *d, json_t *f)
{
    struct stat a, b;
    for (size_t i = 0; i < d->n; i++)
        for (size_t k = 0; k < i; k++)
            if (stat(d->dir[i].path, &a) == 0 && stat(d->dir[k].path, &b) == 0 && a.st_dev == b.st_dev)
                doctor_say(f, DOCTOR_WARN, "disk.shared", "two page directories on one disk fail and wait together",
                           "give each disk one directory in alluxio.worker.page.store.dirs",
                           "%s and %s are on one disk", d->dir[k].path, d->dir[i].path);
}

static void look_at_pages(const struct doctor_host *h, json_t *f)
{
    struct conf_dirs d = {0};
    int r = conf_page_dirs(h->conf, h->data, &d);
    if (r < 0) {
        doctor_say(f, DOCTOR_FAIL, "configuration", err_detail(r), "correct the two properties",
                   "the directories of the page store are not clear");
        return;
    }
    for (size_t i = 0; i < d.n; i++) {
        if (!look_at_owner(d.dir[i].path, false, f))
            continue;
        look_at_kind(d.dir[i].path, f);
        look_at_room(d.dir[i].path, d.dir[i].bytes, conf_size(h->conf, PROP_PAGE_KEEP_FREE), f);
        look_at_syncs(d.dir[i].path, f);
    }
    look_at_sharing(&d, f);
    conf_dirs_done(&d);
}

static void look_at_pem(const struct conf *c, enum conf_prop p, json_t *f)
{
    const char *file = conf_string(c, p);
    if (file[0] && access(file, R_OK) != 0)
        doctor_say(f, DOCTOR_FAIL, "tls", strerror(errno), "name a readable PEM file", "%s: %s cannot be read",
                   conf_name(p), file);
}

void doctor_files(const struct doctor_host *h, json_t *findings)
{
    if (look_at_owner(h->data, true, findings)) {
        look_at_kind(h->data, findings);
        look_at_room(h->data, 0, conf_size(h->conf, PROP_PAGE_KEEP_FREE), findings);
        look_at_syncs(h->data, findings);
    }
    if (access(h->data, F_OK) != 0 || is_dir(h->data)) /* else the pages cannot be there either */
        look_at_pages(h, findings);
    look_at_pem(h->conf, PROP_S3_TLS_CERT, findings);
    look_at_pem(h->conf, PROP_S3_TLS_KEY, findings);
}
