/* SPDX-License-Identifier: Apache-2.0
 *
 * Ordered publication: where the path configuration asks for it, what is committed in a directory appears in the UFS in
 * the order of the commits. A publication is a file that is sent, an object that moves to its file's home, or an object
 * that is deleted.
 *
 * Each takes a turn, a number of one counter that its commit reads and writes, so that turns are in commit order. The
 * subject (inode, or owner row of a key) remembers its newest turn; a Y row says it for the directory, and for every
 * directory above that is ordered as well. The subject's queue record is out of the lanes' sight (REC_TURN); the order
 * job of the directory takes what stands first, does it, and only then looks for the next. What stands first in a
 * directory above and belongs to one below is waited for. So a file waits for all that was committed before it in its
 * directory and below; a deletion for all that was committed before it below the outermost ordered directory.
 *
 * A directory that goes with its last name and is made again is another one. So deletions have rows by the place of
 * their key in the UFS as well, and what is published at a place waits for those.
 *
 * Rows are never removed where something ends: one whose subject has another turn, or nothing to publish any more, is
 * dead, and the job removes it when it comes by. Waiting is always for a smaller number, so nothing waits for itself;
 * what stands in the way of something before it (tx_hurry) gives its own turn up.
 *
 * A file that is replaced or deleted while it waits, with others behind it, is outrun: its inode stays, without a name,
 * and is sent at its turn to the key its name had (i.key), so that those behind it never appear without it. It is
 * forgotten when the name does not wait any more.
 *
 * Nothing of this is looked at while no rule asks for an order: m->ordered.
 */
#include "meta/tx.h"

enum { DEPTH = 64, LOOK = 256, OTHER_MS = 50, POLL_MS = 1000, BATCH_FILES = 32, BATCH_BYTES = 8 << 20, ALL = 16384 };

struct dirs {
    uint64_t dir[2 * DEPTH], place[DEPTH]; /* place: of the first ones */
    size_t n, places;
};

bool meta_ordered(const struct meta *m)
{
    return atomic_load_explicit(&((struct meta *)m)->ordered, memory_order_relaxed);
}

/* ---- which directories ---- */

static size_t parent_of(struct str path, size_t base)
{
    size_t n = path.n - 1;
    while (n > base && path.p[n - 1] != '/')
        n--;
    return n;
}

static uint64_t place_of(uint64_t mount, struct str prefix)
{
    uint64_t h[2] = {mount, str_hash(prefix)};
    return str_hash(str_mk(h, sizeof h)) | REC_PLACE;
}

/* As many places: the key's own directory, whether it is there or not, and those above it. */
static void ordered_places(const struct place *p, const char *path, size_t base, size_t n, struct dirs *ret)
{
    struct str dir = {path, n};
    while (dir.n > base && path[dir.n - 1] != '/')
        dir.n--;
    for (ret->places = 0; ret->places < ret->n; dir.n = parent_of(dir, base)) {
        ret->place[ret->places++] = place_of(p->mount, str_from(dir, base));
        if (dir.n == base)
            return;
    }
}

/* The directory of the place and those above it, as far as the rules ask for an order; none: not even the leaf's does.
 */
static void ordered_dirs(struct meta *m, const struct place *p, struct dirs *ret)
{
    struct buf path AUTO_BUF = {0};
    struct meta_mount *mt = meta_mount_get(m, p->mount);
    ret->n = ret->places = 0;
    if (!mt || !p->depth) {
        meta_mount_put(m, mt);
        return;
    }
    buf_putz(&path, mt->path);
    meta_mount_put(m, mt);
    buf_u8(&path, '/');
    size_t base = path.n;
    buf_add(&path, p->home, p->home_n);
    struct str dir = {NULL, path.n};
    buf_str_add(&path, p->rest.n ? p->rest : p->leaf);
    if (!meta_rule(m, buf_str(&path)).ordered)
        return;
    dir.p = path.p;
    for (size_t k = p->depth; k-- && ret->n < DEPTH; dir.n = parent_of(dir, base)) {
        if (ret->n && !meta_rule(m, (struct str){dir.p, dir.n - 1}).ordered)
            break;
        ret->dir[ret->n++] = p->chain[k];
    }
    ordered_places(p, path.p, base, path.n, ret);
}

