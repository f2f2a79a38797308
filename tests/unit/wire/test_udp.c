// SPDX-License-Identifier: BSD-3-Clause
// UDP headers.
#include "test.h"

#include "wire/udp.h"

static const uint8_t datagram[] = {0, 68, 0, 67, 0, 10, 0xab, 0xcd, 'p', 'q', 'r'};

TEST(a_header_is_read_and_written)
{
    struct cursor c = cursor_of(datagram, sizeof(datagram));
    struct udp_header h;
    uint8_t out[UDP_HEADER_LEN];
    struct writer w = writer_of(out, sizeof(out));

    assert_true(udp_parse(&c, 11, &h));
    assert_int_equal(h.src_port, 68);
    assert_int_equal(h.dst_port, 67);
    assert_int_equal(h.len, 10);
    assert_int_equal(h.checksum, 0xabcd);
    assert_int_equal(c.left, 3);
    udp_emit(&w, &h);
    assert_false(w.failed);
    assert_memory_equal(out, datagram, UDP_HEADER_LEN);
}

TEST(every_shorter_one_is_refused)
{
    struct udp_header h;
    for (size_t len = 0; len < UDP_HEADER_LEN; len++) {
        struct cursor c = cursor_of(datagram, len);
        assert_false(udp_parse(&c, 100, &h));
    }
}

TEST(the_length_is_held_against_header_and_packet)
{
    uint8_t bytes[UDP_HEADER_LEN];
    struct udp_header h;

    memcpy(bytes, datagram, sizeof(bytes));
    for (unsigned len = 0; len < 20; len++) {
        struct cursor c = cursor_of(bytes, sizeof(bytes));
        bytes[5] = (uint8_t)len;
        assert_int_equal(udp_parse(&c, 12, &h), len >= 8 && len <= 12);
    }
}
