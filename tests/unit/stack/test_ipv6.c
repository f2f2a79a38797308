// SPDX-License-Identifier: BSD-3-Clause
// IPv6: who is answered and who is not, router and neighbour solicitations, ping, and connections
// beside IPv4's.
#include "bench.h"
#include "test.h"
#include "wire/checksum.h"
#include "wire/icmp6.h"
#include "wire/ipv6.h"
#include "wire/ndp.h"

#define L4 54

static struct bench b;

static const struct ipv6_addr ours = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
static const struct ipv6_addr guest = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 0x15}};
static const struct ipv6_addr guest_local = {{0xfe, 0x80, [15] = 1}};
static const struct ipv6_addr our_local = {
    {0xfe, 0x80, [8] = 0x50, 0x55, 10, 0xff, 0xfe, 0, 2, 4}}; // of our_mac
static const struct ipv6_addr solicited = {{0xff, 2, [11] = 1, 0xff, 0, 0, 4}};
static const struct ipv6_addr all_nodes = {{0xff, 2, [15] = 1}};
static const struct ipv6_addr all_routers = {{0xff, 2, [15] = 2}};
static const struct mac all_nodes_mac = {{0x33, 0x33, 0, 0, 0, 1}};

// What a packet is made of; what is not set is as a guest would send it to us.
struct packet {
    struct ipv6_addr src, dst;
    bool no_src;
    uint8_t hop_limit;
    bool bad_checksum;
    bool to_group; // of MACs
};

static bool sends_super_frames;

static void
start(const struct stack_config *change)
{
    struct stack_config c = change ? *change : (struct stack_config){0};
    c.addr6 = ours;
    sends_super_frames = c.tso6;
    bench_init(&b, &c);
}

static size_t
build(struct packet p, uint8_t protocol, size_t field, const void *l4, size_t len, uint8_t *out)
{
    if (ipv6_addr_is_none(&p.src) && !p.no_src)
        p.src = guest;
    if (ipv6_addr_is_none(&p.dst))
        p.dst = ours;
    memcpy(out + L4, l4, len);
    uint64_t sum = checksum_pseudo6(&p.src, &p.dst, protocol, (uint16_t)len);
    uint16_t value = (uint16_t)~checksum_fold(checksum_add(sum, l4, len));
    if (len >= field + 2) {
        out[L4 + field] = (uint8_t)(value >> 8);
        out[L4 + field + 1] = (uint8_t)(value ^ p.bad_checksum);
    }
    struct writer w = writer_of(out, L4);
    ether_emit(&w,
               &(struct ether_header){p.to_group ? all_nodes_mac : our_mac, guest_mac, ETHER_IPV6});
    ipv6_emit(&w, &(struct ipv6_header){.src = p.src,
                                        .dst = p.dst,
                                        .protocol = protocol,
                                        .hop_limit = p.hop_limit ? p.hop_limit : 255,
                                        .payload_len = (uint16_t)len});
    return L4 + len;
}

static void
send_icmp(struct packet p, const void *message, size_t len)
{
    static uint8_t bytes[66000];
    bench_clear(&b);
    bench_frame(&b, bytes, build(p, IPV6_ICMP, 2, message, len, bytes));
}

// Frame 0 as ICMPv6 from src to dst with a right checksum: the message.
static const uint8_t *
answered(const struct ipv6_addr *src, const struct ipv6_addr *dst, const struct mac *mac,
         size_t len)
{
    assert_int_equal(b.sent_count, 1);
    struct cursor c = cursor_of(b.sent[0].bytes, b.sent[0].len);
    struct ether_header eth;
    struct ipv6_header ip;
    assert_true(ether_parse(&c, &eth) && eth.type == ETHER_IPV6 && mac_eq(&eth.dst, mac));
    assert_true(ipv6_parse(&c, c.left, &ip));
    assert_int_equal(ip.protocol, IPV6_ICMP);
    assert_int_equal(ip.hop_limit, 255);
    assert_int_equal(ip.payload_len, len);
    assert_int_equal(c.left, len);
    assert_memory_equal(&ip.src, src, 16);
    assert_memory_equal(&ip.dst, dst, 16);
    uint64_t sum = checksum_pseudo6(&ip.src, &ip.dst, IPV6_ICMP, ip.payload_len);
    assert_int_equal(checksum_fold(checksum_add(sum, c.at, len)), 0xffff);
    return c.at;
}

