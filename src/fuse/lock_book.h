/* SPDX-License-Identifier: Apache-2.0
 *
 * Between lock_book.c and lock_table.c. */
#pragma once
#include "fuse/lock_table.h"

/* There is room: a holder has at most LOCKS_MAX locks. Returns the slot. */
uint32_t lock_book_add(struct lock_book *b, const struct lock_record *r);
void lock_book_del(struct lock_book *b, uint32_t at);
