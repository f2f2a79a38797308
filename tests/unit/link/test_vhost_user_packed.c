// SPDX-License-Identifier: BSD-3-Clause
// Packed rings of the vhost-user link: frames both ways around the ring's end, notifications, stop
// and go.
#include "packed_guest.h"

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

TEST(a_frame_that_a_whole_ring_cannot_take_is_dropped_with_its_buffers)
{
    static struct test_frame f;
    struct packed_guest p = vp_start(VP_FEATURES, 8);
    for (int round = 0; round < 3; round++) {
        uint32_t len;
        vp_buffers(&p, 0, 8, 1536);
        assert_true(link_send(p.g.r->link, frame_fill(&f, 60000, 1)));
        link_flush(p.g.r->link);
        assert_int_equal(link_stats_of(p.g.r->link)->dropped_out, round + 1);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i);
            assert_int_equal(len, 0);
        }
    }
    vg_free(&p.g);
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

// A back-end that died has told nobody where it was: QEMU says "at the start" then.
TEST(a_ring_tells_where_it_was)
{
    static struct test_frame f;
    for (unsigned frames = 0; frames < 24; frames++) {
        for (uint16_t posted = 0; posted <= 8; posted++) {
            struct packed_guest p = vp_start(VP_FEATURES, 8);
            uint32_t len;
            for (unsigned i = 0; i < frames; i++) {
                vp_buffers(&p, (uint16_t)(i % 8), 1, 1536);
                assert_true(link_send(p.g.r->link, frame_fill(&f, 60, i)));
                link_flush(p.g.r->link);
                assert_int_equal(vp_take_used(&p, TO_GUEST, &len), i % 8);
            }
            vp_buffers(&p, 0, posted, 1536);
            vg_disconnect(&p.g);
            vg_connect(&p.g);
            p.g.base[TO_GUEST] = VP_START;
            vg_set_up(&p.g, VP_FEATURES);
            vp_buffers(&p, posted, (uint16_t)(8 - posted), 1536);
            for (int i = 0; i < 8; i++) {
                assert_true(link_send(p.g.r->link, frame_fill(&f, 60, 7)));
                link_flush(p.g.r->link);
                if (vp_take_used(&p, TO_GUEST, &len) != i)
                    fail_msg("%u frames, %u posted: not where it was", frames, posted);
            }
            vg_free(&p.g);
        }
    }
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
