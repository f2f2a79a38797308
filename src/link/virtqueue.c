// SPDX-License-Identifier: BSD-3-Clause
// Split virtqueues. Everything in guest memory may change between two reads, so each field is
// loaded once, through a volatile or atomic access that the compiler cannot repeat, and only the
// copy is looked at. Work is bounded: a chain has at most as many descriptors as its table.
#include "link/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

// Offsets and sizes (virtio 1.2, 2.7.5 to 2.7.8).
enum {
    DESC_BYTES = 16,
    RING_FLAGS = 0,
    RING_IDX = 2,
    RING_ENTRIES = 4,
    AVAIL_ENTRY_BYTES = 2,
    USED_ENTRY_BYTES = 8,
};

enum {
    DESC_NEXT = 1,
    DESC_WRITE = 2,
    DESC_INDIRECT = 4,
};

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

struct descriptor {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct table {
    const uint8_t *base;
    uint32_t count;
};

// An indirect table may stand at any address.
typedef uint64_t any_u64 __attribute__((aligned(1)));

static struct descriptor
read_descriptor(const uint8_t *at)
{
    uint64_t addr = le64toh(*(const volatile any_u64 *)at);
    uint64_t rest = le64toh(*(const volatile any_u64 *)(at + 8));
    return (struct descriptor){
        .addr = addr,
        .len = (uint32_t)rest,
        .flags = (uint16_t)(rest >> 32),
        .next = (uint16_t)(rest >> 48),
    };
}

static uint16_t
load_u16(const uint8_t *at)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE));
}

static void
store_u16(uint8_t *at, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)at, htole16(v), __ATOMIC_RELEASE);
}

static void
store_u32(uint8_t *at, uint32_t v)
{
    __atomic_store_n((uint32_t *)(void *)at, htole32(v), __ATOMIC_RELAXED);
}

// Both with the event index behind them, negotiated or not: that may change while the queue runs.
static size_t
avail_bytes(const struct virtqueue *q)
{
    return RING_ENTRIES + (size_t)q->size * AVAIL_ENTRY_BYTES + 2;
}

static size_t
used_bytes(const struct virtqueue *q)
{
    return RING_ENTRIES + (size_t)q->size * USED_ENTRY_BYTES + 2;
}

static void
log_used(struct virtqueue *q, size_t offset, size_t len)
{
    if (q->log_used && q->used_log <= UINT64_MAX - offset)
        guest_memory_dirty_addr(q->memory, q->used_log + offset, len);
}

static bool
is_aligned(const void *p, uintptr_t to)
{
    return ((uintptr_t)p & (to - 1)) == 0;
}

static int
resolve(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    virtqueue_stop(q);
    if (q->size == 0)
        return error_set(err, EINVAL, "ring of no size");
    uint8_t *desc = guest_memory_at_user(q->memory, addr->desc, (uint64_t)q->size * DESC_BYTES);
    uint8_t *avail = guest_memory_at_user(q->memory, addr->avail, avail_bytes(q));
    uint8_t *used = guest_memory_at_user(q->memory, addr->used, used_bytes(q));
    if (!desc || !avail || !used)
        return error_set(err, EFAULT, "ring of %u entries outside of the guest's memory", q->size);
    if (!is_aligned(desc, 16) || !is_aligned(avail, 2) || !is_aligned(used, 4))
        return error_set(err, EINVAL, "ring misaligned");
    q->desc = desc;
    q->avail = avail;
    q->used = used;
    q->used_log = addr->used_log;
    q->log_used = addr->log_used;
    return 0;
}

int
virtqueue_start(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    int rc = resolve(q, addr, err);
    if (rc < 0)
        return rc;
    q->seen_avail = q->next_avail;
    q->next_used = q->published_used = load_u16(q->used + RING_IDX);
    q->is_fresh = q->asks_kick = true;
    q->broken[0] = '\0';
    return 0;
}

int
virtqueue_move(struct virtqueue *q, const struct virtqueue_addr *addr, struct error *err)
{
    return resolve(q, addr, err);
}

void
virtqueue_stop(struct virtqueue *q)
{
    q->desc = q->avail = NULL;
    q->used = NULL;
}

bool
virtqueue_is_running(const struct virtqueue *q)
{
    return q->desc && !q->broken[0];
}

void
virtqueue_break(struct virtqueue *q, const char *fmt, ...)
{
    va_list args;
    if (q->broken[0])
        return;
    va_start(args, fmt);
    vsnprintf(q->broken, sizeof(q->broken), fmt, args);
    va_end(args);
}

