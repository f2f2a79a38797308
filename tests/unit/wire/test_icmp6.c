// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6 headers: read, written, cut short.
#include "test.h"

#include "wire/icmp6.h"

static const uint8_t example[] = {128, 3, 0xab, 0xcd, 'r', 'e', 's', 't'};

TEST(a_header_is_read_and_written)
{
    struct cursor c = cursor_of(example, sizeof(example));
    struct icmp6_header h;
    uint8_t out[ICMP6_HEADER_LEN];
    struct writer w = writer_of(out, sizeof(out));
    assert_true(icmp6_parse(&c, &h));
    assert_int_equal(c.left, 4);
    assert_int_equal(h.type, ICMP6_ECHO_REQUEST);
    assert_int_equal(h.code, 3);
    assert_int_equal(h.checksum, 0xabcd);
    icmp6_emit(&w, &h);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), sizeof(out));
    assert_memory_equal(out, example, sizeof(out));
}

TEST(a_header_cut_short_is_refused)
{
    for (size_t len = 0; len < ICMP6_HEADER_LEN; len++) {
        struct cursor c = cursor_of(example, len);
        struct icmp6_header h;
        assert_false(icmp6_parse(&c, &h));
    }
}
