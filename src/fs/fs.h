/* SPDX-License-Identifier: Apache-2.0
 *
 * THE door: every client (S3, REST, command line, later the mount) works on the namespace and its bytes through these
 * calls, under every policy. One process has one struct fs on one KV store and one page store.
 *
 * Names. A place is a directory inode and a path below it in S3's own syntax: components divided by '/', raw bytes,
 * empty components allowed ("a//b"). A path that ends in '/' names a directory; "a" and "a/" can both exist. FS_POSIX
 * in flags: a path without the final '/' that is no file means the directory, and when both exist the directory.
 * Top-level directories are buckets: {FS_ROOT, "bucket/key"}; "bucket/" is the bucket itself.
 *
 * Acknowledgement. A call that changes something returns 0 when the change is visible to everybody and safe by the
 * policy of its path (docs/semantics.md): WRITE_BACK and TRANSIENT: durable on local disk; WRITE_THROUGH: in the UFS
 * too; NO_CACHE: in the UFS; READ_ONLY: refused with ERR_READ_ONLY.
 *
 * Reading calls give what may be committed but not yet durable; before an answer leaves the machine the front end calls
 * fs_settle() with the attr's or listing's version (0: nothing to wait for).
 *
 * Who owns what: arguments stay the caller's; struct fs_attr holds its strings itself; what callbacks get is valid
 * during the call. Threads: any; a writer, file or upload part by one thread at a time. Errors: codes of err.tbl with a
 * detail that names cause and remedy.
 */
#pragma once
#include "base/buf.h"
#include "page/page.h"

struct fs;
struct meta;
struct conf;

enum { FS_ROOT = 1 };

struct fs_at {
    uint64_t dir;
    struct str path;
};
static inline struct fs_at fs_path(struct str path) /* absolute; leading '/' of "/bucket/key" is dropped */
{
    return (struct fs_at){FS_ROOT, path.n && path.p[0] == '/' ? str_from(path, 1) : path};
}

enum fs_flags {
    FS_POSIX = 1,     /* see Names */
    FS_NO_LOAD = 2,   /* answer from the namespace alone, never ask the UFS */
    FS_NOREPLACE = 4, /* rename: ERR_EXISTS when the destination is there */
    FS_EXCHANGE = 8,  /* rename: swap the two */
    FS_PARENTS = 16,  /* mkdir: make missing parents, existing is success */
    FS_FORCE = 32,    /* mount remove: forget unpersisted data */
    FS_RECURSIVE = 64 /* list: all below, no common prefixes (same as delimiter 0) */
};

enum fs_type { FS_FILE = 1, FS_DIR = 2, FS_SYMLINK = 3, FS_FIFO = 4, FS_SOCKET = 5, FS_CHAR = 6, FS_BLOCK = 7 };

enum fs_policy { FS_WRITE_THROUGH, FS_WRITE_BACK, FS_TRANSIENT, FS_READ_ONLY, FS_NO_CACHE };
const char *fs_policy_name(enum fs_policy p);

struct fs_attr {
    uint64_t ino, parent, content;
    enum fs_type type;
    bool explicit_dir; /* a directory made by mkdir or as an object "a/"; implied ones are never listed as keys */
    bool persisted;    /* the UFS holds this content */
    bool settled;      /* and at its home key */
    uint64_t size, mtime_ms, ctime_ms;
    uint32_t mode, uid, gid, nlink;
    char etag[72];    /* without quotes; "" for directories that never were objects */
    uint64_t version; /* for fs_settle */
};

int fs_settle(struct fs *fs, uint64_t version);

/* What is stored beside the bytes: pairs of lower-case names: "content-type", "content-encoding",
 * "content-disposition", "content-language", "cache-control", "expires", "x-amz-meta-*", "x-amz-tagging" (URL-encoded
 * query string), "x-amz-checksum-*" (base64 as S3 writes it, "-N" for composite), "x-amz-checksum-type". */
struct fs_pair {
    struct str name, value;
};
typedef void fs_meta_fn(void *arg, struct str name, struct str value);

/* ---- looking ---- */

/* ERR_NO_BUCKET when the first component below the root is missing, else ERR_NOT_FOUND. meta may be NULL. */
int fs_stat(struct fs *fs, struct fs_at at, unsigned flags, struct fs_attr *ret, fs_meta_fn *meta, void *arg);

struct fs_entry {
    struct str key; /* full key relative to the listed directory; a common prefix ends in the delimiter */
    bool prefix;    /* a common prefix: attr is zero */
    const struct fs_attr *attr;
};
struct fs_list {
    struct fs_at dir;  /* the directory (bucket) keys are relative to; path "" or ending in '/' */
    struct str prefix; /* keys start with it */
    struct str after;  /* and come after it in byte order ("" : from the start) */
    char delimiter;    /* 0, or any byte: keys holding it behind prefix are rolled up */
    size_t limit;      /* entries at most; 0: none are wanted */
    unsigned flags;    /* FS_POSIX: directories are listed as "a/" entries (not prefix) also when implied;
                          use with delimiter '/' and it is readdir */
};
/* In byte order of keys, exact at every page boundary. *ret_more: there is at least one more; continue with after = the
 * last key or common prefix given. Empty implied directories are not shown, nor what the UFS owner rows hide. */