// The table that an indirect descriptor names. False, and the queue is broken.
static bool
enter_indirect(struct virtqueue *q, const struct descriptor *d, bool is_nested, struct table *out)
{
    if (!q->indirect || is_nested || (d->flags & DESC_NEXT)) {
        virtqueue_break(q, "indirect descriptor %s",
                        !q->indirect ? "that was not negotiated"
                        : is_nested  ? "within an indirect table"
                                     : "with a next one");
        return false;
    }
    uint32_t count = d->len / DESC_BYTES;
    if (count == 0 || d->len % DESC_BYTES != 0 || count > VIRTQUEUE_SIZE_MAX) {
        virtqueue_break(q, "indirect table of %u bytes", d->len);
        return false;
    }
    out->base = guest_memory_at(q->memory, d->addr, d->len);
    out->count = count;
    if (!out->base)
        virtqueue_break(q, "indirect table outside of the guest's memory");
    return out->base;
}

static bool
add_piece(struct virtqueue *q, const struct descriptor *d, bool writable,
          struct virtqueue_chain *out, struct iovec *iov)
{
    if (!!(d->flags & DESC_WRITE) != writable) {
        virtqueue_break(q, "descriptor of the wrong direction");
        return false;
    }
    if (d->len == 0) {
        virtqueue_break(q, "descriptor of no length");
        return false;
    }
    int n = guest_memory_slice(q->memory, d->addr, d->len, iov + out->iovcnt,
                               VIRTQUEUE_CHAIN_MAX - out->iovcnt);
    if (n < 0) {
        virtqueue_break(q, "%s",
                        out->iovcnt == VIRTQUEUE_CHAIN_MAX
                            ? "chain of too many descriptors"
                            : "descriptor outside of the guest's memory");
        return false;
    }
    out->iovcnt += n;
    out->len += d->len; // at most 1024 times 4 GiB
    return true;
}

// Follows a chain from out->head. False, and the queue is broken.
static bool
walk(struct virtqueue *q, bool writable, struct virtqueue_chain *out, struct iovec *iov)
{
    struct table t = {q->desc, q->size};
    uint16_t at = out->head;
    bool is_indirect = false;
    for (uint32_t left = t.count; left > 0; left--) {
        if (at >= t.count) {
            virtqueue_break(q, "descriptor %u of %u", at, t.count);
            return false;
        }
        struct descriptor d = read_descriptor(t.base + (size_t)at * DESC_BYTES);
        if (d.flags & DESC_INDIRECT) {
            if (!enter_indirect(q, &d, is_indirect, &t))
                return false;
            is_indirect = true;
            at = 0;
            left = t.count + 1; // entered once, so this ends
            continue;
        }
        if (!add_piece(q, &d, writable, out, iov))
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
virtqueue_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out, struct iovec *iov)
{
    if (!virtqueue_is_running(q) || !has_more(q))
        return false;
    size_t entry = q->next_avail & (q->size - 1);
    *out = (struct virtqueue_chain){
        .head = load_u16(q->avail + RING_ENTRIES + entry * AVAIL_ENTRY_BYTES)};
    if (!walk(q, writable, out, iov))
        return false;
    q->next_avail++;
    return true;
}

void
virtqueue_untake(struct virtqueue *q, uint16_t count)
{
    q->next_avail = (uint16_t)(q->next_avail - count);
}

void
virtqueue_complete(struct virtqueue *q, uint16_t head, uint32_t len)
{
    if (!q->used)
        return;
    size_t offset = RING_ENTRIES + (size_t)(q->next_used++ & (q->size - 1)) * USED_ENTRY_BYTES;
    store_u32(q->used + offset, head);
    store_u32(q->used + offset + 4, len);
    log_used(q, offset, USED_ENTRY_BYTES);
}

// The driver asked to be notified when its event index is passed (virtio 1.2, 2.7.7.2).
static bool
passes(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool
virtqueue_publish(struct virtqueue *q)
{
    if (!q->used || q->next_used == q->published_used)
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
    return is_fresh || passes(event, q->next_used, before);
}

bool
virtqueue_want_kick(struct virtqueue *q)
{
    if (!virtqueue_is_running(q))
        return false;
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
virtqueue_no_kick(struct virtqueue *q)
{
    // With event indexes, the one we asked for is behind us already.
    if (!virtqueue_is_running(q) || q->event_idx || !q->asks_kick)
        return;
    q->asks_kick = false;
    store_u16(q->used + RING_FLAGS, USED_NO_NOTIFY);
    log_used(q, RING_FLAGS, 2);
}
