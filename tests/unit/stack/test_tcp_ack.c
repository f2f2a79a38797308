// SPDX-License-Identifier: BSD-3-Clause
// When the guest's bytes are acknowledged: with the host's answer where one comes soon, at once
// where the guest, or its loss recovery, waits for it.
#include "bench.h"
#include "test.h"

static struct bench b;

#define DELAY_MOST_US 2048 // the delay, and the timer wheel's tick

static char block[1460];

static void
start(const struct stack_config *change)
{
    bench_init(&b, change);
    bench_establish(&b);
    memset(block, 'x', sizeof block);
}

static void
expect_acks(size_t count)
{
    assert_int_equal(b.sent_count, count);
    if (count > 0)
        assert_int_equal(bench_sent_tcp(&b, count - 1, NULL, NULL).ack, b.seq);
    bench_clear(&b);
}

TEST(ack_rides_on_the_answer)
{
    start(NULL);
    for (int i = 0; i < 100; i++) {
        bench_tcp(&b, TCP_ACK, "request", 7);
        expect_acks(0);
        b.now_us += 30;
        bench_host_sends(&b, "answer", 6);
        bench_flush(&b);
        size_t len;
        struct tcp_header h = bench_sent_tcp(&b, 0, NULL, &len);
        assert_int_equal(len, 6);
        b.ack = h.seq + 6;
        expect_acks(1);
        bench_tcp(&b, TCP_ACK, NULL, 0);
        expect_acks(0);
    }
    bench_wait(&b, 10000); // nothing is owed
    expect_acks(0);
    bench_fini(&b);
}

TEST(without_an_answer_the_ack_goes_alone_and_soon)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK, "request", 7);
    expect_acks(0);
    bench_wait(&b, DELAY_MOST_US);
    expect_acks(1);
    bench_wait(&b, 100000);
    expect_acks(0);
    bench_fini(&b);
}

TEST(guest_that_waited_for_an_ack_need_not_wait_again_soon)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK, "a", 1);
    bench_wait(&b, DELAY_MOST_US);
    expect_acks(1);
    unsigned at_once = 0;
    for (;;) {
        bench_tcp(&b, TCP_ACK, "b", 1);
        if (b.sent_count == 0)
            break;
        expect_acks(1);
        at_once++;
    }
    assert_in_range(at_once, 8, 64);
    bench_wait(&b, DELAY_MOST_US);
    expect_acks(1);
    bench_fini(&b);
}

TEST(a_segments_worth_is_acknowledged_at_once)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK, block, sizeof block);
    expect_acks(1);
    bench_tcp(&b, TCP_ACK, block, 1000); // small ones that add up
    expect_acks(0);
    bench_tcp(&b, TCP_ACK, block, 1000);
    expect_acks(1);
    bench_wait(&b, 100000);
    expect_acks(0);
    bench_fini(&b);
}

// Nearly 64 KiB, acknowledged by the segment.
static void
send_a_while(void)
{
    for (size_t sent = sizeof block; sent < 65536; sent += sizeof block) {
        bench_tcp(&b, TCP_ACK, block, sizeof block);
        expect_acks(1);
    }
}

TEST(guest_that_sent_a_while_gets_an_ack_for_every_eight_segments)
{
    start(NULL);
    send_a_while();
    for (int i = 0; i < 3; i++) {
        for (int segment = 0; segment < 7; segment++)
            bench_tcp(&b, TCP_ACK, block, sizeof block);
        expect_acks(0);
        bench_tcp(&b, TCP_ACK, block, sizeof block);
        expect_acks(1);
    }
    bench_fini(&b);
}

TEST(guest_that_sent_a_while_and_stops_gets_its_ack_soon)
{
    start(NULL);
    send_a_while();
    for (int segment = 0; segment < 3; segment++)
        bench_tcp(&b, TCP_ACK, block, sizeof block);
    expect_acks(0);
    bench_wait(&b, DELAY_MOST_US);
    expect_acks(1);
    bench_tcp(&b, TCP_ACK, block, sizeof block); // it had to wait, as after a loss: not again soon
    expect_acks(1);
    bench_fini(&b);
}

TEST(ack_of_a_fin_rides_on_ours)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK | TCP_FIN, "last", 4);
    expect_acks(0);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    assert_true(bench_sent_tcp(&b, 0, NULL, NULL).flags & TCP_FIN);
    expect_acks(1);
    bench_fini(&b);
}

TEST(fin_of_a_half_closed_connection_is_acknowledged_soon)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    expect_acks(0);
    bench_wait(&b, DELAY_MOST_US);
    expect_acks(1);
    bench_host_sends(&b, "answer", 6);
    bench_flush(&b);
    expect_acks(1);
    bench_fini(&b);
}

