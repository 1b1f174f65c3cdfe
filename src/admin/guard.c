/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's rules (guard.h), as pure functions.
 */
#include "admin/guard.h"
#include "base/err.h"
#include <arpa/inet.h>
#include <stdio.h>

/* The host of "host:port", "[v6]:port" or "host", without brackets, lower-casing left to the comparison. */
static struct str host_of(struct str s)
{
    if (s.n && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        return end ? str_mk(s.p + 1, (size_t)(end - s.p) - 1) : STR("");
    }
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    return colon ? str_mk(s.p, (size_t)(colon - s.p)) : s;
}

static bool is_v4(struct str h, struct in_addr *ret)
{
    char z[64];
    snprintf(z, sizeof z, "%.*s", STR_ARG(h));
    return h.n < sizeof z && inet_pton(AF_INET, z, ret) == 1;
}

static bool is_v6(struct str h, struct in6_addr *ret)
{
    char z[64];
    snprintf(z, sizeof z, "%.*s", STR_ARG(h));
    return h.n < sizeof z && inet_pton(AF_INET6, z, ret) == 1;
}

bool guard_loopback(const char *address)
{
    struct str h = host_of(str_of(address));
    struct in_addr a4;
    struct in6_addr a6;
    if (is_v4(h, &a4))
        return ntohl(a4.s_addr) >> 24 == 127;
    if (!is_v6(h, &a6))
        return str_ieq(h, STR("localhost"));
    return IN6_IS_ADDR_LOOPBACK(&a6) || (IN6_IS_ADDR_V4MAPPED(&a6) && a6.s6_addr[12] == 127);
}

static bool our_name(const struct guard *g, struct str host)
{
    struct in_addr a4;
    struct in6_addr a6;
    if (str_ieq(host, STR("localhost")) || is_v4(host, &a4) || is_v6(host, &a6))
        return true;
    for (size_t i = 0; i < sizeof g->names / sizeof g->names[0] && g->names[i]; i++)
        if (str_ieq(host, str_of(g->names[i])))
            return true;
    return false;
}

/* Same length of work for every wrong token. */
static bool same_secret(struct str a, struct str b)
{
    unsigned char diff = a.n != b.n;
    for (size_t i = 0; i < a.n; i++)
        diff |= (unsigned char)(a.p[i] ^ (b.n ? b.p[i % b.n] : 1));
    return diff == 0;
}

static bool token_ok(const struct guard *g, struct str authorization)
{
    struct str scheme = STR("Bearer ");
    if (!authorization.p || authorization.n < scheme.n || !str_ieq(str_mk(authorization.p, scheme.n), scheme))
        return false;
    return same_secret(str_from(authorization, scheme.n), str_of(g->token));
}

/* "http://host:port" must be the host that was asked. "null" is what sandboxed pages send. */
static bool own_origin(struct str origin, struct str host)
{
    struct str rest;
    if (str_starts(origin, STR("http://")))
        rest = str_from(origin, 7);
    else if (str_starts(origin, STR("https://")))
        rest = str_from(origin, 8);
    else
        return false;
    return str_ieq(rest, host);
}

static int check_site(const struct guard_request *r)
{
    if (r->origin.p && !own_origin(r->origin, r->host))
        return err_set(ERR_DENIED, "requests from the web site %.*s are not answered", STR_ARG(r->origin));
    if (r->fetch_site.p && str_ieq(r->fetch_site, STR("cross-site")))
        return err_set(ERR_DENIED, "requests from other web sites are not answered");
    return 0;
}

int guard_check(const struct guard *g, const struct guard_request *r)
{
    TRY(check_site(r));
    if (g->token && g->token[0]) {
        if (r->open || token_ok(g, r->authorization))
            return 0;
        return err_set(ERR_AUTH, r->authorization.p ? "the token is not the one of forebay.admin.token"
                                                    : "a token is needed: Authorization: Bearer, with the value of "
                                                      "forebay.admin.token (command line: --token or FOREBAY_TOKEN)");
    }
    if (!guard_loopback(r->peer))
        return err_set(ERR_DENIED, "admin calls from other machines need forebay.admin.token to be set");
    if (r->host.n && !our_name(g, host_of(r->host)))
        return err_set(ERR_DENIED,
                       "'%.*s' is not a name of this server: set alluxio.coordinator.hostname, or use an address",
                       STR_ARG(r->host));
    return 0;
}
