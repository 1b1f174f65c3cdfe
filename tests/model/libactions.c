/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients do, through the door; and the values they write: each a short text of its own, known by its bytes and by
 * its ETag.
 */
#include "model.h"
#include "base/hash.h"
#include "meta/tx.h"

enum { VALUES = 32 };
static struct value {
    const char *data;
    char etag[72];
} value[VALUES];
static size_t values;

void value_learn(const char *data)
{
    unsigned char sum[32];
    for (size_t i = 0; i < values; i++)
        if (!strcmp(value[i].data, data))
            return;
    CHECK(values < VALUES);
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, data, strlen(data));
    digest_end(d, sum);
    value[values].data = data;
    str_hex(sum, 16, value[values++].etag);
}

static void value_learn_etag(const char *data, const char *etag)
{
    value_learn(data);
    for (size_t i = 0; i < values; i++)
        if (!strcmp(value[i].data, data) && strcmp(value[i].etag, etag) && values < VALUES) {
            value[values].data = value[i].data;
            snprintf(value[values++].etag, sizeof value->etag, "%s", etag);
            return;
        }
}

const char *value_of_etag(const char *etag)
{
    for (size_t i = 0; i < values; i++)
        if (!strcmp(value[i].etag, etag))
            return value[i].data;
    return NULL;
}

const char *value_of_bytes(struct str bytes)
{
    for (size_t i = 0; i < values; i++)
        if (str_eq(str_of(value[i].data), bytes))
            return value[i].data;
    return NULL;
}

void actions_begin(void)
{
    values = 0;
    for (size_t i = 0; i < w.s->setup_n; i++)
        if (w.s->setup[i].data)
            value_learn(w.s->setup[i].data);
    for (size_t c = 0; c < w.s->clients; c++)
        for (size_t i = 0; i < w.s->client[c]->n; i++)
            if (w.s->client[c]->op[i].data)
                value_learn(w.s->client[c]->op[i].data);
}

const char *op_text(const struct op *op)
{
    static char text[160];
    static const char *const name[] = {"put",         "delete", "rename",       "exchange",
                                       "copy",        "get",    "lookup",       "rewrite",
                                       "remove tree", "upload", "EXTERNAL put", "EXTERNAL delete"};
    snprintf(text, sizeof text, "%s %s%s%s%s%s", name[op->kind], op->a, op->b ? " -> " : "", op->b ? op->b : "",
             op->data ? " = " : "", op->data ? op->data : "");
    return text;
}

/* ---- through the door ---- */

struct name {
    char path[64];
};

static struct fs_at at(struct name *n, const char *path)
{
    snprintf(n->path, sizeof n->path, "/b/%s", path);
    return fs_path(str_of(n->path));
}

static int put(const char *path, const char *data)
{
    struct name n;
    struct fs_write o = {.size = strlen(data)};
    struct fs_writer *wr;
    struct fs_attr attr;
    TRY(fs_create(w.fs, at(&n, path), &o, &wr));
    int r = fs_write(wr, data, strlen(data));
    if (r < 0) {
        fs_abort(wr);
        return r;
    }
    return fs_commit(wr, NULL, &attr);
}

static int upload_part(const char *path, const char *id, unsigned part, struct str bytes, char etag[72])
{
    struct name n;
    struct fs_write o = {.size = bytes.n};
    struct fs_writer *wr;
    struct fs_attr attr;
    TRY(fs_upload_part(w.fs, at(&n, path), id, part, &o, &wr));
    int r = fs_write(wr, bytes.p, bytes.n);
    if (r < 0) {
        fs_abort(wr);
        return r;
    }
    TRY(fs_commit(wr, NULL, &attr));
    memcpy(etag, attr.etag, 72);
    return 0;
}

/* What its ETag will be is learned before the name can show it. */
static void learn_parts_etag(const char *data, const char *etag)
{
    unsigned char sum[32], part[16];
    char all[72];
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    if (str_unhex(str_of(etag), part, 16))
        digest_add(d, part, 16);
    digest_end(d, sum);
    str_hex(sum, 16, all);
    strcat(all, "-1");
    value_learn_etag(data, all);
}

/* One part only: all but the last must have 5 MiB. The part is sent twice, as a client does that got no answer. */
static int upload(const char *path, const char *data)
{
    struct name n;
    struct fs_write o = {.size = UINT64_MAX};
    char id[FS_UPLOAD_ID], etag[72];
    struct fs_attr attr;
    TRY(fs_upload_create(w.fs, at(&n, path), &o, id));
    TRY(upload_part(path, id, 1, str_of("a part that is replaced"), etag));
    TRY(upload_part(path, id, 1, str_of(data), etag));
    learn_parts_etag(data, etag);
    struct fs_part part = {.part = 1, .etag = str_of(etag)};
    return fs_upload_complete(w.fs, at(&n, path), id, &part, 1, NULL, NULL, 0, &attr);
}

static int collect(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
    return 0;
}

/* One whole published content, or it is said loudly. */
static int get(const char *path, struct done *d)
{
    struct name n;
    struct fs_file *f;
    struct buf bytes AUTO_BUF = {0};
    TRY(fs_open(w.fs, at(&n, path), 0, &f));
    struct fs_sink sink = {.bytes = collect, .arg = &bytes};
    char etag[72];
    memcpy(etag, fs_file_attr(f)->etag, sizeof etag);
    int r = fs_read(f, 0, UINT64_MAX, &sink);
    fs_close(f);
    if (r < 0)
        return r;
    const char *data = value_of_bytes(buf_str(&bytes));
    if (!data)
        world_complain("get %s gave bytes that nobody wrote: \"%s\"", path, bytes.p);
    else if (data != value_of_etag(etag) && (!value_of_etag(etag) || strcmp(data, value_of_etag(etag))))
        world_complain("get %s gave \"%s\" under the ETag of \"%s\"", path, data,
                       value_of_etag(etag) ? value_of_etag(etag) : etag);
    snprintf(d->value, sizeof d->value, "%s", data ? data : "?");
    return 0;
}

