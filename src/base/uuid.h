/* SPDX-License-Identifier: Apache-2.0
 *
 * Random identifiers (RFC 9562, version 4). Thread-safe.
 */
#pragma once

enum { UUID_TEXT = 37 }; /* 36 characters and NUL */
void uuid_new(char ret[UUID_TEXT]);
