// SPDX-License-Identifier: BSD-3-Clause
// ARP, ICMP echo, DHCP, and frames that are not for us.
#include "bench.h"
#include "test.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/dhcp.h"
#include "wire/icmp.h"
#include "wire/ipv6.h"
#include "wire/udp.h"

static struct bench b;

static void
arp_request(uint32_t for_addr)
{
    uint8_t bytes[42];
    struct writer w = writer_of(bytes, sizeof bytes);
    ether_emit(&w, &(struct ether_header){mac_broadcast, guest_mac, ETHER_ARP});
    arp_emit(&w, &(struct arp_packet){.op = ARP_REQUEST,
                                      .sender_mac = guest_mac,
                                      .sender_ip = GUEST_ADDR,
                                      .target_ip = for_addr});
    bench_frame(&b, bytes, sizeof bytes);
}

TEST(arp_is_answered_for_the_channel_address_alone)
{
    bench_init(&b, NULL);
    arp_request(OUR_ADDR + 1);
    arp_request(GUEST_ADDR);
    assert_int_equal(b.sent_count, 0);
    arp_request(OUR_ADDR);
    assert_int_equal(b.sent_count, 1);
    struct cursor c = cursor_of(b.sent[0].bytes, b.sent[0].len);
    struct ether_header eth;
    struct arp_packet arp;
    assert_true(ether_parse(&c, &eth) && arp_parse(&c, &arp));
    assert_int_equal(arp.op, ARP_REPLY);
    assert_int_equal(arp.sender_ip, OUR_ADDR);
    assert_true(mac_eq(&arp.sender_mac, &our_mac));
    assert_true(mac_eq(&eth.dst, &guest_mac));
    bench_fini(&b);
}

// An IPv4 packet of the guest to `dst` around l4; returns the frame's length.
static size_t
ipv4_frame(uint8_t *out, uint32_t src, uint32_t dst, uint8_t protocol, const void *l4, size_t len)
{
    struct writer w = writer_of(out, 34 + len);
    ether_emit(&w, &(struct ether_header){our_mac, guest_mac, ETHER_IPV4});
    ipv4_emit(&w, &(struct ipv4_header){.src = src,
                                        .dst = dst,
                                        .protocol = protocol,
                                        .ttl = 64,
                                        .total_len = (uint16_t)(20 + len)});
    writer_bytes(&w, l4, len);
    assert_false(w.failed);
    return writer_len(&w);
}

static size_t
echo_numbered(uint8_t *out, uint32_t dst, uint16_t sequence)
{
    uint8_t ping[24] = {0};
    struct writer w = writer_of(ping, sizeof ping);
    struct icmp_header h = {.type = ICMP_ECHO_REQUEST, .id = 7, .sequence = sequence};
    icmp_emit(&w, &h);
    memcpy(ping + 8, "abcdefghijklmnop", 16);
    h.checksum = (uint16_t)~checksum_fold(checksum_add(0, ping, sizeof ping));
    w = writer_of(ping, sizeof ping);
    icmp_emit(&w, &h);
    return ipv4_frame(out, GUEST_ADDR, dst, IPV4_ICMP, ping, sizeof ping);
}

static size_t
echo(uint8_t *out, uint32_t dst)
{
    return echo_numbered(out, dst, 9);
}

TEST(ping_is_answered_with_its_payload)
{
    bench_init(&b, NULL);
    uint8_t bytes[2000];
    bench_frame(&b, bytes, echo(bytes, OUR_ADDR));
    assert_int_equal(b.sent_count, 1);
    const uint8_t *icmp = b.sent[0].bytes + 34;
    assert_int_equal(icmp[0], ICMP_ECHO_REPLY);
    assert_int_equal(checksum_fold(checksum_add(0, icmp, 24)), 0xffff);
    assert_memory_equal(icmp + 8, "abcdefghijklmnop", 16);
    bench_fini(&b);
}