static void add_dirs(struct dirs *to, const struct dirs *from)
{
    for (size_t i = 0; i < from->n; i++) {
        bool there = false;
        for (size_t k = 0; k < to->n && !there; k++)
            there = to->dir[k] == from->dir[i];
        if (!there)
            to->dir[to->n++] = from->dir[i];
    }
}

/* ---- taking a turn ---- */

static int next_turn(struct kv_tx *tx, uint64_t *ret)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct str old;
    key_sys(&k, "turns");
    int r = kv_get(tx, buf_str(&k), &old);
    if (r < 0 && r != ERR_NOT_FOUND)
        return r;
    struct cur c = cur_of(r == 0 ? old : STR(""));
    *ret = (r == 0 ? cur_be64(&c) : 0) + 1;
    buf_be64(&v, *ret);
    kv_put(tx, buf_str(&k), buf_str(&v));
    return 0;
}

static void put_head(struct kv_tx *tx, uint64_t dir, uint64_t due)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_turns(&k, dir);
    buf_u8(&v, REC_VERSION);
    buf_varint(&v, due);
    kv_put(tx, buf_str(&k), buf_str(&v));
}

int tx_order_head(struct kv_tx *tx, uint64_t dir, uint64_t *ret)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_turns(&k, dir);
    TRY(kv_get(tx, buf_str(&k), &v));
    struct cur c = cur_of(v);
    if (cur_u8(&c) != REC_VERSION)
        return err_set(ERR_VERSION, "a row of ordered publications has another format: use the newer Forebay");
    *ret = cur_varint(&c);
    return c.bad ? err_set(ERR_CORRUPT, "malformed row of ordered publications") : 0;
}

int tx_order_due(struct kv_tx *tx, uint64_t dir, uint64_t due, uint64_t to, bool *ret)
{
    uint64_t at;
    int r = tx_order_head(tx, dir, &at);
    *ret = r == 0 && at == due;
    if (*ret)
        put_head(tx, dir, to);
    return r == ERR_NOT_FOUND ? 0 : r;
}

static int need_job(struct kv_tx *tx, uint64_t dir)
{
    uint64_t due, now = clock_wall_ms();
    int r = tx_order_head(tx, dir, &due);
    if (r != ERR_NOT_FOUND)
        return r;
    put_head(tx, dir, now);
    tx_queue(tx, Q_ORDER, now, dir, STR(""), NULL);
    return 0;
}

static int put_rows(struct kv_tx *tx, const struct dirs *dirs, uint64_t turn, uint64_t id, const struct turn *t)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct turn row = *t;
    for (size_t i = 0; i < dirs->n; i++) {
        if (!t->ino)
            row.place = i < dirs->places ? dirs->place[i] : 0;
        enc_turn(&v, &row);
        if (!t->ino && row.place) { /* it goes with the directory's row */
            key_turn(&k, row.place, turn, id);
            kv_put(tx, buf_str(&k), buf_str(&v));
        }
        key_turn(&k, dirs->dir[i], turn, id);
        kv_put(tx, buf_str(&k), buf_str(&v));
        TRY(need_job(tx, dirs->dir[i]));
    }
    return 0;
}

/* A record moves into the lanes' sight or out of it. */
static int retime(struct kv_tx *tx, enum queue_kind kind, uint64_t *due, uint64_t id, struct str key, uint64_t turn)
{
    struct buf k AUTO_BUF = {0}, to AUTO_BUF = {0};
    struct str v;
    uint64_t at = rec_due(*due, turn);
    if (at == *due)
        return 0;
    key_queue(&k, kind, *due, id, key);
    TRY(kv_get(tx, buf_str(&k), &v));
    key_queue(&to, kind, at, id, key);
    kv_put(tx, buf_str(&to), v);
    kv_del(tx, buf_str(&k));
    *due = at;
    return 0;
}

static bool settles(const struct inode *i)
{
    return i->type == REC_DIR ? i->key.n > 0 : i->loc == LOC_KEY;
}

