// SPDX-License-Identifier: BSD-3-Clause
// The vhost-user link with a front-end that does the rare but lawful, or the wrong that has to be
// told apart: features in odd sets, requests in odd orders, chains of odd shapes, frames that the
// guest did not agree to, and a link that ends while it works.
#include "packed_guest.h"

#include <fcntl.h>

#define GUEST_DATA (VG_GUEST + VG_DATA)

static void
expect_down(struct vhost_guest *g, const char *why)
{
    vg_turns(g);
    assert_int_equal(g->r->down, 1);
    if (!strstr(g->r->why, why))
        fail_msg("'%s', not '%s'", g->r->why, why);
    close(g->sock);
    vg_connect(g);
    g->avail[0] = g->avail[1] = 0;
    memset(g->mem, 0, 0x20000);
    vg_set_up(g, VG_FEATURES);
}

TEST(values_that_cannot_be_end_the_link)
{
    static const struct {
        uint32_t request;
        uint64_t value;
        const char *why;
    } rows[] = {
        {VHOST_NET_SET_MTU, 65536, "MTU 65536"}, {VHOST_SET_STATUS, 256, "status 0x100"},
        {VHOST_SET_VRING_CALL, 0x102, "ring 2"}, {VHOST_SET_VRING_KICK, 0x102, "ring 2"},
        {VHOST_SET_VRING_ERR, 0x102, "ring 2"},  {VHOST_SET_VRING_ENABLE, 2, "ring 2"},
        {VHOST_SET_VRING_BASE, 2, "ring 2"},
    };
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vg_u64(&g, VHOST_SET_PROTOCOL_FEATURES, VHOST_PROTOCOL_MTU | VHOST_PROTOCOL_STATUS);
        vg_u64(&g, rows[i].request, rows[i].value);
        expect_down(&g, rows[i].why);
    }
    uint64_t log[2] = {4096, 0}, addr[5] = {2};
    vg_send(&g, VHOST_SET_LOG_BASE, 0, log, 16, NULL, 0);
    expect_down(&g, "log without a descriptor");
    vg_send(&g, VHOST_SET_VRING_ADDR, 0, addr, 40, NULL, 0);
    expect_down(&g, "ring 2");
    // A base that a ring which does not run cannot have.
    vg_state(&g, VHOST_GET_VRING_BASE, 0, 0);
    vg_reply(&g, VHOST_GET_VRING_BASE);
    vg_state(&g, VHOST_SET_VRING_BASE, 0, 65536);
    expect_down(&g, "base 65536 of a stopped ring");
    vg_free(&g);
}

TEST(a_front_end_that_does_not_take_its_reply_ends_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    assert_true(vg_send(&g, VHOST_GET_FEATURES, 0, NULL, 0, NULL, 0) > 0);
    assert_int_equal(shutdown(g.sock, SHUT_RD), 0);
    expect_down(&g, "reply: Broken pipe");
    vg_free(&g);
}

TEST(a_burst_of_requests_is_answered_in_some_turns)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    for (int i = 0; i < 100; i++)
        assert_true(vg_send(&g, VHOST_GET_FEATURES, 0, NULL, 0, NULL, 0) > 0);
    for (int i = 0; i < 100; i++)
        vg_reply(&g, VHOST_GET_FEATURES);
    assert_int_equal(g.r->down, 0);
    vg_free(&g);
}

// Without protocol features there is no SET_VRING_ENABLE: rings are enabled from the start.
TEST(rings_of_an_old_front_end_are_enabled_from_the_start)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES & ~VHOST_PROTOCOL_FEATURES);
    vg_mem_table(&g);
    vg_state(&g, VHOST_SET_VRING_NUM, FROM_GUEST, VG_SIZE);
    vg_addr(&g, FROM_GUEST, 0, 0);
    vg_fd(&g, VHOST_SET_VRING_CALL, FROM_GUEST, g.call[FROM_GUEST]); // it does not run yet
    vg_turns(&g);
    assert_int_equal(vg_events(g.call[FROM_GUEST]), 0);
    vg_fd(&g, VHOST_SET_VRING_KICK, FROM_GUEST, g.kick[FROM_GUEST]);
    vg_turns(&g);
    vg_send_frame(&g, 100, 1);
    expect_last(&g, 100, 1);
    vg_free(&g);
}

