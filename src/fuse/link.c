/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between keeper and server (contract in link.h).
 */
#include "fuse/link.h"
#include "base/err.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

int link_send(int conn, const struct link_msg *m, int device)
{
    union control c = {0};
    struct iovec v = {(void *)m, sizeof *m};
    struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};
    if (device >= 0) {
        c.head =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof device), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&c.head), &device, sizeof device);
        h.msg_control = c.room;
        h.msg_controllen = sizeof c.room;
    }
    ssize_t n;
    while ((n = sendmsg(conn, &h, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)sizeof *m ? 0 : err_set(ERR_IO, "the other side is gone");
}

bool link_well_formed(const struct link_msg *m, ssize_t n)
{
    return n == (ssize_t)sizeof *m && m->magic == LINK_MAGIC && memchr(m->text, 0, sizeof m->text) &&
           memchr(m->path, 0, sizeof m->path) && memchr(m->mountpoint, 0, sizeof m->mountpoint);
}

int link_receive(int conn, struct link_msg *ret, int *ret_device)
{
    union control c = {0};
    struct iovec v = {ret, sizeof *ret};
    struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.room, .msg_controllen = sizeof c.room};
    int device = -1;
    ssize_t n;
    while ((n = recvmsg(conn, &h, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (n > 0 && h.msg_controllen >= CMSG_LEN(sizeof device) && c.head.cmsg_type == SCM_RIGHTS)
        memcpy(&device, CMSG_DATA(&c.head), sizeof device);
    if (!link_well_formed(ret, n)) {
        if (device >= 0)
            close(device);
        return err_set(ERR_IO, n > 0 ? "the other side is of another version" : "the other side is gone");
    }
    *ret_device = device;
    return 0;
}

int link_address(const char *data_dir, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "%s/fuse.sock", data_dir);
    return n > 0 && (size_t)n < sizeof ret->sun_path
               ? 0
               : err_set(ERR_NAME_TOO_LONG, "%s/fuse.sock is too long for the name of a socket: use a shorter --data",
                         data_dir);
}
