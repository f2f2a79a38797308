// SPDX-License-Identifier: BSD-3-Clause
// UDP header (RFC 768): bytes <-> struct. Checksums are the caller's.
#pragma once

#include "base/cursor.h"

#define UDP_HEADER_LEN 8

struct udp_header {
    uint16_t src_port, dst_port;
    uint16_t len;      // header and payload
    uint16_t checksum; // 0: none
};

// ip_payload: bytes of L4 the IP header promises. Fails when len < 8 or > ip_payload.
bool udp_parse(struct cursor *c, size_t ip_payload, struct udp_header *out);
void udp_emit(struct writer *w, const struct udp_header *h);
