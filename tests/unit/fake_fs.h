/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls of the door that the S3 front makes, over an array in memory: enough to see what the front asks for and
 * what it makes of the answers, failures included. Included by the test that uses it, so that it takes the place of the
 * real door in that program only. One lock around everything; nothing persists.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "fs/fs.h"
#include "s3/cond.h"
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAKE_OBJECTS = 4096, FAKE_PAIRS = 32, FAKE_PARTS = 64 };

struct fake_pairs {
    struct {
        char *name, *value;
    } p[FAKE_PAIRS];
    size_t n;
};
struct fake_object {
    char *path; /* "bucket/key" */
    struct buf bytes;
    struct fake_pairs pairs;
    struct fs_attr attr;
    unsigned parts;
    uint64_t part_size[FAKE_PARTS];
};
struct fake_part {
    struct buf bytes, sums;
    char etag[72];
    bool there;
};

static struct {
    pthread_mutex_t lock;
    struct fake_object *o[FAKE_OBJECTS]; /* sorted by path */
    size_t n;
    _Atomic uint64_t next_content;
    _Atomic uint64_t settled; /* largest version fs_settle was asked for */
    /* one upload at a time */
    bool upload;
    char *upload_path;
    struct fake_pairs upload_pairs;
    struct fake_part part[FAKE_PARTS];
    /* failures to come: 0 none */
    _Atomic int fail_create, fail_read;
    _Atomic uint64_t fail_read_after; /* bytes given before fail_read */
    _Atomic bool no_ranges;           /* give bytes even when a range sink is there */
    _Atomic unsigned ranges, writes;  /* what was asked for */
    _Atomic int memfd;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .memfd = -1};

static const char fake_upload_id[] = "0123456789abcdef0123456789abcdef";

#define FAKE_LOCKED                                                                                                    \
    pthread_mutex_t *fake_held CLEANUP(fake_unlock) __attribute__((unused)) =                                          \
        (pthread_mutex_lock(&fake.lock), &fake.lock)

static void fake_unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

static void fake_pairs_done(struct fake_pairs *ps)
{
    for (size_t i = 0; i < ps->n; i++)
        free(ps->p[i].name), free(ps->p[i].value);
    ps->n = 0;
}

static void fake_pairs_set(struct fake_pairs *ps, struct str name, struct str value)
{
    size_t i = 0;
    while (i < ps->n && !str_eq(str_of(ps->p[i].name), name))
        i++;
    CHECK(i < FAKE_PAIRS);
    if (i < ps->n)
        free(ps->p[i].name), free(ps->p[i].value);
    if (value.p) {
        ps->p[i].name = str_dup(name);
        ps->p[i].value = str_dup(value);
        ps->n += i == ps->n;
    } else if (i < ps->n)
        ps->p[i] = ps->p[--ps->n];
}

static void fake_pairs_add(struct fake_pairs *ps, const struct fs_pair *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fake_pairs_set(ps, p[i].name, p[i].value);
}

static void fake_pairs_tell(const struct fake_pairs *ps, fs_meta_fn *fn, void *arg)
{
    for (size_t i = 0; fn && i < ps->n; i++)
        fn(arg, str_of(ps->p[i].name), str_of(ps->p[i].value));
}

/* The place of path, or where it would be. */
static size_t fake_place(struct str path)
{
    size_t i = 0;
    while (i < fake.n && str_cmp(str_of(fake.o[i]->path), path) < 0)
        i++;
    return i;
}

static struct fake_object *fake_find(struct str path)
{
    size_t i = fake_place(path);
    return i < fake.n && str_eq(str_of(fake.o[i]->path), path) ? fake.o[i] : NULL;
}

static void fake_object_free(struct fake_object *o)
{
    free(o->path);
    buf_done(&o->bytes);
    fake_pairs_done(&o->pairs);
    free(o);
}