static bool publishes(const struct inode *i)
{
    return settles(i) || (i->type != REC_DIR && i->dirty);
}

int tx_turn_keep(struct kv_tx *tx, struct inode *i)
{
    if (!publishes(i))
        i->turn = i->turn_dir = 0;
    if (i->type != REC_DIR && i->dirty)
        TRY(retime(tx, Q_PERSIST, &i->persist_due, i->ino, STR(""), i->turn));
    return settles(i) ? retime(tx, Q_SETTLE, &i->settle_due, i->ino, STR(""), i->turn) : 0;
}

static int take_turn(struct kv_tx *tx, struct meta *m, struct inode *i, const struct place *at,
                     const struct place *from)
{
    struct place *p AUTO_FREE = NULL;
    struct dirs dirs, left = {.n = 0, .places = 0};
    if (!at) {
        p = calloc(1, sizeof *p);
        if (!p)
            return ERR_NOMEM;
        int r = tx_climb(tx, i, p);
        if (r < 0)
            return r == ERR_STALE ? 0 : r;
        at = p;
    }
    ordered_dirs(m, at, &dirs);
    if (from)
        ordered_dirs(m, from, &left);
    if (!dirs.n && !left.n)
        return 0;
    const struct dirs *own = dirs.n ? &dirs : &left;
    struct turn t = {
        .dir = own->dir[0], .top = own->dir[own->n - 1], .ino = i->ino, .mount = i->mount, .place = own->place[0]};
    add_dirs(&dirs, &left);
    TRY(next_turn(tx, &i->turn));
    i->turn_dir = t.dir;
    return put_rows(tx, &dirs, i->turn, i->ino, &t);
}

int tx_turn(struct kv_tx *tx, struct meta *m, struct inode *i, const struct place *at, const struct place *from)
{
    if (!meta_ordered(m) && !i->turn)
        return 0;
    i->turn = i->turn_dir = 0;
    if (meta_ordered(m) && publishes(i) && !FAULT(TEST_SKIP_TURN))
        TRY(take_turn(tx, m, i, at, from));
    return tx_turn_keep(tx, i);
}

int tx_turn_child(struct kv_tx *tx, struct meta *m, const struct inode *dir, struct inode *i)
{
    struct place *p AUTO_FREE = NULL;
    struct dirs dirs;
    if (!dir->turn)
        return tx_turn_keep(tx, i);
    p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    TRY(tx_climb(tx, dir, p));
    ordered_dirs(m, p, &dirs);
    struct turn t = {
        .dir = dir->turn_dir, .top = dirs.n ? dirs.dir[dirs.n - 1] : dir->turn_dir, .ino = i->ino, .mount = i->mount};
    add_dirs(&dirs, &(struct dirs){.dir = {dir->turn_dir}, .n = 1});
    i->turn = dir->turn;
    i->turn_dir = dir->turn_dir;
    TRY(put_rows(tx, &dirs, i->turn, i->ino, &t));
    return tx_turn_keep(tx, i);
}

int tx_turn_key(struct kv_tx *tx, struct meta *m, uint64_t mount, struct str key, const struct inode *i)
{
    struct place *p AUTO_FREE = NULL;
    struct owner o;
    struct dirs dirs;
    if ((!meta_ordered(m) && !i) || !key.n || key.p[key.n - 1] == '/')
        return 0;
    TRY(tx_owner(tx, false, mount, key, &o));
    if (o.kind != OWNER_GONE || o.turn || o.reap_due > clock_wall_ms())
        return 0;
    p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    int r = tx_walk(tx, mount, key, p);
    if (r == ERR_BAD_NAME || r == ERR_NAME_TOO_LONG || r == ERR_STALE || r == ERR_NOT_FOUND)
        return 0;
    TRY(r);
    ordered_dirs(m, p, &dirs);
    if (!dirs.n)
        return 0;
    struct turn t = {.dir = dirs.dir[0],
                     .top = dirs.dir[dirs.n - 1],
                     .wide = !i,
                     .place = dirs.place[0],
                     .mount = mount,
                     .key = key};
    if (i)
        o.turn = i->turn;
    else
        TRY(next_turn(tx, &o.turn));
    o.turn_dir = t.dir;
    TRY(retime(tx, Q_REAP, &o.reap_due, mount, key, o.turn));
    tx_put_owner(tx, false, mount, key, &o);
    return put_rows(tx, &dirs, o.turn, i ? ~i->ino : 0, &t);
}

