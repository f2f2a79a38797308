// SPDX-License-Identifier: BSD-3-Clause
// Byte rings out of one lazily mapped pool. A ring holds a slot of the pool only while it has
// something to keep; slots are handed out last-in first-out, so a thousand connections that each
// hold bytes for a moment touch the memory of one. No allocation after ring_pool_init.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RING_NO_SLOT   UINT32_MAX
#define RING_HOT_BYTES 16384 // what a trim leaves of a slot that is soon in use again
enum { RING_CLEAN, RING_HOT, RING_DIRTY };

struct ring_pool {
    uint8_t *base;       // slots * slot_bytes, mapped, not populated
    uint32_t slot_bytes; // capacity of a ring, a power of two, multiple of the page size
    uint32_t slots;
    uint32_t *free; // stack of free slots
    uint32_t free_count;
    uint8_t *dirty; // per slot: whether none, the first or all of its pages may be resident
};

struct ring {
    uint32_t slot; // RING_NO_SLOT while empty-handed
    uint32_t head; // offset of the first kept byte in the slot
    uint32_t used; // kept bytes in order from head
};

// slot_bytes: power of two >= 4096; slots >= 1. 0 or -ENOMEM.
int ring_pool_init(struct ring_pool *pool, uint32_t slots, uint32_t slot_bytes);
void ring_pool_fini(struct ring_pool *pool);
// Gives the pages of free slots back to the kernel, except for the first RING_HOT_BYTES of the
// `keep` slots next in turn.
void ring_pool_trim(struct ring_pool *pool, uint32_t keep);
// When all slots are free: whether one of them was in use since the last trim that kept none.
bool ring_pool_is_dirty(const struct ring_pool *pool);

void ring_init(struct ring *ring);
// Free bytes, counted as if the ring had a slot.
uint32_t ring_space(const struct ring_pool *pool, const struct ring *ring);
// Takes a slot if the ring has none. False when the pool is exhausted.
bool ring_acquire(struct ring_pool *pool, struct ring *ring);
// Gives the slot back and forgets what it held. Harmless without a slot.
void ring_release(struct ring_pool *pool, struct ring *ring);

// All five below need a slot, and offset + len within the capacity (asserted).
// Free space as 0..2 iovecs, starting at the first free byte; returns the number of iovecs.
int ring_free_iov(const struct ring_pool *pool, const struct ring *ring, struct iovec iov[2]);
// len bytes of the slot from head + offset as 1..2 iovecs (0 for len 0); returns the number.
int ring_iov(const struct ring_pool *pool, const struct ring *ring, uint32_t offset, uint32_t len,
             struct iovec iov[2]);
// Copies data to head + offset without counting it as kept (for out-of-order bytes).
void ring_place(const struct ring_pool *pool, const struct ring *ring, uint32_t offset,
                const void *data, uint32_t len);
// Counts n bytes that stand behind the kept ones as kept.
void ring_commit(const struct ring_pool *pool, struct ring *ring, uint32_t n);
// Drops the first n kept bytes.
void ring_consume(const struct ring_pool *pool, struct ring *ring, uint32_t n);
