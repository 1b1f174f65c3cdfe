/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing whole objects.
 *
 *   WRITE_BACK, TRANSIENT   pages (pinned) -> seal -> one transaction
 *   WRITE_THROUGH           pages and an invisible UFS write side by side -> claim -> UFS visible -> transaction
 *   a part of an upload     pages -> seal -> its row; where the upload passes through (fs/upload.c): the store -> its
 * row NO_CACHE                the UFS write alone -> claim -> UFS visible -> claim released
 *
 * A crash before the transaction leaves pages that no content names (found by the walk after the start) and, where a
 * claim was made, a row that says so. Nothing that was not acknowledged is half visible: the UFS write shows at its end
 * only.
 */
#include "fs/fs_in.h"

enum { SPACE_WAIT_MS = 5000 };

struct fs_writer {
    struct fs *fs;
    struct buf path, pairs;
    uint64_t dir, content, blob, size, announced, mtime_ms;
    uint64_t expect_content; /* a copy onto itself: what must still be there */
    enum meta_policy policy;
    uint32_t mode, uid, gid;
    unsigned flags;
    struct buf if_match, if_none;
    bool has_match, has_none;
    struct page_writer *pages;
    bool sealed; /* they are durable */
    struct ufs_writer *ufs;
    struct meta_mount *mt;
    struct digest *md5; /* of a small body */
    struct md5 *lanes;  /* of a large one, or one of unknown size */
    /* a part of an upload: */
    bool is_part;
    unsigned char upload[16], sum[16];
    unsigned part;
    struct pass *pass; /* it passes through: where to, and the names it needs */
    struct buf ufs_id, ufs_key;
};

static void writer_free(struct fs_writer *w)
{
    if (!w)
        return;
    page_abort(w->pages);
    pass_abort(w->pass);
    buf_done(&w->ufs_id);
    buf_done(&w->ufs_key);
    if (w->ufs)
        ufs_write_abort(w->ufs);
    meta_mount_put(w->fs->meta, w->mt);
    digest_free(w->md5);
    md5_free(w->lanes);
    buf_done(&w->path);
    buf_done(&w->pairs);
    buf_done(&w->if_match);
    buf_done(&w->if_none);
    free(w);
}

void fs_abort(struct fs_writer *w)
{
    writer_free(w);
}

static struct meta_cond writer_cond(const struct fs_writer *w)
{
    struct meta_cond c = {0};
    if (w->has_match)
        c.if_match = buf_str(&w->if_match);
    if (w->has_none)
        c.if_none_match = buf_str(&w->if_none);
    return c;
}

static int begin_pages(struct fs_writer *w)
{
    bool pinned = w->policy == META_WRITE_BACK || w->policy == META_TRANSIENT;
    uint64_t hint = w->announced == UINT64_MAX ? 0 : w->announced;
    if (w->announced == 0)
        return 0;
    return page_write_begin(w->fs->pages, w->blob, w->content, pinned ? PAGE_PINNED : PAGE_EVICTABLE, hint,
                            clock_mono_ns() + SPACE_WAIT_MS * 1000000ull, &w->pages);
}

static int begin_ufs(struct fs_writer *w)
{
    struct meta_found f = {0};
    struct ufs *u = NULL;
    struct ufs_pair *pair AUTO_FREE = NULL;
    int r = meta_lookup(w->fs->meta, w->dir, buf_str(&w->path), 0, &f);
    if (r == 0) {
        w->mt = meta_mount_get(w->fs->meta, f.mount);
        r = w->mt ? meta_mount_ufs(w->fs->meta, w->mt, &u) : err_set(ERR_NO_BUCKET, "there is no such bucket");
    }
    if (r == 0) {
        struct ufs_put_opts o = {.size = w->announced == UINT64_MAX ? UFS_SIZE_UNKNOWN : w->announced,
                                 .mtime_ms = w->mtime_ms};
        o.meta.n = data_ufs_pairs(buf_str(&w->pairs), &pair);
        o.meta.pair = pair;
        r = ufs_write_begin(u, str_of(f.home), &o, &w->ufs);
    }
    meta_found_done(&f);
    return r;
}

