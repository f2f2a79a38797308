// SPDX-License-Identifier: BSD-3-Clause
// IPv4 headers: lengths that lie, options, fragments, flipped bits, random bytes.
#include "test.h"

#include "base/random.h"
#include "wire/checksum.h"
#include "wire/ipv4.h"

// Wikipedia's example: UDP 192.168.0.1 -> 192.168.0.199, DF, 115 bytes, checksum b861.
static const uint8_t example[IPV4_HEADER_LEN] = {
    0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7};

static void
fix_checksum(uint8_t *header, size_t len)
{
    header[10] = header[11] = 0;
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, header, len));
    header[10] = (uint8_t)(sum >> 8);
    header[11] = (uint8_t)sum;
}

static bool
parse(const uint8_t *bytes, size_t len, size_t frame_left, struct ipv4_header *h)
{
    struct cursor c = cursor_of(bytes, len);
    return ipv4_parse(&c, frame_left, h);
}

TEST(a_header_is_read_and_written)
{
    struct cursor c = cursor_of(example, sizeof(example));
    struct ipv4_header h;
    uint8_t out[IPV4_HEADER_LEN];
    struct writer w = writer_of(out, sizeof(out));

    assert_true(ipv4_parse(&c, 115, &h));
    assert_int_equal(c.left, 0);
    assert_int_equal(h.src, 0xc0a80001);
    assert_int_equal(h.dst, 0xc0a800c7);
    assert_int_equal(h.protocol, IPV4_UDP);
    assert_int_equal(h.ttl, 64);
    assert_int_equal(h.header_len, 20);
    assert_int_equal(h.total_len, 115);
    assert_int_equal(h.id, 0);
    assert_true(h.dont_fragment);
    assert_false(h.is_fragment);
    ipv4_emit(&w, &h);
    assert_false(w.failed);
    assert_int_equal(writer_len(&w), sizeof(out));
    assert_memory_equal(out, example, sizeof(out));
}

TEST(what_is_written_is_read_back)
{
    struct random rnd = {6};

    for (int round = 0; round < 10000; round++) {
        struct ipv4_header h = {.src = (uint32_t)random_u64(&rnd),
                                .dst = (uint32_t)random_u64(&rnd),
                                .protocol = (uint8_t)random_u64(&rnd),
                                .ttl = (uint8_t)random_u64(&rnd),
                                .total_len = (uint16_t)(20 + random_below(&rnd, 65516)),
                                .id = (uint16_t)random_u64(&rnd),
                                .dont_fragment = random_below(&rnd, 2)};
        struct ipv4_header back;
        uint8_t out[IPV4_HEADER_LEN];
        struct writer w = writer_of(out, sizeof(out));
        ipv4_emit(&w, &h);
        assert_true(parse(out, sizeof(out), h.total_len, &back));
        assert_int_equal(back.src, h.src);
        assert_int_equal(back.dst, h.dst);
        assert_int_equal(back.protocol, h.protocol);
        assert_int_equal(back.ttl, h.ttl);
        assert_int_equal(back.total_len, h.total_len);
        assert_int_equal(back.id, h.id);
        assert_int_equal(back.dont_fragment, h.dont_fragment);
        assert_false(back.is_fragment);
    }
}

TEST(every_shorter_header_is_refused)
{
    struct ipv4_header h;
    for (size_t len = 0; len < sizeof(example); len++)
        assert_false(parse(example, len, 115, &h));
}

TEST(the_total_length_is_held_against_the_frame_and_the_header)
{
    uint8_t bytes[IPV4_HEADER_LEN];
    struct ipv4_header h;

    assert_true(parse(example, 20, 116, &h)); // Ethernet padding
    assert_false(parse(example, 20, 114, &h));
    assert_false(parse(example, 20, 0, &h));
    memcpy(bytes, example, sizeof(bytes));
    for (unsigned total = 0; total < 40; total++) {
        bytes[3] = (uint8_t)total;
        fix_checksum(bytes, sizeof(bytes));
        assert_int_equal(parse(bytes, 20, 30, &h), total >= 20 && total <= 30);
    }
}

TEST(versions_and_header_lengths)
{
    uint8_t bytes[80] = {0};
    struct ipv4_header h;

    memcpy(bytes, example, sizeof(example));
    bytes[60] = 'p';
    for (unsigned first = 0; first < 256; first++) {
        unsigned header_len = (first & 15) * 4;
        bytes[0] = (uint8_t)first;
        fix_checksum(bytes, header_len < 20 ? 20 : header_len);
        bool fine = first >> 4 == 4 && header_len >= 20;
        assert_int_equal(parse(bytes, sizeof(bytes), 115, &h), fine);
        if (!fine)
            continue;
        assert_int_equal(h.header_len, header_len);
        assert_false(parse(bytes, header_len - 1, 115, &h)); // options cut off
        struct cursor c = cursor_of(bytes, sizeof(bytes));
        ipv4_parse(&c, 115, &h);
        assert_int_equal(c.left, sizeof(bytes) - header_len); // at the payload
    }
}

TEST(a_total_length_within_the_options_is_refused)
{
    uint8_t bytes[60] = {0};
    struct ipv4_header h;

    memcpy(bytes, example, sizeof(example));
    bytes[0] = 0x4f;
    bytes[3] = 59;
    fix_checksum(bytes, 60);
    assert_false(parse(bytes, sizeof(bytes), 115, &h));
    bytes[3] = 60;
    fix_checksum(bytes, 60);
    assert_true(parse(bytes, sizeof(bytes), 115, &h));
}

TEST(every_flipped_bit_is_noticed)
{
    uint8_t bytes[IPV4_HEADER_LEN];
    struct ipv4_header h;

    for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
        memcpy(bytes, example, sizeof(bytes));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(parse(bytes, sizeof(bytes), 65535, &h));
    }
}

TEST(fragments_are_told)
{
    static const struct {
        uint16_t field;
        bool fragment, dont_fragment;
    } cases[] = {{0, false, false},     {0x4000, false, true}, {0x2000, true, false},
                 {1, true, false},      {0x1fff, true, false}, {0x6000, true, true},
                 {0x8000, false, false}};
    uint8_t bytes[IPV4_HEADER_LEN];
    struct ipv4_header h;

    memcpy(bytes, example, sizeof(bytes));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bytes[6] = (uint8_t)(cases[i].field >> 8);
        bytes[7] = (uint8_t)cases[i].field;
        fix_checksum(bytes, sizeof(bytes));
        assert_true(parse(bytes, sizeof(bytes), 115, &h));
        assert_int_equal(h.is_fragment, cases[i].fragment);
        assert_int_equal(h.dont_fragment, cases[i].dont_fragment);
    }
}

TEST(random_bytes_give_only_headers_that_fit)
{
    struct random rnd = {7};
    int accepted = 0;

    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[80];
        struct ipv4_header h;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)random_u64(&rnd);
        size_t len = random_below(&rnd, sizeof(bytes) + 1), frame_left = random_below(&rnd, 70000);
        if (len >= 20 && random_below(&rnd, 4) != 0) {
            bytes[0] = (uint8_t)(0x40 | (bytes[0] & 15));
            size_t header_len = (size_t)(bytes[0] & 15) * 4;
            fix_checksum(bytes, header_len <= len ? header_len : len);
        }
        if (!parse(bytes, len, frame_left, &h))
            continue;
        accepted++;
        assert_in_range(h.header_len, 20, 60);
        assert_true(h.header_len <= len);
        assert_in_range(h.total_len, h.header_len, frame_left);
    }
    assert_true(accepted > 1000);
}
