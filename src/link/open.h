// SPDX-License-Identifier: BSD-3-Clause
// Opens what a link needs: with link/datagram.h and link/socket_links.h all that calls socket,
// connect, bind or open for a link. The broker (or an unsandboxed program) uses it; the worker
// never does.
#pragma once

#include "base/error.h"
#include "base/ipv6_addr.h"
#include "base/unix_listener.h"
#include "link/listener.h"
#include "link/spec.h"

#include <netdb.h>
#include <stdint.h>
#include <stddef.h>

#define LINK_ADDRESS_NAME_MAX (sizeof(struct link_address) + 4)

// "127.0.0.1:5000" for messages. Returns out.
const char *link_address_name(const struct link_address *a, char out[LINK_ADDRESS_NAME_MAX]);
// Socket addresses of that SOCK_ type, by getaddrinfo(3) with those AI_ flags; freeaddrinfo undoes
// it. 0, or -errno with err filled.
int link_resolve(const struct link_address *a, int type, int flags, struct addrinfo **out,
                 struct error *err);

// stream, seqpacket and vhost-user client: one non-blocking connect attempt. An fd, or -errno with
// err filled. For addr= the connect may still be under way: *pending is then set, the fd becomes
// writable when it is decided, and SO_ERROR tells (names are resolved here, which may block:
// numeric addresses do not).
int link_connect(const struct link_spec *spec, bool *pending, struct error *err);
// stream, seqpacket and vhost-user server: listens on the Unix path (base/unix_listener.h) or on
// the TCP address. 0 or -errno; undone by unix_listener_close, for TCP too (path is then "").
int link_listen(const struct link_spec *spec, struct unix_listener *out, struct error *err);
// tap by name (created if missing, in spec->netns if given), or the fd given.
int link_open_tap(const struct link_spec *spec, struct error *err);
// AF_PACKET socket bound to spec->ifname (in spec->netns if given), or the fd given.
int link_open_packet(const struct link_spec *spec, struct error *err);
// netns socket link: inside the namespace, gives lo the channel address (addr, host order; addr6,
// :: for none) and listens there on each port; out[i] for ports[i]. 0 or -errno; on failure nothing
// is left open.
int
link_open_netns(const struct link_spec *spec, uint32_t addr, const struct ipv6_addr *addr6,
                const uint16_t *ports, size_t count, struct link_listener *out, struct error *err);
