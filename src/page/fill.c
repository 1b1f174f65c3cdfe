/* SPDX-License-Identifier: Apache-2.0
 *
 * One page of a blob that lives in the under store, cached: written, named, visible at once, never synced for its own
 * sake. After a crash it may be torn; its checksums tell, and it is read again from where it came.
 */
#include "page/store.h"

static bool there(struct page_store *s, uint64_t blob, uint32_t index)
{
    struct shard *sh = page_shard(s, blob);
    LOCKED(&sh->lock);
    return page_idx_find(sh, blob, index) != NULL;
}

static void checksums(const char *p, uint32_t n, uint32_t *crc)
{
    for (uint32_t at = 0; at < n; at += PG_CRC_BLOCK)
        crc[at / PG_CRC_BLOCK] = crc32c(0, p + at, n - at < PG_CRC_BLOCK ? n - at : PG_CRC_BLOCK);
}

static int put_slot(struct dir *d, const struct record *r, struct place *ret)
{
    static const char zeros[PG_BLOCK];
    uint32_t len = r->page.len, pad = (PG_BLOCK - len % PG_BLOCK) % PG_BLOCK;
    struct iovec v[2] = {{(void *)r->p, len}, {(void *)zeros, pad}};
    struct place at;
    TRY(page_bulk_take(d, pg_class(len), r->page.blob, r->page.index, r->st, true, false, &at));
    int e = page_io_write(at.seg, v, pad ? 2 : 1, page_seg_payload(at.seg, at.pos));
    if (e == 0)
        e = page_bulk_head(&at, r);
    if (e < 0) {
        page_place_free(&at, len, r->st);
        return e;
    }
    *ret = at;
    return 0;
}

static int put(struct page_store *s, struct dir *d, const struct record *r)
{
    struct place at;
    TRY(r->page.len <= PG_SMALL_MAX ? page_small_append(d, r, false, &at) : put_slot(d, r, &at));
    if (page_entry_insert(s, &at, &r->page, r->st, false) < 0)
        page_place_free(&at, r->page.len, r->st); /* somebody cached it meanwhile */
    return 0;
}

int page_fill(struct page_store *s, uint64_t blob, uint64_t content, uint32_t index, const void *p, size_t n, bool pin)
{
    uint32_t crc[PG_CRCS_MAX];
    CHECK(n <= s->page_size, "a page of %zu bytes", n);
    if (s->o.read_only)
        return err_set(ERR_READ_ONLY, "the page store is open for checking only");
    if (!n || there(s, blob, index))
        return 0;
    TRY(FAULT(PAGE_FILL));
    TRACE("page.fill", blob, index);
    uint64_t need = page_space_need(s, n);
    TRY(page_space_reserve(s, pin, need, 0));
    struct dir *d = page_space_dir(s, NULL, need);
    int r = d ? 0 : err_set(ERR_IO, "every directory of the page store is set aside");
    if (d) {
        checksums(p, (uint32_t)n, crc);
        struct record rec = {{blob, content, clock_wall_ms(), 0, index, (uint32_t)n},
                             pin ? PAGE_PINNED : PAGE_EVICTABLE,
                             crc,
                             p,
                             pin ? ST_PINNED : ST_CLEAN};
        r = put(s, d, &rec);
        page_space_dir_return(d, need);
    }
    page_space_return(s, pin, need);
    return r;
}
