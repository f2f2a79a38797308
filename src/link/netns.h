// SPDX-License-Identifier: BSD-3-Clause
// Interfaces and sockets inside network namespaces, by ioctl and rtnetlink (rtnetlink(7),
// netdevice(7)), and a helper process that enters a namespace, works there and hands fds back, so
// that the caller itself never moves.
#pragma once

#include "base/error.h"
#include "base/ipv6_addr.h"
#include "link/listener.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETNS_FDS_MAX 64

// Forks; the child enters the network namespace at `path` (and the user namespace that owns it,
// where needed), calls fn(arg, fds, &count, err), and passes fds back. Gives what fn gave (0 or
// -errno), err carried across. fn must not keep state. fds: room for NETNS_FDS_MAX.
int netns_run(const char *path, int (*fn)(void *arg, int *fds, size_t *count, struct error *err),
              void *arg, int *fds, size_t *count, struct error *err);

// All below work in the caller's network namespace. 0 or -errno with err filled.
int netns_link_up(const char *ifname, struct error *err);
int netns_set_mtu(const char *ifname, uint16_t mtu, struct error *err);
int netns_add_addr(const char *ifname, uint32_t addr, uint8_t prefix_len, struct error *err);
// IPv6: nobody is asked whether it is in use; netns_await_addr6() waits until it can be used. The
// interface asks for no address of its own and takes none from routers.
int netns_add_addr6(const char *ifname, const struct ipv6_addr *addr, uint8_t prefix_len,
                    struct error *err);
// Until a datagram from that address to itself arrives: the interface is up, and what is sent there
// will not be lost. Half a second at most.
void netns_await_addr6(const struct ipv6_addr *addr);
int netns_add_veth(const char *a, const char *b, struct error *err);
// Turns IPv6 off on the interface, so that it stays silent; missing IPv6 is fine.
void netns_disable_ipv6(const char *ifname);
// A tap queue with vnet header; created if missing.
int netns_open_tap(const char *ifname, struct error *err);
// An AF_PACKET SOCK_RAW socket bound to the interface, all protocols.
int netns_open_packet(const char *ifname, struct error *err);
// Gives lo the channel address and listens there for TCP, on each port: out[i] for ports[i]. By
// IPv6 too, unless addr6 is :: or the namespace has no IPv6. On failure nothing is left open.
int netns_listen(uint32_t addr, const struct ipv6_addr *addr6, const uint16_t *ports, size_t count,
                 struct link_listener *out, struct error *err);
