// SPDX-License-Identifier: BSD-3-Clause
// Which listeners each kind of socket link has. Making them is link/socket_links' and link/open's,
// accepting on them the worker's.
#include "broker/socket_listeners.h"

#include "link/open.h"
#include "link/socket_links.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int
open_hybrid(const struct link_spec *link, const uint16_t *ports, size_t count, int *fds,
            struct unix_listener **out, struct error *err)
{
    struct unix_listener *listeners = calloc(GUEST_CHANNELS_MAX, sizeof(*listeners));
    for (size_t i = 0; listeners && i < GUEST_CHANNELS_MAX; i++)
        listeners[i].fd = listeners[i].lock_fd = -1;
    if (!listeners)
        return error_set(err, ENOMEM, "%s", link->path);
    int rc = link_open_hybrid(link, ports, count, listeners, err);
    if (rc < 0) {
        free(listeners);
        return rc;
    }
    for (size_t i = 0; i < count; i++)
        fds[i] = listeners[i].fd;
    *out = listeners;
    return 0;
}

int
socket_listeners_open(const struct guest_config *guest, const struct link_spec *link, int *fds,
                      struct unix_listener **hybrid, struct error *err)
{
    uint16_t ports[GUEST_CHANNELS_MAX];
    size_t count = guest->channel_count;
    int rc = -EINVAL;
    *hybrid = NULL;
    for (size_t i = 0; i < count; i++)
        ports[i] = guest->channels[i].port;
    switch (link->kind) {
    case LINK_HYBRID:
        rc = open_hybrid(link, ports, count, fds, hybrid, err);
        break;
    case LINK_VSOCK:
        rc = link_open_vsock(link, ports, count, fds, err);
        break;
    case LINK_NETNS:
        rc = link_open_netns(link, guest->channel_addr, ports, count, fds, err);
        break;
    case LINK_STREAM:
    case LINK_TAP:
    case LINK_PACKET:
    case LINK_MESSAGE:
    case LINK_VHOST_USER:
        break; // frame links
    }
    for (size_t i = 0; rc < 0 && i < count; i++)
        fds[i] = -1;
    return rc;
}

int
socket_listeners_add(const struct guest_config *guest, const struct link_spec *link, uint16_t index,
                     int *fds, struct unix_listener *hybrid, struct error *err)
{
    const uint16_t port = guest->channels[index].port;
    int rc = -EINVAL;
    switch (link->kind) {
    case LINK_HYBRID:
        rc = link_open_hybrid(link, &port, 1, &hybrid[index], err);
        if (rc == 0 && (rc = unix_listener_share(&hybrid[index], &guest->access, err)) < 0)
            unix_listener_close(&hybrid[index]);
        if (rc == 0)
            fds[index] = hybrid[index].fd;
        break;
    case LINK_VSOCK:
        rc = link_open_vsock(link, &port, 1, &fds[index], err);
        break;
    case LINK_NETNS:
        rc = link_open_netns(link, guest->channel_addr, &port, 1, &fds[index], err);
        break;
    case LINK_STREAM:
    case LINK_TAP:
    case LINK_PACKET:
    case LINK_MESSAGE:
    case LINK_VHOST_USER:
        break; // frame links
    }
    if (rc < 0)
        fds[index] = -1;
    return rc;
}

void
socket_listeners_remove(uint16_t index, int *fds, struct unix_listener *hybrid)
{
    if (hybrid)
        unix_listener_close(&hybrid[index]);
    else if (fds[index] >= 0)
        close(fds[index]);
    fds[index] = -1;
}

void
socket_listeners_close(int *fds, struct unix_listener *hybrid, size_t count)
{
    for (size_t i = 0; i < count; i++)
        socket_listeners_remove((uint16_t)i, fds, hybrid);
    free(hybrid);
}
