/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing an instance (contract and files in instance.h).
 */
#include "bin/instance.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "bin/files.h"
#include "bin/lock.h"
#include "conf/conf.h"
#include "conf/dirs.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "page/page.h"
#include <string.h>
#include <sys/stat.h>

enum { DEFAULT_GB = 10 };

/* Options of mounts lie in the metadata as they were given, files in the page store: whatever the modes were before. */
static void only_for_us(const char *dir)
{
    if (chmod(dir, 0700) != 0)
        log_warn(
            "data.mode",
            "dir=%s error=\"%s\" meaning=\"other users may read secrets of mounts and the files themselves there\" "
            "action=\"make the user who runs this its owner\"",
            dir, strerror(errno));
}

/* ---- page store ---- */

/* What a directory may hold when nothing was said: 10 GB, or what its disk has if that is less. */
static int default_size(const char *dir, uint64_t keep_free, uint64_t *ret)
{
    uint64_t want = (uint64_t)DEFAULT_GB << 30, room, used;
    TRY(files_make_dir(dir));
    TRY(files_disk_room(dir, &room));
    used = files_tree_bytes(dir);
    uint64_t have = room + used > keep_free ? room + used - keep_free : 0;
    if (have < (uint64_t)64 << 20)
        return err_set(
            ERR_NO_SPACE,
            "the disk of %s has only %llu MB to give besides the %llu MB of forebay.page.keep.free: free some, or "
            "set alluxio.worker.page.store.dirs and .sizes",
            dir, (unsigned long long)((room + used) >> 20), (unsigned long long)(keep_free >> 20));
    *ret = have < want ? have : want;
    if (*ret < want)
        log_warn("page.size",
                 "dir=%s bytes=%llu meaning=\"the disk has no %d GB: the cache is smaller\" "
                 "action=\"set alluxio.worker.page.store.sizes\"",
                 dir, (unsigned long long)*ret, DEFAULT_GB);
    return 0;
}

/* A disk so small that the default would leave nothing keeps a twentieth of itself free instead. */
static uint64_t keep_free(const struct conf *c, const char *dir)
{
    uint64_t want = conf_size(c, PROP_PAGE_KEEP_FREE), all;
    if (conf_is_set(c, PROP_PAGE_KEEP_FREE) || files_make_dir(dir) < 0 || files_disk_size(dir, &all) < 0)
        return want;
    return want < all / 20 ? want : all / 20;
}

static int fill_specs(const struct conf_dirs *d, uint64_t keep, struct page_dir_spec *spec)
{
    for (size_t i = 0; i < d->n; i++) {
        spec[i] = (struct page_dir_spec){d->dir[i].path, d->dir[i].bytes};
        if (!spec[i].bytes)
            TRY(default_size(spec[i].path, keep, &spec[i].bytes));
    }
    return 0;
}

static int open_dirs(struct instance *in, const struct conf_dirs *d, bool check_only)
{
    struct page_dir_spec *spec = mem_zero(d->n, sizeof *spec);
    struct page_options o = {.dirs = spec,
                             .dir_count = d->n,
                             .page_size = (uint32_t)conf_size(in->conf, PROP_PAGE_SIZE),
                             .pinned_ratio = conf_double(in->conf, PROP_PINNED_RATIO),
                             .verify_always = conf_enum(in->conf, PROP_PAGE_VERIFY) == 1,
                             .keep_free = keep_free(in->conf, d->dir[0].path),
                             .read_only = check_only};
    int r = fill_specs(d, o.keep_free, spec);
    if (r == 0)
        r = page_open(&o, &in->pages);
    free(spec);
    return r;
}

static int open_pages(struct instance *in, bool check_only)
{
    struct conf_dirs d = {0};
    TRY(conf_page_dirs(in->conf, in->dir, &d));
    int r = open_dirs(in, &d, check_only);
    conf_dirs_done(&d);
    return r;
}

/* ---- metadata ---- */

static int sync_pages(void *pages)
{
    return page_sync(pages);
}

/* What was set for under file systems holds for every mount that does not say otherwise itself. */
struct ufs_defaults {
    const struct conf *conf;
    struct buf text;
};

static int add_ufs_default(void *arg, const struct conf_item *it)
{
    static const char *const prefixes[] = {"s3a.", "alluxio.underfs.", "forebay.ufs."};
    struct ufs_defaults *d = arg;
    for (size_t i = 0; it->is_set && i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(it->name, prefixes[i], strlen(prefixes[i])) == 0)
            buf_printf(&d->text, "%s=%s\n", it->name, conf_string(d->conf, it->prop));
    return 0;
}

