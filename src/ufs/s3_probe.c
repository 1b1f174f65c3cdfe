/* SPDX-License-Identifier: Apache-2.0
 *
 * S3 driver: find out what a store can, once, when it is mounted, by writing below ".forebay/probe-NONCE/" and removing
 * it again:
 *
 *   keys         does it keep "a" beside "a/b", "//", "/./", "/../" as they are (S3), or map keys to a POSIX tree?
 *   control      do characters below 0x20 come back from a listing? If not, keys with them are refused
 *   conditions   do a wrong If-Match and an If-None-Match stop a PUT, a wrong If-Match a DELETE?
 *   ETags, tags  is the ETag of a PUT its MD5, does a tag come back?
 *
 * forebay.ufs.keys and forebay.ufs.conditional say so without trying. Who may not write gets what S3 has but no
 * conditions; then "." and ".." as names stay refused, since a store that resolves them would lead out of the mount.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "ufs/s3.h"
#include <inttypes.h>
#include <sys/random.h>

struct probe {
    struct s3 *s;
    uint64_t deadline_ms;
    char base[64];
    char etag[96]; /* of base + "a" */
};

static uint64_t until(const struct probe *p)
{
    return clock_mono_ns() + p->deadline_ms * 1000000;
}

static struct str key_of(const struct probe *p, const char *name, char out[128])
{
    snprintf(out, 128, "%s%s", p->base, name);
    return str_of(out);
}

/* Nothing learned: the store or the network had a bad moment. */
static bool bad_moment(int r)
{
    return r == ERR_UNREACHABLE || r == ERR_THROTTLED || r == ERR_UNKNOWN_OUTCOME;
}

static int put(struct probe *p, const char *name, const char *if_match, bool if_none_match, struct ufs_stat *st)
{
    char key[128];
    struct ufs_bytes m = {.p = "1", .n = 1};
    struct ufs_body b = ufs_body_of(&m);
    struct ufs_put_opts o = {.size = 1, .if_match = if_match, .if_none_match = if_none_match};
    return ufs_s3_put_plain(p->s, until(p), key_of(p, name, key), &o, &b, st);
}

/* --- keys */

static const char *const odd[] = {"a", "a/b", "c/../f", "c/./e", "c//d"};
#define ODD (sizeof odd / sizeof *odd)

struct seen {
    const struct probe *p;
    size_t n;
    bool differs;
};

static int on_key(void *arg, const struct ufs_entry *e)
{
    struct seen *s = arg;
    char key[128];
    if (s->n >= ODD || !str_eq(e->key, key_of(s->p, odd[s->n], key)))
        s->differs = true;
    s->n++;
    return 0;
}

static int probe_keys(struct probe *p, bool *ret_verbatim)
{
    struct ufs_stat st;
    for (size_t i = 1; i < ODD; i++) {
        int r = put(p, odd[i], NULL, false, &st);
        if (bad_moment(r) && r != ERR_UNKNOWN_OUTCOME) /* a 500 is how some refuse such names */
            return r;
        if (r < 0) {
            *ret_verbatim = false;
            return 0;
        }
    }
    struct seen seen = {.p = p};
    struct ufs_list_args a = {.prefix = str_of(p->base), .limit = 100};
    bool more;
    TRY(ufs_s3_list(&p->s->l, until(p), &a, on_key, &seen, &more));
    *ret_verbatim = seen.n == ODD && !seen.differs;
    return 0;
}

/* Control characters: XML cannot carry them, and not every store lists them url-encoded. */
static int on_control(void *arg, const struct ufs_entry *e)
{
    struct seen *s = arg;
    char key[128];
    s->n++;
    s->differs |= !str_eq(e->key, key_of(s->p, "e\x01\x1f", key));
    return 0;
}

static int probe_control(struct probe *p)
{
    struct ufs_stat st;
    char prefix[128];
    struct seen seen = {.p = p};
    bool more;
    int r = put(p, "e\x01\x1f", NULL, false, &st);
    if (bad_moment(r) && r != ERR_UNKNOWN_OUTCOME)
        return r;
    struct ufs_list_args a = {.prefix = key_of(p, "e", prefix), .limit = 100};
    if (r == 0)
        TRY(ufs_s3_list(&p->s->l, until(p), &a, on_control, &seen, &more));
    p->s->control = r == 0 && seen.n == 1 && !seen.differs;
    if (r == 0) /* a listing may not name it well enough for clean() */
        p->s->l.op.del(&p->s->l, until(p), key_of(p, "e\x01\x1f", prefix), NULL);
    return 0;
}

