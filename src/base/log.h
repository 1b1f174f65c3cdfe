/* SPDX-License-Identifier: Apache-2.0
 *
 * Structured log: one line an event, "2026-11-20T23:54:51.123Z WARN event key=value ..." on stderr or a file.
 * Floors 0-5 log nothing above debug; the front ends and bin do. Every ERROR line has a meaning and an action.
 * Values with spaces are quoted by the caller's format: log_warn("mount.add", "path=%s error=\"%s\"", ..). Thread-safe.
 */
#pragma once
#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_event(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void log_set_level(enum log_level level); /* default INFO; FOREBAY_LOG=debug|info|warn|error sets it at start */
enum log_level log_get_level(void);
/* Events whose name is name, or begins with it and a point, follow this level from now on: "s3", "persist.failed". At
 * most LOG_NAMES names; ERR_LIMIT. */
enum { LOG_NAMES = 32, LOG_NAME_MAX = 40 };
int log_set_name_level(const char *name, enum log_level level);
/* The names set so, one by one: i from 0; NULL after the last. */
const char *log_name_level(unsigned i, enum log_level *ret);
const char *log_level_name(enum log_level level);           /* "DEBUG" */
bool log_level_from(const char *word, enum log_level *ret); /* in any case; false: no level */
int log_open(const char *file);                             /* append to file instead of stderr */
#define log_debug(event, ...) log_event(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_event(LOG_ERROR, event, __VA_ARGS__)