static struct fake_object *fake_add(struct str path)
{
    size_t i = fake_place(path);
    struct fake_object *o = MEM_NEW(struct fake_object);
    o->path = str_dup(path);
    if (i < fake.n && str_eq(str_of(fake.o[i]->path), path)) {
        fake_object_free(fake.o[i]);
    } else {
        CHECK(fake.n < FAKE_OBJECTS);
        memmove(fake.o + i + 1, fake.o + i, (fake.n - i) * sizeof *fake.o);
        fake.n++;
    }
    fake.o[i] = o;
    o->attr = (struct fs_attr){.type = FS_FILE,
                               .content = ++fake.next_content,
                               .version = fake.next_content,
                               .mtime_ms = 784111777500,
                               .ctime_ms = 784111777500,
                               .nlink = 1};
    if (str_ends(path, STR("/"))) {
        o->attr.type = FS_DIR;
        o->attr.explicit_dir = true;
    }
    return o;
}

static void fake_etag(struct str bytes, char ret[72])
{
    unsigned char md5[32];
    struct digest *d = digest_new(DIGEST_MD5);
    digest_add(d, bytes.p, bytes.n);
    digest_end(d, md5);
    digest_free(d);
    str_hex(md5, 16, ret);
}

static void fake_reset(void)
{
    FAKE_LOCKED;
    while (fake.n)
        fake_object_free(fake.o[--fake.n]);
    fake_pairs_done(&fake.upload_pairs);
    for (unsigned i = 0; i < FAKE_PARTS; i++) {
        buf_done(&fake.part[i].bytes);
        buf_done(&fake.part[i].sums);
        fake.part[i].there = false;
    }
    free(TAKE(fake.upload_path));
    fake.upload = false;
    fake.fail_create = fake.fail_read = 0;
    fake.no_ranges = false;
    fake.ranges = fake.writes = 0;
    fake.settled = 0;
    if (fake.memfd >= 0)
        close(fake.memfd);
    fake.memfd = memfd_create("fake", MFD_CLOEXEC);
    fake_add(STR("demo/"))->attr.explicit_dir = true;
}

/* --- looking */

int fs_settle(struct fs *fs, uint64_t version)
{
    FAKE_LOCKED;
    (void)fs;
    fake.settled = version > fake.settled ? version : fake.settled;
    return 0;
}

static int fake_look(struct fs_at at, struct fake_object **ret)
{
    const char *slash = memchr(at.path.p, '/', at.path.n);
    if (!fake_find(str_mk(at.path.p, slash ? (size_t)(slash - at.path.p) + 1 : 0)))
        return err_set(ERR_NO_BUCKET, "The specified bucket does not exist");
    struct fake_object *o = fake_find(at.path);
    if (!o)
        return err_set(ERR_NOT_FOUND, "The specified key does not exist.");
    *ret = o;
    return 0;
}

int fs_stat(struct fs *fs, struct fs_at at, unsigned flags, struct fs_attr *ret, fs_meta_fn *meta, void *arg)
{
    FAKE_LOCKED;
    struct fake_object *o = NULL;
    (void)fs, (void)flags;
    TRY(fake_look(at, &o));
    *ret = o->attr;
    fake_pairs_tell(&o->pairs, meta, arg);
    return 0;
}

static size_t fake_rolled(struct str key, const struct fs_list *l)
{
    const char *at = l->delimiter ? memchr(key.p + l->prefix.n, l->delimiter, key.n - l->prefix.n) : NULL;
    return at ? (size_t)(at - key.p) + 1 : 0;
}

int fs_list(struct fs *fs, const struct fs_list *l, int (*fn)(void *arg, const struct fs_entry *e), void *arg,
            bool *ret_more, uint64_t *ret_version)
{
    FAKE_LOCKED;
    struct buf last AUTO_BUF = {0};
    struct fake_object *bucket;
    size_t n = 0;
    (void)fs;
    *ret_more = false;
    if (l->dir.path.n)
        TRY(fake_look(l->dir, &bucket));
    for (size_t i = 0; i < fake.n; i++) {
        struct str path = str_of(fake.o[i]->path), key = str_from(path, l->dir.path.n);
        if (!str_starts(path, l->dir.path) || !key.n || !str_starts(key, l->prefix))
            continue;
        size_t rolled = fake_rolled(key, l);
        struct fs_entry e = {.key = rolled ? str_mk(key.p, rolled) : key,
                             .prefix = rolled > 0 && !(l->flags & FS_POSIX),
                             .attr = &fake.o[i]->attr};
        if (str_cmp(e.key, l->after) <= 0 || (last.n && str_eq(e.key, buf_str(&last))))
            continue;
        if (n++ == l->limit) {
            *ret_more = true;
            break;
        }
        buf_reset(&last);
        buf_str_add(&last, e.key);
        int r = fn(arg, &e);
        if (r)
            return r;
        *ret_version = fake.next_content;
    }
    return 0;
}