static uint64_t
malformed(void)
{
    return stack_stats_of(b.stack)->dropped_malformed;
}

static uint64_t
not_for_us(void)
{
    return stack_stats_of(b.stack)->dropped_not_for_us;
}

#define EXPECT_DROPPED(counter, ...)                                                               \
    do {                                                                                           \
        uint64_t before_ = counter();                                                              \
        send_icmp(__VA_ARGS__);                                                                    \
        assert_int_equal(b.sent_count, 0);                                                         \
        assert_int_equal(counter(), before_ + 1);                                                  \
    } while (0)

// --- ping ----------------------------------------------------------------------------------------

static const uint8_t ping[] = {128, 0, 0, 0, 1, 2, 3, 4, 'd', 'a', 't', 'a', '!'};

TEST(ping_is_answered)
{
    start(NULL);
    send_icmp((struct packet){.hop_limit = 1}, ping, sizeof ping);
    const uint8_t *m = answered(&ours, &guest, &guest_mac, sizeof ping);
    assert_int_equal(m[0], ICMP6_ECHO_REPLY);
    assert_int_equal(m[1], 0);
    assert_memory_equal(m + 4, ping + 4, sizeof ping - 4);
    send_icmp((struct packet){.src = guest_local}, ping, sizeof ping);
    answered(&ours, &guest_local, &guest_mac, sizeof ping);
    bench_fini(&b);
}

TEST(ping_is_answered_when_the_answer_fits_the_mtu)
{
    static uint8_t message[65496] = {128};
    start(NULL);
    send_icmp((struct packet){0}, message, 1460);
    answered(&ours, &guest, &guest_mac, 1460);
    EXPECT_DROPPED(not_for_us, (struct packet){0}, message, 1461);
    EXPECT_DROPPED(not_for_us, (struct packet){0}, message, sizeof message);
    bench_fini(&b);
}

TEST(pings_that_nobody_may_answer)
{
    static const struct ipv6_addr bad[] = {
        {{[15] = 1}},                         // loopback
        {{[10] = 0xff, 0xff, 10, 0, 2, 15}},  // an IPv4 address
        {{0xff, 2, [15] = 1}},                // multicast
        {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}}, // us
    };
    start(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        EXPECT_DROPPED(not_for_us, (struct packet){.src = bad[i]}, ping, sizeof ping);
    EXPECT_DROPPED(not_for_us, (struct packet){.no_src = true}, ping, sizeof ping);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = all_nodes}, ping, sizeof ping);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = our_local}, ping, sizeof ping);
    EXPECT_DROPPED(not_for_us, (struct packet){.to_group = true}, ping, sizeof ping);
    for (size_t len = 0; len < ICMP6_ECHO_LEN; len++) {
        uint64_t before = malformed() + stack_stats_of(b.stack)->dropped_checksum;
        send_icmp((struct packet){0}, ping, len);
        assert_int_equal(b.sent_count, 0);
        assert_int_equal(malformed() + stack_stats_of(b.stack)->dropped_checksum, before + 1);
    }
    send_icmp((struct packet){.bad_checksum = true}, ping, sizeof ping);
    assert_int_equal(b.sent_count, 0);
    static const uint8_t code_1[] = {128, 1, 0, 0, 1, 2, 3, 4},
                         too_big[] = {2, 0, 0, 0, 0, 0, 5, 0},
                         report[] = {143, 0, 0, 0, 0, 0, 0, 0};
    EXPECT_DROPPED(not_for_us, (struct packet){0}, code_1, sizeof code_1);
    EXPECT_DROPPED(not_for_us, (struct packet){0}, too_big, sizeof too_big);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = all_routers}, report, sizeof report);
    bench_fini(&b);
}

