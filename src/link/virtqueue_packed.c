// SPDX-License-Identifier: BSD-3-Clause
// Packed virtqueues (virtio 1.2, 2.8): one ring of descriptors, in which the driver makes chains
// available and we write over the first descriptor of each when it is used. Two bits and a wrap
// counter on each side tell whose an entry is. virtqueue.c calls this.
//
// What is completed is published as a whole: the flags of the first entry are stored last, and the
// driver, which looks at the entries in order, does not see those behind it before. Else it could
// find a frame of which only some buffers are there.
#include "link/virtqueue_impl.h"

// Of a descriptor (2.8.13), beside those of virtqueue_impl.h.
enum {
    AT_LEN = 8,
    AT_ID = 12,
    AT_FLAGS = 14,
    FLAG_AVAIL = 1 << 7,
    FLAG_USED = 1 << 15,
};

// What either side says of its notifications (2.8.14): the entry of the next one in 15 bits with
// its wrap counter, then how.
enum {
    EVENT_BYTES = 4,
    EVENT_ALWAYS = 0,
    EVENT_NEVER = 1,
    EVENT_AT_ENTRY = 2,
    EVENT_MODE = 3,
    EVENT_WRAP = 1 << 15,
};

struct virtqueue_layout
virtqueue_packed_layout(const struct virtqueue *q)
{
    return (struct virtqueue_layout){
        .desc = (size_t)q->size * DESC_BYTES, .avail = EVENT_BYTES, .used = EVENT_BYTES};
}

// The front-end's address for logging is that of the used part, while most is written to the
// descriptors; where these are in the guest's memory is known from the mapping.
static void
log_write(struct virtqueue *q, const uint8_t *at, size_t len)
{
    guest_memory_dirty(q->memory, at, len);
}

static uint16_t
load_flags(const struct virtqueue *q, uint32_t at)
{
    return load_u16(q->desc + (size_t)at * DESC_BYTES + AT_FLAGS);
}

// In which round of the ring the entry was last written by the driver, or marked used by us.
static bool
round_of(uint16_t flags)
{
    return flags & FLAG_AVAIL;
}

static bool
looks_used(uint16_t flags)
{
    return !!(flags & FLAG_AVAIL) == !!(flags & FLAG_USED);
}

// The first entry of another round than entry 0's; the size when there is none.
static uint32_t
find_seam(const struct virtqueue *q)
{
    uint32_t at = 1;
    while (at < q->size && round_of(load_flags(q, at)) == round_of(load_flags(q, 0)))
        at++;
    return at;
}

// A front-end whose back-end died does not know where that was; it says the start, as for a fresh
// ring. Where each chain has one entry, the ring itself tells: used entries, then available ones.
// Anything else, and the base stands.
static void
find_place(struct virtqueue *q)
{
    uint32_t place = 0, starts = 0, available = 0;
    for (uint32_t at = 0; at < q->size; at++) {
        bool used = looks_used(load_flags(q, at));
        available += !used;
        if (used || !looks_used(load_flags(q, at > 0 ? at - 1 : q->size - 1)))
            continue;
        place = at;
        starts++;
    }
    uint32_t seam = find_seam(q);
    bool wrap = round_of(load_flags(q, 0));
    if (available == 0) { // the driver has added nothing: we are where the rounds meet
        place = seam < q->size ? seam : 0;
        wrap = seam < q->size ? wrap : !wrap;
    } else {
        if (available == q->size)
            place = seam < q->size ? seam : 0;
        wrap = round_of(load_flags(q, place));
    }
    if (starts > 1)
        return;
    q->next_avail = (uint16_t)place;
    q->avail_wrap = wrap;
}

void
virtqueue_packed_start(struct virtqueue *q)
{
    // With indirect tables a driver has no use for longer chains.
    if (q->indirect && q->next_avail == 0 && q->avail_wrap)
        find_place(q);
    // All that was taken was given back before the ring stopped, so there is one place, not two.
    // DPDK's front-end sends the upper half of the base as zeros.
    q->seen_avail = q->next_used = q->published_used = q->next_avail;
    q->seen_wrap = q->used_wrap = q->published_wrap = q->avail_wrap;
    q->in_flight = 0;
}

static void
advance(const struct virtqueue *q, uint16_t *index, bool *wrap, uint32_t by)
{
    uint32_t at = *index + by; // by <= size
    if (at >= q->size) {
        at -= q->size;
        *wrap = !*wrap;
    }
    *index = (uint16_t)at;
}

// The entry's second half, which has its flags, in one load; the other is to be read after it.
static uint64_t
load_rest(const struct virtqueue *q, uint16_t at)
{
    const uint8_t *entry = q->desc + (size_t)at * DESC_BYTES;
    const uint64_t *rest = (const uint64_t *)(const void *)(entry + AT_LEN);
    return le64toh(__atomic_load_n(rest, __ATOMIC_ACQUIRE));
}

static struct descriptor
make_descriptor(uint64_t addr, uint64_t rest)
{
    return (struct descriptor){
        .addr = le64toh(addr),
        .len = (uint32_t)rest,
        .next = (uint16_t)(rest >> 32),
        .flags = (uint16_t)(rest >> 48),
    };
}

static struct descriptor
entry_of(const struct virtqueue *q, uint16_t at, uint64_t rest)
{
    const uint8_t *entry = q->desc + (size_t)at * DESC_BYTES;
    return make_descriptor(*(const volatile uint64_t *)(const void *)entry, rest);
}

static bool
is_available(uint64_t rest, bool wrap)
{
    uint16_t flags = (uint16_t)(rest >> 48);
    bool avail = flags & FLAG_AVAIL, used = flags & FLAG_USED;
    return avail == wrap && used != wrap;
}

