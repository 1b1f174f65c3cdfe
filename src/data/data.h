/* SPDX-License-Identifier: Apache-2.0
 *
 * Between names and bytes, for those who have both (the door and the background jobs): contents are read from pages
 * and, where pages are missing, from the object that backs them; names the namespace does not know are asked of the UFS
 * and loaded; contents are sent to the UFS.
 *
 * Nothing here is kept but a few notes on listings under way; no lock is held across I/O. Threads: all calls from any.
 */
#pragma once
#include "meta/meta.h"
#include "page/page.h"

struct data;
struct data_options {
    struct meta *meta;
    struct page_store *pages;
    uint32_t page_size;      /* as the page store's; 0: 1 MiB */
    uint64_t reader_hold_ms; /* forebay.reader.hold; 0: readers there is no room for are cut at once */
};
int data_new(const struct data_options *o, struct data **ret);
struct data *data_free(struct data *d); /* NULL is fine; returns NULL */

/* ---- bytes ---- */

struct data_sink {
    int (*range)(void *arg, const struct page_range *r); /* NULL: bytes only */
    int (*bytes)(void *arg, const void *p, size_t n);
    void *arg;
};
/* Bytes [off, off+n) of a content, in order, to sink; missing pages are fetched and cached (fill) or just passed on.
 * The content is held by the caller (meta_hold). verify: blocks are checked whatever was checked before. ERR_STALE: the
 * object that backs a missing page has changed; ERR_CORRUPT, ERR_UNREACHABLE ... what was given until then stays given.
 */
int data_read(struct data *d, uint64_t content, uint64_t off, uint64_t n, const struct data_sink *sink, bool fill,
              bool verify);
/* The same of a part of one extent, which lies at `at` of the content; missing pages are fetched and cached. */
int data_read_extent(struct data *d, uint64_t content, const struct extent *e, uint64_t at, uint64_t off, uint64_t n,
                     const struct data_sink *sink);
/* How many bytes of a content are in the page store. */
int data_cached(struct data *d, uint64_t content, uint64_t *ret_bytes);
/* Bring every page of a content here and pin it: its backing is about to go. */
int data_materialize(struct data *d, uint64_t content);
/* Its pages may be evicted now, as far as nobody else needs them. */
int data_unpin(struct data *d, uint64_t content);
/* Evict its clean pages; *ret_bytes grows. */
int data_evict(struct data *d, uint64_t content, uint64_t *ret_bytes);

/* ---- names ---- */

enum { DATA_POSIX = META_POSIX, DATA_NO_LOAD = 2, DATA_FRESH = 4 /* ask the UFS again whatever was known */ };
/* meta_lookup, with what is not known asked of the UFS and loaded: state is FOUND or ABSENT, never UNKNOWN (but with
 * DATA_NO_LOAD). What is hidden while somebody changes it is waited for, a while: ABSENT and claimed is still not
 * known. ERR_UNREACHABLE when the UFS must be asked and cannot. */
int data_lookup(struct data *d, uint64_t dir, struct str path, unsigned flags, struct meta_found *ret);
/* Load the keys of (after, ...) below a directory that start with prefix: about one page of the UFS's listing. *bound:
 * the namespace is complete up to this key (relative to the directory) unless !*ret_more, then to the end. */
int data_load_page(struct data *d, uint64_t dir, struct str path, struct str prefix, struct str after, char delimiter,
                   struct buf *bound, bool *ret_more);
/* Load all direct children (deep: all below) of a directory and note it complete. */
int data_load_dir(struct data *d, uint64_t dir, struct str path, bool deep);

/* ---- sending ---- */

struct data_put {
    struct ufs *ufs;
    const char *key, *etag;
    uint64_t content, size, mtime_ms;
    struct str pairs;
    const char *if_match;
    bool if_none_match;
};
/* The content becomes the object at key, blocks verified on the way, in parts as it was uploaded where these are equal.
 */
int data_put(struct data *d, const struct data_put *p, struct ufs_stat *ret);
/* Pairs as the UFS takes them: without what only we keep. Points into pairs; free() *ret. */
size_t data_ufs_pairs(struct str pairs, struct ufs_pair **ret);

/* An upload that passes through ends without an object: under a claim on its key, waited for wait_ms, the store drops
 * it and then its rows go. ERR_NO_UPLOAD when it ended meanwhile; ERR_BUSY, ERR_UNREACHABLE ...: it stays, try again.
 */
int data_upload_abort(struct data *d, uint64_t dir, struct str path, const unsigned char id[16], unsigned wait_ms);

/* ---- before an object goes ---- */

/* The object that backs a content is about to be overwritten or deleted: whoever still needs its bytes and has no
 * object of its own (borrowers, readers of this process) gets them into the page store, pinned. ERR_NO_SPACE,
 * ERR_UNREACHABLE ...: not yet. Readers there is no room for are waited for (ERR_NO_SPACE) until they have read for
 * reader_hold_ms, not at all if hurry (a client waits for the change); then what they have not read yet is lost to
 * them, and they are counted. */
int data_protect(struct data *d, uint64_t content, bool hurry);
uint64_t data_readers_cut(const struct data *d);