int fs_list(struct fs *fs, const struct fs_list *l, int (*fn)(void *arg, const struct fs_entry *e), void *arg,
            bool *ret_more, uint64_t *ret_version);

/* ---- reading ---- */

struct fs_file;
struct fs_sink {
    /* One of both; when range is given pages come as file ranges, else, and for what comes straight from the
     * UFS, as bytes. Non-zero stops and is returned. */
    int (*range)(void *arg, const struct page_range *r);
    int (*bytes)(void *arg, const void *p, size_t n);
    void *arg;
};
/* Opens one published content: what is read stays that content, whatever happens to the name, until close. */
int fs_open(struct fs *fs, struct fs_at at, unsigned flags, struct fs_file **ret);
const struct fs_attr *fs_file_attr(const struct fs_file *f);
void fs_file_meta(const struct fs_file *f, fs_meta_fn *meta, void *arg);
/* Sizes of the parts it was uploaded in (partNumber reads): the number of parts, 0 when it was one PUT. */
unsigned fs_file_parts(const struct fs_file *f);
/* part 1..n: where it lies. ERR_RANGE else. */
int fs_file_part(struct fs_file *f, unsigned part, uint64_t *ret_off, uint64_t *ret_n);
/* All of [off, off+n), clipped at the end, in order. */
int fs_read(struct fs_file *f, uint64_t off, uint64_t n, const struct fs_sink *sink);
struct fs_file *fs_close(struct fs_file *f);

/* ---- writing whole objects ---- */

struct fs_cond {
    struct str if_match;      /* p NULL: none; "*": must exist; else the ETag, quoted or not */
    struct str if_none_match; /* p NULL: none; "*": must not exist; else not this ETag */
};
struct fs_write {
    uint64_t size;       /* exact, or UINT64_MAX when unknown */
    struct fs_cond cond; /* judged atomically at commit, and early at open to spare the upload */
    const struct fs_pair *meta;
    size_t meta_n;
    uint32_t mode, uid, gid; /* mode 0: 0644 */
    unsigned flags;          /* FS_POSIX: do not make missing parents (ERR_NOT_FOUND) */
    uint64_t mtime_ms;       /* 0: the commit's time */
};
struct fs_writer;
int fs_create(struct fs *fs, struct fs_at at, const struct fs_write *o, struct fs_writer **ret);
int fs_write(struct fs_writer *w, const void *p, size_t n);
/* The same without a copy, for large bodies (256 KiB and more, or of unknown size): memory to receive the next bytes
 * into, *ret_n of it, and then the word that n are there. NULL for a small body: fs_write. */
void *fs_write_room(struct fs_writer *w, size_t *ret_n);
int fs_write_filled(struct fs_writer *w, size_t n);
struct fs_commit {
    const unsigned char *md5;   /* 16 bytes the body must have, or NULL: ERR_BAD_DIGEST */
    const struct fs_pair *meta; /* more pairs (checksums that came as trailers) */
    size_t meta_n;
};
/* Publish. The writer is freed in every case. o may be NULL. ERR_PRECONDITION, ERR_COND_CONFLICT. */
int fs_commit(struct fs_writer *w, const struct fs_commit *o, struct fs_attr *ret);
void fs_abort(struct fs_writer *w); /* NULL is fine */

/* Copy inside the namespace: metadata only, shares the bytes. src_cond judged on the source (ERR_PRECONDITION).
 * o->meta NULL: the source's pairs are kept; replace: o's are taken. Source and destination may be the same when
 * pairs are replaced. */
int fs_copy(struct fs *fs, struct fs_at src, const struct fs_cond *src_cond, struct fs_at dst, const struct fs_write *o,
            bool replace_meta, struct fs_attr *ret);

/* Replace pairs without touching the content: names in o that are given replace those; value p NULL removes. */
int fs_set_meta(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_pair *meta, size_t n);

/* ---- names ---- */

/* An object or an empty directory. S3 callers take ERR_NOT_FOUND as success. cond may be NULL. */
int fs_delete(struct fs *fs, struct fs_at at, unsigned flags, const struct fs_cond *cond);
/* Many keys relative to one directory in few transactions; codes[i]: 0 or a code for each. */
int fs_delete_many(struct fs *fs, struct fs_at dir, const struct str *keys, size_t n, int *codes);
/* A directory and all below: gone at once for everybody; pages, records and UFS objects follow in the background. */
int fs_remove_tree(struct fs *fs, struct fs_at at);
int fs_mkdir(struct fs *fs, struct fs_at at, uint32_t mode, unsigned flags, struct fs_attr *ret);
int fs_rmdir(struct fs *fs, struct fs_at at);
/* rename(2) for files and directories, metadata only, whatever they hold. FS_NOREPLACE, FS_EXCHANGE. */
int fs_rename(struct fs *fs, struct fs_at from, struct fs_at to, unsigned flags);

/* ---- multipart uploads ---- */

