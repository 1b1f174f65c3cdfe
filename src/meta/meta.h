/* SPDX-License-Identifier: Apache-2.0
 *
 * The namespace: directories, files, contents, who owns which UFS key, and what is still to be done, as transactions on
 * the KV store. Nothing here touches bytes or asks the UFS (the mount table only holds its handles); a transaction may
 * therefore run as often as it likes.
 *
 * Every change is one transaction of bounded size (meta/rec.h lists the records and their rules). Operations take what
 * they need in one struct, mint ids first, and are durable on return (KV_SYNC) unless they say lazy.
 *
 * Paths are relative to a directory inode (META_ROOT for absolute ones), in the syntax of fs/fs.h.
 *
 * Threads: all calls from any thread. Locks: RANK_META, never across a transaction or I/O.
 */
#pragma once
#include "meta/rec.h"
#include "ufs/ufs.h"

struct meta;

/* Of a path below its bucket: what PATH_MAX leaves, so that a mount holds what other file systems hold. */
enum { META_ROOT = 1, META_KEY_MAX = 4095 };

struct meta_options {
    struct kv *kv;
    uint64_t deadline_ms;      /* forebay.ufs.request.deadline; 0: 60,000 */
    uint64_t sync_ms;          /* alluxio.user.file.metadata.sync.interval; UINT64_MAX: never look again */
    bool write_cache;          /* alluxio.write.cache.enabled */
    bool read_only;            /* fsck: no row is written, not even the number of starts; UFSes are not opened */
    const char *allowed_roots; /* forebay.ufs.allowed.roots for file:// mounts; NULL: any */
    const char
        *ufs_defaults; /* "name=value" lines that hold for every mount whose own options say nothing else; NULL */
};
/* Opens the mounts it knows too; one that cannot be reached is no error. ERR_VERSION for a newer format. */
int meta_open(const struct meta_options *o, struct meta **ret);
struct meta *meta_close(struct meta *m);
struct kv *meta_kv(struct meta *m);

/* n consecutive ids never used before for any inode, content or blob; the first. May write to the KV: never call it in
 * a transaction. */
/* Everything committed lazily until now is durable on return, with the pages it names. */
int meta_sync(struct meta *m);
int meta_mint(struct meta *m, unsigned n, uint64_t *ret_first);
uint64_t meta_boot(const struct meta *m);        /* number of this start of the data directory */
uint64_t meta_deadline_ms(const struct meta *m); /* forebay.ufs.request.deadline */
uint64_t meta_sync_ms(const struct meta *m);     /* alluxio.user.file.metadata.sync.interval; UINT64_MAX: never */

/* fn is called after each commit that queued work of a kind ('P', 'S' ...; 0: several). */
void meta_on_queue(struct meta *m, void (*fn)(void *arg, int kind), void *arg);
void meta_kick(struct meta *m, int kind);

/* ---- contents in use by readers of this process ---- */

/* 0, or ERR_STALE when it is being dropped: look the name up again. */
int meta_hold(struct meta *m, uint64_t content);
void meta_unhold(struct meta *m, uint64_t content);
/* How many hold it, and since when the first does (clock_mono_ms). */
unsigned meta_held(struct meta *m, uint64_t content, uint64_t *ret_since_ms);

/* ---- watching ---- */

/* Called after each commit that changed names (of directory parent; ino 0: the name went) or, with parent 0, an inode's
 * content or attributes; with neither, the rules. From any thread, without locks; it must not change the namespace. */
typedef void meta_watch_fn(void *arg, uint64_t parent, struct str name, uint64_t ino);
int meta_watch(struct meta *m, meta_watch_fn *fn, void *arg); /* ERR_LIMIT: 512 watch already */
void meta_unwatch(struct meta *m, void *arg);                 /* returns when fn is not running any more */
/* This thread acts for the watcher with this arg from now on: that one is not told (NULL: for nobody). What it was
 * before. */
const void *meta_as(const void *arg);
const void *meta_acting(void);

/* ---- policies ---- */

enum meta_policy { META_WRITE_THROUGH, META_WRITE_BACK, META_TRANSIENT, META_READ_ONLY, META_NO_CACHE };
struct meta_rule {
    enum meta_policy policy;
    unsigned replicas;
    bool ordered; /* publications appear in the UFS in the order of their commits */
};
const char *meta_policy_name(enum meta_policy p);
/* path: absolute ("/bucket/key" or "bucket/key"). */
struct meta_rule meta_rule(struct meta *m, struct str path);
int meta_rules_json(struct meta *m, struct buf *ret);
int meta_rules_test(struct meta *m, struct str path, struct buf *ret_json);
/* Parse, refuse as a whole with line and reason (ERR_INVALID), store, put in force, queue what became persistable. */
int meta_rules_set(struct meta *m, struct str json);
bool meta_rules_stored(struct meta *m);

/* ---- jobs of the admin endpoint: rows that outlive the process; opaque here ---- */