// All of an indirect table; what an entry's flags say beside its direction is reserved (2.8.7).
static bool
add_table(struct virtqueue *q, const struct descriptor *d, bool writable,
          struct virtqueue_chain *out, struct iovec *iov)
{
    struct table t;
    if (!virtqueue_enter_table(q, d, &t))
        return false;
    for (uint32_t i = 0; i < t.count; i++) {
        const uint8_t *at = t.base + (size_t)i * DESC_BYTES;
        uint64_t addr = *(const volatile virtqueue_any_u64 *)at;
        uint64_t rest = le64toh(*(const volatile virtqueue_any_u64 *)(at + AT_LEN));
        struct descriptor piece = make_descriptor(addr, rest);
        if (piece.flags & DESC_INDIRECT) {
            virtqueue_break(q, "indirect descriptor within an indirect table");
            return false;
        }
        if (!virtqueue_add_piece(q, &piece, writable, out, iov))
            return false;
    }
    return true;
}

bool
virtqueue_packed_take(struct virtqueue *q, bool writable, struct virtqueue_chain *out,
                      struct iovec *iov)
{
    uint16_t at = q->next_avail;
    bool wrap = q->avail_wrap;
    uint64_t rest = load_rest(q, at);
    if (!is_available(rest, wrap))
        return false;
    *out = (struct virtqueue_chain){.iovcnt = 0};
    for (uint32_t entries = 1; entries <= q->size - q->in_flight; entries++) {
        struct descriptor d = entry_of(q, at, rest);
        bool is_table = d.flags & DESC_INDIRECT;
        if (is_table && entries > 1) {
            virtqueue_break(q, "indirect descriptor within a chain");
            return false;
        }
        if (!(is_table ? add_table : virtqueue_add_piece)(q, &d, writable, out, iov))
            return false;
        advance(q, &at, &wrap, 1);
        if (!(d.flags & DESC_NEXT)) {
            // The last one has the id (2.8.6); whatever it is, the driver gets it back.
            out->head = (struct virtqueue_head){.id = d.next, .entries = (uint16_t)entries};
            q->in_flight += entries;
            q->next_avail = q->seen_avail = at;
            q->avail_wrap = q->seen_wrap = wrap;
            return true;
        }
        rest =
            load_rest(q, at); // the first one's flags were stored last: all of the chain is there
    }
    virtqueue_break(q, "chains of more than the ring's %u descriptors", q->size);
    return false;
}

void
virtqueue_packed_untake(struct virtqueue *q, uint16_t entries)
{
    if (entries > q->next_avail) {
        q->next_avail = (uint16_t)(q->next_avail + q->size);
        q->avail_wrap = !q->avail_wrap;
    }
    q->next_avail = (uint16_t)(q->next_avail - entries);
    q->in_flight -= entries;
}

void
virtqueue_packed_complete(struct virtqueue *q, struct virtqueue_head head, uint32_t len)
{
    uint8_t *entry = q->desc + (size_t)q->next_used * DESC_BYTES;
    uint16_t flags =
        (uint16_t)((q->used_wrap ? FLAG_AVAIL | FLAG_USED : 0) | (len > 0 ? DESC_WRITE : 0));
    store_u32(entry + AT_LEN, len);
    store_u16(entry + AT_ID, head.id);
    if (q->next_used == q->published_used && q->used_wrap == q->published_wrap)
        q->first_flags = flags;
    else
        store_u16(entry + AT_FLAGS, flags);
    log_write(q, entry, DESC_BYTES);
    advance(q, &q->next_used, &q->used_wrap, head.entries);
    q->in_flight -= head.entries;
}

bool
virtqueue_packed_publish(struct virtqueue *q)
{
    uint16_t before = q->published_used, now = q->next_used;
    if (now == before && q->used_wrap == q->published_wrap)
        return false;
    bool is_fresh = q->is_fresh;
    uint8_t *first = q->desc + (size_t)before * DESC_BYTES;
    store_u16(first + AT_FLAGS, q->first_flags);
    log_write(q, first, DESC_BYTES);
    q->published_used = now;
    q->published_wrap = q->used_wrap;
    q->is_fresh = false;
    // The flags must be seen before the driver's wish is read (2.8.21.3.1).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t wish =
        le32toh(__atomic_load_n((const uint32_t *)(const void *)q->avail, __ATOMIC_ACQUIRE));
    unsigned mode = (wish >> 16) & EVENT_MODE;
    if (mode != EVENT_AT_ENTRY || !q->event_idx)
        return mode != EVENT_NEVER;
    // As if there were no end to the ring.
    uint16_t event = wish & (EVENT_WRAP - 1);
    if (!!(wish & EVENT_WRAP) != q->used_wrap)
        event = (uint16_t)(event - q->size);
    if (before >= now)
        before = (uint16_t)(before - q->size);
    return is_fresh || virtqueue_passes(event, now, before);
}

static void
tell_wish(struct virtqueue *q, unsigned mode)
{
    uint32_t entry = q->seen_avail | (q->seen_wrap ? EVENT_WRAP : 0u);
    store_u32(q->used, entry | mode << 16);
    log_write(q, q->used, EVENT_BYTES);
}

bool
virtqueue_packed_want_kick(struct virtqueue *q)
{
    q->asks_kick = true;
    tell_wish(q, q->event_idx ? EVENT_AT_ENTRY : EVENT_ALWAYS);
    // The wish must be seen before the driver's flags are read (2.8.20).
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return is_available(load_rest(q, q->seen_avail), q->seen_wrap);
}

void
virtqueue_packed_no_kick(struct virtqueue *q)
{
    q->asks_kick = false;
    tell_wish(q, EVENT_NEVER);
}
