/* SPDX-License-Identifier: Apache-2.0
 *
 * Single records in a transaction: read, write, queue, owner rows and the changes that always go together.
 */
#include "meta/tx.h"

static __thread struct buf scratch; /* the key being built; kv copies it */
static __thread bool scratch_tied;  /* it is freed when the thread ends */
static pthread_key_t scratch_end;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *b)
{
    buf_done(b);
}

static void scratch_make_end(void)
{
    CHECK(pthread_key_create(&scratch_end, scratch_free) == 0, "no thread key");
}

static void scratch_tie(void)
{
    pthread_once(&scratch_once, scratch_make_end);
    pthread_setspecific(scratch_end, &scratch);
    scratch_tied = true;
}

struct str key_str(const char *z)
{
    return str_of(z);
}

static struct str scratch_str(void)
{
    if (__builtin_expect(!scratch_tied, 0))
        scratch_tie();
    return buf_str(&scratch);
}

int tx_dentry(struct kv_tx *tx, uint64_t parent, struct str name, struct dentry *ret)
{
    struct str v;
    key_dentry(&scratch, parent, name);
    TRY(kv_get(tx, scratch_str(), &v));
    return dec_dentry(v, ret);
}

/* A directory's time and number of directories are counters, so that changes in one directory do not wait for each
 * other. */
static void name_changed(struct kv_tx *tx, uint64_t parent, struct str name, uint64_t ino)
{
    key_id(&scratch, 'T', parent);
    kv_max(tx, scratch_str(), clock_wall_ns());
    tx_note(parent, name, ino);
}

static void count_dir(struct kv_tx *tx, uint64_t parent, struct str name, int by)
{
    struct str v;
    if (!name.n || name.p[name.n - 1] != '/')
        return;
    key_dentry(&scratch, parent, name);
    if ((kv_get(tx, scratch_str(), &v) == 0) == (by > 0)) /* there already, or gone already */
        return;
    key_id(&scratch, 'N', parent);
    kv_add(tx, scratch_str(), by);
}

void tx_put_dentry(struct kv_tx *tx, uint64_t parent, struct str name, const struct dentry *d)
{
    struct buf v AUTO_BUF = {0};
    enc_dentry(&v, d);
    count_dir(tx, parent, name, 1);
    key_dentry(&scratch, parent, name);
    kv_put(tx, scratch_str(), buf_str(&v));
    name_changed(tx, parent, name, d->ino);
}

void tx_del_dentry(struct kv_tx *tx, uint64_t parent, struct str name)
{
    count_dir(tx, parent, name, -1);
    key_dentry(&scratch, parent, name);
    kv_del(tx, scratch_str());
    name_changed(tx, parent, name, 0);
}

int tx_inode_raw(struct kv_tx *tx, uint64_t ino, struct inode *ret, struct str *ret_raw)
{
    key_id(&scratch, 'I', ino);
    TRY(kv_get(tx, scratch_str(), ret_raw));
    return dec_inode(*ret_raw, ino, ret);
}

int tx_inode(struct kv_tx *tx, uint64_t ino, struct inode *ret)
{
    struct str raw;
    return tx_inode_raw(tx, ino, ret, &raw);
}

void tx_put_inode(struct kv_tx *tx, const struct inode *i)
{
    struct buf v AUTO_BUF = {0};
    enc_inode(&v, i);
    key_id(&scratch, 'I', i->ino);
    kv_put(tx, scratch_str(), buf_str(&v));
}

void tx_del_xattrs(struct kv_tx *tx, uint64_t ino)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    key_id(&begin, 'X', ino);
    kv_prefix_end(buf_str(&begin), &end);
    struct kv_range r = {.begin = buf_str(&begin), .end = buf_str(&end)};
    do {
        if (kv_range(tx, &r, &rows) < 0) /* the engine's failure: the transaction fails with it */
            return;
        for (size_t i = 0; i < rows.n; i++)
            kv_del(tx, rows.row[i].key);
    } while (rows.more && rows.n);
}