TEST(fin_again_is_acknowledged_at_once)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    expect_acks(0);
    b.seq--;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    expect_acks(1);
    bench_fini(&b);
}

TEST(fin_after_ours_is_acknowledged_at_once)
{
    start(NULL);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    expect_acks(1);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    expect_acks(1);
    bench_fini(&b);
}

TEST(what_is_out_of_order_and_what_fills_the_gap_is_acknowledged_at_once)
{
    start(NULL);
    struct tcp_header h = {.seq = b.seq + 3, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
    bench_send(&b, h, "def", 3);
    expect_acks(1); // b.seq: a duplicate
    h.seq = b.seq;
    bench_send(&b, h, "ab", 2); // a part of the gap (RFC 5681 4.2)
    b.seq += 2;
    expect_acks(1);
    h.seq = b.seq;
    bench_send(&b, h, "c", 1);
    b.seq += 4;
    expect_acks(1);
    bench_fini(&b);
}

TEST(bytes_that_came_before_are_acknowledged_at_once)
{
    start(NULL);
    struct tcp_header h = {.seq = b.seq, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
    bench_tcp(&b, TCP_ACK, "abc", 3);
    expect_acks(0);
    bench_send(&b, h, "abc", 3); // our ACK was lost, it thinks
    expect_acks(1);
    bench_send(&b, h, "abcde", 5); // some of it is new
    b.seq += 2;
    expect_acks(1);
    bench_fini(&b);
}

TEST(what_finds_no_room_is_answered_at_once)
{
    start(&(struct stack_config){.ring_bytes = 4096});
    b.take_most = 0;
    for (int i = 0; i < 4; i++) {
        bench_tcp(&b, TCP_ACK, block, 1000);
        bench_wait(&b, DELAY_MOST_US);
    }
    bench_clear(&b);
    bench_tcp(&b, TCP_ACK, block, 200); // 96 of them fit
    b.seq -= 104;
    expect_acks(1);
    bench_tcp(&b, TCP_ACK, block, 1); // a probe of the closed window
    b.seq -= 1;
    expect_acks(1);
    bench_fini(&b);
}

TEST(window_update_goes_at_once)
{
    start(&(struct stack_config){.ring_bytes = 4096});
    b.take_most = 0;
    for (int i = 0; i < 4; i++)
        bench_tcp(&b, TCP_ACK, block, 1024);
    bench_wait(&b, DELAY_MOST_US);
    bench_clear(&b);
    stack_recv_consume(b.stack, b.conn, 4096);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).window, 4096);
    expect_acks(1);
    bench_fini(&b);
}

TEST(host_that_has_finished_is_not_waited_for)
{
    start(NULL);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    expect_acks(1); // our FIN
    bench_tcp(&b, TCP_ACK, "abc", 3);
    expect_acks(1);
    bench_fini(&b);
}

TEST(full_link_delays_the_late_ack_and_loses_it_not)
{
    start(NULL);
    bench_tcp(&b, TCP_ACK, "abc", 3);
    b.link_full = true;
    bench_wait(&b, 10000);
    expect_acks(0);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    expect_acks(1);
    bench_wait(&b, 10000);
    expect_acks(0);
    bench_fini(&b);
}

// --- what is not in the window -------------------------------------------------------------------

#define PROBERS 150

static void
send_from(unsigned i, uint8_t flags, uint32_t seq, uint32_t number)
{
    bench_send(&b,
               (struct tcp_header){.src_port = (uint16_t)(GUEST_PORT + i),
                                   .seq = seq,
                                   .ack = number,
                                   .flags = flags,
                                   .window = 65535,
                                   .wscale = -1},
               NULL, 0);
}

// A guest's keep-alive and its window probes are such; of many connections they may come together.
TEST(probes_of_many_connections_are_all_answered)
{
    static uint32_t iss[PROBERS];
    bench_init(&b, &(struct stack_config){.max_conns = PROBERS, .max_half_open = 1});
    for (unsigned i = 0; i < PROBERS; i++) {
        bench_clear(&b);
        send_from(i, TCP_SYN, 1000, 0);
        stack_accept(b.stack, b.conn, b.now_us);
        bench_flush(&b);
        iss[i] = bench_sent_tcp(&b, 0, NULL, NULL).seq;
        send_from(i, TCP_ACK, 1001, iss[i] + 1);
    }
    bench_wait(&b, 60000000);
    for (unsigned i = 0; i < PROBERS; i++) {
        bench_clear(&b);
        send_from(i, TCP_ACK, 1000, iss[i] + 1);
        assert_int_equal(b.sent_count, 1);
        struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
        assert_int_equal(h.dst_port, GUEST_PORT + i);
        assert_int_equal(h.ack, 1001);
    }
    bench_fini(&b);
}
