// SPDX-License-Identifier: BSD-3-Clause
// The back end of server=on: a listening socket, Unix or TCP, whose clients are paired with guest
// connections. Of a host with several addresses the first that can be had is listened on, as QEMU
// does.
#include "host/backend.h"

#include "base/unix_listener.h"
#include "host/inet.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKLOG 128

struct listener {
    const struct backend_env *env;
    struct unix_listener socket; // path, lock: of a Unix socket alone
    struct loop_io io;
};

static void
on_listener(void *ctx, unsigned events)
{
    struct listener *l = ctx;
    l->env->on_client(l->env->ctx);
}

static int
listen_on(const struct inet_addr_of *a)
{
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    // A restart must not wait for the connections of the run before (TIME-WAIT).
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int why = errno;
    close(fd);
    return -why;
}

static int
inet_listen(const struct channel_spec *spec, struct error *err)
{
    struct inet_addrs addrs;
    const struct device *dev = &spec->device;
    int fd = inet_resolve(&addrs, dev, &dev->remote, INET_LISTEN, SOCK_STREAM, AF_UNSPEC, err);
    if (fd < 0)
        return fd;
    for (uint32_t i = 0; i < addrs.count; i++) {
        fd = listen_on(&addrs.addr[i]);
        if (fd >= 0)
            return fd;
    }
    return error_set(err, -fd, "%s: cannot listen", spec->text);
}

static int
listener_open(struct listener *l, struct error *err)
{
    const struct device *dev = &l->env->spec->device;
    l->socket = (struct unix_listener){.fd = -1, .lock_fd = -1};
    if (dev->kind == DEVICE_UNIX) {
        int rc = unix_listener_open(&l->socket, dev->path, dev->abstract, dev->tight, err);
        if (rc == 0 && l->env->access &&
            (rc = unix_listener_share(&l->socket, l->env->access, err)) < 0)
            unix_listener_close(&l->socket);
        return rc;
    }
    l->socket.fd = inet_listen(l->env->spec, err);
    return l->socket.fd < 0 ? l->socket.fd : 0;
}

static void
listener_close(struct listener *l)
{
    if (l->env->spec->device.kind == DEVICE_UNIX)
        unix_listener_close(&l->socket);
    else
        close(l->socket.fd);
}

static int
listener_start(const struct backend_env *env, void **state, struct error *err)
{
    struct listener *l = calloc(1, sizeof(*l));
    if (!l)
        return error_set(err, ENOMEM, "%s", env->spec->text);
    l->env = env;
    int rc = listener_open(l, err);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->io = (struct loop_io){.fd = l->socket.fd, .on_event = on_listener, .ctx = l};
    rc = loop_add(env->loop, &l->io, 0);
    if (rc < 0) {
        listener_close(l);
        free(l);
        return error_set(err, -rc, "%s: cannot watch", env->spec->text);
    }
    *state = l;
    return 0;
}

static void
listener_stop(void *state)
{
    struct listener *l = state;
    loop_remove(l->env->loop, &l->io);
    listener_close(l);
    free(l);
}

static void
listener_watch(void *state, bool on)
{
    struct listener *l = state;
    loop_modify(l->env->loop, &l->io, on ? LOOP_READ : 0);
}

static int
listener_accept(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct listener *l = state;
    int fd = backend_accept(l->socket.fd);
    if (fd < 0)
        return error_set(err, -fd, "%s: cannot accept", l->env->spec->text);
    inet_set_options(fd, &l->env->spec->device);
    *out = (struct end_fds){{fd, -1}, 1};
    return 0;
}

const struct backend backend_listen = {.start = listener_start,
                                       .stop = listener_stop,
                                       .open = listener_accept,
                                       .watch = listener_watch};
