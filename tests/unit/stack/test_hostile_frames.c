// SPDX-License-Identifier: BSD-3-Clause
// Frames that are nothing to us, in every shape that has broken others: IPv6, fragments
// without end, tags, ICMP errors about what we never sent, DHCP from hundreds of MACs. Silence, or
// the bounded answer they are due, and the next connection works.
#include "bench.h"
#include "test.h"
#include "wire/checksum.h"
#include "wire/dhcp.h"
#include "wire/icmp.h"
#include "wire/udp.h"

static struct bench b;

// What every case must leave: a stack that lets the next guest in and takes its bytes.
static void
expect_alive(void)
{
    bench_clear(&b);
    bench_establish(&b);
    bench_tcp(&b, TCP_ACK | TCP_PSH, "hello", 5);
    assert_int_equal(b.data_len, 5);
    assert_memory_equal(b.data, "hello", 5);
    bench_fini(&b);
}

// An Ethernet frame of exactly that length, so that the sanitizer watches its end.
static void
give(uint16_t type, const void *payload, size_t len)
{
    uint8_t *bytes = malloc(14 + len);
    assert_non_null(bytes);
    struct writer w = writer_of(bytes, 14 + len);
    ether_emit(&w, &(struct ether_header){our_mac, guest_mac, type});
    writer_bytes(&w, payload, len);
    assert_false(w.failed);
    bench_frame(&b, bytes, 14 + len);
    free(bytes);
}

// --- IPv6 ----------------------------------------------------------------------------------------

#define IPV6_HEADER 40
#define HOP_BY_HOP  0
#define FRAGMENT    44
#define ICMPV6      58
#define NOTHING     59
#define DESTINATION 60

// The destination of what ipv6() makes.
static const struct stack_config with_ipv6 = {.addr6 = {{0xfe, 0x80, [15] = 4}}};

static size_t
ipv6(uint8_t *out, uint8_t next, size_t told_len, const void *payload, size_t len)
{
    memset(out, 0, IPV6_HEADER);
    out[0] = 0x60;
    out[4] = (uint8_t)(told_len >> 8);
    out[5] = (uint8_t)told_len;
    out[6] = next;
    out[7] = 255;
    out[8] = out[24] = 0xfe;
    out[9] = out[25] = 0x80;
    out[23] = 15;
    out[39] = 4;
    memcpy(out + IPV6_HEADER, payload, len);
    return IPV6_HEADER + len;
}

TEST(ipv6_of_any_length_and_header_is_silence)
{
    uint8_t packet[2048], payload[64 * 8] = {0};
    bench_init(&b, &with_ipv6);
    static const uint8_t headers[] = {HOP_BY_HOP, 6,      17, 43,          FRAGMENT, 50,
                                      51,         ICMPV6, 59, DESTINATION, 135,      255};
    for (size_t h = 0; h < sizeof headers; h++) {
        static const size_t told[] = {0, 1, 8, sizeof payload, sizeof payload + 1, 65535};
        for (size_t t = 0; t < sizeof told / sizeof told[0]; t++) {
            size_t len = ipv6(packet, headers[h], told[t], payload, sizeof payload);
            for (size_t cut = 0; cut <= len; cut += cut < 64 ? 1 : 97)
                give(ETHER_IPV6, packet, cut);
        }
    }
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.opens, 0);
    expect_alive();
}

TEST(ipv6_extension_headers_without_end_are_silence)
{
    // 64 of each kind; options of no length; an atomic fragment; a chain that leads back.
    static const uint8_t kinds[] = {HOP_BY_HOP, DESTINATION, 43, FRAGMENT};
    uint8_t packet[2048], chain[64 * 8];
    bench_init(&b, &with_ipv6);
    for (size_t k = 0; k < sizeof kinds; k++) {
        for (int option = 0; option < 3; option++) { // Pad1, none of any length, a long one
            memset(chain, 0, sizeof chain);
            for (size_t i = 0; i < 64; i++) {
                chain[i * 8] = i < 63 ? kinds[k] : NOTHING;
                chain[i * 8 + 1] = option == 2 ? 255 : 0;
                chain[i * 8 + 2] = (uint8_t)option;
            }
            give(ETHER_IPV6, packet, ipv6(packet, kinds[k], sizeof chain, chain, sizeof chain));
        }
    }
    assert_int_equal(b.sent_count, 0);
    expect_alive();
}

