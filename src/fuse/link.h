/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the room: what the process that keeps a mount (`forebay fuse`, keep.c) and the one that serves it (listen.c)
 * say to each other, over a SOCK_SEQPACKET connection to a socket in the data directory.
 *
 *     keeper                                    server
 *     mounts, connects
 *     BOOK (memory for locks) ------------->  (without it: the kernel keeps locks by itself)
 *     TAKE (device, last news)  ------------->  serves the device
 *                               <-------------  NEWS serving   or   REFUSED
 *                               <-------------  NEWS left      when it stops on purpose, everything published
 *     connection ends: connects again, TAKE, for as long as its grace lasts; programs that use the mount wait meanwhile
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum link_kind { LINK_TAKE = 1, LINK_NEWS, LINK_REFUSED, LINK_BOOK };
enum link_state {
    LINK_NEW,     /* nobody has served the device yet: the kernel's INIT is waiting in it */
    LINK_SERVING, /* still said when the server died: what it had not published is lost */
    LINK_LEFT
};
/* What a successor must know. */
struct link_news {
    uint32_t state;   /* enum link_state */
    uint32_t minor;   /* of the protocol agreed on */
    uint32_t nonce;   /* upper half of the numbers the last server gave */
    uint32_t crashed; /* nonce of the last server that died; its numbers and older ones; 0: none did */
    uint64_t root;    /* inode that node 1 stands for */
};
enum { LINK_MAGIC = 0x46424c31, LINK_PATH = 4096 };
struct link_msg {
    uint32_t magic, kind;
    struct link_news news;
    int32_t code;               /* REFUSED: of err.tbl */
    char text[512];             /* REFUSED: the sentence */
    char path[LINK_PATH];       /* TAKE */
    char mountpoint[LINK_PATH]; /* TAKE */
};

/* n: how many bytes came. */
bool link_well_formed(const struct link_msg *m, ssize_t n);
/* device: -1: none goes along. 0, or ERR_IO when the other side is gone. */
int link_send(int conn, const struct link_msg *m, int device);
/* *ret_device: -1 when none came. ERR_IO: the other side is gone or talks nonsense. */
int link_receive(int conn, struct link_msg *ret, int *ret_device);
/* Of the socket below a data directory. ERR_NAME_TOO_LONG. */
struct sockaddr_un;
int link_address(const char *data_dir, struct sockaddr_un *ret);
