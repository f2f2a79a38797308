// SPDX-License-Identifier: BSD-3-Clause
// Packed rings of the vhost-user link with drivers that do not behave. What counts is as in
// test_vhost_user_hostile.c.
#include "packed_guest.h"

#include <pthread.h>

#define GUEST_DATA (VG_GUEST + VG_DATA)

static void
expect_recovery(struct packed_guest *p)
{
    struct vhost_guest *g = &p->g;
    vg_state(g, VHOST_GET_VRING_BASE, FROM_GUEST, 0);
    vg_reply(g, VHOST_GET_VRING_BASE);
    vp_reset_side(p, FROM_GUEST);
    vg_ring(g, FROM_GUEST);
    vg_turns(g);
    vp_send_frame(p, 100, 4, 2, false);
    expect_last(g, 100, 4);
    vg_events(g->err[FROM_GUEST]);
}

// The ring is broken by what was posted: told once, never looked at again.
static void
expect_broken(struct packed_guest *p, const char *what)
{
    struct vhost_guest *g = &p->g;
    size_t frames = g->r->count;
    vg_kick(g, FROM_GUEST);
    if (vg_events(g->err[FROM_GUEST]) != 1)
        fail_msg("not broken: %s", what);
    for (int i = 0; i < 3; i++)
        vg_kick(g, FROM_GUEST);
    assert_int_equal(vg_events(g->err[FROM_GUEST]), 0);
    assert_int_equal(g->r->count, frames);
    assert_int_equal(g->r->down, 0);
    expect_recovery(p);
}

TEST(chains_that_cannot_be_break_the_ring)
{
    static const struct {
        const char *what;
        struct vg_desc d[2];
        uint16_t count;
    } rows[] = {
        {"no length", {{GUEST_DATA, 0, 0, 0}}, 1},
        {"no length at the end", {{GUEST_DATA, 64, VG_NEXT, 0}, {GUEST_DATA, 0, 0, 0}}, 2},
        {"address 0", {{0, 64, 0, 0}}, 1},
        {"over the end", {{VG_GUEST + VG_BYTES - 63, 64, 0, 0}}, 1},
        {"address wraps", {{UINT64_MAX - 10, 64, 0, 0}}, 1},
        {"4 GiB", {{GUEST_DATA, UINT32_MAX, 0, 0}}, 1},
        {"to be written", {{GUEST_DATA, 64, VG_WRITE, 0}}, 1},
        {"interleaved", {{GUEST_DATA, 64, VG_NEXT, 0}, {GUEST_DATA, 64, VG_WRITE, 0}}, 2},
        {"indirect with next", {{GUEST_DATA, 64, VG_INDIRECT | VG_NEXT, 0}}, 1},
        {"indirect in a chain",
         {{GUEST_DATA, 64, VG_NEXT, 0}, {GUEST_DATA, 16, VG_INDIRECT, 0}},
         2},
        {"indirect of a part of an entry", {{GUEST_DATA, 24, VG_INDIRECT, 0}}, 1},
        {"indirect of nothing", {{GUEST_DATA, 0, VG_INDIRECT, 0}}, 1},
        {"indirect of 65 537 entries", {{GUEST_DATA, 65537 * 16, VG_INDIRECT, 0}}, 1},
        {"indirect outside", {{VG_GUEST + VG_BYTES - 16, 32, VG_INDIRECT, 0}}, 1},
    };
    struct packed_guest p = vp_start(VP_FEATURES, 16);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vp_post(&p, FROM_GUEST, rows[i].d, rows[i].count, 3);
        expect_broken(&p, rows[i].what);
    }
    vg_desc_at(&p.g, VG_DATA, (struct vg_desc){GUEST_DATA, 16, VG_INDIRECT, 0});
    memset(p.g.mem + VG_DATA + 12, 0, 4);
    const uint16_t nested = VG_INDIRECT;
    memcpy(p.g.mem + VG_DATA + 14, &nested, 2);
    vp_post(&p, FROM_GUEST, &(struct vg_desc){GUEST_DATA, 16, VG_INDIRECT, 0}, 1, 3);
    expect_broken(&p, "nested");
    vg_free(&p.g);
}

