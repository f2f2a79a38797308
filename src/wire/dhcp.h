// SPDX-License-Identifier: BSD-3-Clause
// DHCP (RFC 2131, options RFC 2132): a client's message -> struct, a server's reply -> bytes.
#pragma once

#include "wire/ether.h"

#define DHCP_SERVER_PORT 67
#define DHCP_CLIENT_PORT 68
#define DHCP_REPLY_MAX   600

enum dhcp_type {
    DHCP_DISCOVER = 1,
    DHCP_OFFER = 2,
    DHCP_REQUEST = 3,
    DHCP_DECLINE = 4,
    DHCP_ACK = 5,
    DHCP_NAK = 6,
    DHCP_RELEASE = 7,
    DHCP_INFORM = 8,
};

struct dhcp_message {
    uint32_t xid;
    uint16_t flags;  // as on the wire; bit 15: broadcast the reply
    uint32_t ciaddr; // host order
    struct mac chaddr;
    enum dhcp_type type;   // 0: plain BOOTP
    uint32_t requested_ip; // option 50, 0: absent
    uint32_t server_id;    // option 54, 0: absent
};

// Fails on anything but an Ethernet BOOTREQUEST with the magic cookie; option overload (52) into
// file and sname is honoured; an option past the end or a missing end option fails.
bool dhcp_parse(struct cursor *c, struct dhcp_message *out);

struct dhcp_reply {
    enum dhcp_type type; // OFFER, ACK or NAK
    uint32_t xid;
    uint16_t flags;
    uint32_t ciaddr;
    uint32_t yiaddr; // the lease, 0 in a NAK
    uint32_t server_id;
    struct mac chaddr;
    uint32_t netmask; // options below are left out of a NAK
    uint32_t lease_s; // 0: no lease option (reply to INFORM)
    uint16_t mtu;     // option 26
};

// Writes a reply of at least 300 bytes (old clients drop shorter BOOTP). No router, no DNS.
void dhcp_emit(struct writer *w, const struct dhcp_reply *r);