bool tx_out_of_turn(const struct inode *i, const struct meta_item *it)
{
    return i->turn && !it->in_turn && (it->kind == Q_SETTLE || i->type != REC_DIR);
}

/* ---- outrun ---- */

/* Does anything wait behind this turn, here or above? */
static int others_behind(struct kv_tx *tx, const struct inode *i, bool *ret)
{
    struct buf k AUTO_BUF = {0}, end AUTO_BUF = {0};
    struct kv_rows rows;
    struct turn t;
    struct str v;
    key_turn(&k, i->turn_dir, i->turn, i->ino);
    TRY(kv_get(tx, buf_str(&k), &v));
    TRY(dec_turn(v, &t));
    key_turn(&k, t.top, i->turn + 1, 0);
    key_turn(&end, t.top, UINT64_MAX, UINT64_MAX);
    struct kv_range r = {.begin = buf_str(&k), .end = buf_str(&end), .max_rows = 1};
    TRY(kv_range(tx, &r, &rows));
    *ret = rows.n > 0;
    return 0;
}

int tx_outrun(struct kv_tx *tx, struct meta *m, const struct inode *i, struct str home, bool *ret)
{
    *ret = false;
    if (!i->dirty || !i->turn || i->type == REC_DIR || i->nlink > 1 || i->link_of || file_is_open(m, i->ino))
        return 0;
    TRY(others_behind(tx, i, ret));
    if (!*ret)
        return 0;
    struct inode o = *i;
    o.parent = 0;
    o.nlink = 0;
    o.key = home;
    tx_put_inode(tx, &o);
    return 0;
}

bool is_outrun(const struct inode *i)
{
    return !i->parent && i->dirty && i->turn && i->type != REC_DIR;
}

int tx_turn_behind(struct kv_tx *tx, uint64_t mount, struct str key, uint64_t turn, bool *ret)
{
    struct place *p AUTO_FREE = calloc(1, sizeof *p);
    struct dentry d;
    struct inode live;
    struct owner o;
    *ret = false;
    if (!p)
        return ERR_NOMEM;
    TRY(tx_owner(tx, false, mount, key, &o));
    *ret = o.kind == OWNER_GONE && o.turn > turn;
    if (*ret)
        return 0;
    int r = tx_walk(tx, mount, key, p);
    if (r == 0)
        r = p->rest.n ? ERR_NOT_FOUND : tx_dentry(tx, p->dir, p->leaf, &d);
    if (r == 0)
        r = tx_inode(tx, d.ino, &live);
    if (r == ERR_NOT_FOUND || r == ERR_STALE)
        return 0;
    TRY(r);
    *ret = live.turn > turn && live.type != REC_DIR && publishes(&live);
    return 0;
}

int tx_outrun_end(struct kv_tx *tx, const struct inode *i)
{
    tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
    TRY(tx_content_dead(tx, i->content, 0, (struct str){0}, ""));
    tx_del_inode(tx, i->ino);
    return 0;
}

/* ---- whose turn it is ---- */

struct subject {
    bool live;
    struct inode i; /* of a file */
    struct meta_item item;
};

static int find_record(struct kv_tx *tx, struct subject *s)
{
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_queue(&k, s->item.kind, s->item.due, s->item.id, s->item.key);
    int r = kv_get(tx, buf_str(&k), &v);
    s->live = r == 0;
    if (r < 0)
        return r == ERR_NOT_FOUND ? 0 : r;
    return dec_queue(v, &s->item.rec);
}

