/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of an upload that passes through, asked for by a client or by its expiry.
 *
 * The claim on the object's key keeps Complete and abort of one upload apart: whoever has it finds the upload's row as
 * it is, and only it removes the row. The store drops the upload first: a crash before the row goes leaves a row whose
 * abort or Complete the store answers with "no such upload".
 */
#include "data/data_in.h"

static int claim(struct data *d, struct meta_claim *c, unsigned wait_ms)
{
    uint64_t until = clock_mono_ms() + wait_ms;
    for (uint64_t wait = 1;; wait = wait < 50 ? wait * 2 : 50) {
        int r = meta_claim(d->meta, c);
        if (r != ERR_BUSY || clock_mono_ms() >= until)
            return r;
        meta_kick(d->meta, 0);
        clock_sleep_ms(wait);
    }
}

static int drop_there(struct data *d, const struct meta_claim *c, const struct upload *u)
{
    struct ufs *ufs;
    char id[1100];
    snprintf(id, sizeof id, "%.*s", STR_ARG(u->ufs));
    struct meta_mount *mt = meta_mount_get(d->meta, c->mount);
    if (!mt)
        return err_set(ERR_NO_BUCKET, "there is no such bucket");
    int r = meta_mount_ufs(d->meta, mt, &ufs);
    if (r == 0)
        r = ufs_mpu_abort(ufs, str_of(c->key), id);
    meta_mount_put(d->meta, mt);
    return r;
}

int data_upload_abort(struct data *d, uint64_t dir, struct str path, const unsigned char id[16], unsigned wait_ms)
{
    struct meta_claim c = {.dir = dir, .path = path, .kind = CLAIM_PUT};
    struct buf strings AUTO_BUF = {0};
    struct upload u;
    char why[300];
    TRACE("data.upload_abort", dir, path.n);
    TRY(claim(d, &c, wait_ms));
    int r = meta_upload_get(d->meta, dir, path, id, &u, &strings);
    if (r == 0)
        r = drop_there(d, &c, &u);
    if (r == 0)
        r = meta_upload_abort(d->meta, dir, path, id);
    snprintf(why, sizeof why, "%s", r < 0 ? err_detail(r) : "");
    int back = meta_unclaim(d->meta, &c, false, 0);
    return r < 0 ? err_set(r, "%s", why) : back;
}