int meta_job_put(struct meta *m, struct str id, struct str value); /* new or over an old one; at most 90,000 bytes */
int meta_job_forget(struct meta *m, struct str id);
/* Non-zero from fn stops and is returned. */
int meta_job_each(struct meta *m, int (*fn)(void *arg, struct str id, struct str value), void *arg);

/* ---- mounts ---- */

struct meta_mount {
    uint64_t id; /* the inode of its directory as well */
    char *path, *uri, *options;
    unsigned caps;
    struct ufs *ufs; /* NULL while it could not be opened; use meta_mount_ufs */
    unsigned refs;   /* under the lock */
    bool gone;
    uint64_t retry_ms; /* clock_mono_ms: not before */
    bool opening;
    _Atomic uint64_t slow_until_ms; /* clock_mono_ms: questions that can be spared are not asked until then */
    bool fenced;                    /* another cluster took the UFS: nothing is sent there any more */
};
/* The mount of an id, with a reference to put back; NULL when there is none. */
struct meta_mount *meta_mount_get(struct meta *m, uint64_t id);
struct meta_mount *meta_mount_put(struct meta *m, struct meta_mount *mt); /* NULL is fine; returns NULL */
/* Its UFS, opened now if it was not; ERR_UNREACHABLE and others. */
int meta_mount_ufs(struct meta *m, struct meta_mount *mt, struct ufs **ret);
/* Opens what uri names with "k=v\n" options, as the mounts of this namespace are. */
int meta_ufs_open(struct meta *m, const char *uri, const char *options, struct ufs **ret);
/* May it be mounted there, as far as can be told before the UFS is touched: path, overlap with other mounts. */
int meta_mount_check(struct meta *m, struct str path, const char *uri);
/* ufs is taken over on success. path "/name". */
int meta_mount_add(struct meta *m, struct str path, const char *uri, const char *options, struct ufs *ufs);
/* ERR_DIRTY unless force; the directory goes as a removed tree whose UFS is left alone. */
int meta_mount_remove(struct meta *m, struct str path, bool force);
int meta_mount_each(struct meta *m, int (*fn)(void *arg, struct meta_mount *mt), void *arg);
int meta_mount_find(struct meta *m, struct str path, struct meta_mount **ret); /* by "/name"; reference to put back */
/* Say again in each UFS that this cluster works there; at least every minute. */
void meta_mount_renew(struct meta *m);
/* Unpersisted files and bytes: of a mount, or of all (0). */
int meta_dirty(struct meta *m, uint64_t mount, uint64_t *ret_files, uint64_t *ret_bytes, uint64_t *ret_oldest_ms);
/* The same for many mounts in one pass: .mount is given, the rest is added up. */
struct meta_mount_dirty {
    uint64_t mount, files, bytes, oldest_ms;
};
int meta_dirty_by_mount(struct meta *m, struct meta_mount_dirty *sum, size_t n);

/* ---- looking ---- */

enum { META_POSIX = 1, META_ASK = 8 /* what is not there is unknown, however complete the directory */ };
enum meta_state {
    META_FOUND,
    META_ABSENT, /* known */
    META_UNKNOWN /* the UFS must be asked: stat ufs_key, then meta_load */
};
struct meta_found {
    enum meta_state state;
    struct inode i;      /* FOUND; its strings point into buf */
    uint64_t mount, dir; /* of the parent directory, or of the deepest that exists */
    size_t missing;      /* not FOUND: length of the path's tail that does not exist */
    bool no_bucket;      /* ABSENT: the first component is missing */
    bool claimed; /* FOUND: somebody changes its UFS object now. ABSENT: or what may lie there; look again when that is
                     done */
    uint64_t epoch;   /* UNKNOWN: to give to meta_load */
    uint64_t version; /* for kv_settle */
    char home[META_KEY_MAX + 8],
        ident[META_KEY_MAX + 8]; /* UFS keys: by path; where its object is looked for or lies */
    struct buf buf, pairs;
};
void meta_found_done(struct meta_found *f);
/* Errors: ERR_BAD_NAME, ERR_NAME_TOO_LONG, KV. A missing path is a state, not an error. */
int meta_lookup(struct meta *m, uint64_t dir, struct str path, unsigned flags, struct meta_found *ret);
/* By number; ERR_NOT_FOUND. Also fills home and ident. */
int meta_inode(struct meta *m, uint64_t ino, struct meta_found *ret);
/* Absolute path of an inode ("/bucket/a/b"); ERR_NOT_FOUND when it is gone. */
int meta_path(struct meta *m, uint64_t ino, struct buf *ret);

/* A content and the extents that cover [off, off+n): at most max of them. ERR_STALE when it is gone. back_*: where
 * missing pages of *each origin* are read from is asked by meta_backing. */
int meta_extents(struct meta *m, uint64_t content, uint64_t off, struct content *ret, struct buf *ret_strings,
                 struct extent *ext, size_t max, size_t *ret_n, uint64_t *ret_first_off);
