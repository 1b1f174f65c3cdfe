/* SPDX-License-Identifier: Apache-2.0
 *
 * fsck: every rule of meta/rec.h, and the smaller ones between them, on a stopped instance. Each row is looked at once,
 * in key order, in a view of its own with point lookups of what it names; nothing is kept but counters, so memory does
 * not grow with the namespace. A rule that ties two rows is checked from both ends where both have a key.
 *
 * No breach: claims (of whatever start), and reap records whose row is gone: the jobs take those away by themselves.
 *
 * Rules beside R1..R9: K a row of an unknown kind, or a malformed one; I an id that was never minted; E an epoch of no
 * mount; L a loaded-until row of no directory; P pairs of no inode; M mounts; Q a queue record that names nothing, or a
 * subject whose record is missing; U uploads, parts, answers.
 */
#include "meta/fsck.h"
#include <ctype.h>
#include <stdarg.h>

void fsck_breach(struct fsck *f, uint64_t ino, const char *rule, const char *fmt, ...)
{
    struct buf line AUTO_BUF = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_printf(&line, "%s: ", rule);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    buf_varint(&f->found, ino);
    buf_bytes(&f->found, buf_str(&line));
}

static void say_found(struct fsck *f)
{
    struct cur c = cur_of(buf_str(&f->found));
    while (c.p < c.end) {
        struct buf path AUTO_BUF = {0}, line AUTO_BUF = {0};
        uint64_t ino = cur_varint(&c);
        buf_str_add(&line, cur_bytes(&c));
        if (ino && meta_path(f->m, ino, &path) == 0 && path.n)
            buf_printf(&line, " (%s)", fsck_text(buf_str(&path)));
        f->say(f->say_arg, line.p);
        f->breaches++;
    }
    buf_reset(&f->found);
}

const char *fsck_text(struct str s)
{
    static __thread char out[4][400];
    static __thread unsigned turn;
    char *p = out[turn++ % 4], *at = p;
    for (size_t i = 0; i < s.n && at < p + sizeof out[0] - 8; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        at += ch >= 0x20 && ch != 0x7f ? sprintf(at, "%c", ch) : sprintf(at, "\\x%02x", ch);
    }
    *at = 0;
    return p;
}

/* ---- one row in one view ---- */

struct viewing {
    struct fsck_row *row;
    struct fsck_state before;
    int (*check)(struct kv_tx *tx, struct fsck_row *row);
};

static int view_tx(struct kv_tx *tx, void *arg)
{
    struct viewing *v = arg;
    buf_reset(&v->row->f->found);
    v->row->f->s = v->before;
    return v->check(tx, v->row);
}

int fsck_view(struct fsck *f, struct fsck_row *row, int (*check)(struct kv_tx *tx, struct fsck_row *row))
{
    struct viewing v = {row, f->s, check};
    int r = kv_view(f->m->kv, view_tx, &v, NULL);
    if (r == ERR_CORRUPT || r == ERR_VERSION) { /* the row, or one it names, cannot be read: that is a finding */
        fsck_breach(f, 0, "K", "%s: %s", fsck_text(row->key), err_detail(r));
        r = 0;
    }
    say_found(f);
    return r;
}

