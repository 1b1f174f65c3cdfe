/* SPDX-License-Identifier: Apache-2.0
 *
 * The under file system: a flat map from keys to objects, wherever it lives. Drivers: dir (a directory), s3 (any S3
 * store), mem (tests: late, loses answers, repeats requests). Wrappers of the same type add retry, limits, faults,
 * trace.
 *
 * Keys are relative to the mounted root ("a/b/c", never starting with the root's own prefix), raw bytes. A key that
 * ends in '/' is a directory marker. What a driver cannot hold it refuses with ERR_KEY_UNSUPPORTED and a reason, before
 * it changes anything; ufs_key_check() says so ahead of time. Nothing ever escapes the root. Keys below ".forebay/" are
 * ours: listings never show them.
 *
 * Who owns what: arguments are the caller's; struct ufs_stat holds its strings itself. Threads: any, at once. Every
 * call has a deadline (ufs_options.deadline_ms, at most): a request that was sent takes effect within it or never. What
 * survives after success: what the store promises; dir: power loss.
 *
 * Errors: ERR_NOT_FOUND, ERR_PRECONDITION, ERR_THROTTLED, ERR_UNREACHABLE (not sent, nothing happened), ERR_DENIED,
 * ERR_NO_SPACE, ERR_CORRUPT (digest refused), ERR_UNKNOWN_OUTCOME (sent, no answer: may happen until the deadline),
 * ERR_KEY_UNSUPPORTED, ERR_INVALID, ERR_IO.
 */
#pragma once
#include "base/buf.h"
#include "base/spread.h"

struct ufs;

enum ufs_caps {
    UFS_CAP_VERBATIM = 1,      /* any S3 key; else the names of a POSIX tree: no "a" beside "a/b", "//", ".", ".." */
    UFS_CAP_IF_MATCH = 2,      /* put and complete honour if_match */
    UFS_CAP_IF_NONE_MATCH = 4, /* put and complete honour if_none_match */
    UFS_CAP_COPY = 8,          /* server-side copy */
    UFS_CAP_RENAME = 16,       /* atomic rename of objects and whole prefixes */
    UFS_CAP_CERTAIN = 32,      /* a request dies with the process that sent it: no unknown outcomes after a restart */
    UFS_CAP_META = 64,         /* keeps content headers and user metadata */
    UFS_CAP_TAGS = 128,
    UFS_CAP_MULTIPART = 256,
    UFS_CAP_DELETE_IF_MATCH = 512,
    UFS_CAP_MARKERS = 1024, /* "a/" is an object like any other (S3); else a directory of its own kind (dir) */
    UFS_CAP_ETAG_MD5 = 2048 /* the ETag of what was sent in one piece is its MD5 */
};

/* Version: an opaque string that differs whenever the object's bytes may differ (S3: ETag without quotes; dir: inode,
 * mtime, size). etag: MD5 hex or "hex-N" when the store knows it (dir keeps it in an xattr), else "". */
struct ufs_stat {
    uint64_t size;
    uint64_t mtime_ms;
    char version[96];
    char etag[72];
    bool is_dir; /* dir driver: a directory; stat("a/") of an existing directory */
};

/* Headers and user metadata travel as pairs: standard names in lower case ("content-type", "content-encoding",
 * "content-disposition", "content-language", "cache-control", "expires"), user metadata as "x-amz-meta-NAME", tags as
 * "x-amz-tagging" (URL-encoded query string). */
struct ufs_pair {
    struct str name, value;
};
struct ufs_meta {
    const struct ufs_pair *pair;
    size_t n;
};

/* ERR_NOT_FOUND when absent. meta (may be NULL): gets each pair; called before return. */
int ufs_stat(struct ufs *u, struct str key, struct ufs_stat *ret,
             void (*meta)(void *arg, struct str name, struct str value), void *arg);

struct ufs_entry {
    struct str key; /* or the common prefix, ending in the delimiter */
    bool prefix;    /* a common prefix: st is empty */
    struct ufs_stat st;
};

/* Entries with the given prefix and key > after, in byte order of their keys, at most limit of them (0: the driver's
 * page, at most 1000). delimiter: 0 or '/': keys with one after prefix are rolled up. after may lie inside a rolled-up
 * prefix or be one. fn gets each; non-zero from fn stops and is returned. *ret_more: there is more. Directories of the
 * dir driver that are empty show as "a/" (is_dir, size 0); others only through what they hold. */
int ufs_list(struct ufs *u, struct str prefix, char delimiter, struct str after, size_t limit,
             int (*fn)(void *arg, const struct ufs_entry *e), void *arg, bool *ret_more);

/* Bytes [off, off+n) to sink in order (clipped at the object's end). if_match (may be NULL): the version it must have,
 * else ERR_PRECONDITION. A short body is ERR_IO; sink's non-zero stops and is returned. */
int ufs_read(struct ufs *u, struct str key, uint64_t off, uint64_t n, const char *if_match,
             int (*sink)(void *arg, const void *p, size_t n), void *arg);

struct ufs_put_opts {
    uint64_t size; /* exact size, or UFS_SIZE_UNKNOWN */
    struct ufs_meta meta;
    const char *if_match;     /* version the key must have now; NULL: no matter */
    bool if_none_match;       /* the key must be absent now */
    const char *etag;         /* expected MD5 hex or "hex-N" where known, else NULL: kept by dir, compared by s3 */
    const unsigned char *md5; /* 16 bytes where known: sent as Content-MD5 */
    uint64_t part_size;       /* > 0: multipart with parts of this size where the driver has it */
    uint64_t mtime_ms;        /* 0: now. dir: sets it; s3: ignored */
};
#define UFS_SIZE_UNKNOWN UINT64_MAX

