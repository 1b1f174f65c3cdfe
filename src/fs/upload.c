/* SPDX-License-Identifier: Apache-2.0
 *
 * Multipart uploads through the door.
 *
 *   WRITE_BACK, TRANSIENT    parts are kept here; Complete is one transaction that moves no data
 *   WRITE_THROUGH, NO_CACHE  parts pass through to an upload of the store, nothing of them is kept here; Complete is
 * the store's, under a claim on the key, then a transaction (NO_CACHE: nothing but the answer)
 *
 * The policy is the one when the upload was created. A store without multipart uploads (a directory) gets the parts
 * from here at Complete, which answers when the object is there.
 */
#include "fs/fs_in.h"
#include <sys/random.h>

enum { MIN_PART = 5 << 20, MAX_PARTS = 10000, MAX_SLICES = 1000, CLAIM_WAIT_MS = 15000 };

static int parse_id(const char *id, unsigned char out[16])
{
    if (id && str_unhex(str_of(id), out, 16))
        return 0;
    return err_set(ERR_NO_UPLOAD, "the upload id is not one of ours");
}

static int get_upload(struct fs *fs, struct fs_at at, const char *id, unsigned char raw[16], struct upload *u,
                      struct buf *strings)
{
    TRY(parse_id(id, raw));
    return meta_upload_get(fs->meta, at.dir, at.path, raw, u, strings);
}

static bool goes_through(enum meta_policy p)
{
    return p == META_WRITE_THROUGH || p == META_NO_CACHE;
}

/* The store's upload, for one that passes through; ret stays empty where parts are kept here. */
static int create_there(struct fs *fs, struct fs_at at, struct str pairs, char ret[1100])
{
    struct meta_found f = {0};
    struct ufs *u;
    struct ufs_pair *pair AUTO_FREE = NULL;
    struct ufs_put_opts o = {.size = UFS_SIZE_UNKNOWN};
    int r = meta_lookup(fs->meta, at.dir, at.path, 0, &f);
    struct meta_mount *mt = r == 0 ? meta_mount_get(fs->meta, f.mount) : NULL;
    if (r == 0 && !mt)
        r = err_set(ERR_NO_BUCKET, "there is no such bucket: see what is mounted with `forebay mount list`");
    if (r == 0)
        r = meta_mount_ufs(fs->meta, mt, &u);
    if (r == 0 && (ufs_caps(u) & UFS_CAP_MULTIPART)) {
        o.meta.n = data_ufs_pairs(pairs, &pair);
        o.meta.pair = pair;
        r = ufs_mpu_create(u, str_of(f.home), &o, ret);
    }
    meta_mount_put(fs->meta, mt);
    meta_found_done(&f);
    return r;
}

/* No row names the store's upload: it is of no use to anybody. */
static void drop_there(struct fs *fs, struct fs_at at, const char *upload)
{
    struct meta_found f = {0};
    struct ufs *u;
    struct meta_mount *mt =
        meta_lookup(fs->meta, at.dir, at.path, 0, &f) == 0 ? meta_mount_get(fs->meta, f.mount) : NULL;
    if (mt && meta_mount_ufs(fs->meta, mt, &u) == 0)
        ufs_mpu_abort(u, str_of(f.home), upload);
    meta_mount_put(fs->meta, mt);
    meta_found_done(&f);
}

static int create_row(struct fs *fs, struct fs_at at, struct meta_upload_new *u, bool through)
{
    char upload[1100] = "", why[300];
    if (through)
        TRY(create_there(fs, at, u->pairs, upload));
    u->ufs = str_of(upload);
    int r = upload[0] ? FAULT(META_UPLOAD_BEFORE) : 0;
    if (r == 0)
        r = meta_upload_create(fs->meta, u);
    if (r < 0 && upload[0] && err_info(r)->retry == ERR_RETRY_NEVER) { /* certainly no row */
        snprintf(why, sizeof why, "%s", err_detail(r));
        drop_there(fs, at, upload);
        return err_set(r, "%s", why);
    }
    return r;
}