void tx_del_inode(struct kv_tx *tx, uint64_t ino)
{
    struct inode i;
    if (tx_inode(tx, ino, &i) == 0 && i.xattrs)
        tx_del_xattrs(tx, ino);
    key_id(&scratch, 'I', ino);
    kv_del(tx, scratch_str());
    key_id(&scratch, 'A', ino);
    kv_del(tx, scratch_str());
}

void tx_del_dir(struct kv_tx *tx, uint64_t ino)
{
    static const char kinds[] = "LTN";
    tx_del_inode(tx, ino);
    for (const char *k = kinds; *k; k++) {
        key_id(&scratch, *k, ino);
        kv_del(tx, scratch_str());
    }
}

struct str inode_leaf(const struct inode *i, struct buf *b)
{
    if (i->type != REC_DIR)
        return i->name;
    buf_reset(b);
    buf_str_add(b, i->name);
    buf_u8(b, '/');
    return buf_str(b);
}

int tx_content(struct kv_tx *tx, uint64_t id, struct content *ret)
{
    struct str v;
    key_id(&scratch, 'c', id);
    TRY(kv_get(tx, scratch_str(), &v));
    return dec_content(v, id, ret);
}

void tx_put_content(struct kv_tx *tx, const struct content *c)
{
    struct buf v AUTO_BUF = {0};
    enc_content(&v, c);
    key_id(&scratch, 'c', c->id);
    kv_put(tx, scratch_str(), buf_str(&v));
}

int tx_pairs(struct kv_tx *tx, uint64_t ino, struct str *ret)
{
    key_id(&scratch, 'A', ino);
    struct str v;
    int r = kv_get(tx, scratch_str(), &v);
    if (r == ERR_NOT_FOUND) {
        *ret = STR("");
        return 0;
    }
    TRY(r);
    *ret = v;
    return 0;
}

void tx_put_pairs(struct kv_tx *tx, uint64_t ino, struct str pairs)
{
    key_id(&scratch, 'A', ino);
    if (pairs.n)
        kv_put(tx, scratch_str(), pairs);
    else
        kv_del(tx, scratch_str());
}

/* ---- owner rows ---- */

int tx_owner(struct kv_tx *tx, bool prefix, uint64_t mount, struct str key, struct owner *ret)
{
    struct str v;
    key_owner(&scratch, prefix, mount, key);
    int r = kv_get(tx, scratch_str(), &v);
    if (r == ERR_NOT_FOUND) {
        *ret = (struct owner){0};
        return 0;
    }
    TRY(r);
    return dec_owner(v, ret);
}

/* Whoever read the UFS before this may have seen an object that no row hides any longer: it looks again. */
static void bump_epochs(struct kv_tx *tx, uint64_t mount, struct str key)
{
    key_epoch(&scratch, mount, key);
    kv_add(tx, scratch_str(), 1);
    key_epoch_all(&scratch, mount);
    kv_add(tx, scratch_str(), 1);
}

void tx_put_owner(struct kv_tx *tx, bool prefix, uint64_t mount, struct str key, const struct owner *o)
{
    if (o->kind == OWNER_NONE && o->claim == CLAIM_NONE) {
        key_owner(&scratch, prefix, mount, key);
        kv_del(tx, scratch_str());
        bump_epochs(tx, mount, key);
        return;
    }
    struct buf v AUTO_BUF = {0};
    enc_owner(&v, o);
    key_owner(&scratch, prefix, mount, key);
    kv_put(tx, scratch_str(), buf_str(&v));
}

bool owner_claim_live(const struct meta *m, const struct owner *o, unsigned caps)
{
    if (o->claim == CLAIM_NONE)
        return false;
    uint64_t now = clock_wall_ms();
    if (o->boot == m->boot)
        return o->until_ms == 0 || now < o->until_ms;
    /* Its process is dead. What it sent may still take effect for one request deadline after the death, which was
     * before this start; nothing outlives the process where requests die with it. */
    return !(caps & UFS_CAP_CERTAIN) && now < m->boot_ms + m->deadline_ms;
}

