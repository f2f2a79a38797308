// SPDX-License-Identifier: BSD-3-Clause
// One session of the vhost-user protocol, back-end role, for a network device of one queue pair:
// features, the guest's memory, the state of its two rings. Moves no frames (vhost_user_net.c does)
// and polls nothing: the owner polls the socket and the kicks.
#pragma once

#include "link/virtqueue.h"
#include "link/vhost_user_wire.h"

#include <stdbool.h>
#include <stdint.h>

enum vhost_ring_index {
    VHOST_RING_TO_GUEST,   // buffers of the guest to be filled
    VHOST_RING_FROM_GUEST, // its frames
    VHOST_RINGS,
};

struct vhost_ring {
    struct virtqueue queue;
    struct virtqueue_addr addr;
    bool has_addr;
    bool has_base; // queue.next_avail is where to start; else that is at 0
    bool enabled;
    int kick_fd; // -1: none; the ring is to run when there is one
    int call_fd; // -1: the guest polls
    int err_fd;  // -1: none
};

struct vhost_user {
    struct guest_memory memory;
    struct vhost_ring rings[VHOST_RINGS];
    uint64_t features;          // acknowledged by the front-end
    uint64_t protocol_features; // likewise
    uint8_t status;             // virtio device status, as told
    uint16_t mtu;               // told by NET_SET_MTU; 0: not
    struct vhost_inbox inbox;
    // A ring's kick_fd is about to be closed or its queue to stop. Called from vhost_user_read.
    void (*on_ring_stop)(void *ctx, enum vhost_ring_index i);
    // A ring runs: kick_fd is to be polled (edge-triggered: it is never read).
    int (*on_ring_start)(void *ctx, enum vhost_ring_index i); // 0 or -errno
    void *ctx;
};

// on_ring_stop, on_ring_start and ctx are the caller's to fill afterwards.
void vhost_user_init(struct vhost_user *v);
void vhost_user_fini(struct vhost_user *v); // closes and unmaps all; no callback

// Handles the requests that wait at the socket, a bounded number. 0, or -errno with err filled: the
// session is over.
int vhost_user_read(struct vhost_user *v, int sock, struct error *err);

// The ring runs, is enabled and not broken.
bool vhost_ring_is_active(const struct vhost_ring *ring);
// Tells the driver that chains are done, if it wants to know.
void vhost_ring_publish(struct vhost_ring *ring);
// Tells the front-end that a ring is broken.
void vhost_ring_tell_broken(struct vhost_ring *ring);