TEST(neighbour_discovery_that_asks_for_nothing_of_ours_is_silence)
{
    // Router solicitation and advertisement, neighbour solicitation and advertisement, redirect;
    // with an option of length 0, 1, 255, and cut at each byte.
    uint8_t packet[2048], icmp[40];
    bench_init(&b, &with_ipv6);
    for (uint8_t type = 133; type <= 137; type++) {
        static const uint8_t lengths[] = {0, 1, 2, 255};
        for (size_t i = 0; i < sizeof lengths; i++) {
            memset(icmp, 0, sizeof icmp);
            icmp[0] = type;
            icmp[23] = 4; // the target, if it has one
            icmp[24] = 1;
            icmp[25] = lengths[i];
            static const struct ipv6_addr src = {{0xfe, 0x80, [15] = 15}};
            uint64_t sum = checksum_pseudo6(&src, &with_ipv6.addr6, ICMPV6, sizeof icmp);
            uint16_t field = (uint16_t)~checksum_fold(checksum_add(sum, icmp, sizeof icmp));
            icmp[2] = (uint8_t)(field >> 8);
            icmp[3] = (uint8_t)field;
            size_t len = ipv6(packet, ICMPV6, sizeof icmp, icmp, sizeof icmp);
            for (size_t cut = IPV6_HEADER; cut <= len; cut++)
                give(ETHER_IPV6, packet, cut);
        }
    }
    assert_int_equal(b.sent_count, 0);
    expect_alive();
}

// --- tags ----------------------------------------------------------------------------------------

TEST(tagged_frames_are_silence)
{
    uint8_t segment[2048], tagged[2048];
    bench_init(&b, NULL);
    size_t len =
        bench_segment((struct tcp_header){.flags = TCP_SYN, .wscale = -1}, NULL, 0, segment);
    static const uint16_t types[] = {0x8100, 0x88a8, 0x9100};
    for (size_t t = 0; t < 3; t++) {
        for (unsigned tags = 1; tags <= 3; tags++) { // VLAN, QinQ, and one more
            struct writer w = writer_of(tagged, sizeof tagged);
            for (unsigned i = 0; i < tags; i++) {
                writer_u16(&w, 5);
                writer_u16(&w, i + 1 < tags ? 0x8100 : ETHER_IPV4);
            }
            writer_bytes(&w, segment + 14, len - 14);
            for (size_t cut = 0; cut <= writer_len(&w); cut++)
                give(types[t], tagged, cut);
        }
    }
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.opens, 0);
    expect_alive();
}

// --- IPv4 ----------------------------------------------------------------------------------------

// A packet with the fragment field as given, and a right header checksum.
static size_t
fragment(uint8_t *out, uint16_t field, uint16_t id, size_t len)
{
    struct writer w = writer_of(out, 2000);
    ipv4_emit(&w, &(struct ipv4_header){.src = GUEST_ADDR,
                                        .dst = OUR_ADDR,
                                        .protocol = IPV4_TCP,
                                        .ttl = 64,
                                        .id = id,
                                        .total_len = (uint16_t)(20 + len)});
    writer_zero(&w, len);
    assert_false(w.failed);
    out[6] = (uint8_t)(field >> 8);
    out[7] = (uint8_t)field;
    out[10] = out[11] = 0;
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, out, 20));
    out[10] = (uint8_t)(sum >> 8);
    out[11] = (uint8_t)sum;
    return 20 + len;
}

TEST(fragments_of_any_shape_are_silence_and_nothing_is_kept)
{
    uint8_t packet[2000];
    static const struct {
        uint16_t field; // more fragments, offset in words of 8 bytes
        size_t len;
    } rows[] = {
        {0x2000, 0},     {0x2000, 8},      {0x2000, 1480}, {0x2000 | 1, 0}, {1, 0},
        {1, 8},          {4, 64},          {0x1fff, 8},    {0x1fff, 1480},  {0x2000 | 0x1fff, 1480},
        {0x2000 | 2, 7}, {0x2000 | 4, 33},
    };
    bench_init(&b, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        give(ETHER_IPV4, packet, fragment(packet, rows[i].field, 1, rows[i].len));
    for (uint32_t i = 0; i < 100000; i++) { // first fragments of packets that never end
        size_t len = fragment(packet, 0x2000, (uint16_t)i, 24);
        give(ETHER_IPV4, packet, len);
    }
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.opens, 0);
    assert_int_equal(stack_stats_of(b.stack)->dropped_not_for_us,
                     sizeof rows / sizeof rows[0] + 100000);
    expect_alive();
}

