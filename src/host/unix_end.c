// SPDX-License-Identifier: BSD-3-Clause
// Host ends on Unix stream sockets: one attempt to connect, one look for a waiting client. Neither
// blocks: a connect on a Unix stream socket is decided at once (unix(7)), EAGAIN when the
// listener's backlog is full. Retrying and pairing are host/opener's.
#include "host/unix_end.h"

#include "host/backend.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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
    int fd = backend_accept(l->fd);
    if (fd >= 0)
        grow_send_buffer(fd);
    return fd;
}
