// SPDX-License-Identifier: BSD-3-Clause
// Bytes both ways: straight to the host, through the ring, out of order, lost, stalled.
#include "bench.h"
#include "test.h"

#include <stdio.h>
#include <unistd.h>

static struct bench b;

static void
expect_data(const char *text)
{
    assert_int_equal(b.data_len, strlen(text));
    assert_memory_equal(b.data, text, strlen(text));
}

// Takes everything that stands in the receive ring.
static void
drain(void)
{
    struct iovec iov[2];
    int n = stack_recv_iov(b.stack, b.conn, iov);
    for (int i = 0; i < n; i++) {
        memcpy(b.data + b.data_len, iov[i].iov_base, iov[i].iov_len);
        b.data_len += iov[i].iov_len;
        stack_recv_consume(b.stack, b.conn, iov[i].iov_len);
    }
    bench_flush(&b);
}

TEST(data_goes_straight_to_the_host_and_is_acknowledged_once)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    uint8_t one[2048], two[2048];
    char text[1401] = "";
    memset(text, 'a', 700);
    memset(text + 700, 'b', 700);
    struct tcp_header h = {.seq = b.seq, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
    size_t n1 = bench_segment(h, text, 700, one);
    h.seq += 700;
    size_t n2 = bench_segment(h, text + 700, 700, two);
    bench_input(&b, one, n1);
    bench_input(&b, two, n2);
    assert_int_equal(b.data_len, 0);
    bench_flush(&b);
    expect_data(text);
    bench_wait(&b, 5000);
    assert_int_equal(b.sent_count, 1);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).ack, b.seq + 1400);
    bench_fini(&b);
}

TEST(what_the_host_does_not_take_waits_in_the_ring)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    b.take_most = 2;
    bench_tcp(&b, TCP_ACK, "abcdef", 6);
    expect_data("ab");
    bench_wait(&b, 5000);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.ack, b.seq);
    assert_int_equal(h.window << 1, 65535 - 6 + 1); // the edge told in the SYN-ACK, to our scale
    bench_tcp(&b, TCP_ACK, "gh", 2);                // behind what waits, not before it
    drain();
    expect_data("abcdefgh");
    bench_fini(&b);
}

TEST(out_of_order_bytes_are_kept_and_reported)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    struct tcp_header h = {.seq = b.seq + 3, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
    bench_send(&b, h, "def", 3);
    struct tcp_header dup = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(dup.ack, b.seq);
    assert_int_equal(dup.sack_count, 1);
    assert_int_equal(dup.sack[0].left, b.seq + 3);
    assert_int_equal(dup.sack[0].right, b.seq + 6);
    h.seq = b.seq;
    bench_send(&b, h, "abcde", 5); // overlaps
    drain();
    expect_data("abcdef");
    bench_fini(&b);
}

TEST(sack_blocks_take_their_room_from_the_segment)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    struct tcp_header h = {.seq = b.seq + 3, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
    bench_send(&b, h, "def", 3);
    bench_clear(&b);
    char text[3000];
    memset(text, 'z', sizeof text);
    bench_host_sends(&b, text, sizeof text);
    bench_flush(&b);
    size_t len;
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, &len).sack_count, 1);
    assert_int_equal(len, 1460 - 12);
    assert_int_equal(b.sent[0].len, 14 + 1500);
    bench_fini(&b);
}

TEST(bytes_beyond_the_window_are_not_taken)
{
    bench_init(&b, &(struct stack_config){.ring_bytes = 4096});
    bench_establish(&b);
    b.take_most = 0;
    char block[1400];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 4; i++)
        bench_tcp(&b, TCP_ACK, block, sizeof block);
    struct tcp_header last = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL);
    assert_int_equal(last.window, 0);
    assert_int_equal(last.ack, b.seq - 4 * 1400 + 4096);
    bench_clear(&b);
    drain();
    assert_int_equal(b.data_len, 4096);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).window, 4096); // reopened, told once
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

TEST(closed_window_does_not_open_byte_by_byte)
{
    bench_init(&b, &(struct stack_config){.ring_bytes = 4096});
    bench_establish(&b);
    b.take_most = 0;
    char block[1024];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 4; i++)
        bench_tcp(&b, TCP_ACK, block, sizeof block);
    for (int i = 0; i < 4096; i++) {
        bench_clear(&b);
        b.now_us += 20000; // challenge ACKs are bounded per second
        stack_recv_consume(b.stack, b.conn, 1);
        bench_flush(&b);
        bench_send(&b, (struct tcp_header){.seq = b.seq - 1, .ack = b.ack, .flags = TCP_ACK}, NULL,
                   0);
        uint16_t window = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).window;
        assert_true(window == 0 || window >= 1460);
    }
    bench_fini(&b);
}

