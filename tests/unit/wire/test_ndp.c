// SPDX-License-Identifier: BSD-3-Clause
// Neighbour discovery: solicitations cut short or with bad options, advertisements byte by byte.
#include "test.h"

#include "wire/ndp.h"

#include "wire/icmp6.h"

static const struct ipv6_addr ours = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};
static const struct mac mac = {{0x52, 0x55, 10, 0, 2, 4}};

// As behind the ICMPv6 header: reserved, target, source link-layer address, a nonce.
static const uint8_t solicit[] = {0, 0, 0, 0, 0xfd, 0x10, 0, 0, 0, 2, 0,  0, 0, 0, 0, 0, 0, 0,
                                  0, 4, 1, 1, 82,   84,   0, 1, 2, 3, 14, 1, 9, 9, 9, 9, 9, 9};

TEST(a_neighbour_solicitation_is_read)
{
    struct cursor c = cursor_of(solicit, sizeof(solicit));
    struct ndp_solicit s;
    assert_true(ndp_neighbour_solicit_parse(&c, &s));
    assert_memory_equal(&s.target, &ours, 16);
    assert_true(s.has_source_mac);
    c = cursor_of(solicit, 20);
    assert_true(ndp_neighbour_solicit_parse(&c, &s));
    assert_false(s.has_source_mac);
}

TEST(a_neighbour_solicitation_cut_short_is_refused)
{
    for (size_t len = 0; len < sizeof(solicit); len++) {
        struct cursor c = cursor_of(solicit, len);
        struct ndp_solicit s;
        bool whole_options = len == 20 || len == 28;
        assert_int_equal(ndp_neighbour_solicit_parse(&c, &s), whole_options);
    }
}

TEST(a_multicast_target_is_refused)
{
    uint8_t bytes[sizeof(solicit)];
    struct ndp_solicit s;
    memcpy(bytes, solicit, sizeof(bytes));
    bytes[4] = 0xff;
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    assert_false(ndp_neighbour_solicit_parse(&c, &s));
}

TEST(an_option_of_no_length_is_refused)
{
    uint8_t bytes[sizeof(solicit)];
    struct ndp_solicit s;
    memcpy(bytes, solicit, sizeof(bytes));
    bytes[29] = 0;
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    assert_false(ndp_neighbour_solicit_parse(&c, &s));
    c = cursor_of(bytes + 24, 12); // the same as a router solicitation
    assert_false(ndp_router_solicit_parse(&c, &s));
}

TEST(a_router_solicitation_is_read)
{
    static const uint8_t bytes[] = {0, 0, 0, 0, 1, 1, 82, 84, 0, 1, 2, 3};
    struct ndp_solicit s;
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        struct cursor c = cursor_of(bytes, len);
        assert_int_equal(ndp_router_solicit_parse(&c, &s), len == 4 || len == sizeof(bytes));
    }
    assert_true(s.has_source_mac);
    assert_true(ipv6_addr_is_none(&s.target));
    struct cursor c = cursor_of(bytes, 4);
    assert_true(ndp_router_solicit_parse(&c, &s));
    assert_false(s.has_source_mac);
}

TEST(a_neighbour_advertisement_is_written)
{
    static const uint8_t expected[] = {136, 0, 0, 0, 0x60, 0,  0,  0, 0xfd, 0x10, 0,
                                       0,   0, 2, 0, 0,    0,  0,  0, 0,    0,    0,
                                       0,   4, 2, 1, 82,   85, 10, 0, 2,    4};
    uint8_t out[NDP_NEIGHBOUR_ADVERT_LEN];
    struct writer w = writer_of(out, sizeof(out));
    struct ndp_neighbour_advert a = {.target = ours, .target_mac = mac, .solicited = true};
    ndp_neighbour_advert_emit(&w, &a);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
    a.solicited = false;
    w = writer_of(out, sizeof(out));
    ndp_neighbour_advert_emit(&w, &a);
    assert_int_equal(out[4], 0x20);
}

TEST(a_router_advertisement_offers_no_route)
{
    static const uint8_t expected[] = {
        134,  0,    0,  0,    64,  0,   0,   0,    0,   0,   0,   0,   0, 0, 0, 0, // lifetime 0
        1,    1,    82, 85,   10,  0,   2,   4,                                    // our MAC
        5,    1,    0,  0,    0,   0,   5,   0xdc,                                 // MTU 1500
        3,    4,    64, 0xc0, 255, 255, 255, 255,  255, 255, 255, 255, 0, 0, 0, 0, // for ever
        0xfd, 0x10, 0,  0,    0,   2,   0,   0,    0,   0,   0,   0,   0, 0, 0, 0};
    uint8_t out[NDP_ROUTER_ADVERT_LEN];
    struct writer w = writer_of(out, sizeof(out));
    ndp_router_advert_emit(
        &w, &(struct ndp_router_advert){.source_mac = mac, .mtu = 1500, .prefix = ours});
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
}