int fs_upload_create(struct fs *fs, struct fs_at at, const struct fs_write *o, char ret_id[FS_UPLOAD_ID])
{
    struct meta_upload_new u = {
        .dir = at.dir, .path = at.path, .mode = o->mode, .uid = o->uid, .gid = o->gid, .expire_ms = fs->expire_ms};
    struct buf pairs AUTO_BUF = {0};
    enum meta_policy policy;
    TRACE("fs.upload_create", at.dir, at.path.n);
    TRY(fs_writable(fs, at, &policy));
    TRY(fs_check_key(fs, at));
    if (fs_is_dir_path(at.path))
        return err_set(ERR_KEY_UNSUPPORTED, "an object whose key ends in '/' is a directory and must be empty");
    TRY(fs_encode_pairs(o->meta, o->meta_n, &pairs));
    u.pairs = buf_str(&pairs);
    if (getrandom(u.id, sizeof u.id, 0) != sizeof u.id)
        return err_set(ERR_IO, "no random numbers");
    TRY(create_row(fs, at, &u, goes_through(policy)));
    str_hex(u.id, 16, ret_id);
    return 0;
}

static struct fs_part_of part_of(const struct upload *u, unsigned part)
{
    struct fs_part_of of = {.content = u->content, .part = part, .ufs = u->ufs, .ufs_key = u->key, .mount = u->bucket};
    memcpy(of.id, u->id, sizeof of.id);
    return of;
}

int fs_upload_part(struct fs *fs, struct fs_at at, const char *id, unsigned part, const struct fs_write *o,
                   struct fs_writer **ret)
{
    struct buf strings AUTO_BUF = {0};
    unsigned char raw[16];
    struct upload u;
    if (part < 1 || part > MAX_PARTS)
        return err_set(ERR_INVALID, "part numbers go from 1 to %d", MAX_PARTS);
    TRY(get_upload(fs, at, id, raw, &u, &strings));
    struct fs_part_of of = part_of(&u, part);
    return fs_part_writer(fs, at, o, &of, ret);
}

/* ---- parts copied from objects ---- */

struct slicing {
    uint64_t off, n, at, src;
    bool backed;
    struct extent *ext;
    size_t count;
};

static int slice(void *arg, const struct extent *e)
{
    struct slicing *s = arg;
    uint64_t begin = s->at, end = begin + e->len, to = s->off + s->n;
    s->at = end;
    if (end <= s->off)
        return 0;
    if (begin >= to)
        return 1;
    if (s->count == MAX_SLICES)
        return err_set(ERR_NOT_IMPLEMENTED, "the range lies in more than %d pieces: copy a smaller one", MAX_SLICES);
    uint64_t from = begin > s->off ? begin : s->off, skip = from - begin;
    struct extent *x = &s->ext[s->count++];
    *x = *e;
    x->blob_off += skip;
    x->origin_off = s->backed ? from : e->origin_off + skip;
    x->origin = s->backed ? s->src : e->origin;
    x->len = (end < to ? end : to) - from;
    x->part = 0;
    return 0;
}

/* A copied part's bytes are not read, so its ETag is not their MD5 (S3 does not promise that for copies), except where
 * a whole object that came in one PUT is taken. */
static void slice_etag(const struct fs_attr *a, uint64_t off, uint64_t n, char out[72])
{
    if (off == 0 && n == a->size && strlen(a->etag) == 32) {
        memcpy(out, a->etag, sizeof a->etag);
        return;
    }
    unsigned char sum[32];
    uint64_t what[3] = {a->content, off, n};
    struct digest *d AUTO_DIGEST = digest_new(DIGEST_MD5);
    digest_add(d, what, sizeof what);
    digest_end(d, sum);
    str_hex(sum, 16, out);
}

