/* SPDX-License-Identifier: Apache-2.0
 *
 * fsck on a namespace that has one of everything: clean; then each rule is broken by a raw write and must be named.
 */
#include "base/clock.h"
#include "base/err.h"
#include "kv/kv.h"
#include "meta/meta.h"
#include "ufs/ufs_mem.h"
#include "cm.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        int ok_r_ = (call);                                                                                            \
        if (ok_r_ < 0)                                                                                                 \
            fail_msg("%s: %s", #call, err_detail(ok_r_));                                                              \
    } while (0)

static struct kv *kv;
static struct meta *m;
static uint64_t mount, no_such_blob;
static struct buf report;

static void say(void *arg, const char *line)
{
    (void)arg;
    buf_putz(&report, line);
    buf_u8(&report, '\n');
}

static bool has(void *arg, uint64_t blob, uint64_t off, uint64_t n)
{
    (void)arg;
    (void)off;
    (void)n;
    return blob != no_such_blob;
}

static int check(void)
{
    buf_reset(&report);
    buf_putz(&report, "");
    return meta_fsck(m, has, NULL, say, NULL);
}

static void clean(void)
{
    int n = check();
    if (n)
        fail_msg("%d breaches:\n%s", n, report.p);
}

/* rule at the start of a line, text somewhere behind it. */
static void finds(const char *rule, const char *text)
{
    char start[16];
    assert_true(check() > 0);
    snprintf(start, sizeof start, "%s: ", rule);
    for (const char *line = report.p; *line; line = strchr(line, '\n') + 1) {
        const char *at = strstr(line, text);
        if (!strncmp(line, start, strlen(start)) && at && at < strchr(line, '\n'))
            return;
    }
    fail_msg("no line \"%s...%s\" in:\n%s", start, text, report.p);
}

/* ---- a namespace ---- */

static uint64_t put(const char *path, enum meta_fate fate)
{
    struct meta_found found = {0};
    uint64_t id;
    OK(meta_mint(m, 2, &id));
    struct extent e = {.len = 5, .blob = id + 1, .origin = id};
    struct meta_publish p = {.dir = META_ROOT,
                             .path = str_of(path),
                             .type = REC_FILE,
                             .size = 5,
                             .content = id,
                             .ext = &e,
                             .n = 1,
                             .etag = "5d41402abc4b2a76b9719d911017c592",
                             .fate = fate,
                             .found = &found};
    OK(meta_publish(m, &p));
    uint64_t ino = found.i.ino;
    meta_found_done(&found);
    return ino;
}

/* What persist does for one file, with an upload that always works. */
static void persist_all(void)
{
    struct meta_items items = {0};
    OK(meta_queue(m, Q_PERSIST, 0, clock_wall_ms() + 1000, 100, &items));
    for (size_t i = 0; i < items.n; i++) {
        struct meta_persist p = {.item = items.item[i]};
        uint64_t due = clock_wall_ms();
        OK(meta_persist_claim(m, &p, 1));
        assert_int_equal(p.go, META_GO);
        snprintf(p.st.version, sizeof p.st.version, "v-%llu", (unsigned long long)p.content);
        OK(meta_persist_mark(m, &p, 1, &due));
        buf_done(&p.pairs);
    }
    meta_items_done(&items);
}

static struct inode look(const char *path)
{
    static struct meta_found f;
    OK(meta_lookup(m, META_ROOT, str_of(path), 0, &f));
    assert_int_equal(f.state, META_FOUND);
    return f.i;
}

static void rename_to(const char *from, const char *to)
{
    struct meta_rename r = {.dir_from = META_ROOT, .dir_to = META_ROOT, .from = str_of(from), .to = str_of(to)};
    OK(meta_rename(m, &r));
}

