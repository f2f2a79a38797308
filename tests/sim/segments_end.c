// SPDX-License-Identifier: BSD-3-Clause
// Ending under attack: FINs out of place and again, halves that go on, TIME-WAIT and its ports,
// full tables, both sides at once. After each, a fresh connection echoes within a virtual second.

#include "segments.h"

#define MINUTE_US (60 * RIG_SECOND_US)

// --- FIN -----------------------------------------------------------------------------------------

TEST(fin_with_data)
{
    struct guest g;
    struct rig *r = rig_connected(&g);

    g.received_len = 0;
    guest_send(&g, FIN | ACK | PSH, "last words", 10);
    guest_pump(&g);
    assert_int_equal(g.received_len, 10);
    assert_true(g.fin_seen);
    assert_int_equal(r->reason, STACK_CLOSED);
    assert_int_equal(r->closes, 1);
    finish(r);
}

TEST(fin_before_the_data_in_front_of_it)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];

    fill(bytes, sizeof(bytes));
    r->keep_silent = true;
    rig_send(r, SEGMENT(.seq = g.seq + 1000, .ack = g.ack, .flags = FIN | ACK, .window = 30000));
    assert_false(r->conn[r->last_conn].at_end);
    send_range(r, &g, bytes, 600, 400);
    send_range(r, &g, bytes, 0, 600);
    assert_int_equal(r->stream_len, 1000);
    assert_true(r->conn[r->last_conn].at_end);
    finish(r);
}

TEST(data_behind_the_fin_is_not_delivered)
{
    struct guest g;
    struct rig *r = rig_connected(&g);

    r->keep_silent = true;
    guest_send(&g, FIN | ACK, "end", 3);
    rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack, .flags = ACK, .window = 30000,
                        .payload = "more", .payload_len = 4));
    rig_send(r, SEGMENT(.seq = g.seq + 4, .ack = g.ack, .flags = ACK | FIN, .window = 30000));
    assert_int_equal(r->stream_len, 3);
    finish(r);
}

TEST(a_second_fin_elsewhere_does_not_move_the_end)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    uint8_t bytes[1000];

    fill(bytes, sizeof(bytes));
    r->keep_silent = true;
    rig_send(r, SEGMENT(.seq = g.seq + 1000, .ack = g.ack, .flags = FIN | ACK, .window = 30000));
    rig_send(r, SEGMENT(.seq = g.seq + 500, .ack = g.ack, .flags = FIN | ACK, .window = 30000));
    rig_send(r, SEGMENT(.seq = g.seq + 2000, .ack = g.ack, .flags = FIN | ACK, .window = 30000));
    send_range(r, &g, bytes, 0, 1000);
    assert_in_range(r->stream_len, 500, 1000);
    assert_true(r->conn[r->last_conn].at_end);
    finish(r);
}

TEST(fin_again_in_last_ack_is_acknowledged_again)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    struct tcp_view v;

    guest_send(&g, FIN | ACK, NULL, 0); // the host answers with its own FIN: LAST-ACK
    for (int i = 0; i < 5; i++) {
        rig_clear(r);
        g.seq--;
        guest_send(&g, FIN | ACK, NULL, 0);
        assert_true(rig_find(r, PORT, ACK, &v));
        assert_int_equal(v.ack, g.seq);
        assert_int_equal(r->closes, 0);
    }
    rig_run(r, 2 * RIG_SECOND_US); // and the host's FIN comes again
    assert_true(rig_find(r, PORT, FIN, &v));
    guest_pump(&g);
    assert_int_equal(r->closes, 1);
    finish(r);
}

TEST(half_closed_by_the_guest_the_host_still_sends)
{
    struct guest g;
    struct rig *r = rig_connected(&g);
    struct iovec iov[2];

    r->keep_silent = true; // does not answer the FIN with its own
    guest_send(&g, FIN | ACK, NULL, 0);
    rig_run(r, 60 * MINUTE_US);
    assert_int_not_equal(stack_send_iov(r->stack, r->last_conn, iov), 0);
    memcpy(iov[0].iov_base, "late", 4);
    stack_send_commit(r->stack, r->last_conn, 4);
    rig_shutdown(r, r->last_conn);
    stack_flush(r->stack, r->now_us);
    guest_pump(&g);
    assert_int_equal(g.received_len, 4);
    assert_true(g.fin_seen);
    assert_int_equal(r->reason, STACK_CLOSED);
    assert_int_equal(r->closes, 1);
    finish(r);
}

TEST(half_closed_by_the_host_the_guest_still_sends)
{
    struct guest g;
    struct rig *r = rig_connected(&g);

    rig_shutdown(r, r->last_conn);
    stack_flush(r->stack, r->now_us);
    guest_pump(&g);
    assert_true(g.fin_seen);
    rig_run(r, 60 * MINUTE_US);
    guest_send(&g, ACK, "late", 4);
    assert_int_equal(r->stream_len, 4);
    guest_send(&g, ACK | FIN, NULL, 0);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_CLOSED);
    finish(r);
}

// --- TIME-WAIT, and other ends -------------------------------------------------------------------

// Into TIME-WAIT: the host closes first.
static void
into_time_wait(struct guest *g, struct rig *r)
{
    guest_connect(g, r, PORT);
    rig_shutdown(r, r->last_conn);
    stack_flush(r->stack, r->now_us);
    guest_pump(g);
    assert_true(g->fin_seen);
    guest_send(g, FIN | ACK, NULL, 0);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_CLOSED);
    assert_int_equal(stack_conn_count(r->stack), 1);
    rig_clear(r);
}