static int slice_into(struct fs *fs, const struct fs_attr *a, const unsigned char id[16], unsigned part, uint64_t off,
                      uint64_t n, struct fs_attr *ret)
{
    struct extent *ext AUTO_FREE = calloc(MAX_SLICES, sizeof *ext);
    struct slicing s = {.off = off, .n = n, .src = a->content, .backed = a->persisted, .ext = ext};
    struct part p = {.size = n, .mtime_ms = clock_wall_ms(), .pairs = STR(""), .ext = ext};
    int r = n ? meta_blobs(fs->meta, a->content, false, slice, &s) : 0;
    if (r < 0)
        return r;
    p.n = s.count;
    slice_etag(a, off, n, p.etag);
    TRY(meta_upload_part(fs->meta, id, part, &p, a->content));
    *ret = (struct fs_attr){.type = FS_FILE, .size = n, .mtime_ms = p.mtime_ms};
    memcpy(ret->etag, p.etag, sizeof ret->etag);
    return 0;
}

static int pump_part(void *arg, const void *p, size_t n)
{
    return fs_write(arg, p, n);
}

/* The source is an object of the same store: it copies by itself. ERR_STALE, ERR_PRECONDITION: not as it was; read it.
 */
static int copy_there(struct fs *fs, const struct upload *u, const struct fs_attr *src, unsigned part, uint64_t off,
                      uint64_t n, struct fs_attr *ret)
{
    struct part p = {.size = n, .mtime_ms = clock_wall_ms()};
    struct meta_backing from;
    struct buf pairs AUTO_BUF = {0};
    struct pass_turn turn AUTO_TURN;
    struct ufs *ufs;
    char id[1100], stored[72];
    pass_turn_take(&fs->pass, u->id, part, &turn);
    TRY(meta_backing(fs->meta, src->content, &from));
    struct meta_mount *mt = meta_mount_get(fs->meta, u->bucket);
    if (!mt)
        return err_set(ERR_NO_BUCKET, "there is no such bucket");
    int r = from.mount == u->bucket && from.ver[0] ? meta_mount_ufs(fs->meta, mt, &ufs) : ERR_STALE;
    if (r == 0 && !(ufs_caps(ufs) & UFS_CAP_COPY))
        r = ERR_STALE;
    snprintf(id, sizeof id, "%.*s", STR_ARG(u->ufs));
    if (r == 0)
        r = ufs_mpu_copy(ufs, u->key, id, part, str_of(from.key), off, n, from.ver, stored);
    unsigned char md5[16];
    if (r == 0 &&
        (strlen(stored) != 32 || !str_unhex(str_of(stored), md5, 16))) /* then the whole's ETag cannot be told */
        r = ERR_STALE;
    meta_mount_put(fs->meta, mt);
    TRY(r);
    pairs_add(&pairs, STR(META_PART_STORED), str_of(stored));
    p.pairs = buf_str(&pairs);
    memcpy(p.etag, stored, sizeof p.etag);
    TRY(meta_upload_part(fs->meta, u->id, part, &p, 0));
    *ret = (struct fs_attr){.type = FS_FILE, .size = n, .mtime_ms = p.mtime_ms};
    memcpy(ret->etag, p.etag, sizeof ret->etag);
    return 0;
}

/* The bytes are read and written. */
static int copy_into(struct fs *fs, struct fs_at at, struct fs_file *src, const struct upload *u, unsigned part,
                     uint64_t off, uint64_t n, struct fs_attr *ret)
{
    struct fs_part_of of = part_of(u, part);
    struct fs_write o = {.size = n};
    struct fs_writer *w;
    TRY(fs_part_writer(fs, at, &o, &of, &w));
    struct fs_sink sink = {.bytes = pump_part, .arg = w};
    int r = fs_read(src, off, n, &sink);
    if (r < 0) {
        fs_abort(w);
        return r;
    }
    return fs_commit(w, NULL, ret);
}