static void upload(const char *path, unsigned char id, bool finish)
{
    struct meta_upload_new u = {.dir = META_ROOT, .path = str_of(path), .expire_ms = 1000000};
    struct upload got;
    struct buf mem AUTO_BUF = {0};
    struct meta_part_ref refs[6];
    memset(u.id, id, 16);
    OK(meta_upload_create(m, &u));
    OK(meta_upload_get(m, META_ROOT, u.path, u.id, &got, &mem));
    for (unsigned n = 1; n <= 6; n++) {
        uint64_t blob;
        OK(meta_mint(m, 1, &blob));
        struct extent e = {.len = 7, .blob = blob, .origin = got.content};
        struct part p = {.size = 7, .mtime_ms = 1, .n = 1, .ext = &e};
        snprintf(p.etag, sizeof p.etag, "5d41402abc4b2a76b9719d911017c592");
        OK(meta_upload_part(m, u.id, n, &p, 0));
        refs[n - 1] = (struct meta_part_ref){.part = n, .etag = STR("5d41402abc4b2a76b9719d911017c592")};
    }
    struct meta_complete c = {.dir = META_ROOT, .path = u.path, .part = refs, .n = 5, .fate = META_DIRTY};
    memcpy(c.id, u.id, 16);
    if (finish)
        OK(meta_upload_complete(m, &c));
}

static void copy(const char *from, const char *to)
{
    struct inode src = look(from);
    uint64_t id;
    OK(meta_mint(m, 1, &id));
    struct meta_publish p = {.dir = META_ROOT,
                             .path = str_of(to),
                             .type = REC_FILE,
                             .size = src.size,
                             .content = id,
                             .etag = src.etag,
                             .fate = META_DIRTY,
                             .src_content = src.content,
                             .src_ino = src.ino,
                             .src_etag = src.etag};
    OK(meta_publish(m, &p));
}

static int build(void **state)
{
    struct kv_options ko = {0};
    struct ufs *u;
    struct meta_mount *mt;
    (void)state;
    OK(kv_open(&kv_engine_mem, &ko, &kv));
    struct meta_options mo = {.kv = kv, .deadline_ms = 1000, .write_cache = true, .sync_ms = UINT64_MAX};
    OK(meta_open(&mo, &m));
    OK(ufs_open("mem:fsck", NULL, &u));
    OK(meta_mount_add(m, STR("/b"), "mem:fsck", "", u));
    OK(meta_mount_find(m, STR("/b"), &mt));
    mount = mt->id;
    meta_mount_put(m, mt);
    OK(meta_load_complete(m, mount, true, UINT64_MAX));
    no_such_blob = 0;

    put("b/clean", META_DIRTY);
    put("b/moved", META_DIRTY);
    put("b/dir/x", META_DIRTY);
    put("b/gone", META_DIRTY);
    put("b/old", META_DIRTY);
    put("b/tree/y", META_DIRTY);
    put("b/tree/z/w", META_DIRTY);
    persist_all();
    rename_to("b/moved", "b/away");
    rename_to("b/dir/", "b/dir2");
    struct meta_delete d = {.dir = META_ROOT, .path = STR("b/gone")};
    OK(meta_delete(m, &d));
    put("b/old", META_DIRTY); /* GONE, but the new one overwrites it */
    OK(meta_remove_tree(m, META_ROOT, STR("b/tree")));
    put("b/dirty", META_DIRTY);
    put("b/transient", META_TRANSIENT_FILE);
    copy("b/clean", "b/copy");
    OK(meta_mkdir(m, META_ROOT, STR("b/made"), 0755, false, META_DIRTY, STR(""), NULL, NULL));
    upload("b/open", 'o', false);
    upload("b/done", 'd', true);
    return 0;
}

static int wreck(void **state)
{
    (void)state;
    m = meta_close(m);
    kv = kv_close(kv);
    ufs_mem_drop("fsck");
    buf_done(&report);
    return 0;
}

/* ---- raw writes ---- */

struct raw {
    struct str key, value; /* value p NULL: delete */
};

static int raw_tx(struct kv_tx *tx, void *arg)
{
    struct raw *r = arg;
    if (r->value.p)
        kv_put(tx, r->key, r->value);
    else
        kv_del(tx, r->key);
    return 0;
}

static void raw(const struct buf *key, const struct buf *value)
{
    struct raw r = {buf_str(key), value ? buf_str(value) : (struct str){0}};
    OK(kv_update(kv, raw_tx, &r, KV_SYNC, NULL));
}

static int get_tx(struct kv_tx *tx, void *arg)
{
    struct raw *r = arg;
    static struct buf copy_of;
    TRY(kv_get(tx, r->key, &r->value));
    buf_reset(&copy_of);
    buf_str_add(&copy_of, r->value);
    r->value = buf_str(&copy_of);
    return 0;
}