/* Full pinned space under forebay.write.full.policy=degrade: this object goes through to the UFS instead. */
static int begin(struct fs_writer *w)
{
    int r = w->policy == META_NO_CACHE ? 0 : begin_pages(w);
    if (r == ERR_NO_SPACE && w->policy == META_WRITE_BACK && w->fs->degrade && !w->is_part) {
        w->policy = META_WRITE_THROUGH;
        r = begin_pages(w);
    }
    if (r == ERR_NO_SPACE && w->policy == META_WRITE_THROUGH && !w->is_part) {
        w->pages = NULL; /* the UFS gets it; it is just not cached */
        r = 0;
    }
    TRY(r);
    bool through = (w->policy == META_WRITE_THROUGH || w->policy == META_NO_CACHE) && !w->is_part &&
                   !fs_is_dir_path(buf_str(&w->path));
    return through ? begin_ufs(w) : 0;
}

static int writer_new(struct fs *fs, struct fs_at at, const struct fs_write *o, struct fs_writer **ret)
{
    struct fs_writer *w = calloc(1, sizeof *w);
    uint64_t id;
    if (!w)
        return ERR_NOMEM;
    w->fs = fs;
    w->dir = at.dir;
    buf_str_add(&w->path, at.path);
    w->announced = o->size;
    w->mode = o->mode ? o->mode : 0644;
    w->uid = o->uid;
    w->gid = o->gid;
    w->flags = o->flags;
    w->mtime_ms = o->mtime_ms;
    w->has_match = o->cond.if_match.p;
    w->has_none = o->cond.if_none_match.p;
    buf_str_add(&w->if_match, o->cond.if_match.p ? o->cond.if_match : STR(""));
    buf_str_add(&w->if_none, o->cond.if_none_match.p ? o->cond.if_none_match : STR(""));
    if (o->size < MD5_PIECE)
        w->md5 = digest_new(DIGEST_MD5);
    else
        w->lanes = md5_new();
    int r = fs_encode_pairs(o->meta, o->meta_n, &w->pairs);
    if (r == 0)
        r = meta_mint(fs->meta, 2, &id);
    if (r < 0) {
        writer_free(w);
        return r;
    }
    w->content = id;
    w->blob = id + 1;
    *ret = w;
    return 0;
}

/* Preconditions are judged by the commit; a look beforehand spares an upload that must fail, and loads what the UFS
 * knows of the key, so that the commit can judge at all. */
static int glance(struct fs *fs, struct fs_at at, enum meta_policy policy, const struct fs_cond *c)
{
    struct meta_found f = {0};
    struct meta_cond mc = fs_cond_of(c);
    bool through = policy == META_WRITE_THROUGH || policy == META_NO_CACHE; /* then the UFS's word counts, as of now */
    if (!c->if_match.p && !c->if_none_match.p)
        return 0;
    int r = data_lookup(fs->data, at.dir, at.path, through ? DATA_FRESH : 0, &f);
    if (r == 0)
        r = meta_cond_check(&mc, f.state == META_FOUND && (f.i.type != REC_DIR || f.i.explicit_dir) ? f.i.etag : NULL);
    meta_found_done(&f);
    return r;
}