TEST(indirect_tables_need_to_be_negotiated)
{
    struct packed_guest p = vp_start(VP_FEATURES & ~VIRTIO_INDIRECT_DESC, 16);
    vp_post(&p, FROM_GUEST, &(struct vg_desc){GUEST_DATA, 16, VG_INDIRECT, 0}, 1, 3);
    expect_broken(&p, "not negotiated");
    vg_free(&p.g);
}

TEST(a_chain_without_an_end_breaks_the_ring)
{
    const uint32_t sizes[] = {1, 2, 16, 200};
    for (size_t s = 0; s < 4; s++) {
        struct packed_guest p = vp_start(VP_FEATURES | VIRTIO_EVENT_IDX, sizes[s]);
        for (uint32_t i = 0; i < sizes[s]; i++)
            vp_post(&p, FROM_GUEST, &(struct vg_desc){GUEST_DATA, 1, VG_NEXT, 0}, 1, 3);
        struct vhost_guest *g = &p.g;
        vg_kick(g, FROM_GUEST);
        assert_int_equal(vg_events(g->err[FROM_GUEST]), 1);
        assert_int_equal(g->r->count, 0);
        assert_int_equal(g->r->down, 0);
        vg_free(g);
    }
}

// An id is the driver's own matter: it is given back as it came.
TEST(ids_are_given_back_whatever_they_are)
{
    struct packed_guest p = vp_start(VP_FEATURES, 16);
    const uint16_t ids[] = {0, 15, 16, 1000, 0x7fff, 0x8000, 0xffff};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        uint32_t len;
        uint64_t at = vg_frame(&p.g, 0, 100, (unsigned)i);
        vp_post(&p, FROM_GUEST, &(struct vg_desc){VG_GUEST + at, VG_HDR + 100, 0, 0}, 1, ids[i]);
        vg_kick(&p.g, FROM_GUEST);
        expect_last(&p.g, 100, (unsigned)i);
        assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), ids[i]);
    }
    vg_free(&p.g);
}

// Entries that a driver marks with the counter of another round are not there.
TEST(a_wrong_wrap_counter_makes_nothing_available)
{
    struct packed_guest p = vp_start(VP_FEATURES, 4);
    for (unsigned round = 0; round < 6; round++) {
        uint16_t at = p.side[1].next;
        bool wrap = p.side[1].wrap;
        const uint16_t wrong[] = {0, VP_AVAIL_FLAG | VP_USED_FLAG,
                                  (uint16_t)(wrap ? VP_USED_FLAG : VP_AVAIL_FLAG)};
        uint16_t was = atomic_load(vp_flags(&p, FROM_GUEST, at));
        size_t before = p.g.r->count;
        for (int i = 0; i < 3; i++) {
            atomic_store(vp_flags(&p, FROM_GUEST, at), wrong[i]);
            vg_kick(&p.g, FROM_GUEST);
        }
        assert_int_equal(p.g.r->count, before);
        atomic_store(vp_flags(&p, FROM_GUEST, at), was);
        vp_send_frame(&p, 100, round, 1, false);
        expect_last(&p.g, 100, round);
    }
    // All the flags of the ring turned over, again and again: never a frame that is taken twice
    // without having been completed, never a spin.
    for (int i = 0; i < 1000; i++) {
        for (uint16_t at = 0; at < 4; at++)
            atomic_fetch_xor(vp_flags(&p, FROM_GUEST, at), VP_AVAIL_FLAG | VP_USED_FLAG);
        vg_kick(&p.g, FROM_GUEST);
        p.g.r->count = p.g.r->used = 0;
    }
    expect_recovery(&p);
    vg_free(&p.g);
}