static struct str raw_get(const struct buf *key)
{
    struct raw r = {.key = buf_str(key)};
    OK(kv_view(kv, get_tx, &r, NULL));
    return r.value;
}

static void set_inode(const struct inode *i)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_id(&k, 'I', i->ino);
    enc_inode(&v, i);
    raw(&k, &v);
}

static void set_id(char kind, uint64_t id, const char *value)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_id(&k, kind, id);
    if (value)
        buf_putz(&v, value);
    raw(&k, value ? &v : NULL);
}

static struct content content_of(const char *path)
{
    struct buf k AUTO_BUF = {0};
    struct content c;
    uint64_t id = look(path).content;
    key_id(&k, 'c', id);
    OK(dec_content(raw_get(&k), id, &c));
    return c;
}

static void set_content(const struct content *c)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_id(&k, 'c', c->id);
    enc_content(&v, c);
    raw(&k, &v);
}

static void set_owner(bool prefix, const char *key, const struct owner *o)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    key_owner(&k, prefix, mount, str_of(key));
    if (o)
        enc_owner(&v, o);
    raw(&k, o ? &v : NULL);
}

static struct owner owner_of(bool prefix, const char *key)
{
    struct buf k AUTO_BUF = {0};
    struct owner o;
    key_owner(&k, prefix, mount, str_of(key));
    OK(dec_owner(raw_get(&k), &o));
    return o;
}

static void set_queue(enum queue_kind kind, uint64_t due, uint64_t id, struct str key, bool there)
{
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct queue_rec q = {.since_ms = 1};
    key_queue(&k, kind, due, id, key);
    enc_queue(&v, &q);
    raw(&k, there ? &v : NULL);
}

/* ---- the cases ---- */

static void everything_is_clean(void **state)
{
    (void)state;
    clean();
    persist_all();
    clean();
    rename_to("b/dir2/x", "b/clean2");
    rename_to("b/clean", "b/made/c");
    clean();
}

static void dentries(void **state)
{
    (void)state;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct inode i = look("b/clean");
    struct dentry d = {.ino = i.ino, .type = REC_FILE};
    key_dentry(&k, mount, STR("clean"));
    raw(&k, NULL);
    finds("R1", "where that name is not there");
    d.ino = 999999;
    enc_dentry(&v, &d);
    raw(&k, &v);
    finds("R1", "which is not there (/b");
    finds("R1", "where that name is another inode's");
    d = (struct dentry){.ino = i.ino, .type = REC_SYMLINK};
    enc_dentry(&v, &d);
    raw(&k, &v);
    finds("R1", "says type 3");
    d.type = REC_FILE;
    enc_dentry(&v, &d);
    raw(&k, &v);
    clean();
    key_dentry(&k, mount, STR("second"));
    raw(&k, &v);
    finds("R1", "which is \"clean\"");
    raw(&k, NULL);
    key_dentry(&k, 888888, STR("clean"));
    raw(&k, &v);
    finds("R1", "lies in 888888, which is not there");
    raw(&k, NULL);
    clean();
}

static void removed_trees(void **state)
{
    (void)state;
    struct meta_items items = {0};
    OK(meta_queue(m, Q_TREE, 0, UINT64_MAX - 1, 10, &items));
    assert_int_equal(items.n, 1);
    set_queue(Q_TREE, items.item[0].due, items.item[0].id, STR(""), false);
    finds("R1", "has no parent and no tree record names it");
    set_queue(Q_TREE, items.item[0].due, mount, STR(""), true);
    finds("Q", "names removed directory");
    meta_items_done(&items);
}

