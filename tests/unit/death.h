/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of code that ends the process: run fn in a child.
 */
#pragma once
#include <stddef.h>

/* The child's wait status; the end of what it wrote to stderr goes to text. A child whose fn returns exits with 0. */
int death_of(void (*fn)(void *arg), void *arg, char *text, size_t text_n);
/* Fails the test unless fn aborts having said words. */
void assert_aborts(void (*fn)(void *arg), void *arg, const char *words);
