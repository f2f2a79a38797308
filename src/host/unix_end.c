// SPDX-License-Identifier: BSD-3-Clause
// Host ends on Unix stream sockets: one attempt to connect, one look for a waiting client. Neither
// blocks: a connect on a Unix stream socket is decided at once (unix(7)), EAGAIN when the
// listener's backlog is full. Retrying and pairing are host/opener's.
#include "host/unix_end.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Clients passed over in one call; a host that connects and leaves for ever may not hold us here.
#define ACCEPT_TRIES      64
#define SEND_BUFFER_BYTES (1024 * 1024)

// What getpeername shows to the service. A name that is taken (by a connection of an earlier run
// that the service still holds, or by a squatter) costs the name, not the connection.
static void
bind_identity(int fd, const char *identity)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(identity);
    if (len > sizeof(sa.sun_path) - 1)
        len = sizeof(sa.sun_path) - 1;
    memcpy(sa.sun_path + 1, identity, len);
    bind(fd, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len));
}

// Room for what a turn brings from a guest, so that it goes to the socket and not by way of the
// ring. A wish: the kernel bounds it (net.core.wmem_max).
static void
grow_send_buffer(int fd)
{
    int bytes = SEND_BUFFER_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
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
unix_end_connect(const struct device *dev, const char *identity, struct error *err)
{
    struct sockaddr_un sa;
    int len = unix_address(&sa, dev->path, dev->abstract, dev->tight);
    if (len < 0)
        return error_set(err, -len, "unix:%s", dev->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "unix:%s: cannot make a socket", dev->path);
    grow_send_buffer(fd);
    bind_identity(fd, identity);
    if (connect(fd, (struct sockaddr *)&sa, (socklen_t)len) == 0)
        return fd;
    int why = errno;
    close(fd);
    if (why == EAGAIN)
        return error_set(err, why, "unix:%s: backlog full", dev->path);
    return error_set(err, why, "unix:%s", dev->path);
}

int
unix_end_accept(struct unix_listener *l)
{
    for (int i = 0; i < ACCEPT_TRIES; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return -errno;
        if (!client_has_left(fd)) {
            grow_send_buffer(fd);
            return fd;
        }
        close(fd);
    }
    return -EAGAIN;
}
