/* SPDX-License-Identifier: Apache-2.0
 *
 * The page store of the model checker: page/page.h in memory, as nasty as its contract allows. What is not sealed dies
 * with the process; what was sealed lazily or filled dies with the power; an unpinned page may be evicted at once.
 *
 * One store at a time; page_open() gives it, whatever directories are named. One thread.
 */
#pragma once
#include "page/page.h"

void fakepage_reset(bool eager); /* an empty store; eager: pages are evicted the moment they may be */
void fakepage_crash(bool power); /* the process is gone, or the power too; page_open() next */
uint64_t fakepage_hash(void);    /* of what it holds and how */
size_t fakepage_blobs(void);
/* Breaches of the contract by its users since the reset (an evicted pin, a drop of what is held ...), NULL: none. */
const char *fakepage_complaint(void);
