// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link with a front-end that behaves: negotiation, frames both ways in all shapes of
// chains, notifications, the dirty log, stop and go.
#include "vhost_guest.h"

#include <sched.h>

TEST(features_are_offered_and_taken_as_capabilities)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    uint64_t offered = vg_ask(&g, VHOST_GET_FEATURES);
    assert_int_equal(offered & VG_FEATURES, VG_FEATURES);
    assert_int_equal(offered & VHOST_LOG_ALL, VHOST_LOG_ALL);
    uint64_t protocol = vg_ask(&g, VHOST_GET_PROTOCOL_FEATURES);
    assert_int_equal(protocol & 1, 0); // one queue pair
    assert_int_equal(protocol & VHOST_PROTOCOL_REPLY_ACK, VHOST_PROTOCOL_REPLY_ACK);
    assert_int_equal(vg_ask(&g, VHOST_GET_QUEUE_NUM), 1);

    assert_false(link_caps_of(g.r->link)->tso);
    vg_set_up(&g, VG_FEATURES);
    assert_true(link_caps_of(g.r->link)->csum_offload);
    assert_true(link_caps_of(g.r->link)->tso);
    assert_true(link_caps_of(g.r->link)->tso6);
    assert_int_equal(g.r->writable, 1); // told of the change
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES & ~VIRTIO_NET_GUEST_TSO6);
    vg_turns(&g);
    assert_true(link_caps_of(g.r->link)->tso);
    assert_false(link_caps_of(g.r->link)->tso6);
    assert_int_equal(g.r->writable, 2);
    vg_u64(&g, VHOST_NET_SET_MTU, 1280);
    vg_turns(&g);
    assert_int_equal(link_caps_of(g.r->link)->mtu_max, 1280);
    // Without super frames the sums alone come and go.
    const uint64_t sums = VIRTIO_NET_GUEST_CSUM;
    const uint64_t rest = VG_FEATURES & ~(sums | VIRTIO_NET_GUEST_TSO4 | VIRTIO_NET_GUEST_TSO6);
    for (int i = 0; i < 2; i++) {
        int writable = g.r->writable;
        vg_u64(&g, VHOST_SET_FEATURES, i ? rest | sums : rest);
        vg_turns(&g);
        assert_int_equal(link_caps_of(g.r->link)->csum_offload, i);
        assert_false(link_caps_of(g.r->link)->tso);
        assert_int_equal(g.r->writable, writable + 1);
    }
    vg_free(&g);
}

TEST(a_frame_from_the_guest_arrives_and_its_chain_is_given_back)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    uint32_t head;
    for (unsigned i = 0; i < 600; i++) { // more than the ring holds
        vg_send_frame(&g, 14 + i, i);
        expect_last(&g, 14 + i, i);
        assert_int_equal(vg_used_idx(&g, FROM_GUEST), (uint16_t)(i + 1));
        assert_int_equal(vg_used_len(&g, FROM_GUEST, (uint16_t)i, &head), 0);
        assert_int_equal(head, 7);
    }
    assert_int_equal(g.r->count, 600);
    vg_free(&g);
}

TEST(a_chain_may_be_cut_anywhere)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (uint32_t cut = 1; cut < VG_HDR + 100; cut += 3) {
        uint64_t at = VG_GUEST + vg_frame(&g, 0, 100, cut);
        vg_desc(&g, FROM_GUEST, 3, (struct vg_desc){at, cut, VG_NEXT, 200});
        vg_desc(&g, FROM_GUEST, 200, (struct vg_desc){at + cut, VG_HDR + 100 - cut, 0, 9});
        vg_post(&g, FROM_GUEST, 3);
        vg_kick(&g, FROM_GUEST);
        expect_last(&g, 100, cut);
    }
    vg_free(&g);
}