void owner_claim(struct meta *m, struct owner *o, enum claim_kind kind, uint64_t ino, uint64_t nonce,
                 const char *intent)
{
    o->claim = kind;
    o->boot = m->boot;
    o->nonce = nonce;
    o->claim_ino = ino;
    o->until_ms = 0;
    snprintf(o->intent, sizeof o->intent, "%s", intent ? intent : "");
}

void owner_unclaim(struct owner *o)
{
    o->claim = CLAIM_NONE;
    o->boot = o->nonce = o->claim_ino = o->until_ms = 0;
    o->intent[0] = 0;
}

void owner_take(struct meta *m, struct owner *o, enum claim_kind kind, uint64_t ino, uint64_t nonce, const char *intent,
                char taken[72])
{
    snprintf(taken, 72, "%s", o->claim != CLAIM_NONE ? o->intent : "");
    owner_claim(m, o, kind, ino, nonce, taken[0] ? taken : intent);
}

void owner_give_back(struct owner *o, const char *taken)
{
    if (!taken[0]) {
        owner_unclaim(o);
        return;
    }
    snprintf(o->intent, sizeof o->intent, "%s", taken);
    o->until_ms = clock_wall_ms(); /* nothing is under way */
}

void tx_queue(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key,
              const struct queue_rec *q)
{
    struct queue_rec fresh = {.since_ms = due};
    struct buf v AUTO_BUF = {0};
    enc_queue(&v, q ? q : &fresh);
    key_queue(&scratch, kind, due, id, key);
    kv_put(tx, scratch_str(), buf_str(&v));
    tx_note_queue(kind);
}

void tx_unqueue(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key)
{
    key_queue(&scratch, kind, due, id, key);
    kv_del(tx, scratch_str());
}

static void drop_reap_record(struct kv_tx *tx, uint64_t mount, struct str key, struct owner *o)
{
    if (o->kind == OWNER_GONE && o->reap_due)
        tx_unqueue(tx, Q_REAP, o->reap_due, mount, key);
    o->reap_due = 0;
}

/* o becomes GONE and has its reap record; putting it is the caller's. */
static void make_gone(struct kv_tx *tx, uint64_t mount, struct str key, struct owner *o, const char *ver,
                      uint64_t content, bool reap)
{
    drop_reap_record(tx, mount, key, o);
    o->turn = o->turn_dir = 0;
    o->kind = OWNER_GONE;
    o->ino = 0;
    o->gone_ms = clock_wall_ms();
    o->content = content;
    snprintf(o->ver, sizeof o->ver, "%s", ver ? ver : "");
    o->reap_due = reap ? o->gone_ms : o->gone_ms + META_REAP_LOOK_MS;
    tx_queue(tx, Q_REAP, o->reap_due, mount, key, NULL);
}

int tx_gone(struct kv_tx *tx, uint64_t mount, struct str key, const char *ver, uint64_t content, bool reap)
{
    struct owner o;
    TRY(tx_owner(tx, false, mount, key, &o));
    make_gone(tx, mount, key, &o, ver, content, reap);
    tx_put_owner(tx, false, mount, key, &o);
    return 0;
}

int tx_intend(struct kv_tx *tx, uint64_t mount, struct str key, uint64_t nonce, const char *ver, const char *intent)
{
    struct owner o;
    TRY(tx_owner(tx, false, mount, key, &o));
    if (o.claim == CLAIM_NONE || o.nonce != nonce)
        return err_set(ERR_STALE, "the claim on the key was lost");
    if (ver[0] && (o.kind != OWNER_GONE || strcmp(o.ver, ver)))
        make_gone(tx, mount, key, &o, ver, 0, false);
    snprintf(o.intent, sizeof o.intent, "%s", intent);
    tx_put_owner(tx, false, mount, key, &o);
    return 0;
}

