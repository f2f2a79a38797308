// SPDX-License-Identifier: BSD-3-Clause
// How connections begin: the SYN that waits for the host end, refusal, active open, floods.
#include "bench.h"
#include "test.h"
#include "wire/arp.h"

static struct bench b;

static void
syn(uint16_t port, uint16_t from)
{
    bench_send(&b,
               (struct tcp_header){.src_port = from,
                                   .dst_port = port,
                                   .seq = 1000,
                                   .flags = TCP_SYN,
                                   .window = 65535,
                                   .mss = 1460,
                                   .wscale = -1},
               NULL, 0);
}

TEST(nothing_is_answered_before_accept)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    syn(OPEN_PORT, 40000);
    assert_int_equal(b.opens, 1);
    assert_int_equal(b.sent_count, 0);
    stack_accept(b.stack, b.conn, b.now_us);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.flags, TCP_SYN | TCP_ACK);
    assert_int_equal(h.ack, 1001);
    assert_int_equal(h.mss, 1460);
    assert_int_equal(h.wscale, -1); // the guest did not offer it
    bench_fini(&b);
}

TEST(held_syn_is_given_up_with_the_guest)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    for (int i = 0; i < 10; i++) {
        bench_wait(&b, 60000000);
        assert_int_equal(b.closes, 0);
        syn(OPEN_PORT, 40000);
    }
    bench_wait(&b, 100000000);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_TIMED_OUT);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(rejected_syn_gets_rst_with_ack)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    stack_reject(b.stack, b.conn, b.now_us);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.flags, TCP_RST | TCP_ACK);
    assert_int_equal(h.ack, 1001);
    assert_int_equal(b.closes, 0);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(rst_waits_for_a_full_link)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    b.link_full = true;
    stack_reject(b.stack, b.conn, b.now_us);
    bench_flush(&b);
    assert_int_equal(b.sent_count, 0);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_flush(&b);
    assert_int_equal(bench_sent_tcp(&b, 0, NULL, NULL).flags, TCP_RST | TCP_ACK);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(closed_port_gets_rst_with_ack_at_once)
{
    bench_init(&b, NULL);
    syn(601, 40000);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.flags, TCP_RST | TCP_ACK);
    assert_int_equal(h.seq, 0);
    assert_int_equal(h.ack, 1001);
    assert_int_equal(b.opens, 0);
    bench_fini(&b);
}

TEST(stray_segment_gets_rst_at_its_ack)
{
    bench_init(&b, NULL);
    bench_send(&b, (struct tcp_header){.seq = 7, .ack = 99, .flags = TCP_ACK}, "x", 1);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    assert_int_equal(h.flags, TCP_RST);
    assert_int_equal(h.seq, 99);
    bench_clear(&b);
    bench_send(&b, (struct tcp_header){.seq = 7, .ack = 99, .flags = TCP_RST | TCP_ACK}, NULL, 0);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(syn_ack_is_sent_again_then_given_up)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    stack_accept(b.stack, b.conn, b.now_us);
    bench_wait(&b, 1100000);
    assert_int_equal(b.sent_count, 2);
    bench_wait(&b, 300000000);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_TIMED_OUT);
    assert_int_equal(stack_conn_count(b.stack), 0);
    bench_fini(&b);
}

TEST(guest_that_gives_up_while_the_host_end_opens)
{
    bench_init(&b, NULL);
    syn(OPEN_PORT, 40000);
    bench_send(&b, (struct tcp_header){.seq = 1001, .flags = TCP_RST}, NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_RESET);
    bench_fini(&b);
}

TEST(flood_evicts_the_oldest_half_open)
{
    bench_init(&b, &(struct stack_config){.max_half_open = 4});
    for (uint16_t i = 0; i < 10; i++)
        syn(OPEN_PORT, (uint16_t)(40000 + i));
    assert_int_equal(b.opens, 10);
    assert_int_equal(b.closes, 6);
    assert_int_equal(b.reason, STACK_EVICTED);
    assert_int_equal(stack_conn_count(b.stack), 4);
    bench_fini(&b);
}

