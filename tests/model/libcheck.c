/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold. While a run goes on:
 *   - a key of the bucket holds a value that some file at that path has or had (or what somebody else put there)
 *   - the values a key holds one after the other are values the path had in that order (some may be left out)
 *   - where an order is asked for, what a key holds proves that all committed before that in its directory and below
 * has been in the bucket At its end, when nothing is left to be done:
 *   - the namespace is what the acknowledged operations make of it in some order that respects who answered before whom
 *     asked; operations without an answer may or may not have happened; what was read fits too
 *   - the bucket holds exactly that, key by key; .forebay/ is empty
 *   - nobody's object was taken for another's where nobody else writes
 *   - every file can be read whole; fsck finds nothing; no page belongs to nobody
 */
#include "model.h"
#include "fakepage.h"
#include <limits.h>

/* ---- what the namespace has shown ---- */

struct known {
    uint64_t ino, parent;
    bool dir;
    char name[32], etag[72];
};
struct names {
    struct known k[64];
    size_t n;
};

static int note_inode(void *arg, struct str key, struct str v)
{
    struct names *all = arg;
    struct inode i;
    struct cur c = cur_of(str_from(key, 1));
    CHECK(dec_inode(v, cur_be64(&c), &i) == 0 && all->n < 64 && i.name.n < 32);
    struct known *k = &all->k[all->n++];
    *k = (struct known){.ino = i.ino, .parent = i.parent, .dir = i.type == REC_DIR};
    memcpy(k->name, i.name.p, i.name.n);
    memcpy(k->etag, i.etag, sizeof k->etag);
    return 0;
}

static bool path_of(const struct names *all, const struct known *k, char *out, size_t size)
{
    char tail[64];
    snprintf(tail, sizeof tail, "%s", k->name);
    for (uint64_t up = k->parent; up != w.mount;) {
        const struct known *d = NULL;
        char longer[128];
        for (size_t i = 0; i < all->n; i++)
            if (all->k[i].ino == up)
                d = &all->k[i];
        if (!d || !d->parent)
            return false;
        snprintf(longer, sizeof longer, "%s/%s", d->name, tail);
        snprintf(tail, sizeof tail, "%.60s", longer);
        up = d->parent;
    }
    snprintf(out, size, "%.31s", tail);
    return true;
}

static struct had *had_last(const char *path)
{
    for (size_t i = w.hads; i-- > 0;)
        if (!strcmp(w.had[i].path, path))
            return &w.had[i];
    return NULL;
}

static void had(const char *path, const char *value)
{
    const struct had *last = had_last(path);
    if (last ? last->value == value : !value)
        return;
    CHECK(w.hads < HAD);
    struct had *h = &w.had[w.hads++];
    snprintf(h->path, sizeof h->path, "%s", path);
    h->value = value;
    h->commit = w.commits;
}

void check_names(void)
{
    struct names all = {.n = 0};
    char seen[64][32];
    size_t seen_n = 0;
    w.names_moved = false;
    w.commits++;
    CHECK(kv_scan(w.kv, STR("I"), note_inode, &all) == 0);
    for (size_t i = 0; i < all.n; i++) {
        char path[32];
        if (all.k[i].dir || !all.k[i].parent || !path_of(&all, &all.k[i], path, sizeof path))
            continue;
        const char *value = value_of_etag(all.k[i].etag);
        if (!value)
            world_complain("%s shows a content that nobody wrote (ETag %s)", path, all.k[i].etag);
        had(path, value);
        memcpy(seen[seen_n++], path, sizeof path);
    }
    for (size_t i = 0; i < w.hads; i++) {
        bool there = false;
        for (size_t k = 0; k < seen_n; k++)
            there |= !strcmp(seen[k], w.had[i].path);
        if (!there)
            had(w.had[i].path, NULL);
    }
}

/* ---- what the bucket holds ---- */

static bool external(const struct op *op)
{
    return op->kind == OP_EXT_PUT || op->kind == OP_EXT_DELETE;
}

static bool ours(struct str key)
{
    return str_starts(key, STR(".forebay/")) || str_ends(key, STR("/"));
}

static bool by_others(struct str key, const char *value)
{
    for (size_t i = 0; i < w.s->clients; i++)
        for (size_t k = 0; k < w.s->client[i]->n; k++) {
            const struct op *op = &w.s->client[i]->op[k];
            if (op->kind == OP_EXT_PUT && !strcmp(op->data, value) && str_starts(key, str_of(op->a)))
                return true; /* there, or kept beside it under a name with .conflict- */
        }
    return false;
}