TEST(a_frame_whose_pieces_are_fewer_than_its_length_is_dropped)
{
    static const uint8_t message[1400] = {128};
    static const size_t lengths[] = {120, sizeof message}; // within what is read as headers, beyond
    uint8_t bytes[L4 + sizeof message];
    start(NULL);
    for (size_t i = 0; i < 2; i++) {
        size_t len = build((struct packet){0}, IPV6_ICMP, 2, message, lengths[i], bytes);
        const struct iovec iov = {bytes, len - 1};
        stack_input(b.stack, &(struct frame){.iov = &iov, .iovcnt = 1, .len = len}, b.now_us);
        assert_int_equal(b.sent_count, 0);
        assert_int_equal(malformed(), i + 1);
    }
    bench_fini(&b);
}

// --- neighbours ----------------------------------------------------------------------------------

struct solicitation {
    uint8_t bytes[32];
};

static struct solicitation
for_target(const struct ipv6_addr *target)
{
    struct solicitation s = {{NDP_NEIGHBOUR_SOLICIT, [24] = 1, 1, 0x52, 0x54, 0, 1, 2, 3}};
    memcpy(s.bytes + 8, target, 16);
    return s;
}

TEST(a_neighbour_is_told_where_the_channel_address_is)
{
    start(NULL);
    struct solicitation s = for_target(&ours);
    const struct ipv6_addr *dsts[] = {&solicited, &ours};
    for (int i = 0; i < 2; i++) {
        send_icmp((struct packet){.dst = *dsts[i], .to_group = i == 0}, s.bytes, 32);
        const uint8_t *m = answered(&ours, &guest, &guest_mac, NDP_NEIGHBOUR_ADVERT_LEN);
        assert_int_equal(m[0], NDP_NEIGHBOUR_ADVERT);
        assert_int_equal(m[4], 0x60); // solicited, override, no router
        assert_memory_equal(m + 8, &ours, 16);
        assert_memory_equal(m + 26, &our_mac, 6);
    }
    s = for_target(&our_local);
    send_icmp((struct packet){.src = guest_local, .dst = our_local}, s.bytes, 32);
    answered(&our_local, &guest_local, &guest_mac, NDP_NEIGHBOUR_ADVERT_LEN);
    bench_fini(&b);
}

TEST(who_wants_to_take_our_address_hears_that_it_is_taken)
{
    start(NULL);
    struct solicitation s = for_target(&ours);
    send_icmp((struct packet){.no_src = true, .dst = solicited, .to_group = true}, s.bytes, 24);
    const uint8_t *m = answered(&ours, &all_nodes, &all_nodes_mac, NDP_NEIGHBOUR_ADVERT_LEN);
    assert_int_equal(m[4], 0x20); // not solicited
    // And nothing where it wants its own.
    s = for_target(&guest);
    struct ipv6_addr group = solicited;
    group.octet[15] = guest.octet[15];
    EXPECT_DROPPED(not_for_us, (struct packet){.no_src = true, .dst = group}, s.bytes, 24);
    bench_fini(&b);
}

TEST(neighbour_solicitations_that_are_not_believed)
{
    start(NULL);
    struct solicitation s = for_target(&ours);
    EXPECT_DROPPED(malformed, (struct packet){.dst = solicited, .hop_limit = 254}, s.bytes, 32);
    EXPECT_DROPPED(malformed, (struct packet){.dst = solicited}, s.bytes, 31);
    EXPECT_DROPPED(malformed, (struct packet){.dst = solicited}, s.bytes, 23);
    EXPECT_DROPPED(malformed, (struct packet){.no_src = true, .dst = solicited}, s.bytes, 32);
    EXPECT_DROPPED(not_for_us, (struct packet){.no_src = true}, s.bytes, 24); // not to the group
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = all_nodes}, s.bytes, 32);
    EXPECT_DROPPED(not_for_us, (struct packet){.src = all_nodes, .dst = solicited}, s.bytes, 32);
    s.bytes[25] = 0;
    EXPECT_DROPPED(malformed, (struct packet){.dst = solicited}, s.bytes, 32);
    struct ipv6_addr other = ours;
    other.octet[15] = 5;
    s = for_target(&other);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = other}, s.bytes, 32);
    bench_fini(&b);
}

