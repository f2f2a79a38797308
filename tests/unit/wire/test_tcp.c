// SPDX-License-Identifier: BSD-3-Clause
// TCP headers: every truncation, malformed options, round trips, random bytes, sequence arithmetic.
#include "test.h"

#include "base/random.h"
#include "wire/tcp.h"

// A SYN of Linux: MSS 1460, SACK permitted, timestamps, NOP, window scale 7.
static const uint8_t linux_syn[40] = {0x9c, 0x40, 0x02, 0x58, 0x01, 0x02, 0x03, 0x04, 0, 0,
                                      0,    0,    0xa0, 0x02, 0xfa, 0xf0, 0xab, 0xcd, 0, 0,
                                      2,    4,    0x05, 0xb4, 4,    2,    8,    10,   1, 2,
                                      3,    4,    0,    0,    0,    0,    1,    3,    3, 7};

static bool
parse(const uint8_t *bytes, size_t len, size_t ip_payload, struct tcp_header *h)
{
    struct cursor c = cursor_of(bytes, len);
    bool ok = tcp_parse(&c, ip_payload, h);
    if (ok)
        assert_int_equal(len - c.left, h->header_len); // the cursor stands behind the options
    return ok;
}

// A segment with the given flags and option bytes, which are padded to 32 bits with end options.
static void
parse_options(uint8_t flags, const void *options, size_t len, struct tcp_header *h)
{
    uint8_t bytes[TCP_HEADER_LEN_MAX] = {0};

    assert_true(len <= 40);
    memcpy(bytes + 20, options, len);
    bytes[12] = (uint8_t)((20 + (len + 3) / 4 * 4) / 4 << 4);
    bytes[13] = flags;
    assert_true(parse(bytes, 20 + (len + 3) / 4 * 4, 60, h));
}

TEST(a_syn_of_linux)
{
    struct tcp_header h;

    assert_true(parse(linux_syn, sizeof(linux_syn), sizeof(linux_syn), &h));
    assert_int_equal(h.src_port, 40000);
    assert_int_equal(h.dst_port, 600);
    assert_int_equal(h.seq, 0x01020304);
    assert_int_equal(h.ack, 0);
    assert_int_equal(h.flags, TCP_SYN);
    assert_int_equal(h.header_len, 40);
    assert_int_equal(h.window, 64240);
    assert_int_equal(h.checksum, 0xabcd);
    assert_int_equal(h.urgent, 0);
    assert_int_equal(h.mss, 1460);
    assert_int_equal(h.wscale, 7);
    assert_true(h.sack_permitted);
    assert_int_equal(h.sack_count, 0);
}

TEST(every_shorter_segment_is_refused)
{
    struct tcp_header h;

    for (size_t len = 0; len < sizeof(linux_syn); len++) {
        assert_false(parse(linux_syn, len, sizeof(linux_syn), &h));
        assert_false(parse(linux_syn, sizeof(linux_syn), len, &h));
    }
    assert_true(parse(linux_syn, sizeof(linux_syn), 41, &h));
}

TEST(every_data_offset)
{
    uint8_t bytes[100] = {0};
    struct tcp_header h;

    for (unsigned offset = 0; offset < 16; offset++) {
        bytes[12] = (uint8_t)(offset << 4 | 0xf); // reserved bits are ignored
        assert_int_equal(parse(bytes, sizeof(bytes), sizeof(bytes), &h), offset >= 5);
        assert_int_equal(parse(bytes, 40, 100, &h), offset >= 5 && offset <= 10);
        assert_int_equal(parse(bytes, 100, 40, &h), offset >= 5 && offset <= 10);
    }
}

TEST(a_syn_without_options)
{
    struct tcp_header h;

    parse_options(TCP_SYN, "", 0, &h);
    assert_int_equal(h.mss, 0);
    assert_int_equal(h.wscale, -1);
    assert_false(h.sack_permitted);
}

TEST(syn_options_count_in_syns_only)
{
    struct tcp_header h;

    parse_options(TCP_ACK, linux_syn + 20, 20, &h);
    assert_int_equal(h.mss, 0);
    assert_int_equal(h.wscale, -1);
    assert_false(h.sack_permitted);
    parse_options(TCP_SYN | TCP_ACK, linux_syn + 20, 20, &h);
    assert_int_equal(h.mss, 1460);
    assert_int_equal(h.wscale, 7);
    assert_true(h.sack_permitted);
    parse_options(TCP_SYN, "\5\12\0\0\0\1\0\0\0\2", 10, &h);
    assert_int_equal(h.sack_count, 0);
}

TEST(flags_are_told_without_ecn)
{
    uint8_t bytes[20] = {0};
    struct tcp_header h;

    bytes[12] = 0x50;
    for (unsigned flags = 0; flags < 256; flags++) {
        bytes[13] = (uint8_t)flags;
        assert_true(parse(bytes, sizeof(bytes), sizeof(bytes), &h));
        assert_int_equal(h.flags, flags & 0x3f);
    }
}

