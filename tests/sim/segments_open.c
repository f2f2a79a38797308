// SPDX-License-Identifier: BSD-3-Clause
// Opening under attack: broken options, floods, silence, resets that are nearly right. After each,
// a fresh connection echoes within a virtual second.

#include "segments.h"

#define HALF_OPEN 64
#ifdef __SANITIZE_ADDRESS__
#define FLOOD 100000 // slow there; the million belongs to the plain build
#else
#define FLOOD 1000000
#endif

// A SYN with these options must lead to a connection that echoes; the host's largest segment.
static size_t
largest_after(const uint8_t *options, size_t len)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g = {.rig = r, .addr = RIG_GUEST, .port = PORT, .seq = 5001, .window = 60000};
    struct tcp_view v;
    size_t largest = 0;

    rig_send(r, SEGMENT(.seq = 5000, .flags = SYN, .window = 60000, .options = options,
                        .options_len = len));
    assert_true(rig_find(r, PORT, SYN | ACK, &v));
    assert_int_equal(v.ack, 5001);
    g.ack = v.seq + 1;
    rig_clear(r);
    guest_send(&g, ACK, NULL, 0);
    r->stall = true;
    guest_send(&g, ACK, (uint8_t[3000]){1}, 1400);
    guest_send(&g, ACK, (uint8_t[3000]){1}, 1400);
    rig_unstall(r);
    for (size_t i = 0; i < r->sent_count; i++)
        if (packet_tcp(r->sent[i], &v) && v.dport == PORT && v.payload_len > largest)
            largest = v.payload_len;
    guest_pump(&g);
    assert_int_equal(g.received_len, 2800);
    finish(r);
    return largest;
}

#define LARGEST(...)                                                                               \
    largest_after((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

TEST(syn_without_options_means_mss_536)
{
    assert_int_equal(largest_after(NULL, 0), 536);
}

TEST(mss_of_0_and_1_is_survived)
{
    assert_in_range(LARGEST(2, 4, 0, 0), 1, 536);
    assert_in_range(LARGEST(2, 4, 0, 1), 1, 536);
    assert_in_range(LARGEST(2, 4, 0, 48), 1, 64);
}

TEST(mss_of_65535_is_bounded_by_the_mtu)
{
    assert_in_range(LARGEST(2, 4, 255, 255), 536, 1460);
}

TEST(broken_options_end_the_option_list)
{
    assert_int_equal(LARGEST(2, 0, 5, 180), 536);                // length 0
    assert_int_equal(LARGEST(2, 1, 5, 180), 536);                // length 1
    assert_int_equal(LARGEST(2, 40, 5, 180), 536);               // past the end
    assert_int_equal(LARGEST(2, 3, 5, 1), 536);                  // wrong length for its kind
    assert_int_equal(LARGEST(1, 1, 1, 2), 536);                  // kind without length
    assert_int_equal(LARGEST(254, 2, 2, 4, 5, 100, 0, 0), 1380); // an unknown one is skipped
    assert_int_equal(LARGEST(8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 100, 0, 0),
                     1380); // timestamps 0
}

TEST(forty_bytes_of_nop_are_fine)
{
    uint8_t nops[40];

    memset(nops, 1, sizeof(nops));
    assert_int_equal(largest_after(nops, sizeof(nops)), 536);
}

TEST(window_scale_above_14_is_survived)
{
    assert_int_equal(LARGEST(3, 3, 15, 0), 536);
    assert_int_equal(LARGEST(3, 3, 255, 0), 536);
}

TEST(data_offset_out_of_range_is_dropped)
{
    struct rig *r = rig_new(HALF_OPEN);

    for (uint8_t offset = 0; offset < 16; offset++) {
        if (offset == 0 || offset == 5)
            continue; // 0 means right in the bench
        rig_send(r, SEGMENT(.seq = 1, .flags = SYN, .window = 1000, .data_offset = offset));
        assert_int_equal(r->opens, 0);
    }
    assert_int_equal(rig_count(r, PORT), 0);
    finish(r);
}

TEST(syn_to_a_closed_port_is_reset_with_ack)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct tcp_view v;

    rig_send(r, SEGMENT(.dport = 9, .seq = 77, .flags = SYN, .window = 1000));
    assert_true(rig_find(r, PORT, RST | ACK, &v));
    assert_int_equal(v.ack, 78);
    assert_int_equal(v.seq, 0);
    finish(r);
}

TEST(syn_with_data_delivers_it_once)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g = {.rig = r, .addr = RIG_GUEST, .port = PORT, .seq = 5001, .window = 30000};
    struct tcp_view v;

    rig_send(r, SEGMENT(.seq = 5000, .flags = SYN, .window = 9000, .payload = "early",
                        .payload_len = 5));
    assert_true(rig_find(r, PORT, SYN | ACK, &v));
    assert_true(v.ack == 5001 || v.ack == 5006);
    g.ack = v.seq + 1;
    g.seq = v.ack;
    guest_send(&g, ACK, &"early"[v.ack - 5001], 5006 - v.ack);
    rig_run(r, RIG_SECOND_US);
    assert_int_equal(r->stream_len, 5);
    assert_memory_equal(r->stream, "early", 5);
    finish(r);
}

