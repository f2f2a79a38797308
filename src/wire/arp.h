// SPDX-License-Identifier: BSD-3-Clause
// ARP for IPv4 over Ethernet (RFC 826): bytes <-> struct. Anything else fails to parse.
#pragma once

#include "wire/ether.h"

#define ARP_LEN     28
#define ARP_REQUEST 1
#define ARP_REPLY   2

struct arp_packet {
    uint16_t op; // ARP_REQUEST or ARP_REPLY
    struct mac sender_mac, target_mac;
    uint32_t sender_ip, target_ip; // host order
};

bool arp_parse(struct cursor *c, struct arp_packet *out);
void arp_emit(struct writer *w, const struct arp_packet *p);