// `pieces` descriptors of a frame of 64 000 bytes, in the ring or in an indirect table.
static void
expect_pieces(struct vhost_guest *g, uint16_t pieces, bool indirect)
{
    const uint32_t total = VG_HDR + 64000, each = total / pieces;
    uint64_t at = VG_GUEST + vg_frame(g, 1, 64000, pieces);
    uint64_t table = indirect ? VG_DATA : VG_RING(FROM_GUEST);
    for (uint16_t i = 0; i < pieces; i++) {
        bool is_last = i == pieces - 1;
        struct vg_desc d = {at + i * each, is_last ? total - i * each : each, is_last ? 0 : VG_NEXT,
                            (uint16_t)(i + 1)};
        vg_desc_at(g, table + i * 16u, d);
    }
    if (indirect)
        vg_desc(g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + table, pieces * 16u, VG_INDIRECT, 0});
    vg_post(g, FROM_GUEST, 0);
    vg_kick(g, FROM_GUEST);
    expect_last(g, 64000, pieces);
}

TEST(long_chains_and_indirect_tables)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint16_t counts[] = {1, 2, 19, 64, 65, 200, 256};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        expect_pieces(&g, counts[i], false);
        expect_pieces(&g, counts[i], true);
    }
    expect_pieces(&g, 1000, true);
    vg_free(&g);
}

TEST(a_full_ring_is_one_matter_of_a_few_batches)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (uint16_t i = 0; i < VG_SIZE; i++) {
        uint64_t at = VG_DATA + i * 256u;
        vg_desc(&g, FROM_GUEST, i, (struct vg_desc){VG_GUEST + at, VG_HDR + 60, 0, 0});
        vg_post(&g, FROM_GUEST, i);
    }
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->count, VG_SIZE);
    assert_int_equal(g.r->batches, VG_SIZE / 64);
    assert_int_equal(vg_used_idx(&g, FROM_GUEST), VG_SIZE);
    assert_true(vg_events(g.call[FROM_GUEST]) <= VG_SIZE / 64);
    vg_free(&g);
}

TEST(offloads_are_read_from_the_header)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    uint64_t at = vg_frame(&g, 0, 3000, 1);
    const uint8_t hdr[10] = {1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0}; // NEEDS_CSUM, TCPV4, 1460
    memcpy(g.mem + at, hdr, sizeof(hdr));
    vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + at, VG_HDR + 3000, 0, 0});
    vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->last.csum, FRAME_CSUM_PARTIAL);
    assert_int_equal(g.r->last.gso, FRAME_GSO_TCP4);
    assert_int_equal(g.r->last.gso_size, 1460);

    // The same without leave to do so.
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES & ~VIRTIO_NET_HOST_TSO4);
    vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->count, 1);
    assert_int_equal(link_stats_of(g.r->link)->dropped_in, 1);
    assert_int_equal(vg_used_idx(&g, FROM_GUEST), 2);
    vg_free(&g);
}

TEST(super_frames_of_each_family_want_leave_of_their_own)
{
    static const uint8_t types[] = {1, 4};
    static const uint64_t from_guest[] = {VIRTIO_NET_HOST_TSO4, VIRTIO_NET_HOST_TSO6};
    static const uint64_t to_guest[] = {VIRTIO_NET_GUEST_TSO4, VIRTIO_NET_GUEST_TSO6};
    for (int i = 0; i < 2; i++) {
        for (int given = 0; given < 2; given++) {
            uint64_t without = given ? 0 : from_guest[i] | to_guest[i];
            struct vhost_guest g = vg_start(VG_FEATURES & ~without);
            static struct test_frame f;
            vg_buffers(&g, 64, 1536);
            uint64_t at = vg_frame(&g, 0, 3000, 1);
            const uint8_t hdr[10] = {1, types[i], 54, 0, 0xb4, 5, 34, 0, 16, 0};
            memcpy(g.mem + at, hdr, sizeof(hdr));
            vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + at, VG_HDR + 3000, 0, 0});
            vg_post(&g, FROM_GUEST, 0);
            vg_kick(&g, FROM_GUEST);
            assert_int_equal(g.r->count, given);
            struct frame out = *frame_fill(&f, 3000, 5);
            out.csum = FRAME_CSUM_PARTIAL;
            out.gso = i ? FRAME_GSO_TCP6 : FRAME_GSO_TCP4;
            out.gso_size = 1440;
            assert_true(link_send(g.r->link, &out));
            assert_int_equal(link_stats_of(g.r->link)->frames_out, given);
            assert_int_equal(link_stats_of(g.r->link)->dropped_out, !given);
            vg_free(&g);
        }
    }
}

