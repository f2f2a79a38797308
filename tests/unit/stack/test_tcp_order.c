// SPDX-License-Identifier: BSD-3-Clause
// What comes in an order of its own: bytes and FINs again and beyond, ACKs that are old, handshakes
// that repeat or contradict themselves, answers on a full link.
#include "bench.h"
#include "test.h"

#define MSS 1460

static struct bench b;
static const uint8_t zeros[20 * MSS];

static void
start(void)
{
    bench_init(&b, NULL);
    bench_establish(&b);
}

static void
at(uint32_t offset, uint8_t flags, const char *text)
{
    bench_send(
        &b,
        (struct tcp_header){.seq = b.seq + offset, .ack = b.ack, .flags = flags, .window = 65535},
        text, strlen(text));
}

static void
expect_data(const char *text)
{
    struct iovec iov[2];
    int n = stack_recv_iov(b.stack, b.conn, iov);
    for (int i = 0; i < n; i++) {
        memcpy(b.data + b.data_len, iov[i].iov_base, iov[i].iov_len);
        b.data_len += iov[i].iov_len;
        stack_recv_consume(b.stack, b.conn, iov[i].iov_len);
    }
    assert_int_equal(b.data_len, strlen(text));
    assert_memory_equal(b.data, text, strlen(text));
}

TEST(runs_in_falling_order_join)
{
    start();
    at(20, TCP_ACK, "uv");
    at(10, TCP_ACK, "kl");
    struct tcp_header h = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL);
    assert_int_equal(h.sack_count, 2);
    assert_int_equal(h.sack[0].left, b.seq + 10); // the latest first
    at(0, TCP_ACK, "abcdefghijklmnopqrstuvwx");   // more than all that was kept
    expect_data("abcdefghijklmnopqrstuvwx");
    bench_fini(&b);
}

TEST(bytes_that_reach_a_later_run_join_it)
{
    start();
    at(10, TCP_ACK, "kl");
    at(20, TCP_ACK, "uv");
    at(30, TCP_ACK, "45");
    at(0, TCP_ACK, "abcdefghijklmnopqrst"); // over the first, up to the second
    struct tcp_header h = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL);
    assert_int_equal(h.ack, b.seq + 22);
    at(22, TCP_ACK, "wxyz01234"); // into the third, and no further
    h = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL);
    assert_int_equal(h.ack, b.seq + 32);
    assert_int_equal(h.sack_count, 0);
    expect_data("abcdefghijklmnopqrstuvwxyz012345");
    bench_fini(&b);
}

// A front-end of vhost-user may say any MTU from 68 on.
TEST(sack_blocks_leave_a_payload_its_room)
{
    bench_init(&b, NULL);
    stack_set_link(b.stack, 68, false, false, false);
    bench_establish(&b);
    for (uint32_t i = 1; i <= 4; i++) {
        struct tcp_header h = {
            .seq = b.seq + 10 * i, .ack = b.ack, .flags = TCP_ACK, .window = 65535};
        bench_send(&b, h, "x", 1);
    }
    bench_clear(&b);
    char text[100];
    memset(text, 'z', sizeof text);
    bench_host_sends(&b, text, sizeof text);
    bench_flush(&b);
    size_t len, total = 0;
    for (size_t i = 0; i < b.sent_count; i++) {
        struct tcp_header h = bench_sent_tcp(&b, i, NULL, &len);
        assert_in_range(h.sack_count, 1, 4);
        assert_int_equal(h.sack[0].left, b.seq + 40); // the latest first
        assert_true(b.sent[i].len <= 14 + 68);
        total += len;
    }
    assert_int_equal(total, sizeof text);
    bench_fini(&b);
}

TEST(fin_behind_bytes_that_were_here_before_counts)
{
    start();
    at(0, TCP_ACK, "abc");
    at(0, TCP_ACK | TCP_FIN, "abc");
    expect_data("abc");
    assert_true(stack_recv_at_end(b.stack, b.conn));
    bench_fini(&b);
}

TEST(bytes_behind_a_fin_are_cut_off)
{
    start();
    at(5, TCP_ACK | TCP_FIN, "fghij");
    at(3, TCP_ACK, "defghijKLM");
    at(12, TCP_ACK, "xyz");
    at(0, TCP_ACK, "abcd");
    expect_data("abcdefghij");
    assert_true(stack_recv_at_end(b.stack, b.conn));
    bench_fini(&b);
}