static bool write_through(void)
{
    return w.s->rules && strstr(w.s->rules, "WRITE_THROUGH");
}

/* Under WRITE_THROUGH the object is visible before the commit. */
static bool on_its_way(const char *path, const char *value)
{
    if (!write_through())
        return false;
    for (size_t i = 0; i < w.dones; i++) {
        const struct op *op = w.done[i].op;
        if (op->data == value && !strcmp(op->a, path))
            return true;
        for (size_t k = 0; k < w.hads && op->kind == OP_COPY && !strcmp(op->b, path); k++)
            if (w.had[k].value == value && !strcmp(w.had[k].path, op->a))
                return true;
    }
    return false;
}

static struct reached *reached(const char *key)
{
    for (size_t i = 0; i < w.reacheds; i++)
        if (!strcmp(w.reached[i].path, key))
            return &w.reached[i];
    CHECK(w.reacheds < KEYS);
    struct reached *r = &w.reached[w.reacheds++];
    *r = (struct reached){.at = 0};
    snprintf(r->path, sizeof r->path, "%s", key);
    return r;
}

static void judge_change(const char *key, const char *was, const char *is)
{
    struct reached *r = reached(key);
    bool ever = false;
    if (by_others(str_of(key), is) || on_its_way(key, is))
        return;
    for (size_t i = 0; i < w.hads; i++) {
        if (w.had[i].value != is || strcmp(w.had[i].path, key))
            continue;
        ever = true;
        if (i < r->at)
            continue;
        r->at = i;
        return;
    }
    if (!ever)
        world_complain("the bucket's key %s holds \"%s\", which no file at that path has or had", key, is);
    else
        world_complain("the bucket's key %s went back from \"%s\" to the older \"%s\"", key, was ? was : "nothing", is);
}

/* ---- in order ---- */

static bool ordered(void)
{
    return w.s->rules && strstr(w.s->rules, "orderedPublication");
}

static const char *held(const char *path)
{
    for (size_t i = 0; i < w.keys; i++)
        if (!strcmp(w.key[i].key, path))
            return w.key[i].value;
    return NULL;
}

/* Which states of the path the bucket may be showing: from the first not before `from` to the last. False: none. */
static bool shows(const char *path, size_t from, size_t *ret_first, size_t *ret_last)
{
    const char *value = held(path);
    bool any = false;
    for (size_t i = from; i < w.hads; i++) {
        if (w.had[i].value != value || strcmp(w.had[i].path, path))
            continue;
        *ret_first = any ? *ret_first : i;
        *ret_last = i;
        any = true;
    }
    return any;
}

static bool waits_for(const char *path, const char *other)
{
    const char *slash = strrchr(path, '/');
    return !slash || !strncmp(path, other, (size_t)(slash - path) + 1);
}

/* The bucket shows path in the state it got with had[at]: has all before that been there? */
static void judge_before(const char *path, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        const struct had *h = &w.had[i];
        size_t first, last;
        bool later = h->commit == w.had[at].commit;
        for (size_t k = i + 1; k < at; k++)
            later |= !strcmp(w.had[k].path, h->path) && w.had[k].commit != w.had[at].commit;
        if (!later && strcmp(h->path, path) && waits_for(path, h->path) && !shows(h->path, i, &first, &last))
            world_complain("the bucket shows %s = %s, and not yet %s = %s, which came before that", path,
                           w.had[at].value ? w.had[at].value : "nothing", h->path, h->value ? h->value : "nothing");
    }
}

static void judge_order(void)
{
    for (size_t i = 0; i < w.hads && ordered() && !world_bad(); i++) {
        size_t first, last;
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= !strcmp(w.had[k].path, w.had[i].path);
        if (!seen && held(w.had[i].path) && shows(w.had[i].path, reached(w.had[i].path)->at, &first, &last))
            judge_before(w.had[i].path, first);
    }
}

struct looking {
    struct key key[KEYS];
    size_t n;
};