int tx_reap_if_gone(struct kv_tx *tx, uint64_t mount, struct str key)
{
    struct owner o;
    TRY(tx_owner(tx, false, mount, key, &o));
    if (o.kind != OWNER_GONE || o.turn || (o.reap_due && o.reap_due <= clock_wall_ms()))
        return 0;
    drop_reap_record(tx, mount, key, &o);
    o.reap_due = clock_wall_ms();
    tx_queue(tx, Q_REAP, o.reap_due, mount, key, NULL);
    tx_put_owner(tx, false, mount, key, &o);
    return 0;
}

int tx_content_dead(struct kv_tx *tx, uint64_t content, uint64_t mount, struct str back_key, const char *back_ver)
{
    if (!content)
        return 0;
    struct content c;
    int r = tx_content(tx, content, &c);
    if (r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    c.state = CONTENT_DEAD;
    c.ino = 0;
    c.drop_due = clock_wall_ms();
    c.back = back_key.p ? BACK_KEY : BACK_NONE;
    c.back_mount = back_key.p ? mount : 0;
    c.back_key = back_key.p ? back_key : STR("");
    snprintf(c.back_ver, sizeof c.back_ver, "%s", back_key.p ? back_ver : "");
    tx_put_content(tx, &c);
    tx_queue(tx, Q_DROP, c.drop_due, content, STR(""), NULL);
    return 0;
}

/* ---- a file goes ---- */

int tx_forget_object(struct kv_tx *tx, const struct inode *i, struct str home, struct str ident, bool overwritten,
                     uint64_t backs, struct str *ret_backing)
{
    struct str key = i->loc == LOC_KEY ? i->key : ident;
    bool stays_hidden = overwritten && str_eq(key, home); /* the live file's own persist or settle will replace it */
    if (i->loc == LOC_KEY)
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    TRY(tx_gone(tx, i->mount, key, i->ver, backs, !stays_hidden));
    *ret_backing = key;
    return 0;
}

/* A file that never had an object of its own: what lies at its home key, if anything does, must not come back. */
static int forget_shadowed(struct kv_tx *tx, const struct inode *i, struct str home)
{
    struct owner o;
    TRY(tx_owner(tx, false, i->mount, home, &o));
    if (o.kind == OWNER_GONE)
        return tx_reap_if_gone(tx, i->mount, home);
    if (o.kind == OWNER_NONE && (i->blind || o.claim != CLAIM_NONE))
        return tx_gone(tx, i->mount, home, "", 0, true);
    return 0;
}

/* It is sent first, and its object deleted in its turn. */
static int outrun_goes(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str home)
{
    struct owner o;
    TRY(forget_shadowed(tx, i, home));
    TRY(tx_owner(tx, false, i->mount, home, &o));
    if (o.kind == OWNER_NONE)
        TRY(tx_gone(tx, i->mount, home, "", 0, true));
    return tx_turn_key(tx, m, i->mount, home, NULL);
}

int tx_forget_file(struct kv_tx *tx, struct meta *m, const struct inode *i, const struct place *p, bool overwritten)
{
    char home_z[META_KEY_MAX + 8], ident_z[META_KEY_MAX + 8];
    TRY(place_keys(p, home_z, ident_z));
    struct str home = str_of(home_z), backing = {0};
    bool outrun;
    TRY(tx_outrun(tx, m, i, home, &outrun));
    if (outrun)
        return overwritten ? 0 : outrun_goes(tx, m, i, home);
    if (i->dirty)
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    if (i->loc != LOC_NONE)
        TRY(tx_forget_object(tx, i, home, str_of(ident_z), overwritten, i->content, &backing));
    if (!overwritten && (i->loc == LOC_NONE || i->loc == LOC_KEY))
        TRY(forget_shadowed(tx, i, home));
    if (i->loc != LOC_HOME && strcmp(home_z, ident_z)) /* where the directory lay before nothing comes to replace it */
        TRY(tx_reap_if_gone(tx, i->mount, str_of(ident_z)));
    if (i->loc != LOC_NONE)
        TRY(tx_turn_key(tx, m, i->mount, backing, NULL));
    if (!overwritten)
        TRY(tx_turn_key(tx, m, i->mount, home, NULL));
    return tx_file_end(tx, m, i, backing, i->ver);
}

static int keep_for_openers(struct kv_tx *tx, const struct inode *i, struct str backing, const char *ver)
{
    struct buf k AUTO_BUF = {0};
    struct inode o = *i;
    o.parent = 0;
    o.nlink = 0;
    o.dirty = o.blind = o.no_pairs = false;
    o.transient = true;
    o.loc = LOC_NONE;
    o.key = STR("");
    o.ver[0] = 0;
    o.persist_due = o.settle_due = 0;
    o.turn = o.turn_dir = 0;
    o.ctime_ms = clock_wall_ms();
    tx_put_inode(tx, &o);
    key_id(&k, 'G', i->ino);
    kv_put(tx, buf_str(&k), STR(""));
    tx_note_inode(i->ino);
    if (!i->content)
        return 0;
    struct content c;
    TRY(tx_content(tx, i->content, &c));
    c.back = backing.p ? BACK_KEY : BACK_NONE;
    c.back_mount = backing.p ? i->mount : 0;
    c.back_key = backing.p ? backing : STR("");
    snprintf(c.back_ver, sizeof c.back_ver, "%s", backing.p ? ver : "");
    tx_put_content(tx, &c);
    return 0;
}

int tx_file_end(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str backing, const char *ver)
{
    bool moved;
    TRY(tx_link_promote(tx, m, i, backing, ver, &moved));
    if (moved)
        return 0;
    if (i->link_of)
        TRY(tx_link_detach(tx, i));
    else if (file_is_open(m, i->ino))
        return keep_for_openers(tx, i, backing, ver);
    TRY(tx_content_dead(tx, i->content, i->mount, backing, ver));
    tx_del_inode(tx, i->ino);
    return 0;
}

uint64_t tx_look_again_ms(uint64_t since_ms)
{
    enum { SOONEST_MS = 50, LATEST_MS = 10000 };
    uint64_t now = clock_wall_ms(), wait = now > since_ms ? (now - since_ms) / 8 : 0;
    return now + (wait < SOONEST_MS ? SOONEST_MS : wait > LATEST_MS ? LATEST_MS : wait);
}

void tx_persist_record(struct kv_tx *tx, struct inode *i, uint64_t due_ms)
{
    struct queue_rec q = {.since_ms = clock_wall_ms(), .bytes = i->size};
    i->persist_due = due_ms;
    tx_queue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""), &q);
}

int tx_prefix_release(struct kv_tx *tx, uint64_t mount, struct str prefix)
{
    struct owner o;
    TRY(tx_owner(tx, true, mount, prefix, &o));
    o.kind = o.gone_ms ? OWNER_GONE : OWNER_NONE;
    o.ino = 0;
    owner_unclaim(&o);
    tx_put_owner(tx, true, mount, prefix, &o);
    return 0;
}

bool meta_intended(const char *intent, const struct ufs_stat *st)
{
    const char *hash = strchr(intent, '#');
    struct str etag = hash ? str_mk(intent, (size_t)(hash - intent)) : str_of(intent);
    if (etag.n && str_eq(etag, str_of(st->etag)))
        return true;
    bool parts = memchr(intent, '-', etag.n) || strchr(st->etag, '-');
    return hash && parts && strtoull(hash + 1, NULL, 10) == st->size;
}

void meta_intent(char intent[72], const char *etag, uint64_t size)
{
    snprintf(intent, 72, "%.50s#%llu", etag, (unsigned long long)size);
}
