// SPDX-License-Identifier: BSD-3-Clause
// IPv6 header (RFC 8200): bytes <-> struct. Extension headers are skipped on input where that is
// safe, never sent.
#pragma once

#include "base/cursor.h"
#include "base/ipv6_addr.h"

#define IPV6_HEADER_LEN     40
#define IPV6_EXTENSIONS_MAX 64   // bytes of extension headers that are skipped
#define IPV6_MTU_MIN        1280 // a link that carries less has no IPv6 (RFC 8200 5)
#define IPV6_TCP            6
#define IPV6_ICMP           58

struct ipv6_header {
    struct ipv6_addr src, dst;
    uint8_t protocol; // of what stands behind: the first header that is not skipped
    uint8_t hop_limit;
    uint8_t header_len;   // bytes, with the extension headers that were skipped
    uint16_t payload_len; // bytes behind them; <= bytes that were there
};

// frame_left: bytes of the IP packet that the frame really has (the cursor may hold only the
// headers). Skipped are hop-by-hop and destination options that may be ignored (RFC 8200 4.2) and
// routing headers without segments left, up to IPV6_EXTENSIONS_MAX; fragments and all others are
// left for the caller to refuse by `protocol`. Fails on version, a payload length beyond
// frame_left, and extension headers cut short. Leaves the cursor at the first byte that was not
// skipped.
bool ipv6_parse(struct cursor *c, size_t frame_left, struct ipv6_header *out);
// Writes a 40-byte header; header_len is not looked at.
void ipv6_emit(struct writer *w, const struct ipv6_header *h);

bool ipv6_addr_is_multicast(const struct ipv6_addr *a);
// Whether dst is the multicast group that a's neighbours solicit it by (RFC 4291 2.7.1).
bool ipv6_addr_is_solicited(const struct ipv6_addr *dst, const struct ipv6_addr *a);
