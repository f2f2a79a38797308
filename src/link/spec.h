// SPDX-License-Identifier: BSD-3-Clause
// The --link grammar: "KIND,option=value,..." -> struct, and back to a line for the log. Pure:
// opens nothing (link/open.h does).
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum link_kind {
    LINK_STREAM, // stream,path=P|addr=H:P|fd=N[,server=on|off]
    LINK_TAP,    // tap,ifname=T[,netns=N] | tap,fd=N
    LINK_PACKET, // packet,ifname=T[,netns=N] | packet,fd=N
    LINK_NETNS,  // netns,path=/proc/PID/ns/net
};

struct link_spec {
    enum link_kind kind;
    char path[108];  // stream: Unix socket; netns: the namespace; "" when not given
    char host[256];  // stream addr=: host part (numeric or name; [v6] without brackets)
    char port[8];    // stream addr=: port part
    char ifname[16]; // tap, packet
    char netns[108]; // tap, packet: a path, or a name below /run/netns turned into a path
    int fd;          // inherited descriptor, -1 when not given
    bool server;     // stream: listen (default off: connect, retry for ever)
};

// Fills out, or gives -errno with a message that names the option, the reason and what is accepted.
// Short forms as in QEMU: "server" is server=on; ",," is a literal comma.
int link_spec_parse(const char *text, struct link_spec *out, struct error *err);
// "stream,path=/run/x.sock" for log lines. Returns out.
const char *link_spec_name(const struct link_spec *spec, char *out, size_t out_size);
bool link_kind_is_frames(enum link_kind kind); // false: socket link
