// SPDX-License-Identifier: BSD-3-Clause
// Which listeners each kind of socket link has. Making them is link/socket_links' and link/open's,
// accepting on them the worker's.
#include "broker/socket_listeners.h"

#include "link/open.h"
#include "link/socket_links.h"

#include <errno.h>
#include <stdlib.h>

static int
open_hybrid(const struct link_spec *link, const uint16_t *ports, size_t count,
            struct link_listener *out, struct unix_listener **hybrid, struct error *err)
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
        out[i].fd = listeners[i].fd;
    *hybrid = listeners;
    return 0;
}

static int
open_vsock(const struct link_spec *link, const uint16_t *ports, size_t count,
           struct link_listener *out, struct error *err)
{
    int fds[GUEST_CHANNELS_MAX];
    int rc = link_open_vsock(link, ports, count, fds, err);
    for (size_t i = 0; rc == 0 && i < count; i++)
        out[i].fd = fds[i];
    return rc;
}

static int
open_netns(const struct guest_config *guest, const struct link_spec *link, const uint16_t *ports,
           size_t count, struct link_listener *out, struct error *err)
{
    const struct ipv6_addr addr6 = guest_config_channel_addr6(guest);
    return link_open_netns(link, guest->channel_addr, &addr6, ports, count, out, err);
}

int
socket_listeners_open(const struct guest_config *guest, const struct link_spec *link,
                      struct link_listener *out, struct unix_listener **hybrid, struct error *err)
{
    uint16_t ports[GUEST_CHANNELS_MAX] = {0};
    size_t count = guest->channel_count;
    int rc = -EINVAL;
    *hybrid = NULL;
    for (size_t i = 0; i < count; i++) {
        ports[i] = guest->channels[i].port;
        out[i] = LINK_LISTENER_NONE;
    }
    switch (link->kind) {
    case LINK_HYBRID:
        rc = open_hybrid(link, ports, count, out, hybrid, err);
        break;
    case LINK_VSOCK:
        rc = open_vsock(link, ports, count, out, err);
        break;
    case LINK_NETNS:
        rc = open_netns(guest, link, ports, count, out, err);
        break;
    case LINK_STREAM:
    case LINK_TAP:
    case LINK_PACKET:
    case LINK_MESSAGE:
    case LINK_VHOST_USER:
        break; // frame links
    }
    for (size_t i = 0; rc < 0 && i < count; i++)
        out[i] = LINK_LISTENER_NONE;
    return rc;
}

int
socket_listeners_add(const struct guest_config *guest, const struct link_spec *link, uint16_t index,
                     struct link_listener *all, struct unix_listener *hybrid, struct error *err)
{
    const uint16_t port = guest->channels[index].port;
    struct link_listener *out = &all[index];
    int rc = -EINVAL;
    *out = LINK_LISTENER_NONE;
    switch (link->kind) {
    case LINK_HYBRID:
        rc = link_open_hybrid(link, &port, 1, &hybrid[index], err);
        if (rc == 0 && (rc = unix_listener_share(&hybrid[index], &guest->access, err)) < 0)
            unix_listener_close(&hybrid[index]);
        if (rc == 0)
            out->fd = hybrid[index].fd;
        break;
    case LINK_VSOCK:
        rc = open_vsock(link, &port, 1, out, err);
        break;
    case LINK_NETNS:
        rc = open_netns(guest, link, &port, 1, out, err);
        break;
    case LINK_STREAM:
    case LINK_TAP:
    case LINK_PACKET:
    case LINK_MESSAGE:
    case LINK_VHOST_USER:
        break; // frame links
    }
    if (rc < 0)
        *out = LINK_LISTENER_NONE;
    return rc;
}

void
socket_listeners_remove(uint16_t index, struct link_listener *all, struct unix_listener *hybrid)
{
    if (hybrid)
        unix_listener_close(&hybrid[index]);
    else
        link_listener_close(&all[index]);
    all[index] = LINK_LISTENER_NONE;
}

void
socket_listeners_close(struct link_listener *all, struct unix_listener *hybrid, size_t count)
{
    for (size_t i = 0; i < count; i++)
        socket_listeners_remove((uint16_t)i, all, hybrid);
    free(hybrid);
}
