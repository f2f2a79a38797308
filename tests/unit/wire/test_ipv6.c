// SPDX-License-Identifier: BSD-3-Clause
// IPv6 headers: lengths that lie, extension headers that are skipped and those that are not, random
// bytes.
#include "test.h"

#include "base/random.h"
#include "wire/checksum.h"
#include "wire/ipv6.h"

#define PACKET 200

static const struct ipv6_addr guest = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 0x15}};
static const struct ipv6_addr ours = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};

// A packet whose payload is `len` bytes of `payload`, the first of which are a header of
// `protocol`.
static size_t
packet(uint8_t protocol, const void *payload, size_t len, uint8_t out[PACKET])
{
    struct writer w = writer_of(out, PACKET);
    ipv6_emit(&w, &(struct ipv6_header){.src = guest,
                                        .dst = ours,
                                        .protocol = protocol,
                                        .hop_limit = 64,
                                        .payload_len = (uint16_t)len});
    writer_bytes(&w, payload, len);
    assert_false(w.failed);
    return writer_len(&w);
}

static bool
parse(uint8_t protocol, const void *payload, size_t len, struct ipv6_header *h)
{
    uint8_t bytes[PACKET];
    size_t n = packet(protocol, payload, len, bytes);
    struct cursor c = cursor_of(bytes, n);
    bool ok = ipv6_parse(&c, n, h);
    if (ok) {
        assert_int_equal(c.at - bytes, h->header_len);
        assert_int_equal(h->header_len + h->payload_len, n);
    }
    return ok;
}

TEST(a_header_is_read_and_written)
{
    uint8_t bytes[PACKET], again[PACKET];
    size_t len = packet(IPV6_TCP, "payload", 7, bytes);
    struct cursor c = cursor_of(bytes, len);
    struct ipv6_header h;
    assert_int_equal(len, 47);
    assert_int_equal(bytes[0], 0x60);
    assert_true(ipv6_parse(&c, len, &h));
    assert_memory_equal(&h.src, &guest, 16);
    assert_memory_equal(&h.dst, &ours, 16);
    assert_int_equal(h.protocol, IPV6_TCP);
    assert_int_equal(h.hop_limit, 64);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN);
    assert_int_equal(h.payload_len, 7);
    assert_int_equal(c.left, 7);
    struct writer w = writer_of(again, IPV6_HEADER_LEN);
    ipv6_emit(&w, &h);
    assert_false(w.failed);
    assert_memory_equal(again, bytes, IPV6_HEADER_LEN);
}

TEST(a_frame_may_be_longer_than_its_packet_and_not_shorter)
{
    uint8_t bytes[PACKET];
    size_t len = packet(IPV6_TCP, "payload", 7, bytes);
    struct ipv6_header h;
    struct cursor c = cursor_of(bytes, len);
    assert_true(ipv6_parse(&c, 60, &h));
    assert_int_equal(h.payload_len, 7);
    for (size_t frame_left = 0; frame_left < len; frame_left++) {
        c = cursor_of(bytes, len);
        assert_false(ipv6_parse(&c, frame_left, &h));
    }
    for (size_t have = 0; have < IPV6_HEADER_LEN; have++) {
        c = cursor_of(bytes, have);
        assert_false(ipv6_parse(&c, len, &h));
    }
}

TEST(another_version_is_refused)
{
    uint8_t bytes[PACKET];
    size_t len = packet(IPV6_TCP, "payload", 7, bytes);
    for (unsigned version = 0; version < 16; version++) {
        struct cursor c = cursor_of(bytes, len);
        struct ipv6_header h;
        bytes[0] = (uint8_t)(version << 4 | 5); // of the traffic class
        assert_int_equal(ipv6_parse(&c, len, &h), version == 6);
    }
}

TEST(extension_headers_that_may_be_ignored_are_skipped)
{
    static const uint8_t chain[] = {
        60,  0,   5,    2,   0, 0, 1, 0,                         // hop-by-hop: router alert, PadN
        43,  1,   0x1e, 10,  1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 1, 0, // destination: unknown, PadN
        60,  0,   4,    0,   0, 0, 0, 0,                         // routing, no segments left
        6,   0,   0,    0,   0, 0, 0, 0,                         // destination: Pad1
        'd', 'a', 't',  'a',
    };
    struct ipv6_header h;
    assert_true(parse(0, chain, sizeof(chain), &h));
    assert_int_equal(h.protocol, IPV6_TCP);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN + 40);
    assert_int_equal(h.payload_len, 4);
}

TEST(those_that_may_not_be_ignored_are_left)
{
    static const struct {
        uint8_t protocol;
        uint8_t bytes[16];
    } left[] = {
        {60, {6, 0, 0x40}},   // an option: discard
        {60, {6, 0, 0x80}},   // discard, and say so
        {60, {6, 0, 0xc0}},   // say so unless it is multicast
        {0, {6, 0, 0xc2, 4}}, // jumbo payload
        {60, {6, 0, 1, 5}},   // an option longer than its header
        {43, {6, 0, 0, 1}},   // a segment left
        {44, {6, 0, 0, 1}},   // a fragment
        {44, {6}},            // an atomic one
        {50, {6}},            // ESP
        {51, {6, 0}},         // AH
        {59, {6}},            // nothing follows
        {17, {6}},            // UDP
    };
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        struct ipv6_header h;
        assert_true(parse(left[i].protocol, left[i].bytes, 16, &h));
        assert_int_equal(h.protocol, left[i].protocol);
        assert_int_equal(h.header_len, IPV6_HEADER_LEN);
        assert_int_equal(h.payload_len, 16);
    }
}