#define FS_UPLOAD_ID 33 /* 32 hex digits and NUL */
int fs_upload_create(struct fs *fs, struct fs_at at, const struct fs_write *o, char ret_id[FS_UPLOAD_ID]);
/* A writer for one part (1..10000); fs_commit gives attr.etag = MD5 of the part and attr.size. The last commit of a
 * number wins. pairs given in o->meta (checksums) are kept with the part. */
int fs_upload_part(struct fs *fs, struct fs_at at, const char *id, unsigned part, const struct fs_write *o,
                   struct fs_writer **ret);
/* A part copied from bytes [off, off+n) of an object, metadata only inside the namespace; n UINT64_MAX: to the end. */
int fs_upload_part_copy(struct fs *fs, struct fs_at at, const char *id, unsigned part, struct fs_at src,
                        const struct fs_cond *src_cond, uint64_t off, uint64_t n, struct fs_attr *ret);
struct fs_part {
    unsigned part;
    struct str etag;     /* as the client sent it, quoted or not */
    struct str checksum; /* base64 as the client sent it, or p NULL */
};
/* The named parts, ascending, become the object. Repeating a Complete that succeeded gives the same answer (for a day).
 * meta: pairs for the object (its checksum). */
int fs_upload_complete(struct fs *fs, struct fs_at at, const char *id, const struct fs_part *parts, size_t n,
                       const struct fs_cond *cond, const struct fs_pair *meta, size_t meta_n, struct fs_attr *ret);
int fs_upload_abort(struct fs *fs, struct fs_at at, const char *id);
struct fs_part_info {
    unsigned part;
    uint64_t size, mtime_ms;
    char etag[72];
    struct str checksums; /* "name=value" lines */
};
int fs_upload_parts(struct fs *fs, struct fs_at at, const char *id, unsigned after, size_t limit,
                    int (*fn)(void *arg, const struct fs_part_info *p), void *arg, bool *ret_more, fs_meta_fn *meta);
struct fs_upload_info {
    struct str key; /* relative to the bucket */
    const char *id;
    uint64_t start_ms;
    struct str checksum; /* its pair "x-amz-checksum-algorithm"; p NULL when it has none */
};
/* Uploads of a bucket in order of (key, id), after the given pair. */
int fs_uploads(struct fs *fs, struct fs_at bucket, struct str prefix, struct str after_key, const char *after_id,
               size_t limit, int (*fn)(void *arg, const struct fs_upload_info *u), void *arg, bool *ret_more);

/* ---- mounts and rules ---- */

struct fs_mount {
    uint64_t id, ino;
    const char *path; /* "/demo" */
    const char *uri;
    const char *options; /* "k=v" lines, secrets masked */
    bool reachable;
    uint64_t dirty_files, dirty_bytes;
};
/* option: "k=v" strings. ERR_EXISTS; ERR_INVALID for overlap with another mount, bad path (one component below the
 * root), unknown scheme; ERR_UNREACHABLE, ERR_DENIED when the UFS root cannot be read. */
int fs_mount_add(struct fs *fs, struct str path, const char *uri, const char *const *option, size_t n);
/* ERR_DIRTY with count and bytes when unpersisted data would be lost, unless FS_FORCE. */
int fs_mount_remove(struct fs *fs, struct str path, unsigned flags);
int fs_mounts(struct fs *fs, int (*fn)(void *arg, const struct fs_mount *m), void *arg);
/* CreateBucket / DeleteBucket of S3: a mount below forebay.s3.bucket.root.ufs (ERR_DENIED naming the property when
 * unset); only an empty bucket goes (ERR_NOT_EMPTY). */
int fs_bucket_create(struct fs *fs, struct str name);
int fs_bucket_delete(struct fs *fs, struct str name);

/* The path configuration as JSON text. set: refused as a whole with line and reason; in force everywhere on return. */
int fs_rules_get(struct fs *fs, struct buf *ret_json);
int fs_rules_set(struct fs *fs, struct str json);
/* The rule that applies to an absolute path, as JSON with "policyMode" among its members. */
int fs_rules_test(struct fs *fs, struct str path, struct buf *ret_json);

/* ---- cache ---- */

/* Evict clean pages below a path (job free). *ret_bytes freed, of *ret_files that had any. */
int fs_free(struct fs *fs, struct fs_at at, uint64_t *ret_bytes, uint64_t *ret_files);
/* Read everything below a path into the page store (job load). */
int fs_load(struct fs *fs, struct fs_at at, uint64_t *ret_bytes, uint64_t *ret_files);
/* Bytes of a file that are in the page store. */
int fs_cached(struct fs *fs, struct fs_at at, uint64_t *ret_bytes);

/* Readers whose object in the UFS was overwritten or deleted by a client's request before they had read it. */
uint64_t fs_readers_cut(const struct fs *fs);

/* ---- life ---- */

struct fs_options {
    struct meta *meta;
    struct page_store *pages;
    const struct conf *conf;
};
int fs_new(const struct fs_options *o, struct fs **ret);
struct fs *fs_free_door(struct fs *fs); /* no file or writer may be open; NULL is fine; returns NULL */
