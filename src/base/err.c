/* SPDX-License-Identifier: Apache-2.0
 * The error table and each thread's sentence. */
#include "base/err.h"
#include "base/str.h"
#include "base/trace.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DETAIL_MAX = 512 };

static const struct err_info rows[] = {
#define X(name, eno, retry, s3, http, text) {#name, eno, ERR_RETRY_##retry, s3, http, text},
#include "base/err.tbl"
#undef X
};

static __thread struct {
    int code; /* 0: nothing remembered */
    char text[DETAIL_MAX];
} detail;

const struct err_info *err_info(int code)
{
    if (code < 0 && code >= -ERR_IX_COUNT)
        return &rows[-1 - code];
    return &rows[ERR_IX_BUG];
}

int err_set(int code, const char *fmt, ...)
{
    int eno = errno;
    char text[DETAIL_MAX]; /* the arguments may point into detail.text */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str_clean(text);
    memcpy(detail.text, text, sizeof text);
    detail.code = code;
    errno = eno;
    return code;
}

int err_prefix(int code, const char *fmt, ...)
{
    int eno = errno;
    char text[DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0 && n < DETAIL_MAX)
        snprintf(text + n, sizeof text - (size_t)n, "%s", err_detail(code));
    str_clean(text);
    memcpy(detail.text, text, sizeof text);
    detail.code = code;
    errno = eno;
    return code;
}

const char *err_detail(int code)
{
    return code && detail.code == code ? detail.text : err_info(code)->text;
}

void err_clear(void)
{
    detail.code = 0;
}

int err_from_errno(int eno)
{
    static const struct {
        int eno, code;
    } map[] = {
        {ENOMEM, ERR_NOMEM},
        {EIO, ERR_IO},
        {EINVAL, ERR_INVALID},
        {ENAMETOOLONG, ERR_NAME_TOO_LONG},
        {EILSEQ, ERR_BAD_NAME},
        {ENOENT, ERR_NOT_FOUND},
        {EEXIST, ERR_EXISTS},
        {ENOTDIR, ERR_NOT_DIR},
        {EISDIR, ERR_IS_DIR},
        {ENOTEMPTY, ERR_NOT_EMPTY},
        {EXDEV, ERR_CROSS_MOUNT},
        {EROFS, ERR_READ_ONLY},
        {EACCES, ERR_DENIED},
        {EPERM, ERR_DENIED},
        {ENOSPC, ERR_NO_SPACE},
        {EDQUOT, ERR_NO_SPACE},
        {EFBIG, ERR_TOO_LARGE},
        {EOPNOTSUPP, ERR_NOT_IMPLEMENTED},
        {ENOSYS, ERR_NOT_IMPLEMENTED},
        {ETIMEDOUT, ERR_TIMEOUT},
        {EHOSTUNREACH, ERR_UNREACHABLE},
        {ENETUNREACH, ERR_UNREACHABLE},
        {ECONNREFUSED, ERR_UNREACHABLE},
        {ECONNRESET, ERR_UNREACHABLE},
        {ECONNABORTED, ERR_UNREACHABLE},
        {EHOSTDOWN, ERR_UNREACHABLE},
        {ENETDOWN, ERR_UNREACHABLE},
        {EPIPE, ERR_UNREACHABLE},
        {EAGAIN, ERR_BUSY},
        {EBUSY, ERR_BUSY},
        {ETXTBSY, ERR_BUSY},
        {ESTALE, ERR_STALE},
        {ESHUTDOWN, ERR_SHUTDOWN},
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].eno == eno)
            return map[i].code;
    return ERR_IO;
}

void err_check_failed(const char *file, int line, const char *expr, const char *fmt, ...)
{
    flockfile(stderr);
    fprintf(stderr, "forebay: %s:%d: broken rule: %s", file, line, expr);
    if (fmt[0] && fmt[1]) { /* CHECK puts a blank first */
        va_list ap;
        va_start(ap, fmt);
        fputs(":", stderr);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
    fputs("\nlast steps of this thread:\n", stderr);
    trace_dump(stderr);
    fflush(stderr);
    funlockfile(stderr);
    abort();
}
