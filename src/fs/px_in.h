/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the POSIX door: a node for each file this process has open, whatever number of handles it has.
 *
 * A node's bytes, newest first:
 *     pieces   written and still in memory: at most PX_PIECES ranges of PX_FLUSH bytes together
 *     rows     the list of extents: flushed pieces (blobs in the page store) over the content that was published last
 *     content  what everybody else sees; held while the node lives
 * A node that nobody has changed since it was opened is *remote*: it has no rows and is read through its content. The
 * first change makes it *local*: every byte is brought into the page store and pinned, the extents are read.
 *
 *     write -> pieces --flush--> a blob, rows --publish--> content (meta_change)
 *
 * One flush is one blob that holds all pieces, one after another. Blobs that no extent names any more are dropped when
 * the publish that left them out is durable.
 *
 * Locks: px.lock (RANK_FS): the table of nodes and the lists; node.gate: many readers or one writer of a node. The gate
 * is not a lock: it is held across I/O and transactions, which only others on the same file wait for.
 */
#pragma once
#include "base/mem.h"
#include "fs/fs_in.h"
#include "fs/posix.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum {
    PX_FLUSH = 4 << 20,    /* bytes a node keeps in memory before it flushes */
    PX_PIECES = 1024,      /* and ranges */
    PX_ROW = 128,          /* extents of a row made here; rows read may have up to REC_CHUNK */
    PX_MD5_MAX = 16 << 20, /* a file written at once up to this size has its MD5 as ETag */
    PX_NAME_MAX = 255,
    PX_SPACE_WAIT_MS = 5000,
    PX_TICK_MS = 500,
    PX_SEEN = 1 << 14,
    PX_PATHS = 1 << 10
};

struct px_gate {
    struct lock lock; /* RANK_FS + 1 */
    pthread_cond_t cond;
    unsigned readers, waiting;
    bool writer;
};

struct px_piece {
    uint64_t off;
    size_t n, cap;
    char *p;
};

struct px_row {
    uint64_t off;
    struct extent *e;
    size_t n;
    bool write;  /* differs from what is stored */
    bool stored; /* a C row lies at off */
};

struct px_blob {
    uint64_t live, bytes; /* of it that extents name; its length */
    bool shown;           /* a published content names it */
    bool shared;          /* copied by reference since the last publish */
};

struct px_dead {
    uint64_t blob, bytes;
    bool shown; /* a published content named it */
};

/* The extents of a content, where they are few: reads of a node that is not local look there instead of in the KV. Made
 * by the first read (gate held for reading, so by several at once: one wins), never changed. Good for this content and
 * version, which is held. */
struct px_window {
    uint64_t content, version;
    size_t n;
    bool whole; /* false: there are more than fit */
    struct px_seg {
        uint64_t at;
        struct extent e;
    } seg[];
};

struct px_node {
    struct px *px;
    struct fs_px *by; /* the mount that changed it last, px.lock: its publishes are that one's */
    uint64_t ino;
    unsigned refs; /* px.lock */
    struct px_gate gate;

    /* under the gate */
    struct inode i; /* as last read or published; without its strings */
    char base[96];  /* while it is published over somebody else's version: the object this one is based on */
    bool held;      /* i.content is held */
    bool local;
    struct px_row *row;
    size_t rows;
    uint64_t end;   /* how far the rows reach */
    uint64_t holes; /* bytes of them that are holes */
    struct map *blobs;
    _Atomic(struct px_window *) window; /* of reads while nothing is changed */
    uint64_t *unshown;                  /* blobs that came since the last publish; some may have gone again */
    size_t unshown_n;
    uint64_t *lent; /* contents of others, held: what was copied from them is not published yet */
    size_t lent_n;
    bool any_shared;
    struct px_dead *dead;
    size_t dead_n;
    uint64_t *gone; /* offsets of stored rows that are not any more */
    size_t gone_n;
    struct px_piece *piece;
    size_t pieces, buffered;
    uint64_t size;
    bool dirty;     /* something is not published */
    bool replaced;  /* nothing of i.content is left */
    bool rewritten; /* rows name blobs that bytes of the UFS were written to */
    bool lazy_row;  /* i.content has a Z row: it was never durable */
    bool md5_good;
    char md5[33];   /* of the whole file, if it was flushed in one piece */
    uint64_t fresh; /* minted for the next new content; 0: not yet */
    uint64_t mtime_ns;
    uint32_t drop_mode;
    enum meta_policy policy; /* as of policy_generation of px.generation */
    atomic_uint_fast64_t policy_generation;
    uint64_t since_ms;               /* dirty: clock_mono_ms of the first change */
    atomic_uint_fast64_t changed_ms; /* clock_mono_ms of the last change */
    atomic_bool untidy;              /* published with more extents than it needs to have, perhaps */
    unsigned tries;                  /* to make them fewer, since then */
    bool kept;                       /* px.lock: one reference is px_compact.c's */
};