static int find_subject(struct kv_tx *tx, uint64_t turn, const struct turn *t, struct subject *s)
{
    struct owner o;
    *s = (struct subject){.item = {.in_turn = true, .id = t->ino, .key = STR("")}};
    if (!t->ino) {
        TRY(tx_owner(tx, false, t->mount, t->key, &o));
        if (o.kind != OWNER_GONE || o.turn != turn)
            return 0;
        s->item.kind = Q_REAP;
        s->item.due = o.reap_due;
        s->item.id = t->mount;
        s->item.key = t->key;
        return find_record(tx, s);
    }
    int r = tx_inode(tx, t->ino, &s->i);
    if (r < 0 || s->i.turn != turn || !publishes(&s->i))
        return r == ERR_NOT_FOUND ? 0 : r;
    bool send = s->i.type != REC_DIR && s->i.dirty;
    s->item.kind = send ? Q_PERSIST : Q_SETTLE;
    s->item.due = send ? s->i.persist_due : s->i.settle_due;
    return find_record(tx, s);
}

static uint64_t turn_of(struct str key)
{
    struct cur c = cur_of(str_from(key, 9));
    return cur_be64(&c);
}

static uint64_t id_of(struct str key)
{
    struct cur c = cur_of(str_from(key, 17));
    return cur_be64(&c);
}

/* fn for each row of the directory that is alive, in order, until it returns 1; dead ones are removed where clean is
 * set. At most max rows are looked at; *more: none of those was alive, and there are others. */
struct looking {
    uint64_t dir;
    bool clean, more;
    size_t max;
    int (*fn)(struct kv_tx *tx, void *arg, uint64_t turn, const struct turn *t, const struct subject *s);
    void *arg;
};

static int look_at(struct kv_tx *tx, struct looking *l, const struct kv_row *row, bool *ret_any)
{
    struct turn t;
    struct subject s;
    TRY(dec_turn(row->value, &t));
    TRY(find_subject(tx, turn_of(row->key), &t, &s));
    *ret_any |= s.live;
    if (s.live)
        return l->fn(tx, l->arg, turn_of(row->key), &t, &s);
    if (!l->clean)
        return 0;
    kv_del(tx, row->key);
    if (!t.ino && t.place) {
        struct buf k AUTO_BUF = {0};
        key_turn(&k, t.place, turn_of(row->key), id_of(row->key));
        kv_del(tx, buf_str(&k));
    }
    return 0;
}

static int look(struct kv_tx *tx, struct looking *l)
{
    struct buf begin AUTO_BUF = {0}, end AUTO_BUF = {0};
    bool any = false, more = true;
    key_turn(&begin, l->dir, 0, 0);
    key_turn(&end, l->dir, UINT64_MAX, UINT64_MAX);
    for (size_t seen = 0; more && seen < (l->max ? l->max : LOOK);) {
        struct kv_range range = {.begin = buf_str(&begin), .end = buf_str(&end), .max_rows = LOOK};
        struct kv_rows rows;
        TRY(kv_range(tx, &range, &rows));
        for (size_t i = 0; i < rows.n; i++) {
            int r = look_at(tx, l, &rows.row[i], &any);
            if (r)
                return r < 0 ? r : 0;
        }
        seen += rows.n;
        more = rows.more && rows.n;
        if (more) {
            buf_reset(&begin);
            buf_str_add(&begin, rows.row[rows.n - 1].key);
            buf_u8(&begin, 0);
        }
    }
    l->more = more && !any;
    return 0;
}

struct next_arg {
    struct meta *m;
    const struct meta_item *it;
    struct meta_order *o;
    struct buf mem;    /* what is to be done: keys and errors */
    uint64_t wait_due; /* 0: nothing is waited for */
    uint64_t bytes;
    struct queue_rec head;
    struct buf error;
    size_t n;
    bool looked;
};

static void wait_for(struct next_arg *a, const struct subject *s, uint64_t ms)
{
    a->wait_due = clock_wall_ms() + ms;
    a->head.attempts = s->item.rec.error.n ? s->item.rec.attempts : 0;
    a->head.bytes = s->item.rec.bytes;
    buf_reset(&a->error);
    buf_str_add(&a->error, s->item.rec.error);
}

static int note_first(struct kv_tx *tx, void *arg, uint64_t turn, const struct turn *t, const struct subject *s)
{
    (void)tx;
    (void)t;
    (void)s;
    *(uint64_t *)arg = turn;
    return 1;
}

