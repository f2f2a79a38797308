// SPDX-License-Identifier: BSD-3-Clause
// A frame in flight and the surgery that offloading NICs, bridges and bad cables perform on it.
// Written apart from src/wire on purpose: it judges what the stack emits.
#pragma once

#include "rng.h"

#include "base/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_ETHER_LEN 14

struct packet {
    uint64_t due_us; // when it arrives
    uint64_t order;  // breaks ties among equal due_us
    size_t len;
    enum frame_csum csum;
    enum frame_gso gso;
    uint16_t gso_size;
    uint16_t l4_offset, csum_offset, header_len; // as in struct frame; 0 when unknown
    uint8_t data[];
};

// Where things are in a TCP/IPv4 packet, and what its header says.
struct tcp_view {
    uint32_t src, dst;
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint8_t flags; // FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32
    uint16_t window;
    uint16_t mss; // 0: option absent
    int wscale;   // -1: option absent
    int sack_blocks;
    size_t l4;      // offset of the TCP header
    size_t payload; // offset of the payload
    size_t payload_len;
};

// Length len, zeroed metadata, content unset. The caller frees it with free().
struct packet *packet_new(size_t len);
struct packet *packet_copy(const struct packet *p);
// Big-endian loads and stores at an offset.
uint16_t packet_get16(const struct packet *p, size_t at);
uint32_t packet_get32(const struct packet *p, size_t at);
void packet_put16(struct packet *p, size_t at, uint16_t v);
void packet_put32(struct packet *p, size_t at, uint32_t v);

// True and filled when p is an unfragmented TCP/IPv4 packet whose lengths agree; checksums are not
// looked at.
bool packet_tcp(const struct packet *p, struct tcp_view *out);
// NULL when headers, lengths and checksums are what p->csum and p->gso promise; else the complaint.
const char *packet_complaint(const struct packet *p);

// PARTIAL or VALID -> NONE: writes the checksum a NIC would write.
void packet_complete_csum(struct packet *p);
// NONE -> PARTIAL, as a guest with checksum offload would have sent it. TCP only, else no change.
void packet_make_partial(struct packet *p);
// Cuts a GSO packet into the segments a NIC would send, checksums complete; writes up to max of
// them to out and returns their number. p stays the caller's.
int packet_cut(const struct packet *p, struct packet **out, int max);
// If b follows a in the same TCP flow and merging is what GRO would do: grows *a (realloc) by b's
// payload, makes it GSO, and returns true. b stays the caller's.
bool packet_merge(struct packet **a, const struct packet *b, size_t max_len);
// Damages p behind the Ethernet header in a way that the Internet checksum always shows: one bit,
// or a burst shorter than 16 bits. False when p has no checksum there (ARP), p is then untouched.
bool packet_corrupt(struct packet *p, struct rng *r);
