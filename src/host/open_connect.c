// SPDX-License-Identifier: BSD-3-Clause
// Back ends that connect for each guest connection: Unix sockets (decided at once, host/unix_end),
// TCP and AF_VSOCK (in progress for a while). A host's name is resolved at start alone; its
// addresses are tried in turn.
#include "host/backend.h"

#include "host/inet.h"
#include "host/unix_end.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct connector {
    const struct backend_env *env;
    struct inet_addrs addrs; // of inet
};

static int
connector_start(const struct backend_env *env, void **state, struct error *err)
{
    struct connector *c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, ENOMEM, "%s", env->spec->text);
    c->env = env;
    *state = c;
    return 0;
}

static void
connector_stop(void *state)
{
    free(state);
}

static int
unix_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct connector *c = state;
    char identity[128];
    snprintf(identity, sizeof(identity), "vmchannel/%s/%u/%llu", c->env->guest, c->env->spec->port,
             (unsigned long long)t->number);
    int fd = unix_end_connect(&c->env->spec->device, identity, err);
    if (fd < 0)
        return fd;
    *out = (struct end_fds){{fd, -1}, 1};
    return 0;
}

// A stream socket on its way to sa: 0, -EINPROGRESS, or another -errno with err.
static int
start_connect(const struct connector *c, const struct sockaddr *sa, socklen_t len,
              struct end_fds *out, struct error *err)
{
    const struct channel_spec *spec = c->env->spec;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "%s: cannot make a socket", spec->text);
    inet_set_options(fd, &spec->device);
    int rc = connect(fd, sa, len) < 0 ? -errno : 0;
    if (rc < 0 && rc != -EINPROGRESS) {
        close(fd);
        return error_set(err, -rc, "%s", spec->text);
    }
    *out = (struct end_fds){{fd, -1}, 1};
    return rc;
}

static int
connector_connected(void *state, int fd, const struct backend_try *t, struct error *err)
{
    const struct connector *c = state;
    int why = 0;
    socklen_t len = sizeof(why);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
        why = errno;
    return why == 0 ? 0 : error_set(err, why, "%s", c->env->spec->text);
}

static int
inet_start(const struct backend_env *env, void **state, struct error *err)
{
    const struct device *dev = &env->spec->device;
    int rc = connector_start(env, state, err);
    if (rc < 0)
        return rc;
    struct connector *c = *state;
    rc = inet_resolve(&c->addrs, dev, &dev->remote, INET_CONNECT, SOCK_STREAM, AF_UNSPEC, err);
    if (rc < 0)
        free(c);
    return rc;
}

static uint32_t
inet_ways(const void *state)
{
    return ((const struct connector *)state)->addrs.count;
}

static int
inet_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct connector *c = state;
    const struct inet_addr_of *a = &c->addrs.addr[t->way];
    return start_connect(c, (const struct sockaddr *)&a->sa, a->len, out, err);
}

static int
vsock_open(void *state, const struct backend_try *t, struct end_fds *out, struct error *err)
{
    const struct connector *c = state;
    const struct sockaddr_vm sa = {.svm_family = AF_VSOCK,
                                   .svm_cid = c->env->spec->device.vsock_cid,
                                   .svm_port = c->env->spec->device.vsock_port};
    return start_connect(c, (const struct sockaddr *)&sa, sizeof(sa), out, err);
}

const struct backend backend_unix = {
    .start = connector_start, .stop = connector_stop, .open = unix_open};

const struct backend backend_inet = {.start = inet_start,
                                     .stop = connector_stop,
                                     .open = inet_open,
                                     .connected = connector_connected,
                                     .ways = inet_ways};

const struct backend backend_vsock = {.start = connector_start,
                                      .stop = connector_stop,
                                      .open = vsock_open,
                                      .connected = connector_connected};
