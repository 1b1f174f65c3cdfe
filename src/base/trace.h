/* SPDX-License-Identifier: Apache-2.0
 *
 * The per-thread trace ring: always on, crosses every room's door, dumped at abort and by tests that compare the path
 * of one request with a file. An entry is a constant string and two numbers; writing one costs a few nanoseconds.
 */
#pragma once
#include <stdint.h>
#include <stdio.h>

/* name: a constant "room.verb"; a, b: whatever helps (ids, lengths, result code). */
void trace_add(const char *name, int64_t a, int64_t b);
#define TRACE(name, a, b) trace_add((name), (int64_t)(a), (int64_t)(b))

/* Write this thread's ring, oldest first, one line an entry. */
void trace_dump(FILE *f);

/* For walk tests: while a sink is set, every thread's entries also go there ("name a b" per line), process-wide. */
void trace_sink(FILE *f);
