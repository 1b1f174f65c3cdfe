/* SPDX-License-Identifier: Apache-2.0
 *
 * The page store: blobs (immutable byte strings with a minted 64-bit id) kept as pages in segment files on local disks.
 *
 * A blob is written once, from offset 0, by one writer, in pages of page_size bytes (the last may be shorter); or page
 * by page by page_fill when it caches what the UFS holds. Each page is a record: in a *small* segment (a log) up to 64
 * KiB, in a *bulk* segment (slots of 128, 256, 512 KiB or page_size) above. Every 16 KiB block has a CRC32C.
 *
 * States of a page, and who moves it:
 *     reserved -> written (page_append) -> sealed (page_seal: durable) -> dropped (page_drop)
 *     pinned: its only copy is here; born so unless filled from the UFS; never evicted under any pressure.
 *     unpinned (page_unpin): persisted; may be evicted when no range of it is held.
 *     unknown: found at start, until page_known() says what the metadata thinks of its blob; not evictable,
 *              not counted as pinned.
 * Held ranges (struct page_range) are neither evicted nor reused until released, dropped or not.
 *
 * What survives a crash after return: page_seal: power loss, on every disk it used. page_drop, page_unpin: nothing; the
 * caller's metadata is the truth and is told again by the walk after a start.
 *
 * Memory: at most 40 bytes a page in the index (a page above 64 KiB: 56), 128 KiB a writer, one descriptor per segment.
 *
 * Threads: all functions from any thread; a writer by one thread at a time. No lock is held across I/O.
 * Errors: ERR_NO_SPACE (with the property to change in its detail), ERR_IO (a disk failed: that directory is set aside,
 * probed and taken back by itself; others serve), ERR_NOT_CACHED, ERR_CORRUPT (a checksum failed: the page is dropped
 * if it is not pinned), ERR_BUSY (another process owns the directory).
 */
#pragma once
#include "base/str.h"
#include <sys/types.h>

struct page_store;
struct page_writer;

struct page_dir_spec {
    const char *path; /* one directory per disk, made if absent */
    uint64_t bytes;   /* how much of it may be used */
};

struct page_options {
    const struct page_dir_spec *dirs;
    size_t dir_count;
    uint32_t page_size;  /* bytes, power of two, 128 KiB..4 MiB; default 1 MiB */
    double pinned_ratio; /* 0..1: share of the capacity that pinned pages may take */
    bool verify_always;  /* verify blocks at every read, not only the first after write or start */
    uint64_t keep_free;  /* bytes left free on each disk for others (the KV) */
    bool read_only;      /* fsck: change nothing on disk, still needs the lock */
};

/* Open or create. Takes a lock file in each directory (ERR_BUSY when another process has it). Recovers: every sealed
 * and every intact unsealed record found is *unknown*. A directory that fails is set aside; all failing is an error. */
int page_open(const struct page_options *o, struct page_store **ret);
struct page_store *page_close(struct page_store *s); /* syncs; no writer, range or reader may be left */

/* ---- writing ---- */

enum page_birth {
    PAGE_PINNED,   /* only copy: counts against the pinned region */
    PAGE_EVICTABLE /* the UFS has it or will before the caller acknowledges; evictable once unpinned by birth */
};

/* Start a blob. size_hint: bytes expected, reserved at once so that lack of space is found early (0: unknown; space is
 * then reserved page by page). content: id of the metadata object it is written for, kept in each record. Evicts clean
 * pages to make room; waits up to deadline_ns (clock_mono_ns; 0: not at all) for unknown pages to become known, else
 * ERR_NO_SPACE. */
int page_write_begin(struct page_store *s, uint64_t blob, uint64_t content, enum page_birth birth, uint64_t size_hint,
                     uint64_t deadline_ns, struct page_writer **ret);
/* Append n bytes. On failure the writer can only be aborted. */
int page_append(struct page_writer *w, const void *p, size_t n);
/* End of the blob: the rest is written and everything is durable on return (one shared sync per disk for all that
 * wait). The writer is freed in every case; on failure the blob is gone. */
int page_seal(struct page_writer *w);
/* As page_seal but without waiting for the disk: survives the death of the process; page_sync() makes it durable. */
int page_seal_lazy(struct page_writer *w);
/* Give up: its space is free again. The writer is freed. NULL is fine. */
void page_abort(struct page_writer *w);
uint64_t page_written(const struct page_writer *w); /* bytes appended so far */

/* Sync all lazily sealed records. */
int page_sync(struct page_store *s);

