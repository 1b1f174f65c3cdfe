/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: the locks of a mount that a server on another host serves, as its keeper knows them from what passes
 * by. A server that comes after a crash, or after a connection was lost for long, hears of them here. Threads: any. */
#pragma once
#include "fuse/lock_table.h"
#include <linux/fuse.h>

struct held;
struct held *held_new(void);
struct held *held_free(struct held *t); /* NULL is fine; returns NULL */
/* The kernel asks this: n bytes behind the header. */
void held_asked(struct held *t, const struct fuse_in_header *in, const void *arg, size_t n);
/* It was answered, error as in fuse_out_header; before the kernel hears it. */
void held_answered(struct held *t, uint64_t unique, int error);
/* A connection has ended: what was asked there is asked again under other numbers, or has failed. */
void held_forget_asked(struct held *t);
uint64_t held_id(const struct held *t);                            /* of the mount */
struct lock_record *held_records(struct held *t, uint32_t *ret_n); /* free() them */
