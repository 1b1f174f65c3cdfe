/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: what operations are made of. Everything here runs in a transaction function and touches only it.
 * Strings in decoded records live until the transaction function returns.
 */
#pragma once
#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/trace.h"
#include "meta/meta.h"
#include <pthread.h>
#include <stdatomic.h>

struct rules;

struct meta {
    struct kv *kv;
    char *allowed_roots, *ufs_defaults;
    bool read_only;
    struct lock lock; /* RANK_META: everything below */
    uint64_t id_next, id_end;
    struct map *holds; /* content -> struct hold */
    pthread_cond_t thawed;
    struct map *opens; /* ino -> how often it is open (as a pointer) */
    struct watcher *watcher;
    size_t watcher_n;
    atomic_bool watched;
    atomic_uint_fast64_t lazy_version; /* of the last lazy commit */
    unsigned telling;                  /* threads that call watchers now */
    struct meta_mount **mount;         /* sorted by nothing: a handful */
    size_t mount_n;
    struct rules *rules; /* replaced as a whole; references counted */
    atomic_bool ordered; /* some rule asks for an order */
    uint64_t boot, boot_ms;
    char cluster[40]; /* who we are to other clusters: made once, kept in the metadata */
    uint64_t deadline_ms, sync_ms;
    bool write_cache;
    void (*notify)(void *arg, int kind);
    void *notify_arg;
};

/* Where a path leads: the walk stops at the leaf's parent, or at the deepest directory that exists. */
enum { META_WATCHERS = 512 };
enum { PLACE_DEPTH = 1024, META_REAP_LOOK_MS = 15000, META_REAP_LATER_MS = 300000 };
struct place {
    uint64_t mount;  /* 0: in the root */
    uint64_t dir;    /* inode of that directory */
    struct str leaf; /* dentry name; "": the path names the start directory itself */
    bool leaf_dir;   /* after a climb: leaf lacks its final '/' */
    struct str rest; /* not empty: the walk stopped; components from here on are missing */
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    size_t home_n, ident_n;      /* of dir: "" or ends in '/' */
    uint64_t chain[PLACE_DEPTH]; /* directories walked, the mount's root first */
    size_t depth;
};

/* Walk path from the directory inode start. ERR_BAD_NAME, ERR_NAME_TOO_LONG; stops without error at what is missing. */
int tx_walk(struct kv_tx *tx, uint64_t start, struct str path, struct place *ret);
/* The place of an inode by its parents; *ret has leaf = its dentry name. ERR_STALE below a removed tree. */
int tx_climb(struct kv_tx *tx, const struct inode *i, struct place *ret);
/* UFS keys of the leaf (and, when the walk stopped, of the whole rest). ERR_NAME_TOO_LONG. */
int place_keys(const struct place *p, char home[META_KEY_MAX + 8], char ident[META_KEY_MAX + 8]);

int tx_dentry(struct kv_tx *tx, uint64_t parent, struct str name, struct dentry *ret);
void tx_put_dentry(struct kv_tx *tx, uint64_t parent, struct str name, const struct dentry *d);
void tx_del_dentry(struct kv_tx *tx, uint64_t parent, struct str name);
int tx_inode(struct kv_tx *tx, uint64_t ino, struct inode *ret);
int tx_inode_raw(struct kv_tx *tx, uint64_t ino, struct inode *ret,
                 struct str *ret_raw); /* and its record as it stands there */
void tx_put_inode(struct kv_tx *tx, const struct inode *i);
void tx_del_inode(struct kv_tx *tx, uint64_t ino);
void tx_del_dir(struct kv_tx *tx, uint64_t ino); /* and what is known of what is in it */
/* The dentry name of an inode: with '/' for directories; into b. */
struct str inode_leaf(const struct inode *i, struct buf *b);

int tx_content(struct kv_tx *tx, uint64_t id, struct content *ret);
void tx_put_content(struct kv_tx *tx, const struct content *c);
int tx_pairs(struct kv_tx *tx, uint64_t ino, struct str *ret); /* "" when none */
void tx_put_pairs(struct kv_tx *tx, uint64_t ino, struct str pairs);