TEST(rings_that_cannot_be_end_the_link)
{
    static const struct {
        uint32_t entries, base;
        uint64_t avail, used; // beside where they should be
        const char *why;
    } rows[] = {
        {0, VP_START, 0, 0, "ring of 0 entries"},
        {32769, VP_START, 0, 0, "ring of 32769 entries"},
        {16, VP_START | 16, 0, 0, "to go on at 16"},
        {16, 0x7fff, 0, 0, "to go on at 32767"},
        {16, VP_START, 2, 0, "misaligned"},
        {16, VP_START, 0, 2, "misaligned"},
        {16, VP_START, VG_BYTES, 0, "outside of the guest's"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct packed_guest p = {.g = vg_new()};
        struct vhost_guest *g = &p.g;
        const uint64_t user = VG_USER + VG_RING(1);
        const struct {
            uint32_t index, flags;
            uint64_t desc, used, avail, log;
        } a = {1, 0, user, user + VG_USED + rows[i].used, user + VG_AVAIL + rows[i].avail, 0};
        vg_connect(g);
        vg_u64(g, VHOST_SET_FEATURES, VP_FEATURES);
        vg_mem_table(g);
        vg_state(g, VHOST_SET_VRING_NUM, 1, rows[i].entries);
        vg_state(g, VHOST_SET_VRING_BASE, 1, rows[i].base);
        vg_send(g, VHOST_SET_VRING_ADDR, 0, &a, 40, NULL, 0);
        vg_fd(g, VHOST_SET_VRING_KICK, 1, g->kick[1]);
        vg_turns(g);
        assert_int_equal(g->r->down, 1);
        if (!strstr(g->r->why, rows[i].why))
            fail_msg("'%s' is not in '%s'", rows[i].why, g->r->why);
        vg_free(g);
    }
}

struct racer {
    struct packed_guest *p;
    _Atomic bool stop;
};

// Rewrites entries, flags and wishes of both rings, and an indirect table, with what is sometimes
// right.
static void *
race(void *arg)
{
    struct racer *r = arg;
    uint64_t x = 88172645463325252ull;
    while (!r->stop) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        int ring = x & 1;
        uint64_t at = VG_RING(ring) + ((x >> 1) & 7) * 16;
        if ((x >> 5 & 7) == 0)
            at = VG_DATA + ((x >> 9) & 7) * 16;
        if ((x >> 34 & 63) == 0)
            at = VG_RING(ring) + VG_AVAIL;
        const uint64_t addrs[] = {GUEST_DATA, GUEST_DATA + (x >> 40), VG_GUEST + VG_BYTES - 8,
                                  UINT64_MAX - 5};
        const uint32_t lens[] = {VG_HDR + 60, 1, 16 * 8, UINT32_MAX};
        const uint16_t whose[] = {VP_AVAIL_FLAG, VP_USED_FLAG, 0, VP_AVAIL_FLAG | VP_USED_FLAG};
        uint64_t flags = (x >> 12 & 7) | whose[x >> 52 & 3];
        uint32_t len = lens[x >> 18 & 7 ? 0 : x >> 21 & 3];
        volatile uint64_t *to = (volatile uint64_t *)(void *)(r->p->g.mem + at);
        to[0] = addrs[x >> 24 & 7 ? 0 : x >> 27 & 3];
        to[1] = len | (x >> 48) << 32 | (x >> 30 & 15 ? flags & ~7ull : flags) << 48;
    }
    return NULL;
}

TEST(a_racing_driver_harms_nobody_but_itself)
{
    static struct test_frame f;
    struct packed_guest p = vp_start(VP_FEATURES | VIRTIO_EVENT_IDX, 8);
    struct vhost_guest *g = &p.g;
    const struct link_stats *stats = link_stats_of(g->r->link);
    struct racer r = {.p = &p};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, race, &r), 0);
    const uint64_t deadline = loop_clock_us() + 10000000;
    for (int i = 0; g->r->down == 0; i++) {
        if (i > 3000 && (stats->frames_in > 20 || loop_clock_us() > deadline))
            break;
        uint64_t one = 1;
        assert_int_equal(write(g->kick[i & 1], &one, 8), 8);
        turns(g->loop, 2);
        link_send(g->r->link, frame_fill(&f, 1 + (size_t)i % 3000, 1));
        link_flush(g->r->link);
        g->r->count = g->r->used = 0;
        if (i % 8 == 7) { // a broken ring starts anew
            for (uint32_t j = 0; j < 2; j++) {
                vg_state(g, VHOST_GET_VRING_BASE, j, 0);
                g->base[j] = (uint32_t)(vg_reply(g, VHOST_GET_VRING_BASE) >> 32);
                assert_true((g->base[j] & 0x7fff) < 8);
                assert_int_equal(g->base[j] >> 16, g->base[j] & 0xffff); // all is given back
                vg_ring(g, j);
            }
            turns(g->loop, 1);
        }
    }
    r.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(g->r->down, 0);
    assert_true(stats->frames_in + stats->dropped_in > 0);
    expect_recovery(&p);
    vg_free(g);
}