struct meta_backing {
    uint64_t mount;
    char key[META_KEY_MAX + 8], ver[96];
};
/* ERR_NOT_FOUND: nothing but the page store has it. */
int meta_backing(struct meta *m, uint64_t content, struct meta_backing *ret);
/* All blobs of a content: fn(arg, blob, bytes) for each extent whose origin is the content itself (own) or any. */
int meta_blobs(struct meta *m, uint64_t content, bool own, int (*fn)(void *arg, const struct extent *e), void *arg);

/* All extents of a content, row by row as they are stored (stored false: they lie in the content's own row). The
 * content is held by the caller. */
int meta_rows(struct meta *m, uint64_t content,
              int (*fn)(void *arg, uint64_t off, const struct extent *e, size_t n, bool stored), void *arg);

struct meta_entry {
    struct str key; /* relative to the listed directory */
    bool prefix;
    const struct inode *i; /* NULL for a common prefix */
};
struct meta_list {
    uint64_t dir;
    struct str path; /* "" or ends in '/' */
    struct str prefix, after;
    struct str bound; /* p not NULL: nothing after this key (it included) */
    char delimiter;
    size_t limit;
    bool posix;
};
/* From the namespace alone. ERR_NOT_FOUND when the directory is missing. *ret_version for kv_settle. unloaded (may be
 * NULL) is called for each directory entered whose objects lie at an explicit prefix and that is not complete; non-zero
 * from it ends the listing with that code (before anything of that directory was given). */
int meta_list(struct meta *m, const struct meta_list *l, int (*fn)(void *arg, const struct meta_entry *e), void *arg,
              int (*unloaded)(void *arg, struct str path), bool *ret_more, uint64_t *ret_version);

/* ---- loading what the UFS holds ---- */

struct meta_load_entry {
    struct str path;           /* relative to dir; ends in '/' for a directory or marker */
    const struct ufs_stat *st; /* NULL: only a common prefix (an implied directory) */
    struct str ident;          /* the UFS key it was seen at */
    struct str pairs;          /* encoded; p NULL: not asked (listing) */
    bool ask_again;            /* out: may be outdated: stat it and load it alone */
    bool look_below; /* out: a common prefix that may only be there for keys that rows hide: load what is below it */
};
struct meta_load {
    uint64_t dir;
    struct str path; /* prefix of each entry's path */
    struct meta_load_entry *entry;
    size_t n;
    bool whole_epoch;         /* epoch is that of the mount (listing), else that of the single entry's directory */
    uint64_t epoch, start_ms; /* taken before the UFS was asked */
};
/* Insert what is missing, refresh clean files that differ and were checked before start_ms. ERR_CONFLICT: what was
 * looked up is not true any more, look again. Lazy. */
int meta_load(struct meta *m, struct meta_load *l);
/* The clean file's object was not found at ident, under an epoch taken before the look: forget it, if it still is that
 * version, lies there, and nobody moves it or a directory above. */
int meta_load_gone(struct meta *m, uint64_t ino, const char *ver, struct str ident, uint64_t epoch, bool *ret_gone);
int meta_load_checked(struct meta *m, uint64_t ino, const char *ver, struct str pairs); /* seen unchanged just now */
int meta_epoch(struct meta *m, uint64_t mount, struct str ufs_key, bool whole, uint64_t *ret);
/* Everything (deep) or every direct child of a directory is loaded: true until then, if no epoch passed since. */
int meta_load_complete(struct meta *m, uint64_t dir, bool deep, uint64_t until_ms);
/* Where listing must ask the UFS for the keys of a directory: identity prefix, mount; *ret_known: complete now (deep:
 * with all below). ERR_NOT_FOUND: no such directory in the namespace; then ident is where its keys would lie and
 * *ret_hidden tells that owner rows hide them. */
struct meta_dir {
    uint64_t ino, mount;
    bool exists, known, deep_known, hidden;
    bool once; /* was completely known once, maybe outdated by now */
    char ident[META_KEY_MAX + 8];
};
int meta_dir(struct meta *m, uint64_t dir, struct str path, struct meta_dir *ret);

/* ---- changing names ---- */

struct meta_cond {
    struct str if_match, if_none_match; /* as fs.h */
};
/* 0, ERR_PRECONDITION, ERR_NOT_FOUND (If-Match on nothing). etag NULL: absent. */
int meta_cond_check(const struct meta_cond *c, const char *etag);

