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
    // message,path=P[,peer=P2] | udp=H:P,peer=H:P | seqpacket=P[,server=on|off] | fd=N
    LINK_MESSAGE,
    LINK_HYBRID,     // hybrid,path=P
    LINK_VSOCK,      // vsock,cid=N
    LINK_VHOST_USER, // vhost-user,path=P|fd=N[,server=on|off]
};

// What carries the messages of a message link.
enum link_carrier {
    LINK_CARRIER_UNIX, // path=, peer=: a Unix datagram socket
    LINK_CARRIER_UDP,  // udp=, peer=
    LINK_CARRIER_SEQPACKET,
    LINK_CARRIER_FD,
};

struct link_address {
    char host[256]; // numeric or name; [v6] without brackets; "" when not given
    char port[8];
};

struct link_spec {
    enum link_kind kind;
    char path[108]; // stream, message: Unix socket; netns: the namespace; hybrid: Firecracker's
                    // uds_path; "" when not given
    struct link_address addr; // stream addr=, message udp=
    char ifname[16];          // tap, packet
    char netns[108];          // tap, packet: a path, or a name below /run/netns turned into a path
    int fd;                   // inherited descriptor, -1 when not given
    bool server;  // stream, seqpacket, vhost-user: listen (default off: connect, retry for ever)
    bool offload; // stream, message: the guest leaves its checksums to us
    enum link_carrier carrier;
    char peer_path[108];           // message path=: the peer; "": whoever sends first
    struct link_address peer_addr; // message udp=
    uint32_t cid;                  // vsock: the guest
};

// Fills out, or gives -errno with a message that names the option, the reason and what is accepted.
// Short forms as in QEMU: "server" is server=on; ",," is a literal comma.
int link_spec_parse(const char *text, struct link_spec *out, struct error *err);
// "stream,path=/run/x.sock" for log lines. Returns out.
const char *link_spec_name(const struct link_spec *spec, char *out, size_t out_size);
bool link_kind_is_frames(enum link_kind kind); // false: socket link
