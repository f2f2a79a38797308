// SPDX-License-Identifier: BSD-3-Clause
// See notify.h. The listening side has an abstract address that the kernel makes up: the other one
// may be of another user by then. Who sends is told by the kernel, so nobody else can be ready for
// our child.
#include "cli/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define VARIABLE "NOTIFY_SOCKET"
#define READY    "READY=1"

// "/path" or "@abstract".
static socklen_t
address_of(const char *name, struct sockaddr_un *sa)
{
    size_t len = strlen(name);
    if (len < 2 || len >= sizeof(sa->sun_path) || (name[0] != '/' && name[0] != '@'))
        return 0;
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(sa->sun_path, name, len);
    if (name[0] == '@')
        sa->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
}

int
notify_open(void)
{
    const char *name = getenv(VARIABLE);
    struct sockaddr_un sa;
    socklen_t len = name ? address_of(name, &sa) : 0;
    unsetenv(VARIABLE);
    if (len == 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void
notify_ready(int fd)
{
    if (fd < 0)
        return;
    // Who listens has a time limit of its own: nothing else can be done about a failure.
    (void)!send(fd, READY, strlen(READY), MSG_NOSIGNAL);
    close(fd);
}

int
notify_listen(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa.sun_family); // the kernel picks an abstract name (unix(7), autobind)
    int on = 1;
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&sa, len) < 0)
        goto failed;
    len = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        goto failed;
    char name[sizeof(sa.sun_path) + 1];
    int name_len = (int)(len - offsetof(struct sockaddr_un, sun_path)) - 1;
    snprintf(name, sizeof(name), "@%.*s", name_len, sa.sun_path + 1);
    if (setenv(VARIABLE, name, 1) == 0)
        return fd;
failed:;
    int rc = -errno;
    close(fd);
    return rc;
}

bool
notify_receive(int fd, pid_t pid)
{
    char text[256];
    union {
        char space[CMSG_SPACE(sizeof(struct ucred))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {text, sizeof(text)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    ssize_t len = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (len < (ssize_t)strlen(READY) || memcmp(text, READY, strlen(READY)) != 0)
        return false;
    const struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_CREDENTIALS)
        return false;
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
    return sender.pid == pid;
}
