// SPDX-License-Identifier: BSD-3-Clause
// IPv4 headers. Fragments are recognised, not put together; addresses are judged by the stack.
#include "wire/ipv4.h"

#include "wire/checksum.h"

#define FLAG_DF     0x4000
#define FLAG_MF     0x2000
#define OFFSET_MASK 0x1fff

bool
ipv4_parse(struct cursor *c, size_t frame_left, struct ipv4_header *out)
{
    const uint8_t *start = c->at;
    uint8_t version_ihl = cursor_u8(c);

    cursor_skip(c, 1); // type of service
    out->total_len = cursor_u16(c);
    out->id = cursor_u16(c);
    uint16_t fragment = cursor_u16(c);
    out->ttl = cursor_u8(c);
    out->protocol = cursor_u8(c);
    cursor_skip(c, 2); // checksum, verified below
    out->src = cursor_u32(c);
    out->dst = cursor_u32(c);
    out->header_len = (uint8_t)((version_ihl & 15) * 4);
    out->dont_fragment = (fragment & FLAG_DF) != 0;
    out->is_fragment = (fragment & (FLAG_MF | OFFSET_MASK)) != 0;
    if (c->failed || version_ihl >> 4 != 4 || out->header_len < IPV4_HEADER_LEN)
        return false;
    cursor_skip(c, (size_t)out->header_len - IPV4_HEADER_LEN);
    if (c->failed || out->total_len < out->header_len || out->total_len > frame_left)
        return false;
    return checksum_fold(checksum_add(0, start, out->header_len)) == 0xffff;
}

void
ipv4_emit(struct writer *w, const struct ipv4_header *h)
{
    uint16_t words[10] = {
        0x4500,
        h->total_len,
        h->id,
        h->dont_fragment ? FLAG_DF : 0,
        (uint16_t)(h->ttl << 8 | h->protocol),
        0,
        (uint16_t)(h->src >> 16),
        (uint16_t)h->src,
        (uint16_t)(h->dst >> 16),
        (uint16_t)h->dst,
    };
    uint64_t sum = 0;

    for (int i = 0; i < 10; i++)
        sum += words[i];
    words[5] = (uint16_t)~checksum_fold(sum);
    for (int i = 0; i < 10; i++)
        writer_u16(w, words[i]);
}