struct fs_px_handle {
    struct fs_px *px;
    struct fs_px_handle *next, **at; /* among those of its mount */
    struct px_node *node;
    int flags;
};

/* What this process saw last of an inode's content, to tell changes by others from its own. */
struct px_seen {
    uint64_t ino, content, version, generation;
};

/* One mount. */
struct fs_px {
    struct fs *fs;
    struct px *e;
    struct fs_px_options o;
    struct lock lock; /* RANK_FS + 2: seen, handles */
    struct fs_px_handle *handles;
    struct px_seen seen[PX_SEEN];
};

/* The absolute path of a directory, with its final '/'. */
struct px_path {
    uint64_t dir, generation, mount;
    char *text;
    size_t n;
};

/* What all mounts of a door share: open files are the same for all. Made with the first of them, gone with the last. */
struct px {
    struct fs *fs;
    unsigned clients; /* fs.px_lock */
    uint64_t publish_ms, quiet_ms, max_age_ms, buffer_max;
    struct lock lock; /* RANK_FS */
    pthread_cond_t wake;
    struct map *nodes; /* ino -> struct px_node */
    struct buf lazy;   /* contents (8 bytes each) to confirm */
    struct px_dead *dead;
    size_t dead_n;
    atomic_uint_fast64_t buffered;
    atomic_uint_fast64_t generation; /* of paths; from 1 */
    struct px_path path[PX_PATHS];
    bool stop;
    pthread_t ticker, tidier;
    pthread_cond_t tidy_wake;
    unsigned kept; /* nodes that are kept open to be compacted */
};

/* This thread acts for px while it is in a call. */
static inline void px_leave(const void **was)
{
    meta_as(*was);
}
#define PX_ENTER(x) const void *px_was_ __attribute__((unused, cleanup(px_leave))) = meta_as(x)

/* ---- px.c ---- */
void px_gate_read(struct px_gate *g);
void px_gate_read_end(struct px_gate *g);
void px_gate_write(struct px_gate *g);
void px_gate_write_end(struct px_gate *g);
/* The node of a file, made if there is none; ERR_STALE when the file is gone. One reference more. */
int px_node_get(struct px *px, uint64_t ino, struct px_node **ret);
/* The node, if the file is open; one reference more. NULL else. */
struct px_node *px_node_find(struct px *px, uint64_t ino);
/* What is unpublished is published with the last reference; the file is forgotten if it has no name. */
int px_node_put(struct px_node *n);
/* Gate held for writing: the record as it is now; a node nobody has changed here shows the content of that. */
int px_node_refresh(struct px_node *n);
void px_note_seen(struct fs_px *px, const struct inode *i, bool own, bool *ret_same, uint64_t *ret_generation);
/* Drop what no extent of the node names any more; in_place false: but not what a published content may name. */
void px_release_dead(struct px_node *n, bool in_place);
void px_drop_later(struct px *px, const struct px_dead *d, size_t n);
void px_confirm_later(struct px *px, uint64_t content);
bool px_unconfirmed(struct px *px, uint64_t content);
/* Everything acknowledged until now survives power loss; what waited for that is done. */
int px_settle(struct px *px);

/* Gate held for writing: the mount the thread acts for changes it. */
void px_by(struct px_node *n);

bool px_stopping(struct px *px);

/* ---- px_compact.c ---- */
/* Gate held for writing: rows that were changed and have too many extents are rewritten. */
void px_compact(struct px_node *n);
/* Gate held for writing, the last reference: it is kept until its extents are few. The reference is not the caller's
 * any more. */
bool px_keep(struct px_node *n);
void *px_tidier(void *px); /* thread */