// A ring runs as soon as it has all it takes, whatever came last.
TEST(requests_in_any_order_start_a_ring)
{
    for (int last = 0; last < 4; last++) {
        struct vhost_guest g = vg_new();
        vg_connect(&g);
        vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
        vg_state(&g, VHOST_SET_VRING_ENABLE, FROM_GUEST, 1);
        for (int i = 1; i <= 4; i++) {
            switch ((last + i) % 4) {
            case 0:
                vg_mem_table(&g);
                break;
            case 1:
                vg_state(&g, VHOST_SET_VRING_NUM, FROM_GUEST, VG_SIZE);
                break;
            case 2:
                vg_addr(&g, FROM_GUEST, 0, 0);
                break;
            default:
                vg_fd(&g, VHOST_SET_VRING_KICK, FROM_GUEST, g.kick[FROM_GUEST]);
                break;
            }
        }
        vg_turns(&g);
        vg_send_frame(&g, 100, 1);
        expect_last(&g, 100, 1);
        vg_state(&g, VHOST_SET_VRING_NUM, FROM_GUEST, VG_SIZE); // as it is
        vg_turns(&g);
        assert_int_equal(g.r->down, 0);
        vg_free(&g);
    }
}

TEST(a_packed_rings_size_does_not_do_for_a_split_one)
{
    struct vhost_guest g = vg_new();
    vg_connect(&g);
    vg_u64(&g, VHOST_SET_FEATURES, VP_FEATURES);
    vg_state(&g, VHOST_SET_VRING_NUM, FROM_GUEST, 3);
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
    vg_mem_table(&g);
    vg_addr(&g, FROM_GUEST, 0, 0);
    vg_fd(&g, VHOST_SET_VRING_KICK, FROM_GUEST, g.kick[FROM_GUEST]);
    expect_down(&g, "split ring of 3 entries");
    vg_free(&g);
}

TEST(a_call_that_is_given_to_a_running_ring_is_used_at_once)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_fd(&g, VHOST_SET_VRING_CALL, FROM_GUEST, g.call[FROM_GUEST]);
    vg_turns(&g);
    assert_int_equal(vg_events(g.call[FROM_GUEST]), 1);
    // One that nobody reads, and that is full, does no harm.
    const uint64_t most = UINT64_MAX - 1;
    assert_int_equal(write(g.call[FROM_GUEST], &most, 8), 8);
    vg_send_frame(&g, 100, 1);
    expect_last(&g, 100, 1);
    assert_int_equal(vg_events(g.call[FROM_GUEST]), most);
    vg_free(&g);
}

TEST(a_log_that_would_wrap_is_not_written)
{
    struct vhost_guest g = vg_start(VG_FEATURES | VHOST_LOG_ALL);
    vg_addr(&g, FROM_GUEST, 1, UINT64_MAX - 1);
    vg_turns(&g);
    vg_send_frame(&g, 100, 1);
    expect_last(&g, 100, 1);
    assert_int_equal(g.r->down, 0);
    vg_free(&g);
}

TEST(a_wish_for_an_entry_needs_event_indexes)
{
    struct packed_guest p = vp_start(VP_FEATURES, VG_SIZE);
    vp_wish(&p, FROM_GUEST, 100, 2); // not negotiated: as if it were "always"
    vp_send_frame(&p, 100, 1, 1, false);
    assert_int_equal(vg_events(p.g.call[FROM_GUEST]), 1);
    vg_free(&p.g);
}

// --- frames from the guest -----------------------------------------------------------------------