int fs_create(struct fs *fs, struct fs_at at, const struct fs_write *o, struct fs_writer **ret)
{
    struct fs_writer *w;
    enum meta_policy policy;
    TRACE("fs.create", at.dir, o->size);
    TRY(fs_writable(fs, at, &policy));
    TRY(fs_check_key(fs, at));
    TRY(glance(fs, at, policy, &o->cond));
    TRY(writer_new(fs, at, o, &w));
    w->policy = policy;
    if (fs_is_dir_path(at.path) && o->size && o->size != UINT64_MAX) {
        writer_free(w);
        return err_set(ERR_KEY_UNSUPPORTED, "an object whose key ends in '/' is a directory and must be empty");
    }
    int r = begin(w);
    if (r < 0) {
        writer_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

static int store(struct fs_writer *w, const void *p, size_t n)
{
    if (fs_is_dir_path(buf_str(&w->path)) && !w->is_part)
        return err_set(ERR_KEY_UNSUPPORTED, "an object whose key ends in '/' is a directory and must be empty");
    w->size += n;
    if (w->pages) {
        int r = page_append(w->pages, p, n);
        if (r < 0 && w->ufs) { /* written through: the cache may fail */
            page_abort(w->pages);
            w->pages = NULL;
        } else if (r < 0) {
            return r;
        }
    }
    if (w->pass)
        return pass_write(w->pass, p, n);
    return w->ufs ? ufs_write(w->ufs, p, n) : 0;
}

void *fs_write_room(struct fs_writer *w, size_t *ret_n)
{
    return w->lanes ? md5_room(w->lanes, ret_n) : NULL;
}

int fs_write_filled(struct fs_writer *w, size_t n)
{
    size_t room;
    TRY(store(w, md5_room(w->lanes, &room), n));
    md5_filled(w->lanes, n);
    return 0;
}

static int write_by_room(struct fs_writer *w, const char *p, size_t n)
{
    while (n) {
        size_t room;
        void *to = md5_room(w->lanes, &room);
        size_t take = n < room ? n : room;
        memcpy(to, p, take);
        TRY(fs_write_filled(w, take));
        p += take;
        n -= take;
    }
    return 0;
}

int fs_write(struct fs_writer *w, const void *p, size_t n)
{
    if (!n)
        return 0;
    if (w->lanes)
        return write_by_room(w, p, n);
    digest_add(w->md5, p, n);
    return store(w, p, n);
}

static int check_size(struct fs_writer *w)
{
    if (w->announced != UINT64_MAX && w->announced != w->size)
        return err_set(ERR_INCOMPLETE_BODY, "the body has %llu bytes, %llu were announced", (unsigned long long)w->size,
                       (unsigned long long)w->announced);
    return 0;
}

static int check_digest(struct fs_writer *w, const struct fs_commit *o, char etag[72])
{
    unsigned char sum[32];
    if (w->lanes)
        md5_end(w->lanes, sum);
    else
        digest_end(w->md5, sum);
    str_hex(sum, 16, etag);
    memcpy(w->sum, sum, sizeof w->sum);
    if (o && o->md5 && memcmp(o->md5, sum, 16))
        return err_set(ERR_BAD_DIGEST, "the body does not have the MD5 that came with it");
    return 0;
}

static void publish_args(struct fs_writer *w, const char *etag, struct extent *e, struct meta_publish *p)
{
    *e = (struct extent){.len = w->size, .blob = w->blob, .origin = w->content};
    bool dir = fs_is_dir_path(buf_str(&w->path));
    *p = (struct meta_publish){.dir = w->dir,
                               .path = buf_str(&w->path),
                               .flags = w->flags & FS_POSIX ? META_POSIX : 0,
                               .cond = writer_cond(w),
                               .type = dir ? REC_DIR : REC_FILE,
                               .mode = dir ? 0755 : w->mode,
                               .uid = w->uid,
                               .gid = w->gid,
                               .size = w->size,
                               .mtime_ms = w->mtime_ms,
                               .content = dir ? 0 : w->content,
                               .ext = e,
                               .n = w->size > 0,
                               .etag = etag,
                               .pairs = buf_str(&w->pairs)};
}

static int seal(struct fs_writer *w)
{
    if (!w->pages)
        return 0;
    struct page_writer *pw = TAKE(w->pages);
    int r = page_seal(pw);
    w->sealed = r == 0;
    return r;
}

/* No content will name what was sealed. */
static void unseal(struct fs_writer *w)
{
    if (w->sealed)
        page_drop(w->fs->pages, w->blob, w->size);
    w->sealed = false;
}

/* The pages are durable and the digest known. Alone it is computed while the disk writes; in company others compute it
 * along with theirs while we wait for the disk. */
static int settle_bytes(struct fs_writer *w, const struct fs_commit *o, char etag[72])
{
    bool wait = w->lanes && md5_company();
    TRY(check_size(w));
    if (!wait)
        TRY(check_digest(w, o, etag));
    int r = seal(w);
    if (r < 0 && !w->ufs) /* written through: the cache may fail */
        return r;
    r = wait ? check_digest(w, o, etag) : 0;
    if (r < 0)
        unseal(w);
    return r;
}

static int commit_back(struct fs_writer *w, const char *etag, struct meta_found *f)
{
    struct meta_publish p;
    struct extent e;
    publish_args(w, etag, &e, &p);
    p.fate = w->policy == META_TRANSIENT ? META_TRANSIENT_FILE : META_DIRTY;
    p.found = f;
    int r = meta_publish(w->fs->meta, &p);
    if (r < 0 && err_info(r)->retry == ERR_RETRY_NEVER) /* certainly not published */
        unseal(w);
    return r;
}

static int make_visible(struct fs_writer *w, struct meta_claim *c, const char *etag, struct ufs_stat *st)
{
    struct ufs_put_opts o = {.size = w->size, .etag = etag, .mtime_ms = w->mtime_ms};
    if (fs_is_dir_path(buf_str(&w->path))) {
        struct ufs *u;
        struct ufs_put_opts marker = {.size = 0};
        if (!w->mt)
            w->mt = meta_mount_get(w->fs->meta, c->mount);
        if (!w->mt)
            return ERR_NO_BUCKET;
        TRY(meta_mount_ufs(w->fs->meta, w->mt, &u));
        TRY(ufs_put(u, str_of(c->key), &marker, NULL, NULL, st));
        return ufs_sync(u);
    }
    struct ufs *u = w->mt->ufs;
    TRY(ufs_write_commit(TAKE(w->ufs), &o, st));
    return ufs_sync(u);
}

static int give_up(struct fs_writer *w, struct meta_claim *c, int r)
{
    bool unknown = err_info(r)->retry == ERR_RETRY_MAYBE || r == ERR_TIMEOUT || r == ERR_IO;
    char why[300];
    snprintf(why, sizeof why, "%s", err_detail(r));
    meta_unclaim(w->fs->meta, c, false, unknown ? meta_deadline_ms(w->fs->meta) : 0);
    return err_set(r, "%s", why);
}

static int commit_through(struct fs_writer *w, const char *etag, struct meta_found *f)
{
    char intent[72];
    meta_intent(intent, etag, w->size);
    struct meta_claim c = {.dir = w->dir,
                           .path = buf_str(&w->path),
                           .cond = writer_cond(w),
                           .kind = CLAIM_PUT,
                           .intent = intent,
                           .expect_content = w->expect_content};
    struct meta_publish p;
    struct ufs_stat st;
    struct extent e;
    int r = fs_claim(w->fs, &c);
    if (r < 0) { /* a condition that does not hold, for one: what was cached would take space until it is evicted */
        unseal(w);
        return r;
    }
    r = data_protect(w->fs->data, c.content, true); /* copies and readers of what is overwritten */
    if (r == 0)
        r = make_visible(w, &c, etag, &st);
    if (r < 0) {
        unseal(w);
        return give_up(w, &c, r);
    }
    if (w->policy == META_NO_CACHE) {
        c.st = &st;
        TRY(meta_unclaim(w->fs->meta, &c, true, 0));
        *f = (struct meta_found){.i = {.type = REC_FILE, .size = w->size, .mtime_ms = st.mtime_ms, .nlink = 1}};
        snprintf(f->i.etag, sizeof f->i.etag, "%s", etag);
        return 0;
    }
    publish_args(w, etag, &e, &p);
    p.fate = META_CLEAN;
    p.nonce = c.nonce;
    p.st = &st;
    p.cond = (struct meta_cond){0}; /* judged when the key was claimed, and nobody else wrote it since */
    p.found = f;
    r = meta_publish(w->fs->meta, &p);
    if (r == 0 && w->sealed)
        page_unpin(w->fs->pages, w->blob, w->size);
    if (r == 0)
        return 0;
    if (err_info(r)->retry == ERR_RETRY_NEVER) /* certainly not published */
        unseal(w);
    return give_up(w, &c, r);
}

/* The store has the part before its row says so; the ETag it gave is what it wants to hear at Complete. */
static int commit_passing(struct fs_writer *w, const char *etag, struct fs_attr *ret)
{
    struct part p = {.size = w->size, .mtime_ms = clock_wall_ms()};
    struct pass_turn turn AUTO_TURN;
    char stored[72];
    pass_turn_take(&w->fs->pass, w->upload, w->part, &turn);
    TRY(pass_end(TAKE(w->pass), w->sum, stored));
    if ((ufs_caps(w->mt->ufs) & UFS_CAP_ETAG_MD5) && strcmp(stored, etag) != 0)
        return err_set(ERR_CORRUPT, "the under file system has a part with MD5 %s, it was sent with %s", stored, etag);
    pairs_add(&w->pairs, STR(META_PART_STORED), str_of(stored));
    p.pairs = buf_str(&w->pairs);
    snprintf(p.etag, sizeof p.etag, "%s", etag);
    TRY(meta_upload_part(w->fs->meta, w->upload, w->part, &p, 0));
    *ret = (struct fs_attr){.type = FS_FILE, .size = w->size, .mtime_ms = p.mtime_ms};
    snprintf(ret->etag, sizeof ret->etag, "%s", etag);
    return 0;
}

static int commit_part(struct fs_writer *w, const char *etag, struct fs_attr *ret)
{
    struct extent e = {.len = w->size, .blob = w->blob, .origin = w->content};
    struct part p = {
        .size = w->size, .mtime_ms = clock_wall_ms(), .pairs = buf_str(&w->pairs), .n = w->size > 0, .ext = &e};
    snprintf(p.etag, sizeof p.etag, "%s", etag);
    int r = meta_upload_part(w->fs->meta, w->upload, w->part, &p, 0);
    if (r < 0 && err_info(r)->retry == ERR_RETRY_NEVER)
        unseal(w);
    TRY(r);
    *ret = (struct fs_attr){.type = FS_FILE, .size = w->size, .mtime_ms = p.mtime_ms};
    snprintf(ret->etag, sizeof ret->etag, "%s", etag);
    return 0;
}

int fs_commit(struct fs_writer *w, const struct fs_commit *o, struct fs_attr *ret)
{
    struct meta_found f = {0};
    char etag[72];
    TRACE("fs.commit", w->content, w->size);
    int r = o ? fs_encode_pairs(o->meta, o->meta_n, &w->pairs) : 0;
    if (r == 0)
        r = settle_bytes(w, o, etag);
    if (r == 0 && w->is_part)
        r = w->pass ? commit_passing(w, etag, ret) : commit_part(w, etag, ret);
    else if (r == 0 && (w->policy == META_WRITE_THROUGH || w->policy == META_NO_CACHE))
        r = commit_through(w, etag, &f);
    else if (r == 0)
        r = commit_back(w, etag, &f);
    if (r == 0 && !w->is_part)
        fs_fill_attr(&f, ret);
    meta_found_done(&f);
    writer_free(w);
    return r;
}

/* ---- parts ---- */

static int begin_passing(struct fs_writer *w, const struct fs_part_of *of)
{
    struct ufs *u;
    w->mt = meta_mount_get(w->fs->meta, of->mount);
    if (!w->mt)
        return err_set(ERR_NO_BUCKET, "there is no such bucket");
    TRY(meta_mount_ufs(w->fs->meta, w->mt, &u));
    buf_str_add(&w->ufs_key, of->ufs_key);
    buf_str_add(&w->ufs_id, of->ufs);
    buf_u8(&w->ufs_id, 0);
    return pass_begin(&w->fs->pass, u, buf_str(&w->ufs_key), w->ufs_id.p, of->part, w->announced, &w->pass);
}

int fs_part_writer(struct fs *fs, struct fs_at at, const struct fs_write *o, const struct fs_part_of *of,
                   struct fs_writer **ret)
{
    struct fs_writer *w;
    enum meta_policy policy;
    TRY(fs_writable(fs, at, &policy));
    TRY(writer_new(fs, at, o, &w));
    w->policy =
        META_WRITE_BACK; /* what is kept here is pinned whatever the policy; Complete does what the policy says */
    w->is_part = true;
    w->content = of->content;
    w->part = of->part;
    memcpy(w->upload, of->id, 16);
    int r = of->ufs.n ? begin_passing(w, of) : begin(w);
    if (r < 0) {
        writer_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

/* ---- copies ---- */

struct pump {
    struct fs_writer *w;
};

static int pump_bytes(void *arg, const void *p, size_t n)
{
    struct pump *s = arg;
    return fs_write(s->w, p, n);
}

/* Where the destination is written through, or lies in another mount, a copy is a read and a write. */
static int copy_bytes(struct fs *fs, struct fs_file *src, bool onto_itself, struct fs_at dst, const struct fs_write *o,
                      struct str pairs, struct fs_attr *ret)
{
    struct fs_write wo = *o;
    struct pump s;
    struct fs_sink sink = {.bytes = pump_bytes, .arg = &s};
    struct cur c = cur_of(pairs);
    struct str name, value;
    size_t n = 0;
    while (pairs_next(&c, &name, &value))
        n++;
    struct fs_pair *pair AUTO_FREE = calloc(n ? n : 1, sizeof *pair);
    c = cur_of(pairs);
    for (size_t i = 0; i < n && pairs_next(&c, &pair[i].name, &pair[i].value); i++)
        ;
    wo.size = fs_file_attr(src)->size;
    wo.meta = pair;
    wo.meta_n = n;
    TRY(fs_create(fs, dst, &wo, &s.w));
    s.w->expect_content = onto_itself ? fs_file_attr(src)->content : 0;
    int r = fs_read(src, 0, wo.size, &sink);
    if (r < 0) {
        fs_abort(s.w);
        return r;
    }
    return fs_commit(s.w, NULL, ret);
}

static int copy_names(struct fs *fs, const struct fs_attr *src, struct fs_at dst, const struct fs_write *o,
                      struct str pairs, enum meta_policy policy, struct fs_attr *ret)
{
    struct meta_found f = {0};
    uint64_t id;
    TRY(meta_mint(fs->meta, 1, &id));
    struct meta_publish p = {.dir = dst.dir,
                             .path = dst.path,
                             .cond = fs_cond_of(&o->cond),
                             .type = REC_FILE,
                             .mode = o->mode ? o->mode : src->mode,
                             .uid = o->uid,
                             .gid = o->gid,
                             .size = src->size,
                             .mtime_ms = o->mtime_ms,
                             .content = src->size ? id : id,
                             .etag = src->etag,
                             .pairs = pairs,
                             .fate = policy == META_TRANSIENT ? META_TRANSIENT_FILE : META_DIRTY,
                             .src_content = src->content,
                             .src_ino = src->ino,
                             .found = &f};
    int r = meta_publish(fs->meta, &p);
    if (r == 0)
        fs_fill_attr(&f, ret);
    meta_found_done(&f);
    return r;
}

struct pairs_sink {
    struct buf *out;
};

static void collect_pair(void *arg, struct str name, struct str value)
{
    struct pairs_sink *s = arg;
    pairs_add(s->out, name, value);
}

static int copy_once(struct fs *fs, struct fs_at src, const struct fs_cond *src_cond, struct fs_at dst,
                     const struct fs_write *o, bool replace_meta, enum meta_policy policy, struct fs_attr *ret)
{
    struct fs_file *f;
    struct buf old AUTO_BUF = {0}, pairs AUTO_BUF = {0};
    struct pairs_sink s = {&old};
    struct meta_cond sc = fs_cond_of(src_cond);
    TRY(fs_open(fs, src, 0, &f));
    const struct fs_attr *a = fs_file_attr(f);
    int r = meta_cond_check(&sc, a->etag);
    fs_file_meta(f, collect_pair, &s);
    if (r == 0 && replace_meta) { /* checksums belong to the bytes: they stay */
        struct cur c = cur_of(buf_str(&old));
        struct str n, v;
        r = fs_encode_pairs(o->meta, o->meta_n, &pairs);
        while (r == 0 && pairs_next(&c, &n, &v))
            if (str_starts(n, STR("x-amz-checksum-")))
                pairs_add(&pairs, n, v);
    } else if (r == 0) {
        struct buf over AUTO_BUF = {0};
        r = fs_encode_pairs(o->meta, o->meta_n, &over);
        pairs_merge(&pairs, buf_str(&old), buf_str(&over));
    }
    bool itself = src.dir == dst.dir && str_eq(src.path, dst.path), same_mount = false;
    if (r == 0)
        r = fs_same_mount(fs, src, dst, &same_mount);
    /* Blobs are shared within a mount only: a mount that is removed takes its contents along. */
    if (r == 0 && (policy == META_WRITE_THROUGH || policy == META_NO_CACHE || a->type == FS_DIR || !same_mount))
        r = copy_bytes(fs, f, itself, dst, o, buf_str(&pairs), ret);
    else if (r == 0)
        r = copy_names(fs, a, dst, o, buf_str(&pairs), policy, ret);
    fs_close(f);
    return r;
}

int fs_copy(struct fs *fs, struct fs_at src, const struct fs_cond *src_cond, struct fs_at dst, const struct fs_write *o,
            bool replace_meta, struct fs_attr *ret)
{
    enum meta_policy policy;
    TRACE("fs.copy", src.path.n, dst.path.n);
    TRY(fs_writable(fs, dst, &policy));
    TRY(fs_check_key(fs, dst));
    TRY(glance(fs, dst, policy, &o->cond));
    int r = ERR_CONFLICT;
    for (int i = 0; i < 5 && (r == ERR_CONFLICT || r == ERR_STALE); i++) {
        struct meta_found f = {0};
        if (r == ERR_STALE) /* the source was replaced while it was read: there, and maybe nobody has told us */
            data_lookup(fs->data, src.dir, src.path, DATA_FRESH, &f);
        meta_found_done(&f);
        r = copy_once(fs, src, src_cond, dst, o, replace_meta, policy, ret);
    }
    return r;
}

/* The bytes stay, what is beside them changes, and both reach the UFS: a copy onto itself. */
int fs_set_meta(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_pair *meta, size_t n)
{
    struct fs_attr a;
    TRY(fs_stat(fs, at, flags, &a, NULL, NULL));
    struct fs_write o = {
        .size = a.size, .meta = meta, .meta_n = n, .mode = a.mode, .uid = a.uid, .gid = a.gid, .mtime_ms = a.mtime_ms};
    if (a.type == FS_DIR) {
        enum meta_policy policy;
        struct buf over AUTO_BUF = {0};
        TRY(fs_writable(fs, at, &policy));
        TRY(fs_encode_pairs(meta, n, &over));
        return meta_set_pairs(fs->meta, a.ino, buf_str(&over));
    }
    return fs_copy(fs, at, NULL, at, &o, false, &a);
}
