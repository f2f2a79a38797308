// SPDX-License-Identifier: BSD-3-Clause
// Listening sockets of the hybrid and the vsock link. Accepting on them is channel/socket_link's.
#include "link/socket_links.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define VSOCK_BACKLOG 128

static int
open_hybrid_port(const struct link_spec *spec, uint16_t port, struct unix_listener *out,
                 struct error *err)
{
    char path[sizeof(spec->path) + 8];
    snprintf(path, sizeof(path), "%s_%u", spec->path, port);
    return unix_listener_open(out, path, false, false, err);
}

int
link_open_hybrid(const struct link_spec *spec, const uint16_t *ports, size_t count,
                 struct unix_listener *out, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        int rc = open_hybrid_port(spec, ports[i], &out[i], err);
        if (rc == 0)
            continue;
        while (i-- > 0)
            unix_listener_close(&out[i]);
        return rc;
    }
    return 0;
}

// What connects a guest to its host's AF_VSOCK. The kernel does not tell, but their devices are
// there, or would be loaded by a hypervisor that opens them.
static bool
has_host_transport(void)
{
    static const char *const signs[] = {"/dev/vhost-vsock", "/sys/class/misc/vhost-vsock",
                                        "/dev/vmci", "/sys/class/misc/vmci"};
    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (access(signs[i], F_OK) == 0)
            return true;
    }
    return false;
}

static int
open_vsock_port(uint16_t port, struct error *err)
{
    struct sockaddr_vm sa = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, errno, "vsock: cannot make a socket");
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, VSOCK_BACKLOG) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    return error_set(err, errnum, "vsock: port %u: cannot listen", port);
}

int
link_open_vsock(const struct link_spec *spec, const uint16_t *ports, size_t count, int *fds,
                struct error *err)
{
    size_t opened = 0;
    int rc = 0;
    for (; opened < count; opened++) {
        rc = open_vsock_port(ports[opened], err);
        if (rc < 0)
            break;
        fds[opened] = rc;
    }
    if (rc >= 0 && spec->cid != VMADDR_CID_LOCAL && !has_host_transport())
        rc = error_set(err, ENODEV,
                       "vsock: no guest can reach this host, /dev/vhost-vsock is not there");
    if (rc >= 0)
        return 0;
    while (opened-- > 0)
        close(fds[opened]);
    for (size_t i = 0; i < count; i++)
        fds[i] = -1;
    return rc;
}