static void states_of_a_file(void **state)
{
    (void)state;
    struct inode i = look("b/dirty"), was = i;
    set_queue(Q_PERSIST, i.persist_due, i.ino, STR(""), false);
    finds("R2", "is dirty but has no persist record");
    set_queue(Q_PERSIST, i.persist_due, i.ino, STR(""), true);
    i.transient = true;
    set_inode(&i);
    finds("R2", "is dirty and transient at once");
    i = was;
    i.dirty = false;
    set_inode(&i);
    finds("R2", "is neither dirty nor transient and has no object");
    finds("Q", "a record of kind P");
    i = was;
    i.loc = LOC_HOME;
    set_inode(&i);
    finds("R2", "is dirty and yet has an object");
    set_inode(&was);
    clean();
    i = was = look("b/transient");
    i.loc = LOC_HOME;
    strcpy(i.ver, "v");
    set_inode(&i);
    finds("R2", "is transient and its object lies at home");
    set_inode(&was);
    i = was = look("b/clean");
    i.ver[0] = 0;
    set_inode(&i);
    finds("R2", "has an object of unknown version (/b/clean)");
    set_inode(&was);
    i = was = look("b/made/");
    i.explicit_dir = false;
    set_inode(&i);
    finds("R2", "is implied");
    set_inode(&was);
    clean();
}

static void owners_of_keys(void **state)
{
    (void)state;
    struct inode i = look("b/away"), c = look("b/clean");
    struct owner o = owner_of(false, "moved"), was = o, none = {0};
    set_queue(Q_SETTLE, i.settle_due, i.ino, STR(""), false);
    finds("R3", "has its object away from home but has no settle record");
    set_queue(Q_SETTLE, i.settle_due, i.ino, STR(""), true);
    set_owner(false, "moved", NULL);
    finds("R3", "lies at moved, and no owner row says so (/b/away)");
    o.ino = c.ino;
    set_owner(false, "moved", &o);
    finds("R3", "which lies elsewhere (/b/clean)");
    set_owner(false, "moved", &was);
    clean();
    o = (struct owner){.kind = OWNER_MOVED, .ino = i.ino};
    set_owner(false, "clean", &o);
    finds("R3", "says it is another's (/b/clean)");
    set_owner(false, "clean", &none);
    finds("R3", "says nothing");
    o = (struct owner){.claim = CLAIM_PUT, .boot = 77, .nonce = 5};
    set_owner(false, "clean", &o); /* a claim is no breach */
    clean();
}

static void objects_of_nobody(void **state)
{
    (void)state;
    struct owner o = owner_of(false, "gone"), was = o;
    set_queue(Q_REAP, o.reap_due, mount, STR("gone"), false);
    finds("R4", "gone belongs to nobody, and its reap record is not there");
    set_queue(Q_REAP, o.reap_due, mount, STR("gone"), true);
    o.reap_due = 0;
    set_owner(false, "gone", &o);
    finds("R4", "gone belongs to nobody");
    set_owner(false, "gone", &was);
    clean();
    o = was = owner_of(true, "tree/");
    set_queue(Q_PREFIX, o.reap_due, mount, STR("tree/"), false);
    finds("R4", "what lay below prefix tree/");
    set_queue(Q_PREFIX, o.reap_due, mount, STR("tree/"), true);
    set_queue(Q_PREFIX, o.reap_due + 5, mount, STR("tree/"), true);
    finds("Q", "a record of kind X");
    set_queue(Q_PREFIX, o.reap_due + 5, mount, STR("tree/"), false);
    clean();
}

static void prefixes(void **state)
{
    (void)state;
    struct inode i = look("b/dir2/");
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    struct dentry d = {.ino = i.ino, .type = REC_DIR};
    struct owner o = owner_of(true, "dir/"), was = o;
    assert_true(i.key.n > 0);
    key_dentry(&k, mount, STR("dir2/"));
    enc_dentry(&v, &d);
    raw(&k, &v);
    finds("R5", "has no prefix of its own, its inode the opposite");
    d.has_prefix = true;
    enc_dentry(&v, &d);
    raw(&k, &v);
    clean();
    set_owner(true, "dir/", NULL);
    finds("R5", "has the prefix dir/, and no prefix row says so (/b/dir2/)");
    o.ino = mount;
    set_owner(true, "dir/", &o);
    finds("R5", "which lies elsewhere");
    set_owner(true, "dir/", &was);
    set_queue(Q_SETTLE, i.settle_due, i.ino, STR(""), false);
    finds("R5", "has a prefix of its own but has no settle record");
    set_queue(Q_SETTLE, i.settle_due, i.ino, STR(""), true);
    clean();
}

