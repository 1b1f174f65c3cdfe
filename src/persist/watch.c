/* SPDX-License-Identifier: Apache-2.0
 *
 * What the prober tells the log: a mount's UFS that went away or came back, a disk that failed or works again. Each is
 * one line when it changes, not one for every request that felt it.
 */
#include "base/log.h"
#include "persist/persist_in.h"

static void with_path(struct persist *p, uint64_t mount, struct buf *ret)
{
    struct meta_mount *mt = meta_mount_get(p->meta, mount);
    if (mt)
        buf_printf(ret, "mount=%s ufs=%s ", mt->path, mt->uri);
    meta_mount_put(p->meta, mt);
}

void persist_tell_away(struct persist *p, uint64_t mount, const char *error)
{
    struct buf who AUTO_BUF = {0};
    with_path(p, mount, &who);
    log_warn(
        "mount.away",
        "%serror=\"%s\" meaning=\"the under file system does not answer; writes are kept here while there is pinned "
        "space\" action=\"none if it comes back; else 'forebay doctor'\"",
        who.p ? who.p : "", error);
}

void persist_tell_back(struct persist *p, uint64_t mount)
{
    struct buf who AUTO_BUF = {0};
    with_path(p, mount, &who);
    log_info("mount.back", "%smeaning=\"the under file system answers; all that waits is sent now\"",
             who.p ? who.p : "");
}

static void tell_disk(const struct page_dir_figures *d)
{
    if (d->failed)
        log_error(
            "page.failed",
            "dir=\"%s\" reason=\"%s\" meaning=\"its disk gave an error: nothing new is written there\" action=\"look "
            "at the kernel's log and the disk; it is taken back by itself when it works\"",
            d->path, d->reason ? d->reason : "");
    else
        log_info("page.back", "dir=\"%s\" meaning=\"the disk works again\"", d->path);
}

void persist_watch_disks(struct persist *p)
{
    for (size_t i = 0; i < page_dir_count(p->pages) && i < sizeof p->disk_failed; i++) {
        struct page_dir_figures d;
        page_dir_figures(p->pages, i, &d);
        if (d.failed != p->disk_failed[i])
            tell_disk(&d);
        p->disk_failed[i] = d.failed;
    }
}
