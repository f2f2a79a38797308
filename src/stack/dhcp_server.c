// SPDX-License-Identifier: BSD-3-Clause
// The DHCP server (RFC 2131): one lease, the guest's address, with the MTU and no way out: no
// router, no DNS. Stateless: the answer follows from the question.
#include "stack/internal.h"

#include "wire/checksum.h"
#include "wire/dhcp.h"
#include "wire/udp.h"

#define LEASE_S 86400

static bool
checksum_right(const struct ipv4_header *ip, const struct udp_header *udp, const uint8_t *bytes)
{
    if (udp->checksum == 0)
        return true;
    uint64_t sum = checksum_pseudo4(ip->src, ip->dst, IPV4_UDP, udp->len);
    return checksum_fold(checksum_add(sum, bytes, udp->len)) == 0xffff;
}

// What to answer, 0: nothing.
static enum dhcp_type
answer_to(const struct stack *s, const struct dhcp_message *m)
{
    switch (m->type) {
    case DHCP_DISCOVER:
        return DHCP_OFFER;
    case DHCP_REQUEST:
        if (m->server_id != 0 && m->server_id != s->config.addr)
            return 0; // meant for another server
        if ((m->requested_ip ? m->requested_ip : m->ciaddr) != s->config.guest_addr)
            return DHCP_NAK;
        return DHCP_ACK;
    case DHCP_INFORM:
        return DHCP_ACK;
    case DHCP_OFFER:
    case DHCP_DECLINE:
    case DHCP_ACK:
    case DHCP_NAK:
    case DHCP_RELEASE:
        return 0;
    }
    return 0;
}

static void
reply(struct stack *s, const struct dhcp_message *m, enum dhcp_type type)
{
    const uint32_t broadcast = 0xffffffff;
    bool inform = m->type == DHCP_INFORM;
    struct dhcp_reply r = {
        .type = type,
        .xid = m->xid,
        .flags = m->flags,
        .ciaddr = type == DHCP_NAK ? 0 : m->ciaddr,
        .yiaddr = inform || type == DHCP_NAK ? 0 : s->config.guest_addr,
        .server_id = s->config.addr,
        .chaddr = m->chaddr,
        .netmask = s->config.netmask,
        .lease_s = inform ? 0 : LEASE_S,
        .mtu = s->config.mtu,
    };
    uint8_t *bytes = s->scratch;
    struct writer body = writer_of(bytes + UDP_HEADER_LEN, DHCP_REPLY_MAX);
    dhcp_emit(&body, &r);

    // RFC 2131 4.1: to ciaddr if the client has one, else by broadcast, which every client hears.
    bool unicast = r.ciaddr == s->config.guest_addr;
    uint32_t dst = unicast ? r.ciaddr : broadcast;
    struct udp_header udp = {
        .src_port = DHCP_SERVER_PORT,
        .dst_port = DHCP_CLIENT_PORT,
        .len = (uint16_t)(UDP_HEADER_LEN + writer_len(&body)),
    };
    struct writer head = writer_of(bytes, UDP_HEADER_LEN);
    udp_emit(&head, &udp);
    uint64_t sum = checksum_pseudo4(s->config.addr, dst, IPV4_UDP, udp.len);
    udp.checksum = (uint16_t)~checksum_fold(checksum_add(sum, bytes, udp.len));
    if (udp.checksum == 0)
        udp.checksum = 0xffff;
    head = writer_of(bytes, UDP_HEADER_LEN);
    udp_emit(&head, &udp);
    output_ipv4(s, unicast ? &m->chaddr : &mac_broadcast, dst, IPV4_UDP, udp.len);
}

void
udp_input(struct stack *s, const struct ether_header *eth, const struct ipv4_header *ip,
          const struct frame *frame, size_t offset)
{
    size_t len = (size_t)ip->total_len - ip->header_len;
    if (scratch_is_full(s))
        return;
    if (!frame_copy(frame, offset, s->scratch, len)) {
        s->stats.dropped_malformed++;
        return;
    }
    struct cursor c = cursor_of(s->scratch, len);
    struct udp_header udp;
    if (!udp_parse(&c, len, &udp)) {
        s->stats.dropped_malformed++;
        return;
    }
    if (udp.dst_port != DHCP_SERVER_PORT || udp.src_port != DHCP_CLIENT_PORT) {
        s->stats.dropped_not_for_us++;
        return;
    }
    if (frame->csum == FRAME_CSUM_NONE && !checksum_right(ip, &udp, s->scratch)) {
        s->stats.dropped_checksum++;
        return;
    }
    struct cursor body = cursor_take(&c, udp.len - UDP_HEADER_LEN);
    struct dhcp_message m;
    if (!dhcp_parse(&body, &m) || mac_is_group(&m.chaddr)) {
        s->stats.dropped_malformed++;
        return;
    }
    enum dhcp_type type = answer_to(s, &m);
    if (type != 0)
        reply(s, &m, type);
}