enum meta_fate { META_DIRTY, META_TRANSIENT_FILE, META_CLEAN };
struct meta_publish {
    uint64_t dir;
    struct str path;
    unsigned flags; /* META_POSIX: parents must exist */
    struct meta_cond cond;
    enum rec_type type;
    uint32_t mode, uid, gid;
    uint64_t size, mtime_ms;  /* 0: now */
    uint64_t content;         /* minted; 0: none (marker) */
    const struct extent *ext; /* content's extents, n <= REC_INLINE */
    size_t n;
    const char *etag;
    struct str pairs; /* encoded */
    enum meta_fate fate;
    uint64_t nonce;            /* CLEAN: of the claim that made the UFS object visible; released here */
    const struct ufs_stat *st; /* CLEAN: the object */
    uint64_t quiet_ms;         /* persistence waits as long */
    bool lazy;                 /* KV_LAZY */
    bool posix;                /* mode, uid and gid are the client's */
    bool excl;                 /* ERR_EXISTS when the name is there, as a file or a directory */
    uint32_t rdev;
    /* copy: */
    uint64_t src_content; /* extents are those of this content */
    const char *src_etag; /* ERR_CONFLICT when src_ino does not have it any more */
    uint64_t src_ino;
    /* out: */
    struct meta_found *found; /* may be NULL: the inode published */
};
int meta_publish(struct meta *m, struct meta_publish *p);
/* WRITE_THROUGH and NO_CACHE: judge the precondition and claim the home key, for one PUT or DELETE. ERR_BUSY: somebody
 * else has it, try again in a moment. out_key: the UFS key. */
struct meta_claim {
    uint64_t dir;
    struct str path;
    struct meta_cond cond;
    enum claim_kind kind;
    const char *intent;      /* of meta_intent, or NULL */
    char taken_intent[72];   /* out: what the request of a claim that was taken over may have put there, "" none was */
    uint64_t expect_content; /* not 0: ERR_CONFLICT unless the path has this content */
    uint64_t mount, nonce;   /* out */
    char key[META_KEY_MAX + 8]; /* out */
    uint64_t content;           /* out: content whose pages the object there backs, 0: none */
    char ver[96];               /* out: version the object there should have, "" absent or unknown */
    bool expected;              /* out: ver is known (absent when "") */
    const struct ufs_stat *st;  /* when it is given back done: what lies there now; NULL: nothing */
};
int meta_claim(struct meta *m, struct meta_claim *c);
/* Give a claim back: nothing was changed (done false), or the key was changed and no file is kept for it (done true:
 * what the namespace has at that path is forgotten; where st is set, a file that a listing has loaded meanwhile is st
 * from now on, so that no listing under way misses it). unknown_ms > 0: outcome unknown for so long. */
int meta_unclaim(struct meta *m, struct meta_claim *c, bool done, uint64_t unknown_ms);

struct meta_delete {
    uint64_t dir;
    struct str path;
    unsigned flags;
    const struct meta_cond *cond;
    bool no_ufs; /* the UFS object went already, under nonce */
    bool lazy;
    uint64_t nonce;
};
/* ERR_NOT_FOUND, ERR_NOT_EMPTY. The S3 delete that empties implied directories removes them upwards. */
int meta_delete(struct meta *m, const struct meta_delete *d);
/* Keys whose code is not 0 already; what is not there is no error. ask (may be NULL): set for keys that were left
 * alone, since the UFS is to be asked about them first (unknown here, or not looked at for the sync interval): load
 * them and call again. */
int meta_delete_many(struct meta *m, uint64_t dir, struct str path, const struct str *keys, size_t n, int *codes,
                     bool *ask);
int meta_remove_tree(struct meta *m, uint64_t dir, struct str path);
int meta_mkdir(struct meta *m, uint64_t dir, struct str path, uint32_t mode, bool parents, enum meta_fate fate,
               struct str pairs, const char *etag, struct meta_found *ret);
int meta_rmdir(struct meta *m, uint64_t dir, struct str path, bool lazy);
struct meta_rename {
    uint64_t dir_from, dir_to;
    struct str from, to;
    bool noreplace, exchange;
    bool to_transient;   /* what the destination's rule makes of it */
    bool from_transient; /* exchange: what the source's rule makes of what comes there */
    bool unchecked;      /* the UFS cannot be asked: move what may have been changed there by a process that died */
    bool lazy;
    bool keep_dirs; /* implied directories it empties stay */
    bool posix;     /* names with a file and a directory mean the directory */
};
/* ERR_BUSY: somebody writes through to it, or a process that died may have: look the names up and try again.
 * ERR_CROSS_MOUNT, ERR_LOOP, ERR_NOT_EMPTY, ERR_IS_DIR, ERR_NOT_DIR, ERR_EXISTS, ERR_NOT_FOUND. */
int meta_rename(struct meta *m, const struct meta_rename *r);
int meta_set_pairs(struct meta *m, uint64_t ino, struct str over);

/* ---- files that are changed in place ---- */

/* This process has the file open: should its name go meanwhile, it is kept without one until meta_file_close says true
 * (it was the last) and meta_file_forget is called, or until the next start. */
