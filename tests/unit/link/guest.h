// SPDX-License-Identifier: BSD-3-Clause
// The guest's side of a test's namespace: its interface, its sockets.
#pragma once

#include "link/open.h"
#include "ns.h"
#include "tcp_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static inline int
connect_to(void *arg, int *fds, size_t *count, struct error *err)
{
    struct sockaddr_storage *to = arg;
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len =
        to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (connect(fd, (struct sockaddr *)to, len) < 0 && errno != EINPROGRESS)
        return error_set(err, errno, "connect");
    fds[0] = fd;
    *count = 1;
    return 0;
}

// A non-blocking socket inside the namespace, connecting.
static inline int
guest_connect(const struct ns *ns, uint16_t port)
{
    const struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(PEER_ADDR)};
    struct sockaddr_storage to = {0};
    int fd;
    memcpy(&to, &sin, sizeof(sin));
    ns_do(ns, connect_to, &to, &fd);
    return fd;
}

static inline int
guest_connect6(const struct ns *ns, const struct ipv6_addr *addr, uint16_t port)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_storage to = {0};
    int fd;
    memcpy(&sin6.sin6_addr, addr, sizeof(sin6.sin6_addr));
    memcpy(&to, &sin6, sizeof(sin6));
    ns_do(ns, connect_to, &to, &fd);
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