/* ---- px_attr.c ---- */
void px_fill(struct fs_px *px, const struct meta_stat *s, struct fs_px_stat *ret);
int px_stat_ino(struct fs_px *px, uint64_t ino, struct fs_px_stat *ret);
void px_overlay(struct px_node *n, struct fs_px_stat *ret); /* gate held */
enum meta_fate px_fate(enum meta_policy p);
static inline bool px_through(enum meta_policy p)
{
    return p == META_WRITE_THROUGH || p == META_NO_CACHE;
}
/* The policy of a file by its number; TRANSIENT when it has no name. ERR_READ_ONLY and others as fs_writable. */
int px_policy(struct fs *fs, uint64_t ino, enum meta_policy *ret);

/* ---- px_path.c ---- */
void px_path_watch(void *arg, uint64_t parent, struct str name, uint64_t ino);
int px_path(struct px *x, uint64_t dir, struct buf *ret, uint64_t *ret_mount); /* ERR_NOT_FOUND */
void px_paths_free(struct px *x);
/* As fs_writable: of a name in a directory, of an open file (gate held for writing). */
int px_policy_at(struct px *x, uint64_t dir, struct str name, enum meta_policy *ret);
int px_node_policy(struct px_node *n, enum meta_policy *ret);

/* ---- px_names.c ---- */
int px_name_ok(struct str name);

/* ---- px_extents.c: gate held for writing ---- */
int px_rows_load(struct px_node *n);
void px_rows_free(struct px_node *n);
void px_blobs_shown(struct px_node *n); /* a published content names what the rows name now */
/* [off, off + len) is what e says (e[0..k) of together len bytes; blob 0: a hole). A gap before it becomes a hole. */
void px_rows_put(struct px_node *n, uint64_t off, uint64_t len, const struct extent *e, size_t k);
/* The same of a range that was rewritten: small rows beside it become one with it. */
void px_rows_gather(struct px_node *n, uint64_t off, uint64_t len, const struct extent *e, size_t k);
/* Blobs that were put by reference, from another file. */
void px_rows_share(struct px_node *n, const struct extent *e, size_t k);
/* A content, held once: the hold is the node's until its next publish. */
void px_lend(struct px_node *n, uint64_t content);
void px_rows_shared(struct px_node *n); /* they are published */
bool px_is_shared(const struct px_node *n, uint64_t blob);
void px_rows_cut(struct px_node *n, uint64_t size);
void px_rows_cover(struct px_node *n, uint64_t size);      /* holes up to size */
size_t px_row_find(const struct px_node *n, uint64_t off); /* the row that holds off; rows when none does */
/* The extent that holds off (before the end of the rows), and where it begins. */
void px_extent_at(const struct px_node *n, uint64_t off, struct extent *ret, uint64_t *ret_at);
size_t px_rows_extents(const struct px_node *n);

/* ---- px_pieces.c: gate held for writing ---- */
void px_pieces_put(struct px_node *n, uint64_t off, const void *p, size_t len);
void px_pieces_cut(struct px_node *n, uint64_t off, uint64_t len); /* nothing of it is in memory any more */
void px_pieces_free(struct px_node *n);
void px_pieces_overlay(const struct px_node *n, uint64_t off, void *p, size_t len);

/* ---- px_publish.c: gate held for writing ---- */
int px_local(struct px_node *n);
int px_flush(struct px_node *n);
/* A clean file of many ranges in few blobs: its bytes are brought here and it is shown anew, to be sent again. */
int px_unpack(struct px_node *n);
void px_changed(struct px_node *n);
int px_truncate(struct px_node *n, uint64_t size);
/* Lazily, or so that it survives power loss (sync). */
int px_publish(struct px_node *n, bool sync);
/* The content that bytes written now are for; minted first where it is a new one. */
uint64_t px_origin(const struct px_node *n);
int px_mint_fresh(struct px_node *n);
/* Rows of a node that is not dirty were rewritten: the same bytes under fewer extents. On failure it is as it was. */
int px_show_compacted(struct px_node *n);

/* ---- px_io.c ---- */
void px_window_free(struct px_node *n);                                                /* gate held for writing */
int px_read_node(struct px_node *n, uint64_t off, void *p, size_t len, size_t *ret_n); /* gate held */
int px_write_node(struct px_node *n, uint64_t off, const void *p, size_t len);         /* gate held for writing */

/* [off, off + len) of an extent that begins at `at`, from pages or, once it was persisted and evicted, from the UFS. */
int px_read_piece(struct px_node *n, const struct extent *e, uint64_t at, uint64_t off, char *p, size_t len);

/* ---- px_recover.c ---- */
int px_recover(struct fs *fs);
