// SPDX-License-Identifier: BSD-3-Clause
// Listens on the wire beside our stack and judges what it emits: checksums, sizes, windows, and
// that every payload byte on the wire is the stream's.
#pragma once

#include "flow.h"
#include "packet.h"

struct tap_way {
    bool syn_seen;
    uint32_t isn;        // of the sender
    uint16_t mss;        // that the sender announced in its SYN, 536 without
    int wscale;          // likewise; -1: absent
    uint32_t right_edge; // furthest that this sender's windows allow the other to send
    uint32_t told_edge;  // right edge of the last segment it emitted
    bool edge_known, told_known;
};

struct tap_flow {
    uint16_t host_port, guest_port; // 0: entry unused
    struct tap_way way[2];          // by sending side
};

#define TAP_FLOWS_MAX (PLAN_FLOWS_MAX * 3)

struct tap {
    struct tap_flow flow[TAP_FLOWS_MAX];
};

// A frame that our stack on `from` emits. Fails the world when it must not.
void tap_emitted(struct world *w, enum side from, const struct packet *p);
// A frame about to be handed to our stack on `to`.
void tap_delivered(struct world *w, enum side to, const struct packet *p);
