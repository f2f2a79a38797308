// SPDX-License-Identifier: BSD-3-Clause
// Ethernet headers.
#include "test.h"

#include "wire/ether.h"

static const uint8_t bytes[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 'p'};

TEST(a_header_is_read_and_written)
{
    struct cursor c = cursor_of(bytes, sizeof(bytes));
    struct ether_header h;
    uint8_t out[ETHER_HEADER_LEN];
    struct writer w = writer_of(out, sizeof(out));

    assert_true(ether_parse(&c, &h));
    assert_memory_equal(h.dst.octet, bytes, 6);
    assert_memory_equal(h.src.octet, bytes + 6, 6);
    assert_int_equal(h.type, ETHER_IPV6);
    assert_int_equal(cursor_u8(&c), 'p');
    ether_emit(&w, &h);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), ETHER_HEADER_LEN);
    assert_memory_equal(out, bytes, ETHER_HEADER_LEN);
}

TEST(every_shorter_frame_is_refused)
{
    for (size_t len = 0; len < ETHER_HEADER_LEN; len++) {
        struct cursor c = cursor_of(bytes, len);
        struct ether_header h;
        assert_false(ether_parse(&c, &h));
    }
}

TEST(nobody_sends_from_a_group_address)
{
    uint8_t frame[ETHER_HEADER_LEN];
    struct ether_header h;

    memcpy(frame, bytes, sizeof(frame));
    frame[0] = 1; // as a destination it is fine
    struct cursor c = cursor_of(frame, sizeof(frame));
    assert_true(ether_parse(&c, &h));
    frame[6] = 1;
    c = cursor_of(frame, sizeof(frame));
    assert_false(ether_parse(&c, &h));
    memset(frame + 6, 0xff, 6);
    c = cursor_of(frame, sizeof(frame));
    assert_false(ether_parse(&c, &h));
}

TEST(addresses_compare)
{
    struct mac a = {{2, 0, 0, 0, 0, 1}}, b = a;

    assert_true(mac_eq(&a, &b));
    for (int i = 0; i < 6; i++) {
        b = a;
        b.octet[i] ^= 0x80;
        assert_false(mac_eq(&a, &b));
    }
    assert_false(mac_is_group(&a));
    assert_true(mac_is_group(&mac_broadcast));
    assert_true(mac_is_group(&(struct mac){{0x33, 0x33, 0, 0, 0, 1}}));
}
