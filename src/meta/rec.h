/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of the namespace: their keys, their values, one codec. Every value starts with a format byte; an unknown
 * one is ERR_VERSION. Names are raw bytes at the end of a key, so KV order is name order.
 *
 *   key                              value
 *   D parent(8) name                 dentry; a directory's name ends in '/', so "a" and "a/" can both exist
 *   I ino(8)                         inode
 *   A ino(8)                         pairs kept beside the bytes (headers, user metadata, tags, checksums)
 *   c content(8)                     content: state, owner, backing, up to REC_INLINE extents
 *   C content(8) offset(8)           up to REC_CHUNK extents that start at offset
 *   R content(8) borrower(8)         borrower's extents name blobs of content
 *   r borrower(8) content(8)         the same, from the other end
 *   O mount(8) key                   owner of a UFS key: moved, gone, claimed (see struct owner)
 *   o mount(8) prefix/               the same for all keys below a prefix
 *   E mount(8) bucket(2)             epoch: bumped when a claim or owner row below a UFS directory is removed
 *   L dir(8)                         how long the directory is known to be completely loaded
 *   Q kind due(8) id(8) [key]        queues: what background jobs are to do, in order of their due time
 *   M mount(8)                       mount
 *   U upload(16)                     multipart upload;   u bucket(8) key NUL upload(16)  its index by key
 *   V upload(16) part(2)             uploaded part
 *   W upload(16)                     the answer a finished Complete gave
 *   P                                path configuration (JSON)
 *   Y dir(8)                         directory with ordered publications that wait: due time of its Q_ORDER record
 *   Y dir(8) turn(8) id(8)           one of them: whose turn it is (struct turn); see order.c
 *   Y place(8) turn(8) id(8)         the same of a deletion, by the place of its key (REC_PLACE)
 *   T dir(8)                         counter: nanoseconds since 1970 of the last change of a name in it
 *   N dir(8)                         counter: directories directly in it
 *   X ino(8) name                    extended attribute
 *   H ino(8) name(8)                 hard links: the inode of a file, that of another of its names
 *   G ino(8)                         file without a name that somebody has open: forgotten at its last close, or at a
 * start Z content(8)                     a content that was published lazily and may be ahead of its pages after a
 * power loss: its inode, and the inode's record before it J id                             job of the admin endpoint
 * (JSON) S name                           format, ids, boots, turns
 *
 * Invariants (fsck checks each; "file" is any inode that is no directory):
 *   R1  dentry -> inode -> the same parent and name; every inode but the root is named by a dentry, is a removed tree
 *       that a tree record names, or a file that a G row names
 *   R2  a file is exactly one of: clean (loc HOME or KEY, version known, no persist record), dirty (loc NONE, one
 * persist record), transient (loc NONE, no record; or loc KEY with a settle record while its object is being taken
 * away) R3  loc KEY k  <=>  O[k] is MOVED by this inode; loc KEY has one settle record. loc HOME: O[home] has no owner
 * part R4  O[k] GONE has a reap record (which waits while a live file at home k will overwrite it or shadows it) R5  a
 * directory with an explicit prefix p: o[p] is MOVED by it, and it has one settle record R6  a file's content exists,
 * is LIVE, owned by it, and its extents cover its size exactly (blob 0: a hole, zeros) R7  extents of a content that
 * name another origin have an R and an r row there; an origin that extents name is never forgotten (a row may outlive
 * what it was for: of a part that was replaced or left out; it goes with the origin) R8  all bytes of a dirty or
 * transient content are in the page store R9  a content that is neither owned by an inode, nor an upload's, has a drop
 * record R10 a record of a file or key that waits for its turn has REC_TURN in its due time, and the turn's row is
 * there R11 a Y row of a directory alone has an order record; every other Y row has that row
 */
#pragma once
#include "kv/kv.h"

enum { REC_INLINE = 4, REC_CHUNK = 512, REC_VERSION = 1, REC_EPOCHS = 4096 };
/* A number for a place in the UFS, in Y keys instead of a directory's. */
#define REC_PLACE (1ull << 63)
/* In the due time of a record that waits for its turn: no lane but the one that keeps the order takes it. */
#define REC_TURN (1ull << 62)

/* When such a record falls due: at the same time, in its turn (0: in none). */
static inline uint64_t rec_due(uint64_t due, uint64_t turn)
{
    return (due & ~REC_TURN) | (turn ? REC_TURN : 0);
}

enum rec_type { REC_FILE = 1, REC_DIR = 2, REC_SYMLINK = 3, REC_FIFO = 4, REC_SOCKET = 5, REC_CHAR = 6, REC_BLOCK = 7 };
enum rec_loc { LOC_NONE, LOC_HOME, LOC_KEY };

struct dentry {
    uint64_t ino;
    enum rec_type type;
    bool has_prefix; /* directory with an explicit prefix: the walk must read its inode */
};