TEST(options_are_agreed_on)
{
    bench_init(&b, &(struct stack_config){.ring_bytes = 1 << 20});
    bench_establish(&b);
    bench_host_sends(&b, "hello", 5);
    bench_flush(&b);
    const uint8_t *text;
    size_t len;
    struct tcp_header h = bench_sent_tcp(&b, 0, &text, &len);
    assert_int_equal(len, 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(h.flags, TCP_ACK | TCP_PSH);
    assert_int_equal(h.window << 5, 1 << 20); // 1 MiB needs a shift of 5
    bench_fini(&b);
}

static void
arp_from(const struct mac *mac, uint16_t op)
{
    uint8_t bytes[60] = {0};
    struct writer w = writer_of(bytes, sizeof bytes);
    ether_emit(&w, &(struct ether_header){our_mac, *mac, ETHER_ARP});
    arp_emit(&w, &(struct arp_packet){.op = op,
                                      .sender_mac = *mac,
                                      .target_mac = our_mac,
                                      .sender_ip = GUEST_ADDR,
                                      .target_ip = OUR_ADDR});
    bench_frame(&b, bytes, sizeof bytes);
}

static void
arp_from_guest(uint16_t op)
{
    arp_from(&guest_mac, op);
}

TEST(active_open_asks_for_the_mac_then_connects)
{
    bench_init(&b, NULL);
    uint32_t conn = stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, 700, b.now_us);
    assert_int_not_equal(conn, STACK_NO_CONN);
    assert_int_equal(b.sent_count, 1); // ARP request
    assert_int_equal(b.sent[0].bytes[13], 0x06);
    arp_from_guest(ARP_REPLY);
    struct tcp_header h = bench_sent_tcp(&b, 1, NULL, NULL);
    assert_int_equal(h.flags, TCP_SYN);
    assert_int_equal(h.src_port, 700);
    bench_send(&b,
               (struct tcp_header){.src_port = GUEST_PORT,
                                   .dst_port = 700,
                                   .seq = 5,
                                   .ack = h.seq + 1,
                                   .flags = TCP_SYN | TCP_ACK,
                                   .window = 1000,
                                   .wscale = -1},
               NULL, 0);
    assert_int_equal(b.establishes, 1);
    assert_int_equal(bench_sent_tcp(&b, 2, NULL, NULL).flags, TCP_ACK);
    bench_fini(&b);
}

// RFC 1122 2.3.2.1: an entry that is out of date has to go.
TEST(guest_that_does_not_answer_may_have_another_mac)
{
    static const struct mac other_mac = {{0x52, 0x54, 0, 9, 9, 9}};
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, 700, b.now_us);
    bench_clear(&b);
    bench_wait(&b, 1100000);
    assert_int_equal(b.sent_count, 1);
    assert_memory_equal(b.sent[0].bytes, &mac_broadcast, 6);
    assert_int_equal(b.sent[0].bytes[13], 0x06); // ARP
    arp_from(&other_mac, ARP_REPLY);
    assert_int_equal(b.sent_count, 2);
    assert_memory_equal(b.sent[1].bytes, &other_mac, 6);
    assert_int_equal(b.sent[1].bytes[13], 0x00); // IPv4: the SYN
    bench_fini(&b);
}

TEST(active_open_refused_by_the_guest)
{
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    bench_clear(&b);
    stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, 700, b.now_us);
    struct tcp_header h = bench_sent_tcp(&b, 0, NULL, NULL);
    bench_send(&b,
               (struct tcp_header){.dst_port = 700, .ack = h.seq + 1, .flags = TCP_RST | TCP_ACK},
               NULL, 0);
    assert_int_equal(b.closes, 1);
    assert_int_equal(b.reason, STACK_REFUSED);
    bench_fini(&b);
}

TEST(simultaneous_open)
{
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    bench_clear(&b);
    stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, OPEN_PORT, b.now_us);
    uint32_t iss = bench_sent_tcp(&b, 0, NULL, NULL).seq;
    bench_send(&b, (struct tcp_header){.seq = 50, .flags = TCP_SYN, .window = 9, .wscale = -1},
               NULL, 0);
    assert_int_equal(bench_sent_tcp(&b, 1, NULL, NULL).flags, TCP_SYN | TCP_ACK);
    bench_send(
        &b,
        (struct tcp_header){
            .seq = 50, .ack = iss + 1, .flags = TCP_SYN | TCP_ACK, .window = 9, .wscale = -1},
        NULL, 0);
    assert_int_equal(b.establishes, 1);
    bench_fini(&b);
}

