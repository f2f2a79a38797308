// SPDX-License-Identifier: BSD-3-Clause
// The namespaces of `vmchannel run`: a user namespace and a network namespace with nothing in it
// but the way to the channels.
#pragma once

#include "config/guest_config.h"
#include "link/listener.h"
#include "link/spec.h"

#include <sys/types.h>

// In the child: leaves the caller's user and network namespace. 0 or -errno with err.
int run_netns_enter(struct error *err);

// In the parent, for a child that has done so: says which users exist in its user namespace. All of
// ours for root, else the caller alone. 0 or -errno with err.
int run_netns_map_ids(pid_t child, struct error *err);

enum run_link {
    RUN_LINK_AUTO, // tap, or packet where /dev/net/tun cannot be opened
    RUN_LINK_TAP,
    RUN_LINK_PACKET,
    RUN_LINK_NETNS,
};

// In the child, once its ids are mapped: makes the interfaces and addresses. out gets what the
// broker needs, the caller's to close: the link as fd of the first, or for LINK_NETNS the listening
// sockets of each channel (room for channel_count, at least one). 0 or -errno with err.
int run_netns_set_up(const struct guest_config *guest, enum run_link link, enum link_kind *kind,
                     struct link_listener *out, struct error *err);
