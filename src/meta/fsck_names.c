/* SPDX-License-Identifier: Apache-2.0
 *
 * fsck: dentries and inodes (R1), what a file is (R2), where its object lies and whose a key is (R3, R4), directories
 * with a prefix of their own (R5), a file's content (R6), mounts.
 */
#include "meta/fsck.h"

#define LLU(x) ((unsigned long long)(x))

static uint64_t first_id(struct str key)
{
    struct cur c = cur_of(key);
    return cur_be64(&c);
}

/* ---- dentries ---- */

static void match_dentry(struct fsck *f, uint64_t parent, struct str name, const struct dentry *d,
                         const struct inode *i)
{
    struct buf leaf AUTO_BUF = {0};
    if (i->parent != parent || !str_eq(inode_leaf(i, &leaf), name))
        fsck_breach(f, d->ino, "R1", "dentry \"%s\" in directory %llu names inode %llu, which is \"%s\" in %llu",
                    fsck_text(name), LLU(parent), LLU(d->ino), fsck_text(inode_leaf(i, &leaf)), LLU(i->parent));
    if (i->type != d->type)
        fsck_breach(f, d->ino, "R1", "dentry \"%s\" says type %d, its inode %llu type %d", fsck_text(name), d->type,
                    LLU(d->ino), i->type);
    if (d->has_prefix != (i->type == REC_DIR && i->key.n))
        fsck_breach(f, d->ino, "R5",
                    "dentry \"%s\" says that directory %llu has %s prefix of its own, its inode the opposite",
                    fsck_text(name), LLU(d->ino), d->has_prefix ? "a" : "no");
}

int fsck_dentry_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct dentry d;
    struct inode i, up;
    bool there;
    uint64_t parent = first_id(r->key);
    struct str name = str_from(r->key, 8);
    TRY(dec_dentry(r->value, &d));
    TRY(fsck_inode(tx, parent, &up, &there));
    if (!there || up.type != REC_DIR)
        fsck_breach(r->f, 0, "R1", "dentry \"%s\" lies in %llu, which is %s", fsck_text(name), LLU(parent),
                    there ? "no directory" : "not there");
    TRY(fsck_inode(tx, d.ino, &i, &there));
    if (there)
        match_dentry(r->f, parent, name, &d, &i);
    else
        fsck_breach(r->f, parent, "R1", "dentry \"%s\" in directory %llu names inode %llu, which is not there",
                    fsck_text(name), LLU(parent), LLU(d.ino));
    return 0;
}

/* ---- inodes ---- */

static int has_dentry(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct buf leaf AUTO_BUF = {0};
    struct dentry d;
    int r = tx_dentry(tx, i->parent, inode_leaf(i, &leaf), &d);
    if (r == ERR_NOT_FOUND || (r == 0 && d.ino != i->ino)) {
        fsck_breach(f, 0, "R1", "inode %llu is \"%s\" in directory %llu, where %s", LLU(i->ino), fsck_text(i->name),
                    LLU(i->parent), r == 0 ? "that name is another inode's" : "that name is not there");
        return 0;
    }
    return r;
}

static int in_mount(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct inode up;
    bool there;
    TRY(fsck_inode(tx, i->parent, &up, &there));
    uint64_t want = i->parent == META_ROOT ? i->ino : up.mount;
    if (there && i->mount != want)
        fsck_breach(f, i->ino, "M", "inode %llu says mount %llu, its directory %llu", LLU(i->ino), LLU(i->mount),
                    LLU(want));
    return 0;
}

static int needs_record(struct kv_tx *tx, struct fsck *f, const struct inode *i, enum queue_kind kind, uint64_t due,
                        const char *rule, const char *why)
{
    bool there;
    TRY(fsck_queued(tx, kind, due, i->ino, STR(""), &there));
    if (!there)
        fsck_breach(f, i->ino, rule, "inode %llu %s but has no %s record at %llu", LLU(i->ino), why,
                    kind == Q_PERSIST ? "persist" : "settle", LLU(due));
    return 0;
}

