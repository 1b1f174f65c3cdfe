/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: a mount of this host that an instance on another host serves (remote_keep.c). */
#pragma once

struct held;
struct opened;
struct link_news;
struct remote;

struct remote_options {
    const char *server, *token; /* "HOST:PORT"; "": none */
    const char *path, *mountpoint;
    struct held *held;     /* the mount's locks; NULL: its kernel keeps them */
    struct opened *opened; /* its open files; as long as the mount, like held */
};
/* Served on return. device: stays the caller's, must outlive the remote. *news: what the last server said; kept up to
 * date until remote_close. ERR_UNREACHABLE: worth another try; else what is wrong. */
int remote_open(const struct remote_options *o, int device, struct link_news *news, struct remote **ret);
int remote_ended(const struct remote *r);      /* readable when the connection has ended */
void remote_over(struct remote *r);            /* the server hears that the mount has ended */
struct remote *remote_close(struct remote *r); /* NULL is fine; returns NULL */
