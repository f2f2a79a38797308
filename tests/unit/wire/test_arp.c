// SPDX-License-Identifier: BSD-3-Clause
// ARP packets: each fixed byte with each value, and random ones.
#include "test.h"

#include "base/random.h"
#include "wire/arp.h"

static const uint8_t request[ARP_LEN] = {0,  1, 8, 0,  6, 4, 0, 1, 0x52, 0x54, 0,  0x12, 0x34, 0x56,
                                         10, 0, 2, 15, 0, 0, 0, 0, 0,    0,    10, 0,    2,    4};

static bool
parse(const uint8_t *bytes, size_t len, struct arp_packet *p)
{
    struct cursor c = cursor_of(bytes, len);
    return arp_parse(&c, p);
}

TEST(a_request_is_read_and_written)
{
    struct arp_packet p;
    uint8_t out[ARP_LEN];
    struct writer w = writer_of(out, sizeof(out));

    assert_true(parse(request, sizeof(request), &p));
    assert_int_equal(p.op, ARP_REQUEST);
    assert_memory_equal(p.sender_mac.octet, request + 8, 6);
    assert_int_equal(p.sender_ip, 0x0a00020f);
    assert_memory_equal(p.target_mac.octet, request + 18, 6);
    assert_int_equal(p.target_ip, 0x0a000204);
    arp_emit(&w, &p);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), ARP_LEN);
    assert_memory_equal(out, request, ARP_LEN);
}

TEST(padding_is_ignored_and_every_shorter_packet_refused)
{
    uint8_t padded[46] = {0};
    struct arp_packet p;

    memcpy(padded, request, sizeof(request));
    assert_true(parse(padded, sizeof(padded), &p));
    for (size_t len = 0; len < ARP_LEN; len++)
        assert_false(parse(request, len, &p));
}

TEST(any_other_type_size_or_operation_is_refused)
{
    struct arp_packet p;

    for (size_t at = 0; at < 8; at++) {
        for (int value = 0; value < 256; value++) {
            uint8_t bytes[ARP_LEN];
            memcpy(bytes, request, sizeof(bytes));
            bytes[at] = (uint8_t)value;
            bool fine = value == request[at] || (at == 7 && value == ARP_REPLY);
            assert_int_equal(parse(bytes, sizeof(bytes), &p), fine);
        }
    }
}

TEST(random_bytes_do_no_harm)
{
    struct random rnd = {5};
    int accepted = 0;

    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[40];
        struct arp_packet p;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)random_u64(&rnd);
        accepted += parse(bytes, random_below(&rnd, sizeof(bytes) + 1), &p);
    }
    assert_int_equal(accepted, 0); // 63 fixed bits
}