static int copy_part(struct fs *fs, struct fs_at at, struct fs_file *f, const struct upload *u, unsigned part,
                     uint64_t off, uint64_t n, bool same_mount, struct fs_attr *ret)
{
    const struct fs_attr *a = fs_file_attr(f);
    if (!u->ufs.n && same_mount)
        return slice_into(fs, a, u->id, part, off, n, ret);
    int r = u->ufs.n && same_mount && n && a->persisted ? copy_there(fs, u, a, part, off, n, ret) : ERR_STALE;
    if (r == ERR_STALE || r == ERR_PRECONDITION || r == ERR_NOT_FOUND || r == ERR_NOT_IMPLEMENTED)
        r = copy_into(fs, at, f, u, part, off, n, ret);
    return r;
}

int fs_upload_part_copy(struct fs *fs, struct fs_at at, const char *id, unsigned part, struct fs_at src,
                        const struct fs_cond *src_cond, uint64_t off, uint64_t n, struct fs_attr *ret)
{
    struct buf strings AUTO_BUF = {0};
    struct meta_cond sc = fs_cond_of(src_cond);
    unsigned char raw[16];
    struct fs_file *f;
    struct upload u;
    if (part < 1 || part > MAX_PARTS)
        return err_set(ERR_INVALID, "part numbers go from 1 to %d", MAX_PARTS);
    TRY(get_upload(fs, at, id, raw, &u, &strings));
    TRY(fs_open(fs, src, 0, &f));
    const struct fs_attr *a = fs_file_attr(f);
    int r = meta_cond_check(&sc, a->etag);
    if (r == 0 && n == UINT64_MAX && off <= a->size)
        n = a->size - off;
    if (r == 0 && (off > a->size || n > a->size - off))
        r = err_set(ERR_RANGE, "the source has %llu bytes", (unsigned long long)a->size);
    bool same_mount = false;
    if (r == 0)
        r = fs_same_mount(fs, at, src, &same_mount);
    if (r == 0)
        r = copy_part(fs, at, f, &u, part, off, n, same_mount, ret);
    fs_close(f);
    return r;
}

/* ---- complete, abort, lists ---- */

static int load_for_cond(struct fs *fs, struct fs_at at, const struct fs_cond *cond)
{
    struct meta_found f = {0};
    if (!cond || (!cond->if_match.p && !cond->if_none_match.p))
        return 0;
    int r = data_lookup(fs->data, at.dir, at.path, 0, &f);
    meta_found_done(&f);
    return r;
}

/* Did an earlier attempt, whose answer was lost, make this object? */
static int made_before(struct ufs *u, const struct meta_claim *c, const struct meta_pass *p, struct ufs_stat *ret)
{
    struct ufs_stat st;
    int r = ufs_stat(u, str_of(c->key), &st, NULL, NULL);
    if (r == 0 && st.size == p->size && !strcmp(st.etag, p->etag)) {
        *ret = st;
        return 0;
    }
    return r == 0 || r == ERR_NOT_FOUND
               ? err_set(ERR_NO_UPLOAD, "the under file system does not know the upload any more")
               : r;
}

static int complete_there(struct fs *fs, const struct meta_claim *c, const struct meta_pass *p, struct ufs_stat *ret)
{
    struct ufs_put_opts o = {.size = p->size, .etag = p->etag};
    struct meta_mount *mt = meta_mount_get(fs->meta, c->mount);
    struct ufs *u;
    if (!mt)
        return err_set(ERR_NO_BUCKET, "there is no such bucket");
    int r = meta_mount_ufs(fs->meta, mt, &u);
    if (r == 0)
        r = ufs_mpu_complete(u, str_of(c->key), p->upload, p->part, p->n, &o, ret);
    if (r == ERR_NO_UPLOAD)
        r = made_before(u, c, p, ret);
    if (r == 0)
        r = ufs_sync(u);
    meta_mount_put(fs->meta, mt);
    return r;
}