TEST(offloads_that_were_not_agreed_on_are_dropped)
{
    struct vhost_guest g = vg_start(VG_FEATURES & ~(VIRTIO_NET_CSUM | VIRTIO_NET_HOST_TSO4));
    uint64_t at = vg_frame(&g, 0, 100, 1);
    memcpy(g.mem + at, (const uint8_t[]){1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, 10);
    vg_desc(&g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + at, VG_HDR + 100, 0, 0});
    vg_post(&g, FROM_GUEST, 7);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->count, 0);
    assert_int_equal(link_stats_of(g.r->link)->dropped_in, 1);
    vg_free(&g);
}

TEST(more_useless_chains_than_a_batch_are_given_back)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){GUEST_DATA, 1, 0, 0});
    for (int i = 0; i < 200; i++)
        vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(vg_used_idx(&g, FROM_GUEST), 200);
    assert_int_equal(link_stats_of(g.r->link)->dropped_in, 200);
    vg_free(&g);
}

// Frames through an indirect table of so many pieces of so many bytes each.
static void
expect_many_pieces(unsigned frames, uint16_t pieces, uint32_t each)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    uint64_t table = VG_DATA + 0x300000;
    for (uint16_t i = 0; i < pieces; i++)
        vg_desc_at(
            &g, table + i * 16u,
            (struct vg_desc){GUEST_DATA, each, i + 1 < pieces ? VG_NEXT : 0, (uint16_t)(i + 1)});
    vg_desc(&g, FROM_GUEST, 0, (struct vg_desc){VG_GUEST + table, pieces * 16u, VG_INDIRECT, 0});
    for (unsigned i = 0; i < frames; i++)
        vg_post(&g, FROM_GUEST, 0);
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->count, frames);
    assert_int_equal(g.r->lens[frames - 1], pieces * each - VG_HDR);
    vg_free(&g);
}

TEST(frames_in_very_many_pieces_take_several_batches)
{
    expect_many_pieces(10, 1000, 60);
    expect_many_pieces(10, 100, 600); // each copied to where there is room for four
    expect_many_pieces(70, 60, 20);
}

// --- frames to the guest -------------------------------------------------------------------------

static struct test_frame frame;

static bool
send_with(struct vhost_guest *g, enum frame_csum csum, enum frame_gso gso)
{
    frame_fill(&frame, 100, 1);
    frame.frame.csum = csum;
    frame.frame.gso = gso;
    frame.frame.gso_size = gso ? 50 : 0;
    frame.frame.l4_offset = 34;
    frame.frame.csum_offset = 16;
    bool sent = link_send(g->r->link, &frame.frame);
    link_flush(g->r->link);
    return sent;
}

TEST(frames_that_the_guest_did_not_agree_to_are_dropped)
{
    struct vhost_guest g = vg_start(VG_FEATURES & ~VIRTIO_NET_GUEST_TSO4);
    vg_buffers(&g, 8, 1536);
    assert_true(link_caps_of(g.r->link)->csum_offload);
    assert_false(link_caps_of(g.r->link)->tso);
    assert_true(send_with(&g, FRAME_CSUM_PARTIAL, FRAME_GSO_TCP4));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 0);
    assert_true(send_with(&g, FRAME_CSUM_PARTIAL, FRAME_GSO_NONE));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 1);
    // The sums alone are taken back, which is told.
    int writable = g.r->writable;
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES & ~(VIRTIO_NET_GUEST_TSO4 | VIRTIO_NET_GUEST_CSUM));
    vg_turns(&g);
    assert_int_equal(g.r->writable, writable + 1);
    assert_true(send_with(&g, FRAME_CSUM_PARTIAL, FRAME_GSO_NONE));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 1);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 2);
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
    vg_turns(&g);
    assert_true(send_with(&g, FRAME_CSUM_PARTIAL, FRAME_GSO_TCP4));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 2);
    vg_free(&g);
}