/* borrower's extents name blobs of origin. */
void tx_ref(struct kv_tx *tx, uint64_t origin, uint64_t borrower);
void tx_unref(struct kv_tx *tx, uint64_t origin, uint64_t borrower);
/* It names nobody's any more: its rows at both ends go. ERR_LIMIT never: a content has few origins. */
int tx_unref_all(struct kv_tx *tx, uint64_t borrower);
/* Does anybody borrow from content? Rows of borrowers that are gone go here. */
int tx_borrowed(struct kv_tx *tx, uint64_t content, bool *ret);

/* A missing row is an owner with neither part. Putting such an owner deletes the row and bumps the epochs. */
int tx_owner(struct kv_tx *tx, bool prefix, uint64_t mount, struct str key, struct owner *ret);
void tx_put_owner(struct kv_tx *tx, bool prefix, uint64_t mount, struct str key, const struct owner *o);

void tx_queue(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key,
              const struct queue_rec *q);
void tx_unqueue(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key);

/* Give the object at key, which belonged to a file, to nobody. reap: delete it now; else a live file will overwrite it,
 * and its reap record only looks now and then whether that file is still there. The claim part stays. */
int tx_gone(struct kv_tx *tx, uint64_t mount, struct str key, const char *ver, uint64_t content, bool reap);
/* If a GONE row lies at key, it is to be reaped now. */
int tx_reap_if_gone(struct kv_tx *tx, uint64_t mount, struct str key);

/* Content is owned by nobody from now on: dead, with a drop record. back_key: the object that backs it, p NULL: none.
 */
int tx_content_dead(struct kv_tx *tx, uint64_t content, uint64_t mount, struct str back_key, const char *back_ver);

/* The file's inode goes: records, content, UFS object. p: its place. overwritten: a live file takes its name. The
 * dentry is the caller's. */
int tx_forget_file(struct kv_tx *tx, struct meta *m, const struct inode *i, const struct place *p, bool overwritten);

/* Its object (loc is not NONE) belongs to nobody now, or waits to be overwritten by what has the name; backs: content
 * whose missing pages it still backs, 0: none. *ret_backing: its key, one of those given. */
int tx_forget_object(struct kv_tx *tx, const struct inode *i, struct str home, struct str ident, bool overwritten,
                     uint64_t backs, struct str *ret_backing);
/* A file whose name and object are nobody's any more: forgotten, or, while it is open in this process, kept without a
 * name (G). backing: the key its missing pages are read from, p NULL: none. */
int tx_file_end(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str backing, const char *ver);

/* Hard links: see link.c. Ids for the contents of a file's other names, minted before. */
struct link_change {
    uint64_t first_id, ids;
    enum meta_fate fate;
    uint64_t quiet_ms;
};
int link_change_prepare(struct meta *m, uint64_t ino, struct link_change *l);
/* A file's content or attributes changed: its other names follow. ERR_NOT_CACHED: it has more of them than ids. */
int tx_links_follow(struct kv_tx *tx, struct meta *m, const struct inode *file, const struct link_change *l);
int tx_links(struct kv_tx *tx, uint64_t file, uint64_t *ret, size_t max, size_t *ret_n);
int tx_link_detach(struct kv_tx *tx, const struct inode *name);
int tx_link_promote(struct kv_tx *tx, struct meta *m, const struct inode *file, struct str backing, const char *ver,
                    bool *ret_done);

/* Is the UFS at this key hidden from the namespace path by an owner row (its own, or of a prefix that is not one of the
 * directories walked)? */
int tx_hidden(struct kv_tx *tx, const struct place *p, struct str ident, bool *ret);
/* The same for a key the namespace has no file for: one that is just written through shows what lies there, old or new.
 */
int tx_unseen(struct kv_tx *tx, const struct place *p, struct str ident, bool *ret);
/* Are there rows of their own at or below this prefix, besides its own? Then one rename of the whole would take what is
 * not ours along, and what the UFS has below it may all be hidden. */