static int open_meta(struct instance *in, bool check_only)
{
    struct buf dir AUTO_BUF = {0};
    const char *set = conf_string(in->conf, PROP_KV_DIR);
    if (set[0])
        buf_putz(&dir, set);
    else
        buf_printf(&dir, "%s/meta", in->dir);
    TRY(files_make_dir(dir.p));
    only_for_us(dir.p);
    struct kv_options o = {.dir = dir.p,
                           .cache_bytes = conf_size(in->conf, PROP_KV_CACHE),
                           .accept_loss = conf_bool(in->conf, PROP_KV_ACCEPT_LOSS),
                           .before_sync = sync_pages,
                           .before_sync_arg = in->pages};
    int r = kv_open(&kv_engine_rocksdb, &o, &in->kv);
    if (r < 0)
        return err_prefix(r, "the metadata store %s cannot be opened: ", dir.p);
    if (o.accept_loss)
        log_warn("meta.accept.loss",
                 "meaning=\"lost changes of the metadata are not looked for at this start\" action=\"unset %s\"",
                 conf_name(PROP_KV_ACCEPT_LOSS));
    struct ufs_defaults d = {in->conf, {0}};
    conf_each(in->conf, add_ufs_default, &d);
    struct meta_options m = {.kv = in->kv,
                             .deadline_ms = conf_ms(in->conf, PROP_UFS_DEADLINE),
                             .sync_ms = conf_ms(in->conf, PROP_METADATA_SYNC_INTERVAL),
                             .write_cache = conf_bool(in->conf, PROP_WRITE_CACHE_ENABLED),
                             .read_only = check_only,
                             .allowed_roots = conf_string(in->conf, PROP_UFS_ROOTS),
                             .ufs_defaults = d.text.p};
    r = meta_open(&m, &in->meta);
    buf_done(&d.text);
    return r;
}

/* ---- files of the directory ---- */

static void make_worker_id(char out[48])
{
    char id[UUID_TEXT];
    uuid_new(id);
    snprintf(out, 48, "worker-%s", id);
}

static int read_worker_id(struct instance *in)
{
    struct buf file AUTO_BUF = {0}, text AUTO_BUF = {0};
    buf_printf(&file, "%s/worker.id", in->dir);
    int r = files_read(file.p, 1000, &text);
    if (r == 0 && text.n > 8) {
        snprintf(in->worker_id, sizeof in->worker_id, "%.*s", (int)strcspn(text.p, "\n"), text.p);
        return 0;
    }
    make_worker_id(in->worker_id);
    buf_printf(&text, "%s\n", in->worker_id);
    return files_write(file.p, buf_str(&text));
}

/* Properties syntax: a backslash is doubled; keys hold nothing that matters to it. */
static int save_item(void *arg, const struct conf_item *it)
{
    struct buf *b = arg;
    if (!it->is_set || it->type == CONF_SECRET)
        return 0;
    buf_printf(b, "%s=", it->name);
    for (const char *p = it->value; *p; p++)
        buf_printf(b, *p == '\\' ? "\\\\" : "%c", *p);
    buf_putz(b, "\n");
    return 0;
}

static int save_conf(struct instance *in)
{
    struct buf file AUTO_BUF = {0}, text AUTO_BUF = {0};
    buf_putz(&text, "# What was set for the last start. Written by it; changing this file changes nothing.\n");
    conf_each(in->conf, save_item, &text);
    buf_printf(&file, "%s/instance.properties", in->dir);
    return files_write(file.p, buf_str(&text));
}

char *instance_saved_conf(const char *dir)
{
    struct buf file = {0};
    buf_printf(&file, "%s/instance.properties", dir);
    if (access(file.p, R_OK) == 0)
        return buf_take(&file, NULL);
    buf_done(&file);
    return NULL;
}

static int take_dir(struct instance *in, bool check_only)
{
    struct buf file AUTO_BUF = {0};
    buf_printf(&file, "%s/instance.lock", in->dir);
    if (check_only && access(file.p, F_OK) != 0)
        return err_set(ERR_NOT_FOUND, "there is no instance in %s: name its data directory with --data", in->dir);
    TRY(files_make_dir(in->dir));
    if (!check_only)
        only_for_us(in->dir);
    return lock_file(file.p, &in->lock_fd);
}

/* ---- life ---- */

static int open_all(struct instance *in, bool check_only)
{
    TRY(take_dir(in, check_only));
    if (!check_only) {
        TRY(read_worker_id(in));
        TRY(save_conf(in));
    }
    TRY(open_pages(in, check_only));
    return open_meta(in, check_only);
}

int instance_open(const struct instance_options *o, struct instance **ret)
{
    struct instance *in = MEM_NEW(struct instance);
    in->dir = str_dup(str_of(o->dir));
    in->conf = o->conf;
    in->lock_fd = -1;
    int r = open_all(in, o->check_only);
    if (r < 0)
        instance_close(in);
    else
        *ret = in;
    return r;
}

struct instance *instance_close(struct instance *in)
{
    if (!in)
        return NULL;
    meta_close(in->meta);
    kv_close(in->kv);
    page_close(in->pages);
    conf_free(in->conf);
    if (in->lock_fd >= 0)
        close(in->lock_fd);
    free(in->dir);
    free(in);
    return NULL;
}
