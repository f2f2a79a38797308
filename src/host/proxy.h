// SPDX-License-Identifier: BSD-3-Clause
// proxy=v2: the header of HAProxy's PROXY protocol, version 2 (its specification, sections 2.2 and
// 2.2.x), that leads the stream of a host end and tells the service which guest is calling.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX 576

// Addresses are in host order; addr 0: not known (a link without addresses), then none is told.
struct proxy_peer {
    uint32_t addr; // the guest's
    uint16_t port;
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