/* R2: exactly one of clean, dirty, transient. */
static int one_state(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    if (i->dirty && i->transient)
        fsck_breach(f, i->ino, "R2", "inode %llu is dirty and transient at once", LLU(i->ino));
    if (i->dirty && i->loc != LOC_NONE)
        fsck_breach(f, i->ino, "R2", "inode %llu is dirty and yet has an object of its own", LLU(i->ino));
    if (i->transient && i->loc == LOC_HOME)
        fsck_breach(f, i->ino, "R2", "inode %llu is transient and its object lies at home with nothing to take it away",
                    LLU(i->ino));
    bool clean = !i->dirty && !i->transient;
    if (i->type != REC_DIR && clean && i->loc == LOC_NONE)
        fsck_breach(f, i->ino, "R2", "inode %llu is neither dirty nor transient and has no object", LLU(i->ino));
    if (i->loc != LOC_NONE && !i->ver[0])
        fsck_breach(f, i->ino, "R2", "inode %llu has an object of unknown version", LLU(i->ino));
    if (i->dirty)
        TRY(needs_record(tx, f, i, Q_PERSIST, i->persist_due, "R2", "is dirty"));
    return 0;
}

/* R10 */
static int inode_in_turn(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct buf k AUTO_BUF = {0};
    bool send = i->type != REC_DIR && i->dirty, there = true;
    bool move = i->parent && (i->type == REC_DIR ? i->key.n > 0 : i->loc == LOC_KEY);
    uint64_t due = send ? i->persist_due : i->settle_due;
    if (!send && !move)
        return 0;
    if (due != rec_due(due, i->turn))
        fsck_breach(f, i->ino, "R10", "inode %llu has %s turn, and its record at %llu says the opposite", LLU(i->ino),
                    i->turn ? "a" : "no", LLU(due));
    key_turn(&k, i->turn_dir, i->turn, i->ino);
    if (i->turn)
        TRY(fsck_there(tx, buf_str(&k), &there));
    if (!there)
        fsck_breach(f, i->ino, "R10", "inode %llu waits for turn %llu in directory %llu, which does not know",
                    LLU(i->ino), LLU(i->turn), LLU(i->turn_dir));
    return 0;
}

static int at_home(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct place p;
    struct owner o;
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    int r = tx_climb(tx, i, &p);
    if (r == ERR_STALE) /* below a removed tree */
        return 0;
    TRY(r);
    TRY(place_keys(&p, home, ident));
    TRY(tx_owner(tx, false, i->mount, str_of(ident), &o));
    if (o.kind != OWNER_NONE)
        fsck_breach(f, i->ino, "R3", "the object of inode %llu lies at home, and the owner row of %s says %s",
                    LLU(i->ino), fsck_text(str_of(ident)), o.kind == OWNER_GONE ? "it is gone" : "it is another's");
    return 0;
}

static int away_from_home(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct owner o;
    TRY(tx_owner(tx, false, i->mount, i->key, &o));
    if (o.kind != OWNER_MOVED || o.ino != i->ino)
        fsck_breach(f, i->ino, "R3", "the object of inode %llu lies at %s, and no owner row says so", LLU(i->ino),
                    fsck_text(i->key));
    return needs_record(tx, f, i, Q_SETTLE, i->settle_due, "R3", "has its object away from home");
}

/* R6, seen from the file. */
static int owns_content(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct content c;
    bool there;
    if (!i->content) {
        if (i->size)
            fsck_breach(f, i->ino, "R6", "inode %llu has %llu bytes and no content", LLU(i->ino), LLU(i->size));
        return 0;
    }
    fsck_id(f, i->content, "content");
    TRY(fsck_content(tx, i->content, &c, &there));
    if (!there) {
        fsck_breach(f, i->ino, "R6", "content %llu of inode %llu is not there", LLU(i->content), LLU(i->ino));
        return 0;
    }
    if (c.state != CONTENT_LIVE || c.ino != i->ino)
        fsck_breach(f, i->ino, "R6", "content %llu of inode %llu is not live and its own", LLU(i->content),
                    LLU(i->ino));
    if (c.size != i->size)
        fsck_breach(f, i->ino, "R6", "inode %llu has %llu bytes, its content %llu", LLU(i->ino), LLU(i->size),
                    LLU(c.size));
    if ((i->loc != LOC_NONE) != (c.back == BACK_INODE))
        fsck_breach(f, i->ino, "R6", "content %llu says that it is %sbacked by inode %llu, which %s an object",
                    LLU(i->content), c.back == BACK_INODE ? "" : "not ", LLU(i->ino),
                    i->loc != LOC_NONE ? "has" : "has not");
    return 0;
}