TEST(buffers_shorter_than_a_header_are_given_back_empty)
{
    struct vhost_guest g = vg_start(VG_FEATURES & ~VIRTIO_NET_MRG_RXBUF);
    const uint32_t lens[] = {5, VG_HDR + 50, VG_HDR + 99};
    for (uint16_t i = 0; i < 3; i++) {
        uint32_t head;
        vg_desc(&g, TO_GUEST, 0, (struct vg_desc){GUEST_DATA, lens[i], VG_WRITE, 0});
        vg_post(&g, TO_GUEST, 0);
        assert_true(send_with(&g, FRAME_CSUM_NONE, FRAME_GSO_NONE));
        assert_int_equal(vg_used_idx(&g, TO_GUEST), i + 1);
        assert_int_equal(vg_used_len(&g, TO_GUEST, i, &head), 0);
    }
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 3);
    // Room for a short frame, but not for what it is padded with.
    vg_desc(&g, TO_GUEST, 0, (struct vg_desc){GUEST_DATA, VG_HDR + 50, VG_WRITE, 0});
    vg_post(&g, TO_GUEST, 0);
    assert_true(link_send(g.r->link, frame_fill(&frame, 42, 1)));
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 4);
    vg_free(&g);
}

// The driver cannot post more than the ring holds, so nobody would ever wait for the end of it.
TEST(a_frame_that_a_whole_ring_cannot_take_is_dropped_with_its_buffers)
{
    struct vhost_guest g = vg_new();
    g.entries = 16;
    vg_connect(&g);
    vg_set_up(&g, VG_FEATURES);
    vg_buffers(&g, 15, 1536);
    assert_false(link_send(g.r->link, frame_fill(&frame, 60000, 1))); // there may be one more
    vg_buffers(&g, 1, 1536);
    vg_kick(&g, TO_GUEST);
    assert_true(link_send(g.r->link, frame_fill(&frame, 60000, 1)));
    link_flush(g.r->link);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 1);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 16);
    vg_buffers(&g, 1, 1536);
    assert_true(link_send(g.r->link, frame_fill(&frame, 1500, 2)));
    link_flush(g.r->link);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 17);
    assert_int_equal(link_stats_of(g.r->link)->frames_out, 1);
    vg_free(&g);
}

// One buffer of 4 GiB, made of the same memory again and again; another of a byte a piece.
TEST(buffers_of_absurd_sizes)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    uint64_t table = VG_DATA + 0x300000;
    const uint32_t lens[] = {1u << 22, 1};
    for (int t = 0; t < 2; t++) {
        for (uint16_t i = 0; i < 1024; i++)
            vg_desc_at(&g, table + (uint64_t)t * 0x4000 + i * 16u,
                       (struct vg_desc){lens[t] == 1 ? GUEST_DATA : VG_GUEST, lens[t],
                                        VG_WRITE | (i < 1023 ? VG_NEXT : 0), (uint16_t)(i + 1)});
    }
    // 1500 bytes: two chains of 1024 pieces; a third finds no room, and the frame is dropped.
    vg_desc(&g, TO_GUEST, 1,
            (struct vg_desc){VG_GUEST + table + 0x4000, 1024 * 16, VG_INDIRECT, 0});
    for (int i = 0; i < 3; i++)
        vg_post(&g, TO_GUEST, 1);
    frame_fill(&frame, 3000, 1);
    assert_true(link_send(g.r->link, &frame.frame));
    link_flush(g.r->link);
    assert_int_equal(link_stats_of(g.r->link)->dropped_out, 1);
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 2);
    vg_free(&g);

    g = vg_start(VG_FEATURES);
    memset(g.mem + table, 0, 0x4000);
    struct vg_desc d = {VG_GUEST, VG_BYTES, VG_WRITE | VG_NEXT, 0};
    for (uint16_t i = 0; i < 1024; i++) {
        d.next = (uint16_t)(i + 1);
        d.flags = VG_WRITE | (i < 1023 ? VG_NEXT : 0);
        vg_desc_at(&g, table + i * 16u, d);
    }
    vg_desc(&g, TO_GUEST, 1, (struct vg_desc){VG_GUEST + table, 1024 * 16, VG_INDIRECT, 0});
    vg_post(&g, TO_GUEST, 1);
    uint32_t head;
    assert_true(send_with(&g, FRAME_CSUM_NONE, FRAME_GSO_NONE));
    assert_int_equal(vg_used_idx(&g, TO_GUEST), 1);
    assert_int_equal(vg_used_len(&g, TO_GUEST, 0, &head), VG_HDR + 100);
    vg_free(&g);
}

