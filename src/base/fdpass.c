// SPDX-License-Identifier: BSD-3-Clause
// SCM_RIGHTS messages. Who may send what is left to the protocols on top.
#include "base/fdpass.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
};

ssize_t
fdpass_send(int sock, const void *data, size_t len, const int *fds, size_t nfds)
{
    if (len == 0 || nfds > FDPASS_MAX)
        return -EINVAL;

    union control control;
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
    }

    ssize_t n;
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void
close_all(const int *fds, size_t nfds)
{
    for (size_t i = 0; i < nfds; i++)
        close(fds[i]);
}

// Moves the descriptors of a message to fds, closes those beyond the room.
static size_t
collect_fds(struct msghdr *msg, int *fds, size_t room, bool *overflow)
{
    size_t count = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (count < room) {
                fds[count++] = fd;
            } else {
                close(fd);
                *overflow = true;
            }
        }
    }
    return count;
}

ssize_t
fdpass_recv(int sock, void *data, size_t len, int *fds, size_t *nfds)
{
    union control control;
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };
    size_t room = *nfds;

    *nfds = 0;
    ssize_t n;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;

    // Half of a message is of no use: what was cut short is refused whole.
    bool cut = (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0;
    size_t count = collect_fds(&msg, fds, room, &cut);
    if (cut) {
        close_all(fds, count);
        return -EMSGSIZE;
    }
    if (n == 0) { // an empty message, which is taken for the end, may have some too
        close_all(fds, count);
        count = 0;
    }
    *nfds = count;
    return n;
}