static int note_key(void *arg, struct str key, struct str bytes)
{
    struct looking *l = arg;
    CHECK(l->n < KEYS && key.n < sizeof l->key->key);
    struct key *k = &l->key[l->n];
    memset(k, 0, sizeof *k);
    memcpy(k->key, key.p, key.n);
    k->value = value_of_bytes(bytes);
    if (!ours(key) && !k->value)
        world_complain("the bucket's key %s holds bytes that nobody wrote", k->key);
    l->n += !ours(key);
    return 0;
}

static void note_landed(const struct key *k)
{
    for (size_t i = 0; i < w.dones; i++)
        if (w.done[i].op->data == k->value) /* wherever a rename has taken it by now */
            w.done[i].landed = true;
}

/* WRITE_THROUGH: an answer says that the bucket has it, or had it before the next one came. (An upload is kept here
 * first, and may be replaced before it was sent.) */
void check_acked(const struct done *d)
{
    if (write_through() && d->op->kind == OP_PUT && d->code == 0 && !external(d->op) && !d->landed)
        world_complain("%s is acknowledged, and was never in the bucket", op_text(d->op));
}

void check_ufs(void)
{
    struct looking l = {.n = 0};
    ufs_mem_each(w.ufs, note_key, &l);
    for (size_t i = 0; i < l.n; i++)
        note_landed(&l.key[i]);
    for (size_t i = 0; i < l.n && !world_bad() && w.exploring; i++) {
        const char *was = NULL; /* what it held before */
        for (size_t k = 0; k < w.keys; k++)
            if (!strcmp(w.key[k].key, l.key[i].key))
                was = w.key[k].value;
        if (was != l.key[i].value)
            judge_change(l.key[i].key, was, l.key[i].value);
    }
    memcpy(w.key, l.key, sizeof l.key);
    w.keys = l.n;
    if (w.exploring)
        judge_order();
}

static int note_setup_key(void *arg, struct str key, struct str bytes)
{
    char path[64] = {0};
    (void)arg;
    memcpy(path, key.p, key.n);
    if (!ours(key))
        had(path, value_of_bytes(bytes));
    return 0;
}

void check_begin(void)
{
    check_names();
    if (w.s->forget_setup)
        ufs_mem_each(w.ufs, note_setup_key, NULL);
    check_ufs();
}

uint64_t check_hash(void)
{
    uint64_t h = 0;
    for (size_t i = 0; i < w.dones; i++) {
        const struct done *d = &w.done[i];
        uint64_t x[4] = {(uint64_t)(uintptr_t)d->op, (uint64_t)(int64_t)d->code << 1 | d->acked,
                         str_hash(str_of(d->value)), 0};
        for (size_t k = 0; k < w.dones; k++)
            x[3] ^= w.done[k].end < d->begin ? (uint64_t)(uintptr_t)w.done[k].op * 31 : 0;
        h ^= str_hash(str_mk(x, sizeof x));
    }
    for (size_t i = 0; i < w.reacheds; i++)
        h ^= str_hash(str_of(w.reached[i].path)) * 3 + (w.hads ? (uint64_t)(uintptr_t)w.had[w.reached[i].at].value : 0);
    uint64_t shown[HAD], n = 0;
    for (size_t i = 0; i < w.hads; i++) { /* each pair once */
        uint64_t one = str_hash(str_of(w.had[i].path)) * 5 + (uint64_t)(uintptr_t)w.had[i].value;
        bool old = false;
        for (size_t k = 0; k < n; k++)
            old |= shown[k] == one;
        if (!old)
            h ^= shown[n++] = one;
    }
    for (size_t i = 0; i < w.hads && ordered(); i++)
        h = h * 31 + (uint64_t)(uintptr_t)w.had[i].value;
    return h + w.crashes;
}

/* ---- the sequential model ---- */

struct tree {
    struct file {
        char path[32];
        const char *value;
    } f[16];
    size_t n;
};

static const char *tree_get(const struct tree *t, const char *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->f[i].path, path))
            return t->f[i].value;
    return NULL;
}

static void tree_set(struct tree *t, const char *path, const char *value)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->f[i].path, path)) {
            t->f[i].value = value;
            if (!value)
                t->f[i] = t->f[--t->n];
            return;
        }
    if (!value)
        return;
    CHECK(t->n < 16);
    snprintf(t->f[t->n].path, sizeof t->f->path, "%s", path);
    t->f[t->n++].value = value;
}

static bool is_dir(const char *path)
{
    return path[strlen(path) - 1] == '/';
}