/* Is something before this turn below the outermost ordered directory? */
static int waits_above(struct kv_tx *tx, const struct turn *t, uint64_t turn, bool *ret)
{
    uint64_t first = UINT64_MAX;
    struct looking l = {.dir = t->top, .fn = note_first, .arg = &first, .max = ALL};
    *ret = false;
    if (!t->wide)
        return 0;
    TRY(look(tx, &l));
    *ret = first == UINT64_MAX ? l.more : first < turn;
    return 0;
}

/* Is something to be deleted at the same place before this turn? */
static int waits_there(struct kv_tx *tx, const struct turn *t, uint64_t turn, bool *ret)
{
    uint64_t first = UINT64_MAX;
    struct looking l = {.dir = t->place, .fn = note_first, .max = ALL, .arg = &first};
    *ret = false;
    if (!t->place)
        return 0;
    TRY(look(tx, &l));
    *ret = first == UINT64_MAX ? l.more : first < turn;
    return 0;
}

static int note_due(struct kv_tx *tx, void *arg, uint64_t turn, const struct turn *t, const struct subject *s)
{
    struct next_arg *a = arg;
    uint64_t now = clock_wall_ms(), due = rec_due(s->item.due, 0);
    bool above;
    TRY(waits_above(tx, t, turn, &above));
    if (!above)
        TRY(waits_there(tx, t, turn, &above));
    bool wait = t->dir != a->it->id || due > now || above;
    bool fits = s->item.kind == Q_PERSIST && a->n < BATCH_FILES && a->bytes + s->item.rec.bytes <= BATCH_BYTES;
    if (a->n && (wait || !fits))
        return 1;
    if (wait) {
        wait_for(a, s,
                 t->dir != a->it->id || above ? (s->item.rec.error.n ? POLL_MS : OTHER_MS)
                                              : (due - now < POLL_MS ? due - now : POLL_MS));
        return 1;
    }
    buf_u8(&a->mem, (uint8_t)s->item.kind);
    buf_be64(&a->mem, s->item.due);
    buf_be64(&a->mem, s->item.id);
    buf_bytes(&a->mem, s->item.key);
    struct buf rec AUTO_BUF = {0};
    enc_queue(&rec, &s->item.rec);
    buf_bytes(&a->mem, buf_str(&rec));
    a->bytes += s->item.rec.bytes;
    a->n++;
    return s->item.kind != Q_PERSIST;
}

static void later(struct kv_tx *tx, const struct next_arg *a, uint64_t due)
{
    struct queue_rec q = {.since_ms = a->it->rec.since_ms,
                          .attempts = a->head.attempts,
                          .bytes = a->head.bytes,
                          .error = buf_str(&a->error)};
    tx_unqueue(tx, Q_ORDER, a->it->due, a->it->id, STR(""));
    tx_queue(tx, Q_ORDER, due, a->it->id, STR(""), &q);
    put_head(tx, a->it->id, due);
}

static int next_tx(struct kv_tx *tx, void *arg)
{
    struct next_arg *a = arg;
    struct looking l = {.dir = a->it->id, .clean = true, .fn = note_due, .arg = a};
    struct buf k AUTO_BUF = {0};
    uint64_t due;
    buf_reset(&a->mem);
    buf_reset(&a->error);
    a->n = 0;
    a->bytes = a->wait_due = 0;
    a->looked = false;
    a->head = (struct queue_rec){0};
    int r = tx_order_head(tx, a->it->id, &due);
    if (r == ERR_NOT_FOUND || (r == 0 && due != a->it->due)) { /* the record has moved on */
        tx_unqueue(tx, Q_ORDER, a->it->due, a->it->id, STR(""));
        return 0;
    }
    TRY(r);
    TRY(look(tx, &l));
    a->looked = true;
    if (a->n)
        return 0;
    if (a->wait_due || l.more) {
        later(tx, a, a->wait_due ? a->wait_due : clock_wall_ms());
        return 0;
    }
    tx_unqueue(tx, Q_ORDER, a->it->due, a->it->id, STR(""));
    key_turns(&k, a->it->id);
    kv_del(tx, buf_str(&k));
    return 0;
}