TEST(data_before_the_host_has_answered_is_not_acknowledged)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;
    struct tcp_view v;

    r->hold_opens = true;
    guest_syn(&g, r, PORT);
    g.ack = 12345;
    guest_send(&g, ACK, "data", 4);
    guest_send(&g, ACK | FIN, "data", 4);
    g.seq -= 9;
    assert_int_equal(rig_count(r, PORT), 0);
    stack_accept(r->stack, r->last_conn, r->now_us);
    stack_flush(r->stack, r->now_us);
    assert_true(rig_find(r, PORT, SYN | ACK, &v));
    assert_int_equal(v.ack, g.seq);
    g.ack = v.seq + 1;
    r->hold_opens = false;
    guest_echo(&g, 100);
    finish(r);
}

TEST(a_refused_open_is_reset_with_ack_and_again_when_asked_again)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct tcp_view v;

    r->refuse = true;
    for (int i = 0; i < 3; i++) {
        rig_clear(r);
        rig_send(r, SEGMENT(.seq = 5000, .flags = SYN, .window = 9000));
        assert_true(rig_find(r, PORT, RST | ACK, &v));
        assert_int_equal(v.ack, 5001);
    }
    assert_int_equal(r->opens, 3);
    assert_int_equal(stack_conn_count(r->stack), 0);
    finish(r);
}

TEST(reset_while_the_host_opens_is_told)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    r->hold_opens = true;
    guest_syn(&g, r, PORT);
    rig_send(r, SEGMENT(.seq = g.seq, .flags = RST));
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_RESET);
    finish(r);
}

// --- floods --------------------------------------------------------------------------------------

static void
flood(struct rig *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        rig_clear(r);
        rig_send(r, &(struct segment_spec){.src = 0x0a010000u + i / 50000,
                                           .sport = (uint16_t)(1024 + i % 50000),
                                           .seq = i * 977,
                                           .flags = SYN,
                                           .window = 1000});
        assert_true(r->sent_count <= 3);
        assert_true(stack_conn_count(r->stack) <= HALF_OPEN + 4);
    }
}

TEST(a_flood_of_a_million_syns_leaves_connections_alone)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    guest_echo(&g, 100);
    flood(r, FLOOD);
    guest_echo(&g, 3000);
    rig_assert_alive(r);
    guest_close(&g);
    rig_run(r, 600 * RIG_SECOND_US); // the half-open ones give up
    assert_int_equal(stack_conn_count(r->stack), 0);
    finish(r);
}

TEST(a_flood_while_no_open_is_answered_is_bounded)
{
    struct rig *r = rig_new(HALF_OPEN);

    r->hold_opens = true;
    flood(r, 10000);
    assert_true(r->closes >= 10000 - HALF_OPEN - 4);
    finish(r);
}

TEST(near_resets_and_syns_get_a_bounded_number_of_challenge_acks)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    for (uint8_t flags = SYN; flags <= RST; flags *= 2) {
        uint64_t before = r->frames;

        rig_run(r, 2 * RIG_SECOND_US);
        for (uint32_t i = 0; i < 20000; i++) {
            rig_clear(r);
            rig_send(r,
                     SEGMENT(.seq = g.seq + 1 + i, .ack = g.ack, .flags = flags, .window = 1000));
        }
        assert_in_range(r->frames - before, 1, 200); // RFC 5961 7
        assert_int_equal(r->closes, 0);
    }
    rig_run(r, 2 * RIG_SECOND_US);
    guest_echo(&g, 100);
    finish(r);
}

TEST(the_exact_reset_ends_the_connection)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    rig_clear(r);
    rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack, .flags = RST));
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_RESET);
    assert_int_equal(rig_count(r, PORT), 0);
    finish(r);
}

// --- silence -------------------------------------------------------------------------------------

TEST(a_guest_that_never_finishes_the_handshake_is_forgotten)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_syn(&g, r, PORT);
    rig_run(r, 600 * RIG_SECOND_US);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_TIMED_OUT);
    assert_in_range(rig_count(r, PORT), 3, 12);
    finish(r);
}

TEST(a_guest_that_falls_silent_is_found_out_by_keep_alive)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    guest_echo(&g, 100);
    rig_clear(r);
    rig_run(r, 7000 * RIG_SECOND_US);
    assert_int_equal(rig_count(r, PORT), 0); // RFC 9293 3.8.4: not before two hours
    assert_int_equal(r->closes, 0);
    rig_run(r, 5000 * RIG_SECOND_US);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_TIMED_OUT);
    finish(r);
}

TEST(a_guest_that_answers_keep_alives_stays)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    rig_clear(r);
    for (int i = 0; i < 3000; i++) {
        rig_run(r, 10 * RIG_SECOND_US);
        if (rig_count(r, PORT) > 0) {
            rig_clear(r);
            guest_send(&g, ACK, NULL, 0);
        }
    }
    assert_int_equal(r->closes, 0);
    guest_echo(&g, 100);
    finish(r);
}

TEST(a_guest_that_never_acknowledges_is_given_up)
{
    struct rig *r = rig_new(HALF_OPEN);
    struct guest g;

    guest_connect(&g, r, PORT);
    guest_send(&g, ACK | PSH, "hello", 5);
    rig_run(r, 100 * RIG_SECOND_US);
    assert_int_equal(r->closes, 0); // RFC 9293 3.8.3: R2 at least 100 s
    rig_run(r, 2000 * RIG_SECOND_US);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_TIMED_OUT);
    assert_in_range(rig_count(r, PORT), 5, 30);
    finish(r);
}