TEST(a_window_scale_above_14_is_14)
{
    struct tcp_header h;

    for (int shift = 0; shift < 256; shift++) {
        uint8_t option[] = {3, 3, (uint8_t)shift};
        parse_options(TCP_SYN, option, 3, &h);
        assert_int_equal(h.wscale, shift > 14 ? 14 : shift);
    }
}

TEST(an_mss_is_told_as_it_is)
{
    struct tcp_header h;

    parse_options(TCP_SYN, "\2\4\0\0", 4, &h);
    assert_int_equal(h.mss, 0);
    parse_options(TCP_SYN, "\2\4\0\1", 4, &h);
    assert_int_equal(h.mss, 1);
    parse_options(TCP_SYN, "\2\4\xff\xff", 4, &h);
    assert_int_equal(h.mss, 65535);
}

TEST(malformed_options_end_the_reading_and_what_came_before_counts)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t len;
    } cases[] = {
        {"length 0", "\2\4\5\xb4\10\0\3\3\7", 9},
        {"length 1", "\2\4\5\xb4\10\1\3\3\7", 9},
        {"length past the end", "\2\4\5\xb4\10\12\3\3\7", 9},
        {"length 255", "\2\4\5\xb4\10\377\3\3\7", 9},
        {"kind without length", "\2\4\5\xb4\1\1\1\10", 8},
        {"end, then more", "\2\4\5\xb4\0\3\3\7", 8},
        {"MSS of 3 bytes", "\2\4\5\xb4\2\3\1\3\3\7", 10},
        {"window scale of 4 bytes", "\2\4\5\xb4\3\4\1\1\3\3\7", 11},
        {"window scale of 2 bytes", "\2\4\5\xb4\3\2\3\3\7", 9},
        {"SACK permitted of 3 bytes", "\2\4\5\xb4\4\3\1\3\3\7", 10},
    };
    struct tcp_header h;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse_options(TCP_SYN, cases[i].bytes, cases[i].len, &h);
        if (h.mss != 1460 || h.wscale != -1 || h.sack_permitted)
            fail_msg("%s: mss %u, wscale %d", cases[i].what, h.mss, h.wscale);
    }
}

TEST(unknown_options_are_stepped_over)
{
    struct tcp_header h;

    parse_options(TCP_SYN, "\377\2\376\3x\34\22\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\3\5", 26, &h);
    assert_int_equal(h.wscale, 5);
}

TEST(forty_nops_are_nothing)
{
    uint8_t nops[40];
    struct tcp_header h;

    memset(nops, 1, sizeof(nops));
    parse_options(TCP_SYN, nops, sizeof(nops), &h);
    assert_int_equal(h.header_len, 60);
    assert_int_equal(h.mss, 0);
    nops[39] = 2; // a kind in the last byte
    parse_options(TCP_SYN, nops, sizeof(nops), &h);
    assert_int_equal(h.mss, 0);
}

TEST(sack_blocks_from_one_to_four)
{
    uint8_t option[40] = {1, 1, 5};
    struct tcp_header h;

    for (uint8_t i = 0; i < 32; i++)
        option[4 + i] = i;
    for (uint8_t blocks = 1; blocks <= 4; blocks++) {
        option[3] = (uint8_t)(2 + 8 * blocks);
        parse_options(TCP_ACK, option, 4u + 8u * blocks, &h);
        assert_int_equal(h.sack_count, blocks);
        assert_int_equal(h.sack[blocks - 1].left >> 24, 8 * (blocks - 1));
        assert_int_equal(h.sack[blocks - 1].right >> 24, 8 * (blocks - 1) + 4);
    }
    assert_int_equal(h.sack[0].left, 0x00010203);
    assert_int_equal(h.sack[0].right, 0x04050607);
}

TEST(a_sack_option_of_a_wrong_size_is_none)
{
    uint8_t option[40] = {5};
    struct tcp_header h;

    for (unsigned len = 2; len <= 40; len++) {
        option[1] = (uint8_t)len;
        parse_options(TCP_ACK, option, 40, &h);
        bool fine = len == 10 || len == 18 || len == 26 || len == 34;
        assert_int_equal(h.sack_count, fine ? (len - 2) / 8 : 0);
    }
}

