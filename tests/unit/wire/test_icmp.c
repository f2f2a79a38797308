// SPDX-License-Identifier: BSD-3-Clause
// ICMP echo headers.
#include "test.h"

#include "wire/icmp.h"

static const uint8_t echo[] = {8, 0, 0xab, 0xcd, 0x12, 0x34, 0xff, 0xfe, 'p'};

TEST(an_echo_is_read_and_written)
{
    struct cursor c = cursor_of(echo, sizeof(echo));
    struct icmp_header h;
    uint8_t out[ICMP_HEADER_LEN];
    struct writer w = writer_of(out, sizeof(out));

    assert_true(icmp_parse(&c, &h));
    assert_int_equal(h.type, ICMP_ECHO_REQUEST);
    assert_int_equal(h.code, 0);
    assert_int_equal(h.checksum, 0xabcd);
    assert_int_equal(h.id, 0x1234);
    assert_int_equal(h.sequence, 0xfffe);
    assert_int_equal(c.left, 1);
    icmp_emit(&w, &h);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), ICMP_HEADER_LEN);
    assert_memory_equal(out, echo, ICMP_HEADER_LEN);
}

TEST(every_shorter_one_is_refused)
{
    struct icmp_header h;
    for (size_t len = 0; len < ICMP_HEADER_LEN; len++) {
        struct cursor c = cursor_of(echo, len);
        assert_false(icmp_parse(&c, &h));
    }
}
