// SPDX-License-Identifier: BSD-3-Clause
// Packets of a guest, as bytes, and ours read back.
#pragma once

#include "base/frame.h"
#include "base/ipv6_addr.h"
#include "wire/ether.h"
#include "wire/ipv4.h"
#include "wire/tcp.h"

#define FUZZ_US    0x0a000204u // 10.0.2.4
#define FUZZ_GUEST 0x0a00020fu // 10.0.2.15
#define FUZZ_FRAME 2048

extern const struct mac fuzz_guest_mac, fuzz_our_mac;
extern const struct ipv6_addr fuzz_our_addr6; // fd10:0:2::4

// A TCP segment from FUZZ_GUEST to FUZZ_US with right checksums, behind all its headers. raw:
// option bytes in place of what h says, padded here. Returns its length; len is at most 1500.
size_t fuzz_segment(struct tcp_header h, const uint8_t *raw, size_t raw_len, const void *payload,
                    size_t len, uint8_t out[FUZZ_FRAME]);
// A request for our MAC.
size_t fuzz_arp(uint8_t out[FUZZ_FRAME]);
// Makes the checksums of an IPv4 or IPv6 packet behind an Ethernet header right, as far as it is
// one.
void fuzz_mend(uint8_t *frame, size_t len);
// An emitted frame: asserts what must be true of any, right checksums among it. True, with the
// header and the payload, for a TCP segment.
bool fuzz_check_sent(const struct frame *frame, struct tcp_header *tcp, const uint8_t **payload,
                     size_t *len);
