// SPDX-License-Identifier: BSD-3-Clause
// The back end of udp: one connected datagram socket, made at start, so that what others send to
// our address is not taken for the remote's. Datagrams that come while no guest is connected wait
// in the socket, as many as it keeps.
#include "host/backend.h"

#include "host/inet.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

struct udp {
    const struct channel_spec *spec;
    int fd;
};

// A socket from the local side, if one was given, to one of the remote's addresses. fd or -errno.
static int
udp_connect(const struct device *dev, const struct inet_addr_of *remote, struct error *err)
{
    int fd = socket(remote->sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "cannot make a socket");
    int rc = 0;
    if (dev->local.host[0] != '\0' || dev->local.port[0] != '\0') {
        struct inet_addrs local;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        rc = inet_resolve(&local, dev, &dev->local, INET_LISTEN, SOCK_DGRAM, remote->sa.ss_family,
                          err);
        const struct sockaddr *sa = (const struct sockaddr *)&local.addr[0].sa;
        if (rc == 0 && bind(fd, sa, local.addr[0].len) < 0)
            rc = error_set(err, errno, "cannot bind %s:%s", dev->local.host, dev->local.port);
    }
    if (rc == 0 && connect(fd, (const struct sockaddr *)&remote->sa, remote->len) < 0)
        rc = error_set(err, errno, "cannot reach %s:%s", dev->remote.host, dev->remote.port);
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

static int
udp_start(const struct backend_env *env, void **state, struct error *err)
{
    const struct device *dev = &env->spec->device;
    struct inet_addrs remote;
    int fd = inet_resolve(&remote, dev, &dev->remote, INET_CONNECT, SOCK_DGRAM, AF_UNSPEC, err);
    if (fd == 0) {
        fd = -EADDRNOTAVAIL;
        for (uint32_t i = 0; fd < 0 && i < remote.count; i++)
            fd = udp_connect(dev, &remote.addr[i], err);
    }
    if (fd < 0) {
        error_prefix(err, "%s", env->spec->text);
        return fd;
    }
    struct udp *u = calloc(1, sizeof(*u));
    if (!u) {
        close(fd);
        return error_set(err, ENOMEM, "%s", env->spec->text);
    }
    *u = (struct udp){.spec = env->spec, .fd = fd};
    *state = u;
    return 0;
}

static void
udp_stop(void *state)
{
    struct udp *u = state;
    close(u->fd);
    free(u);
}

static int
udp_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct udp *u = state;
    return backend_dup(u->fd, u->spec, out, err);
}

const struct backend backend_udp = {.start = udp_start, .stop = udp_stop, .open = udp_open};