static bool tree_holds(const struct tree *t, const char *dir)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strncmp(t->f[i].path, dir, strlen(dir)))
            return true;
    return false;
}

static void tree_move(struct tree *t, const char *from, const char *to)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strncmp(t->f[i].path, from, strlen(from))) {
            char path[64];
            snprintf(path, sizeof path, "%s%s", to, t->f[i].path + strlen(from));
            snprintf(t->f[i].path, sizeof t->f->path, "%.31s", path);
        }
}

static void tree_clear(struct tree *t, const char *dir)
{
    for (size_t i = t->n; i-- > 0;)
        if (!strncmp(t->f[i].path, dir, strlen(dir)))
            t->f[i] = t->f[--t->n];
}

/* The directory a name lies in is there for sure only while it holds something: both answers fit else. */
static bool no_parent(const struct tree *t, const char *path)
{
    char dir[32];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strchr(dir, '/');
    if (!slash)
        return false;
    slash[1] = 0;
    return !tree_holds(t, dir);
}

static int model_rename(struct tree *t, const struct op *op, int answer)
{
    const char *v = tree_get(t, op->a);
    if (is_dir(op->a)) {
        if (!tree_holds(t, op->a))
            return ERR_NOT_FOUND;
        if (tree_holds(t, op->b))
            return ERR_NOT_EMPTY;
        tree_move(t, op->a, op->b);
        return 0;
    }
    if (!v || (answer == ERR_NOT_FOUND && no_parent(t, op->b)))
        return ERR_NOT_FOUND;
    tree_set(t, op->a, NULL);
    tree_set(t, op->b, v);
    return 0;
}

static int model_exchange(struct tree *t, const struct op *op, int answer)
{
    const char *a = tree_get(t, op->a), *b = tree_get(t, op->b);
    if (is_dir(op->a)) {
        if (answer == ERR_NOT_FOUND && (!tree_holds(t, op->a) || !tree_holds(t, op->b)))
            return ERR_NOT_FOUND;
        tree_move(t, op->a, "\x01/");
        tree_move(t, op->b, op->a);
        tree_move(t, "\x01/", op->b);
        return 0;
    }
    if (!a || !b)
        return ERR_NOT_FOUND;
    tree_set(t, op->a, b);
    tree_set(t, op->b, a);
    return 0;
}

/* What the operation answers, and *ret_value what it reads. answer: the real one, where more than one is right. */
static int model_apply(struct tree *t, const struct op *op, int answer, const char **ret_value)
{
    const char *v = tree_get(t, op->a);
    *ret_value = "";
    switch (op->kind) {
    case OP_PUT:
    case OP_UPLOAD:
    case OP_EXT_PUT:
        tree_set(t, op->a, op->data);
        return 0;
    case OP_DELETE:
    case OP_EXT_DELETE:
        tree_set(t, op->a, NULL);
        return v || op->kind == OP_EXT_DELETE ? 0 : ERR_NOT_FOUND;
    case OP_RENAME:
        return model_rename(t, op, answer);
    case OP_EXCHANGE:
        return model_exchange(t, op, answer);
    case OP_COPY:
        if (v)
            tree_set(t, op->b, v);
        return v ? 0 : ERR_NOT_FOUND;
    case OP_REWRITE:
        if (v)
            tree_set(t, op->a, op->data);
        return v ? 0 : ERR_NOT_FOUND;
    case OP_GET:
    case OP_LOOKUP:
        *ret_value = v ? v : "";
        return v ? 0 : ERR_NOT_FOUND;
    case OP_REMOVE_TREE: {
        bool any = tree_holds(t, op->a);
        tree_clear(t, op->a);
        return any ? 0 : ERR_NOT_FOUND;
    }
    }
    return ERR_BUG;
}

/* Somebody else took away what was being read: no more can be said. */
static bool pulled_away(const struct done *d)
{
    bool others = false;
    for (size_t i = 0; i < w.dones; i++)
        others |= external(w.done[i].op);
    return others && d->op->kind == OP_GET && d->code == ERR_STALE;
}

/* Did it end so that nobody knows whether it happened? Or has it not happened for a reason that is not the namespace's?
 */
static bool open_end(const struct done *d)
{
    return !d->acked || pulled_away(d) ||
           (d->code < 0 && (err_again(d->code) || err_info(d->code)->retry == ERR_RETRY_MAYBE));
}

