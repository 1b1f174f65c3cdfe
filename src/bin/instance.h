/* SPDX-License-Identifier: Apache-2.0
 *
 * One data directory and the stores in it, opened in the order they need and closed in the opposite one. The sole place
 * that names the metadata engine.
 *
 *     DIR/instance.lock        held (flock) by the process that owns the directory; its text is that process's id
 *     DIR/instance.properties  what was set for the last start, without secrets: fsck reads it
 *     DIR/worker.id            the name of this worker, made at the first start
 *     DIR/meta/                the metadata store (forebay.kv.dir); it holds the secrets of mounts, so only the owner
 * may look DIR/pages/               the page store (alluxio.worker.page.store.dirs)
 *
 * Threads: the main one.
 */
#pragma once
#include "base/buf.h"

struct conf;
struct kv;
struct meta;
struct page_store;

struct instance {
    char *dir;
    struct conf *conf;
    int lock_fd;
    char worker_id[48];
    struct page_store *pages;
    struct kv *kv;
    struct meta *meta;
};

struct instance_options {
    const char *dir;
    struct conf *conf; /* taken over by instance_open, also when it fails */
    bool check_only;   /* fsck: the directory must be there, and nothing of ours in it is written anew */
};

/* A code with a detail that says what to do. ERR_BUSY: another process has it (named). ERR_NOT_FOUND (check_only):
 * there is no instance in dir. */
int instance_open(const struct instance_options *o, struct instance **ret);
struct instance *instance_close(struct instance *in); /* NULL is fine; returns NULL */

/* DIR/instance.properties of a directory, or NULL when there is none; free() it. */
char *instance_saved_conf(const char *dir);
