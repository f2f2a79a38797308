// SPDX-License-Identifier: BSD-3-Clause
// The guest's side of a test's namespace: its interface, its sockets.
#pragma once

#include "link/open.h"
#include "ns.h"
#include "tcp_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static inline int
connect_to(void *arg, int *fds, size_t *count, struct error *err)
{
    struct sockaddr_in *sin = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)sin, sizeof(*sin)) < 0 && errno != EINPROGRESS)
        return error_set(err, errno, "connect");
    fds[0] = fd;
    *count = 1;
    return 0;
}

// A non-blocking socket inside the namespace, connecting.
static inline int
guest_connect(const struct ns *ns, uint16_t port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(PEER_ADDR)};
    int fd;
    ns_do(ns, connect_to, &sin, &fd);
    return fd;
}

static inline int
set_up_veth(void *arg, int *fds, size_t *count, struct error *err)
{
    const uint16_t *mtu = arg;
    int rc = netns_add_veth("eth0", "vmc0", err);
    netns_disable_ipv6("eth0");
    netns_disable_ipv6("vmc0");
    if (rc == 0)
        rc = netns_set_mtu("eth0", *mtu, err);
    if (rc == 0)
        rc = netns_set_mtu("vmc0", *mtu, err);
    if (rc == 0)
        rc = netns_link_up("eth0", err);
    if (rc == 0)
        rc = netns_link_up("vmc0", err);
    return rc < 0 ? rc : netns_add_addr("eth0", GUEST_ADDR, 24, err);
}

static inline int
set_link_up(void *arg, int *fds, size_t *count, struct error *err)
{
    return netns_link_up(arg, err);
}

static inline struct link_spec
spec_in(const struct ns *ns, enum link_kind kind, const char *ifname)
{
    struct link_spec spec = {.kind = kind, .fd = -1};
    snprintf(spec.netns, sizeof(spec.netns), "%s", ns->path);
    snprintf(spec.ifname, sizeof(spec.ifname), "%s", ifname);
    return spec;
}