/* --- reading */

struct fs_file {
    struct fs_attr attr;
    struct buf bytes;
    struct fake_pairs pairs;
    unsigned parts;
    uint64_t part_size[FAKE_PARTS];
};

int fs_open(struct fs *fs, struct fs_at at, unsigned flags, struct fs_file **ret)
{
    FAKE_LOCKED;
    struct fake_object *o = NULL;
    (void)fs, (void)flags;
    TRY(fake_look(at, &o));
    struct fs_file *f = MEM_NEW(struct fs_file);
    f->attr = o->attr;
    buf_str_add(&f->bytes, buf_str(&o->bytes));
    for (size_t i = 0; i < o->pairs.n; i++)
        fake_pairs_set(&f->pairs, str_of(o->pairs.p[i].name), str_of(o->pairs.p[i].value));
    f->parts = o->parts;
    memcpy(f->part_size, o->part_size, sizeof f->part_size);
    *ret = f;
    return 0;
}

const struct fs_attr *fs_file_attr(const struct fs_file *f)
{
    return &f->attr;
}

void fs_file_meta(const struct fs_file *f, fs_meta_fn *meta, void *arg)
{
    fake_pairs_tell(&f->pairs, meta, arg);
}

unsigned fs_file_parts(const struct fs_file *f)
{
    return f->parts;
}

int fs_file_part(struct fs_file *f, unsigned part, uint64_t *ret_off, uint64_t *ret_n)
{
    uint64_t off = 0;
    if (!part || part > f->parts)
        return ERR_RANGE;
    for (unsigned i = 1; i < part; i++)
        off += f->part_size[i - 1];
    *ret_off = off;
    *ret_n = f->part_size[part - 1];
    return 0;
}

static int fake_give(struct fs_file *f, uint64_t off, uint64_t n, const struct fs_sink *sink)
{
    if (!sink->range || fake.no_ranges)
        return sink->bytes(sink->arg, f->bytes.p + off, n);
    fake.ranges++;
    CHECK(pwrite(fake.memfd, f->bytes.p + off, n, (off_t)off) == (ssize_t)n);
    struct page_range r = {.fd = fake.memfd, .off = (off_t)off, .n = n};
    return sink->range(sink->arg, &r);
}

int fs_read(struct fs_file *f, uint64_t off, uint64_t n, const struct fs_sink *sink)
{
    uint64_t end = off + n < f->bytes.n ? off + n : f->bytes.n, given = 0;
    while (off < end) {
        uint64_t piece = end - off < 100000 ? end - off : 100000;
        if (fake.fail_read && given + piece > fake.fail_read_after)
            return err_set(fake.fail_read, "a failure that was asked for");
        TRY(fake_give(f, off, piece, sink));
        off += piece;
        given += piece;
    }
    return 0;
}

struct fs_file *fs_close(struct fs_file *f)
{
    buf_done(&f->bytes);
    fake_pairs_done(&f->pairs);
    free(f);
    return NULL;
}

/* --- writing */

struct fs_writer {
    char *path;
    unsigned part; /* 0: an object */
    struct buf bytes;
    bool large;
    char room[256 << 10];
    struct fake_pairs pairs;
    char *if_match, *if_none_match;
};

static int fake_judge(const struct fs_cond *c, struct str path)
{
    const struct fake_object *o = fake_find(path);
    if (c->if_match.p && !o)
        return err_set(ERR_NOT_FOUND, "The specified key does not exist.");
    if (c->if_match.p && !s3_cond_etag_in(c->if_match, str_of(o->attr.etag), false))
        return err_set(ERR_PRECONDITION, "At least one of the pre-conditions you specified did not hold");
    if (c->if_none_match.p && o && s3_cond_etag_in(c->if_none_match, str_of(o->attr.etag), false))
        return err_set(ERR_PRECONDITION, "At least one of the pre-conditions you specified did not hold");
    return 0;
}

