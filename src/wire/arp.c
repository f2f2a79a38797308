// SPDX-License-Identifier: BSD-3-Clause
// ARP packets. Whom to answer is the stack's business.
#include "wire/arp.h"

#define HTYPE_ETHERNET 1

bool
arp_parse(struct cursor *c, struct arp_packet *out)
{
    uint16_t htype = cursor_u16(c);
    uint16_t ptype = cursor_u16(c);
    uint8_t hlen = cursor_u8(c);
    uint8_t plen = cursor_u8(c);

    out->op = cursor_u16(c);
    cursor_bytes(c, &out->sender_mac, sizeof(out->sender_mac));
    out->sender_ip = cursor_u32(c);
    cursor_bytes(c, &out->target_mac, sizeof(out->target_mac));
    out->target_ip = cursor_u32(c);
    if (c->failed || htype != HTYPE_ETHERNET || ptype != ETHER_IPV4 || hlen != 6 || plen != 4)
        return false;
    return out->op == ARP_REQUEST || out->op == ARP_REPLY;
}

void
arp_emit(struct writer *w, const struct arp_packet *p)
{
    writer_u16(w, HTYPE_ETHERNET);
    writer_u16(w, ETHER_IPV4);
    writer_u8(w, 6);
    writer_u8(w, 4);
    writer_u16(w, p->op);
    writer_bytes(w, &p->sender_mac, sizeof(p->sender_mac));
    writer_u32(w, p->sender_ip);
    writer_bytes(w, &p->target_mac, sizeof(p->target_mac));
    writer_u32(w, p->target_ip);
}
