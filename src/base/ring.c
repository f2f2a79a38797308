// SPDX-License-Identifier: BSD-3-Clause
// The slot pool and the arithmetic of rings in it. Which bytes stand in a ring, and when a slot is
// taken or given back, is the stack's and the relay's business.
#include "base/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int
ring_pool_init(struct ring_pool *pool, uint32_t slots, uint32_t slot_bytes)
{
    assert(slots >= 1 && slot_bytes >= 4096 && (slot_bytes & (slot_bytes - 1)) == 0);
    *pool = (struct ring_pool){.slots = slots, .slot_bytes = slot_bytes};
    if (slots > SIZE_MAX / slot_bytes)
        return -ENOMEM;

    size_t bytes = (size_t)slots * slot_bytes;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -ENOMEM;
    // A huge page would make one small ring resident as 2 MiB. Kernels without them say EINVAL.
    madvise(base, bytes, MADV_NOHUGEPAGE);
    pool->base = base;
    pool->free = malloc(slots * sizeof(*pool->free));
    pool->dirty = calloc(slots, 1);
    if (pool->free == NULL || pool->dirty == NULL) {
        ring_pool_fini(pool);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < slots; i++)
        pool->free[i] = slots - 1 - i; // slot 0 on top
    pool->free_count = slots;
    return 0;
}

void
ring_pool_fini(struct ring_pool *pool)
{
    if (pool->base != NULL)
        munmap(pool->base, (size_t)pool->slots * pool->slot_bytes);
    free(pool->free);
    free(pool->dirty);
    *pool = (struct ring_pool){0};
}

void
ring_pool_trim(struct ring_pool *pool, uint32_t keep)
{
    for (uint32_t i = 0; i < pool->free_count; i++) {
        uint32_t slot = pool->free[i];
        bool kept = pool->free_count - i <= keep;
        uint32_t from = kept && pool->slot_bytes > RING_HOT_BYTES ? RING_HOT_BYTES : 0;
        uint8_t dirty = kept ? RING_HOT : RING_CLEAN;
        if (pool->dirty[slot] <= dirty)
            continue;
        if (!kept || from > 0)
            madvise(pool->base + (size_t)slot * pool->slot_bytes + from, pool->slot_bytes - from,
                    MADV_DONTNEED);
        pool->dirty[slot] = dirty;
    }
}

bool
ring_pool_is_dirty(const struct ring_pool *pool)
{
    // What was given back last is on top.
    return pool->free_count > 0 && pool->dirty[pool->free[pool->free_count - 1]] != RING_CLEAN;
}

void
ring_init(struct ring *ring)
{
    *ring = (struct ring){.slot = RING_NO_SLOT};
}

uint32_t
ring_space(const struct ring_pool *pool, const struct ring *ring)
{
    return pool->slot_bytes - ring->used;
}

bool
ring_acquire(struct ring_pool *pool, struct ring *ring)
{
    if (ring->slot != RING_NO_SLOT)
        return true;
    if (pool->free_count == 0)
        return false;
    *ring = (struct ring){.slot = pool->free[--pool->free_count]};
    pool->dirty[ring->slot] = RING_DIRTY;
    return true;
}

void
ring_release(struct ring_pool *pool, struct ring *ring)
{
    if (ring->slot != RING_NO_SLOT) {
        assert(pool->free_count < pool->slots);
        pool->free[pool->free_count++] = ring->slot;
    }
    ring_init(ring);
}

static uint8_t *
slot_base(const struct ring_pool *pool, const struct ring *ring)
{
    assert(ring->slot < pool->slots);
    return pool->base + (size_t)ring->slot * pool->slot_bytes;
}

int
ring_iov(const struct ring_pool *pool, const struct ring *ring, uint32_t offset, uint32_t len,
         struct iovec iov[2])
{
    uint8_t *base = slot_base(pool, ring);
    assert(len <= pool->slot_bytes && offset <= pool->slot_bytes - len);
    if (len == 0)
        return 0;

    uint32_t start = (ring->head + offset) & (pool->slot_bytes - 1);
    uint32_t first = pool->slot_bytes - start;
    if (len <= first) {
        iov[0] = (struct iovec){base + start, len};
        return 1;
    }
    iov[0] = (struct iovec){base + start, first};
    iov[1] = (struct iovec){base, len - first};
    return 2;
}

int
ring_free_iov(const struct ring_pool *pool, const struct ring *ring, struct iovec iov[2])
{
    return ring_iov(pool, ring, ring->used, pool->slot_bytes - ring->used, iov);
}

void
ring_place(const struct ring_pool *pool, const struct ring *ring, uint32_t offset, const void *data,
           uint32_t len)
{
    struct iovec iov[2];
    const uint8_t *from = data;
    int n = ring_iov(pool, ring, offset, len, iov);

    for (int i = 0; i < n; i++) {
        memcpy(iov[i].iov_base, from, iov[i].iov_len);
        from += iov[i].iov_len;
    }
}

void
ring_commit(const struct ring_pool *pool, struct ring *ring, uint32_t n)
{
    assert(ring->slot < pool->slots && n <= pool->slot_bytes - ring->used);
    ring->used += n;
}

void
ring_consume(const struct ring_pool *pool, struct ring *ring, uint32_t n)
{
    assert(ring->slot < pool->slots && n <= ring->used);
    // head moves on even when the ring runs empty: out-of-order bytes may stand behind it.
    ring->head = (ring->head + n) & (pool->slot_bytes - 1);
    ring->used -= n;
}
