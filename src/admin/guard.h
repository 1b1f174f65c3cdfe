/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may ask. The admin endpoint can destroy data, and a browser on the operator's machine reaches loopback for any
 * web page that is open there; so:
 *
 *  - With forebay.admin.token set, every request must carry it ("Authorization: Bearer TOKEN"); /health needs none.
 *  - Without it only peers on loopback are answered, and the endpoint does not listen anywhere else.
 *  - Without a token's proof, the Host header must be an address, "localhost" or a name of ours: a page whose name was
 *    rebound to 127.0.0.1 carries its own name there.
 *  - A request that says it comes from another site (Origin, Sec-Fetch-Site) is refused, whatever else it carries.
 */
#pragma once
#include "base/str.h"

struct guard {
    const char *token;    /* "" or NULL: none */
    const char *names[4]; /* host names that are ours; NULL ends */
};

struct guard_request {
    const char *peer;                                   /* "192.0.2.1:4711" */
    struct str host, origin, fetch_site, authorization; /* header values; p NULL: not sent */
    bool open;                                          /* the route needs no token (/health) */
};

/* 0, ERR_DENIED or ERR_AUTH with a detail. */
int guard_check(const struct guard *g, const struct guard_request *r);

/* Is "host:port" (a peer or an address to listen on) on this machine's loopback? */
bool guard_loopback(const char *address);