/* An empty directory may be there still, or not: both answers fit. */
static bool fits(const struct done *d, int code, const char *value)
{
    bool dirs = d->op->kind == OP_REMOVE_TREE || (d->op->b && is_dir(d->op->a));
    if (write_through() && d->op->kind == OP_DELETE && code == ERR_NOT_FOUND && d->code == 0)
        return true; /* it went away while the UFS was asked to delete it */
    if (d->code != code)
        return dirs && code == ERR_NOT_FOUND && (d->code == 0 || d->code == ERR_NOT_EMPTY);
    return strcmp(d->value, value) == 0;
}

static bool before(const struct done *a, const struct done *b)
{
    return a->end < b->begin && !external(a->op);
}

static bool same(const struct tree *a, const struct tree *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const char *v = tree_get(b, a->f[i].path);
        if (!v || strcmp(v, a->f[i].value))
            return false;
    }
    return true;
}

/* Who else's object was at the old key of a file that had not moved yet has changed or removed its only copy, where the
 * pages were gone: the file is gone then. Where they are here it never is. */
static bool destroy(struct tree *t, const struct op *op)
{
    bool any = false;
    for (size_t i = 0; i < w.hads && w.s->eager; i++) {
        if (!w.had[i].value || strcmp(w.had[i].path, op->a))
            continue;
        for (size_t k = t->n; k-- > 0;)
            if (t->f[k].value == w.had[i].value && strcmp(t->f[k].path, op->a)) {
                t->f[k] = t->f[--t->n];
                any = true;
            }
    }
    return any;
}

static bool linear(struct tree t, unsigned used, const struct tree *end)
{
    bool all = true;
    for (size_t i = 0; i < w.dones; i++)
        all &= used >> i & 1 || open_end(&w.done[i]) || external(w.done[i].op);
    if (all && same(&t, end))
        return true;
    for (size_t i = 0; i < w.dones; i++) {
        const struct done *d = &w.done[i];
        bool ready = !(used >> i & 1);
        for (size_t k = 0; k < w.dones && ready; k++)
            if (!(used >> k & 1) && k != i && before(&w.done[k], d) && !open_end(&w.done[k]))
                ready = false;
        if (!ready)
            continue;
        struct tree next = t;
        const char *value;
        int code = model_apply(&next, d->op, d->code, &value);
        if (!open_end(d) && !external(d->op) && !fits(d, code, value))
            continue;
        if (linear(next, used | 1u << i, end))
            return true;
        if (external(d->op) && destroy(&next, d->op) && linear(next, used | 1u << i, end))
            return true;
    }
    return false;
}

/* ---- at rest ---- */

static struct tree start_tree(void)
{
    struct tree t = {.n = 0};
    const char *value;
    for (size_t i = 0; i < w.s->setup_n; i++)
        model_apply(&t, &w.s->setup[i], 0, &value);
    return t;
}

static void tree_text(const struct tree *t, struct buf *b)
{
    for (size_t i = 0; i < t->n; i++)
        buf_printf(b, " %s=%s", t->f[i].path, t->f[i].value);
    if (!t->n)
        buf_putz(b, " nothing");
}

static int listed(void *arg, const struct fs_entry *e)
{
    struct tree *t = arg;
    char path[64] = {0};
    if (e->prefix || str_ends(e->key, STR("/")))
        return 0;
    CHECK(e->key.n < sizeof path);
    memcpy(path, e->key.p, e->key.n);
    const char *value = value_of_etag(e->attr->etag);
    if (!value)
        world_complain("%s is listed with a content that nobody wrote", path);
    else if (!strstr(path, ".conflict-"))
        tree_set(t, path, value);
    return 0;
}

static void end_names(struct tree *t)
{
    struct fs_list l = {.dir = fs_path(STR("/b/")), .limit = 100};
    bool more;
    uint64_t version;
    int r = fs_list(w.fs, &l, listed, t, &more, &version);
    if (r < 0)
        world_complain("listing failed: %s", err_detail(r));
}

static void end_reads(const struct tree *t)
{
    for (size_t i = 0; i < t->n && !world_bad(); i++) {
        struct op op = {.kind = OP_GET, .a = t->f[i].path};
        struct done d = {0};
        int r = action_run(&op, &d);
        if (r < 0)
            world_complain("%s cannot be read: %s: %s", op.a, err_info(r)->name, err_detail(r));
        else if (strcmp(d.value, t->f[i].value))
            world_complain("%s is listed as \"%s\" and reads \"%s\"", op.a, t->f[i].value, d.value);
    }
}

