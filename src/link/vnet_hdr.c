// SPDX-License-Identifier: BSD-3-Clause
// virtio_net_hdr: bytes to frame fields and back. What the checksum and the segments mean is the
// stack's; this only makes sure that they lie within the frame.
#include "link/vnet_hdr.h"

#include <string.h>

#define ETHER_BYTES 14

// Offsets in the header.
enum {
    AT_FLAGS = 0,
    AT_GSO_TYPE = 1,
    AT_HDR_LEN = 2,
    AT_GSO_SIZE = 4,
    AT_CSUM_START = 6,
    AT_CSUM_OFFSET = 8,
};

enum {
    FLAG_NEEDS_CSUM = 1,
    FLAG_DATA_VALID = 2,
};

enum {
    GSO_TYPE_NONE = 0,
    GSO_TYPE_TCPV4 = 1,
    GSO_TYPE_TCPV6 = 4,
    GSO_TYPE_ECN = 0x80, // on top of a type: CWR is set on the first segment only
};

static uint16_t
get_u16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static void
put_u16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof(v));
}

static bool
parse_csum(const uint8_t *hdr, struct frame *frame)
{
    frame->csum = FRAME_CSUM_NONE;
    if (hdr[AT_FLAGS] & FLAG_DATA_VALID)
        frame->csum = FRAME_CSUM_VALID;
    if (!(hdr[AT_FLAGS] & FLAG_NEEDS_CSUM))
        return true;
    uint16_t start = get_u16(hdr + AT_CSUM_START);
    uint16_t offset = get_u16(hdr + AT_CSUM_OFFSET);
    if (start < ETHER_BYTES || start > frame->len)
        return false;
    size_t behind = frame->len - start;
    if (behind < 2 || offset > behind - 2)
        return false;
    frame->csum = FRAME_CSUM_PARTIAL;
    frame->l4_offset = start;
    frame->csum_offset = offset;
    return true;
}

static bool
parse_gso(const uint8_t *hdr, struct frame *frame)
{
    frame->gso = FRAME_GSO_NONE;
    frame->gso_size = 0;
    if (hdr[AT_GSO_TYPE] == GSO_TYPE_NONE)
        return true;
    uint8_t type = hdr[AT_GSO_TYPE] & (uint8_t)~GSO_TYPE_ECN;
    if (type != GSO_TYPE_TCPV4 && type != GSO_TYPE_TCPV6)
        return false;
    frame->gso = type == GSO_TYPE_TCPV4 ? FRAME_GSO_TCP4 : FRAME_GSO_TCP6;
    frame->gso_size = get_u16(hdr + AT_GSO_SIZE);
    return frame->gso_size != 0;
}

bool
vnet_hdr_parse(const uint8_t *hdr, struct frame *frame)
{
    frame->l4_offset = frame->csum_offset = frame->header_len = 0;
    return parse_csum(hdr, frame) && parse_gso(hdr, frame);
}

void
vnet_hdr_emit(uint8_t *hdr, size_t len, const struct frame *frame)
{
    memset(hdr, 0, len);
    if (frame->csum == FRAME_CSUM_PARTIAL) {
        hdr[AT_FLAGS] = FLAG_NEEDS_CSUM;
        put_u16(hdr + AT_CSUM_START, frame->l4_offset);
        put_u16(hdr + AT_CSUM_OFFSET, frame->csum_offset);
    }
    if (frame->gso != FRAME_GSO_NONE) {
        hdr[AT_GSO_TYPE] = frame->gso == FRAME_GSO_TCP4 ? GSO_TYPE_TCPV4 : GSO_TYPE_TCPV6;
        put_u16(hdr + AT_HDR_LEN, frame->header_len);
        put_u16(hdr + AT_GSO_SIZE, frame->gso_size);
    }
}
