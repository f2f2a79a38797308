// SPDX-License-Identifier: BSD-3-Clause
// The driver's side of a virtqueue, split or packed (virtio 1.2, 2.7 and 2.8), as a guest's kernel
// has it: chains are made available under a token and come back when the device has used them.
// Written against the specification, not against src/link: it is what that is tested with.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define DRIVER_RING_PIECES_MAX 24 // of one chain

struct driver_ring_config {
    uint16_t size; // entries, a power of two
    bool packed, indirect, event_idx;
    uint8_t *memory;     // driver_ring_bytes(size) of the guest's memory, zeroed, page-aligned
    const uint8_t *base; // guest address 0
    int kick_fd;         // the caller's
};

struct driver_ring {
    struct driver_ring_config config;
    // Parts of the memory.
    uint8_t *desc;
    uint8_t *driver; // split: available ring; packed: our wish for notifications
    uint8_t *device; // split: used ring; packed: the device's wish
    uint8_t *tables; // of DRIVER_RING_PIECES_MAX descriptors for each token
    // Split: the free descriptors, a list by `next`. Packed: only their number counts.
    uint16_t free_first, free_count;
    uint16_t *next;
    uint16_t *entries; // by token (the chain's first descriptor, or id): how many it takes up
    // Packed: the tokens that are free.
    uint16_t *ids;
    uint16_t ids_free;
    // Split: counters. Packed: places, with their wrap counters.
    uint16_t avail, used, kicked;
    bool avail_wrap, used_wrap;
    uint32_t added; // since the last kick
    uint64_t kicks; // written to the eventfd
};

size_t driver_ring_bytes(uint16_t size);
bool driver_ring_init(struct driver_ring *r, const struct driver_ring_config *config);
void driver_ring_fini(struct driver_ring *r);
// What SET_VRING_BASE is to say for a fresh ring.
uint32_t driver_ring_base(const struct driver_ring *r);

// A token below size that a chain of so many pieces would have now, or -1: no room.
int driver_ring_next_token(const struct driver_ring *r, int pieces);
// Makes the chain available under driver_ring_next_token(). The device sees it at once.
void driver_ring_add(struct driver_ring *r, const struct iovec *iov, int pieces, bool writable);
void driver_ring_kick(struct driver_ring *r); // if the device wants one for what was added
// The token of the next used chain, or -1; *len: bytes written to it.
int driver_ring_take(struct driver_ring *r, uint32_t *len);
// Asks for a notification. True when something is used by now: look again.
bool driver_ring_want_call(struct driver_ring *r);
void driver_ring_no_call(struct driver_ring *r);
