/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as events. A thread of its own takes them, so that a second one ends the process whatever the others do.
 */
#pragma once

/* Before any other thread is started: SIGTERM, SIGINT and SIGHUP are blocked and taken by a thread; SIGPIPE is ignored.
 */
void signals_start(void);
/* Wait for SIGTERM or SIGINT (also one that came before); each SIGHUP calls hup meanwhile. Returns the signal. From now
 * on a further one exits at once. */
int signals_wait(void (*hup)(void *arg), void *arg);