// --- ends while it works -------------------------------------------------------------------------

static void
free_link(void *ctx)
{
    struct receiver *r = ctx;
    r->writable++;
    link_free(r->link);
    r->link = NULL;
}

static const struct link_events freeing = {
    .on_frames = receiver_frames, .on_writable = free_link, .on_down = receiver_down};

static void
connect_freeing(struct vhost_guest *g)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    g->sock = fds[1];
    g->r->link = link_new_vhost_user(g->loop, fds[0], &freeing, g->r);
    assert_non_null(g->r->link);
}

TEST(freed_when_told_of_new_capabilities)
{
    struct vhost_guest g = vg_new();
    connect_freeing(&g);
    vg_u64(&g, VHOST_SET_FEATURES, VG_FEATURES);
    vg_turns(&g);
    assert_int_equal(g.r->writable, 1);
    assert_null(g.r->link);
    vg_free(&g);
}

TEST(freed_when_told_of_room)
{
    struct vhost_guest g = vg_new();
    connect_freeing(&g);
    vg_set_up(&g, VIRTIO_VERSION_1 | VHOST_PROTOCOL_FEATURES); // no new capabilities
    assert_false(send_with(&g, FRAME_CSUM_NONE, FRAME_GSO_NONE));
    assert_false(send_with(&g, FRAME_CSUM_NONE, FRAME_GSO_NONE)); // not even tried
    vg_buffers(&g, 4, 1536);
    vg_kick(&g, TO_GUEST);
    assert_int_equal(g.r->writable, 1);
    assert_null(g.r->link);
    vg_free(&g);
}

static void
send_nonsense(struct vhost_guest *g)
{
    assert_true(vg_send(g, 12345, 0, NULL, 0, NULL, 0) > 0);
}

// One turn: the socket ends the link, then there is a kick for it.
TEST(a_kick_behind_the_end_is_not_looked_at)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint64_t one = 1;
    send_nonsense(&g);
    assert_int_equal(write(g.kick[FROM_GUEST], &one, 8), 8);
    turns(g.loop, 3);
    assert_int_equal(g.r->down, 1);
    vg_free(&g);
}

TEST(work_that_was_put_off_ends_with_the_link)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    const uint64_t one = 1;
    uint64_t at = vg_frame(&g, 0, 60, 1);
    vg_desc(&g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + at, VG_HDR + 60, 0, 0});
    for (int i = 0; i < VG_SIZE; i++)
        vg_post(&g, FROM_GUEST, 7);
    assert_int_equal(write(g.kick[FROM_GUEST], &one, 8), 8);
    turns(g.loop, 1);
    assert_int_equal(g.r->count, VG_SIZE); // as many as a turn takes: there may be more
    send_nonsense(&g);
    turns(g.loop, 2);
    assert_int_equal(g.r->down, 1);
    vg_free(&g);
}

TEST(memory_that_shrinks_under_an_answer_ends_the_link_once)
{
    struct vhost_guest g = vg_start(VG_FEATURES);
    g.r->echo = true;
    vg_buffers(&g, 4, 1536);
    uint64_t at = vg_frame(&g, 0, 60, 1);
    vg_desc(&g, FROM_GUEST, 7, (struct vg_desc){VG_GUEST + at, VG_HDR + 60, 0, 0});
    vg_post(&g, FROM_GUEST, 7);
    assert_int_equal(ftruncate(g.mem_fd, (off_t)VG_DATA + 0x100000), 0); // the buffers are gone
    vg_kick(&g, FROM_GUEST);
    assert_int_equal(g.r->down, 1);
    assert_non_null(strstr(g.r->why, "shortened"));
    vg_free(&g);
}
