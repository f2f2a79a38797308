// SPDX-License-Identifier: BSD-3-Clause
// An open connection under attack: windows that close, shrink and never open again, data in every
// wrong order, acknowledgements of nothing, urgent bytes.

#include "segments.h"

#define MINUTE_US (60 * RIG_SECOND_US)

// --- acknowledgements ----------------------------------------------------------------------------

TEST(ack_of_unsent_data_changes_nothing)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    struct tcp_view v;

    rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack + 1, .flags = ACK, .window = 30000,
                        .payload = "x", .payload_len = 1));
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_int_equal(v.ack, g.seq);
    rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack + (1u << 31), .flags = ACK, .window = 30000));
    assert_int_equal(r->stream_len, 0);
    guest_echo(&g, 2000);
    finish(r);
}

TEST(a_storm_of_duplicate_acks_sends_little)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint64_t before;

    guest_send(&g, ACK, (uint8_t[1400]){1}, 1400);
    rig_clear(r);
    before = r->frames;
    for (int i = 0; i < 10000; i++)
        guest_send(&g, ACK, NULL, 0);
    assert_in_range(r->frames - before, 0, 100);
    for (int i = 0; i < 10; i++) {
        rig_run(r, RIG_SECOND_US);
        guest_pump(&g);
    }
    assert_int_equal(g.received_len, 1400);
    guest_echo(&g, 2000);
    finish(r);
}

static void
send_sack(struct rig *r, const struct guest *g, const uint32_t *edges, size_t blocks)
{
    uint8_t options[40] = {1, 1, 5, (uint8_t)(2 + 8 * blocks)};

    for (size_t i = 0; i < blocks * 2; i++)
        for (int b = 0; b < 4; b++)
            options[4 + i * 4 + (size_t)b] = (uint8_t)(edges[i] >> (24 - 8 * b));
    rig_clear(r);
    rig_send(r, SEGMENT(.seq = g->seq, .ack = g->ack, .flags = ACK, .window = 30000,
                        .options = options, .options_len = 4 + 8 * blocks));
}

TEST(sack_of_nonsense_changes_nothing)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[3000];

    fill(bytes, sizeof(bytes));
    guest_send(&g, ACK, bytes, 1400);
    guest_send(&g, ACK, bytes + 1400, 1400);
    for (int i = 0; i < 50; i++) {
        send_sack(r, &g, (uint32_t[]){g.ack - 5000, g.ack - 100}, 1);      // below
        send_sack(r, &g, (uint32_t[]){g.ack + 100000, g.ack + 200000}, 1); // never sent
        send_sack(r, &g, (uint32_t[]){g.ack + 1000, g.ack + 500}, 1);      // inverted
        send_sack(r, &g, (uint32_t[]){g.ack + 7, g.ack + 7}, 1);           // empty
        send_sack(r, &g, (uint32_t[]){g.ack, g.ack + (1u << 31)}, 1);      // half the world
        send_sack(r, &g,
                  (uint32_t[]){g.ack - 10, g.ack + 2800, g.ack + 1, g.ack + 2, g.ack + 5, g.ack + 3,
                               g.ack + 2799, g.ack + 2801},
                  4);
        rig_run(r, RIG_SECOND_US / 20);
    }
    // all of it "SACKed", none acknowledged: it must still come
    send_sack(r, &g, (uint32_t[]){g.ack + 1, g.ack + 2800}, 1);
    g.received_len = 0;
    for (int i = 0; i < 200 && g.received_len < 2800; i++) {
        rig_run(r, RIG_SECOND_US / 10);
        guest_pump(&g);
    }
    assert_int_equal(g.received_len, 2800);
    assert_memory_equal(g.received, bytes, 2800);
    finish(r);
}

// --- windows -------------------------------------------------------------------------------------

TEST(a_window_that_stays_closed_is_probed_for_ever)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[2000];
    size_t probes = 0;

    fill(bytes, sizeof(bytes));
    g.window = 0;
    guest_send(&g, ACK, bytes, 1000);
    guest_send(&g, ACK, bytes + 1000, 1000);
    g.received_len = 0;
    for (int i = 0; i < 6 * 60; i++) { // six hours
        rig_clear(r);
        rig_run(r, MINUTE_US);
        probes += rig_count(r, PORT);
        rig_clear(r);
        guest_send(&g, ACK, NULL, 0);
        rig_clear(r);
    }
    assert_int_equal(r->closes, 0); // RFC 9293 3.8.6.1
    assert_in_range(probes, 60, 2000);
    g.window = 30000;
    guest_send(&g, ACK, NULL, 0);
    guest_pump(&g);
    assert_int_equal(g.received_len, 2000);
    assert_memory_equal(g.received, bytes, 2000);
    guest_echo(&g, 500);
    finish(r);
}