static int links_of(struct kv_tx *tx, struct fsck *f, const struct inode *i);

static int file_rules(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    TRY(links_of(tx, f, i));
    TRY(one_state(tx, f, i));
    if (i->loc == LOC_HOME)
        TRY(at_home(tx, f, i));
    if (i->loc == LOC_KEY)
        TRY(away_from_home(tx, f, i));
    return owns_content(tx, f, i);
}

static int dir_rules(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct owner o;
    if (!i->parent) /* a removed tree: its prefix is only remembered */
        return 0;
    TRY(one_state(tx, f, i));
    if (i->loc == LOC_KEY || i->content)
        fsck_breach(f, i->ino, "R2", "directory %llu has what only files have", LLU(i->ino));
    if ((i->dirty || i->transient || i->loc != LOC_NONE) && !i->explicit_dir)
        fsck_breach(f, i->ino, "R2", "directory %llu is implied and has the state of an object", LLU(i->ino));
    if (!i->key.n)
        return i->loc == LOC_HOME ? at_home(tx, f, i) : 0;
    TRY(tx_owner(tx, true, i->mount, i->key, &o));
    if (o.kind != OWNER_MOVED || o.ino != i->ino)
        fsck_breach(f, i->ino, "R5", "directory %llu has the prefix %s, and no prefix row says so", LLU(i->ino),
                    fsck_text(i->key));
    return needs_record(tx, f, i, Q_SETTLE, i->settle_due, "R5", "has a prefix of its own");
}

int fsck_inode_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct fsck *f = r->f;
    struct inode i;
    uint64_t ino = first_id(r->key);
    TRY(dec_inode(r->value, ino, &i));
    if (ino == META_ROOT) {
        if (i.type != REC_DIR || i.parent)
            fsck_breach(f, 0, "R1", "the root is no directory, or lies in another");
        return 0;
    }
    fsck_id(f, ino, "inode");
    if (!i.parent) {
        f->s.removed += i.type == REC_DIR;
        struct buf k AUTO_BUF = {0};
        bool open = false;
        key_id(&k, 'G', ino);
        TRY(fsck_there(tx, buf_str(&k), &open));
        if (i.type != REC_DIR && !open && !is_outrun(&i))
            fsck_breach(f, 0, "R1", "inode %llu (%s) has no parent", LLU(ino), fsck_text(i.name));
    } else {
        TRY(has_dentry(tx, f, &i));
        TRY(in_mount(tx, f, &i));
    }
    TRY(inode_in_turn(tx, f, &i));
    return i.type == REC_DIR ? dir_rules(tx, f, &i) : file_rules(tx, f, &i);
}

int fsck_pairs_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct inode i;
    bool there;
    struct cur c = cur_of(r->value);
    struct str n, v;
    TRY(fsck_inode(tx, first_id(r->key), &i, &there));
    if (!there)
        fsck_breach(r->f, 0, "P", "pairs of inode %llu, which is not there", LLU(first_id(r->key)));
    while (pairs_next(&c, &n, &v))
        ;
    if (c.bad)
        fsck_breach(r->f, first_id(r->key), "K", "malformed pairs of inode %llu", LLU(first_id(r->key)));
    return 0;
}

int fsck_link_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct cur c = cur_of(str_from(r->key, 8));
    uint64_t file = first_id(r->key), name = cur_be64(&c);
    struct inode f, n;
    bool there, also;
    TRY(fsck_inode(tx, file, &f, &there));
    TRY(fsck_inode(tx, name, &n, &also));
    if (!there || !also || n.link_of != file || f.type != n.type || f.size != n.size)
        fsck_breach(r->f, also ? name : 0, "R1", "inode %llu is said to be another name of %llu, and is not", LLU(name),
                    LLU(file));
    return 0;
}

static int links_of(struct kv_tx *tx, struct fsck *f, const struct inode *i)
{
    struct buf k AUTO_BUF = {0};
    bool there = true;
    size_t n = 0;
    if (i->link_of) {
        key_link(&k, i->link_of, i->ino);
        TRY(fsck_there(tx, buf_str(&k), &there));
    }
    if (!there)
        fsck_breach(f, i->ino, "R1", "inode %llu says that it is a name of %llu, which does not know", LLU(i->ino),
                    LLU(i->link_of));
    if (i->nlink < 2)
        return 0;
    uint64_t *name AUTO_FREE = calloc(i->nlink + 1, sizeof *name);
    if (!name)
        return ERR_NOMEM;
    TRY(tx_links(tx, i->ino, name, i->nlink + 1, &n));
    if (n + 1 != i->nlink)
        fsck_breach(f, i->ino, "R1", "inode %llu counts %u names and has %zu", LLU(i->ino), i->nlink, n + 1);
    return 0;
}