TEST(a_router_solicitation_is_answered_with_a_prefix_and_no_route)
{
    static const uint8_t bytes[16] = {NDP_ROUTER_SOLICIT, [8] = 1, 1, 0x52, 0x54, 0, 1, 2, 3};
    start(&(struct stack_config){.mtu = 1400});
    send_icmp((struct packet){.src = guest_local, .dst = all_routers, .to_group = true}, bytes, 16);
    const uint8_t *m = answered(&our_local, &guest_local, &guest_mac, NDP_ROUTER_ADVERT_LEN);
    assert_int_equal(m[0], NDP_ROUTER_ADVERT);
    assert_int_equal(m[6] | m[7], 0); // lifetime
    assert_memory_equal(m + 18, &our_mac, 6);
    assert_int_equal(m[30] << 8 | m[31], 1400);
    assert_memory_equal(m + 48, &ours, 8);
    send_icmp((struct packet){.no_src = true, .dst = all_routers, .to_group = true}, bytes, 8);
    answered(&our_local, &all_nodes, &all_nodes_mac, NDP_ROUTER_ADVERT_LEN);
    send_icmp((struct packet){.dst = our_local}, bytes, 16);
    answered(&our_local, &guest, &guest_mac, NDP_ROUTER_ADVERT_LEN);

    EXPECT_DROPPED(malformed, (struct packet){.dst = all_routers, .hop_limit = 64}, bytes, 16);
    EXPECT_DROPPED(malformed, (struct packet){.dst = all_routers}, bytes, 7);
    EXPECT_DROPPED(malformed, (struct packet){.no_src = true, .dst = all_routers}, bytes, 16);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = all_nodes}, bytes, 16);
    EXPECT_DROPPED(not_for_us, (struct packet){.src = all_nodes, .dst = all_routers}, bytes, 16);
    bench_fini(&b);
}

// --- where there is no IPv6 ----------------------------------------------------------------------

TEST(without_an_address_or_on_a_small_link_nothing_is_answered)
{
    struct solicitation s = for_target(&ours);
    bench_init(&b, NULL);
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = solicited}, s.bytes, 32);
    bench_fini(&b);
    start(&(struct stack_config){.mtu = 1279});
    EXPECT_DROPPED(not_for_us, (struct packet){.dst = solicited}, s.bytes, 32);
    stack_set_link(b.stack, 1280, false, false, false);
    send_icmp((struct packet){.dst = solicited}, s.bytes, 32);
    answered(&ours, &guest, &guest_mac, NDP_NEIGHBOUR_ADVERT_LEN);
    bench_fini(&b);
}

// --- TCP -----------------------------------------------------------------------------------------

static void
send_tcp(struct packet p, struct tcp_header h, const void *payload, size_t len)
{
    static uint8_t bytes[4096], segment[4096];
    h.src_port = h.src_port ? h.src_port : GUEST_PORT;
    h.dst_port = h.dst_port ? h.dst_port : OPEN_PORT;
    h.window = h.window ? h.window : 65535;
    if (!(h.flags & TCP_SYN))
        h.wscale = -1;
    struct writer w = writer_of(segment, sizeof segment);
    tcp_emit(&w, &h);
    writer_bytes(&w, payload, len);
    assert_false(w.failed);
    bench_frame(&b, bytes, build(p, IPV6_TCP, 16, segment, writer_len(&w), bytes));
}

