/* SPDX-License-Identifier: Apache-2.0
 *
 * The version of the program, in one place.
 */
#pragma once

#define FOREBAY_VERSION "0.1.0"
