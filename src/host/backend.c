// SPDX-License-Identifier: BSD-3-Clause
// Which back end a device has, and what several of them need.
#include "host/backend.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// Clients passed over in one call; a host that connects and leaves for ever may not hold us here.
#define ACCEPT_TRIES 64

const struct backend *
backend_of(const struct device *dev)
{
    if (dev->server)
        return &backend_listen;
    switch (dev->kind) {
    case DEVICE_UNIX:
        return &backend_unix;
    case DEVICE_TCP:
    case DEVICE_TELNET:
    case DEVICE_WEBSOCKET:
        return &backend_inet;
    case DEVICE_UDP:
        return &backend_udp;
    case DEVICE_PTY:
        return &backend_pty;
    case DEVICE_FILE:
        return &backend_file;
    case DEVICE_PIPE:
        return &backend_pipe;
    case DEVICE_STDIO:
        return &backend_stdio;
    case DEVICE_TTY:
        return &backend_tty;
    case DEVICE_NULL:
        return &backend_null;
    case DEVICE_CMD:
        return &backend_cmd;
    case DEVICE_VSOCK:
        return &backend_vsock;
    }
    assert(false);
    return NULL;
}

int
backend_dup(int fd, const struct channel_spec *spec, struct end_fds *out, struct error *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return error_set(err, errno, "%s: cannot hand it out", spec->text);
    out->fd[out->count++] = copy;
    return 0;
}

// True when the peer closed its socket for good and left no byte to read. A client that only shut
// down its sending side still waits for ours.
static bool
client_has_left(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 0) < 1 || !(p.revents & (POLLHUP | POLLERR)))
        return false;
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

int
backend_accept(int listener_fd)
{
    for (int i = 0; i < ACCEPT_TRIES; i++) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return -errno;
        if (!client_has_left(fd))
            return fd;
        close(fd);
    }
    return -EAGAIN;
}
