// SPDX-License-Identifier: BSD-3-Clause
// Neighbour discovery (RFC 4861) behind the ICMPv6 header, as far as one who is asked needs it:
// solicitations in, advertisements out.
#pragma once

#include "base/ipv6_addr.h"
#include "wire/ether.h"

#define NDP_ROUTER_SOLICIT       133
#define NDP_ROUTER_ADVERT        134
#define NDP_NEIGHBOUR_SOLICIT    135
#define NDP_NEIGHBOUR_ADVERT     136
#define NDP_HOP_LIMIT            255 // in and out: from this link
#define NDP_NEIGHBOUR_ADVERT_LEN 32
#define NDP_ROUTER_ADVERT_LEN    64
#define NDP_FOREVER              0xffffffffu

// A neighbour or a router solicitation.
struct ndp_solicit {
    struct ipv6_addr target; // of a neighbour solicitation, else ::
    bool has_source_mac;     // told by an option: nobody who has no address yet may do that
};

struct ndp_neighbour_advert {
    struct ipv6_addr target;
    struct mac target_mac;
    bool solicited; // answers somebody with an address
};

// With a lifetime of 0: no router for anything but this link.
struct ndp_router_advert {
    struct mac source_mac;
    uint32_t mtu;
    struct ipv6_addr prefix; // of 64 bits: on this link, addresses are made from it; for ever
};

// Each takes what stands behind the ICMPv6 header. Fails when it is too short, has an option of no
// length or cut short, or is for a multicast target. Options but the sender's MAC are ignored.
bool ndp_neighbour_solicit_parse(struct cursor *c, struct ndp_solicit *out);
bool ndp_router_solicit_parse(struct cursor *c, struct ndp_solicit *out);
// Each writes the whole, ICMPv6 header included, of the length above; the checksum is 0.
void ndp_neighbour_advert_emit(struct writer *w, const struct ndp_neighbour_advert *a);
void ndp_router_advert_emit(struct writer *w, const struct ndp_router_advert *a);
