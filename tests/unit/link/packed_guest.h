// SPDX-License-Identifier: BSD-3-Clause
// A driver of packed rings (virtio 1.2, 2.8) for tests, on top of vhost_guest.h: posts chains, well
// or badly, and looks at what was used.
#pragma once

#include "vhost_guest.h"

#define VP_AVAIL_FLAG (1 << 7)
#define VP_USED_FLAG  (1 << 15)
#define VP_WRAP       0x8000u
#define VP_START      VP_WRAP // base of a fresh ring
#define VP_FEATURES   (VG_FEATURES | VIRTIO_RING_PACKED)
#define VP_IDS        1024

struct packed_guest {
    struct vhost_guest g;
    struct vp_side {
        uint16_t next; // where the next chain is posted
        uint16_t used; // where the next used one is expected
        bool wrap, used_wrap;
        uint16_t entries[VP_IDS]; // of the chain that has the id
    } side[2];
};

static inline void
vp_reset_side(struct packed_guest *p, int ring)
{
    p->side[ring] = (struct vp_side){.wrap = true, .used_wrap = true};
    p->g.base[ring] = VP_START;
    memset(p->g.mem + VG_RING(ring), 0, 0x10000);
}

static inline struct packed_guest
vp_start(uint64_t features, uint32_t entries)
{
    struct packed_guest p = {.g = vg_new()};
    p.g.packed = true;
    p.g.entries = entries;
    vp_reset_side(&p, 0);
    vp_reset_side(&p, 1);
    vg_connect(&p.g);
    vg_set_up(&p.g, features);
    return p;
}

static inline uint8_t *
vp_entry(struct packed_guest *p, int ring, uint16_t at)
{
    return p->g.mem + VG_RING(ring) + (size_t)at * 16;
}

static inline _Atomic uint16_t *
vp_flags(struct packed_guest *p, int ring, uint16_t at)
{
    return vg_u16(&p->g, VG_RING(ring) + (uint64_t)at * 16 + 14);
}

// Makes a chain of `count` descriptors available (next is not looked at), without a kick.
static inline void
vp_post(struct packed_guest *p, int ring, const struct vg_desc *d, uint16_t count, uint16_t id)
{
    struct vp_side *s = &p->side[ring];
    uint16_t first = s->next, first_flags = 0;
    for (uint16_t i = 0; i < count; i++) {
        uint8_t *at = vp_entry(p, ring, s->next);
        uint16_t flags = (uint16_t)(d[i].flags | (s->wrap ? VP_AVAIL_FLAG : VP_USED_FLAG));
        memcpy(at, &d[i].addr, 8);
        memcpy(at + 8, &d[i].len, 4);
        memcpy(at + 12, &id, 2);
        if (i == 0)
            first_flags = flags;
        else
            atomic_store(vp_flags(p, ring, s->next), flags);
        if (++s->next == p->g.entries) {
            s->next = 0;
            s->wrap = !s->wrap;
        }
    }
    atomic_store(vp_flags(p, ring, first), first_flags);
    if (id < VP_IDS)
        s->entries[id] = count;
}

// The next used one: its id, or -1. *len is what was written to it.
static inline int
vp_take_used(struct packed_guest *p, int ring, uint32_t *len)
{
    struct vp_side *s = &p->side[ring];
    uint16_t flags = atomic_load(vp_flags(p, ring, s->used)), id;
    if (!!(flags & VP_AVAIL_FLAG) != s->used_wrap || !!(flags & VP_USED_FLAG) != s->used_wrap)
        return -1;
    memcpy(len, vp_entry(p, ring, s->used) + 8, 4);
    memcpy(&id, vp_entry(p, ring, s->used) + 12, 2);
    assert_int_equal(!!(flags & VG_WRITE), *len > 0);
    s->used = (uint16_t)(s->used + (id < VP_IDS ? s->entries[id] : 1));
    if (s->used >= p->g.entries) {
        s->used = (uint16_t)(s->used - p->g.entries);
        s->used_wrap = !s->used_wrap;
    }
    return id;
}

// A frame in `pieces` descriptors of the ring, or of an indirect table.
static inline void
vp_send_frame(struct packed_guest *p, size_t len, unsigned seed, uint16_t pieces, bool indirect)
{
    struct vg_desc d[64] = {{0}};
    uint64_t at = vg_frame(&p->g, 0, len, seed);
    uint32_t total = (uint32_t)(VG_HDR + len), each = total / pieces;
    assert_true(pieces <= 64);
    for (uint16_t i = 0; i < pieces; i++) {
        bool is_last = i == pieces - 1;
        d[i] = (struct vg_desc){VG_GUEST + at + i * each, is_last ? total - i * each : each,
                                is_last || indirect ? 0 : VG_NEXT, 0};
        if (indirect)
            vg_desc_at(&p->g, VG_DATA + 0x60000 + i * 16u, d[i]);
    }
    struct vg_desc table = {VG_GUEST + VG_DATA + 0x60000, pieces * 16u, VG_INDIRECT, 0};
    vp_post(p, FROM_GUEST, indirect ? &table : d, indirect ? 1 : pieces, (uint16_t)(seed % VP_IDS));
    vg_kick(&p->g, FROM_GUEST);
}

// Posts buffers of len bytes for the host to fill, with the ids from `first` on.
static inline void
vp_buffers(struct packed_guest *p, uint16_t first, uint16_t count, uint32_t len)
{
    for (uint16_t i = 0; i < count; i++) {
        uint64_t at = VG_GUEST + VG_DATA + 0x200000 + (uint64_t)(first + i) * len;
        vp_post(p, TO_GUEST, &(struct vg_desc){at, len, VG_WRITE, 0}, 1, (uint16_t)(first + i));
    }
}

// How each side wants to be notified: mode 0 always, 1 never, 2 at an entry.
static inline void
vp_wish(struct packed_guest *p, int ring, uint16_t entry_and_wrap, uint16_t mode)
{
    atomic_store(vg_u16(&p->g, VG_RING(ring) + VG_AVAIL), entry_and_wrap);
    atomic_store(vg_u16(&p->g, VG_RING(ring) + VG_AVAIL + 2), mode);
}

static inline uint32_t
vp_device_wish(struct packed_guest *p, int ring)
{
    uint32_t wish;
    memcpy(&wish, p->g.mem + VG_RING(ring) + VG_USED, 4);
    return wish;
}