static size_t
icmp_packet(uint8_t *out, uint8_t type, uint8_t code, uint32_t rest, const void *quoted, size_t len)
{
    struct writer w = writer_of(out, 65535);
    ipv4_emit(&w, &(struct ipv4_header){.src = GUEST_ADDR,
                                        .dst = OUR_ADDR,
                                        .protocol = IPV4_ICMP,
                                        .ttl = 64,
                                        .total_len = (uint16_t)(28 + len)});
    writer_u8(&w, type);
    writer_u8(&w, code);
    writer_u16(&w, 0);
    writer_u32(&w, rest);
    writer_bytes(&w, quoted, len);
    assert_false(w.failed);
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, out + 20, 8 + len));
    out[22] = (uint8_t)(sum >> 8);
    out[23] = (uint8_t)sum;
    return 28 + len;
}

TEST(icmp_errors_change_nothing)
{
    // About our connection, about somebody else's, cut anywhere; MTUs that cannot be.
    static uint8_t packet[65535];
    uint8_t quoted[2048];
    static const uint16_t mtus[] = {0, 68, 1279, 65535};
    bench_init(&b, NULL);
    bench_establish(&b);
    size_t len = bench_segment((struct tcp_header){.flags = TCP_ACK, .wscale = -1}, "x", 1, quoted);
    for (uint8_t type = 3; type <= 12; type++)
        for (size_t m = 0; m < 4 && type != ICMP_ECHO_REQUEST; m++)
            for (size_t cut = 0; cut <= len - 14; cut++)
                give(ETHER_IPV4, packet, icmp_packet(packet, type, 4, mtus[m], quoted + 14, cut));
    assert_int_equal(b.sent_count, 0);
    assert_int_equal(b.closes, 0);
    static uint8_t text[1400];
    bench_host_sends(&b, text, sizeof text); // in one segment, as before
    bench_flush(&b);
    size_t sent;
    bench_sent_tcp(&b, 0, NULL, &sent);
    assert_int_equal(sent, sizeof text);
    bench_fini(&b);
}

TEST(echo_requests_up_to_64_kib_are_answered_or_dropped)
{
    static uint8_t packet[65535], payload[65535];
    bench_init(&b, &(struct stack_config){.mtu = 65520});
    static const size_t lengths[] = {0, 1, 1472, 1473, 32768, 65520 - 28};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        bench_clear(&b);
        give(ETHER_IPV4, packet, icmp_packet(packet, ICMP_ECHO_REQUEST, 0, 7, payload, lengths[i]));
        assert_int_equal(b.sent_count, 1);
        assert_in_range(b.sent[0].len, 14 + 28 + lengths[i], 14 + 28 + lengths[i]);
    }
    bench_clear(&b);
    give(ETHER_IPV4, packet, icmp_packet(packet, ICMP_ECHO_REQUEST, 0, 7, payload, 65535 - 28));
    assert_int_equal(b.sent_count, 0); // would not fit the link on its way back
    expect_alive();
}

// --- DHCP ----------------------------------------------------------------------------------------

TEST(three_hundred_macs_ask_for_the_one_address)
{
    bench_init(&b, NULL);
    for (unsigned i = 0; i < 300; i++) {
        uint8_t packet[20 + 8 + 244] = {0};
        struct writer w = writer_of(packet, sizeof packet);
        ipv4_emit(&w, &(struct ipv4_header){.dst = UINT32_MAX,
                                            .protocol = IPV4_UDP,
                                            .ttl = 64,
                                            .total_len = sizeof packet});
        udp_emit(&w, &(struct udp_header){.src_port = DHCP_CLIENT_PORT,
                                          .dst_port = DHCP_SERVER_PORT,
                                          .len = sizeof packet - 20});
        uint8_t *m = packet + 28;
        memcpy(m, "\1\1\6", 3);
        m[32] = (uint8_t)(i >> 8); // its MAC
        m[33] = (uint8_t)i;
        memcpy(m + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8);
        bench_clear(&b);
        give(ETHER_IPV4, packet, sizeof packet);
        assert_int_equal(b.sent_count, 1);
        assert_memory_equal(b.sent[0].bytes + 42 + 16, "\x0a\x00\x02\x0f", 4);
    }
    expect_alive();
}
