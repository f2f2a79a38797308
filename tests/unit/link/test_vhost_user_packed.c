// SPDX-License-Identifier: BSD-3-Clause
// Packed rings of the vhost-user link: frames both ways around the ring's end, notifications, stop
// and go, and drivers that do not behave.
#include "packed_guest.h"

#include <pthread.h>

#define GUEST_DATA (VG_GUEST + VG_DATA)

TEST(frames_go_around_the_end_of_the_ring_in_chains_of_any_length)
{
    const uint32_t sizes[] = {256, 100, 7, 8}; // packed rings need no power of two
    for (size_t s = 0; s < 4; s++) {
        struct packed_guest p = vp_start(VP_FEATURES, sizes[s]);
        uint32_t len;
        for (unsigned i = 0; i < 400; i++) {
            uint16_t pieces = (uint16_t)(1 + i % 7);
            vp_send_frame(&p, 100 + i, i, pieces, i % 3 == 0);
            expect_last(&p.g, 100 + i, i);
            assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), i);
            assert_int_equal(len, 0);
            assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), -1);
        }
        assert_int_equal(p.g.r->count, 400);
        vg_free(&p.g);
    }
}

TEST(a_chain_may_be_as_long_as_the_ring)
{
    struct packed_guest p = vp_start(VP_FEATURES, 64);
    uint32_t len;
    for (unsigned i = 0; i < 5; i++) {
        vp_send_frame(&p, 60000, i, 64, false);
        expect_last(&p.g, 60000, i);
        assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), i);
    }
    vg_free(&p.g);
}

TEST(a_full_ring_is_emptied_with_few_notifications)
{
    struct packed_guest p = vp_start(VP_FEATURES, VG_SIZE);
    uint32_t len;
    for (uint16_t i = 0; i < VG_SIZE; i++)
        vp_post(&p, FROM_GUEST, &(struct vg_desc){GUEST_DATA + i * 256u, VG_HDR + 60, 0, 0}, 1, i);
    vg_kick(&p.g, FROM_GUEST);
    assert_int_equal(p.g.r->count, VG_SIZE);
    assert_true(vg_events(p.g.call[FROM_GUEST]) <= VG_SIZE / 64);
    for (int i = 0; i < VG_SIZE; i++)
        assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), i);
    assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), -1);
    vg_free(&p.g);
}

TEST(a_frame_to_the_guest_is_seen_as_a_whole)
{
    static struct test_frame f;
    struct packed_guest p = vp_start(VP_FEATURES, VG_SIZE);
    uint32_t len = 0;
    for (int round = 0; round < 20; round++) {
        vp_buffers(&p, 0, 64, 1536);
        assert_true(link_send(p.g.r->link, frame_fill(&f, 60000, 5)));
        assert_int_equal(vp_take_used(&p, TO_GUEST, &len), -1); // seen with the flush
        link_flush(p.g.r->link);
        assert_int_equal(vg_events(p.g.call[TO_GUEST]), 1);
        const uint8_t *start = p.g.mem + VG_DATA + 0x200000;
        const uint16_t buffers = (60000 + VG_HDR + 1535) / 1536;
        assert_int_equal(start[10] | start[11] << 8, buffers);
        assert_memory_equal(start + VG_HDR, f.bytes, 60000);
        uint32_t sum = 0;
        for (int i = 0; i < buffers; i++, sum += len)
            assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i);
        assert_int_equal(sum, 60000 + VG_HDR);
        for (int i = buffers; i < 64; i++) { // the rest, one frame each
            assert_true(link_send(p.g.r->link, frame_fill(&f, 100, 6)));
            link_flush(p.g.r->link);
            assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i);
            assert_int_equal(len, VG_HDR + 100);
        }
        vg_events(p.g.call[TO_GUEST]);
    }
    vg_free(&p.g);
}

TEST(too_few_buffers_are_waited_for_without_spinning)
{
    static struct test_frame f;
    for (int event_idx = 0; event_idx < 2; event_idx++) {
        struct packed_guest p = vp_start(VP_FEATURES | (event_idx ? VIRTIO_EVENT_IDX : 0), 8);
        for (int round = 0; round < 10; round++) {
            uint32_t len;
            int before = p.g.r->writable;
            vp_buffers(&p, 0, 2, 1536);
            assert_false(link_send(p.g.r->link, frame_fill(&f, 4000, 1)));
            turns(p.g.loop, 20);
            assert_int_equal(p.g.r->writable, before);
            uint32_t next = p.side[TO_GUEST].next | (p.side[TO_GUEST].wrap ? VP_WRAP : 0u);
            assert_int_equal(vp_device_wish(&p, TO_GUEST) >> 16, event_idx ? 2 : 0);
            assert_int_equal(vp_device_wish(&p, TO_GUEST) & 0xffff, next);
            vp_buffers(&p, 2, 1, 1536);
            vg_kick(&p.g, TO_GUEST);
            assert_int_equal(p.g.r->writable, before + 1);
            assert_true(link_send(p.g.r->link, frame_fill(&f, 4000, 1)));
            link_flush(p.g.r->link);
            for (int i = 0; i < 3; i++)
                assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i);
        }
        vg_free(&p.g);
    }
}

