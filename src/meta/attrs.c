/* SPDX-License-Identifier: Apache-2.0
 *
 * What POSIX knows of a file beside its bytes, as user metadata of its object: the names and forms of s3fs (which
 * rclone reads too), so that either finds its files again, and so do we after the namespace was loaded anew.
 *
 *     x-amz-meta-mode    st_mode in decimal, type included; read in octal too when it begins with 0 (rclone)
 *     x-amz-meta-uid, -gid, -rdev
 *     x-amz-meta-mtime, -atime, -ctime    seconds since 1970, with a fraction
 */
#include "meta/tx.h"
#include <sys/stat.h>

static const uint32_t type_bits[] = {
    [REC_FILE] = S_IFREG,    [REC_DIR] = S_IFDIR,  [REC_SYMLINK] = S_IFLNK, [REC_FIFO] = S_IFIFO,
    [REC_SOCKET] = S_IFSOCK, [REC_CHAR] = S_IFCHR, [REC_BLOCK] = S_IFBLK};

static void add_text(struct buf *b, const char *name, const char *value)
{
    pairs_add(b, str_of(name), str_of(value));
}

static void add_number(struct buf *b, const char *name, uint64_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    add_text(b, name, text);
}

static void add_time(struct buf *b, const char *name, uint64_t ns)
{
    char text[40];
    snprintf(text, sizeof text, "%llu.%09llu", (unsigned long long)(ns / 1000000000),
             (unsigned long long)(ns % 1000000000));
    add_text(b, name, text);
}

void posix_to_pairs(const struct inode *i, struct buf *pairs)
{
    static const char *const ours[] = {"mode", "uid", "gid", "rdev", "mtime", "atime", "ctime"};
    struct buf out AUTO_BUF = {0}, over AUTO_BUF = {0};
    uint64_t mtime = i->mtime_ms * 1000000 + i->mtime_frac;
    for (size_t k = 0; k < sizeof ours / sizeof *ours;
         k++) { /* what the object carried when it was loaded is outdated */
        char name[32];
        snprintf(name, sizeof name, "x-amz-meta-%s", ours[k]);
        add_text(&over, name, "");
    }
    pairs_merge(&out, buf_str(pairs), buf_str(&over));
    add_number(&out, "x-amz-meta-mode", type_bits[i->type] | (i->mode & 07777));
    add_number(&out, "x-amz-meta-uid", i->uid);
    add_number(&out, "x-amz-meta-gid", i->gid);
    if (i->type == REC_CHAR || i->type == REC_BLOCK)
        add_number(&out, "x-amz-meta-rdev", i->rdev);
    add_time(&out, "x-amz-meta-mtime", mtime);
    add_time(&out, "x-amz-meta-atime", i->atime_ns ? i->atime_ns : mtime);
    add_time(&out, "x-amz-meta-ctime", i->ctime_ms * 1000000 + i->ctime_frac);
    buf_reset(pairs);
    buf_str_add(pairs, buf_str(&out));
}

static bool number(struct str pairs, const char *name, uint64_t max, uint64_t *ret)
{
    struct str v;
    char text[32], *end;
    if (!pairs_get(pairs, str_of(name), &v) || !v.n || v.n >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", STR_ARG(v));
    if (text[0] < '0' || text[0] > '9')
        return false;
    *ret = strtoull(text, &end, text[0] == '0' ? 8 : 10);
    return !*end && *ret <= max;
}

/* Seconds with a fraction, of which nanoseconds are kept. */
static bool time_of(struct str pairs, const char *name, uint64_t *ret)
{
    struct str v;
    uint64_t s, ns = 0;
    if (!pairs_get(pairs, str_of(name), &v))
        return false;
    const char *dot = memchr(v.p, '.', v.n);
    struct str whole = dot ? str_mk(v.p, (size_t)(dot - v.p)) : v;
    if (!str_u64(whole, UINT32_MAX * 4ull, &s))
        return false;
    struct str frac = dot ? str_from(v, whole.n + 1) : STR("");
    for (size_t i = 0; i < 9; i++) {
        char ch = i < frac.n ? frac.p[i] : '0';
        if (ch < '0' || ch > '9')
            return false;
        ns = ns * 10 + (uint64_t)(ch - '0');
    }
    *ret = s * 1000000000 + ns;
    return true;
}

static enum rec_type type_of(uint32_t mode, enum rec_type def)
{
    for (enum rec_type t = REC_FILE; t <= REC_BLOCK; t++)
        if (type_bits[t] == (mode & S_IFMT))
            return t;
    return def;
}

void posix_from_pairs(struct inode *i, struct str pairs)
{
    uint64_t v;
    if (!pairs.n)
        return;
    if (!number(pairs, "x-amz-meta-mode", UINT32_MAX,
                &v)) /* not written by a file system: the store's own time holds */
        return;
    enum rec_type t = type_of((uint32_t)v, i->type);
    i->mode = (uint32_t)v & 07777;
    i->posix = true;
    if (i->type != REC_DIR && t != REC_DIR)
        i->type = t;
    i->uid = number(pairs, "x-amz-meta-uid", UINT32_MAX, &v) ? (uint32_t)v : 0;
    i->gid = number(pairs, "x-amz-meta-gid", UINT32_MAX, &v) ? (uint32_t)v : 0;
    i->rdev = number(pairs, "x-amz-meta-rdev", UINT32_MAX, &v) ? (uint32_t)v : 0;
    if (time_of(pairs, "x-amz-meta-mtime", &v)) {
        i->mtime_ms = v / 1000000;
        i->mtime_frac = (uint32_t)(v % 1000000);
    }
    if (time_of(pairs, "x-amz-meta-atime", &v))
        i->atime_ns = v;
}

int tx_inherit_group(struct kv_tx *tx, uint64_t dir, struct inode *i)
{
    struct inode up;
    TRY(tx_inode(tx, dir, &up));
    if (!up.posix || !(up.mode & S_ISGID))
        return 0;
    i->gid = up.gid;
    if (i->type == REC_DIR)
        i->mode |= S_ISGID;
    return 0;
}
