// SPDX-License-Identifier: BSD-3-Clause
// A host end that breaks within a callback, with room on the link for the RST and without; frames
// in many pieces; many segments and connections in one turn; closing from every side.
#include "bench.h"
#include "test.h"

static struct bench b;

static void
start(void)
{
    bench_init(&b, NULL);
    bench_establish(&b);
}

static struct tcp_header
header_at(uint32_t seq, uint8_t flags)
{
    return (struct tcp_header){
        .seq = seq, .ack = b.ack, .flags = flags, .window = 65535, .wscale = -1};
}

// The conn has ended by our RST, which waits when the link is full.
static void
expect_aborted(void)
{
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_ABORTED);
    assert_int_equal(stack_conn_count(b.stack), b.link_full);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(b.closes, 1);
    assert_int_equal(stack_conn_count(b.stack), 0);
    assert_true(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).flags & TCP_RST);
    bench_fini(&b);
}

static void
abort_when_established(bool link_full)
{
    bench_init(&b, NULL);
    b.abort_at = AT_ESTABLISHED;
    struct tcp_header syn = header_at(b.seq++, TCP_SYN);
    syn.mss = 1460;
    bench_send(&b, syn, NULL, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    b.ack = bench_sent_tcp(&b, 0, NULL, NULL).seq + 1;
    b.link_full = link_full;
    bench_tcp(&b, TCP_ACK, "too late", 8);
    assert_int_equal(b.establishes, 1);
    assert_int_equal(b.data_len, 0);
    expect_aborted();
}

TEST(aborted_when_told_that_it_is_established)
{
    abort_when_established(false);
    abort_when_established(true);
}

// Bytes that wait for the end of the turn are handed over by what comes behind them.
static void
abort_at_data(struct tcp_header behind, size_t len, bool link_full)
{
    uint8_t first[2048], second[2048];
    b.abort_at = AT_DATA;
    b.link_full = link_full;
    size_t n = bench_segment(header_at(b.seq, TCP_ACK), "in order", 8, first);
    bench_input(&b, first, n);
    assert_int_equal(b.closes, 0);
    n = bench_segment(behind, "behind", len, second);
    bench_input(&b, second, n);
    assert_int_equal(b.closes, 1);
    bench_flush(&b);
    expect_aborted();
}

TEST(aborted_by_bytes_before_a_reset)
{
    for (int full = 0; full < 2; full++) {
        start();
        abort_at_data(header_at(b.seq + 8, TCP_RST), 0, full);
    }
}

TEST(aborted_by_bytes_before_one_out_of_order)
{
    for (int full = 0; full < 2; full++) {
        start();
        abort_at_data(header_at(b.seq + 20, TCP_ACK), 6, full);
    }
}

TEST(aborted_when_told_of_the_end)
{
    start();
    b.abort_at = AT_READABLE;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    assert_int_equal(b.readables, 1);
    expect_aborted();
}

TEST(aborted_when_told_of_room)
{
    start();
    struct iovec iov[2];
    static uint8_t block[1 << 16];
    bench_host_sends(&b, block, sizeof block);
    assert_int_equal(stack_send_iov(b.stack, b.conn, iov), 0);
    stack_send_commit(b.stack, b.conn, 0);
    bench_flush(&b);
    b.abort_at = AT_WRITABLE;
    b.ack += 14600;
    for (int i = 0; i < 3 && b.closes == 0; i++) {
        bench_clear(&b);
        bench_tcp(&b, TCP_ACK, NULL, 0);
        b.ack += 14600;
    }
    assert_int_equal(b.writables, 1);
    expect_aborted();
}

// --- many in one turn ----------------------------------------------------------------------------

#define TURN_SEGMENTS 300

// One byte each, more than the stack remembers in a turn.
static void
input_bytes(void)
{
    static uint8_t frames[TURN_SEGMENTS][100];
    uint8_t bytes[2048];
    for (uint32_t i = 0; i < TURN_SEGMENTS; i++) {
        const uint8_t byte = (uint8_t)(i * 7);
        size_t n = bench_segment(header_at(b.seq + i, TCP_ACK), &byte, 1, bytes);
        memcpy(frames[i], bytes, n);
        bench_input(&b, frames[i], n);
    }
}

static void
expect_bytes(void)
{
    assert_int_equal(b.data_len, TURN_SEGMENTS);
    for (size_t i = 0; i < TURN_SEGMENTS; i++)
        assert_int_equal(b.data[i], (uint8_t)(i * 7));
}

TEST(more_segments_in_a_turn_than_are_remembered)
{
    start();
    input_bytes();
    bench_flush(&b);
    expect_bytes();
    bench_fini(&b);
}

TEST(more_segments_in_a_turn_than_the_host_takes)
{
    start();
    b.take_most = 10;
    input_bytes();
    bench_flush(&b);
    struct iovec iov[2];
    int n = stack_recv_iov(b.stack, b.conn, iov);
    assert_int_equal(n, 1);
    memcpy(b.data + b.data_len, iov[0].iov_base, iov[0].iov_len);
    b.data_len += iov[0].iov_len;
    expect_bytes();
    stack_recv_consume(b.stack, b.conn, iov[0].iov_len);
    bench_fini(&b);
}

TEST(more_segments_in_a_turn_than_the_host_survives)
{
    start();
    b.abort_at = AT_DATA;
    input_bytes();
    assert_int_equal(b.closes, 1);
    bench_flush(&b);
    expect_aborted();
}

// A second connection from port 40001: what it has to send in b.seq and b.ack.
static void
establish_second(void)
{
    struct tcp_header h = header_at(7000, TCP_SYN);
    h.src_port = 40001;
    bench_send(&b, h, NULL, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    b.seq = 7001;
    b.ack = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).seq + 1;
    h = header_at(b.seq, TCP_ACK);
    h.src_port = 40001;
    bench_send(&b, h, NULL, 0);
    bench_clear(&b);
}

TEST(two_connections_in_a_turn)
{
    uint8_t first[2048], second[2048];
    start();
    size_t first_len = bench_segment(header_at(b.seq, TCP_ACK), "one", 3, first);
    establish_second();
    struct tcp_header h = header_at(b.seq, TCP_ACK);
    h.src_port = 40001;
    size_t second_len = bench_segment(h, "two", 3, second);
    bench_input(&b, first, first_len);
    bench_input(&b, second, second_len);
    bench_flush(&b);
    assert_int_equal(b.data_len, 6);
    assert_memory_equal(b.data, "onetwo", 6);
    bench_fini(&b);
}

// --- pieces --------------------------------------------------------------------------------------

// A segment whose frame is cut behind its header and every three bytes, with padding of its own.
static void
input_in_pieces(uint32_t seq, const char *text)
{
    static uint8_t bytes[2048];
    static const uint8_t padding[6];
    size_t len = strlen(text), n = bench_segment(header_at(seq, TCP_ACK), text, len, bytes);
    struct iovec iov[16];
    int count = 0;
    iov[count++] = (struct iovec){bytes, 20};
    iov[count++] = (struct iovec){bytes + 20, n - len - 20};
    for (size_t at = 0; at < len; at += 3)
        iov[count++] = (struct iovec){bytes + n - len + at, len - at < 3 ? len - at : 3};
    iov[count++] = (struct iovec){(void *)(uintptr_t)padding, sizeof padding};
    stack_input(b.stack, &(struct frame){.iov = iov, .iovcnt = count, .len = n + sizeof padding},
                b.now_us);
    bench_flush(&b);
}

TEST(frame_in_pieces_is_the_same_segment)
{
    start();
    input_in_pieces(b.seq, "straight on");
    assert_memory_equal(b.data, "straight on", 11);
    input_in_pieces(b.seq + 18, " order"); // to the ring, out of order
    input_in_pieces(b.seq + 8, " on out of");
    struct iovec iov[2];
    assert_int_equal(stack_recv_iov(b.stack, b.conn, iov), 1);
    assert_int_equal(iov[0].iov_len, 13);
    assert_memory_equal(iov[0].iov_base, " out of order", 13);
    stack_recv_consume(b.stack, b.conn, 13);
    bench_fini(&b);
}

// --- ends ----------------------------------------------------------------------------------------

TEST(link_down_tells_nobody_twice)
{
    start();
    establish_second();
    struct tcp_header rst = header_at(b.seq, TCP_RST);
    rst.src_port = 40001;
    bench_send(&b, rst, NULL, 0); // its entry is free again
    assert_int_equal(b.closes, 1);
    b.link_full = true;
    stack_abort(b.stack, 0, b.now_us); // told, but its RST waits
    assert_int_equal(b.closes, 2);
    assert_int_equal(stack_conn_count(b.stack), 1);
    stack_link_down(b.stack);
    assert_int_equal(b.closes, 2);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(reset_does_not_take_bytes_back_from_a_host_that_has_not_read_them)
{
    start();
    b.take_most = 0;
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, "last words", 10);
    bench_clear(&b);
    bench_tcp(&b, TCP_RST, NULL, 0);
    assert_int_equal(b.closes, 0);
    struct iovec iov[2];
    assert_int_equal(stack_recv_iov(b.stack, b.conn, iov), 1);
    assert_memory_equal(iov[0].iov_base, "last words", 10);
    stack_recv_consume(b.stack, b.conn, 10);
    bench_flush(&b);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_CLOSED);
    bench_fini(&b);
}