TEST(the_driver_is_notified_as_it_wishes)
{
    static struct test_frame f;
    struct packed_guest p = vp_start(VP_FEATURES | VIRTIO_EVENT_IDX, 16);
    uint32_t len;
    const struct {
        uint16_t entry, mode;
        int told_at; // the frame, -1: none
    } rows[] = {
        {9 | VP_WRAP, 2, 9}, {3, 2, 3},  {15 | VP_WRAP, 2, 15},
        {0, 2, 0},           {0, 1, -1}, {8, 2, -1 /* it is behind */},
    };
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        bool wrap = p.side[TO_GUEST].wrap;
        uint16_t entry = rows[row].entry;
        if (row != 5) // of this round, whatever its counter is
            entry = (uint16_t)((entry & 0x7fff) | (wrap ? VP_WRAP : 0));
        else
            entry = (uint16_t)(8 | (wrap ? 0 : VP_WRAP));
        vp_wish(&p, TO_GUEST, entry, rows[row].mode);
        for (int i = 0; i < 16; i++) {
            vp_buffers(&p, (uint16_t)i, 1, 1536);
            assert_true(link_send(p.g.r->link, frame_fill(&f, 60, 1)));
            link_flush(p.g.r->link);
            assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i);
            bool told = vg_events(p.g.call[TO_GUEST]) > 0;
            if (row > 0 || i > 0) // the first after a start is told in any case
                assert_int_equal(told, i == rows[row].told_at);
        }
    }
    vg_free(&p.g);
}

TEST(a_stopped_ring_goes_on_where_it_was)
{
    struct packed_guest p = vp_start(VP_FEATURES, 10);
    uint32_t len;
    for (unsigned i = 0; i < 40; i++) {
        vp_send_frame(&p, 100, i, 3, false);
        expect_last(&p.g, 100, i);
        assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), i);
        uint32_t place = p.side[1].next | (p.side[1].wrap ? VP_WRAP : 0u);
        for (int twice = 0; twice < 2; twice++) {
            vg_state(&p.g, VHOST_GET_VRING_BASE, FROM_GUEST, 0);
            uint64_t told = vg_reply(&p.g, VHOST_GET_VRING_BASE);
            assert_int_equal(told >> 32, place | place << 16);
        }
        // QEMU gives all of it back, DPDK's front-end the lower half.
        p.g.base[1] = i % 2 ? place : place | place << 16;
        vg_ring(&p.g, FROM_GUEST);
        vg_turns(&p.g);
    }
    assert_int_equal(p.g.r->count, 40);
    assert_int_equal(p.g.r->down, 0);
    vg_free(&p.g);
}

TEST(without_a_base_it_starts_at_the_start)
{
    struct packed_guest p = vp_start(VP_FEATURES, 16);
    for (unsigned i = 0; i < 5; i++)
        vp_send_frame(&p, 100, i, 1, false);
    vg_u64(&p.g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_RESET_DEVICE);
    vg_send(&p.g, VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0);
    vp_reset_side(&p, FROM_GUEST);
    vg_addr(&p.g, FROM_GUEST, 0, 0);
    vg_fd(&p.g, VHOST_SET_VRING_KICK, FROM_GUEST, p.g.kick[FROM_GUEST]);
    vg_state(&p.g, VHOST_SET_VRING_ENABLE, FROM_GUEST, 1);
    vp_send_frame(&p, 100, 9, 1, false);
    expect_last(&p.g, 100, 9);
    assert_int_equal(p.g.r->count, 6);
    vg_free(&p.g);
}

// A ring that runs is what it was when it started, whatever is negotiated meanwhile.
TEST(a_running_ring_keeps_its_format)
{
    struct packed_guest p = vp_start(VP_FEATURES, 16);
    uint32_t len;
    vg_u64(&p.g, VHOST_SET_FEATURES, VG_FEATURES);
    vp_send_frame(&p, 100, 1, 2, false);
    expect_last(&p.g, 100, 1);
    assert_int_equal(vp_take_used(&p, FROM_GUEST, &len), 1);
    vg_free(&p.g);
}

TEST(writes_to_the_ring_are_logged)
{
    static struct test_frame f;
    struct packed_guest p = vp_start(VP_FEATURES, 16);
    struct vhost_guest *g = &p.g;
    const uint64_t log_bytes = (VG_GUEST + VG_BYTES) / 4096 / 8;
    int log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(log_fd, (off_t)log_bytes), 0);
    uint8_t *log = mmap(NULL, log_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
    uint64_t payload[2] = {log_bytes, 0};
    assert_true(vg_send(g, VHOST_SET_LOG_BASE, 0, payload, 16, &log_fd, 1) > 0);
    vg_reply(g, VHOST_SET_LOG_BASE);
    vg_u64(g, VHOST_SET_FEATURES, VP_FEATURES | VHOST_LOG_ALL);
    vg_turns(g);
    vp_buffers(&p, 0, 1, 1536);
    assert_true(link_send(g->r->link, frame_fill(&f, 100, 1)));
    link_flush(g->r->link);
    const uint64_t ring = (VG_GUEST + VG_RING(TO_GUEST)) / 4096;
    const uint64_t data = (VG_GUEST + VG_DATA + 0x200000) / 4096;
    const uint64_t wish = (VG_GUEST + VG_RING(TO_GUEST) + VG_USED) / 4096;
    assert_true(log[ring / 8] & 1 << (ring % 8));
    assert_true(log[data / 8] & 1 << (data % 8));
    assert_true(log[wish / 8] & 1 << (wish % 8));
    munmap(log, log_bytes);
    close(log_fd);
    vg_free(g);
}

// --- drivers that do not behave ------------------------------------------------------------------

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