int fsck_xattr_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, first_id(r->key), &i, &there));
    if (!there || !i.xattrs)
        fsck_breach(r->f, 0, "P", "an extended attribute of inode %llu, which %s", LLU(first_id(r->key)),
                    there ? "says that it has none" : "is not there");
    return 0;
}

int fsck_unnamed_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, first_id(r->key), &i, &there));
    if (!there || i.parent || i.type == REC_DIR)
        fsck_breach(r->f, 0, "R1", "%llu is said to be a file without a name, and %s", LLU(first_id(r->key)),
                    there ? "has one" : "is not there");
    return 0;
}

static int counter_of_dir(struct kv_tx *tx, struct fsck_row *r, const char *what)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, first_id(r->key), &i, &there));
    if (!there || i.type != REC_DIR || r->value.n != 8)
        fsck_breach(r->f, 0, "P", "the %s of %llu, which is no directory", what, LLU(first_id(r->key)));
    return 0;
}

int fsck_dir_time_row(struct kv_tx *tx, struct fsck_row *r)
{
    return counter_of_dir(tx, r, "time");
}

int fsck_dir_count_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    uint64_t n = 0, dir = first_id(r->key);
    key_id(&begin, 'D', dir);
    kv_prefix_end(buf_str(&begin), &end);
    TRY(counter_of_dir(tx, r, "number of directories"));
    struct inode at;
    bool there;
    TRY(fsck_inode(tx, dir, &at, &there));
    if (there && !at.parent && dir != META_ROOT) /* its names go batch by batch, the row with the last */
        return 0;
    for (bool more = true; more;) {
        struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = 1000};
        struct kv_rows rows;
        TRY(kv_range(tx, &range, &rows));
        for (size_t i = 0; i < rows.n; i++)
            n += rows.row[i].key.p[rows.row[i].key.n - 1] == '/';
        more = rows.more && rows.n;
        if (!more)
            break;
        buf_reset(&begin);
        buf_str_add(&begin, rows.row[rows.n - 1].key);
        buf_u8(&begin, 0);
    }
    if (n != kv_counter(r->value))
        fsck_breach(r->f, dir, "P", "directory %llu holds %llu directories and counts %llu", LLU(dir), LLU(n),
                    LLU(kv_counter(r->value)));
    return 0;
}

int fsck_known_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, first_id(r->key), &i, &there));
    if (!there || i.type != REC_DIR)
        fsck_breach(r->f, 0, "L", "%llu is said to be loaded and is no directory", LLU(first_id(r->key)));
    return 0;
}

/* ---- owner rows ---- */

static int mount_there(struct kv_tx *tx, struct fsck *f, uint64_t mount, const char *what)
{
    struct buf k AUTO_BUF = {0};
    bool there;
    key_id(&k, 'M', mount);
    TRY(fsck_there(tx, buf_str(&k), &there));
    if (!there)
        fsck_breach(f, 0, what[0] == 'e' ? "E" : "M", "%s of mount %llu, which is not there", what, LLU(mount));
    return 0;
}

static int moved_object(struct kv_tx *tx, struct fsck *f, uint64_t mount, struct str key, const struct owner *o)
{
    struct inode i;
    bool there;
    TRY(fsck_inode(tx, o->ino, &i, &there));
    if (!there || i.type == REC_DIR || i.loc != LOC_KEY || i.mount != mount || !str_eq(i.key, key))
        fsck_breach(f, there ? o->ino : 0, "R3",
                    "the owner row of %s says that it is the object of inode %llu, which %s", fsck_text(key),
                    LLU(o->ino), there ? "lies elsewhere" : "is not there");
    return 0;
}