TEST(fin_before_bytes_that_are_here_is_ignored)
{
    start();
    at(10, TCP_ACK, "kl");
    at(0, TCP_ACK | TCP_FIN, "ab");
    assert_false(stack_recv_at_end(b.stack, b.conn));
    at(2, TCP_ACK | TCP_FIN, "cdefghijkl"); // where it may be
    expect_data("abcdefghijkl");
    assert_true(stack_recv_at_end(b.stack, b.conn));
    bench_fini(&b);
}

TEST(fin_for_a_host_end_that_broke_is_not_taken)
{
    start();
    bench_host_sends(&b, "final", 5);
    stack_abort_after_send(b.stack, b.conn, b.now_us);
    bench_flush(&b);
    struct iovec iov[2];
    assert_int_equal(stack_send_iov(b.stack, b.conn, iov), 0);
    stack_send_commit(b.stack, b.conn, 0);
    at(0, TCP_ACK | TCP_FIN, "");
    assert_false(stack_recv_at_end(b.stack, b.conn));
    assert_int_equal(b.closes, 0);
    bench_fini(&b);
}

TEST(host_that_takes_its_last_bytes_one_by_one)
{
    start();
    b.take_most = 0;
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, "ab", 2);
    stack_recv_consume(b.stack, b.conn, 1);
    bench_flush(&b);
    assert_int_equal(b.closes, 0);
    stack_recv_consume(b.stack, b.conn, 1);
    bench_flush(&b);
    assert_int_equal(b.closes, 1);
    bench_fini(&b);
}

TEST(answer_to_bytes_out_of_order_waits_for_a_full_link)
{
    start();
    b.link_full = true;
    at(10, TCP_ACK, "kl");
    assert_int_equal(b.sent_count, 0);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).sack_count, 1);
    bench_fini(&b);
}

// --- acknowledgements ----------------------------------------------------------------------------

static void
ack(uint32_t number, uint16_t window, unsigned sacks)
{
    struct tcp_header h = {.seq = b.seq,
                           .ack = number,
                           .flags = TCP_ACK,
                           .window = window,
                           .sack_count = (uint8_t)sacks,
                           .sack = {{number + MSS, number + 5 * MSS}}};
    bench_send(&b, h, NULL, 0);
}

static void
send_window(bool no_sack)
{
    bench_init(&b, NULL);
    b.no_sack = no_sack;
    bench_establish(&b);
    bench_host_sends(&b, zeros, 10 * MSS);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 10);
}

TEST(old_acks_window_updates_and_sacks_not_agreed_on_are_no_duplicates)
{
    send_window(true);
    ack(b.ack + MSS, 65535, 0);
    bench_clear(&b);
    for (int i = 0; i < 4; i++)
        ack(b.ack, 65535, 0); // old
    for (uint16_t i = 0; i < 4; i++)
        ack(b.ack + MSS, (uint16_t)(60000 + i), 0);
    assert_int_equal(b.sent_count, 0);
    ack(b.ack + MSS, 60003, 1);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(guest_that_closes_its_window_with_bytes_on_the_way_is_waited_for)
{
    send_window(false);
    bench_clear(&b);
    for (int i = 0; i < 40; i++) {
        ack(b.ack, 0, 0); // it is there, but takes nothing
        bench_wait(&b, 30000000);
        assert_int_equal(b.closes, 0);
        bench_clear(&b);
    }
    bench_fini(&b);
}

TEST(full_link_delays_a_retransmission)
{
    send_window(true);
    bench_clear(&b);
    b.link_full = true;
    for (int i = 0; i < 3; i++)
        ack(b.ack, 65535, 0);
    assert_int_equal(b.sent_count, 0);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).seq, b.ack);
    bench_fini(&b);
}

TEST(last_bytes_and_fin_are_sent_again)
{
    start();
    bench_host_sends(&b, zeros, 2 * MSS);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    bench_clear(&b);
    bench_wait(&b, 1100000);
    b.ack += MSS;
    ack(b.ack, 65535, 0);
    size_t len;
    assert_int_equal(bench_sent_tcp(&b, b.sent_count - 2, NULL, &len).seq, b.ack);
    assert_int_equal(len, MSS);
    struct tcp_header h = bench_sent_tcp(&b, b.sent_count - 1, NULL, &len);
    assert_true(h.flags & TCP_FIN);
    assert_int_equal(h.seq, b.ack + MSS);
    assert_int_equal(len, 0);
    bench_fini(&b);
}

