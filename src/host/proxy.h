// SPDX-License-Identifier: BSD-3-Clause
// proxy=v2: the header of HAProxy's PROXY protocol, version 2 (its specification, sections 2.2 and
// 2.2.x), that leads the stream of a host end and tells the service which guest is calling.
#pragma once

#include "base/ipv6_addr.h"

#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX 576

// One has an IPv4 address (host order) or an IPv6 one, a channel may have both. A guest of neither
// (a link without addresses) is not told of.
struct proxy_peer {
    uint32_t addr; // 0: none
    uint16_t port;
    struct ipv6_addr addr6; // ::: none
};

struct proxy_header {
    struct proxy_peer guest;
    struct proxy_peer channel;
    const char *id;           // of the connection, 1 to 128 bytes: TLV 0x05
    const char *guest_name;   // TLV 0xE0
    const char *guest_uuid;   // TLV 0xE1, as text; "": left out
    const char *channel_name; // TLV 0xE2; "": left out
};

// Writes it to a fresh end, which has room for it, as one write. 0 or -errno.
int proxy_send(const struct proxy_header *h, int fd);
// Bytes of the header in out. Texts are at most 128 bytes.
size_t proxy_header_write(const struct proxy_header *h, uint8_t out[PROXY_HEADER_MAX]);