/* Whose move left the key is not in its row: any row of that turn will do. */
static int key_in_turn(struct kv_tx *tx, struct fsck *f, uint64_t mount, struct str key, const struct owner *o)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    bool there = false;
    key_turn(&begin, o->turn_dir, o->turn, 0);
    key_turn(&end, o->turn_dir, o->turn + 1, 0);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end)};
    TRY(kv_range(tx, &r, &rows));
    for (size_t i = 0; i < rows.n && !there; i++) {
        struct turn t;
        TRY(dec_turn(rows.row[i].value, &t));
        there = !t.ino && t.mount == mount && str_eq(t.key, key);
    }
    if (!there || o->reap_due != rec_due(o->reap_due, o->turn))
        fsck_breach(f, 0, "R10", "the deletion of %s waits for turn %llu in directory %llu, which does not know",
                    fsck_text(key), LLU(o->turn), LLU(o->turn_dir));
    return 0;
}

static int gone_object(struct kv_tx *tx, struct fsck *f, uint64_t mount, struct str key, const struct owner *o)
{
    bool there;
    TRY(fsck_queued(tx, Q_REAP, o->reap_due, mount, key, &there));
    if (!there)
        fsck_breach(f, 0, "R4", "%s belongs to nobody, and its reap record is not there", fsck_text(key));
    return o->turn || o->reap_due & REC_TURN ? key_in_turn(tx, f, mount, key, o) : 0;
}

int fsck_owner_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct owner o;
    uint64_t mount = first_id(r->key);
    struct str key = str_from(r->key, 8);
    TRY(dec_owner(r->value, &o));
    TRY(mount_there(tx, r->f, mount, "owner row"));
    if (o.kind == OWNER_MOVED)
        return moved_object(tx, r->f, mount, key, &o);
    if (o.kind == OWNER_GONE)
        return gone_object(tx, r->f, mount, key, &o);
    if (o.claim == CLAIM_NONE)
        fsck_breach(r->f, 0, "R3", "the owner row of %s says nothing", fsck_text(key));
    return 0;
}

int fsck_prefix_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct owner o;
    struct inode i;
    bool there;
    uint64_t mount = first_id(r->key);
    struct str prefix = str_from(r->key, 8);
    TRY(dec_owner(r->value, &o));
    TRY(mount_there(tx, r->f, mount, "prefix row"));
    if (prefix.p[prefix.n - 1] != '/')
        fsck_breach(r->f, 0, "R5", "prefix row %s does not end in '/'", fsck_text(prefix));
    if (o.kind == OWNER_MOVED) {
        TRY(fsck_inode(tx, o.ino, &i, &there));
        if (!there || i.type != REC_DIR || i.mount != mount || !str_eq(i.key, prefix))
            fsck_breach(r->f, there ? o.ino : 0, "R5", "prefix row %s names directory %llu, which %s",
                        fsck_text(prefix), LLU(o.ino), there ? "lies elsewhere" : "is not there");
    }
    if ((o.kind == OWNER_GONE || o.reap_due) && !o.gone_ms)
        fsck_breach(r->f, 0, "R4", "prefix %s belongs to nobody since an unknown time", fsck_text(prefix));
    if (o.gone_ms) {
        TRY(fsck_queued(tx, Q_PREFIX, o.reap_due, mount, prefix, &there));
        if (!there)
            fsck_breach(r->f, 0, "R4", "what lay below prefix %s belongs to nobody, and its reap record is not there",
                        fsck_text(prefix));
    } else if (o.kind == OWNER_NONE && o.claim == CLAIM_NONE) {
        fsck_breach(r->f, 0, "R5", "prefix row %s says nothing", fsck_text(prefix));
    }
    return 0;
}

int fsck_epoch_row(struct kv_tx *tx, struct fsck_row *r)
{
    if (r->value.n != 8)
        fsck_breach(r->f, 0, "K", "malformed epoch");
    return mount_there(tx, r->f, first_id(r->key), "epoch");
}

int fsck_mount_row(struct kv_tx *tx, struct fsck_row *r)
{
    struct mount_rec rec;
    struct inode i;
    bool there;
    uint64_t id = first_id(r->key);
    TRY(dec_mount(r->value, id, &rec));
    TRY(fsck_inode(tx, id, &i, &there));
    if (!there || i.type != REC_DIR || i.mount != id || i.parent != (rec.removing ? 0 : META_ROOT))
        fsck_breach(r->f, 0, "M", "mount %s (%llu) has no directory of its own in the root", fsck_text(rec.path),
                    LLU(id));
    return 0;
}
