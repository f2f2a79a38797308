// SPDX-License-Identifier: BSD-3-Clause
// TCP header and options (RFC 9293 3.1, 7323 window scale, 2018 SACK): bytes <-> struct, and
// sequence arithmetic modulo 2^32.
#pragma once

#include "base/cursor.h"

#define TCP_HEADER_LEN     20
#define TCP_HEADER_LEN_MAX 60
#define TCP_SACK_MAX       4
#define TCP_WSCALE_MAX     14

enum tcp_flags {
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_URG = 32,
};

struct tcp_sack_block {
    uint32_t left, right; // [left, right)
};

struct tcp_header {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint8_t flags;      // enum tcp_flags; reserved and ECN bits dropped
    uint8_t header_len; // bytes with options, 20..60
    uint16_t window;    // as on the wire, unscaled
    uint16_t checksum;  // as on the wire
    uint16_t urgent;
    uint16_t mss;        // 0: option absent (looked for in SYNs only)
    int8_t wscale;       // -1: absent (SYNs only); above 14 is read as 14 (RFC 7323 2.3)
    bool sack_permitted; // SYNs only
    uint8_t sack_count;  // 0..4
    struct tcp_sack_block sack[TCP_SACK_MAX];
};

// Reads header and options; ip_payload: L4 bytes the IP header promises. Fails on data offset < 5
// or beyond the cursor or ip_payload. A malformed option ends option reading, what came before
// counts. Leaves the cursor behind the options.
bool tcp_parse(struct cursor *c, size_t ip_payload, struct tcp_header *out);
// Writes header and the options that are set (mss, wscale, sack_permitted in SYNs; sack blocks
// otherwise, as many as fit in 40 bytes), padded to 32 bits. Sets h->header_len. checksum is
// written as given.
void tcp_emit(struct writer *w, struct tcp_header *h);

// Option bytes that so many SACK blocks take, as tcp_emit writes them.
static inline uint32_t
tcp_sack_bytes(unsigned blocks)
{
    unsigned n = blocks < TCP_SACK_MAX ? blocks : TCP_SACK_MAX;
    return n ? 4 + 8 * n : 0; // two NOPs, kind, length
}

// a before b, modulo 2^32. Undefined meaning at a distance of exactly 2^31.
static inline bool
seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline bool
seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}
static inline bool
seq_gt(uint32_t a, uint32_t b)
{
    return seq_lt(b, a);
}
static inline bool
seq_ge(uint32_t a, uint32_t b)
{
    return seq_le(b, a);
}
static inline uint32_t
seq_max(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? b : a;
}
static inline uint32_t
seq_min(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? a : b;
}
