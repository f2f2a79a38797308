// SPDX-License-Identifier: BSD-3-Clause
// Ethernet II header (IEEE 802.3): bytes <-> struct. Addresses are 6 bytes, EtherType host order.
#pragma once

#include "base/cursor.h"

#define ETHER_HEADER_LEN 14
#define ETHER_IPV4       0x0800
#define ETHER_ARP        0x0806
#define ETHER_IPV6       0x86dd

struct mac {
    uint8_t octet[6];
};

struct ether_header {
    struct mac dst, src;
    uint16_t type;
};

// False when fewer than 14 bytes are left, or the source is a group address.
bool ether_parse(struct cursor *c, struct ether_header *out);
void ether_emit(struct writer *w, const struct ether_header *h);
bool mac_eq(const struct mac *a, const struct mac *b);
bool mac_is_group(const struct mac *m); // broadcast included
extern const struct mac mac_broadcast;