TEST(fin_after_data_then_half_close_the_other_way)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    bench_tcp(&b, TCP_ACK | TCP_FIN, "bye", 3);
    expect_data("bye");
    assert_int_equal(b.readables, 1);
    assert_true(stack_recv_at_end(b.stack, b.conn));
    bench_clear(&b);
    bench_host_sends(&b, "still here", 10);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    size_t len;
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 10);
    assert_true(h.flags & TCP_FIN);
    b.ack = h.seq + 11;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_CLOSED);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(host_closes_first_then_time_wait_then_a_new_syn)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_int_equal(stack_conn_count(b.stack), 1); // TIME-WAIT
    bench_send(&b, (struct tcp_header){.seq = b.seq + 1, .flags = TCP_SYN, .wscale = -1}, NULL, 0);
    assert_int_equal(b.opens, 2);
    stack_reject(b.stack, b.conn, b.now_us);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(close_waits_for_bytes_the_host_has_not_taken)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    b.take_most = 0;
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, "last words", 10);
    assert_int_equal(b.closes, 0);
    assert_false(stack_recv_at_end(b.stack, b.conn));
    drain();
    expect_data("last words");
    assert_int_equal(b.closes, 1);
    bench_fini(&b);
}

TEST(lost_segment_is_sent_again_after_three_duplicates)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    char text[1460 * 6];
    memset(text, 'y', sizeof text);
    bench_host_sends(&b, text, sizeof text);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 6);
    bench_clear(&b);
    for (uint32_t i = 2; i <= 5; i++) {
        struct tcp_header h = {.seq = b.seq,
                               .ack = b.ack,
                               .flags = TCP_ACK,
                               .window = 500,
                               .sack_count = 1,
                               .sack = {{b.ack + 1460, b.ack + 1460 * i}}};
        bench_send(&b, h, NULL, 0);
    }
    size_t len;
    struct tcp_header again = bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(again.seq, b.ack);
    assert_int_equal(len, 1460);
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

TEST(silence_brings_retransmission_with_back_off)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    bench_host_sends(&b, "ping", 4);
    bench_flush(&b);
    bench_wait(&b, 7500000); // 1, 2, 4 s
    assert_int_equal(b.sent_count, 4);
    bench_wait(&b, 3600000000ull);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_TIMED_OUT);
    bench_fini(&b);
}

TEST(closed_window_is_probed_for_ever_while_answered)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    struct tcp_header shut = {.seq = b.seq, .ack = b.ack, .flags = TCP_ACK, .window = 0};
    bench_send(&b, shut, NULL, 0);
    bench_host_sends(&b, "patience", 8);
    bench_flush(&b);
    for (int i = 0; i < 100; i++) {
        bench_clear(&b);
        bench_wait(&b, 60000000);
        assert_true(b.sent_count > 0);
        bench_send(&b, shut, NULL, 0);
    }
    assert_int_equal(b.closes, 0);
    bench_clear(&b);
    shut.window = 100;
    bench_send(&b, shut, NULL, 0);
    size_t len;
    bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 8);
    bench_fini(&b);
}

TEST(acks_behind_a_probe_of_our_closed_window_count)
{
    bench_init(&b, &(struct stack_config){.ring_bytes = 4096});
    bench_establish(&b);
    b.take_most = 0;
    char block[1366];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 3; i++)
        bench_tcp(&b, TCP_ACK, block, sizeof block - (i == 2 ? 2 : 0));
    bench_host_sends(&b, "answer", 6);
    bench_flush(&b);
    bench_tcp(&b, TCP_ACK, "p", 1); // the probe: not taken, but numbered
    b.ack += 6;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    bench_clear(&b);
    bench_wait(&b, 3000000);
    assert_int_equal(b.sent_count, 0); // nothing to retransmit
    bench_fini(&b);
}

TEST(window_of_a_retransmission_with_a_new_ack_counts)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    struct tcp_header h = {.seq = b.seq + 100, .ack = b.ack, .flags = TCP_ACK, .window = 64};
    bench_send(&b, h, "x", 1); // 100 bytes before it were lost
    char text[8192];
    memset(text, 'w', sizeof text);
    bench_host_sends(&b, text, 4000);
    bench_flush(&b);
    bench_clear(&b);
    h.seq = b.seq;
    h.ack = b.ack + 4000;
    h.window = 8; // 1024 bytes
    bench_send(&b, h, text, 100);
    bench_host_sends(&b, text, 8192);
    bench_flush(&b);
    size_t sum = 0, len;
    for (size_t i = 0; i < b.sent_count; i++) {
        bench_sent_tcp(&b, i, NULL, &len);
        sum += len;
    }
    assert_int_equal(sum, 1024);
    bench_fini(&b);
}