// Emitted frame i as a segment to `dst` with a right checksum.
static struct tcp_header
sent_tcp(size_t i, const struct ipv6_addr *dst, const uint8_t **payload, size_t *len)
{
    assert_true(i < b.sent_count);
    struct cursor c = cursor_of(b.sent[i].bytes, b.sent[i].len);
    struct ether_header eth;
    struct ipv6_header ip;
    struct tcp_header h;
    assert_true(ether_parse(&c, &eth) && eth.type == ETHER_IPV6 && mac_eq(&eth.dst, &guest_mac));
    assert_true(ipv6_parse(&c, c.left, &ip) && ip.protocol == IPV6_TCP);
    assert_memory_equal(&ip.src, &ours, 16);
    assert_memory_equal(&ip.dst, dst, 16);
    assert_int_equal(c.left, ip.payload_len);
    uint64_t sum = checksum_pseudo6(&ip.src, &ip.dst, IPV6_TCP, ip.payload_len);
    if (b.sent[i].csum == FRAME_CSUM_NONE)
        assert_int_equal(checksum_fold(checksum_add(sum, c.at, c.left)), 0xffff);
    else
        assert_int_equal(checksum_fold(sum), c.at[16] << 8 | c.at[17]);
    assert_true(tcp_parse(&c, ip.payload_len, &h));
    if (payload)
        *payload = c.at;
    if (len)
        *len = c.left;
    return h;
}

// A connection of src, established; our next sequence number in b.ack.
static void
establish(const struct ipv6_addr *src, uint16_t mss)
{
    const struct packet p = {.src = *src};
    bench_clear(&b);
    send_tcp(p, (struct tcp_header){.seq = 1000, .flags = TCP_SYN, .mss = mss, .wscale = -1}, NULL,
             0);
    stack_accept(b.stack, b.conn, b.now_us);
    struct tcp_header h = sent_tcp(0, src, NULL, NULL);
    assert_int_equal(h.flags, TCP_SYN | TCP_ACK);
    assert_int_equal(h.ack, 1001);
    assert_int_equal(h.mss, sends_super_frames ? 1408 : 1440);
    b.ack = h.seq + 1;
    b.seq = 1001;
    send_tcp(p, (struct tcp_header){.seq = b.seq, .ack = b.ack, .flags = TCP_ACK}, NULL, 0);
    bench_clear(&b);
}

TEST(a_connection_from_syn_to_fin)
{
    const struct packet p = {.src = guest};
    const uint8_t *payload;
    size_t len;
    start(NULL);
    establish(&guest, 1440);
    assert_int_equal(b.establishes, 1);
    struct stack_peer peer;
    stack_peer_of(b.stack, b.conn, &peer);
    assert_int_equal(peer.addr, 0);
    assert_memory_equal(&peer.addr6, &guest, 16);
    assert_int_equal(peer.port, GUEST_PORT);
    assert_int_equal(peer.local_port, OPEN_PORT);

    send_tcp(p, (struct tcp_header){.seq = b.seq, .ack = b.ack, .flags = TCP_ACK | TCP_PSH},
             "hello", 5);
    assert_int_equal(b.data_len, 5);
    assert_memory_equal(b.data, "hello", 5);
    bench_clear(&b);
    bench_host_sends(&b, "answer", 6);
    bench_flush(&b);
    struct tcp_header h = sent_tcp(0, &guest, &payload, &len);
    assert_int_equal(h.seq, b.ack);
    assert_int_equal(h.ack, b.seq + 5);
    assert_int_equal(len, 6);
    assert_memory_equal(payload, "answer", 6);

    bench_clear(&b);
    stack_shutdown(b.stack, b.conn);
    send_tcp(p, (struct tcp_header){.seq = b.seq + 5, .ack = b.ack + 6, .flags = TCP_ACK | TCP_FIN},
             NULL, 0);
    h = sent_tcp(b.sent_count - 1, &guest, NULL, NULL);
    assert_int_equal(h.flags & TCP_FIN, TCP_FIN);
    assert_int_equal(h.ack, b.seq + 6);
    bench_fini(&b);
}