/* Cache one page of a blob that lives in the UFS: index counts pages of page_size; n <= page_size, shorter only for the
 * blob's last page. Not durable, not pinned unless pin. Room is found by eviction; ERR_NO_SPACE is not a failure of the
 * read it serves. A page that is already there is left alone (0). */
int page_fill(struct page_store *s, uint64_t blob, uint64_t content, uint32_t index, const void *p, size_t n, bool pin);

/* ---- reading ---- */

/* A held piece of a page: fd and offset for pread. (sendfile(2) would go on referring to the page cache
 * after the range is released and reused: copy.) */
struct page_range {
    int fd;
    off_t off;
    size_t n;
    void *hold; /* the store's */
};

/* The longest piece that starts at off of the blob and lies in one page, at most n bytes, verified as the options say.
 * ERR_NOT_CACHED when that page is not here; ERR_CORRUPT when its blocks do not match (counted; dropped unless pinned).
 */
int page_hold(struct page_store *s, uint64_t blob, uint64_t off, size_t n, struct page_range *ret);
void page_release(struct page_store *s, struct page_range *r); /* r->hold NULL is fine */
/* Copy n bytes at off into p, all or an error; always verifies the blocks when verify. */
int page_read(struct page_store *s, uint64_t blob, uint64_t off, void *p, size_t n, bool verify);
/* Is every page of bytes [off, off+n) here? */
bool page_has(struct page_store *s, uint64_t blob, uint64_t off, uint64_t n);

/* ---- state ---- */

/* The metadata's word after a commit that is durable: the blob (bytes long) is persisted and may be evicted / must
 * stay. Pinning fails with ERR_NOT_CACHED when a page of it is not here, ERR_NO_SPACE when the pinned region is full
 * (force pins over the limit). No-op for a blob in that state. What page_pin pinned is durable after the next
 * page_sync(). */
void page_unpin(struct page_store *s, uint64_t blob, uint64_t bytes);
int page_pin(struct page_store *s, uint64_t blob, uint64_t bytes, bool force);
/* Forget the blob; space that no range holds is free at once. Unknown blobs too. */
void page_drop(struct page_store *s, uint64_t blob, uint64_t bytes);
/* Evict the clean pages of a blob (job free); pinned, unknown and held pages stay. Returns the bytes freed. */
uint64_t page_evict(struct page_store *s, uint64_t blob, uint64_t bytes);

/* ---- the walk after a start ---- */

enum page_verdict {
    PAGE_KEEP_PINNED,
    PAGE_KEEP_CLEAN,
    PAGE_DROP,
    PAGE_SKIP /* still unknown: ask again at the next walk */
};
struct page_blob {
    uint64_t blob, content, birth_ms, bytes; /* bytes: sum of its pages here */
    uint32_t pages;
    bool unknown;
};
/* Visit every blob that is unknown (all: every blob that is not being written), in no order, without a lock held during
 * fn; batches of up to n blobs are handed over so that the caller asks the metadata once for all: fn fills verdict[i].
 * fn stops the walk with non-zero, which is returned. */
int page_walk(struct page_store *s, bool all, size_t n,
              int (*fn)(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict), void *arg);
/* All that was found at start has a verdict: reservations that waited go on. */
void page_walk_done(struct page_store *s);

/* ---- upkeep and figures ---- */

/* One round of cleaning, recycling and probing of failed directories; false when nothing was left to do. The store runs
 * its own background thread for this unless page_options says read_only. */
bool page_upkeep(struct page_store *s);

struct page_figures {
    uint64_t capacity, pinned_limit;           /* bytes */
    uint64_t pinned, evictable, unknown, free; /* bytes; pinned includes reservations */
    uint64_t pages, blobs, segments, dirs, dirs_failed;
    uint64_t evicted_bytes, cleaned_bytes, corrupt, hits, hit_bytes, syncs;
};
void page_figures(struct page_store *s, struct page_figures *ret);
struct page_dir_figures {
    const char *path;
    uint64_t bytes, used;
    bool failed;
    const char *reason; /* why it is set aside; constant or owned by the store */
};
size_t page_dir_count(struct page_store *s);
void page_dir_figures(struct page_store *s, size_t i, struct page_dir_figures *ret);

/* Check every rule the store relies on (index against segments, counters against sums): 0, or ERR_CORRUPT after telling
 * each breach to say. verify: also read and check every block. */
int page_check(struct page_store *s, bool verify, void (*say)(void *arg, const char *line), void *arg);