void meta_file_open(struct meta *m, uint64_t ino);
bool meta_file_close(struct meta *m, uint64_t ino);
int meta_file_forget(struct meta *m, uint64_t ino); /* if it has no name and is open nowhere */
int meta_file_forget_all(struct meta *m);           /* at a start: nobody has any open */
/* A new file without a name, in the mount of directory dir; open it first (the number is the caller's, minted). */
struct meta_unnamed {
    uint64_t dir, ino;
    uint32_t mode, uid, gid;
    struct meta_found *found; /* out, may be NULL */
};
int meta_file_unnamed(struct meta *m, const struct meta_unnamed *u);
/* It gets its first name. ERR_EXISTS, ERR_NOT_FOUND. */
struct meta_name {
    uint64_t ino, dir;
    struct str name;
    enum meta_fate fate;
    uint64_t quiet_ms;
    struct meta_found *found;
};
int meta_file_name(struct meta *m, const struct meta_name *n);
/* One more name for a file that has one (found is not filled). ERR_TOO_MANY_LINKS, ERR_DENIED (a directory). */
enum { META_LINKS_MAX = 1000 };
int meta_file_link(struct meta *m, const struct meta_name *n);

/* Some extents of a content, a row of its own when there are many. */
struct meta_row {
    uint64_t off;
    const struct extent *ext;
    size_t n;
    bool write; /* not stored as it is */
};
/* A changed content is shown. In place, under its own number, where nobody but the caller holds it and nobody borrows
 * from it; else as a new content that borrows from the old one. */
struct meta_change {
    uint64_t ino;
    uint64_t content, version; /* it has these; ERR_STALE else, and nothing is changed */
    unsigned own;              /* how often the caller holds content */
    bool replace;              /* nothing of the old content is left: always a new one */
    bool brought;  /* the content is in the UFS, and its bytes were brought here and pinned just now; ERR_DIRTY asks for
                      that */
    bool shared;   /* others held it when they were: an upload may unpin them yet. Never in place */
    bool overrule; /* the content was replaced in the UFS by others: ours wins, theirs becomes a conflict copy */
    const char *base_ver; /* overrule: the version ours was made from */
    bool lazy;      /* only for what was never durable (a Z row says so) or replaces what is here: ERR_BUSY else */
    uint64_t fresh; /* minted: the number of a new content */
    uint64_t size, holes, mtime_ns; /* mtime 0: as it is */
    uint32_t drop_mode;             /* permission bits that go (set-id) */
    const char *etag;               /* NULL: made from content and version */
    enum meta_fate fate;
    uint64_t quiet_ms,
        max_age_ms;       /* persistence waits so long after this change, and at most so long after the first */
    struct meta_row *row; /* all, in order, without gaps */
    size_t rows, extents;
    const uint64_t *gone; /* rows stored before at these offsets are not any more */
    size_t gone_n;
    /* out: */
    bool in_place;
    uint64_t now_content, now_version;
    struct meta_found *found; /* may be NULL */
};
int meta_change(struct meta *m, struct meta_change *c);
/* The same bytes under other extents: nothing but the rows changes, neither version nor attributes. Of c: ino, content,
 * version, own, rows and gone. Lazy: the pages must be durable, and what the old extents named may be dropped after the
 * next sync. Only for a file that is not in the UFS (ERR_STALE), of whose content nobody borrows and which nobody else
 * holds (ERR_BUSY). c->in_place is set when it was done. */
int meta_compact(struct meta *m, struct meta_change *c);

enum meta_set {
    META_SET_MODE = 1,
    META_SET_UID = 2,
    META_SET_GID = 4,
    META_SET_ATIME = 8,
    META_SET_MTIME = 16,
    META_SET_XATTR = 32
};
struct meta_attr {
    uint64_t ino;
    unsigned set;
    uint32_t mode, uid, gid;
    uint64_t atime_ns, mtime_ns;
    uint32_t drop_mode;                  /* bits that go */
    uint32_t def_mode, def_uid, def_gid; /* of what has none recorded */
    enum meta_fate fate;
    uint64_t quiet_ms;
    struct str xattr, value; /* META_SET_XATTR: value p NULL removes */
    int xattr_must;          /* 1: must be new (ERR_EXISTS), 2: must be there (ERR_NO_ATTR) */
    struct meta_found *found;
};
/* Lazy. A file that is in the UFS is to be sent again. */
int meta_attr(struct meta *m, const struct meta_attr *a);
int meta_xattr(struct meta *m, uint64_t ino, struct str name, struct buf *ret); /* ERR_NO_ATTR */
int meta_xattrs(struct meta *m, uint64_t ino, struct buf *ret);                 /* names, a NUL behind each */
/* An inode alone, without its place; of a directory also when a name in it changed last and how many directories it
 * holds. */
struct meta_stat {
    struct inode i; /* without its strings */
    uint64_t changed_ns, dirs;
};
int meta_stat(struct meta *m, uint64_t ino, struct meta_stat *ret); /* ERR_NOT_FOUND */
/* The same by name in a directory (POSIX: a directory before a file), as far as the namespace knows. ERR_NOT_FOUND:
 * *ret_absent tells whether that is certain. */
int meta_child(struct meta *m, uint64_t dir, struct str name, struct meta_stat *ret, bool *ret_absent);

/* Contents that were published lazily and not confirmed: after a start their pages are looked at. fn stops with
 * non-zero. */