static struct fs_writer *fake_writer(struct fs_at at, const struct fs_write *o)
{
    struct fs_writer *w = MEM_NEW(struct fs_writer);
    w->path = str_dup(at.path);
    w->large = o->size >= sizeof w->room;
    fake_pairs_add(&w->pairs, o->meta, o->meta_n);
    return w;
}

int fs_create(struct fs *fs, struct fs_at at, const struct fs_write *o, struct fs_writer **ret)
{
    FAKE_LOCKED;
    struct fake_object *bucket;
    (void)fs;
    if (fake.fail_create)
        return err_set(fake.fail_create, "a failure \x01 that was asked for");
    const char *slash = memchr(at.path.p, '/', at.path.n);
    TRY(fake_look((struct fs_at){FS_ROOT, str_mk(at.path.p, (size_t)(slash - at.path.p) + 1)}, &bucket));
    TRY(fake_judge(&o->cond, at.path));
    *ret = fake_writer(at, o);
    return 0;
}

int fs_write(struct fs_writer *w, const void *p, size_t n)
{
    fake.writes++;
    buf_add(&w->bytes, p, n);
    return 0;
}

void *fs_write_room(struct fs_writer *w, size_t *ret_n)
{
    *ret_n = sizeof w->room;
    return w->large ? w->room : NULL;
}

int fs_write_filled(struct fs_writer *w, size_t n)
{
    return fs_write(w, w->room, n);
}

void fs_abort(struct fs_writer *w)
{
    if (!w)
        return;
    free(w->path);
    buf_done(&w->bytes);
    fake_pairs_done(&w->pairs);
    free(w);
}

static void fake_commit_part(struct fs_writer *w, struct fs_attr *ret)
{
    struct fake_part *p = &fake.part[w->part];
    buf_reset(&p->bytes);
    buf_reset(&p->sums);
    buf_str_add(&p->bytes, buf_str(&w->bytes));
    for (size_t i = 0; i < w->pairs.n; i++)
        buf_printf(&p->sums, "%s=%s\n", w->pairs.p[i].name, w->pairs.p[i].value);
    fake_etag(buf_str(&w->bytes), p->etag);
    p->there = true;
    *ret = (struct fs_attr){.type = FS_FILE, .size = w->bytes.n};
    strcpy(ret->etag, p->etag);
}

static void fake_commit_object(struct fs_writer *w, struct fs_attr *ret)
{
    struct fake_object *o = fake_add(str_of(w->path));
    o->attr.size = w->bytes.n;
    fake_etag(buf_str(&w->bytes), o->attr.etag);
    o->bytes = w->bytes;
    w->bytes = (struct buf){0};
    o->pairs = w->pairs;
    w->pairs.n = 0;
    *ret = o->attr;
}

int fs_commit(struct fs_writer *w, const struct fs_commit *o, struct fs_attr *ret)
{
    FAKE_LOCKED;
    char etag[72], want[33];
    fake_etag(buf_str(&w->bytes), etag);
    if (o->md5)
        str_hex(o->md5, 16, want);
    if (o->md5 && strcmp(etag, want)) {
        fs_abort(w);
        return err_set(ERR_BAD_DIGEST, "The Content-MD5 you specified did not match what we received.");
    }
    fake_pairs_add(&w->pairs, o->meta, o->meta_n);
    if (w->part)
        fake_commit_part(w, ret);
    else
        fake_commit_object(w, ret);
    fs_abort(w);
    return 0;
}

int fs_copy(struct fs *fs, struct fs_at src, const struct fs_cond *src_cond, struct fs_at dst, const struct fs_write *o,
            bool replace_meta, struct fs_attr *ret)
{
    FAKE_LOCKED;
    struct fake_object *from = NULL;
    struct buf bytes AUTO_BUF = {0};
    struct fake_pairs pairs = {.n = 0};
    char etag[72];
    (void)fs;
    TRY(fake_look(src, &from));
    TRY(fake_judge(src_cond, src.path));
    TRY(fake_judge(&o->cond, dst.path));
    buf_str_add(&bytes, buf_str(&from->bytes));
    strcpy(etag, from->attr.etag);
    for (size_t i = 0; !replace_meta && i < from->pairs.n; i++)
        fake_pairs_set(&pairs, str_of(from->pairs.p[i].name), str_of(from->pairs.p[i].value));
    if (replace_meta)
        fake_pairs_add(&pairs, o->meta, o->meta_n);
    struct fake_object *to = fake_add(dst.path);
    to->attr.size = bytes.n;
    strcpy(to->attr.etag, etag);
    to->bytes = bytes;
    bytes = (struct buf){0};
    to->pairs = pairs;
    *ret = to->attr;
    return 0;
}