int tx_owned_below(struct kv_tx *tx, uint64_t mount, struct str prefix, bool *ret);
/* Until when everything in the deepest directory of the walk is known (deep: and below); 0: it is not. */
int tx_known(struct kv_tx *tx, const struct place *p, uint64_t now_ms, uint64_t *ret_until, bool *ret_deep);
void tx_put_known(struct kv_tx *tx, uint64_t dir, bool deep, uint64_t until_ms);
/* May a request that changes key be sent by ino? 0; ERR_BUSY; ERR_DIRTY with *ret_blocker when the key is another
 * inode's that must be moved first. *ret_o: the row. via: prefix rows MOVED by this directory are no obstacle (0: none,
 * UINT64_MAX: none of them is). */
int tx_claimable(struct kv_tx *tx, struct meta *m, uint64_t mount, struct str key, uint64_t via, struct owner *ret_o,
                 uint64_t *ret_blocker);
/* A claim's key was changed and no file is kept for it: what the namespace has there is forgotten, the claim goes. */
int tx_claim_done(struct kv_tx *tx, struct meta *m, const struct meta_claim *c, uint64_t first_id);
/* A file that has its object at home is what was seen there now; takes up to two ids. */
int tx_refresh(struct kv_tx *tx, struct inode *i, const struct meta_load_entry *e, uint64_t *id);
bool owner_claim_live(const struct meta *m, const struct owner *o, unsigned caps);
void owner_claim(struct meta *m, struct owner *o, enum claim_kind kind, uint64_t ino, uint64_t nonce,
                 const char *intent);
void owner_unclaim(struct owner *o);
/* The same where a claim may be taken over: what its request may have left stays the row's intent until tx_intend says
 * that it was looked for; taken: that intent, "" none. */
void owner_take(struct meta *m, struct owner *o, enum claim_kind kind, uint64_t ino, uint64_t nonce, const char *intent,
                char taken[72]);
/* The claimer has looked, and will put something else there now. ver: version of what an earlier request left there, ""
 * nothing of ours: it is nobody's from now on. ERR_STALE (meta_update_or_conflict): the claim is another's by now. */
int tx_intend(struct kv_tx *tx, uint64_t mount, struct str key, uint64_t nonce, const char *ver, const char *intent);
/* The claimer gives up, and certainly changed nothing. taken: what it took over and did not look for, "" none: that is
 * kept, for whoever claims next. */
void owner_give_back(struct owner *o, const char *taken);

/* Implied directories above a leaf that went (p->leaf): removed while they are empty and known. */
int tx_prune(struct kv_tx *tx, struct place *p, uint64_t now_ms);
/* Missing directories of p->rest are made (implied) with ids from *next_id; p then stands at the leaf. */
int tx_make_dirs(struct kv_tx *tx, struct place *p, uint64_t *next_id, uint64_t now_ms);
/* Is the place below this directory? */
bool place_below(const struct place *p, uint64_t ino);
unsigned place_missing(const struct place *p);
int tx_dir_empty(struct kv_tx *tx, uint64_t dir, bool *ret);
/* The same for a directory that name was just taken out of: looks beside it first. Where many names went one after the
 * other, the front of the directory is what the store must dig through. */
int tx_dir_empty_without(struct kv_tx *tx, uint64_t dir, struct str name, bool *ret);

/* A file's persist record, made or moved. */
void tx_persist_record(struct kv_tx *tx, struct inode *i, uint64_t due_ms);

/* Ordered publication: see order.c. i was changed, given other bytes or moved, has its queue records, and is about to
 * be put: it takes a new turn where its path asks for it, and its records follow. at: its place (NULL: climbed to);
 * from: the place it was moved from, NULL none. */
int tx_turn(struct kv_tx *tx, struct meta *m, struct inode *i, const struct place *at, const struct place *from);
/* The same for a change that is no new publication: the records follow the turn it has. */
int tx_turn_keep(struct kv_tx *tx, struct inode *i);
/* A directory that was moved gives its turn to what lies in it: each child is moved by itself now. */
int tx_turn_child(struct kv_tx *tx, struct meta *m, const struct inode *dir, struct inode *i);
/* The object at this key is to be deleted now, if its row says so: with a new turn, or with that of i, whose move that
 * is. */
