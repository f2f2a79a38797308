// SPDX-License-Identifier: BSD-3-Clause
// Split virtqueues (virtio 1.2, 2.7): a table of descriptors, a ring of heads from the driver, a
// ring of heads back. Work is bounded: a chain has at most as many descriptors as its table.
// virtqueue.c calls this.
#include "link/virtqueue_impl.h"

// Offsets and sizes (virtio 1.2, 2.7.6 and 2.7.8).
enum {
    RING_FLAGS = 0,
    RING_IDX = 2,
    RING_ENTRIES = 4,
    AVAIL_ENTRY_BYTES = 2,
    USED_ENTRY_BYTES = 8,
};

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

static struct descriptor
read_descriptor(const uint8_t *at)
{
    uint64_t addr = le64toh(*(const volatile virtqueue_any_u64 *)at);
    uint64_t rest = le64toh(*(const volatile virtqueue_any_u64 *)(at + 8));
    return (struct descriptor){
        .addr = addr,
        .len = (uint32_t)rest,
        .flags = (uint16_t)(rest >> 32),
        .next = (uint16_t)(rest >> 48),
    };
}

// Both rings with the event index behind them, negotiated or not: that may change while they run.
struct virtqueue_layout
virtqueue_split_layout(const struct virtqueue *q)
{
    return (struct virtqueue_layout){
        .desc = (size_t)q->size * DESC_BYTES,
        .avail = RING_ENTRIES + (size_t)q->size * AVAIL_ENTRY_BYTES + 2,
        .used = RING_ENTRIES + (size_t)q->size * USED_ENTRY_BYTES + 2,
    };
}

static void
log_used(struct virtqueue *q, size_t offset, size_t len)
{
    if (q->log_used && q->used_log <= UINT64_MAX - offset)
        guest_memory_dirty_addr(q->memory, q->used_log + offset, len);
}

void
virtqueue_split_start(struct virtqueue *q)
{
    q->seen_avail = q->next_avail;
    q->next_used = q->published_used = load_u16(q->used + RING_IDX);
}

// Follows a chain from out->head. False, and the queue is broken.
static bool
walk(struct virtqueue *q, bool writable, struct virtqueue_chain *out, struct iovec *iov)
{
    struct table t = {q->desc, q->size};
    uint16_t at = out->head.id;
    bool is_indirect = false;
    for (uint32_t left = t.count; left > 0; left--) {
        if (at >= t.count) {
            virtqueue_break(q, "descriptor %u of %u", at, t.count);
            return false;
        }
        struct descriptor d = read_descriptor(t.base + (size_t)at * DESC_BYTES);
        if (d.flags & DESC_INDIRECT) {
            if (is_indirect)
                virtqueue_break(q, "indirect descriptor within an indirect table");
            if (is_indirect || !virtqueue_enter_table(q, &d, &t))
                return false;
            is_indirect = true;
            at = 0;
            left = t.count + 1; // entered once, so this ends
            continue;
        }
        if (!virtqueue_add_piece(q, &d, writable, out, iov))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        at = d.next;
    }
    virtqueue_break(q, "descriptors in a loop");
    return false;
}

static bool
has_more(struct virtqueue *q)
{
    if (q->next_avail != q->seen_avail)
        return true;
    uint16_t idx = load_u16(q->avail + RING_IDX);
    uint16_t added = (uint16_t)(idx - q->next_avail);
    if (added > q->size) {
        virtqueue_break(q, "available index jumped by %u of %u", added, q->size);
        return false;
    }
    q->seen_avail = idx;
    return added > 0;
}

bool
virtqueue_split_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out,
                     struct iovec *iov)
{
    if (!has_more(q))
        return false;
    size_t entry = q->next_avail & (q->size - 1);
    uint16_t head = load_u16(q->avail + RING_ENTRIES + entry * AVAIL_ENTRY_BYTES);
    *out = (struct virtqueue_chain){.head = {.id = head, .entries = 1}};
    if (!walk(q, writable, out, iov))
        return false;
    q->next_avail++;
    return true;
}

void
virtqueue_split_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len)
{
    size_t offset = RING_ENTRIES + (size_t)(q->next_used++ & (q->size - 1)) * USED_ENTRY_BYTES;
    store_u32(q->used + offset, head.id);
    store_u32(q->used + offset + 4, len);
    log_used(q, offset, USED_ENTRY_BYTES);
}

bool
virtqueue_split_publish(struct virtqueue *q)
{
    if (q->next_used == q->published_used)
        return false;
    uint16_t before = q->published_used;
    bool is_fresh = q->is_fresh;
    q->published_used = q->next_used;
    q->is_fresh = false;
    store_u16(q->used + RING_IDX, q->next_used);
    log_used(q, RING_IDX, 2);
    // The index must be seen before the driver's wish is read (2.7.10).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!q->event_idx)
        return !(load_u16(q->avail + RING_FLAGS) & AVAIL_NO_INTERRUPT);
    uint16_t event = load_u16(q->avail + RING_ENTRIES + (size_t)q->size * AVAIL_ENTRY_BYTES);
    return is_fresh || virtqueue_passes(event, q->next_used, before);
}

bool
virtqueue_split_want_kick(struct virtqueue *q)
{
    uint16_t seen = q->seen_avail;
    q->asks_kick = true;
    if (q->event_idx) {
        size_t offset = RING_ENTRIES + (size_t)q->size * USED_ENTRY_BYTES;
        store_u16(q->used + offset, seen);
        log_used(q, offset, 2);
    } else {
        store_u16(q->used + RING_FLAGS, 0);
        log_used(q, RING_FLAGS, 2);
    }
    // The wish must be seen before the driver's index is read (2.7.13.4.1).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load_u16(q->avail + RING_IDX) != seen;
}

void
virtqueue_split_no_kick(struct virtqueue *q)
{
    // With event indexes, the one we asked for is behind us already.
    if (q->event_idx)
        return;
    q->asks_kick = false;
    store_u16(q->used + RING_FLAGS, USED_NO_NOTIFY);
    log_used(q, RING_FLAGS, 2);
}
