/* SPDX-License-Identifier: Apache-2.0
 *
 * A job: load or free what is below some paths, in a thread of its own, with progress.
 *
 * States: RUNNING -> SUCCEEDED | FAILED (some file failed, or the walk did) | STOPPED (asked to).
 * Each state is a row of the metadata store (job_keep.c) before anybody is told of it, and a running load writes down
 * how far it came: a job that ran when its process died goes on from there at the next start. A free starts over.
 * Owned by the table in struct admin, newest first; ended ones stay for alluxio.job.retention.time, JOBS_KEPT of them
 * at most. The counters are written by the job's threads and read by anybody; what is marked so is under the admin's
 * lock; the rest does not change. Threads: one walks, JOB_LOADERS read.
 */
#pragma once
#include "admin/rest.h"
#include <pthread.h>
#include <stdatomic.h>

/* JOB_TOLD: bytes of a row when a job is given; what is left of KV_VALUE_MAX is for how far it comes. */
enum { JOBS_KEPT = 1000, JOB_LOADERS = 8, JOB_QUEUE = 64, JOB_FAILURES = 100, JOB_TOLD = 64 << 10 };
enum job_kind { JOB_LOAD, JOB_FREE };
enum job_state { JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_STOPPED };
enum job_phase { JOB_SCANNING, JOB_LOADING, JOB_VERIFYING };

struct job {
    struct admin *a;
    struct job *next;
    enum job_kind kind;
    char id[37];
    json_t *paths;
    char *index; /* a file that names the paths, one a line; NULL: none */
    char *alias; /* what it is asked for by; the first path unless given */
    char *regex; /* only files whose whole path fits; NULL: all */
    bool skip_cached, metadata_only, verify;
    uint64_t bandwidth; /* bytes a second from under file systems; 0: no limit */
    json_t *ignored;    /* names of options that have no effect here */
    uint64_t start_ms;
    uint64_t spent_ms;       /* in processes before this one */
    uint64_t since_ms;       /* of this process's part; clock_mono_ms */
    _Atomic uint64_t end_ms; /* valid once state is not RUNNING */
    pthread_t thread;
    bool joined;
    /* Its row is written by one at a time, and says what holds then; lock. */
    bool writing;
    unsigned users;         /* who have it without the lock, but for its own threads; lock */
    _Atomic bool stop;      /* the thread is to end: the process stops, or cancelled */
    _Atomic bool cancelled; /* somebody asked to stop this job */
    _Atomic int state, phase;
    _Atomic uint64_t scanned, processed, failed, nonempty, bytes, skipped, total;
    char error[300];  /* the first failure; lock */
    json_t *failures; /* [{path, message}], the first JOB_FAILURES; lock */
    /* Where a start after a crash goes on: up to this file of this path all is done. lock */
    size_t mark_path;
    char *mark; /* NULL: the path's beginning */
};

const char *job_kind_name(enum job_kind k);

/* Work of one job, in its own thread: sets counters, returns 0 or a code with detail. */
int job_load_run(struct job *j);
int job_free_run(struct job *j);
/* Remember a failure. */
void job_failed(struct job *j, const char *path, int code);

/* ---- as JSON, and kept (job_keep.c) ---- */

/* What people get to see; under the lock. */
json_t *job_json(const struct job *j);
/* Write its row; not under the lock. What is kept on return is how it stood after the call, or later. */
int job_keep(struct job *j);
/* ERR_TOO_LARGE: what it is told to do leaves no room in its row for its progress. */
int job_check_room(struct job *j);
struct job *job_new(struct admin *a, enum job_kind kind);
void job_free(struct job *j); /* joins its thread; nobody uses it any more */

/* ---- the table (jobs.c) ---- */

/* Into the table and started, durably; false when one with its alias runs: *ret_json is that one then, else j. On error
 * *ret_code is set, false given, and j is the caller's. */
bool job_enter(struct admin *a, struct job *j, json_t **ret_json, int *ret_code);
/* One that is there already (restore): as it is, running when it was. Takes j over. */
void job_put_back(struct admin *a, struct job *j);
/* By id, alias or index, whichever is given: *ret_json, NULL when there is none. cancel: stop it, durably. */
int job_look(struct admin *a, enum job_kind kind, const char *id, const char *alias, const char *index, bool cancel,
             json_t **ret_json);
/* Newest first: at most count, after the one with id last (NULL: from the newest). */
json_t *job_list(struct admin *a, enum job_kind kind, const char *last, size_t count);