/* Pull: the driver asks source for the next bytes; >0 bytes given, 0 end, <0 error that aborts and is returned. */
typedef ssize_t ufs_source(void *arg, void *p, size_t n);

/* Write an object; nothing is visible before its end, all of it after. ERR_PRECONDITION when if_* do not hold. */
int ufs_put(struct ufs *u, struct str key, const struct ufs_put_opts *o, ufs_source *source, void *arg,
            struct ufs_stat *ret);

/* The same in pieces (write-through): push bytes, then make visible or give up. The writer is freed by commit and
 * abort. Between begin and commit nothing is visible. commit's options replace if_match/if_none_match/etag of begin. */
struct ufs_writer;
int ufs_write_begin(struct ufs *u, struct str key, const struct ufs_put_opts *o, struct ufs_writer **ret);
int ufs_write(struct ufs_writer *w, const void *p, size_t n);
int ufs_write_commit(struct ufs_writer *w, const struct ufs_put_opts *o, struct ufs_stat *ret);
void ufs_write_abort(struct ufs_writer *w);

/* Multipart that outlives this process (pass-through; UFS_CAP_MULTIPART): upload is the store's id, NUL-terminated, to
 * remember. ERR_NO_UPLOAD when the store does not know it (any more); abort takes that for success. A part may take a
 * second longer than other calls for each MiB: its bytes come as fast as a client sends them. md5: 16 bytes, or NULL.
 * mpu_part_bytes: of bytes in memory, so that it can be sent again when the store refused it. mpu_copy: bytes [off,
 * off+n) of src, which must have the version if_match. */
int ufs_mpu_create(struct ufs *u, struct str key, const struct ufs_put_opts *o, char ret_upload[1100]);
int ufs_mpu_part(struct ufs *u, struct str key, const char *upload, unsigned part, uint64_t size,
                 const unsigned char *md5, ufs_source *source, void *arg, char ret_etag[72]);
int ufs_mpu_part_bytes(struct ufs *u, struct str key, const char *upload, unsigned part, struct str bytes,
                       const unsigned char *md5, char ret_etag[72]);
int ufs_mpu_copy(struct ufs *u, struct str key, const char *upload, unsigned part, struct str src, uint64_t off,
                 uint64_t n, const char *if_match, char ret_etag[72]);
struct ufs_part {
    unsigned part;
    char etag[72];
};
int ufs_mpu_complete(struct ufs *u, struct str key, const char *upload, const struct ufs_part *parts, size_t n,
                     const struct ufs_put_opts *o, struct ufs_stat *ret);
int ufs_mpu_abort(struct ufs *u, struct str key, const char *upload);

/* Server-side copy, any size, metadata kept; if_match: version src must have. ret: the destination as it is now.
 * Without UFS_CAP_COPY it reads and writes through here. */
int ufs_copy(struct ufs *u, struct str src, struct str dst, const char *if_match, struct ufs_stat *ret);

/* Delete; absent is success. if_match (may be NULL): only this version (stat, compare, delete where the store has no
 * conditional delete). Batch: codes[i] for each; the result is 0 unless the request itself failed. */
int ufs_delete(struct ufs *u, struct str key, const char *if_match);
int ufs_delete_many(struct ufs *u, const struct str *keys, size_t n, int *codes);

/* UFS_CAP_RENAME only: atomic; both keys end in '/' for a whole prefix (dst must not exist), or neither. */
int ufs_rename(struct ufs *u, struct str src, struct str dst);

/* Replace headers and tags of an object without changing its bytes. ERR_NOT_IMPLEMENTED where the store cannot. */
int ufs_set_meta(struct ufs *u, struct str key, const struct ufs_meta *meta, struct ufs_stat *ret);

/* 0, or ERR_KEY_UNSUPPORTED / ERR_NAME_TOO_LONG with the reason, without asking the store. */
int ufs_key_check(struct ufs *u, struct str key);
unsigned ufs_caps(struct ufs *u);
const char *ufs_uri(struct ufs *u); /* as given, without secrets */
/* Several files of one batch become durable together (dir: one syncfs); must be called before "persisted" is said of
 * what ufs_put wrote with UFS_CAP_CERTAIN drivers. s3: no-op. */
int ufs_sync(struct ufs *u);

struct ufs_options {
    struct map *props;         /* option name -> char*; s3: endpoint, region, access key, ... ; NULL: none */
    uint64_t deadline_ms;      /* 0: 60,000 */
    const char *allowed_roots; /* dir: ':'-separated roots that file:// must lie below; NULL or "": any */
};
/* By the scheme of uri: file:///dir or a path; s3://bucket/prefix; mem:NAME (tests). Checks that the root is there and
 * readable, finds the capabilities out. */
int ufs_open(const char *uri, const struct ufs_options *o, struct ufs **ret);
struct ufs *ufs_close(struct ufs *u);

struct ufs_figures { /* per call kind, sums since start */
    uint64_t calls[16], errors[16], ns[16], bytes_read, bytes_written, throttled;
    struct spread_figures time[16];
};
const char *ufs_call_name(unsigned i); /* NULL past the last */
void ufs_figures(struct ufs *u, struct ufs_figures *ret);