TEST(time_wait_answers_a_fin_again_and_ends)
{
    struct rig *r = rig_new(0);
    struct guest g;
    struct tcp_view v;

    into_time_wait(&g, r);
    g.seq--;
    guest_send(&g, FIN | ACK, NULL, 0);
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_int_equal(v.ack, g.seq);
    rig_run(r, 240 * RIG_SECOND_US);
    assert_int_equal(stack_conn_count(r->stack), 0);
    finish(r);
}

TEST(time_wait_gives_way_to_a_newer_syn_on_the_same_ports)
{
    struct rig *r = rig_new(0);
    struct guest g;
    struct tcp_view v;

    into_time_wait(&g, r);
    g.seq += 100000;
    rig_send(r, SEGMENT(.seq = g.seq, .flags = SYN, .window = 9000));
    assert_true(rig_find(r, PORT, SYN | ACK, &v));
    assert_int_equal(v.ack, g.seq + 1);
    g.seq++;
    g.ack = v.seq + 1;
    g.fin_seen = false;
    guest_echo(&g, 500);
    guest_close(&g);
    finish(r);
}

TEST(time_wait_is_not_cut_short_by_an_old_syn_or_reset)
{
    struct rig *r = rig_new(0);
    struct guest g;
    struct tcp_view v;

    into_time_wait(&g, r);
    rig_send(r, SEGMENT(.seq = g.seq - 5000, .flags = SYN, .window = 9000));
    assert_false(rig_find(r, PORT, SYN, &v));
    rig_send(r, SEGMENT(.seq = g.seq, .ack = g.ack, .flags = RST));
    assert_int_equal(stack_conn_count(r->stack), 1);
    assert_int_equal(r->opens, 1);
    finish(r);
}

TEST(a_table_full_of_time_wait_takes_new_connections)
{
    struct rig *r = rig_new(0);
    struct guest g;

    for (uint16_t i = 0; i < 2 * RIG_CONNS; i++) {
        guest_connect(&g, r, (uint16_t)(20000 + i));
        rig_shutdown(r, r->last_conn);
        stack_flush(r->stack, r->now_us);
        guest_pump(&g);
        guest_send(&g, FIN | ACK, NULL, 0);
        assert_int_equal(r->closes, i + 1);
    }
    finish(r);
}

TEST(a_full_table_refuses_with_a_reset)
{
    struct rig *r = rig_new(0);
    struct guest g;
    struct tcp_view v;

    for (uint16_t i = 0; i < RIG_CONNS; i++)
        guest_connect(&g, r, (uint16_t)(20000 + i));
    rig_clear(r);
    guest_syn(&g, r, PORT);
    assert_true(rig_find(r, PORT, RST | ACK, &v));
    assert_int_equal(r->closes, 0);
    stack_abort(r->stack, r->last_conn, r->now_us);
    finish(r);
}

TEST(simultaneous_close_ends_in_order)
{
    struct rig *r = rig_new(0);
    struct guest g;

    guest_connect(&g, r, PORT);
    rig_shutdown(r, r->last_conn);
    stack_flush(r->stack, r->now_us);
    guest_send(&g, FIN | ACK, NULL, 0); // does not acknowledge the host's FIN
    assert_int_equal(r->closes, 0);
    guest_pump(&g);
    assert_int_equal(r->closes, 1);
    assert_int_equal(r->reason, STACK_CLOSED);
    finish(r);
}

TEST(simultaneous_open_becomes_a_connection)
{
    struct rig *r = rig_new(0);
    struct guest g = {.rig = r, .addr = RIG_GUEST, .port = PORT, .seq = 9001, .window = 9000};
    struct tcp_view v;
    uint32_t conn;

    rig_arp(r);
    conn = stack_connect(r->stack, RIG_GUEST, PORT, RIG_PORT, r->now_us);
    r->conn[conn] = (struct rig_conn){.open = true};
    stack_flush(r->stack, r->now_us);
    assert_true(rig_find(r, PORT, SYN, &v));
    g.ack = v.seq + 1;
    rig_send(r, SEGMENT(.seq = 9000, .flags = SYN, .window = 9000));
    rig_send(r, SEGMENT(.seq = 9000, .ack = g.ack, .flags = SYN | ACK, .window = 9000));
    guest_send(&g, ACK, NULL, 0);
    assert_true(r->conn[conn].established);
    guest_echo(&g, 500);
    finish(r);
}

TEST(half_open_guest_that_restarts_gets_its_connection)
{
    struct rig *r = rig_new(0);
    struct guest g;
    struct tcp_view v;

    // a guest reboots and uses the same ports: challenge ACK, its RST, then a new SYN (RFC 5961 4)
    guest_connect(&g, r, PORT);
    guest_echo(&g, 10);
    rig_clear(r);
    rig_send(r, SEGMENT(.seq = 42, .flags = SYN, .window = 9000));
    assert_true(rig_find(r, PORT, ACK, &v));
    assert_int_equal(v.flags & (SYN | RST), 0);
    rig_send(r, SEGMENT(.seq = v.ack, .flags = RST));
    assert_int_equal(r->closes, 1);
    guest_connect(&g, r, PORT);
    guest_echo(&g, 10);
    finish(r);
}