/* --- conditions */

#define WRONG "00000000000000000000000000000000"

static int probe_conditions(struct probe *p, unsigned *ret_caps)
{
    struct ufs_stat st;
    char key[128];
    unsigned caps = 0;
    int none = put(p, "a", NULL, true, &st);
    int wrong = put(p, "a", WRONG, false, &st);
    if (bad_moment(none) || bad_moment(wrong))
        return bad_moment(none) ? none : wrong;
    if (none == ERR_PRECONDITION)
        caps |= UFS_CAP_IF_NONE_MATCH;
    if (wrong == ERR_PRECONDITION && put(p, "a", p->etag, false, &st) == 0)
        caps |= UFS_CAP_IF_MATCH;
    int del = p->s->l.op.del(&p->s->l, until(p), key_of(p, "a", key), WRONG);
    if (del == ERR_PRECONDITION)
        caps |= UFS_CAP_DELETE_IF_MATCH;
    *ret_caps = caps;
    return bad_moment(del) ? del : 0;
}

/* --- ETags and tags */

static int probe_values(struct probe *p)
{
    static const struct ufs_pair tag = {{"x-amz-tagging", 13}, {"probe=1", 7}};
    struct s3 *s = p->s;
    char key[128];
    struct ufs_stat st;
    struct ufs_bytes m = {.p = "1", .n = 1};
    struct ufs_body b = ufs_body_of(&m);
    struct ufs_put_opts o = {.size = 1, .meta = {&tag, 1}};
    struct buf tags AUTO_BUF = {0};
    s->caps |= UFS_CAP_TAGS;
    int r = ufs_s3_put_plain(s, until(p), key_of(p, "t", key), &o, &b, &st);
    if (r == 0)
        r = ufs_s3_tags(s, until(p), str_of(key), &tags);
    if (bad_moment(r))
        return r;
    if (r < 0 || !str_eq(buf_str(&tags), STR("probe=1")))
        s->caps &= ~(unsigned)UFS_CAP_TAGS;
    return 0;
}

/* --- all of it */

struct found {
    struct buf keys;
};

static int collect(void *arg, const struct ufs_entry *e)
{
    buf_bytes(&((struct found *)arg)->keys, e->key);
    return 0;
}

static void clean(struct probe *p)
{
    struct found f = {0};
    struct ufs_list_args a = {.prefix = str_of(p->base), .limit = 100};
    bool more;
    ufs_s3_list(&p->s->l, until(p), &a, collect, &f, &more);
    for (struct cur c = cur_of(buf_str(&f.keys)); c.p < c.end && !c.bad;)
        p->s->l.op.del(&p->s->l, until(p), cur_bytes(&c), NULL);
    buf_done(&f.keys);
}

static int probe_all(struct probe *p, const struct ufs_s3_known *known)
{
    struct s3 *s = p->s;
    bool verbatim = true;
    unsigned conditions = 0;
    if (!known->keys) {
        TRY(probe_keys(p, &verbatim));
        s->keys = verbatim ? S3_KEYS_VERBATIM : S3_KEYS_POSIX;
        s->dots = verbatim;
    }
    TRY(probe_control(p));
    TRY(probe_values(p));
    if (!known->conditional) {
        TRY(probe_conditions(p, &conditions));
        s->caps |= conditions;
    }
    return 0;
}

int ufs_s3_probe(struct s3 *s, uint64_t deadline_ms, const struct ufs_s3_known *known)
{
    struct probe p = {.s = s, .deadline_ms = deadline_ms};
    struct ufs_stat st;
    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        nonce = clock_wall_ms();
    snprintf(p.base, sizeof p.base, UFS_RESERVED "probe-%016" PRIx64 "/", nonce);
    s->etag_md5 = true;
    int r = put(&p, "a", NULL, false, &st);
    if (r == ERR_DENIED || r == ERR_NOT_IMPLEMENTED)
        return 0;
    TRY(r);
    UFS_SET(p.etag, str_of(st.version));
    s->etag_md5 = !strcmp(st.version, "c4ca4238a0b923820dcc509a6f75849b"); /* MD5 of "1" */
    r = probe_all(&p, known);
    clean(&p);
    return r;
}