TEST(a_closed_window_and_silence_is_given_up)
{
    struct guest g;
    struct rig *r = rig_connected(&g);

    g.window = 0;
    guest_send(&g, ACK, "data", 4);
    rig_run(r, 24 * 60 * MINUTE_US);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_TIMED_OUT);
    finish(r);
}

TEST(a_window_that_shrinks_below_what_was_sent_loses_nothing)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[4000];

    fill(bytes, sizeof(bytes));
    for (size_t at = 0; at < 4000; at += 1000)
        guest_send(&g, ACK, bytes + at, 1000);
    for (uint16_t window = 2000; window > 0; window /= 2) {
        g.window = window;
        rig_clear(r);
        guest_send(&g, ACK, NULL, 0); // right edge moves left
        rig_run(r, RIG_SECOND_US / 2);
    }
    g.window = 30000;
    g.received_len = 0;
    for (int i = 0; i < 100 && g.received_len < 4000; i++) {
        guest_send(&g, ACK, NULL, 0);
        guest_pump(&g);
        rig_run(r, RIG_SECOND_US);
    }
    assert_int_equal(g.received_len, 4000);
    assert_memory_equal(g.received, bytes, 4000);
    finish(r);
}

TEST(our_closed_window_answers_probes_and_opens_once)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    static uint8_t bytes[RIG_RING + 100];
    struct tcp_view v;
    size_t at = 0;

    fill(bytes, sizeof(bytes));
    r->stall = r->keep_silent = true;
    for (; at < RIG_RING; at += 1024) {
        rig_clear(r);
        guest_send(&g, ACK, bytes + at, 1024);
    }
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_int_equal(v.window, 0);
    for (int i = 0; i < 600; i++) { // an hour of probes, with a byte and without
        rig_clear(r);
        rig_run(r, 6 * RIG_SECOND_US);
        rig_send(r, SEGMENT(.seq = g.seq - 1, .ack = g.ack, .flags = ACK, .window = 9000));
        rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack, .flags = ACK, .window = 9000,
                            .payload = bytes + RIG_RING, .payload_len = 1));
        assert_in_range(rig_count(r, PORT), 1, 3);
        assert_true(rig_find(r, PORT, ACK, &v));
        assert_int_equal(v.ack, g.seq);
        assert_int_equal(v.window, 0);
    }
    assert_int_equal(r->stream_len, 0);
    rig_clear(r);
    rig_unstall(r);
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_in_range(v.window, 1024, 65535);
    assert_int_equal(rig_count(r, PORT), 1); // exactly once
    guest_send(&g, ACK, bytes + RIG_RING, 100);
    assert_int_equal(r->stream_len, sizeof(bytes));
    assert_memory_equal(r->stream, bytes, sizeof(bytes));
    finish(r);
}

TEST(acks_count_while_our_window_is_closed)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    static uint8_t bytes[RIG_RING];
    struct iovec iov[2];

    fill(bytes, sizeof(bytes));
    r->stall = true;
    for (size_t at = 0; at < RIG_RING; at += 1024) {
        rig_clear(r);
        guest_send(&g, ACK, bytes + at, 1024);
    }
    // the guest has probed with a byte: its acknowledgements stand one beyond our window
    for (int i = 0; i < 500; i++) {
        assert_int_not_equal(stack_send_iov(r->stack, r->last_conn, iov), 0);
        memcpy(iov[0].iov_base, "0123456789", 10);
        stack_send_commit(r->stack, r->last_conn, 10);
        stack_flush(r->stack, r->now_us);
        rig_clear(r);
        g.ack += 10;
        rig_send(r, SEGMENT(.seq = g.seq + 1, .ack = g.ack, .flags = ACK, .window = 30000));
        rig_run(r, 10 * RIG_SECOND_US);
    }
    assert_int_equal(r->closes, 0);
    assert_in_range(stack_stats_of(r->stack)->retransmits, 0, 10);
    finish(r);
}

