/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: which inodes a kernel has open, as the keeper of a mount that a server elsewhere serves knows from
 * what passes by. After a connection was lost, their pages may be old. Threads: any. */
#pragma once
#include <linux/fuse.h>
#include <stddef.h>

struct opened;
struct opened *opened_new(void);
struct opened *opened_free(struct opened *t); /* NULL is fine; returns NULL */
void opened_asked(struct opened *t, const struct fuse_in_header *in);
/* body: n bytes behind the header of the answer. Before the kernel hears it. */
void opened_answered(struct opened *t, const struct fuse_out_header *out, const void *body, size_t n);
/* A connection has ended: what was asked there is asked again under other numbers, or has failed. */
void opened_forget_asked(struct opened *t);
/* Their node numbers, in no order; free() them. */
uint64_t *opened_nodes(struct opened *t, size_t *ret_n);