int fs_set_meta(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_pair *meta, size_t n)
{
    FAKE_LOCKED;
    struct fake_object *o = NULL;
    (void)fs, (void)flags;
    TRY(fake_look(at, &o));
    fake_pairs_add(&o->pairs, meta, n);
    return 0;
}

static int fake_delete(struct str path, const struct fs_cond *cond)
{
    struct fake_object *o = NULL;
    TRY(fake_look((struct fs_at){FS_ROOT, path}, &o));
    if (cond)
        TRY(fake_judge(cond, path));
    size_t i = fake_place(path);
    fake_object_free(fake.o[i]);
    memmove(fake.o + i, fake.o + i + 1, (--fake.n - i) * sizeof *fake.o);
    return 0;
}

int fs_delete(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_cond *cond)
{
    FAKE_LOCKED;
    (void)fs, (void)flags;
    return fake_delete(at.path, cond);
}

int fs_delete_many(struct fs *fs, struct fs_at dir, const struct str *keys, size_t n, int *codes)
{
    FAKE_LOCKED;
    (void)fs;
    for (size_t i = 0; i < n; i++) {
        struct buf path AUTO_BUF = {0};
        buf_str_add(&path, dir.path);
        buf_str_add(&path, keys[i]);
        codes[i] = str_eq(keys[i], STR("denied")) ? ERR_DENIED : fake_delete(buf_str(&path), NULL);
    }
    return 0;
}

int fs_bucket_create(struct fs *fs, struct str name)
{
    FAKE_LOCKED;
    struct buf path AUTO_BUF = {0};
    (void)fs;
    buf_str_add(&path, name);
    buf_putz(&path, "/");
    if (fake_find(buf_str(&path)))
        return ERR_BUCKET_EXISTS;
    fake_add(buf_str(&path));
    return 0;
}

int fs_bucket_delete(struct fs *fs, struct str name)
{
    FAKE_LOCKED;
    struct buf path AUTO_BUF = {0};
    (void)fs;
    buf_str_add(&path, name);
    buf_putz(&path, "/");
    for (size_t i = 0; i < fake.n; i++)
        if (str_starts(str_of(fake.o[i]->path), buf_str(&path)) && strlen(fake.o[i]->path) > path.n)
            return ERR_NOT_EMPTY;
    return fake_delete(buf_str(&path), NULL);
}

/* --- uploads */

static int fake_upload(const char *id)
{
    return fake.upload && !strcmp(id, fake_upload_id) ? 0 : err_set(ERR_NO_UPLOAD, "no such upload");
}

int fs_upload_create(struct fs *fs, struct fs_at at, const struct fs_write *o, char ret_id[FS_UPLOAD_ID])
{
    FAKE_LOCKED;
    (void)fs;
    fake_pairs_done(&fake.upload_pairs);
    fake_pairs_add(&fake.upload_pairs, o->meta, o->meta_n);
    for (unsigned i = 0; i < FAKE_PARTS; i++)
        fake.part[i].there = false;
    free(fake.upload_path);
    fake.upload_path = str_dup(at.path);
    fake.upload = true;
    strcpy(ret_id, fake_upload_id);
    return 0;
}

int fs_upload_part(struct fs *fs, struct fs_at at, const char *id, unsigned part, const struct fs_write *o,
                   struct fs_writer **ret)
{
    FAKE_LOCKED;
    (void)fs;
    TRY(fake_upload(id));
    CHECK(part < FAKE_PARTS);
    *ret = fake_writer(at, o);
    (*ret)->part = part;
    return 0;
}