int tx_turn_key(struct kv_tx *tx, struct meta *m, uint64_t mount, struct str key, const struct inode *i);
/* The record came up in a lane that does not keep the order. */
bool tx_out_of_turn(const struct inode *i, const struct meta_item *it);
/* i loses its name to another file, or is deleted. *ret: it is kept without one, to be sent first; its record stays. */
int tx_outrun(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str home, bool *ret);
bool is_outrun(const struct inode *i);
/* Does the file that has this key as its home wait behind the turn, or the deletion of what lies there? */
int tx_turn_behind(struct kv_tx *tx, uint64_t mount, struct str key, uint64_t turn, bool *ret);
int tx_outrun_end(struct kv_tx *tx, const struct inode *i);
/* The due time of the directory's order record; ERR_NOT_FOUND: it has none. */
int tx_order_head(struct kv_tx *tx, uint64_t dir, uint64_t *ret);
/* The order record of a directory moves from due to to; *ret: it is there. */
int tx_order_due(struct kv_tx *tx, uint64_t dir, uint64_t due, uint64_t to, bool *ret);
unsigned meta_caps(struct meta *m, uint64_t mount);
int meta_update(struct meta *m, kv_fn *fn, void *arg); /* KV_SYNC */
/* For an fn that finds that what its caller saw before is not true any more. It says ERR_STALE, which comes out as
 * ERR_CONFLICT: said by fn itself, that would be taken for the engine's word, and fn run again until the deadline. */
int meta_or_conflict(int r);
int meta_update_or_conflict(struct meta *m, kv_fn *fn, void *arg);
/* A clean file whose object the UFS has not been asked about for the sync interval. */
bool inode_outdated(const struct meta *m, const struct inode *i);
void found_fill(struct meta_found *f, const struct inode *i, struct str pairs);
struct str key_str(const char *z);
bool name_ok(struct str path);

/* Make a content row and, where extents name other contents, the reference rows. c->n extents inline. */
int tx_new_content(struct kv_tx *tx, struct content *c);
/* The inode part of a publish: dentry, inode, pairs, persist record, what was there before. c: the content (NULL:
 * none), whose row it writes with its owner set. first_id: enough minted ids (1 + missing directories). */
/* c's extents become those of a copy of content src (c->id and c->ino are set). */
int tx_copy_content(struct kv_tx *tx, uint64_t src, struct content *c);
/* What the UFS is told of a file beside its bytes, and back: user metadata as s3fs and rclone name it. */
void posix_to_pairs(const struct inode *i, struct buf *pairs);
void posix_from_pairs(struct inode *i, struct str pairs);
/* The same of extended attributes: as many as fit; and back, in the place of those it had. */
int xattrs_to_pairs(struct kv_tx *tx, const struct inode *i, struct buf *pairs);
void xattrs_from_pairs(struct kv_tx *tx, struct inode *i, struct str pairs);
void tx_del_xattrs(struct kv_tx *tx, uint64_t ino);
/* Content is published lazily; before: its inode as it was, or with no content. */
void tx_put_lazy(struct kv_tx *tx, uint64_t content, const struct inode *before);
/* POSIX: a directory with the set-group-id bit gives its group to what is made in it. */
int tx_inherit_group(struct kv_tx *tx, uint64_t dir, struct inode *i);
struct publish_out {
    struct inode i;
    struct str pairs;
    bool replaced; /* the file that had the name; its content is dead */
};
int tx_publish(struct kv_tx *tx, struct meta *m, const struct meta_publish *p, struct content *c, uint64_t first_id,
               struct publish_out *ret);
unsigned path_components(struct str path);
/* Set an explicit, unpersisted directory up: dirty or transient. */
int tx_dir_dirty(struct kv_tx *tx, struct meta *m, struct inode *i, enum meta_fate fate, struct str home,
                 struct str ident);