TEST(a_frame_to_the_guest_takes_as_many_buffers_as_it_needs)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static struct test_frame f;
    vg_buffers(&g, 64, 1536);
    const struct frame *frame = frame_fill(&f, 60000, 5);
    assert_true(link_send(g.r->link, frame));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 0); // seen with the flush
    link_flush(g.r->link);
    const uint16_t buffers = (60000 + VG_HDR + 1535) / 1536;
    assert_int_equal(vg_used_idx(&g, TO_GUEST), buffers);
    assert_int_equal(vg_events(g.call[TO_GUEST]), 1);
    const uint8_t *start = g.mem + VG_DATA + 0x200000;
    assert_int_equal(start[10] | start[11] << 8, buffers);
    assert_memory_equal(start + VG_HDR, f.bytes, 60000); // the buffers lie side by side
    uint32_t head, sum = 0;
    for (uint16_t i = 0; i < buffers; i++) {
        sum += vg_used_len(&g, TO_GUEST, i, &head);
        assert_int_equal(head, i);
    }
    assert_int_equal(sum, 60000 + VG_HDR);

    // Short ones are padded, many are told at once.
    for (int i = 0; i < 10; i++)
        assert_true(link_send(g.r->link, frame_fill(&f, 20, 6)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_len(&g, TO_GUEST, buffers, &head), VG_HDR + FRAME_MIN);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), buffers + 10);
    assert_int_equal(vg_events(g.call[TO_GUEST]), 1);
    vg_free(&g);
}

TEST(without_mergeable_buffers_a_frame_fits_one_or_is_dropped)
{
    struct vhost_guest g = vg_start(VG_FEATURES & ~VIRTIO_NET_MRG_RXBUF);
    static struct test_frame f;
    uint32_t head;
    vg_buffers(&g, 4, 1536);
    assert_true(link_send(g.r->link, frame_fill(&f, 1500, 1)));
    assert_true(link_send(g.r->link, frame_fill(&f, 1600, 1)));
    assert_true(link_send(g.r->link, frame_fill(&f, 1524, 2)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 3);
    assert_int_equal(vg_used_len(&g, TO_GUEST, 0, &head), 1512);
    assert_int_equal(vg_used_len(&g, TO_GUEST, 1, &head), 0);
    assert_int_equal(vg_used_len(&g, TO_GUEST, 2, &head), 1536);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 1);
    vg_free(&g);
}

TEST(an_old_header_has_ten_bytes)
{
    struct vhost_guest g = vg_start(VHOST_PROTOCOL_FEATURES);
    static struct test_frame f;
    vg_buffers(&g, 1, 1536);
    assert_true(link_send(g.r->link, frame_fill(&f, 100, 1)));
    link_flush(g.r->link);
    assert_memory_equal(g.mem + VG_DATA + 0x200000 + 10, f.bytes, 100);
    uint64_t at = vg_frame(&g, 0, 100, 3);
    vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + at + 2, 10 + 100, 0, 0});
    vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    expect_last(&g, 100, 3);
    vg_free(&g);
}

TEST(no_buffers_no_room_until_the_guest_posts_some)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static struct test_frame f;
    int before = g.r->writable;
    assert_false(link_send(g.r->link, frame_fill(&f, 4000, 1)));
    assert_int_equal(atomic_load(vg_u16(&g, VG_RING(TO_GUEST) + VG_USED)), 0); // kicks, please
    vg_buffers(&g, 1, 1536);
    vg_kick(&g, TO_GUEST);
    assert_int_equal(g.r->writable, before + 1);
    assert_false(link_send(g.r->link, frame_fill(&f, 4000, 1))); // too few, none is lost
    vg_buffers(&g, 3, 1536);
    vg_kick(&g, TO_GUEST);
    assert_int_equal(g.r->writable, before + 2);
    assert_true(link_send(g.r->link, frame_fill(&f, 4000, 1)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 3);
    assert_int_equal(link_stats_of(g.r->link)->frames_out, 1);
    vg_free(&g);
}