int fs_upload_part_copy(struct fs *fs, struct fs_at at, const char *id, unsigned part, struct fs_at src,
                        const struct fs_cond *src_cond, uint64_t off, uint64_t n, struct fs_attr *ret)
{
    struct fs_write o = {.size = 0};
    struct fs_commit c = {.md5 = NULL};
    struct fs_writer *w;
    TRY(fs_upload_part(fs, at, id, part, &o, &w));
    {
        FAKE_LOCKED;
        struct fake_object *from = NULL;
        int r = fake_look(src, &from);
        if (!r)
            r = fake_judge(src_cond, src.path);
        if (r) {
            fs_abort(w);
            return r;
        }
        buf_add(&w->bytes, from->bytes.p + off, n < from->bytes.n - off ? n : from->bytes.n - off);
    }
    return fs_commit(w, &c, ret);
}

int fs_upload_complete(struct fs *fs, struct fs_at at, const char *id, const struct fs_part *parts, size_t n,
                       const struct fs_cond *cond, const struct fs_pair *meta, size_t meta_n, struct fs_attr *ret)
{
    FAKE_LOCKED;
    struct buf bytes AUTO_BUF = {0};
    (void)fs;
    struct fake_object *done = fake_find(at.path);
    if (!fake.upload && done && done->parts) { /* repeated */
        *ret = done->attr;
        return 0;
    }
    TRY(fake_upload(id));
    TRY(fake_judge(cond, at.path));
    for (size_t i = 0; i < n; i++) {
        struct fake_part *p = &fake.part[parts[i].part];
        if (!p->there || !s3_cond_etag_in(parts[i].etag, str_of(p->etag), false))
            return err_set(ERR_INVALID_PART, "part %u", parts[i].part);
        buf_str_add(&bytes, buf_str(&p->bytes));
    }
    struct fake_object *o = fake_add(at.path);
    o->attr.size = bytes.n;
    o->bytes = bytes;
    bytes = (struct buf){0};
    o->pairs = fake.upload_pairs;
    fake.upload_pairs.n = 0;
    fake_pairs_add(&o->pairs, meta, meta_n);
    o->parts = (unsigned)n;
    for (size_t i = 0; i < n; i++)
        o->part_size[i] = fake.part[parts[i].part].bytes.n;
    snprintf(o->attr.etag, sizeof o->attr.etag, "0123456789abcdef0123456789abcdef-%zu", n);
    *ret = o->attr;
    fake.upload = false;
    return 0;
}

int fs_upload_abort(struct fs *fs, struct fs_at at, const char *id)
{
    FAKE_LOCKED;
    (void)fs, (void)at;
    TRY(fake_upload(id));
    fake.upload = false;
    return 0;
}

int fs_upload_parts(struct fs *fs, struct fs_at at, const char *id, unsigned after, size_t limit,
                    int (*fn)(void *arg, const struct fs_part_info *p), void *arg, bool *ret_more, fs_meta_fn *meta)
{
    FAKE_LOCKED;
    size_t n = 0;
    (void)fs, (void)at;
    TRY(fake_upload(id));
    *ret_more = false;
    fake_pairs_tell(&fake.upload_pairs, meta, arg);
    for (unsigned i = after + 1; i < FAKE_PARTS; i++) {
        const struct fake_part *p = &fake.part[i];
        struct fs_part_info info = {
            .part = i, .size = p->bytes.n, .mtime_ms = 784111777500, .checksums = buf_str(&p->sums)};
        if (!p->there)
            continue;
        if (n++ == limit) {
            *ret_more = true;
            break;
        }
        strcpy(info.etag, p->etag);
        TRY(fn(arg, &info));
    }
    return 0;
}

int fs_uploads(struct fs *fs, struct fs_at bucket, struct str prefix, struct str after_key, const char *after_id,
               size_t limit, int (*fn)(void *arg, const struct fs_upload_info *u), void *arg, bool *ret_more)
{
    FAKE_LOCKED;
    (void)fs;
    *ret_more = false;
    struct str key = fake.upload_path ? str_from(str_of(fake.upload_path), bucket.path.n) : STR("");
    int c = str_cmp(key, after_key);
    if (!fake.upload || !str_starts(key, prefix) || c < 0 || (c == 0 && strcmp(fake_upload_id, after_id) <= 0))
        return 0;
    struct fs_upload_info u = {.key = key, .id = fake_upload_id, .start_ms = 784111777500};
    *ret_more = limit == 0;
    return limit ? fn(arg, &u) : 0;
}