// The link writes them at the end of the turn.
TEST(pings_of_one_turn_have_an_answer_each)
{
    bench_init(&b, NULL);
    for (int turn = 0; turn < 100; turn++) {
        uint8_t bytes[30][100];
        bench_clear(&b);
        for (uint16_t i = 0; i < 30; i++)
            bench_input(&b, bytes[i], echo_numbered(bytes[i], OUR_ADDR, i));
        bench_flush(&b);
        assert_int_equal(b.sent_count, 30);
        for (uint8_t i = 0; i < 30; i++)
            assert_int_equal(b.sent[i].bytes[34 + 7], i);
    }
    bench_fini(&b);
}

// What finds no room for its answer is not looked at, as on a full link.
TEST(large_pings_of_one_turn_are_answered_while_there_is_room)
{
    static uint8_t ping[60000], bytes[8][60034], dhcp[42], icmp6[14 + 40 + 8];
    struct icmp_header h = {.type = ICMP_ECHO_REQUEST};
    h.checksum = (uint16_t)~checksum_fold((uint64_t)ICMP_ECHO_REQUEST << 8);
    struct writer w = writer_of(ping, sizeof ping);
    icmp_emit(&w, &h);
    ipv4_frame(dhcp, GUEST_ADDR, OUR_ADDR, IPV4_UDP, ping, 8);
    w = writer_of(icmp6, sizeof icmp6);
    ether_emit(&w, &(struct ether_header){our_mac, guest_mac, ETHER_IPV6});
    ipv6_emit(&w, &(struct ipv6_header){.protocol = IPV6_ICMP, .payload_len = 8});

    bench_init(&b, &(struct stack_config){.mtu = 65520, .addr6 = {{0xfd, [15] = 4}}});
    for (int turn = 0; turn < 3; turn++) {
        bench_clear(&b);
        for (int i = 0; i < 8; i++)
            bench_input(&b, bytes[i],
                        ipv4_frame(bytes[i], GUEST_ADDR, OUR_ADDR, IPV4_ICMP, ping, sizeof ping));
        bench_input(&b, dhcp, sizeof dhcp);
        bench_input(&b, icmp6, sizeof icmp6);
        bench_flush(&b);
        assert_in_range(b.sent_count, 2, 7);
        assert_int_equal(stack_stats_of(b.stack)->dropped_malformed, 0);
        assert_int_equal(stack_stats_of(b.stack)->dropped_checksum, 0);
    }
    bench_fini(&b);
}

TEST(ping_that_finds_the_link_full_takes_no_room)
{
    bench_init(&b, NULL);
    uint8_t lost[100], bytes[100];
    b.link_full = true;
    bench_frame(&b, lost, echo_numbered(lost, OUR_ADDR, 1));
    assert_int_equal(b.sent_count, 0);
    b.link_full = false;
    stack_unblock(b.stack);
    bench_frame(&b, bytes, echo_numbered(bytes, OUR_ADDR, 2));
    assert_int_equal(b.sent_count, 1);
    assert_int_equal(b.sent[0].bytes[34 + 7], 2);
    bench_fini(&b);
}

TEST(bad_checksum_or_other_address_is_silence)
{
    bench_init(&b, NULL);
    uint8_t bytes[2000];
    size_t len = echo(bytes, OUR_ADDR);
    bytes[40] ^= 1;
    bench_frame(&b, bytes, len);
    bench_frame(&b, bytes, echo(bytes, OUR_ADDR + 1));
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(stack_stats_of(b.stack)->dropped_checksum, 1);
    assert_int_equal(stack_stats_of(b.stack)->dropped_not_for_us, 1);
    bench_fini(&b);
}

