/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors: one convention for the whole program.
 *
 * A fallible function returns int: 0 or a negative ERR_ code of err.tbl. Outputs come last, are named ret_x and are
 * untouched on failure. A code exists only if somebody reacts to it. The sentence for people travels beside the
 * code in a per-thread buffer: who finds the fault calls err_set(), who answers the user calls err_detail().
 *
 * CHECK() is for our own bugs: it prints the trace ring and aborts. An error code is for the world.
 *
 * Threads: everything here is per thread or constant.
 */
#pragma once
#include <errno.h>
#include <stdbool.h>

enum err_index {
#define X(name, eno, retry, s3, http, text) ERR_IX_##name,
#include "base/err.tbl"
#undef X
    ERR_IX_COUNT
};

enum err {
#define X(name, eno, retry, s3, http, text) ERR_##name = -1 - (int)ERR_IX_##name,
#include "base/err.tbl"
#undef X
};

enum err_retry { ERR_RETRY_NEVER, ERR_RETRY_AGAIN, ERR_RETRY_MAYBE };

struct err_info {
    const char *name; /* "NOT_FOUND" */
    int eno;          /* positive errno for POSIX callers */
    enum err_retry retry;
    const char *s3_code; /* "NoSuchKey" */
    int http;            /* HTTP status */
    const char *text;    /* a sentence without detail */
};

/* The row of a code; any value that is no code of ours gives the row of ERR_BUG. Never NULL. */
const struct err_info *err_info(int code);

/* Remember a sentence for this thread and return code. printf-style, cut at 511 bytes. errno is kept. */
int err_set(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* Put words before the sentence that is remembered ("while reading x: ..."); returns code. */
int err_prefix(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/* The sentence for code: the remembered one if it was set for this code, else the row's text. Valid until the
 * thread's next err_set(). */
const char *err_detail(int code);

/* Forget the remembered sentence (start of a request). */
void err_clear(void);

/* The code that fits a positive errno; ERR_IO for what is not known. */
int err_from_errno(int eno);

/* True for codes whose call may succeed when repeated. */
static inline bool err_again(int code)
{
    return code < 0 && err_info(code)->retry == ERR_RETRY_AGAIN;
}

_Noreturn void err_check_failed(const char *file, int line, const char *expr, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), cold));

/* Abort with the trace ring when a rule of our own is broken. The message says what was true instead. (The blank keeps
 * the format from being empty when there is none, which compilers warn about.) */
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (__builtin_expect(!(cond), 0))                                                                              \
            err_check_failed(__FILE__, __LINE__, #cond, " " __VA_ARGS__);                                              \
    } while (0)

/* Return the code of a failed call. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int try_r_ = (call);                                                                                           \
        if (__builtin_expect(try_r_ < 0, 0))                                                                           \
            return try_r_;                                                                                             \
    } while (0)