static int give_back(struct fs *fs, struct meta_claim *c, int r)
{
    bool unknown = err_info(r)->retry == ERR_RETRY_MAYBE || r == ERR_TIMEOUT || r == ERR_IO;
    char why[300];
    snprintf(why, sizeof why, "%s", err_detail(r));
    meta_unclaim(fs->meta, c, false, unknown ? meta_deadline_ms(fs->meta) : 0);
    return err_set(r, "%s", why);
}

static int complete_claimed(struct fs *fs, struct meta_complete *mc, const struct meta_claim *c, struct meta_pass *p)
{
    struct ufs_stat st;
    mc->claim = c;
    mc->st = &st;
    TRY(meta_pass_begin(fs->meta, p));
    TRY(data_protect(fs->data, c->content, true)); /* copies and readers of what is overwritten */
    TRY(complete_there(fs, c, p, &st));
    if (st.size != p->size) /* somebody else wrote the key since: what is there now is for the next look */
        mc->forget = true;
    return meta_pass_publish(fs->meta, p);
}

static int complete_once(struct fs *fs, struct meta_complete *mc)
{
    struct meta_pass *p = NULL;
    bool repeated;
    char intent[72];
    TRY(meta_pass_plan(fs->meta, mc, &p, &repeated));
    meta_intent(intent, p->etag, p->size);
    struct meta_claim c = {.dir = mc->dir, .path = mc->path, .cond = mc->cond, .kind = CLAIM_PUT, .intent = intent};
    int r = repeated ? 0 : fs_claim(fs, &c);
    if (r == 0 && !repeated) {
        r = complete_claimed(fs, mc, &c, p);
        if (r < 0)
            r = give_back(fs, &c, r);
    }
    meta_pass_free(p);
    return r;
}

/* Another Complete of the same upload may have had the claim before: then its answer is found. */
static int complete_passing(struct fs *fs, struct meta_complete *mc, enum meta_policy policy)
{
    int r = ERR_CONFLICT;
    for (int attempt = 0; attempt < 40 && (r == ERR_CONFLICT || (r == ERR_NO_UPLOAD && attempt == 1)); attempt++) {
        mc->forget = policy == META_NO_CACHE;
        r = complete_once(fs, mc);
        if (r == ERR_CONFLICT)
            clock_sleep_ms((uint64_t)(attempt < 10 ? attempt : 10) * 5);
    }
    return r;
}

static int complete_here(struct fs *fs, struct meta_complete *mc, enum meta_policy policy)
{
    TRY(meta_upload_complete(fs->meta, mc));
    return goes_through(policy) ? fs_wait_persisted(fs, mc->found->i.ino) : 0;
}

int fs_upload_complete(struct fs *fs, struct fs_at at, const char *id, const struct fs_part *parts, size_t n,
                       const struct fs_cond *cond, const struct fs_pair *meta, size_t meta_n, struct fs_attr *ret)
{
    struct meta_part_ref *ref AUTO_FREE = calloc(n ? n : 1, sizeof *ref);
    struct meta_found f = {0};
    struct buf pairs AUTO_BUF = {0}, strings AUTO_BUF = {0};
    enum meta_policy policy;
    struct upload u;
    TRACE("fs.upload_complete", n, 0);
    TRY(fs_writable(fs, at, &policy));
    TRY(load_for_cond(fs, at, cond));
    TRY(fs_encode_pairs(meta, meta_n, &pairs));
    for (size_t i = 0; i < n; i++)
        ref[i] = (struct meta_part_ref){parts[i].part, parts[i].etag, parts[i].checksum};
    struct meta_complete c = {.dir = at.dir,
                              .path = at.path,
                              .part = ref,
                              .n = n,
                              .cond = fs_cond_of(cond),
                              .pairs = buf_str(&pairs),
                              .fate = policy == META_TRANSIENT ? META_TRANSIENT_FILE : META_DIRTY,
                              .min_part = MIN_PART,
                              .found = &f};
    int r = get_upload(fs, at, id, c.id, &u, &strings);
    if (r == 0 && u.ufs.n)
        r = complete_passing(fs, &c, policy);
    else if (r == 0 || r == ERR_NO_UPLOAD) /* the answer of a finished one is found in the same way for all */
        r = parse_id(id, c.id) == 0 ? complete_here(fs, &c, policy) : r;
    if (r == 0)
        fs_fill_attr(&f, ret);
    meta_found_done(&f);
    return r;
}

