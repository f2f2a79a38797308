// SPDX-License-Identifier: BSD-3-Clause
// The guest's network card: frames in two virtqueues. Received frames stay where the device wrote
// them until the caller is done with a batch; what is sent is named where it lies in the guest's
// memory, but for headers, which are copied.
#pragma once

#include "base/frame.h"
#include "driver_ring.h"
#include "front_end.h"

#define NIC_BATCH 64

struct nic_options {
    struct front_options front;
    uint32_t buffer_bytes; // of a buffer for received frames, when they are mergeable
};

struct nic {
    struct nic_options options;
    struct front_end *front;
    struct driver_ring rings[FRONT_RINGS];
    uint8_t *buffers; // of received frames: one of buffer_bytes for each token
    uint8_t *headers; // of sent frames: HEADER_BYTES for each token
    int pieces;       // of a buffer

    // A batch received.
    struct frame frames[NIC_BATCH];
    struct iovec iov[NIC_BATCH * 64];
    uint32_t lens[1024];
    uint16_t held[1024]; // tokens of its buffers, to be given back
    uint16_t held_count;
    uint64_t frames_in, frames_out, bad; // bad: frames that the device should not have written
};

// How much of the guest's memory it takes, page-aligned.
size_t nic_bytes(const struct nic_options *options);
// The front-end is connected and negotiated; memory is where the card's part begins.
bool nic_init(struct nic *n, const struct nic_options *options, struct front_end *front,
              uint8_t *memory);
void nic_fini(struct nic *n);

// Takes up to NIC_BATCH frames into n->frames; how many. Then nic_release, when done with them.
size_t nic_receive(struct nic *n);
void nic_release(struct nic *n);
// iov[0] is copied, the others must be in the guest's memory, and stay until the frame is sent.
// False: no room.
bool nic_send(struct nic *n, const struct frame *frame);
void nic_kick(struct nic *n);
// Asks to be notified of received frames, and of sent ones when `room` is waited for. True when
// there are some by now.
bool nic_want_calls(struct nic *n, bool room);
void nic_no_calls(struct nic *n);