static int bucket(void *arg, struct str key, struct str bytes)
{
    struct tree *t = arg;
    char path[64] = {0};
    memcpy(path, key.p, key.n < 63 ? key.n : 63);
    const char *value = value_of_bytes(bytes);
    if (str_eq(key, STR(".forebay/lock")))
        return 0;
    if (str_starts(key, STR(".forebay/")))
        world_complain("%s is left in the bucket", path);
    else if (strstr(path, ".conflict-") && value && by_others(key, value))
        return 0;
    else if (!str_ends(key, STR("/")))
        tree_set(t, path, value ? value : "?");
    return 0;
}

static void say_breach(void *arg, const char *line)
{
    buf_printf(arg, "\n    %s", line);
}

static bool has_page(void *arg, uint64_t blob, uint64_t off, uint64_t n)
{
    return page_has(arg, blob, off, n);
}

static void end_fsck(void)
{
    struct buf lines AUTO_BUF = {0};
    int r = meta_fsck(w.meta, has_page, w.pages, say_breach, &lines);
    if (r < 0)
        world_complain("fsck failed: %s", err_detail(r));
    else if (r > 0)
        world_complain("fsck:%s", lines.p);
}

static int find_waif(void *arg, const struct page_blob *b, size_t n, enum page_verdict *verdict)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        struct meta_blob m = {.blob = b[i].blob, .content = b[i].content};
        verdict[i] = PAGE_SKIP;
        CHECK(meta_walk(w.meta, &m, 1) == 0);
        if (m.verdict == 2)
            world_complain("blob %llu of content %llu is in the page store and belongs to nobody",
                           (unsigned long long)b[i].blob, (unsigned long long)b[i].content);
        else if (m.verdict == 0 && b[i].unknown)
            world_complain("blob %llu is still unknown", (unsigned long long)b[i].blob);
    }
    return 0;
}

static void compare(const struct tree *is, const struct tree *want, const char *what)
{
    struct buf a AUTO_BUF = {0}, b AUTO_BUF = {0};
    if (same(is, want))
        return;
    tree_text(is, &a);
    tree_text(want, &b);
    world_complain("%s:%s; the namespace:%s", what, a.p, b.p);
}

/* What is where it need not be in the bucket; a file that came with its directory may be there already. */
static void without_transient(struct tree *t, struct tree *objects)
{
    for (size_t i = t->n; i-- > 0;) {
        char path[64];
        snprintf(path, sizeof path, "/b/%s", t->f[i].path);
        if (meta_rule(w.meta, str_of(path)).policy != META_TRANSIENT)
            continue;
        if (tree_get(objects, t->f[i].path) == t->f[i].value)
            tree_set(objects, t->f[i].path, NULL);
        t->f[i] = t->f[--t->n];
    }
}

/* Where nobody else writes the bucket, nothing in it may ever look like somebody else's. */
static void end_conflicts(void)
{
    struct persist_figures f;
    bool others = false;
    for (size_t i = 0; i < w.dones; i++)
        others |= external(w.done[i].op);
    persist_figures(w.persist, &f);
    if (f.conflicts && !others)
        world_complain("%llu times an object of our own was taken for somebody else's",
                       (unsigned long long)f.conflicts);
}

void check_end(void)
{
    struct tree names = {.n = 0}, objects = {.n = 0}, start = start_tree();
    struct buf text AUTO_BUF = {0};
    end_conflicts();
    end_fsck();
    if (w.s->sync_ms)
        w.now_ns += (w.s->sync_ms + 1000) * 1000000;
    end_names(&names);
    if (world_bad())
        return;
    if (!linear(start, 0, &names)) {
        tree_text(&names, &text);
        world_complain("no order of the operations explains what was answered and what is there:%s", text.p);
    }
    ufs_mem_each(w.ufs, bucket, &objects);
    end_reads(&names);
    without_transient(&names, &objects);
    compare(&objects, &names, "the bucket at rest");
    end_fsck();
    page_walk(w.pages, true, 16, find_waif, NULL);
    if (fakepage_complaint())
        world_complain("page store: %s", fakepage_complaint());
}