struct meta_lazy {
    uint64_t content, ino;
    bool shown; /* it is its inode's content, and nothing but the page store has it */
};
int meta_lazy_each(struct meta *m, int (*fn)(void *arg, const struct meta_lazy *l), void *arg);
int meta_lazy_confirm(struct meta *m, const uint64_t *content, size_t n);
/* Its pages are not all there: the file is again what it was before. */
int meta_lazy_revert(struct meta *m, uint64_t content);

/* ---- uploads ---- */

struct meta_upload_new {
    uint64_t dir;
    struct str path;
    struct str pairs;
    uint32_t mode, uid, gid;
    struct str ufs;       /* pass-through id, else empty */
    uint64_t expire_ms;   /* from now */
    unsigned char id[16]; /* in: random */
};
int meta_upload_create(struct meta *m, const struct meta_upload_new *u);
/* ERR_NO_UPLOAD, also when the id is of another key (path p NULL: of any). strings: into buf. */
int meta_upload_get(struct meta *m, uint64_t dir, struct str path, const unsigned char id[16], struct upload *ret,
                    struct buf *ret_strings);
int meta_upload_part(struct meta *m, const unsigned char id[16], unsigned part, const struct part *p,
                     uint64_t borrow_from /* content whose extents the part names, 0: none */);
int meta_upload_parts(struct meta *m, const unsigned char id[16], unsigned after, size_t limit,
                      int (*fn)(void *arg, unsigned part, const struct part *p), void *arg, bool *ret_more);
struct meta_part_ref {
    unsigned part;
    struct str etag;     /* quoted or not */
    struct str checksum; /* p NULL: none; "name=value" not needed: any stored checksum value that equals it */
};
struct meta_complete {
    uint64_t dir;
    struct str path;
    unsigned char id[16];
    const struct meta_part_ref *part;
    size_t n;
    struct meta_cond cond;
    struct str pairs;               /* for the object, over those of create */
    enum meta_fate fate;            /* DIRTY or TRANSIENT */
    uint64_t min_part;              /* bytes all but the last must have */
    const struct meta_claim *claim; /* meta_pass: of the home key */
    const struct ufs_stat *st;      /* meta_pass_publish: the object */
    bool forget;                    /* meta_pass: no file is kept for it (NO_CACHE) */
    struct meta_found *found;       /* out */
};
/* ERR_INVALID_PART, ERR_PART_ORDER, ERR_PART_SMALL, ERR_NO_UPLOAD, ERR_PRECONDITION. Repeatable. */
int meta_upload_complete(struct meta *m, struct meta_complete *c);
/* The same for an upload that passes through (struct upload.ufs), in steps, because the store completes it in between:
 *   plan      checks the list; *ret_repeated: it was completed before, the answer is in c->found, nothing else is to do
 *   begin     under c->claim on the home key (out of meta_claim, with the plan's ETag and size as its intent): what a
 * Complete of many parts writes ahead; ERR_CONFLICT: a part was uploaded since, plan again publish   c->st is what the
 * store made: name, content and answer; the claim goes What begin wrote is invisible and belongs to the upload: after a
 * failure or a crash plan again. c and what it points to stay the caller's until meta_pass_free (NULL is fine; returns
 * NULL). */
#define META_PART_STORED "forebay-ufs-etag" /* pair of a part's row: the ETag the store gave it */
struct meta_pass {
    char etag[72];
    uint64_t size;
    const char *upload; /* the store's id */
    const struct ufs_part *part;
    size_t n;
};
int meta_pass_plan(struct meta *m, struct meta_complete *c, struct meta_pass **ret, bool *ret_repeated);
int meta_pass_begin(struct meta *m, struct meta_pass *p);
int meta_pass_publish(struct meta *m, struct meta_pass *p);
struct meta_pass *meta_pass_free(struct meta_pass *p);
/* Of an upload that passes through: only with a claim on its key, after the store dropped it. path p NULL: any key. */
int meta_upload_abort(struct meta *m, uint64_t dir, struct str path, const unsigned char id[16]);
int meta_uploads(struct meta *m, uint64_t bucket, struct str prefix, struct str after_key,
                 const unsigned char *after_id, size_t limit, int (*fn)(void *arg, const struct upload *u), void *arg,
                 bool *ret_more);

/* One batch of what a finished, aborted or expired upload leaves behind; a Complete's remembered answer goes. */
struct meta_item;
int meta_upload_clean(struct meta *m, const struct meta_item *it, bool *ret_more);
/* It cannot be ended now: its record moves to due, with one attempt more. */
int meta_upload_later(struct meta *m, const struct meta_item *it, uint64_t due, const char *error);
int meta_answer_forget(struct meta *m, const struct meta_item *it);

/* ---- what background jobs do ---- */

struct meta_item {
    enum queue_kind kind;
    uint64_t due, id;
    struct queue_rec rec; /* error points into the list's memory */
    struct str key;
    bool in_turn; /* given by meta_order_next */
};
struct meta_items {
    struct meta_item *item;
    size_t n;
    uint64_t next_due; /* of the first record not given, UINT64_MAX: none seen */
    struct buf mem;
};
/* Durable records of one kind with due in [from, now], at most max. */
int meta_queue(struct meta *m, enum queue_kind kind, uint64_t from, uint64_t now, size_t max, struct meta_items *ret);
void meta_items_done(struct meta_items *it);
/* Move a record to another due time, with one attempt more and its error; gone records are fine. */
int meta_requeue(struct meta *m, const struct meta_item *it, uint64_t due, int code, const char *error);
int meta_unqueue(struct meta *m, const struct meta_item *it);

