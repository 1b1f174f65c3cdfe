/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: what a route's function gets, and how it answers.
 *
 * A function returns 0 after it has answered (rest_json, rest_done, or streaming by itself), or a code that becomes the
 * error answer if none was begun.
 */
#pragma once
#include "admin/admin.h"
#include "admin/guard.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/spread.h"
#include "base/lock.h"
#include "fs/fs.h"
#include "net/http.h"
#include <jansson.h>

struct job;

struct job_sums {
    uint64_t failed, scanned, processed, skipped, bytes;
};

struct admin {
    struct admin_options o;
    struct guard guard;
    char hostname[256];
    struct http_server *http;
    char address[300];
    uint64_t start_ms;
    _Atomic bool stopping;
    struct lock lock;        /* RANK_ADMIN: jobs and their states */
    pthread_cond_t job_idle; /* nobody writes a job's row any more, or uses it */
    struct job *jobs;        /* newest first */
    struct buf backlog;      /* of /metrics, while it is fresh enough; lock */
    uint64_t backlog_until_ms;
    struct job_sums jobs_gone; /* of load jobs that were forgotten; lock */
};

struct rest {
    struct admin *a;
    struct http_req *rq;
    json_t *in; /* the body of a POST or DELETE, an empty object when there is none */
};

enum rest_flags {
    REST_RAW = 1,     /* the function reads the body itself */
    REST_CHANGES = 2, /* changes something: logged */
    REST_OPEN = 4     /* answered without a token */
};

struct route {
    const char *method, *path;
    int (*fn)(struct rest *r);
    unsigned flags;
};

/* Answer. j is taken over. */
int rest_json(struct rest *r, int status, json_t *j);
int rest_done(struct rest *r); /* {} */
int rest_error(struct rest *r, int code);

/* A parameter of the query; NULL when absent. Strings live as long as the request: they are copied into r->in. */
const char *rest_param(struct rest *r, const char *name);
bool rest_flag(struct rest *r, const char *name); /* "true" or "1" or empty but there */
int rest_number(struct rest *r, const char *name, uint64_t otherwise, uint64_t max, uint64_t *ret);
/* A member of the body, or a parameter of the query: a string. ERR_INVALID when it is not there. */
int rest_string(struct rest *r, const char *name, const char **ret);
/* The same for a path: absolute, valid UTF-8. */
int rest_path(struct rest *r, const char *name, const char **ret);
bool rest_bool(struct rest *r, const char *name);

/* ---- paths (paths.c) ---- */

/* What a path a person wrote stands for. */
struct place {
    struct buf path; /* absolute; a directory ends in '/' ("/" is the root) */
    struct fs_attr attr;
    bool root; /* "/" itself: attr is a directory's, without an inode */
};
void place_done(struct place *p);
#define AUTO_PLACE CLEANUP(place_done)
enum prefer { PREFER_FILE, PREFER_DIR };
/* "a" and "a/" may both exist: the preferred one is taken, or that which a final '/' asks for. ERR_NOT_FOUND with the
 * detail "Path does not exist: ...". meta may be NULL. */
int place_find(struct fs *fs, const char *path, enum prefer prefer, struct place *ret, fs_meta_fn *meta, void *arg);
static inline struct fs_at place_at(const struct place *p)
{
    return fs_path(buf_str(&p->path));
}
static inline bool place_is_dir(const struct place *p)
{
    return p->attr.type == FS_DIR;
}
/* The absolute path of what a person wrote: an absolute path, or the address of something below a mount's UFS. */
int place_of_uri(struct fs *fs, const char *word, struct buf *ret);
/* The last component, without '/'. */
struct str place_name(struct str path);
/* ERR_NOT_FOUND when the directory a path lies in is not there. */
int place_parent_exists(struct fs *fs, const char *path);
/* Where something called name goes when a person says "to": into it, if it is a directory. */
int place_target(struct fs *fs, const char *to, struct str name, bool dir, struct buf *ret);
/* The same for a copy or an upload, which makes the directories it needs. */
int place_new(struct fs *fs, const char *to, struct str name, struct buf *ret);

json_t *attr_json(struct str path, const struct fs_attr *at);
const char *attr_type_name(enum fs_type t);
/* PERSISTED, NOT_PERSISTED, or - for directories that are only implied. */
const char *attr_state(const struct fs_attr *at);

/* ---- walking (walk.c) ---- */

struct walk_file {
    const char *path; /* absolute */
    struct fs_attr attr;
};
/* Every file below a place, in pages that are collected before fn is called (so fn may call the door). Non-zero from fn
 * stops and is returned. */
int walk_files(struct fs *fs, const struct place *p, int (*fn)(void *arg, const struct walk_file *f), void *arg);
/* The same from behind a file it gave before (absolute path; NULL: from the start). */
int walk_files_after(struct fs *fs, const struct place *p, const char *after,
                     int (*fn)(void *arg, const struct walk_file *f), void *arg);

/* ---- routes, one file a topic ---- */

int rest_fs_ls(struct rest *r);
int rest_fs_stat(struct rest *r);
int rest_fs_test(struct rest *r);
int rest_fs_du(struct rest *r);
int rest_fs_cat(struct rest *r);
int rest_fs_head(struct rest *r);
int rest_fs_tail(struct rest *r);
int rest_fs_checksum(struct rest *r);
int rest_fs_mv(struct rest *r);
int rest_fs_rm(struct rest *r);
int rest_fs_mkdir(struct rest *r);
int rest_fs_cp(struct rest *r);
int rest_fs_touch(struct rest *r);
int rest_fs_put(struct rest *r);
int rest_rules_get(struct rest *r);
int rest_rules_put(struct rest *r);
int rest_rules_test(struct rest *r);
int rest_mounts_get(struct rest *r);
int rest_mounts_add(struct rest *r);
int rest_mounts_remove(struct rest *r);
int rest_persist_list(struct rest *r);
int rest_persist_stat(struct rest *r);
int rest_persist_skip(struct rest *r);
int rest_persist_kick(struct rest *r);
int rest_persist_pause(struct rest *r);
int rest_persist_resume(struct rest *r);
int rest_persist_wait(struct rest *r);
int rest_load_start(struct rest *r);
int rest_load_get(struct rest *r);
int rest_load_stop(struct rest *r);
int rest_free_start(struct rest *r);
int rest_free_get(struct rest *r);
int rest_free_stop(struct rest *r);
int rest_info_nodes(struct rest *r);
int rest_info_cache(struct rest *r);
int rest_info_version(struct rest *r);
int rest_info_report(struct rest *r);
int rest_doctor(struct rest *r);
int rest_log_get(struct rest *r);
int rest_log_set(struct rest *r);
int rest_fs_location(struct rest *r);
int rest_fs_check_cached(struct rest *r);
int rest_properties(struct rest *r);
int rest_faults_get(struct rest *r);
int rest_faults_arm(struct rest *r);
int rest_metrics(struct rest *r);
int rest_health(struct rest *r);

/* Bytes served from the cache as a share of all bytes served; and what was read from and written to all UFS. */
struct traffic {
    uint64_t ufs_read, ufs_written, calls[16], errors[16], ns[16], throttled;
    struct spread_figures time[16];
};
void traffic_read(struct admin *a, struct traffic *ret);
double traffic_hit_ratio(uint64_t hit_bytes, const struct traffic *t);

/* Jobs of earlier processes; those that were running go on. */
int jobs_restore(struct admin *a);
/* Stop every job and wait for its thread. */
void jobs_stop(struct admin *a);
void jobs_figures(struct admin *a, struct buf *out);