static int lookup(const char *path, struct done *d)
{
    struct name n;
    struct fs_attr attr;
    TRY(fs_stat(w.fs, at(&n, path), 0, &attr, NULL, NULL));
    const char *data = value_of_etag(attr.etag);
    snprintf(d->value, sizeof d->value, "%s", data ? data : attr.etag);
    return 0;
}

/* ---- in place ---- */

struct rewrite {
    struct str path;
    const char *etag;
    uint64_t content, blob, size;
};

static int outdated_object(struct kv_tx *tx, struct inode *i, const struct place *p, struct buf *ret_key)
{
    char home[META_KEY_MAX + 8], ident[META_KEY_MAX + 8];
    TRY(place_keys(p, home, ident));
    if (i->loc == LOC_NONE)
        return 0;
    if (i->loc == LOC_KEY) {
        buf_str_add(ret_key, i->key);
        tx_unqueue(tx, Q_SETTLE, i->settle_due, i->ino, STR(""));
    } else {
        buf_putz(ret_key, ident);
    }
    return tx_gone(tx, i->mount, buf_str(ret_key), i->ver, i->content, !str_eq(buf_str(ret_key), str_of(home)));
}

/* What a publish of in-place writes does: the inode stays, its content is another. */
static int rewrite_tx(struct kv_tx *tx, void *arg)
{
    const struct rewrite *a = arg;
    struct buf key AUTO_BUF = {0};
    struct place p;
    struct dentry d;
    struct inode i;
    TRY(tx_walk(tx, META_ROOT, a->path, &p));
    if (p.rest.n)
        return ERR_NOT_FOUND;
    TRY(tx_dentry(tx, p.dir, p.leaf, &d));
    TRY(tx_inode(tx, d.ino, &i));
    if (i.dirty)
        tx_unqueue(tx, Q_PERSIST, i.persist_due, i.ino, STR(""));
    TRY(outdated_object(tx, &i, &p, &key));
    TRY(tx_content_dead(tx, i.content, i.mount, key.n ? buf_str(&key) : (struct str){0}, i.ver));
    struct content c = {.id = a->content, .ino = i.ino, .state = CONTENT_LIVE, .size = a->size, .n = 1};
    c.inl[0] = (struct extent){.len = a->size, .blob = a->blob, .origin = a->content};
    i.loc = LOC_NONE;
    i.key = STR("");
    i.ver[0] = 0;
    i.settle_due = 0;
    i.dirty = !i.transient;
    i.content = a->content;
    i.size = a->size;
    snprintf(i.etag, sizeof i.etag, "%s", a->etag);
    i.ctime_ms = i.mtime_ms = clock_wall_ms();
    if (i.dirty)
        tx_persist_record(tx, &i, clock_wall_ms());
    tx_put_inode(tx, &i);
    return tx_new_content(tx, &c);
}

static int rewrite(const char *path, const char *data)
{
    struct name n;
    struct fs_attr attr;
    struct page_writer *pw;
    struct rewrite a = {.size = strlen(data)};
    uint64_t id;
    unsigned char sum[32];
    char etag[72];
    a.path = at(&n, path).path;
    TRY(fs_stat(w.fs, at(&n, path), 0, &attr, NULL, NULL));
    TRY(meta_mint(w.meta, 2, &id));
    a.content = id;
    a.blob = id + 1;
    TRY(page_write_begin(w.pages, a.blob, a.content, PAGE_PINNED, a.size, 0, &pw));
    TRY(page_append(pw, data, a.size));
    TRY(page_seal(pw));
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, data, a.size);
    digest_end(d, sum);
    str_hex(sum, 16, etag);
    a.etag = etag;
    int r = meta_update(w.meta, rewrite_tx, &a);
    if (r < 0)
        page_drop(w.pages, a.blob, a.size);
    return r;
}

/* ---- all of them ---- */

int action_run(const struct op *op, struct done *d)
{
    struct name a, b;
    struct fs_attr attr;
    err_clear();
    switch (op->kind) {
    case OP_PUT:
        return put(op->a, op->data);
    case OP_DELETE:
        return fs_delete(w.fs, at(&a, op->a), 0, NULL);
    case OP_RENAME:
        return fs_rename(w.fs, at(&a, op->a), at(&b, op->b), 0);
    case OP_EXCHANGE:
        return fs_rename(w.fs, at(&a, op->a), at(&b, op->b), FS_EXCHANGE);
    case OP_COPY:
        return fs_copy(w.fs, at(&a, op->a), NULL, at(&b, op->b), &(struct fs_write){.size = UINT64_MAX}, false, &attr);
    case OP_GET:
        return get(op->a, d);
    case OP_LOOKUP:
        return lookup(op->a, d);
    case OP_REWRITE:
        return rewrite(op->a, op->data);
    case OP_REMOVE_TREE:
        return fs_remove_tree(w.fs, at(&a, op->a));
    case OP_UPLOAD:
        return upload(op->a, op->data);
    case OP_EXT_PUT:
        ufs_mem_external_put(w.ufs, str_of(op->a), str_of(op->data));
        check_ufs();
        return 0;
    case OP_EXT_DELETE:
        ufs_mem_external_delete(w.ufs, str_of(op->a));
        check_ufs();
        return 0;
    }
    return ERR_BUG;
}