/* Persist: claim the home keys of a batch; each item's verdict. */
enum meta_go { META_GO, META_SKIP, META_LATER /* busy or blocked: item is requeued already */ };
struct meta_persist {
    struct meta_item item;
    enum meta_go go;
    uint64_t mount, ino, content, version, size, mtime_ms, nonce;
    enum rec_type type;
    char key[META_KEY_MAX + 8], etag[72];
    bool expect_known; /* the UFS should have: ver, or nothing when "" */
    char expect[96];
    char taken_intent[72]; /* a claim was taken over whose request may have put this there, "" none was */
    char intent[72];       /* what we would put there */
    bool intended;         /* meta_persist_intend was called */
    uint64_t since_ms, gone_ms;
    uint64_t gone_content; /* content whose pages the object there still backs */
    struct buf pairs;
    /* for the mark: */
    int code;     /* 0 done, else why not */
    bool unknown; /* outcome unknown */
    char error[200];
    bool unsent; /* something before it failed: no attempt was made */
    struct ufs_stat st;
};
int meta_persist_claim(struct meta *m, struct meta_persist *p, size_t n);
/* One transaction: done items become clean (or what the namespace has made of them meanwhile), failed ones are requeued
 * with their claim given back or, outcome unknown, kept. due: the due time for failed ones. */
int meta_persist_mark(struct meta *m, struct meta_persist *p, size_t n, const uint64_t *due);

/* A claim was taken over (taken_intent), somebody has looked at the key since, and will send something now: from here
 * on it is what is sent now that may lie there. ver: version of what the request behind the old claim left there, ""
 * nothing of its. ERR_CONFLICT: the claim is another's by now. */
int meta_persist_intend(struct meta *m, struct meta_persist *p, const char *ver);

/* Is what lies in the UFS what the request behind a claim was to put there? intent: "ETAG#SIZE". Where a store makes an
 * ETag of its own (of what is sent in parts here or there, and of copies of that) the size must tell. */
bool meta_intended(const char *intent, const struct ufs_stat *st);
void meta_intent(char intent[72], const char *etag, uint64_t size);

/* Settle. A file: one object is copied from src to dst, then the record switches. A directory: either one atomic rename
 * of the UFS, or its prefix is pushed down to its children, each of which is settled by itself then. */
enum meta_settle_how {
    SETTLE_COPY,
    SETTLE_TAKE_AWAY /* transient: make pages local and pinned, then switch */,
    SETTLE_RENAME,
    SETTLE_PUSH
};
struct meta_settle {
    struct meta_item item;
    enum meta_go go;
    enum meta_settle_how how;
    uint64_t mount, ino, content, nonce;
    char src[META_KEY_MAX + 8], dst[META_KEY_MAX + 8], ver[96], etag[72];
    bool expect_known, taken_over;
    bool src_absent; /* in, SETTLE_RENAME: neither at src nor at dst lay anything */
    bool taken_own;  /* the claim taken over was of this file: a copy of it may lie at dst, under whatever ETag */
    uint64_t size;
    bool loaded;           /* in: SETTLE_PUSH, the direct children were loaded: seal the old prefix */
    bool sealed;           /* out: go on; else load the children, set loaded and claim again */
    char expect[96];       /* version that should lie at dst, "" nothing */
    char taken_intent[72]; /* as in struct meta_persist */
    char intent[72];
    bool intended;
    uint64_t dst_content; /* content the object at dst still backs */
    uint64_t since_ms, gone_ms;
    struct ufs_stat st; /* for the switch: dst as it is now */
};
int meta_settle_claim(struct meta *m, struct meta_settle *s);
int meta_settle_intend(struct meta *m, struct meta_settle *s, const char *ver); /* as meta_persist_intend */
int meta_settle_switch(struct meta *m, struct meta_settle *s);
/* Not done: the claim is given back, or, outcome unknown, kept until its deadline; the record moves to due. */
int meta_settle_giveup(struct meta *m, struct meta_settle *s, bool unknown, uint64_t due, int code, const char *error);
/* The object at src is not the version that is the file's: somebody else changed or removed it. What there is instead
 * decides what becomes of the file; the claim is given back, and what lies at src will appear under its own name. */
