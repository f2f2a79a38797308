// SPDX-License-Identifier: BSD-3-Clause
// prove: ring_init ring_space ring_acquire ring_release slot_base ring_iov ring_free_iov ring_place
// prove: ring_commit ring_consume
// over: pools of two slots of 16 bytes with any number of them free; rings with or without a slot,
// over: any head and any number of kept bytes; any offset, length and number of bytes
// options: -eva-slevel-function ring_place:10000 -eva-interprocedural-splits
#include "prove.h"

#include "base/ring.c"

#define SLOTS      2
#define SLOT_BYTES 16

static uint8_t base[SLOTS * SLOT_BYTES], dirty[SLOTS], data[SLOT_BYTES];
static uint32_t free_slots[SLOTS];

static void
use(const struct ring_pool *pool, struct ring *ring)
{
    struct iovec iov[2];

    switch (Frama_C_interval(0, 3)) {
    case 0:
        ring_free_iov(pool, ring, iov);
        break;
    case 1:
        ring_place(pool, ring, any_u32(), data, any_u32());
        break;
    case 2:
        ring_commit(pool, ring, any_u32());
        break;
    default:
        ring_consume(pool, ring, any_u32());
        break;
    }
    //@ assert ring->used <= 16 && ring->head < 16;
}

int
main(void)
{
    struct ring_pool pool = {.base = base,
                             .slot_bytes = SLOT_BYTES,
                             .slots = SLOTS,
                             .free = free_slots,
                             .free_count = any_size(0, SLOTS),
                             .dirty = dirty};
    struct ring ring;

    ANY(data);
    for (int i = 0; i < SLOTS; i++)
        free_slots[i] = (uint32_t)any_size(0, SLOTS - 1);
    ring_init(&ring);
    if (any_bool())
        ring = (struct ring){.slot = (uint32_t)any_size(0, SLOTS - 1),
                             .head = (uint32_t)any_size(0, SLOT_BYTES - 1),
                             .used = (uint32_t)any_size(0, SLOT_BYTES)};
    ring_space(&pool, &ring);
    if (!ring_acquire(&pool, &ring))
        return 0;
    //@ split ring.used;
    use(&pool, &ring);
    ring_release(&pool, &ring);
    return 0;
}
