// SPDX-License-Identifier: BSD-3-Clause
// virtio_net_hdr to frame fields and back, and what must be refused.
#include "link/vnet_hdr.h"

#include "../test.h"

#include <string.h>

// A header in the host's order.
struct fields {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

static bool
parse(struct fields f, size_t frame_len, struct frame *out)
{
    uint8_t hdr[VNET_HDR_BYTES];
    hdr[0] = f.flags;
    hdr[1] = f.gso_type;
    memcpy(hdr + 2, &f.hdr_len, 2);
    memcpy(hdr + 4, &f.gso_size, 2);
    memcpy(hdr + 6, &f.csum_start, 2);
    memcpy(hdr + 8, &f.csum_offset, 2);
    *out = (struct frame){.len = frame_len, .gso_size = 99, .l4_offset = 99};
    return vnet_hdr_parse(hdr, out);
}

TEST(plain_frame)
{
    struct frame f;
    assert_true(parse((struct fields){0}, 60, &f));
    assert_int_equal(f.csum, FRAME_CSUM_NONE);
    assert_int_equal(f.gso, FRAME_GSO_NONE);
    assert_int_equal(f.gso_size, 0);
    assert_int_equal(f.l4_offset, 0);
}

TEST(checksum_states)
{
    struct frame f;
    assert_true(parse((struct fields){.flags = 2}, 60, &f));
    assert_int_equal(f.csum, FRAME_CSUM_VALID);
    assert_true(parse((struct fields){.flags = 1, .csum_start = 34, .csum_offset = 16}, 54, &f));
    assert_int_equal(f.csum, FRAME_CSUM_PARTIAL);
    assert_int_equal(f.l4_offset, 34);
    assert_int_equal(f.csum_offset, 16);
    // Both: what is said to be valid is not even computed.
    assert_true(parse((struct fields){.flags = 3, .csum_start = 34, .csum_offset = 16}, 54, &f));
    assert_int_equal(f.csum, FRAME_CSUM_PARTIAL);
}

TEST(checksum_field_must_be_in_the_frame_behind_ethernet)
{
    static const struct {
        uint16_t start, offset;
        size_t len;
        bool ok;
    } rows[] = {
        {14, 0, 16, true},
        {13, 0, 60, false},
        {0, 0, 60, false},
        {34, 16, 52, true},
        {34, 16, 51, false},
        {34, 16, 34, false},
        {60, 0, 60, false},
        {61, 0, 60, false},
        {59, 0, 60, false},
        {58, 0, 60, true},
        {65535, 0, 60, false},
        {14, 65535, 60, false},
        {65535, 65535, 60, false},
        {34, 65520, FRAME_MAX, false},
        {34, 65514, FRAME_MAX, true},
        {14, 0, 1, false},
        {14, 0, 15, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct frame f;
        struct fields fields = {
            .flags = 1, .csum_start = rows[i].start, .csum_offset = rows[i].offset};
        assert_int_equal(parse(fields, rows[i].len, &f), rows[i].ok);
        // Without NEEDS_CSUM the two mean nothing.
        fields.flags = 0;
        assert_true(parse(fields, rows[i].len, &f));
    }
}

TEST(gso_types)
{
    struct frame f;
    struct fields tcp4 = {
        .flags = 1, .gso_type = 1, .gso_size = 1460, .csum_start = 34, .csum_offset = 16};
    assert_true(parse(tcp4, 60000, &f));
    assert_int_equal(f.gso, FRAME_GSO_TCP4);
    assert_int_equal(f.gso_size, 1460);
    tcp4.gso_type = 0x81; // with ECN
    assert_true(parse(tcp4, 60000, &f));
    tcp4.gso_size = 0;
    assert_false(parse(tcp4, 60000, &f));
    tcp4.gso_size = 1;
    assert_true(parse(tcp4, 60000, &f));
    for (unsigned type = 2; type < 256; type++) {
        struct fields other = tcp4;
        other.gso_type = (uint8_t)type;
        bool tcp6 = type == 4 || type == 0x84;
        assert_int_equal(parse(other, 60000, &f), type == 0x81 || tcp6);
        assert_true(!tcp6 || f.gso == FRAME_GSO_TCP6);
    }
}

TEST(hdr_len_is_not_believed)
{
    struct frame f;
    assert_true(parse((struct fields){.hdr_len = 65535}, 60, &f));
    assert_int_equal(f.header_len, 0);
}

TEST(emitted_frame_reads_back)
{
    struct frame f = {.len = 40000,
                      .csum = FRAME_CSUM_PARTIAL,
                      .gso = FRAME_GSO_TCP4,
                      .gso_size = 1448,
                      .l4_offset = 34,
                      .csum_offset = 16,
                      .header_len = 66};
    uint8_t hdr[VNET_HDR_V1_BYTES + 1];
    memset(hdr, 0xee, sizeof(hdr));
    vnet_hdr_emit(hdr, VNET_HDR_V1_BYTES, &f);
    assert_int_equal(hdr[VNET_HDR_V1_BYTES], 0xee);
    assert_int_equal(hdr[10] | hdr[11], 0); // num_buffers
    uint16_t hdr_len;
    memcpy(&hdr_len, hdr + 2, 2);
    assert_int_equal(hdr_len, 66);
    struct frame back = {.len = 40000};
    assert_true(vnet_hdr_parse(hdr, &back));
    assert_int_equal(back.csum, FRAME_CSUM_PARTIAL);
    assert_int_equal(back.gso, FRAME_GSO_TCP4);
    assert_int_equal(back.gso_size, 1448);
    assert_int_equal(back.l4_offset, 34);
    assert_int_equal(back.csum_offset, 16);
    f.gso = FRAME_GSO_TCP6;
    vnet_hdr_emit(hdr, VNET_HDR_V1_BYTES, &f);
    assert_true(vnet_hdr_parse(hdr, &back));
    assert_int_equal(back.gso, FRAME_GSO_TCP6);

    f = (struct frame){.len = 60, .csum = FRAME_CSUM_VALID};
    memset(hdr, 0xee, sizeof(hdr));
    vnet_hdr_emit(hdr, VNET_HDR_BYTES, &f);
    assert_int_equal(hdr[VNET_HDR_BYTES], 0xee);
    static const uint8_t zero[VNET_HDR_BYTES];
    assert_memory_equal(hdr, zero, VNET_HDR_BYTES);
}
