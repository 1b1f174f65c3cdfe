/* SPDX-License-Identifier: Apache-2.0
 *
 * Which paths a job takes: an extended regular expression that the whole path must fit.
 *
 * It comes from a client and is compiled by the C library, which writes repetitions out and remembers each state that
 * it has been in: so its length is bounded, and its size with all repetitions written out; what refers back is refused;
 * and it is compiled anew after some bytes of paths.
 *
 * A filter belongs to one thread.
 */
#pragma once
#include <stdbool.h>

enum { FILTER_BYTES = 1000, FILTER_SIZE = 5000 };

struct filter;
/* ERR_INVALID with the reason when it is not one, or too large. */
int filter_new(const char *regex, struct filter **ret);
bool filter_fits(struct filter *f, const char *path);
struct filter *filter_free(struct filter *f); /* NULL is fine; returns NULL */
