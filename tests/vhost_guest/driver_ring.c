// SPDX-License-Identifier: BSD-3-Clause
// Both formats of the driver's ring. The device is trusted here: what it says is asserted.
#include "driver_ring.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DESC_BYTES = 16,
    DESC_NEXT = 1,
    DESC_WRITE = 2,
    DESC_INDIRECT = 4,
    PACKED_AVAIL = 1 << 7,
    PACKED_USED = 1 << 15,
};

// The rings' heads in split format, and what a wish in packed format means.
enum {
    RING_FLAGS = 0,
    RING_IDX = 2,
    RING_ENTRIES = 4,
    WISH_ALWAYS = 0,
    WISH_NEVER = 1,
    WISH_AT_ENTRY = 2,
    WISH_WRAP = 1 << 15,
};

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags_or_id, next_or_flags;
};

static size_t
align(size_t n)
{
    return (n + 4095) & ~(size_t)4095;
}

size_t
driver_ring_bytes(uint16_t size)
{
    return align((size_t)size * DESC_BYTES) + align(6 + 2 * (size_t)size) +
           align(6 + 8 * (size_t)size) + (size_t)size * DRIVER_RING_PIECES_MAX * DESC_BYTES;
}

bool
driver_ring_init(struct driver_ring *r, const struct driver_ring_config *config)
{
    uint16_t size = config->size;
    assert(size > 0 && (size & (size - 1)) == 0);
    *r = (struct driver_ring){.config = *config, .free_count = size, .ids_free = size};
    r->desc = config->memory;
    r->driver = r->desc + align((size_t)size * DESC_BYTES);
    r->device = r->driver + align(6 + 2 * (size_t)size);
    r->tables = r->device + align(6 + 8 * (size_t)size);
    r->next = calloc(size, sizeof(*r->next));
    r->entries = calloc(size, sizeof(*r->entries));
    r->ids = calloc(size, sizeof(*r->ids));
    r->avail_wrap = r->used_wrap = true;
    if (!r->next || !r->entries || !r->ids) {
        driver_ring_fini(r);
        return false;
    }
    for (uint16_t i = 0; i < size; i++) {
        r->next[i] = (uint16_t)(i + 1);
        r->ids[i] = (uint16_t)(size - 1 - i);
    }
    driver_ring_no_call(r);
    return true;
}

void
driver_ring_fini(struct driver_ring *r)
{
    free(r->next);
    free(r->entries);
    free(r->ids);
    r->next = r->entries = r->ids = NULL;
}