static struct tcp_header
random_header(struct random *rnd)
{
    struct tcp_header h = {.src_port = (uint16_t)random_u64(rnd),
                           .dst_port = (uint16_t)random_u64(rnd),
                           .seq = (uint32_t)random_u64(rnd),
                           .ack = (uint32_t)random_u64(rnd),
                           .flags = (uint8_t)random_below(rnd, 64),
                           .window = (uint16_t)random_u64(rnd),
                           .checksum = (uint16_t)random_u64(rnd),
                           .urgent = (uint16_t)random_u64(rnd),
                           .wscale = -1};

    if ((h.flags & TCP_SYN) != 0) {
        h.mss = (uint16_t)(random_below(rnd, 2) * random_u64(rnd));
        h.wscale = (int8_t)((int)random_below(rnd, 16) - 1);
        h.sack_permitted = random_below(rnd, 2);
    } else {
        h.sack_count = (uint8_t)random_below(rnd, 5);
        for (uint8_t i = 0; i < h.sack_count; i++)
            h.sack[i] =
                (struct tcp_sack_block){(uint32_t)random_u64(rnd), (uint32_t)random_u64(rnd)};
    }
    return h;
}

TEST(what_is_written_is_read_back)
{
    struct random rnd = {8};

    for (int round = 0; round < 100000; round++) {
        struct tcp_header h = random_header(&rnd), back;
        uint8_t out[TCP_HEADER_LEN_MAX];
        struct writer w = writer_of(out, sizeof(out));
        tcp_emit(&w, &h);
        assert_false(w.failed);
        assert_int_equal(writer_len(&w), h.header_len);
        assert_true(parse(out, h.header_len, h.header_len, &back));
        assert_int_equal(back.src_port, h.src_port);
        assert_int_equal(back.dst_port, h.dst_port);
        assert_int_equal(back.seq, h.seq);
        assert_int_equal(back.ack, h.ack);
        assert_int_equal(back.flags, h.flags);
        assert_int_equal(back.header_len, h.header_len);
        assert_int_equal(back.window, h.window);
        assert_int_equal(back.checksum, h.checksum);
        assert_int_equal(back.urgent, h.urgent);
        assert_int_equal(back.mss, h.mss);
        assert_int_equal(back.wscale, h.wscale);
        assert_int_equal(back.sack_permitted, h.sack_permitted);
        assert_int_equal(back.sack_count, h.sack_count);
        assert_memory_equal(back.sack, h.sack, h.sack_count * sizeof(h.sack[0]));
    }
}

TEST(more_than_four_sack_blocks_are_cut)
{
    struct tcp_header h = {.flags = TCP_ACK, .wscale = -1, .sack_count = 255};
    uint8_t out[TCP_HEADER_LEN_MAX];
    struct writer w = writer_of(out, sizeof(out));

    tcp_emit(&w, &h);
    assert_false(w.failed);
    assert_int_equal(h.header_len, 56);
}

TEST(a_header_that_does_not_fit_fails)
{
    struct tcp_header h = {.flags = TCP_SYN, .mss = 1460, .wscale = 7, .sack_permitted = true};
    uint8_t out[32];

    for (size_t room = 0; room <= sizeof(out); room++) {
        struct writer w = writer_of(out, room);
        tcp_emit(&w, &h);
        assert_int_equal(w.failed, room < 32);
    }
}

TEST(random_bytes_give_only_headers_that_fit)
{
    struct random rnd = {9};
    int accepted = 0;

    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[80];
        struct tcp_header h;
        for (size_t i = 0; i < sizeof(bytes); i++) {
            // Small numbers are what option kinds and lengths are made of.
            bytes[i] = (uint8_t)random_u64(&rnd);
            if (i >= 20 && random_below(&rnd, 2))
                bytes[i] = (uint8_t)(bytes[i] % 12);
        }
        size_t len = random_below(&rnd, sizeof(bytes) + 1), ip_payload = random_below(&rnd, 100);
        // On the heap and of the exact size, so that a sanitizer sees any read beyond.
        uint8_t *exact = malloc(len + 1);
        memcpy(exact + 1, bytes, len);
        if (parse(exact + 1, len, ip_payload, &h)) {
            accepted++;
            assert_in_range(h.header_len, 20, 60);
            assert_true(h.header_len <= len && h.header_len <= ip_payload);
            assert_true(h.wscale >= -1 && h.wscale <= 14);
            assert_true(h.sack_count <= 4);
        }
        free(exact);
    }
    assert_true(accepted > 1000);
}

TEST(sequence_numbers_compare_across_the_wrap)
{
    static const uint32_t bases[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        uint32_t a = bases[i];
        assert_false(seq_lt(a, a));
        assert_true(seq_le(a, a));
        assert_true(seq_ge(a, a));
        for (uint32_t distance = 1; distance < 0x80000000; distance = distance * 3 + 1) {
            uint32_t b = a + distance;
            assert_true(seq_lt(a, b) && seq_le(a, b) && seq_gt(b, a) && seq_ge(b, a));
            assert_false(seq_lt(b, a) || seq_le(b, a) || seq_gt(a, b) || seq_ge(a, b));
            assert_int_equal(seq_max(a, b), b);
            assert_int_equal(seq_min(b, a), a);
        }
    }
}
