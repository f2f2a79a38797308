// SPDX-License-Identifier: BSD-3-Clause
// Timers where several things wait at once: a full link, an orphan, an ACK that was put off.
#include "bench.h"
#include "test.h"

static struct bench b;

static void
start(void)
{
    bench_init(&b, NULL);
    bench_establish(&b);
}

// Something to be sent that the link does not take.
static void
fill_link(void)
{
    b.link_full = true;
    bench_send(&b, (struct tcp_header){.seq = b.seq - 100, .ack = b.ack, .flags = TCP_ACK}, NULL,
               0);
    assert_int_equal(b.sent_count, 0);
}

static void
empty_link(void)
{
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
}

static void
orphan(void)
{
    start();
    stack_shutdown(b.stack, b.conn);
    stack_orphan(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    bench_clear(&b);
}

TEST(guest_that_does_not_close_after_both_ends_of_the_host_is_reset)
{
    orphan();
    bench_wait(&b, 59000000);
    assert_int_equal(b.closes, 0);
    bench_wait(&b, 2000000);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_CLOSED);
    assert_true(bench_sent_tcp(&b, 0, NULL, NULL).flags & TCP_RST);
    bench_fini(&b);
}

TEST(full_link_does_not_delay_the_end_of_an_orphan)
{
    orphan();
    fill_link();
    bench_wait(&b, 61000000);
    assert_int_equal(b.closes, 1);
    assert_int_equal(stack_conn_count(b.stack), 1); // its RST waits
    stack_unblock(b.stack);
    bench_flush(&b); // still full
    assert_int_equal(stack_conn_count(b.stack), 1);
    empty_link();
    assert_int_equal(stack_conn_count(b.stack), 0);
    assert_true(bench_sent_tcp(&b, 0, NULL, NULL).flags & TCP_RST);
    bench_fini(&b);
}

TEST(orphan_that_has_not_sent_its_fin_is_not_timed)
{
    start();
    stack_orphan(b.stack, b.conn);
    bench_flush(&b);
    bench_wait(&b, 120000000);
    assert_int_equal(b.closes, 0);
    bench_fini(&b);
}

TEST(full_link_does_not_delay_the_end_of_time_wait)
{
    start();
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    assert_int_equal(b.closes, 1);
    bench_clear(&b);
    fill_link();
    bench_wait(&b, 9000000);
    assert_int_equal(stack_conn_count(b.stack), 1);
    bench_wait(&b, 2000000);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(probe_sends_what_fits_when_the_window_is_open_after_all)
{
    start();
    b.link_full = true;
    bench_host_sends(&b, "late", 4);
    bench_flush(&b);
    b.link_full = false;
    stack_unblock(b.stack); // and no flush before the timer
    b.now_us += 2000000;
    stack_timers(b.stack, b.now_us);
    assert_int_equal(b.sent_count, 0); // no probe
    bench_flush(&b);
    size_t len;
    bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 4);
    bench_fini(&b);
}

TEST(ack_that_was_put_off_rides_on_a_retransmission)
{
    start();
    bench_host_sends(&b, "ping", 4);
    bench_flush(&b);
    bench_wait(&b, 999500);
    bench_tcp(&b, TCP_ACK, "y", 1);
    assert_int_equal(b.sent_count, 1);
    bench_wait(&b, 600); // sooner than the ACK would go
    assert_int_equal(b.sent_count, 2);
    size_t len;
    assert_int_equal(bench_sent_tcp(&b, 1, NULL, &len).ack, b.seq);
    assert_int_equal(len, 4);
    bench_fini(&b);
}