static int fill_items(struct next_arg *a)
{
    struct meta_items *ret = &a->o->items;
    ret->mem = a->mem; /* its strings are the items' */
    a->mem = (struct buf){0};
    ret->item = calloc(a->n, sizeof *ret->item);
    if (!ret->item)
        return ERR_NOMEM;
    struct cur c = cur_of(buf_str(&ret->mem));
    for (ret->n = 0; ret->n < a->n; ret->n++) {
        struct meta_item *it = &ret->item[ret->n];
        it->kind = (enum queue_kind)cur_u8(&c);
        it->due = cur_be64(&c);
        it->id = cur_be64(&c);
        it->key = cur_bytes(&c);
        it->in_turn = true;
        TRY(dec_queue(cur_bytes(&c), &it->rec));
    }
    return 0;
}

int meta_order_next(struct meta *m, const struct meta_item *it, struct meta_order *ret)
{
    struct next_arg a = {.m = m, .it = it, .o = ret};
    uint64_t version;
    *ret = (struct meta_order){0};
    TRY(FAULT(META_ORDER_NEXT));
    int r = meta_commit(m, next_tx, &a, KV_LAZY, &version);
    if (r == 0 && a.n)
        r = kv_settle(m->kv, version);
    if (r == 0 && a.n)
        r = fill_items(&a);
    ret->looked = a.looked;
    ret->stopped = meta_order_stopped(&a.head);
    buf_done(&a.mem);
    buf_done(&a.error);
    return r;
}

bool meta_order_stopped(const struct queue_rec *head)
{
    return head->attempts >= 3;
}

/* ---- for people ---- */

struct head_arg {
    struct meta *m;
    uint64_t dir;
    struct meta_order_head *ret;
    uint64_t ino, mount;
    struct buf key;
};

static int note_head(struct kv_tx *tx, void *arg, uint64_t turn, const struct turn *t, const struct subject *s)
{
    struct head_arg *a = arg;
    (void)tx;
    (void)turn;
    if (a->ret->waiting++)
        return 0;
    a->ret->attempts = s->item.rec.attempts;
    a->ret->since_ms = s->item.rec.since_ms;
    a->ret->deletes = !t->ino;
    buf_str_add(&a->ret->error, s->item.rec.error);
    a->mount = t->mount;
    a->ino = t->ino && !is_outrun(&s->i) ? t->ino : 0;
    buf_str_add(&a->key, t->ino ? s->i.key : t->key);
    return 0;
}

static int head_tx(struct kv_tx *tx, void *arg)
{
    struct head_arg *a = arg;
    struct looking l = {.dir = a->dir, .fn = note_head, .arg = a, .max = ALL};
    a->ret->waiting = 0;
    a->ino = a->mount = 0;
    buf_reset(&a->key);
    buf_reset(&a->ret->error);
    return look(tx, &l);
}

int meta_order_head(struct meta *m, uint64_t dir, struct meta_order_head *ret)
{
    struct head_arg a = {.m = m, .dir = dir, .ret = ret};
    buf_reset(&ret->dir);
    buf_reset(&ret->path);
    int r = kv_view(m->kv, head_tx, &a, NULL);
    if (r == 0 && !ret->waiting)
        r = ERR_NOT_FOUND;
    if (r == 0 && a.ino)
        r = meta_path(m, a.ino, &ret->path);
    else if (r == 0) {
        struct meta_mount *mt = meta_mount_get(m, a.mount);
        buf_printf(&ret->path, "%s/%.*s", mt ? mt->path : "", STR_ARG(buf_str(&a.key)));
        meta_mount_put(m, mt);
    }
    buf_done(&a.key);
    if (r == 0 && meta_path(m, dir, &ret->dir) < 0) /* removed: its deletions are still to come */
        buf_add(&ret->dir, ret->path.p, parent_of(buf_str(&ret->path), 0));
    if (ret->dir.n > 1 && ret->dir.p[ret->dir.n - 1] == '/')
        ret->dir.p[--ret->dir.n] = 0;
    return r;
}

void meta_order_head_done(struct meta_order_head *h)
{
    buf_done(&h->dir);
    buf_done(&h->path);
    buf_done(&h->error);
}