int fsck_there(struct kv_tx *tx, struct str key, bool *ret)
{
    struct str v;
    int r = kv_get(tx, key, &v);
    *ret = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

int fsck_queued(struct kv_tx *tx, enum queue_kind kind, uint64_t due, uint64_t id, struct str key, bool *ret)
{
    struct buf k AUTO_BUF = {0};
    key_queue(&k, kind, due, id, key);
    return fsck_there(tx, buf_str(&k), ret);
}

int fsck_inode(struct kv_tx *tx, uint64_t ino, struct inode *ret, bool *ret_there)
{
    int r = tx_inode(tx, ino, ret);
    *ret_there = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

int fsck_content(struct kv_tx *tx, uint64_t id, struct content *ret, bool *ret_there)
{
    int r = tx_content(tx, id, ret);
    *ret_there = r == 0;
    return r == ERR_NOT_FOUND ? 0 : r;
}

void fsck_id(struct fsck *f, uint64_t id, const char *what)
{
    if (id >= f->ids)
        fsck_breach(f, 0, "I", "%s %llu was never minted: the next id is %llu", what, (unsigned long long)id,
                    (unsigned long long)f->ids);
}

/* ---- all rows ---- */

static int rules_row(struct kv_tx *tx, struct fsck_row *r)
{
    (void)tx;
    if (r->key.n || !r->value.n)
        fsck_breach(r->f, 0, "K", "malformed row of the path configuration");
    return 0;
}

static int job_row(struct kv_tx *tx, struct fsck_row *r)
{
    (void)tx;
    if (!str_utf8(r->key) || !str_starts(r->value, STR("{")))
        fsck_breach(r->f, 0, "K", "malformed row of the job %s", fsck_text(r->key));
    return 0;
}

static int sys_row(struct kv_tx *tx, struct fsck_row *r)
{
    (void)tx;
    bool counter = str_eq(r->key, STR("format")) || str_eq(r->key, STR("ids")) || str_eq(r->key, STR("boots")) ||
                   str_eq(r->key, STR("turns"));
    if (!(counter && r->value.n == 8) && !(str_eq(r->key, STR("cluster")) && r->value.n == 32))
        fsck_breach(r->f, 0, "K", "row S%s is unknown", fsck_text(r->key));
    return 0;
}

static const struct kind {
    char first;
    size_t min_key; /* bytes after the first */
    int (*check)(struct kv_tx *tx, struct fsck_row *row);
} kinds[] = {
    {'A', 8, fsck_pairs_row},
    {'C', 16, fsck_chunk_row},
    {'D', 9, fsck_dentry_row},
    {'E', 10, fsck_epoch_row},
    {'I', 8, fsck_inode_row},
    {'J', 1, job_row},
    {'L', 8, fsck_known_row},
    {'M', 8, fsck_mount_row},
    {'O', 9, fsck_owner_row},
    {'P', 0, rules_row},
    {'Q', 17, fsck_queue_row},
    {'R', 16, fsck_ref_row},
    {'S', 1, sys_row},
    {'H', 16, fsck_link_row},
    {'G', 8, fsck_unnamed_row},
    {'N', 8, fsck_dir_count_row},
    {'T', 8, fsck_dir_time_row},
    {'X', 9, fsck_xattr_row},
    {'Y', 8, fsck_turn_row},
    {'Z', 8, fsck_lazy_row},
    {'r', 16, fsck_ref_back_row},
    {'U', 16, fsck_upload_row},
    {'V', 18, fsck_part_row},
    {'W', 16, fsck_answer_row},
    {'c', 8, fsck_content_row},
    {'o', 9, fsck_prefix_row},
    {'u', 25, fsck_upload_index_row},
};

static int each_row(void *arg, struct str key, struct str value)
{
    struct fsck *f = arg;
    struct fsck_row row = {f, str_from(key, 1), value};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (key.n && kinds[i].first == key.p[0] && row.key.n >= kinds[i].min_key)
            return fsck_view(f, &row, kinds[i].check);
    fsck_breach(f, 0, "K", "row %s is of no known kind", fsck_text(key));
    say_found(f);
    return 0;
}

static int ids_tx(struct kv_tx *tx, void *arg)
{
    struct fsck *f = arg;
    struct buf k AUTO_BUF = {0};
    struct str v;
    key_sys(&k, "ids");
    f->ids = META_ROOT + 1;
    int r = kv_get(tx, buf_str(&k), &v);
    struct cur c = cur_of(v);
    if (r == 0)
        f->ids = cur_be64(&c);
    return r == ERR_NOT_FOUND ? 0 : r;
}

/* ---- what only a search finds ---- */

struct search {
    struct fsck *f;
    enum queue_kind kind;
    uint64_t id;
    bool found;
};

static int same_id(void *arg, struct str key, struct str value)
{
    struct search *s = arg;
    enum queue_kind kind;
    uint64_t due, id;
    struct str rest;
    (void)value;
    s->found = dec_queue_key(key, &kind, &due, &id, &rest) && id == s->id;
    return s->found;
}

static int queue_names(struct fsck *f, enum queue_kind kind, uint64_t id, bool *ret)
{
    char prefix[2] = {'Q', (char)kind};
    struct search s = {.kind = kind, .id = id};
    int r = kv_scan(f->m->kv, str_mk(prefix, 2), same_id, &s);
    *ret = s.found;
    return r < 0 ? r : 0;
}

static uint64_t id_of(struct str key)
{
    struct cur c = cur_of(str_from(key, 1));
    return cur_be64(&c);
}

static int removed_tree(void *arg, struct str key, struct str value)
{
    struct fsck *f = arg;
    struct inode i;
    bool named;
    uint64_t ino = id_of(key);
    if (dec_inode(value, ino, &i) < 0 || i.parent || ino == META_ROOT)
        return 0;
    TRY(queue_names(f, Q_TREE, ino, &named));
    if (!named)
        fsck_breach(f, 0, "R1", "inode %llu (%s) has no parent and no tree record names it", (unsigned long long)ino,
                    fsck_text(i.name));
    say_found(f);
    return 0;
}

static int building_content(void *arg, struct str key, struct str value)
{
    struct fsck *f = arg;
    struct content c;
    bool named;
    uint64_t id = id_of(key);
    if (dec_content(value, id, &c) < 0 || c.state != CONTENT_BUILDING)
        return 0;
    TRY(queue_names(f, Q_UPLOAD, id, &named));
    if (!named)
        fsck_breach(f, 0, "R9", "content %llu is being built by no upload", (unsigned long long)id);
    say_found(f);
    return 0;
}

static int searches(struct fsck *f)
{
    if (f->s.removed != f->s.tree_records)
        TRY(kv_scan(f->m->kv, STR("I"), removed_tree, f));
    if (f->s.building != f->s.build_records)
        TRY(kv_scan(f->m->kv, STR("c"), building_content, f));
    return f->s.blob_records ? fsck_dropped_blobs(f) : 0;
}

int meta_fsck(struct meta *m, bool (*has)(void *arg, uint64_t blob, uint64_t off, uint64_t n), void *has_arg,
              void (*say)(void *arg, const char *line), void *say_arg)
{
    struct fsck f = {.m = m, .has = has, .has_arg = has_arg, .say = say, .say_arg = say_arg};
    int r = kv_view(m->kv, ids_tx, &f, NULL);
    if (r == 0)
        r = kv_scan(m->kv, STR(""), each_row, &f);
    if (r == 0) {
        fsck_chunks_end(&f);
        say_found(&f);
        r = searches(&f);
    }
    buf_done(&f.found);
    return r < 0 ? r : f.breaches;
}