TEST(hop_by_hop_options_come_first_or_not_at_all)
{
    static const uint8_t chain[16] = {0, 0, 1, 4, [8] = 6, 0, 1, 4};
    struct ipv6_header h;
    assert_true(parse(60, chain, sizeof(chain), &h));
    assert_int_equal(h.protocol, 0);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN + 8);
}

TEST(no_more_than_so_many_bytes_are_skipped)
{
    uint8_t chain[IPV6_EXTENSIONS_MAX + 16] = {0};
    for (size_t at = 0; at < sizeof(chain); at += 8) {
        chain[at] = 60;
        chain[at + 2] = 1;
        chain[at + 3] = 4;
    }
    struct ipv6_header h;
    chain[IPV6_EXTENSIONS_MAX - 8] = 6;
    assert_true(parse(60, chain, sizeof(chain), &h));
    assert_int_equal(h.protocol, 6);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN + IPV6_EXTENSIONS_MAX);

    chain[IPV6_EXTENSIONS_MAX - 8] = 60;
    chain[IPV6_EXTENSIONS_MAX] = 6;
    assert_true(parse(60, chain, sizeof(chain), &h));
    assert_int_equal(h.protocol, 60);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN + IPV6_EXTENSIONS_MAX);

    memset(chain, 0, sizeof(chain)); // one of 72 bytes
    chain[0] = 6;
    chain[1] = 8;
    assert_true(parse(60, chain, sizeof(chain), &h));
    assert_int_equal(h.protocol, 60);
    assert_int_equal(h.header_len, IPV6_HEADER_LEN);
}

TEST(one_cut_short_is_refused)
{
    static const uint8_t options[16] = {6, 1};
    struct ipv6_header h;
    for (size_t len = 0; len < sizeof(options); len++)
        assert_false(parse(60, options, len, &h));
    assert_true(parse(60, options, sizeof(options), &h));

    // The frame has it, what was copied of it has not.
    uint8_t bytes[PACKET];
    size_t len = packet(60, options, sizeof(options), bytes);
    for (size_t have = IPV6_HEADER_LEN; have < len; have++) {
        struct cursor c = cursor_of(bytes, have);
        assert_false(ipv6_parse(&c, len, &h));
    }
}

TEST(groups_are_known)
{
    static const struct ipv6_addr all_nodes = {{0xff, 2, [15] = 1}};
    struct ipv6_addr group = {{0xff, 2, [11] = 1, 0xff, 0, 0, 4}};
    assert_true(ipv6_addr_is_multicast(&all_nodes));
    assert_true(ipv6_addr_is_multicast(&group));
    assert_false(ipv6_addr_is_multicast(&ours));
    assert_true(ipv6_addr_is_solicited(&group, &ours));
    assert_false(ipv6_addr_is_solicited(&group, &guest));
    assert_false(ipv6_addr_is_solicited(&all_nodes, &ours));
    assert_false(ipv6_addr_is_solicited(&ours, &ours));
}

TEST(the_pseudo_header_has_both_addresses_the_length_and_the_protocol)
{
    uint8_t bytes[40] = {0};
    memcpy(bytes, &guest, 16);
    memcpy(bytes + 16, &ours, 16);
    bytes[34] = 0xff;
    bytes[35] = 0xfe;
    bytes[39] = IPV6_ICMP;
    assert_int_equal(checksum_fold(checksum_pseudo6(&guest, &ours, IPV6_ICMP, 0xfffe)),
                     checksum_fold(checksum_add(0, bytes, sizeof(bytes))));
}

TEST(random_bytes_are_parsed_within_bounds)
{
    struct random r = {6};
    unsigned good = 0;
    for (int i = 0; i < 200000; i++) {
        uint8_t bytes[PACKET];
        for (size_t j = 0; j < sizeof(bytes); j++)
            bytes[j] = (uint8_t)random_u64(&r);
        bytes[0] = 0x60;
        bytes[4] = 0;
        static const uint8_t protocols[] = {0, 6, 43, 60};
        bytes[6] = protocols[bytes[6] & 3];
        bytes[40] = protocols[bytes[40] & 3];
        bytes[41] &= 7;
        bytes[42] &= 0x3f;
        size_t len = bytes[1] % (PACKET + 1u);
        struct cursor c = cursor_of(bytes, len);
        struct ipv6_header h;
        if (!ipv6_parse(&c, len, &h))
            continue;
        good++;
        assert_true(h.header_len <= IPV6_HEADER_LEN + IPV6_EXTENSIONS_MAX);
        assert_true((size_t)h.header_len + h.payload_len <= len);
        assert_int_equal(c.at - bytes, h.header_len);
    }
    assert_true(good > 1000);
}