struct inode {
    uint64_t ino, parent, mount;
    enum rec_type type;
    bool explicit_dir; /* directory made by mkdir or as an object */
    bool dirty;        /* its content is not in the UFS and shall be */
    bool transient;    /* its content is not in the UFS and shall not be */
    bool no_pairs;     /* came from a listing: its pairs have not been asked for yet (clean files only) */
    bool blind;        /* nobody has asked the UFS what lies at its home key (dirty and transient files only) */
    bool xattrs;       /* X rows exist */
    bool posix;        /* mode, uid and gid were given; else whoever shows them decides */
    bool skipped;      /* transient because somebody released its directory from it */
    uint32_t mode, uid, gid, nlink;
    uint32_t rdev; /* devices */
    uint64_t size, mtime_ms, ctime_ms, content;
    uint32_t mtime_frac, ctime_frac; /* nanoseconds within the millisecond */
    uint64_t atime_ns;               /* since 1970; 0: as mtime */
    uint64_t link_of;                /* another name of that file; 0: none */
    uint64_t version;                /* of its content: moves with each change in place */
    uint64_t holes;                  /* bytes of it that are holes */
    uint64_t persist_due;            /* due time of its persist record (dirty) */
    uint64_t settle_due;             /* due time of its settle record (loc KEY; directory with explicit prefix) */
    uint64_t checked_ms;             /* when the UFS was last known to hold this version */
    uint64_t turn; /* its place in the order of publications, 0: none; and the directory that sees to it */
    uint64_t turn_dir;
    enum rec_loc loc;
    char etag[72];
    char ver[96];    /* version of its UFS object (clean) */
    struct str name; /* without the final '/' ; points into the record or the caller's memory */
    struct str key;  /* loc KEY: the UFS key; directory: explicit prefix, ends in '/'; outrun (order.c): its home */
};

struct extent {
    uint64_t len, blob, blob_off; /* blob 0: a hole */
    uint64_t origin, origin_off;  /* the content the blob was written for, and where in it this piece lies */
    uint32_t part;                /* part number it was uploaded as, 0: none */
};

enum content_state { CONTENT_BUILDING = 1, CONTENT_LIVE = 2, CONTENT_DEAD = 3 };
enum content_backing { BACK_NONE, BACK_INODE, BACK_KEY };

struct content {
    uint64_t id, ino; /* ino: owner while LIVE; BUILDING: 0 */
    uint64_t version; /* as its inode's */
    enum content_state state;
    enum content_backing back;
    uint64_t size;
    bool chunked;        /* extents are in C rows */
    bool borrows;        /* some extent has, or had, another origin: r rows name them */
    uint32_t parts;      /* how many parts it was uploaded in; 0: one PUT */
    uint64_t back_mount; /* BACK_KEY */
    struct str back_key;
    char back_ver[96];
    uint64_t drop_due; /* DEAD: its drop record */
    size_t n;
    struct extent inl[REC_INLINE];
};

/* What a UFS key is, where that is not what the namespace path says.
 *   owner part: none; MOVED: the object belongs to ino, which lives elsewhere; GONE: the object (this version, or,
 * where none is known, anything not newer than gone_ms) belongs to nobody, is hidden and will be deleted or
 * overwritten. claim part: a request that changes the key is under way, was sent by a process that died, or has an
 * unknown outcome. */
enum owner_kind { OWNER_NONE, OWNER_MOVED, OWNER_GONE };
enum claim_kind {
    CLAIM_NONE,
    CLAIM_PUT,
    CLAIM_COPY_TO,
    CLAIM_DELETE,
    CLAIM_RENAME,
    CLAIM_THROUGH /* a PUT or DELETE that is acknowledged by the UFS: its file may not be renamed meanwhile */
};
struct owner {
    enum owner_kind kind;
    uint64_t ino;            /* MOVED; prefix rows: the directory */
    char ver[96];            /* GONE: "" when not known */
    uint64_t gone_ms;        /* GONE: when */
    uint64_t content;        /* GONE: the content whose missing pages this object backs, 0: none */
    uint64_t reap_due;       /* GONE: its reap record, 0: none (a live file at home will overwrite it) */
    uint64_t turn, turn_dir; /* GONE: as in struct inode */
    enum claim_kind claim;
    uint64_t boot, nonce; /* who claimed */
    uint64_t claim_ino;
    uint64_t until_ms; /* outcome unknown: may take effect until then; 0: under way */
    char intent[72];   /* ETag#SIZE of what a request sent under this claim, or under one that was taken over and that
                          nobody   has looked for yet, may have put there; "": nothing */
};

enum queue_kind {
    Q_PERSIST = 'P',
    Q_SETTLE = 'S',
    Q_REAP = 'R',
    Q_PREFIX = 'X', /* reap what lies below a removed prefix */
    Q_DROP = 'D',   /* content */
    Q_BLOB = 'B',   /* single blob of an upload that is not used any more */
    Q_TREE = 'T',
    Q_UPLOAD = 'U', /* expiry of an upload */
    Q_ANSWER = 'W', /* expiry of a Complete's answer */
    Q_RULES = 'C',  /* look below a directory for files that became persistable */
    Q_ORDER = 'O'   /* directory whose publications are ordered: the next one */
};
struct queue_rec {
    uint64_t since_ms;
    uint32_t attempts;
    uint64_t bytes;   /* Q_BLOB: length; Q_PERSIST: size */
    struct str error; /* last error, at most 200 bytes */
};