TEST(sources_nobody_may_answer)
{
    static const uint32_t bad[] = {OUR_ADDR, 0, 0x7f000001, 0xe0000001, 0xffffffff, 0x0a0002ff};
    bench_init(&b, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t bytes[2000], tcp[20] = {0};
        struct writer w = writer_of(tcp, sizeof tcp);
        tcp_emit(&w, &(struct tcp_header){
                         .src_port = 1, .dst_port = OPEN_PORT, .flags = TCP_SYN, .wscale = -1});
        bench_frame(&b, bytes, ipv4_frame(bytes, bad[i], OUR_ADDR, IPV4_TCP, tcp, sizeof tcp));
    }
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.opens, 0);
    bench_fini(&b);
}

TEST(tcp_with_a_bad_checksum_is_dropped)
{
    bench_init(&b, NULL);
    uint8_t bytes[2048];
    size_t len = bench_segment((struct tcp_header){.seq = 1, .flags = TCP_SYN, .wscale = -1}, NULL,
                               0, bytes);
    bytes[50] ^= 0x40;
    bench_frame(&b, bytes, len);
    assert_int_equal(b.opens, 0);
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(stack_stats_of(b.stack)->dropped_checksum, 1);
    bench_fini(&b);
}

TEST(every_short_length_of_every_type_is_survived)
{
    static const uint16_t types[] = {ETHER_ARP, ETHER_IPV4, ETHER_IPV6, 0x8100, 0};
    bench_init(&b, NULL);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (size_t len = 0; len <= 60; len++) {
            uint8_t *bytes = calloc(1, len + 1); // the sanitizer watches its end
            struct writer w = writer_of(bytes, len);
            ether_emit(&w, &(struct ether_header){mac_broadcast, guest_mac, types[t]});
            bench_frame(&b, bytes, len);
            free(bytes);
        }
    }
    assert_int_equal(b.sent_count, 0);
    arp_request(OUR_ADDR);
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

// --- DHCP ----------------------------------------------------------------------------------------

// A request of the guest's, behind a UDP header without a checksum.
static void
dhcp_fill(uint8_t l4[308], enum dhcp_type type, uint32_t requested)
{
    memset(l4, 0, 308);
    struct writer w = writer_of(l4, 308);
    udp_emit(&w, &(struct udp_header){
                     .src_port = DHCP_CLIENT_PORT, .dst_port = DHCP_SERVER_PORT, .len = 308});
    uint8_t *m = l4 + 8;
    m[0] = 1; // BOOTREQUEST
    m[1] = 1; // Ethernet
    m[2] = 6;
    memcpy(m + 4, "\x11\x22\x33\x44", 4);
    memcpy(m + 28, guest_mac.octet, 6);
    memcpy(m + 236, "\x63\x82\x53\x63\x35\x01", 6);
    m[242] = (uint8_t)type;
    uint8_t *opt = m + 243;
    if (requested) {
        *opt++ = 50;
        *opt++ = 4;
        struct writer ip = writer_of(opt, 4);
        writer_u32(&ip, requested);
        opt += 4;
    }
    *opt = 255;
}

static void
udp_to(uint32_t dst, const uint8_t l4[308])
{
    uint8_t bytes[2000];
    bench_frame(&b, bytes, ipv4_frame(bytes, 0, dst, IPV4_UDP, l4, 308));
}

static void
dhcp(enum dhcp_type type, uint32_t requested)
{
    uint8_t l4[308];
    dhcp_fill(l4, type, requested);
    udp_to(UINT32_MAX, l4);
}

// Finds an option in emitted frame 0; its length, or -1.
static int
find_option(uint8_t code, const uint8_t **value)
{
    const uint8_t *m = b.sent[0].bytes + 42, *end = b.sent[0].bytes + b.sent[0].len;
    for (const uint8_t *o = m + 240; o < end && *o != 255; o += *o ? o[1] + 2 : 1) {
        if (*o == code) {
            *value = o + 2;
            return o[1];
        }
    }
    return -1;
}