TEST(event_indexes_silence_both_sides)
{
    struct vhost_guest g = vg_start(VG_FEATURES | VIRTIO_EVENT_IDX);
    static struct test_frame f;
    uint64_t avail = VG_RING(TO_GUEST) + VG_AVAIL;
    vg_buffers(&g, 20, 1536);
    atomic_store(vg_u16(&g, avail + 4 + 2 * VG_SIZE), 9); // to be told when the tenth is used
    link_send(g.r->link, frame_fill(&f, 60, 1));
    link_flush(g.r->link);
    vg_events(g.call[TO_GUEST]); // the first after a start is told in any case
    for (int i = 1; i < 20; i++) {
        assert_true(link_send(g.r->link, frame_fill(&f, 60, 1)));
        link_flush(g.r->link);
        assert_int_equal(vg_events(g.call[TO_GUEST]), i == 9);
    }
    assert_false(link_send(g.r->link, frame_fill(&f, 60, 1)));
    uint64_t used = VG_RING(TO_GUEST) + VG_USED;
    assert_int_equal(atomic_load(vg_u16(&g, used + 4 + 8 * VG_SIZE)), 20); // kick at the 21st
    vg_send_frame(&g, 60, 1);
    assert_int_equal(atomic_load(vg_u16(&g, VG_RING(FROM_GUEST) + VG_USED + 4 + 8 * VG_SIZE)), 1);
    vg_free(&g);
}

TEST(a_guest_that_wants_no_notification_gets_none)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static struct test_frame f;
    vg_buffers(&g, 1, 1536);
    atomic_store(vg_u16(&g, VG_RING(TO_GUEST) + VG_AVAIL), 1);
    link_send(g.r->link, frame_fill(&f, 60, 1));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 1);
    assert_int_equal(vg_events(g.call[TO_GUEST]), 0);
    vg_free(&g);
}

TEST(frames_can_be_answered_from_within)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    g.r->echo = true;
    vg_buffers(&g, 8, 1536);
    for (unsigned i = 0; i < 8; i++)
        vg_send_frame(&g, 100, i);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 8);
    assert_memory_equal(g.mem + VG_DATA + 0x200000 + 7 * 1536 + VG_HDR, g.r->bytes + 700, 100);
    vg_free(&g);
}

TEST(the_receiver_may_free_the_link_from_within)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    g.r->free_in_frames = true;
    vg_send_frame(&g, 100, 1);
    assert_null(g.r->link);
    assert_int_equal(g.r->count, 1);
    vg_free(&g);
}

TEST(writes_are_logged_while_the_front_end_wants_it)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static struct test_frame f;
    const uint64_t log_bytes = (VG_GUEST + VG_BYTES) / 4096 / 8;
    int log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(ftruncate(log_fd, (off_t)log_bytes), 0);
    uint8_t *log = mmap(NULL, log_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
    uint64_t payload[2] = {log_bytes, 0};
    assert_true(vg_send(&g, VHOST_SET_LOG_BASE, 0, payload, 16, &log_fd, 1) > 0);
    vg_reply(&g, VHOST_SET_LOG_BASE);
    vg_buffers(&g, 8, 1536);
    assert_true(link_send(g.r->link, frame_fill(&f, 1400, 1)));
    link_flush(g.r->link);
    const uint64_t first = (VG_GUEST + VG_DATA + 0x200000) / 4096;
    const uint64_t used = (VG_GUEST + VG_RING(TO_GUEST) + VG_USED) / 4096;
    assert_int_equal(log[first / 8], 0);

    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES | VHOST_LOG_ALL);
    vg_addr(&g, TO_GUEST, 1, VG_GUEST + VG_RING(TO_GUEST) + VG_USED);
    vg_turns(&g);
    assert_true(link_send(g.r->link, frame_fill(&f, 4400, 1))); // buffers 1 to 3: pages 0 and 1
    link_flush(g.r->link);
    assert_int_equal(log[first / 8], 3u << (first % 8));
    assert_int_equal(log[used / 8], 1u << (used % 8));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 4); // the ring went on where it was

    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
    vg_turns(&g);
    memset(log, 0, log_bytes);
    assert_true(link_send(g.r->link, frame_fill(&f, 1400, 1)));
    link_flush(g.r->link);
    assert_int_equal(log[first / 8] | log[used / 8], 0);
    munmap(log, log_bytes);
    close(log_fd);
    vg_free(&g);
}

