// SPDX-License-Identifier: BSD-3-Clause
// Between virtqueue.c and its two formats only: how guest memory is read and written, what a chain
// is made of, and what a format must be able to do.
#pragma once

#include "link/virtqueue.h"

#include <endian.h>

#define DESC_BYTES 16 // in either format, and in an indirect table

// Of a descriptor (virtio 1.2, 2.7.5 and 2.8.13).
enum {
    DESC_NEXT = 1,
    DESC_WRITE = 2,
    DESC_INDIRECT = 4,
};

// Everything in guest memory may change between two reads, so each field is loaded once, through a
// volatile or atomic access that the compiler cannot repeat, and only the copy is looked at.
struct descriptor {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next; // packed: the buffer's id
};

struct table {
    const uint8_t *base;
    uint32_t count;
};

// An indirect table may stand at any address.
typedef uint64_t virtqueue_any_u64 __attribute__((aligned(1)));

static inline uint16_t
load_u16(const uint8_t *at)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE));
}

static inline void
store_u16(uint8_t *at, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)at, htole16(v), __ATOMIC_RELEASE);
}

static inline void
store_u32(uint8_t *at, uint32_t v)
{
    __atomic_store_n((uint32_t *)(void *)at, htole32(v), __ATOMIC_RELAXED);
}

// The driver asked to be notified when its event index is passed (virtio 1.2, 2.7.7.2).
static inline bool
virtqueue_passes(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

// The table that an indirect descriptor names. False, and the queue is broken.
bool virtqueue_enter_table(struct virtqueue *q, const struct descriptor *d, struct table *out);
// Adds a descriptor's bytes to the chain. False, and the queue is broken.
bool virtqueue_add_piece(struct virtqueue *q, const struct descriptor *d, bool writable,
                         struct virtqueue_chain *out, struct iovec *iov);

// The formats. virtqueue.c sees to it that the queue is running, or at least resolved.

// Bytes of the three parts.
struct virtqueue_layout {
    size_t desc, avail, used;
};

struct virtqueue_layout virtqueue_split_layout(const struct virtqueue *q);
void virtqueue_split_start(struct virtqueue *q);
bool virtqueue_split_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out,
                          struct iovec *iov);
void virtqueue_split_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len);
bool virtqueue_split_publish(struct virtqueue *q);
bool virtqueue_split_want_kick(struct virtqueue *q);
void virtqueue_split_no_kick(struct virtqueue *q);

struct virtqueue_layout virtqueue_packed_layout(const struct virtqueue *q);
void virtqueue_packed_start(struct virtqueue *q);
bool virtqueue_packed_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out,
                           struct iovec *iov);
void virtqueue_packed_untake(struct virtqueue *q, uint16_t entries);
void virtqueue_packed_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len);
bool virtqueue_packed_publish(struct virtqueue *q);
bool virtqueue_packed_want_kick(struct virtqueue *q);
void virtqueue_packed_no_kick(struct virtqueue *q);