TEST(dhcp_offers_the_guest_address_and_no_way_out)
{
    bench_init(&b, &(struct stack_config){.mtu = 9000});
    dhcp(DHCP_DISCOVER, 0);
    assert_int_equal(b.sent_count, 1);
    const uint8_t *v = NULL;
    assert_int_equal(find_option(53, &v), 1);
    assert_int_equal(*v, DHCP_OFFER);
    assert_memory_equal(b.sent[0].bytes + 42 + 16, "\x0a\x00\x02\x0f", 4); // yiaddr
    assert_int_equal(find_option(26, &v), 2);
    assert_int_equal(v[0] << 8 | v[1], 9000);
    assert_int_equal(find_option(1, &v), 4);
    assert_memory_equal(v, "\xff\xff\xff\x00", 4);
    assert_int_equal(find_option(3, &v), -1); // router
    assert_int_equal(find_option(6, &v), -1); // DNS
    bench_fini(&b);
}

TEST(dhcp_request_is_acknowledged_or_refused)
{
    bench_init(&b, NULL);
    const uint8_t *v = NULL;
    dhcp(DHCP_REQUEST, GUEST_ADDR);
    assert_int_equal(find_option(53, &v), 1);
    assert_int_equal(*v, DHCP_ACK);
    bench_clear(&b);
    dhcp(DHCP_REQUEST, 0xc0a80105);
    assert_int_equal(find_option(53, &v), 1);
    assert_int_equal(*v, DHCP_NAK);
    bench_clear(&b);
    dhcp(DHCP_RELEASE, 0);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(dhcp_client_that_renews_is_answered_at_its_address)
{
    bench_init(&b, NULL);
    uint8_t l4[308];
    dhcp_fill(l4, DHCP_REQUEST, 0);
    memcpy(l4 + 8 + 12, "\x0a\x00\x02\x0f", 4); // ciaddr
    udp_to(OUR_ADDR, l4);
    assert_int_equal(b.sent_count, 1);
    assert_memory_equal(b.sent[0].bytes, guest_mac.octet, 6);
    assert_memory_equal(b.sent[0].bytes + 30, "\x0a\x00\x02\x0f", 4);
    bench_fini(&b);
}

TEST(udp_that_is_not_dhcp_or_not_right_is_silence)
{
    bench_init(&b, NULL);
    const struct stack_stats *stats = stack_stats_of(b.stack);
    uint8_t l4[308];
    dhcp_fill(l4, DHCP_DISCOVER, 0);
    udp_to(OUR_ADDR + 1, l4);
    assert_int_equal(stats->dropped_not_for_us, 1);
    l4[1]++; // source port
    udp_to(OUR_ADDR, l4);
    assert_int_equal(stats->dropped_not_for_us, 2);
    l4[1]--;
    l4[3]++; // destination port
    udp_to(OUR_ADDR, l4);
    assert_int_equal(stats->dropped_not_for_us, 3);
    l4[3]--;
    l4[6] = l4[7] = 1; // checksum
    udp_to(OUR_ADDR, l4);
    assert_int_equal(stats->dropped_checksum, 1);
    assert_int_equal(b.sent_count, 0);
    // Of a link that has seen to it already.
    uint8_t bytes[2000];
    size_t n = ipv4_frame(bytes, 0, OUR_ADDR, IPV4_UDP, l4, sizeof l4);
    const struct iovec iov = {bytes, n};
    stack_input(b.stack,
                &(struct frame){.iov = &iov, .iovcnt = 1, .len = n, .csum = FRAME_CSUM_VALID},
                b.now_us);
    assert_int_equal(b.sent_count, 1);
    bench_fini(&b);
}

// RFC 768: a sum of zero is sent as all ones, since zero says that there is none.
TEST(udp_checksum_of_zero_is_sent_as_all_ones)
{
    bench_init(&b, NULL);
    uint8_t l4[308];
    bool found = false;
    for (unsigned xid = 0; xid <= UINT16_MAX && !found; xid++) {
        dhcp_fill(l4, DHCP_DISCOVER, 0);
        l4[8 + 4] = (uint8_t)(xid >> 8);
        l4[8 + 5] = (uint8_t)xid;
        bench_clear(&b);
        udp_to(UINT32_MAX, l4);
        const uint8_t *udp = b.sent[0].bytes + 34;
        assert_true(udp[6] || udp[7]);
        found = udp[6] == 0xff && udp[7] == 0xff;
    }
    assert_true(found);
    size_t len = b.sent[0].len - 34;
    uint64_t sum = checksum_pseudo4(OUR_ADDR, UINT32_MAX, IPV4_UDP, (uint16_t)len);
    assert_int_equal(checksum_fold(checksum_add(sum, b.sent[0].bytes + 34, len)), 0xffff);
    bench_fini(&b);
}

// --- frames that are not what they say -----------------------------------------------------------

static void
input_cut(const uint8_t *bytes, size_t there, size_t said)
{
    const struct iovec iov = {(void *)(uintptr_t)bytes, there};
    stack_input(b.stack, &(struct frame){.iov = &iov, .iovcnt = 1, .len = said}, b.now_us);
}

TEST(frames_longer_or_in_more_pieces_than_any_are_malformed)
{
    bench_init(&b, NULL);
    static uint8_t bytes[FRAME_MAX + 1];
    struct iovec iov[65];
    for (int i = 0; i < 65; i++)
        iov[i] = (struct iovec){bytes + i, 1};
    stack_input(b.stack, &(struct frame){.iov = iov, .iovcnt = 65, .len = 65}, b.now_us);
    input_cut(bytes, FRAME_MAX + 1, FRAME_MAX + 1);
    input_cut(bytes, 50, 60);
    assert_int_equal(stack_stats_of(b.stack)->dropped_malformed, 3);
    bench_fini(&b);
}

TEST(packets_whose_frame_ends_before_them_are_malformed)
{
    bench_init(&b, NULL);
    uint8_t l4[308], bytes[2000];
    const uint8_t protocols[] = {IPV4_UDP, IPV4_ICMP};
    dhcp_fill(l4, DHCP_DISCOVER, 0);
    for (unsigned i = 0; i < 2; i++) {
        size_t n = ipv4_frame(bytes, GUEST_ADDR, OUR_ADDR, protocols[i], l4, sizeof l4);
        input_cut(bytes, n - 1, n);
        assert_int_equal(stack_stats_of(b.stack)->dropped_malformed, i + 1);
    }
    // Less than a header of ICMP.
    bench_frame(&b, bytes, ipv4_frame(bytes, GUEST_ADDR, OUR_ADDR, IPV4_ICMP, l4, 7));
    assert_int_equal(stack_stats_of(b.stack)->dropped_malformed, 3);
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

// --- who may be answered, and who is not ---------------------------------------------------------

static void
arp_of(const struct mac *mac, uint32_t addr, uint16_t op)
{
    uint8_t bytes[42];
    struct writer w = writer_of(bytes, sizeof bytes);
    ether_emit(&w, &(struct ether_header){mac_broadcast, guest_mac, ETHER_ARP});
    arp_emit(&w, &(struct arp_packet){
                     .op = op, .sender_mac = *mac, .sender_ip = addr, .target_ip = OUR_ADDR});
    bench_frame(&b, bytes, sizeof bytes);
}

TEST(arp_of_nobody_of_us_and_of_groups_teaches_nothing)
{
    bench_init(&b, NULL);
    arp_of(&guest_mac, 0, ARP_REPLY);
    arp_of(&guest_mac, OUR_ADDR, ARP_REQUEST);
    arp_of(&mac_broadcast, GUEST_ADDR, ARP_REQUEST);
    arp_of(&our_mac, GUEST_ADDR, ARP_REPLY);
    assert_int_equal(b.sent_count, 0);
    stack_connect(b.stack, GUEST_ADDR, 80, 0, b.now_us);
    assert_int_equal(b.sent[0].bytes[13], 0x06); // still to be asked for
    bench_fini(&b);
}

TEST(frames_for_and_from_the_wrong_ones_are_silence)
{
    bench_init(&b, NULL);
    uint8_t l4[8] = {8, 0, 0xf7, 0xff}, bytes[2000];
    const struct mac other = {{0x52, 0x54, 0, 9, 9, 9}};
    size_t n = ipv4_frame(bytes, GUEST_ADDR, OUR_ADDR, IPV4_ICMP, l4, sizeof l4);
    bench_frame(&b, bytes, n);
    assert_int_equal(b.sent_count, 1); // this one is right
    bench_clear(&b);
    memcpy(bytes, other.octet, 6);
    bench_frame(&b, bytes, n);
    memcpy(bytes, mac_broadcast.octet, 6);
    bench_frame(&b, bytes, n);
    memcpy(bytes, our_mac.octet, 6);
    memcpy(bytes + 6, our_mac.octet, 6);
    bench_frame(&b, bytes, n);
    n = ipv4_frame(bytes, GUEST_ADDR, OUR_ADDR, 47, l4, sizeof l4);
    bench_frame(&b, bytes, n);
    l4[1] = 1; // a code
    l4[2] = 0xf7;
    l4[3] = 0xfe;
    bench_frame(&b, bytes, ipv4_frame(bytes, GUEST_ADDR, OUR_ADDR, IPV4_ICMP, l4, sizeof l4));
    assert_int_equal(b.sent_count, 0);
    bench_fini(&b);
}

TEST(dhcp_of_other_kinds_and_for_other_servers)
{
    bench_init(&b, NULL);
    const uint8_t *v = NULL;
    const enum dhcp_type silent[] = {DHCP_OFFER, DHCP_DECLINE, DHCP_ACK, DHCP_NAK};
    for (int i = 0; i < 4; i++)
        dhcp(silent[i], 0);
    assert_int_equal(b.sent_count, 0);
    dhcp(DHCP_INFORM, 0);
    assert_int_equal(find_option(53, &v), 1);
    assert_int_equal(*v, DHCP_ACK);
    assert_int_equal(find_option(51, &v), -1); // no lease
    bench_clear(&b);
    uint8_t l4[308];
    for (uint8_t server = 4; server < 6; server++) { // ours, and another
        dhcp_fill(l4, DHCP_REQUEST, GUEST_ADDR);
        memcpy(l4 + 8 + 249, (const uint8_t[]){54, 4, 10, 0, 2, server, 255}, 7);
        udp_to(UINT32_MAX, l4);
        assert_int_equal(b.sent_count, 1);
    }
    bench_clear(&b);
    dhcp_fill(l4, DHCP_DISCOVER, 0);
    l4[8 + 28] |= 1; // a group asks
    udp_to(UINT32_MAX, l4);
    l4[8] = 2; // a reply
    udp_to(UINT32_MAX, l4);
    l4[5] = 7; // shorter than its header
    l4[4] = 0;
    udp_to(UINT32_MAX, l4);
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(stack_stats_of(b.stack)->dropped_malformed, 3);
    bench_fini(&b);
}

TEST(link_that_changes_leaves_sums_to_the_guest_or_does_not)
{
    bench_init(&b, NULL);
    stack_set_link(b.stack, 1500, true, false, false);
    bench_establish(&b);
    bench_tcp(&b, TCP_ACK | TCP_FIN, NULL, 0);
    bench_wait(&b, 5000);
    assert_int_equal(b.sent[0].csum, FRAME_CSUM_PARTIAL);
    bench_clear(&b);
    stack_set_link(b.stack, 1500, false, true, false); // implies it
    bench_host_sends(&b, "x", 1);
    bench_flush(&b);
    assert_int_equal(b.sent[0].csum, FRAME_CSUM_PARTIAL);
    bench_clear(&b);
    stack_set_link(b.stack, 1500, false, false, false);
    bench_host_sends(&b, "x", 1);
    bench_flush(&b);
    assert_int_equal(b.sent[0].csum, FRAME_CSUM_NONE);
    bench_fini(&b);
}