TEST(bytes_for_a_host_end_that_broke_are_refused)
{
    start();
    bench_host_sends(&b, "final", 5);
    stack_abort_after_send(b.stack, b.conn, b.now_us);
    bench_flush(&b);
    bench_clear(&b);
    uint32_t seq = b.seq;
    bench_tcp(&b, TCP_ACK, "for nobody", 10);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.ack, seq);
    assert_int_equal(h.window, 0);
    assert_int_equal(b.data_len, 0);
    bench_fini(&b);
}

TEST(host_that_is_done_before_the_guest_is_answered)
{
    bench_init(&b, NULL);
    struct tcp_header syn = header_at(b.seq++, TCP_SYN);
    bench_send(&b, syn, NULL, 0);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    b.ack = bench_sent_tcp(&b, 0, NULL, NULL).seq + 1;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    assert_int_equal(bench_sent_tcp(&b, 1, NULL, NULL).flags, TCP_FIN | TCP_ACK);
    bench_fini(&b);
}

// The least step of a window is half of a ring that holds no two segments.
TEST(ring_smaller_than_two_segments_opens_by_halves)
{
    bench_init(&b, &(struct stack_config){.mtu = 9000, .ring_bytes = 4096});
    struct tcp_header syn = header_at(b.seq++, TCP_SYN);
    syn.mss = 8960;
    bench_send(&b, syn, NULL, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    b.ack = bench_sent_tcp(&b, 0, NULL, NULL).seq + 1;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    b.take_most = 0;
    static uint8_t block[1024];
    for (int i = 0; i < 4; i++)
        bench_tcp(&b, TCP_ACK, block, sizeof block);
    bench_wait(&b, 5000);
    assert_int_equal(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).window, 0);
    bench_clear(&b);
    stack_recv_consume(b.stack, b.conn, 2000);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).window, 0);
    stack_recv_consume(b.stack, b.conn, 48);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).window, 2048);
    bench_fini(&b);
}