/* One ordered publication: of a file, or the deletion of a key. */
struct turn {
    uint64_t dir;   /* whose job does it; other directories only wait for it */
    uint64_t top;   /* outermost directory that is ordered */
    bool wide;      /* waits for all that is before it below top (deletions) */
    uint64_t ino;   /* 0: of a key */
    uint64_t place; /* the directory's place in the UFS (rec_place): what is deleted there is waited for, whichever
                       directory it was in */
    uint64_t mount;
    struct str key;
};

struct upload {
    unsigned char id[16];
    uint64_t bucket, content, start_ms, revision; /* revision: bumped by every part */
    uint64_t expire_due;
    uint32_t mode, uid, gid;
    bool completing;  /* an extent list is being written ahead */
    struct str key;   /* relative to the bucket */
    struct str ufs;   /* pass-through: the store's upload id, else empty */
    struct str pairs; /* encoded pairs */
};
struct part {
    uint64_t size, mtime_ms;
    char etag[72];
    struct str pairs; /* encoded: checksums */
    size_t n;
    struct extent *ext; /* decoded on demand: see part_extents */
    struct str ext_raw;
};
struct answer {
    uint64_t ino, size, mtime_ms, due;
    char etag[72];
    struct str parts_digest; /* MD5 of the part list it was given */
};
struct mount_rec {
    uint64_t id, ino;
    struct str path, uri, options; /* options: "k=v\n" lines */
    unsigned caps;                 /* of the UFS when it was last reached */
    bool removing;
};

/* Keys, into b (cleared first). */
void key_dentry(struct buf *b, uint64_t parent, struct str name);
void key_id(struct buf *b, char kind, uint64_t id); /* I A c L M T N G Z */
void key_chunk(struct buf *b, uint64_t content, uint64_t off);
void key_ref(struct buf *b, uint64_t content, uint64_t borrower);
void key_ref_back(struct buf *b, uint64_t borrower, uint64_t content);
void key_link(struct buf *b, uint64_t file, uint64_t name);
void key_xattr(struct buf *b, uint64_t ino, struct str name);
void key_owner(struct buf *b, bool prefix, uint64_t mount, struct str key);
void key_epoch(struct buf *b, uint64_t mount, struct str ufs_key);
void key_epoch_all(struct buf *b, uint64_t mount); /* bumped with each of the mount's epochs */
void key_queue(struct buf *b, enum queue_kind kind, uint64_t due, uint64_t id, struct str key);
void key_upload(struct buf *b, char kind, const unsigned char id[16]); /* U W, and V without part */
void key_part(struct buf *b, const unsigned char id[16], unsigned part);
void key_upload_index(struct buf *b, uint64_t bucket, struct str key, const unsigned char id[16]);
void key_sys(struct buf *b, const char *name);
void key_turns(struct buf *b, uint64_t dir);
void key_turn(struct buf *b, uint64_t dir, uint64_t turn, uint64_t id);

/* Values. enc_* append to b (cleared first); dec_*: 0, ERR_VERSION, ERR_CORRUPT; strings point into v. */
void enc_dentry(struct buf *b, const struct dentry *d);
int dec_dentry(struct str v, struct dentry *ret);
void enc_inode(struct buf *b, const struct inode *i);
int dec_inode(struct str v, uint64_t ino, struct inode *ret);
void enc_content(struct buf *b, const struct content *c);
int dec_content(struct str v, uint64_t id, struct content *ret);
void enc_extents(struct buf *b, const struct extent *e, size_t n);
int dec_extents(struct str v, struct extent *ret, size_t max, size_t *ret_n);
void enc_owner(struct buf *b, const struct owner *o);
int dec_owner(struct str v, struct owner *ret);
void enc_queue(struct buf *b, const struct queue_rec *q);
int dec_queue(struct str v, struct queue_rec *ret);
/* Taking a queue key apart: false when it is none. */
bool dec_queue_key(struct str key, enum queue_kind *ret_kind, uint64_t *ret_due, uint64_t *ret_id, struct str *ret_key);
void enc_turn(struct buf *b, const struct turn *t);
int dec_turn(struct str v, struct turn *ret);
void enc_upload(struct buf *b, const struct upload *u);
int dec_upload(struct str v, const unsigned char id[16], struct upload *ret);
void enc_part(struct buf *b, const struct part *p);
int dec_part(struct str v, struct part *ret);
void enc_answer(struct buf *b, const struct answer *a);
int dec_answer(struct str v, struct answer *ret);
void enc_mount(struct buf *b, const struct mount_rec *m);
int dec_mount(struct str v, uint64_t id, struct mount_rec *ret);

/* Pairs: name and value, any number. */
void pairs_add(struct buf *b, struct str name, struct str value);
bool pairs_next(struct cur *c, struct str *ret_name, struct str *ret_value);
bool pairs_get(struct str pairs, struct str name, struct str *ret_value);
/* base with what over gives replaced; a pair in over with an empty value removes. */
void pairs_merge(struct buf *out, struct str base, struct str over);
