/* SPDX-License-Identifier: Apache-2.0
 *
 * Conditional requests (contract in cond.h). Dates are compared in whole seconds: that is all Last-Modified can say.
 */
#include "s3/cond.h"
#include "base/err.h"
#include <stdio.h>
#include <time.h>

static struct str strip(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Takes one member off *list: up to a comma outside quotes. */
static struct str next_tag(struct str *list)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < list->n && (quoted || list->p[i] != ','); i++)
        if (list->p[i] == '"')
            quoted = !quoted;
    struct str tag = strip(str_mk(list->p, i));
    *list = str_from(*list, i + 1);
    return tag;
}

static bool tag_is(struct str tag, struct str etag, bool weak)
{
    if (tag.n >= 2 && tag.p[0] == 'W' && tag.p[1] == '/') {
        if (!weak)
            return false;
        tag = str_from(tag, 2);
    }
    if (tag.n >= 2 && tag.p[0] == '"' && tag.p[tag.n - 1] == '"')
        tag = str_mk(tag.p + 1, tag.n - 2);
    return str_eq(tag, etag);
}

bool s3_cond_etag_in(struct str list, struct str etag, bool weak)
{
    if (str_eq(strip(list), STR("*")))
        return true;
    while (list.n)
        if (tag_is(next_tag(&list), etag, weak))
            return true;
    return false;
}

bool s3_cond_date(struct str s, uint64_t *ret_sec)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    char z[64];
    s = strip(s);
    if (s.n >= sizeof z)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(z, forms[i], &tm);
        if (!end || *end)
            continue;
        time_t t = timegm(&tm);
        if (t < 0)
            return false;
        *ret_sec = (uint64_t)t;
        return true;
    }
    return false;
}

void s3_cond_date_text(uint64_t wall_ms, char ret[COND_DATE])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(ret, COND_DATE, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + 3 * tm.tm_wday,
             (unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon, (unsigned)(tm.tm_year + 1900) % 10000,
             (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

static bool modified_after(struct str date, uint64_t mtime_ms, bool if_bad)
{
    uint64_t sec;
    return s3_cond_date(date, &sec) ? mtime_ms / 1000 > sec : if_bad;
}

/* The half that asks "is it still what I know?": true when the request may go on. */
static bool still_known(const struct s3_cond *c, struct str etag, uint64_t mtime_ms)
{
    if (c->if_match.p)
        return s3_cond_etag_in(c->if_match, etag, false);
    return !c->if_unmodified_since.p || !modified_after(c->if_unmodified_since, mtime_ms, false);
}

/* The half that asks "is it new to me?": true when the request may go on. */
static bool is_news(const struct s3_cond *c, struct str etag, uint64_t mtime_ms)
{
    if (c->if_none_match.p)
        return !s3_cond_etag_in(c->if_none_match, etag, true);
    return !c->if_modified_since.p || modified_after(c->if_modified_since, mtime_ms, true);
}

int s3_cond_read(const struct s3_cond *c, struct str etag, uint64_t mtime_ms)
{
    if (!still_known(c, etag, mtime_ms))
        return err_set(ERR_PRECONDITION, "At least one of the pre-conditions you specified did not hold");
    return is_news(c, etag, mtime_ms) ? 0 : ERR_NOT_MODIFIED;
}

int s3_cond_copy(const struct s3_cond *c, struct str etag, uint64_t mtime_ms)
{
    if (!still_known(c, etag, mtime_ms) || !is_news(c, etag, mtime_ms))
        return err_set(ERR_PRECONDITION, "a condition on the copy source did not hold");
    return 0;
}

bool s3_cond_if_range(struct str header, struct str etag, uint64_t mtime_ms)
{
    uint64_t sec;
    header = strip(header);
    if (s3_cond_date(header, &sec))
        return mtime_ms / 1000 == sec;
    return header.n && header.p[0] != '*' && tag_is(header, etag, false);
}