TEST(the_same_ports_of_other_addresses_are_other_connections)
{
    struct ipv6_addr second = guest;
    second.octet[7] = 1;
    start(NULL);
    establish(&guest, 1440);
    uint32_t first_conn = b.conn;
    uint32_t first_ack = b.ack;
    establish(&second, 1440);
    assert_int_not_equal(b.conn, first_conn);
    b.establishes = 0;
    bench_establish(&b); // IPv4, the same ports
    assert_int_equal(stack_conn_count(b.stack), 3);
    b.data_len = 0;
    send_tcp((struct packet){.src = guest},
             (struct tcp_header){.seq = 1001, .ack = first_ack, .flags = TCP_ACK}, "1", 1);
    assert_int_equal(b.data_len, 1);
    bench_fini(&b);
}

TEST(addresses_of_one_bucket_are_told_apart)
{
    struct ipv6_addr other = guest;
    start(NULL);
    establish(&guest, 1440);
    // More than there are buckets, so that some share the connection's: a segment of none of them
    // is its.
    for (unsigned i = 0; i < 1000; i++) {
        other.octet[8] = (uint8_t)(i >> 8 | 1 << 7);
        other.octet[9] = (uint8_t)i;
        bench_clear(&b);
        send_tcp((struct packet){.src = other},
                 (struct tcp_header){.seq = b.seq, .ack = b.ack, .flags = TCP_ACK}, "1", 1);
        assert_int_equal(b.data_len, 0);
        assert_int_equal(sent_tcp(0, &other, NULL, NULL).flags, TCP_RST);
    }
    assert_int_equal(stack_conn_count(b.stack), 1);
    bench_fini(&b);
}

TEST(refusals_carry_rst_and_ack)
{
    start(NULL);
    bench_clear(&b);
    send_tcp((struct packet){0}, (struct tcp_header){.seq = 7, .flags = TCP_SYN, .dst_port = 601},
             NULL, 0);
    struct tcp_header h = sent_tcp(0, &guest, NULL, NULL);
    assert_int_equal(h.flags, TCP_RST | TCP_ACK);
    assert_int_equal(h.seq, 0);
    assert_int_equal(h.ack, 8);
    assert_int_equal(h.src_port, 601);
    assert_int_equal(h.dst_port, GUEST_PORT);

    // A SYN that the host refuses: not a word before.
    bench_clear(&b);
    send_tcp((struct packet){0}, (struct tcp_header){.seq = 7, .flags = TCP_SYN}, NULL, 0);
    assert_int_equal(b.opens, 1);
    assert_int_equal(b.sent_count, 0);
    stack_reject(b.stack, b.conn, b.now_us);
    h = sent_tcp(0, &guest, NULL, NULL);
    assert_int_equal(h.flags, TCP_RST | TCP_ACK);
    assert_int_equal(h.ack, 8);
    bench_fini(&b);
}

TEST(segments_that_nobody_may_answer)
{
    static const struct ipv6_addr other = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 5}};
    const struct tcp_header syn = {.seq = 7, .flags = TCP_SYN};
    const struct packet dropped[] = {
        {.no_src = true},   {.src = all_nodes}, {.src = ours},      {.dst = other},
        {.dst = our_local}, {.dst = solicited}, {.to_group = true},
    };
    start(NULL);
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0]; i++) {
        uint64_t before = not_for_us();
        send_tcp(dropped[i], syn, NULL, 0);
        assert_int_equal(not_for_us(), before + 1);
    }
    send_tcp((struct packet){.bad_checksum = true}, syn, NULL, 0);
    assert_int_equal(stack_stats_of(b.stack)->dropped_checksum, 1);
    uint8_t bytes[100];
    bench_frame(&b, bytes, build((struct packet){0}, IPV6_TCP, 16, "short", 5, bytes));
    assert_int_equal(malformed(), 1);
    bench_frame(&b, bytes, build((struct packet){0}, 17, 6, "datagram", 8, bytes));
    bytes[18] = 0xff; // a payload that is not there
    bench_frame(&b, bytes, 62);
    assert_int_equal(malformed(), 2);
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.opens, 0);
    bench_fini(&b);
}