enum meta_settle_found {
    SETTLE_FOUND_COPY,    /* a copy that was sent before arrived at dst: not for meta_settle_conflict, but _switch */
    SETTLE_FOUND_VERSION, /* st: the same bytes, another version: the move is tried again with it */
    SETTLE_FOUND_PAGES,   /* all bytes are here and pinned: the file is dirty again */
    SETTLE_FOUND_NOTHING  /* the content is gone: the file's name goes */
};
/* *ret_did: not when the file was changed, renamed back or removed meanwhile. */
int meta_settle_conflict(struct meta *m, struct meta_settle *s, enum meta_settle_found found, bool *ret_did);
/* SETTLE_PUSH, after the directory's direct children were loaded: one batch from dentry name after on (into cursor). */
int meta_settle_push(struct meta *m, struct meta_settle *s, struct buf *cursor, bool *ret_more);

/* Reap: claim a batch of GONE keys for deletion. */
struct meta_reap {
    struct meta_item item; /* id mount, key */
    enum meta_go go;
    uint64_t mount, nonce, gone_ms, content;
    char key[META_KEY_MAX + 8], ver[96], taken_intent[72];
    int code; /* 0: gone, or somebody else's now: forget the row */
    bool unknown;
};
int meta_reap_claim(struct meta *m, struct meta_reap *r, size_t n);
int meta_reap_done(struct meta *m, struct meta_reap *r, size_t n, const uint64_t *due);
/* Is a key seen below a removed prefix some live file's, or newer than the removal? Else it is made GONE with this
 * version, if it is not already. *ret_pending: it is still to leave the UFS. */
int meta_reap_prefix_key(struct meta *m, uint64_t mount, struct str prefix, struct str key, const struct ufs_stat *st,
                         bool *ret_pending);
int meta_reap_prefix_done(struct meta *m, const struct meta_item *it);

/* Does anything but readers still need the object that backs content? Unpersisted contents that borrow from it: fn for
 * each (0 goes on). */
int meta_borrowers(struct meta *m, uint64_t content, int (*fn)(void *arg, uint64_t borrower), void *arg);

/* Are all bytes of this origin's blobs in the UFS for everybody who names them? Then its pages may be evicted. */
int meta_origin_backed(struct meta *m, uint64_t origin, bool *ret);

/* Drop: forget a batch of dead contents that nobody refers to or holds; blobs are told to fn after the commit is
 * durable. */
int meta_drop(struct meta *m, const struct meta_item *it, size_t n, int (*fn)(void *arg, uint64_t blob, uint64_t bytes),
              void *arg, size_t *ret_dropped);
/* One batch below a removed tree; *ret_more: call again. */
int meta_tree(struct meta *m, const struct meta_item *it, bool *ret_more);
/* One batch of the rule walk. */
int meta_rules_walk(struct meta *m, const struct meta_item *it, bool *ret_more);
/* Claims of earlier starts, once after open: keys that no record would bring up again are given to reap. */
int meta_recover(struct meta *m);
/* What the metadata thinks of blobs the page store found at start. verdicts as page.h: 0 pinned, 1 clean, 2 drop. */
struct meta_blob {
    uint64_t blob, content;
    int verdict;
};
int meta_walk(struct meta *m, struct meta_blob *b, size_t n);
/* Persist state of one inode. */
int meta_persist_state(struct meta *m, uint64_t ino, struct meta_item *ret, struct buf *ret_mem);

/* Ordered publication (order.c). Does some rule ask for it? */
bool meta_ordered(const struct meta *m);
/* What the directory of an order record is to do now: items of one kind, one after the other, and nothing behind one
 * that fails. None: the record has moved to when to look again, or is gone. */
struct meta_order {
    struct meta_items items;
    bool looked;  /* else the record was outdated, and nothing is known */
    bool stopped; /* what is waited for has failed again and again */
};
int meta_order_next(struct meta *m, const struct meta_item *it, struct meta_order *ret);
/* rec: of an order record. */
bool meta_order_stopped(const struct queue_rec *rec);
/* What stands first in such a directory; ERR_NOT_FOUND: nothing any more. */
struct meta_order_head {
    struct buf dir, path, error; /* paths; the last error or "" */
    uint64_t since_ms, waiting;  /* waiting: it and those behind it, as far as they are counted */
    unsigned attempts;
    bool deletes; /* it is a deletion */
};
int meta_order_head(struct meta *m, uint64_t dir, struct meta_order_head *ret);
void meta_order_head_done(struct meta_order_head *h);
/* Release a directory from what waits at path. KV_SYNC. */
enum meta_skip {
    META_SKIP_NOTHING,  /* nothing of that path waits for its turn */
    META_SKIP_FILE,     /* stays here, and is not sent until it is written or renamed again */
    META_SKIP_REPLACED, /* a content that was replaced since: forgotten */
    META_SKIP_MOVE,     /* a rename, done out of turn */
    META_SKIP_DELETION  /* a deletion: the same */
};
int meta_order_skip(struct meta *m, struct str path, enum meta_skip *ret);

/* Every rule of rec.h, on a stopped instance; say() gets each breach. has(blob, off, n): is it in the page store (may
 * be NULL). Returns the number of breaches, or an error. */
int meta_fsck(struct meta *m, bool (*has)(void *arg, uint64_t blob, uint64_t off, uint64_t n), void *has_arg,
              void (*say)(void *arg, const char *line), void *say_arg);
