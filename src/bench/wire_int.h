/* SPDX-License-Identifier: Apache-2.0
 *
 * What wire_dial.c (targets, connections) and wire.c (requests and answers) share.
 */
#pragma once
#include "bench/wire.h"

/* Connect w, which is not connected. */
int wire_dial(struct wire *w);
void wire_hang_up(struct wire *w);
/* The code of a send or receive that gave r (0: the other side closed; < 0: errno), with a sentence. */
int wire_failed(ssize_t r, const char *doing);
