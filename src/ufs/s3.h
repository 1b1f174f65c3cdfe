/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the S3 driver: one HTTP exchange (ufs_s3_http.c), what answers mean (ufs_s3_error.c), listings
 * (ufs_s3_list.c), the probe of what a store can (ufs_s3_probe.c), the calls (s3.c).
 */
#pragma once
#include "base/hash.h"
#include "base/lock.h"
#include "net/sigv4.h"
#include "ufs/ufs_driver.h"
#include <curl/curl.h>

#define S3_IDLE 64
#define S3_ANSWER_MAX (16u << 20)
#define S3_KEY_MAX 1024
#define S3_ALIVE_NS 2000000000ull /* how long a proof that the bucket exists counts */

enum ufs_s3_keys { S3_KEYS_AUTO, S3_KEYS_VERBATIM, S3_KEYS_POSIX };

struct s3 {
    struct ufs_layer l;
    char *scheme, *host;   /* "https", "s3.example.org:9000": of the Host header, with the bucket when not path style */
    char *bucket, *prefix; /* prefix: "" or ends in '/' */
    bool path_style;
    char *region, *access_key, *secret, *token, *ca_file; /* access_key NULL: anonymous */
    uint64_t connect_ms, stall_ms;
    unsigned caps;
    enum ufs_s3_keys keys;
    bool dots;                 /* "." and ".." as names are safe: the store was seen to keep them */
    bool control;              /* characters below 0x20 come back from a listing */
    bool etag_md5;             /* ETags of plain puts are MD5 */
    _Atomic uint64_t alive_ns; /* until then the bucket is known to exist */
    struct lock lock;          /* RANK_UFS: idle */
    CURL *idle[S3_IDLE];
    size_t n_idle;
};

#define S3_HEADERS 128
#define S3_QUERY 8
#define S3_OWN 24

struct ufs_s3_call {
    /* the request */
    struct s3 *s;
    const char *method;
    struct str key; /* below the mount's prefix; p NULL: the bucket itself */
    struct sigv4_pair query[S3_QUERY], header[S3_HEADERS];
    size_t n_query, n_header;
    char *own[S3_OWN]; /* strings made for it */
    size_t n_own;
    struct ufs_body *body; /* NULL: none */
    bool mutates;
    uint64_t until;
    ufs_sink *sink; /* gets the body of a 2xx answer, [off, off + n) of the object */
    void *sink_arg;
    uint64_t off, n;
    ufs_meta_fn *meta; /* gets the metadata headers of a 2xx answer */
    void *meta_arg;

    /* the answer */
    long status;
    struct buf answer; /* body without sink, or of an error */
    char etag[96], last_modified[64], date[64], error_header[64], region_header[32], sse[32];
    uint64_t length, range_from, total; /* UINT64_MAX: not said */
    bool tags;                          /* x-amz-tagging-count is not "0" */

    /* inside ufs_s3_http.c */
    CURL *curl;
    unsigned issued;               /* times the request was put on a connection */
    uint64_t given, last_progress; /* bytes for the sink; when something moved */
    int stop;                      /* the sink's own code */
    bool clipped, ignored_range, too_long;
    struct digest *md5; /* of the body, as sent; NULL: announced in md5_hex, or not of interest */
    char md5_hex[65];
    struct buf meta_text; /* metadata headers wait until the answer is whole */
};

/* ufs_s3_http.c */
void ufs_s3_call_init(struct ufs_s3_call *c, struct s3 *s, uint64_t until, const char *method, struct str key);
void ufs_s3_call_done(struct ufs_s3_call *c);
char *ufs_s3_own(struct ufs_s3_call *c, char *p); /* freed with the call; returns p */
void ufs_s3_query(struct ufs_s3_call *c, const char *name, struct str value);
void ufs_s3_header(struct ufs_s3_call *c, const char *name, struct str value);
void ufs_s3_headerf(struct ufs_s3_call *c, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int ufs_s3_meta(struct ufs_s3_call *c, const struct ufs_meta *meta);
void ufs_s3_conditions(struct ufs_s3_call *c, const struct ufs_put_opts *o);
void ufs_s3_content_md5(struct ufs_s3_call *c, const unsigned char md5[16]);
/* The exchange: 0 with a 2xx status, or the code of what went wrong (ufs_s3_error.c). */
int ufs_s3_send(struct ufs_s3_call *c);
void ufs_s3_stat_of(const struct ufs_s3_call *c, struct ufs_stat *ret); /* from headers */
CURL *ufs_s3_curl_get(struct s3 *s);
void ufs_s3_curl_put(struct s3 *s, CURL *curl);

/* ufs_s3_error.c */
int ufs_s3_error(const struct ufs_s3_call *c); /* of a status outside 2xx */
int ufs_s3_error_body(const struct ufs_s3_call *c,
                      const char *root); /* a 2xx whose body must be this element, and may be <Error> */
int ufs_s3_error_code(const struct ufs_s3_call *c, struct str code, long status, const char *message);
int ufs_s3_transport(struct ufs_s3_call *c, CURLcode rc); /* no whole answer */

/* ufs_s3_list.c */
int ufs_s3_list(struct ufs_layer *l, uint64_t until, const struct ufs_list_args *a, ufs_entry_fn *fn, void *arg,
                bool *ret_more);
uint64_t ufs_s3_time_ms(const char *text); /* "2026-11-20T23:54:51.000Z" or an HTTP date; 0: neither */
void ufs_s3_etag_set(char *field, size_t cap, struct str quoted); /* without quotes */

/* ufs_s3_probe.c */
struct ufs_s3_known { /* what the mount options say, so that it need not be tried */
    bool keys, conditional;
};
int ufs_s3_probe(struct s3 *s, uint64_t deadline_ms, const struct ufs_s3_known *known);

/* s3.c */
int ufs_s3_put_plain(struct s3 *s, uint64_t until, struct str key, const struct ufs_put_opts *o, struct ufs_body *b,
                     struct ufs_stat *ret);
int ufs_s3_tags(struct s3 *s, uint64_t until, struct str key, struct buf *ret);