TEST(room_that_the_host_no_longer_wants_is_not_told)
{
    start();
    struct iovec iov[2];
    static uint8_t block[1 << 16];
    bench_host_sends(&b, block, sizeof block);
    assert_int_equal(stack_send_iov(b.stack, b.conn, iov), 0);
    stack_send_commit(b.stack, b.conn, 0);
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    for (int i = 0; i < 4; i++) {
        bench_clear(&b);
        b.ack += 10 * MSS;
        ack(b.ack, 65535, 0);
    }
    assert_int_equal(b.writables, 0);
    bench_fini(&b);
}

// --- handshakes ----------------------------------------------------------------------------------

static void
syn(uint32_t seq, uint8_t flags, uint32_t number)
{
    bench_send(&b,
               (struct tcp_header){
                   .seq = seq, .ack = number, .flags = flags, .window = 65535, .wscale = -1},
               NULL, 0);
}

TEST(syn_again_after_the_answer_is_answered_again)
{
    bench_init(&b, NULL);
    syn(1000, TCP_SYN, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    syn(1000, TCP_SYN, 0);
    assert_int_equal(b.sent_count, 2);
    assert_int_equal(bench_sent_tcp(&b, 1, NULL, NULL).flags, TCP_SYN | TCP_ACK);
    syn(5000, TCP_SYN, 0); // another one: RFC 5961 4
    assert_int_equal(bench_sent_tcp(&b, 2, NULL, NULL).flags, TCP_ACK);
    bench_fini(&b);
}

TEST(reset_at_the_number_of_the_syn_ends_what_is_being_opened)
{
    bench_init(&b, NULL);
    syn(1000, TCP_SYN, 0);
    syn(2000, TCP_RST, 0);
    assert_int_equal(b.closes, 0);
    syn(1000, TCP_RST, 0);
    assert_int_equal(b.closes, 1);
    bench_fini(&b);
}

TEST(second_halves_of_a_simultaneous_open_that_do_not_fit)
{
    bench_init(&b, NULL);
    uint8_t bytes[2048];
    stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, OPEN_PORT, b.now_us);
    b.conn = 0;
    // Its MAC comes by ARP.
    static const uint8_t arp[] = {0,  1, 8, 0,  6,    4,    0,  2, 0x52, 0x54, 0,  1, 2, 3,
                                  10, 0, 2, 15, 0x52, 0x55, 10, 0, 2,    4,    10, 0, 2, 4};
    struct writer w = writer_of(bytes, sizeof bytes);
    ether_emit(&w, &(struct ether_header){our_mac, guest_mac, ETHER_ARP});
    writer_bytes(&w, arp, sizeof arp);
    bench_frame(&b, bytes, writer_len(&w));
    uint32_t iss = bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).seq;
    syn(50, TCP_SYN, 0);
    bench_clear(&b);
    syn(51, TCP_SYN, 0);
    syn(50, TCP_SYN | TCP_ACK, iss);
    syn(49, TCP_SYN | TCP_ACK, iss + 1);
    assert_int_equal(b.establishes, 0);
    syn(50, TCP_SYN | TCP_ACK, iss + 1);
    assert_int_equal(b.establishes, 1);
    bench_fini(&b);
}

TEST(open_that_the_host_gives_up_says_nothing_to_the_guest)
{
    bench_init(&b, NULL);
    b.conn = stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us);
    bench_clear(&b);
    stack_abort(b.stack, b.conn, b.now_us);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(segments_for_a_connection_whose_reset_waits_are_silence)
{
    start();
    b.link_full = true;
    stack_abort(b.stack, b.conn, b.now_us);
    at(0, TCP_ACK, "too late");
    bench_wait(&b, 7300000000ull); // its timers are of no more use
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.closes, 1);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 1);
    assert_true(bench_sent_tcp(&b, 0, NULL, NULL).flags & TCP_RST);
    bench_fini(&b);
}

TEST(reset_for_nobody_on_a_full_link_is_lost)
{
    bench_init(&b, NULL);
    b.link_full = true;
    at(0, TCP_ACK, "stray");
    assert_int_equal(stack_stats_of(b.stack)->resets_sent, 0);
    bench_fini(&b);
}

TEST(link_down_ends_time_wait_silently)
{
    start();
    stack_shutdown(b.stack, b.conn);
    bench_flush(&b);
    b.ack++;
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    assert_int_equal(stack_conn_count(b.stack), 1);
    stack_link_down(b.stack);
    assert_int_equal(stack_conn_count(b.stack), 0);
    assert_int_equal(b.closes, 1);
    bench_fini(&b);
}