int fs_upload_abort(struct fs *fs, struct fs_at at, const char *id)
{
    struct buf strings AUTO_BUF = {0};
    unsigned char raw[16];
    struct upload u;
    TRY(get_upload(fs, at, id, raw, &u, &strings));
    if (u.ufs.n)
        return data_upload_abort(fs->data, at.dir, at.path, raw, CLAIM_WAIT_MS);
    return meta_upload_abort(fs->meta, at.dir, at.path, raw);
}

struct part_list {
    int (*fn)(void *arg, const struct fs_part_info *p);
    void *arg;
};

static int give_part(void *arg, unsigned part, const struct part *p)
{
    struct part_list *l = arg;
    struct buf sums AUTO_BUF = {0};
    struct cur c = cur_of(p->pairs);
    struct str n, v;
    while (pairs_next(&c, &n, &v))
        if (!str_eq(n, STR(META_PART_STORED)))
            buf_printf(&sums, "%.*s=%.*s\n", STR_ARG(n), STR_ARG(v));
    struct fs_part_info i = {.part = part, .size = p->size, .mtime_ms = p->mtime_ms, .checksums = buf_str(&sums)};
    memcpy(i.etag, p->etag, sizeof i.etag);
    return l->fn(l->arg, &i);
}

int fs_upload_parts(struct fs *fs, struct fs_at at, const char *id, unsigned after, size_t limit,
                    int (*fn)(void *arg, const struct fs_part_info *p), void *arg, bool *ret_more, fs_meta_fn *meta)
{
    struct buf strings AUTO_BUF = {0};
    struct part_list l = {fn, arg};
    unsigned char raw[16];
    struct upload u;
    struct str n, v;
    TRY(get_upload(fs, at, id, raw, &u, &strings));
    struct cur c = cur_of(u.pairs);
    while (meta && pairs_next(&c, &n, &v))
        meta(arg, n, v);
    *ret_more = false;
    return limit ? meta_upload_parts(fs->meta, raw, after, limit, give_part, &l, ret_more) : 0;
}

struct upload_list {
    int (*fn)(void *arg, const struct fs_upload_info *u);
    void *arg;
};

static int give_upload(void *arg, const struct upload *u)
{
    struct upload_list *l = arg;
    char id[FS_UPLOAD_ID];
    str_hex(u->id, 16, id);
    struct fs_upload_info i = {.key = u->key, .id = id, .start_ms = u->start_ms};
    struct cur c = cur_of(u->pairs);
    struct str n, v;
    while (pairs_next(&c, &n, &v))
        if (str_eq(n, STR("x-amz-checksum-algorithm")))
            i.checksum = v;
    return l->fn(l->arg, &i);
}

int fs_uploads(struct fs *fs, struct fs_at bucket, struct str prefix, struct str after_key, const char *after_id,
               size_t limit, int (*fn)(void *arg, const struct fs_upload_info *u), void *arg, bool *ret_more)
{
    struct upload_list l = {fn, arg};
    struct meta_found f = {0};
    unsigned char raw[16];
    bool has_id = after_id && after_id[0];
    if (has_id && !str_unhex(str_of(after_id), raw, 16))
        return err_set(ERR_INVALID, "the upload-id-marker is not an upload id");
    int r = fs_find(fs, bucket, FS_POSIX, &f);
    *ret_more = false;
    if (r == 0)
        r = meta_uploads(fs->meta, f.i.ino, prefix, after_key, has_id ? raw : NULL, limit, give_upload, &l, ret_more);
    meta_found_done(&f);
    return r;
}