TEST(abort_after_send_delivers_before_rst)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    bench_host_sends(&b, "final", 5);
    stack_abort_after_send(b.stack, b.conn, b.now_us);
    bench_flush(&b);
    size_t len;
    bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 5);
    assert_int_equal(b.closes, 0);
    b.ack += 5;
    bench_tcp(&b, TCP_ACK, NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_true(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).flags & TCP_RST);
    bench_fini(&b);
}

TEST(rst_is_taken_at_the_edge_and_challenged_inside)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    bench_send(&b, (struct tcp_header){.seq = b.seq + 10, .flags = TCP_RST}, NULL, 0);
    assert_int_equal(b.closes, 0);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).flags, TCP_ACK);
    bench_send(&b, (struct tcp_header){.seq = b.seq, .flags = TCP_RST}, NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_RESET);
    bench_fini(&b);
}

TEST(full_link_loses_nothing)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    b.link_full = true;
    bench_host_sends(&b, "held", 4);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 0);
    b.link_full = false;
    bench_flush(&b);
    assert_int_equal(b.sent_count, 0); // not before the link says so
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

// A connection of its own port, established; leaves b.conn, b.seq and b.ack to it.
static uint32_t
establish_from(uint16_t port)
{
    b.seq = 1000;
    bench_send(&b,
               (struct tcp_header){.src_port = port,
                                   .seq = b.seq++,
                                   .flags = TCP_SYN,
                                   .window = 65535,
                                   .mss = 1460,
                                   .wscale = -1},
               NULL, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    b.ack = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).seq + 1;
    bench_send(&b,
               (struct tcp_header){
                   .src_port = port, .seq = b.seq, .ack = b.ack, .flags = TCP_ACK, .window = 65535},
               NULL, 0);
    return b.conn;
}

TEST(full_link_serves_the_ones_that_wait_in_turn)
{
    bench_init(&b, NULL);
    char block[4000];
    memset(block, 'f', sizeof block);
    uint16_t ports[3] = {40001, 40002, 40003};
    for (int i = 0; i < 3; i++)
        establish_from(ports[i]);
    b.link_full = true;
    for (uint32_t i = 0; i < 3; i++) {
        b.conn = i;
        bench_host_sends(&b, block, sizeof block);
    }
    bench_flush(&b);
    // The link takes one frame at a time: each connection has its turn.
    b.link_full = false;
    unsigned turns[3] = {0};
    for (int i = 0; i < 6; i++) {
        bench_clear(&b);
        b.sent_most = 1;
        stack_unblock(b.stack);
        bench_flush(&b);
        turns[bench_sent_tcp(&b, 0, NULL, NULL).dst_port - ports[0]]++;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(turns[i], 2);
    bench_fini(&b);
}

TEST(super_frames_where_the_link_takes_them)
{
    bench_init(&b, &(struct stack_config){.tso = true, .ring_bytes = 1 << 17});
    bench_establish(&b);
    static char text[10 * 1408];
    bench_host_sends(&b, text, sizeof text);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 1);
    assert_int_equal(b.sent[0].gso_size, 1408);
    assert_int_equal(b.sent[0].csum, FRAME_CSUM_PARTIAL);
    assert_int_equal(b.sent[0].len, 54 + sizeof text);
    bench_fini(&b);
}

TEST(segments_of_super_frames_are_whole_cache_lines)
{
    static const struct {
        bool tso;
        uint16_t mtu, mss;
    } links[] = {{false, 1500, 1460}, {true, 1500, 22 * CACHE_LINE}, {true, 68, 28}};
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
        bench_init(&b, NULL);
        stack_set_link(b.stack, links[i].mtu, false, links[i].tso, false);
        bench_send(&b,
                   (struct tcp_header){.seq = b.seq, .flags = TCP_SYN, .mss = 1460, .wscale = -1},
                   NULL, 0);
        stack_accept(b.stack, b.conn, b.now_us);
        assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).mss, links[i].mss);
        bench_fini(&b);
    }
}

// Pages of this process that are there.
static size_t
resident_kib(void)
{
    size_t total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &total, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

TEST(rings_give_their_memory_back_when_they_fall_idle)
{
    enum { RING = 8 << 20 };
    bench_init(&b, &(struct stack_config){.ring_bytes = RING});
    bench_establish(&b);
    size_t before = resident_kib();
    struct iovec iov[2];
    b.link_full = true;
    assert_int_equal(stack_send_iov(b.stack, b.conn, iov), 1);
    memset(iov[0].iov_base, 'x', iov[0].iov_len);
    assert_true(resident_kib() - before >= RING / 1024);
    stack_send_commit(b.stack, b.conn, 0); // nothing was read after all
    bench_flush(&b);
    bench_wait(&b, 2000000);
    assert_true(resident_kib() - before <= 1024); // the kernel counts roughly
    bench_fini(&b);
}

TEST(link_down_ends_everything_silently)
{
    bench_init(&b, NULL);
    bench_establish(&b);
    stack_link_down(b.stack);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_ABORTED);
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}