/* Take a clean or dirty directory marker out of the UFS's sight: gone where it lies. ident: by the directory above. */
int tx_marker_gone(struct kv_tx *tx, struct meta *m, struct inode *i, struct str home, struct str ident);
/* The same because its directory moves, where it is made anew. One that others gave a content stays what it is, where
 * it is: its content would be lost. It appears under the old name. */
int tx_marker_moves(struct kv_tx *tx, struct meta *m, struct inode *i, struct str home, struct str ident);

/* Does what the UFS holds below prefix belong to a directory that was renamed away from here, or from above? Then
 * nothing of i, which is there now, can have got there yet. */
int tx_others_lie_there(struct kv_tx *tx, const struct place *p, const struct inode *i, struct str prefix, bool *ret);
/* When what waits for others, since then, looks again: soon, then ever less often. */
uint64_t tx_look_again_ms(uint64_t since_ms);
/* Is a directory above this key being renamed as a whole in the UFS, or may it be? */
int tx_renamed_above(struct kv_tx *tx, uint64_t mount, struct str key, bool *ret);
/* Rows that came to be below src while the UFS renamed it to dst follow; *ret_more: not all of them yet. */
int tx_carry(struct kv_tx *tx, uint64_t mount, struct str src, struct str dst, bool *ret_more);
/* A directory is to go. ERR_BUSY: the UFS renames it just now, and what left it meanwhile could not be found again. */
int tx_dir_may_go(struct kv_tx *tx, const struct inode *i);
/* A directory does not own this prefix any more; what was removed below it earlier stays hidden until it is reaped. */
int tx_prefix_release(struct kv_tx *tx, uint64_t mount, struct str prefix);
bool file_is_open(struct meta *m, uint64_t ino);
bool hold_drop_begin(struct meta *m, uint64_t content);
void hold_drop_end(struct meta *m, uint64_t content);
/* True: nobody but own holds it, and who wants to waits until the thaw. */
bool hold_freeze(struct meta *m, uint64_t content, unsigned own);
void hold_thaw(struct meta *m, uint64_t content);
/* Run fn as a transaction; tell those who watch what it changed. All of this room's transactions go through here. */
int meta_commit(struct meta *m, kv_fn *fn, void *arg, enum kv_durability d, uint64_t *ret_version);
/* In a transaction: an inode's content or attributes change, by others than those who watch it. Names are noted by
 * tx_put_dentry and tx_del_dentry. */
void tx_note_inode(uint64_t ino);
/* Kick the lanes whose queues this thread's last transaction wrote to. */
void meta_kick_queued(struct meta *m);
void tx_note_queue(enum queue_kind kind);
void watch_rules(struct meta *m); /* the rules changed: told with no name and no inode */
void tx_note(uint64_t parent, struct str name, uint64_t ino);
/* The lock object of a UFS: one cluster at a time. ERR_BUSY names who has it. */
int fence_take(struct meta *m, struct ufs *u, const char *uri);
void fence_drop(struct meta *m, struct ufs *u);
/* Objects were renamed to this prefix for a directory that is gone. */
int tx_prefix_arrived_dead(struct kv_tx *tx, uint64_t mount, struct str prefix);
/* The settle record of a blocker falls due now. turn: of what it blocks; a blocker with a later one gives its own up.
 */
int tx_hurry(struct kv_tx *tx, uint64_t ino, uint64_t turn);
/* The claim on the key a file was to be copied to is given back; unknown: a request may still take effect there, it is
 * kept until none can. */
int tx_settle_unclaim(struct kv_tx *tx, struct meta *m, const struct meta_settle *s, bool unknown);

/* What a file that is there already is published with when it gets a name, its first (file.c) or one more (link.c). */
static inline struct meta_publish tx_naming(const struct meta_name *n)
{
    return (struct meta_publish){.dir = n->dir,
                                 .path = n->name,
                                 .flags = META_POSIX,
                                 .type = REC_FILE,
                                 .posix = true,
                                 .excl = true,
                                 .fate = n->fate,
                                 .quiet_ms = n->quiet_ms};
}