TEST(a_lost_window_update_is_made_up_for)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];
    struct tcp_view v;

    fill(bytes, sizeof(bytes));
    r->stall = r->keep_silent = true;
    for (size_t at = 0; at < RIG_RING; at += 1024) {
        rig_clear(r);
        guest_send(&g, ACK, (uint8_t[1024]){0}, 1024);
    }
    rig_unstall(r);
    rig_clear(r); // the update is lost
    rig_send(r, SEGMENT(.seq = g.seq - 1, .ack = g.ack, .flags = ACK, .window = 9000));
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_in_range(v.window, 1024, 65535);
    r->keep_silent = false;
    guest_echo(&g, 500);
    finish(r);
}

TEST(data_beyond_the_window_is_cut)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    static uint8_t bytes[RIG_RING + 2000];
    uint32_t begin = g.seq;
    struct tcp_view v;

    fill(bytes, sizeof(bytes));
    r->stall = r->keep_silent = true;
    for (size_t at = 0; at < RIG_RING + 400; at += 1400) {
        rig_clear(r);
        guest_send(&g, ACK, bytes + at, 1400);
    }
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_int_equal(v.ack - begin, RIG_RING);
    rig_unstall(r);
    assert_int_equal(r->stream_len, RIG_RING);
    assert_memory_equal(r->stream, bytes, RIG_RING);
    finish(r);
}

// --- order ---------------------------------------------------------------------------------------

TEST(single_bytes_from_the_last_to_the_first)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];

    fill(bytes, sizeof(bytes));
    r->keep_silent = true;
    for (size_t i = sizeof(bytes); i > 0; i--) {
        assert_int_equal(r->stream_len, 0);
        send_range(r, &g, bytes, i - 1, 1);
        assert_in_range(rig_count(r, PORT), 1, 2);
    }
    assert_int_equal(r->stream_len, sizeof(bytes));
    assert_memory_equal(r->stream, bytes, sizeof(bytes));
    finish(r);
}

TEST(every_other_byte_then_the_rest)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];

    fill(bytes, sizeof(bytes));
    r->keep_silent = true;
    for (size_t i = 1; i < sizeof(bytes); i += 2)
        send_range(r, &g, bytes, i, 1); // more holes than anybody keeps
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof(bytes); i++)
            send_range(r, &g, bytes, i, 1);
    assert_int_equal(r->stream_len, sizeof(bytes));
    assert_memory_equal(r->stream, bytes, sizeof(bytes));
    finish(r);
}

TEST(overlapping_retransmissions_with_other_bytes_deliver_each_place_once)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t truth[3000], lie[3000];

    fill(truth, sizeof(truth));
    memset(lie, 0xee, sizeof(lie));
    r->keep_silent = true;
    send_range(r, &g, truth, 500, 500);
    send_range(r, &g, lie, 400, 700);
    send_range(r, &g, truth, 0, 500);
    send_range(r, &g, lie, 0, 1100);
    send_range(r, &g, lie, 100, 1300);
    send_range(r, &g, truth, 0, 1400);
    assert_int_equal(r->stream_len, 1400);
    for (size_t i = 0; i < 1400; i++)
        assert_true(r->stream[i] == truth[i] || r->stream[i] == 0xee);
    assert_memory_equal(r->stream, truth, 400); // delivered before the lie came
    finish(r);
}

TEST(a_flood_of_old_segments_is_answered_one_for_one_at_most)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint64_t before;

    guest_echo(&g, 2000);
    before = r->frames;
    for (uint32_t i = 0; i < 10000; i++) {
        rig_clear(r);
        rig_send(r, SEGMENT(.seq = g.seq - 1000, .ack = g.ack, .flags = ACK, .window = 30000,
                            .payload = "old", .payload_len = 3));
    }
    assert_in_range(r->frames - before, 1, 10000);
    guest_echo(&g, 2000);
    finish(r);
}

TEST(urgent_pointers_are_ignored_and_the_bytes_kept)
{
    static const uint16_t pointers[] = {0, 1, 5, 6, 65535};
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];

    fill(bytes, sizeof(bytes));
    r->keep_silent = true;
    for (size_t i = 0; i < 100; i++) {
        rig_clear(r);
        rig_send(r, SEGMENT(.seq = g.seq + (uint32_t)i * 5, .ack = g.ack, .flags = ACK | URG | PSH,
                            .window = 30000, .urgent = pointers[i % 5], .payload = bytes + i * 5,
                            .payload_len = 5));
    }
    rig_send(r, SEGMENT(.seq = g.seq + 500, .ack = g.ack, .flags = ACK | URG | FIN, .window = 30000,
                        .urgent = 1));
    assert_int_equal(r->stream_len, 500);
    assert_memory_equal(r->stream, bytes, 500);
    assert_true(r->conn[r->last_conn].at_end);
    finish(r);
}