TEST(a_stopped_ring_goes_on_where_it_was)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_send_frame(&g, 100, 1);
    for (int i = 0; i < 3; i++) {
        vg_state(&g, VHOST_GET_VRING_BASE, FROM_GUEST, 0);
        assert_int_equal(vg_reply(&g, VHOST_GET_VRING_BASE), (uint64_t)g.avail[1] << 32 | 1);
        vg_state(&g, VHOST_GET_VRING_BASE, FROM_GUEST, 0); // twice is once
        assert_int_equal(vg_reply(&g, VHOST_GET_VRING_BASE), (uint64_t)g.avail[1] << 32 | 1);
        uint64_t one = 1;
        assert_int_equal(write(g.kick[1], &one, 8), 8);
        vg_turns(&g);
        vg_ring(&g, FROM_GUEST);
        vg_turns(&g);
        vg_send_frame(&g, 200, (unsigned)i);
        expect_last(&g, 200, (unsigned)i);
    }
    assert_int_equal(g.r->count, 4);
    vg_free(&g);
}

TEST(a_reset_does_not_forget_where_the_ring_was)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (unsigned i = 0; i < 5; i++)
        vg_send_frame(&g, 100, i);
    vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_STATUS);
    vg_u64(&g, VHOST_SET_STATUS, 0); // QEMU 7.2 does so when the guest is paused
    vg_state(&g, VHOST_GET_VRING_BASE, FROM_GUEST, 0);
    assert_int_equal(vg_reply(&g, VHOST_GET_VRING_BASE) >> 32, 5);
    vg_set_up(&g, VG_FEATURES);
    vg_send_frame(&g, 100, 9);
    expect_last(&g, 100, 9);
    assert_int_equal(g.r->count, 6);
    vg_free(&g);
}

TEST(a_disabled_ring_takes_frames_and_drops_them)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    static struct test_frame f;
    vg_buffers(&g, 1, 1536);
    for (uint32_t i = 0; i < 2; i++)
        vg_state(&g, VHOST_SET_VRING_ENABLE, i, 0);
    vg_send_frame(&g, 100, 1);
    assert_int_equal(g.r->count, 0);
    assert_int_equal(vg_used_idx(&g, FROM_GUEST), 1);
    assert_true(link_send(g.r->link, frame_fill(&f, 100, 1)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 0);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 1);
    vg_free(&g);
}

TEST(memory_can_be_mapped_anew_under_running_rings)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (unsigned i = 0; i < 20; i++) {
        vg_mem_table(&g);
        vg_send_frame(&g, 100, i);
        expect_last(&g, 100, i);
    }
    assert_int_equal(g.r->count, 20);
    vg_free(&g);
}

TEST(need_reply_is_answered)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_REPLY_ACK | VHOST_PROTOCOL_MTU);
    uint64_t features = VG_FEATURES, mtu = 3;
    vg_send(&g, VHOST_SET_FEATURES, 8, &features, 8, NULL, 0);
    assert_int_equal(vg_reply(&g, VHOST_SET_FEATURES), 0);
    vg_send(&g, VHOST_NET_SET_MTU, 8, &mtu, 8, NULL, 0);
    assert_int_equal(vg_reply(&g, VHOST_NET_SET_MTU), 1);
    assert_int_equal(g.r->down, 0);
    vg_free(&g);
}

TEST(a_reset_device_starts_anew)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (unsigned i = 0; i < 3; i++) {
        vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_STATUS);
        vg_u64(&g, VHOST_SET_STATUS, 0x0f);
        assert_int_equal(vg_ask(&g, VHOST_GET_STATUS), 0x0f);
        vg_u64(&g, VHOST_SET_STATUS, 0);
        assert_int_equal(vg_ask(&g, VHOST_GET_STATUS), 0);
        memset(g.mem, 0, 0x20000);
        g.avail[0] = g.avail[1] = 0;
        vg_set_up(&g, VG_FEATURES);
        vg_send_frame(&g, 100, i);
        expect_last(&g, 100, i);
    }
    vg_free(&g);
}
