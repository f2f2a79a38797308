// SPDX-License-Identifier: BSD-3-Clause
// The Internet checksum against its definition, for all small lengths, alignments and cuts.
#include "test.h"

#include "base/random.h"
#include "wire/checksum.h"

// The definition, word by word.
static uint16_t
plain_sum(const uint8_t *data, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static void
fill(struct random *rnd, uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)random_u64(rnd);
}

TEST(the_example_of_rfc_1071)
{
    static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(checksum_fold(checksum_add(0, data, sizeof(data))), 0xddf2);
}

TEST(nothing_and_zeros_are_zero)
{
    static const uint8_t zeros[100];
    assert_int_equal(checksum_fold(checksum_add(0, NULL, 0)), 0);
    assert_int_equal(checksum_fold(checksum_add(0, zeros, sizeof(zeros))), 0);
}

TEST(every_length_and_alignment_agrees_with_the_definition)
{
    uint8_t data[200 + 16];
    struct random rnd = {1};

    for (size_t shift = 0; shift < 16; shift++) {
        for (size_t len = 0; len <= 200; len++) {
            fill(&rnd, data, sizeof(data));
            assert_int_equal(checksum_fold(checksum_add(0, data + shift, len)),
                             plain_sum(data + shift, len));
        }
    }
}

TEST(carries_are_not_lost)
{
    static uint8_t ones[1 << 20];

    memset(ones, 0xff, sizeof(ones));
    for (size_t len = sizeof(ones) - 40; len <= sizeof(ones); len++)
        assert_int_equal(checksum_fold(checksum_add(0, ones, len)), len % 2 == 0 ? 0xffff : 0xff00);
    assert_int_equal(checksum_fold(UINT64_MAX), 0xffff);
    assert_int_equal(checksum_fold(0xffffffff00000001), 1);
}

TEST(even_pieces_chain)
{
    uint8_t data[301];
    struct random rnd = {2};

    fill(&rnd, data, sizeof(data));
    for (size_t cut = 0; cut < sizeof(data); cut += 2) {
        uint64_t sum = checksum_add(0, data, cut);
        sum = checksum_add(sum, data + cut, sizeof(data) - cut);
        assert_int_equal(checksum_fold(sum), plain_sum(data, sizeof(data)));
    }
}

TEST(iovecs_of_any_lengths_with_any_skip_are_one_run_of_bytes)
{
    enum { PIECES = 6 };
    uint8_t data[300];
    struct random rnd = {3};

    for (int round = 0; round < 20000; round++) {
        struct iovec iov[PIECES];
        size_t len = 0;
        fill(&rnd, data, 16);
        for (int i = 0; i < PIECES; i++) {
            size_t piece = random_below(&rnd, random_below(&rnd, 2) ? 4 : 50);
            iov[i] = (struct iovec){data + len, piece};
            len += piece;
        }
        size_t skip = random_below(&rnd, (uint32_t)len + 1);
        uint64_t sum = checksum_add_iov(0, iov, PIECES, skip);
        assert_int_equal(checksum_fold(sum), plain_sum(data + skip, len - skip));
    }
}

TEST(a_skip_beyond_the_end_leaves_the_sum)
{
    uint8_t data[3] = {1, 2, 3};
    struct iovec iov = {data, sizeof(data)};
    assert_int_equal(checksum_add_iov(77, &iov, 1, 3), 77);
    assert_int_equal(checksum_add_iov(77, &iov, 1, 1000), 77);
    assert_int_equal(checksum_add_iov(77, NULL, 0, 0), 77);
}

TEST(the_pseudo_header_is_as_its_bytes)
{
    static const uint8_t bytes[] = {255, 254, 253, 252, 10, 0, 2, 4, 0, 6, 0xfe, 0xdc};
    uint64_t sum = checksum_pseudo4(0xfffefdfc, 0x0a000204, 6, 0xfedc);
    assert_int_equal(checksum_fold(sum), plain_sum(bytes, sizeof(bytes)));
}

// A SYN with one byte of data from 10.0.2.15:40000 to 10.0.2.4:600.
TEST(a_right_packet_folds_to_ffff_and_a_flipped_bit_does_not)
{
    uint8_t segment[21] = {0x9c, 0x40, 0x02, 0x58, 1,    2, 3, 4, 0, 0,  0,
                           0,    0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, 'x'};
    uint64_t pseudo = checksum_pseudo4(0x0a00020f, 0x0a000204, 6, sizeof(segment));
    uint16_t sum = (uint16_t)~checksum_fold(checksum_add(pseudo, segment, sizeof(segment)));

    segment[16] = (uint8_t)(sum >> 8);
    segment[17] = (uint8_t)sum;
    assert_int_equal(checksum_fold(checksum_add(pseudo, segment, sizeof(segment))), 0xffff);
    for (size_t bit = 0; bit < sizeof(segment) * 8; bit++) {
        segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(checksum_fold(checksum_add(pseudo, segment, sizeof(segment))), 0xffff);
        segment[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}
