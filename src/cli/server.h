/* SPDX-License-Identifier: Apache-2.0
 *
 * Which server a command talks to: --admin, else $FOREBAY_ADMIN, else alluxio.coordinator.hostname and
 * alluxio.coordinator.rest.port of the configuration file, else 127.0.0.1:19999. And which configuration file that is.
 */
#pragma once

struct cli;
struct conf;

/* Set c->admin: 0, or ERR_INVALID with a detail. */
int cli_server_find(struct cli *c);
/* The bearer token, or NULL. */
const char *cli_server_token(struct cli *c);
/* Read that file (defaults when there is none): 0, or a code with detail. Owned by this module, read once. */
int cli_conf(struct cli *c, const struct conf **ret);
