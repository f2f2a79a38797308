// SPDX-License-Identifier: BSD-3-Clause
// IPv4 header (RFC 791): bytes <-> struct. Options are skipped on input, never sent.
#pragma once

#include "base/cursor.h"

#define IPV4_HEADER_LEN     20
#define IPV4_HEADER_LEN_MAX 60
#define IPV4_ICMP           1
#define IPV4_TCP            6
#define IPV4_UDP            17

struct ipv4_header {
    uint32_t src, dst; // host order
    uint8_t protocol;
    uint8_t ttl;
    uint8_t header_len; // bytes, 20..60
    uint16_t total_len; // header and payload; <= bytes that were there
    uint16_t id;
    bool dont_fragment;
    bool is_fragment; // MF set or offset non-zero
};

// frame_left: bytes of the IP packet that the frame really has (the cursor may hold only the
// headers). Fails on version, IHL, total_len beyond frame_left or below the header, bad header
// checksum. Leaves the cursor at the first payload byte.
bool ipv4_parse(struct cursor *c, size_t frame_left, struct ipv4_header *out);
// Writes a 20-byte header with its checksum; DF as told.
void ipv4_emit(struct writer *w, const struct ipv4_header *h);
