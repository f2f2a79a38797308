// SPDX-License-Identifier: BSD-3-Clause
// Loss: a guest without SACK (NewReno), SACKs of odd shapes, duplicates without end, round trips of
// a minute.
#include "bench.h"
#include "test.h"

#define MSS      1460u
#define SEGMENTS 10u // the initial window

static struct bench b;
static const uint8_t zeros[20 * MSS];

// Established, with a full initial window on its way.
static void
start(bool no_sack)
{
    bench_init(&b, NULL);
    b.no_sack = no_sack;
    bench_establish(&b);
    bench_host_sends(&b, zeros, SEGMENTS * MSS);
    bench_flush(&b);
    assert_int_equal(b.sent_count, SEGMENTS);
    bench_clear(&b);
}

static void
duplicates(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bench_tcp(&b, TCP_ACK, NULL, 0);
}

static void
acknowledge(uint32_t bytes)
{
    b.ack += bytes;
    bench_clear(&b);
    bench_tcp(&b, TCP_ACK, NULL, 0);
}

static void
expect_again(uint32_t seq)
{
    size_t len;
    assert_int_equal(b.sent_count, 1);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, &len).seq, seq);
    assert_int_equal(len, MSS);
}

// RFC 5681 3.2, RFC 6582 3.2
TEST(without_sack_three_duplicates_bring_the_segment_and_each_partial_ack_the_next)
{
    start(true);
    duplicates(2);
    assert_int_equal(b.sent_count, 0);
    duplicates(1);
    expect_again(b.ack);
    duplicates(2);
    assert_int_equal(b.sent_count, 1);
    acknowledge(MSS);
    expect_again(b.ack);
    acknowledge(5 * MSS); // more segments than there were duplicates
    expect_again(b.ack);
    acknowledge(4 * MSS);
    assert_int_equal(b.sent_count, 0);
    bench_wait(&b, 3000000);
    assert_int_equal(b.sent_count, 0); // nothing is left to be sent again
    bench_fini(&b);
}

TEST(duplicates_without_end_send_no_more_than_was_lost)
{
    start(true);
    for (int i = 0; i < 300; i++)
        duplicates(1);
    expect_again(b.ack);
    // Each says that a segment has arrived: by now all have, and there is room for new ones.
    bench_clear(&b);
    bench_host_sends(&b, zeros, 2 * MSS);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 2);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).seq, b.ack + SEGMENTS * MSS);
    bench_fini(&b);
}

TEST(after_loss_the_window_grows_by_at_least_a_byte_with_each_ack)
{
    start(true);
    duplicates(3);
    acknowledge(SEGMENTS * MSS); // recovered: the window is half of what was on its way
    bench_host_sends(&b, zeros, MSS);
    bench_flush(&b);
    for (uint32_t i = 0; i < MSS; i++)
        acknowledge(1);
    bench_clear(&b);
    bench_host_sends(&b, zeros, sizeof zeros);
    bench_flush(&b);
    assert_int_equal(b.sent_count, SEGMENTS / 2 + 1);
    acknowledge((SEGMENTS / 2 + 1) * MSS); // and by a segment with each round trip
    assert_int_equal(b.sent_count, SEGMENTS / 2 + 2);
    bench_fini(&b);
}

static void
sack(uint32_t ack, unsigned count, const struct tcp_sack_block blocks[])
{
    struct tcp_header h = {
        .seq = b.seq, .ack = ack, .flags = TCP_ACK, .window = 65535, .sack_count = (uint8_t)count};
    memcpy(h.sack, blocks, count * sizeof *blocks);
    bench_send(&b, h, NULL, 0);
}

TEST(partial_ack_of_all_that_was_sacked_brings_the_next_segment)
{
    start(false);
    sack(b.ack, 1, (struct tcp_sack_block[]){{b.ack + MSS, b.ack + 4 * MSS}});
    expect_again(b.ack);
    acknowledge(5 * MSS);
    expect_again(b.ack);
    bench_fini(&b);
}

TEST(three_small_blocks_are_loss_as_well)
{
    start(false);
    struct tcp_sack_block blocks[3];
    for (uint32_t i = 0; i < 3; i++)
        blocks[i] = (struct tcp_sack_block){b.ack + (i + 1) * MSS, b.ack + (i + 1) * MSS + 10};
    sack(b.ack, 2, blocks);
    assert_int_equal(b.sent_count, 0);
    sack(b.ack, 3, blocks);
    expect_again(b.ack);
    bench_fini(&b);
}

TEST(more_runs_than_an_option_holds_take_its_room_from_the_segment)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    for (uint32_t i = 0; i < 5; i++) {
        struct tcp_header h = {
            .seq = b.seq + 10 + 20 * i, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
        bench_send(&b, h, "x", 1);
    }
    bench_clear(&b);
    bench_host_sends(&b, zeros, 2 * MSS);
    bench_flush(&b);
    size_t len;
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, &len).sack_count, TCP_SACK_MAX);
    assert_int_equal(len, MSS - 4 - 8 * TCP_SACK_MAX);
    bench_fini(&b);
}

// A link that is full for a minute: the answer comes late, though nothing was sent again.
TEST(round_trip_of_more_than_a_minute_counts_as_one)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    bench_host_sends(&b, "ping", 4);
    bench_flush(&b);
    b.link_full = true;
    bench_host_sends(&b, "more", 4);
    bench_flush(&b);
    bench_wait(&b, 61000000);
    assert_int_equal(b.sent_count, 1);
    b.link_full = false;
    stack_unblock(b.stack);
    acknowledge(4);
    size_t len;
    assert_int_equal(b.sent_count, 1);
    bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 4);
    bench_wait(&b, 59000000); // RFC 6298 2.5: no later than 60 s
    assert_int_equal(b.sent_count, 1);
    bench_wait(&b, 2000000);
    assert_int_equal(b.sent_count, 2);
    bench_fini(&b);
}