static void contents(void **state)
{
    (void)state;
    struct content c = content_of("b/clean"), was = c;
    set_id('c', c.id, NULL);
    finds("R6", "is not there (/b/clean)");
    c.ino++;
    set_content(&c);
    finds("R6", "is not live and its own (/b/clean)");
    finds("R9", "and has no drop record");
    c = was;
    c.size++;
    set_content(&c);
    finds("R6", "its content 6");
    c = was;
    c.inl[0].len--;
    set_content(&c);
    finds("R6", "has 5 bytes, its extents 4");
    c = was;
    c.back = BACK_NONE;
    set_content(&c);
    finds("R6", "says that it is not backed");
    c = was;
    c.state = CONTENT_DEAD;
    c.drop_due = 12345;
    set_content(&c);
    finds("R9", "is dead and its drop record is not there");
    set_content(&was);
    clean();
    set_queue(Q_DROP, 99, was.id, STR(""), true);
    finds("Q", "a record of kind D");
    set_queue(Q_DROP, 99, was.id, STR(""), false);
    c = content_of("b/dirty");
    set_queue(Q_BLOB, 99, c.inl[0].blob, STR(""), true);
    finds("R9", "is to be dropped and content");
    set_queue(Q_BLOB, 99, c.inl[0].blob, STR(""), false);
    no_such_blob = c.inl[0].blob;
    finds("R8", "(/b/dirty)");
    no_such_blob = was.inl[0].blob; /* clean: the UFS has it */
    clean();
}

static void chunks(void **state)
{
    (void)state;
    struct content c = content_of("b/done"), was = c;
    struct buf k AUTO_BUF = {0}, k2 AUTO_BUF = {0}, v AUTO_BUF = {0};
    assert_true(c.chunked);
    key_chunk(&k, c.id, 0);
    buf_str_add(&v, raw_get(&k));
    raw(&k, NULL);
    finds("R6", "has no extents at its start");
    key_chunk(&k2, c.id, 3);
    raw(&k, &v);
    raw(&k2, &v);
    finds("R6", "has a gap or overlap between 35 and 3");
    raw(&k2, NULL);
    c.size = 36;
    set_content(&c);
    finds("R6", "has 36 bytes, its extents 35");
    set_content(&was);
    key_chunk(&k2, 777, 0);
    raw(&k2, &v);
    finds("R6", "extents of content 777, which is not there");
    raw(&k2, NULL);
    clean();
}

static void borrowing(void **state)
{
    (void)state;
    struct content c = content_of("b/copy"), was = c;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    assert_true(c.borrows);
    key_ref(&k, c.inl[0].origin, c.id);
    raw(&k, NULL);
    finds("R7", "and no reference row says so (/b/copy)");
    raw(&k, &v);
    clean();
    key_ref(&k, c.inl[0].origin, 4711);
    raw(&k, &v);
    clean(); /* of a part that never made it into an object */
    raw(&k, NULL);
    key_ref(&k, 4711, c.id);
    raw(&k, &v);
    finds("R7", "content 4711 is forgotten");
    c.inl[0].origin = 4711;
    set_content(&c);
    finds("R7", "borrows from 4711, which is forgotten (/b/copy)");
    c = was;
    c.borrows = false;
    set_content(&c);
    finds("R7", "says that it does not borrow");
}

static void uploads(void **state)
{
    (void)state;
    unsigned char id[16], other[16];
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0}, empty AUTO_BUF = {0};
    struct upload u;
    memset(id, 'o', 16);
    memset(other, 'x', 16);
    key_upload(&k, 'U', id);
    buf_str_add(&v, raw_get(&k));
    OK(dec_upload(buf_str(&v), id, &u));
    struct buf ix AUTO_BUF = {0};
    key_upload_index(&ix, u.bucket, u.key, id);
    raw(&ix, NULL);
    finds("U", "is not in the index by key");
    raw(&ix, &empty);
    set_queue(Q_UPLOAD, u.expire_due, u.content, str_mk(id, 16), false);
    finds("U", "has no record of its expiry");
    finds("R9", "is being built by no upload");
    set_queue(Q_UPLOAD, u.expire_due, u.content, str_mk(id, 16), true);
    clean();
    raw(&k, NULL);
    finds("U", "the index by key names an upload of open");
    raw(&k, &v);
    set_id('c', u.content, NULL);
    finds("U", "which is not there");
    struct content c = {.id = u.content, .state = CONTENT_BUILDING};
    set_content(&c);
    clean();
    struct buf part AUTO_BUF = {0}, pv AUTO_BUF = {0};
    key_part(&part, id, 1);
    buf_str_add(&pv, raw_get(&part));
    key_part(&part, other, 1);
    raw(&part, &pv);
    finds("U", "has no record that would remove them");
    raw(&part, NULL);
    struct meta_items items = {0};
    OK(meta_queue(m, Q_ANSWER, 0, UINT64_MAX - 1, 10, &items));
    set_queue(Q_ANSWER, items.item[0].due, 0, items.item[0].key, false);
    finds("U", "would be remembered for ever");
    meta_items_done(&items);
}