uint32_t
driver_ring_base(const struct driver_ring *r)
{
    return r->config.packed ? WISH_WRAP : 0;
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

static bool
passes(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static uint64_t
guest_addr(const struct driver_ring *r, const void *p)
{
    return (uint64_t)((const uint8_t *)p - r->config.base);
}

int
driver_ring_next_token(const struct driver_ring *r, int pieces)
{
    int entries = r->config.indirect && pieces > 1 ? 1 : pieces;
    assert(pieces > 0 && pieces <= DRIVER_RING_PIECES_MAX);
    if (entries > r->free_count)
        return -1;
    return r->config.packed ? r->ids[r->ids_free - 1] : r->free_first;
}

// The chain as an indirect table; gives the descriptor that names it.
static struct iovec
fill_table(struct driver_ring *r, uint16_t token, const struct iovec *iov, int pieces,
           bool writable)
{
    uint8_t *table = r->tables + (size_t)token * DRIVER_RING_PIECES_MAX * DESC_BYTES;
    for (int i = 0; i < pieces; i++) {
        uint16_t direction = writable ? DESC_WRITE : 0;
        struct desc d = {.addr = htole64(guest_addr(r, iov[i].iov_base)),
                         .len = htole32((uint32_t)iov[i].iov_len)};
        if (r->config.packed) {
            d.next_or_flags = htole16(direction);
        } else {
            d.flags_or_id = htole16((uint16_t)(direction | (i < pieces - 1 ? DESC_NEXT : 0)));
            d.next_or_flags = htole16((uint16_t)(i + 1));
        }
        memcpy(table + (size_t)i * DESC_BYTES, &d, DESC_BYTES);
    }
    return (struct iovec){table, (size_t)pieces * DESC_BYTES};
}

static void
add_split(struct driver_ring *r, const struct iovec *iov, int pieces, uint16_t flags)
{
    uint16_t head = r->free_first, at = head, mask = (uint16_t)(r->config.size - 1);
    for (int i = 0; i < pieces; i++) {
        bool more = i < pieces - 1;
        struct desc d = {.addr = htole64(guest_addr(r, iov[i].iov_base)),
                         .len = htole32((uint32_t)iov[i].iov_len),
                         .flags_or_id = htole16((uint16_t)(flags | (more ? DESC_NEXT : 0))),
                         .next_or_flags = htole16(r->next[at])};
        memcpy(r->desc + (size_t)at * DESC_BYTES, &d, DESC_BYTES);
        if (more)
            at = r->next[at];
    }
    r->free_first = r->next[at];
    r->free_count = (uint16_t)(r->free_count - pieces);
    r->entries[head] = (uint16_t)pieces;
    store_u16(r->driver + RING_ENTRIES + 2 * (size_t)(r->avail & mask), head);
    store_u16(r->driver + RING_IDX, ++r->avail);
}

static void
advance(const struct driver_ring *r, uint16_t *at, bool *wrap, uint16_t by)
{
    *at = (uint16_t)(*at + by);
    if (*at >= r->config.size) {
        *at = (uint16_t)(*at - r->config.size);
        *wrap = !*wrap;
    }
}

static void
add_packed(struct driver_ring *r, const struct iovec *iov, int pieces, uint16_t flags)
{
    uint16_t id = r->ids[--r->ids_free], first = r->avail, first_flags = 0;
    for (int i = 0; i < pieces; i++) {
        uint8_t *entry = r->desc + (size_t)r->avail * DESC_BYTES;
        uint16_t mine = (uint16_t)(flags | (i < pieces - 1 ? DESC_NEXT : 0) |
                                   (r->avail_wrap ? PACKED_AVAIL : PACKED_USED));
        struct desc d = {.addr = htole64(guest_addr(r, iov[i].iov_base)),
                         .len = htole32((uint32_t)iov[i].iov_len),
                         .flags_or_id = htole16(id)};
        memcpy(entry, &d, DESC_BYTES - 2);
        if (i == 0)
            first_flags = mine;
        else
            store_u16(entry + DESC_BYTES - 2, mine);
        advance(r, &r->avail, &r->avail_wrap, 1);
    }
    r->free_count = (uint16_t)(r->free_count - pieces);
    r->entries[id] = (uint16_t)pieces;
    store_u16(r->desc + (size_t)first * DESC_BYTES + DESC_BYTES - 2, first_flags);
}

void
driver_ring_add(struct driver_ring *r, const struct iovec *iov, int pieces, bool writable)
{
    int token = driver_ring_next_token(r, pieces);
    uint16_t flags = writable ? DESC_WRITE : 0;
    struct iovec table;
    assert(token >= 0);
    if (r->config.indirect && pieces > 1) {
        table = fill_table(r, (uint16_t)token, iov, pieces, writable);
        iov = &table;
        pieces = 1;
        flags = DESC_INDIRECT;
    }
    if (r->config.packed)
        add_packed(r, iov, pieces, flags);
    else
        add_split(r, iov, pieces, flags);
    r->added += r->config.packed ? (uint32_t)pieces : 1;
}

static bool
wants_kick(const struct driver_ring *r)
{
    uint16_t size = r->config.size, now = r->avail, before = (uint16_t)(now - r->added);
    if (!r->config.packed) {
        if (!r->config.event_idx)
            return !(load_u16(r->device + RING_FLAGS) & 1);
        return passes(load_u16(r->device + RING_ENTRIES + 8 * (size_t)size), now, before);
    }
    uint32_t wish =
        le32toh(__atomic_load_n((const uint32_t *)(const void *)r->device, __ATOMIC_ACQUIRE));
    if (wish >> 16 != WISH_AT_ENTRY)
        return wish >> 16 != WISH_NEVER;
    assert(r->config.event_idx);
    uint16_t event = wish & (WISH_WRAP - 1);
    if (!!(wish & WISH_WRAP) != r->avail_wrap)
        event = (uint16_t)(event - size);
    return passes(event, now, before);
}

void
driver_ring_kick(struct driver_ring *r)
{
    const uint64_t one = 1;
    if (r->added == 0)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool wanted = wants_kick(r);
    r->added = 0;
    if (!wanted)
        return;
    r->kicks++;
    if (write(r->config.kick_fd, &one, sizeof(one)) < 0)
        return; // full: it has not been looked at
}

static bool
has_used(const struct driver_ring *r)
{
    if (!r->config.packed)
        return load_u16(r->device + RING_IDX) != r->used;
    uint16_t flags = load_u16(r->desc + (size_t)r->used * DESC_BYTES + DESC_BYTES - 2);
    return !!(flags & PACKED_AVAIL) == r->used_wrap && !!(flags & PACKED_USED) == r->used_wrap;
}

static int
take_split(struct driver_ring *r, uint32_t *len)
{
    uint16_t mask = (uint16_t)(r->config.size - 1);
    uint32_t element[2];
    memcpy(element, r->device + RING_ENTRIES + 8 * (size_t)(r->used & mask), 8);
    r->used++;
    uint32_t head = le32toh(element[0]);
    *len = le32toh(element[1]);
    assert(head < r->config.size && r->entries[head] > 0);
    uint16_t last = (uint16_t)head;
    for (uint16_t i = 1; i < r->entries[head]; i++)
        last = r->next[last];
    r->next[last] = r->free_first;
    r->free_first = (uint16_t)head;
    return (int)head;
}

static int
take_packed(struct driver_ring *r, uint32_t *len)
{
    struct desc d;
    memcpy(&d, r->desc + (size_t)r->used * DESC_BYTES, DESC_BYTES);
    uint16_t id = le16toh(d.flags_or_id);
    *len = le32toh(d.len);
    assert(id < r->config.size && r->entries[id] > 0);
    advance(r, &r->used, &r->used_wrap, r->entries[id]);
    r->ids[r->ids_free++] = id;
    return id;
}

int
driver_ring_take(struct driver_ring *r, uint32_t *len)
{
    if (!has_used(r))
        return -1;
    int token = r->config.packed ? take_packed(r, len) : take_split(r, len);
    r->free_count = (uint16_t)(r->free_count + r->entries[token]);
    r->entries[token] = 0;
    return token;
}

static void
tell_packed(struct driver_ring *r, uint32_t mode)
{
    uint32_t wish = r->used | (r->used_wrap ? WISH_WRAP : 0u) | mode << 16;
    __atomic_store_n((uint32_t *)(void *)r->driver, htole32(wish), __ATOMIC_RELEASE);
}

bool
driver_ring_want_call(struct driver_ring *r)
{
    if (r->config.packed)
        tell_packed(r, r->config.event_idx ? WISH_AT_ENTRY : WISH_ALWAYS);
    else if (r->config.event_idx)
        store_u16(r->driver + RING_ENTRIES + 2 * (size_t)r->config.size, r->used);
    else
        store_u16(r->driver + RING_FLAGS, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return has_used(r);
}

void
driver_ring_no_call(struct driver_ring *r)
{
    if (r->config.packed)
        tell_packed(r, WISH_NEVER);
    else if (r->config.event_idx) // the event that was asked for is behind us, or far ahead
        store_u16(r->driver + RING_ENTRIES + 2 * (size_t)r->config.size, (uint16_t)(r->used - 1));
    else
        store_u16(r->driver + RING_FLAGS, 1);
}