/* ---- released by hand ---- */

struct skip_arg {
    struct meta *m;
    struct str path;
    const struct place *at;
    char home[META_KEY_MAX + 8];
    enum meta_skip did;
};

static int skip_file(struct kv_tx *tx, struct inode *i)
{
    if (is_outrun(i))
        return tx_outrun_end(tx, i);
    i->turn = i->turn_dir = 0;
    if (i->dirty && i->type != REC_DIR) {
        tx_unqueue(tx, Q_PERSIST, i->persist_due, i->ino, STR(""));
        i->dirty = false;
        i->persist_due = 0;
        i->transient = i->skipped = true;
    }
    TRY(tx_turn_keep(tx, i));
    tx_put_inode(tx, i);
    tx_note_inode(i->ino);
    return 0;
}

static int skip_key(struct kv_tx *tx, const struct turn *t)
{
    struct owner o;
    TRY(tx_owner(tx, false, t->mount, t->key, &o));
    o.turn = o.turn_dir = 0;
    TRY(retime(tx, Q_REAP, &o.reap_due, t->mount, t->key, 0));
    tx_put_owner(tx, false, t->mount, t->key, &o);
    return 0;
}

/* The first that has to do with the path: a content of it that was replaced, the file, the deletion of its object. */
static int skip_row(struct kv_tx *tx, void *arg, uint64_t turn, const struct turn *t, const struct subject *s)
{
    struct skip_arg *a = arg;
    struct inode i = s->i;
    struct buf leaf AUTO_BUF = {0};
    (void)turn;
    bool file = t->ino && !is_outrun(&i) && i.parent == a->at->dir && str_eq(inode_leaf(&i, &leaf), a->at->leaf);
    bool key =
        t->mount == a->at->mount && str_eq(t->ino ? i.key : t->key, str_of(a->home)) && (!t->ino || is_outrun(&i));
    if (!file && !key)
        return 0;
    a->did = !t->ino         ? META_SKIP_DELETION
             : is_outrun(&i) ? META_SKIP_REPLACED
             : i.dirty       ? META_SKIP_FILE
                             : META_SKIP_MOVE;
    TRY(t->ino ? skip_file(tx, &i) : skip_key(tx, t));
    return 1;
}

static int hurry_job(struct kv_tx *tx, uint64_t dir)
{
    uint64_t due, now = clock_wall_ms();
    int r = tx_order_head(tx, dir, &due);
    if (r < 0 || due <= now)
        return r == ERR_NOT_FOUND ? 0 : r;
    tx_unqueue(tx, Q_ORDER, due, dir, STR(""));
    tx_queue(tx, Q_ORDER, now, dir, STR(""), NULL);
    put_head(tx, dir, now);
    return 0;
}

static int skip_tx(struct kv_tx *tx, void *arg)
{
    struct skip_arg *a = arg;
    struct place *p AUTO_FREE = calloc(1, sizeof *p);
    char ident[META_KEY_MAX + 8];
    struct looking l = {.fn = skip_row, .arg = a, .max = ALL};
    if (!p)
        return ERR_NOMEM;
    a->at = p;
    a->did = META_SKIP_NOTHING;
    TRY(tx_walk(tx, META_ROOT, a->path, p));
    if (!p->depth || !(p->leaf.n || p->rest.n))
        return 0;
    TRY(place_keys(p, a->home, ident));
    l.dir = p->dir;
    TRY(look(tx, &l));
    if (a->did == META_SKIP_NOTHING) { /* deleted from a directory that is gone */
        l.dir = place_of(p->mount, (struct str){a->home, parent_of(str_of(a->home), 0)});
        TRY(look(tx, &l));
    }
    return a->did == META_SKIP_NOTHING ? 0 : hurry_job(tx, p->dir);
}

int meta_order_skip(struct meta *m, struct str path, enum meta_skip *ret)
{
    struct skip_arg a = {.m = m, .path = path};
    TRY(FAULT(META_ORDER_SKIP));
    TRY(meta_update(m, skip_tx, &a));
    *ret = a.did;
    meta_kick(m, 0);
    return 0;
}