TEST(extension_headers_before_tcp_are_skipped)
{
    uint8_t bytes[200], segment[64] = {6, 0, 1, 4};
    struct writer w = writer_of(segment + 8, sizeof segment - 8);
    tcp_emit(&w,
             &(struct tcp_header){
                 .src_port = GUEST_PORT, .dst_port = OPEN_PORT, .flags = TCP_SYN, .wscale = -1});
    start(NULL);
    uint64_t sum = checksum_pseudo6(&guest, &ours, IPV6_TCP, 20);
    uint16_t value = (uint16_t)~checksum_fold(checksum_add(sum, segment + 8, 20));
    segment[8 + 16] = (uint8_t)(value >> 8);
    segment[8 + 17] = (uint8_t)value;
    size_t len = build((struct packet){0}, 60, SIZE_MAX - 2, segment, 28, bytes);
    bench_frame(&b, bytes, len);
    assert_int_equal(b.opens, 1);
    bytes[L4 + 2] = 0x80; // an option that we would have to know
    bench_frame(&b, bytes, len);
    assert_int_equal(not_for_us(), 1);
    bench_fini(&b);
}

TEST(a_guest_that_tells_no_mss_is_sent_1220_bytes)
{
    static const char text[3000];
    size_t len;
    start(NULL);
    establish(&guest, 0);
    bench_host_sends(&b, text, sizeof text);
    bench_flush(&b);
    sent_tcp(0, &guest, NULL, &len);
    assert_int_equal(len, 1220);
    bench_fini(&b);
}

TEST(super_frames_go_where_the_link_takes_those_of_ipv6)
{
    static const char text[60000];
    size_t len;
    for (int tso6 = 0; tso6 < 2; tso6++) {
        start(&(struct stack_config){.tso = true, .tso6 = tso6, .ring_bytes = 1 << 17});
        establish(&guest, 9000);
        bench_host_sends(&b, text, sizeof text);
        bench_flush(&b);
        sent_tcp(0, &guest, NULL, &len);
        assert_int_equal(b.sent[0].csum, FRAME_CSUM_PARTIAL);
        assert_int_equal(len, tso6 ? 14080 : 1440); // ten segments, or one
        assert_int_equal(b.sent[0].gso_size, tso6 ? 1408 : 0);
        assert_int_equal(b.sent[0].gso, tso6 ? FRAME_GSO_TCP6 : FRAME_GSO_NONE);
        bench_fini(&b);
    }
}

TEST(super_frames_of_ipv6_alone_come_with_sums_left_open)
{
    static const char text[60000];
    size_t len;
    for (int later = 0; later < 2; later++) {
        start(&(struct stack_config){.tso6 = !later, .ring_bytes = 1 << 17});
        if (later)
            stack_set_link(b.stack, 1500, false, false, true);
        sends_super_frames = true;
        establish(&guest, 9000);
        bench_host_sends(&b, text, sizeof text);
        bench_flush(&b);
        sent_tcp(0, &guest, NULL, &len);
        assert_int_equal(len, 14080);
        assert_int_equal(b.sent[0].csum, FRAME_CSUM_PARTIAL);
        assert_int_equal(b.sent[0].gso, FRAME_GSO_TCP6);
        bench_fini(&b);
    }
}

TEST(sequence_numbers_begin_elsewhere_for_each_address)
{
    struct ipv6_addr second = guest;
    second.octet[0] = 0xfc;
    start(NULL);
    establish(&guest, 1440);
    uint32_t first = b.ack;
    establish(&second, 1440);
    assert_int_not_equal(b.ack, first);
    bench_fini(&b);
}

TEST(nobody_is_connected_to_without_an_address)
{
    start(NULL);
    assert_int_equal(stack_connect(b.stack, 0, 22, 0, b.now_us), STACK_NO_CONN);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}