// A SYN takes a number of its own, before the first byte (RFC 9293 3.4).
TEST(bytes_with_the_second_syn_of_a_simultaneous_open_are_all_there)
{
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    bench_clear(&b);
    b.conn = stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, OPEN_PORT, b.now_us);
    uint32_t iss = bench_sent_tcp(&b, 0, NULL, NULL).seq;
    struct tcp_header h = {.seq = 50, .flags = TCP_SYN, .window = 9, .wscale = -1};
    bench_send(&b, h, NULL, 0);
    h.flags = TCP_SYN | TCP_ACK | TCP_FIN;
    h.ack = iss + 1;
    bench_send(&b, h, "hello", 5);
    assert_int_equal(b.data_len, 5);
    assert_memory_equal(b.data, "hello", 5);
    assert_true(stack_recv_at_end(b.stack, b.conn));
    assert_int_equal(bench_sent_tcp(&b, b.sent_count - 1, NULL, NULL).ack, 50 + 1 + 5 + 1);
    bench_fini(&b);
}

// RFC 7323 2.2
TEST(window_of_a_second_syn_is_not_scaled)
{
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    bench_clear(&b);
    b.conn = stack_connect(b.stack, GUEST_ADDR, GUEST_PORT, OPEN_PORT, b.now_us);
    uint32_t iss = bench_sent_tcp(&b, 0, NULL, NULL).seq;
    struct tcp_header h = {.seq = 50, .flags = TCP_SYN, .window = 100, .wscale = 7};
    bench_send(&b, h, NULL, 0);
    h.flags = TCP_SYN | TCP_ACK;
    h.ack = iss + 1;
    bench_send(&b, h, NULL, 0);
    assert_int_equal(b.establishes, 1);
    bench_clear(&b);
    static const char block[1000];
    bench_host_sends(&b, block, sizeof block);
    bench_flush(&b);
    size_t len;
    bench_sent_tcp(&b, 0, NULL, &len);
    assert_int_equal(len, 100);
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

// --- active opens and their names ----------------------------------------------------------------

TEST(answer_for_one_address_releases_its_syns_alone)
{
    bench_init(&b, NULL);
    arp_from_guest(ARP_REQUEST);
    stack_connect(b.stack, GUEST_ADDR, 1, 700, b.now_us);       // known: its SYN is out
    stack_connect(b.stack, GUEST_ADDR + 1, 1, 700, b.now_us);   // nobody answers for it
    stack_connect(b.stack, OUR_ADDR + 0x100, 1, 700, b.now_us); // nor for this one
    bench_clear(&b);
    arp_from_guest(ARP_REPLY);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(ephemeral_port_in_use_is_passed_over)
{
    bench_init(&b, NULL);
    struct stack_peer peer;
    uint32_t first = stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us);
    stack_peer_of(b.stack, first, &peer);
    uint16_t next = peer.local_port == UINT16_MAX ? 49152 : (uint16_t)(peer.local_port + 1);
    assert_int_not_equal(stack_connect(b.stack, GUEST_ADDR, 80, next, b.now_us), STACK_NO_CONN);
    assert_int_equal(stack_connect(b.stack, GUEST_ADDR, 80, next, b.now_us), STACK_NO_CONN);
    stack_peer_of(b.stack, stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us), &peer);
    assert_int_equal(peer.local_port, next == UINT16_MAX ? 49152 : next + 1);
    bench_fini(&b);
}

TEST(table_full_of_live_connections_takes_no_more)
{
    bench_init(&b, &(struct stack_config){.max_conns = 2});
    for (int i = 0; i < 2; i++)
        assert_int_not_equal(stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us), STACK_NO_CONN);
    assert_int_equal(stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us), STACK_NO_CONN);
    assert_int_equal(stack_conn_count(b.stack), 2);
    bench_fini(&b);
}

TEST(all_ephemeral_ports_in_use)
{
    bench_init(&b, &(struct stack_config){.max_conns = 16385, .ring_bytes = 4096});
    b.link_full = true;
    for (int i = 0; i < 16384; i++)
        assert_int_not_equal(stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us), STACK_NO_CONN);
    assert_int_equal(stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us), STACK_NO_CONN);
    assert_int_not_equal(stack_connect(b.stack, GUEST_ADDR, 81, 0, b.now_us), STACK_NO_CONN);
    bench_fini(&b);
}