static void the_rest(void **state)
{
    (void)state;
    struct buf k AUTO_BUF = {0}, v AUTO_BUF = {0};
    set_id('A', 555, "");
    finds("P", "pairs of inode 555");
    set_id('A', 555, NULL);
    set_id('L', 555, "x");
    finds("L", "555 is said to be loaded");
    set_id('L', 555, NULL);
    set_id('?', 555, "x");
    finds("K", "is of no known kind");
    set_id('?', 555, NULL);
    key_queue(&k, (enum queue_kind)'z', 1, 2, STR(""));
    struct queue_rec q = {0};
    enc_queue(&v, &q);
    raw(&k, &v);
    finds("K", "queue record of unknown kind");
    raw(&k, NULL);
    key_epoch(&k, 555, STR("a"));
    buf_reset(&v);
    buf_add(&v, "12345678", 8);
    raw(&k, &v);
    finds("E", "epoch of mount 555");
    raw(&k, NULL);
    set_id('I', 556, "\x07nonsense");
    finds("K", "format 7");
    set_id('I', 556, NULL);
    key_sys(&k, "what");
    raw(&k, &v);
    finds("K", "row Swhat is unknown");
    raw(&k, NULL);
    key_sys(&k, "ids");
    buf_reset(&v);
    buf_be64(&v, 3);
    raw(&k, &v);
    finds("I", "was never minted");
}

static void turns(void **state)
{
    (void)state;
    struct buf k AUTO_BUF = {0};
    OK(meta_rules_set(m, STR("{\"apiVersion\": \"v1.0\", \"defaultRule\": {\"policyMode\": \"WRITE_BACK\","
                             "\"properties\": {\"orderedPublication\": true}}}")));
    put("b/ord/x", META_DIRTY);
    put("b/ord/y", META_DIRTY);
    struct meta_delete d = {.dir = META_ROOT, .path = STR("b/clean")};
    OK(meta_delete(m, &d));
    put("b/ord/x", META_DIRTY); /* outruns the first */
    clean();
    struct inode i = look("b/ord/y"), was = i;
    assert_true(i.turn && i.turn_dir && (i.persist_due & REC_TURN));
    i.turn = 0;
    set_inode(&i);
    finds("R10", "has no turn, and its record");
    i = was;
    i.turn += 100;
    set_inode(&i);
    finds("R10", "waits for turn");
    set_inode(&was);
    struct owner o = owner_of(false, "clean"), before = o;
    assert_true(o.turn);
    o.turn += 100;
    set_owner(false, "clean", &o);
    finds("R10", "the deletion of clean waits for turn");
    set_owner(false, "clean", &before);
    clean();
    key_turns(&k, was.turn_dir);
    raw(&k, NULL);
    finds("R11", "wait for their turn, and nothing sees to it");
}

static void mounts(void **state)
{
    (void)state;
    struct inode i = look("b/clean"), was = i;
    i.mount = 777;
    set_inode(&i);
    finds("M", "says mount 777");
    set_inode(&was);
    set_id('M', mount, NULL);
    finds("M", "which is not there");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, build, wreck)
    const struct CMUnitTest tests[] = {
        CASE(everything_is_clean),
        CASE(dentries),
        CASE(removed_trees),
        CASE(states_of_a_file),
        CASE(owners_of_keys),
        CASE(objects_of_nobody),
        CASE(prefixes),
        CASE(contents),
        CASE(chunks),
        CASE(borrowing),
        CASE(uploads),
        CASE(the_rest),
        CASE(mounts),
        CASE(turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
