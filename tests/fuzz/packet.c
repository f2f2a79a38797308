// SPDX-License-Identifier: BSD-3-Clause
// The packets of packet.h.
#include "packet.h"

#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ipv6.h"

#include <assert.h>
#include <string.h>

const struct mac fuzz_guest_mac = {{0x52, 0x54, 0, 1, 2, 3}};
const struct mac fuzz_our_mac = {{0x52, 0x55, 10, 0, 2, 4}};
const struct ipv6_addr fuzz_our_addr6 = {{0xfd, 0x10, 0, 0, 0, 2, [15] = 4}};

static void
put_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static uint16_t
get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t
get_u32(const uint8_t *at)
{
    return (uint32_t)get_u16(at) << 16 | get_u16(at + 2);
}

size_t
fuzz_segment(struct tcp_header h, const uint8_t *raw, size_t raw_len, const void *payload,
             size_t len, uint8_t out[FUZZ_FRAME])
{
    struct writer w = writer_of(out + 34, FUZZ_FRAME - 34);
    h.checksum = 0;
    if (raw_len > 0) {
        h.mss = 0;
        h.wscale = -1;
        h.sack_permitted = false;
        h.sack_count = 0;
    }
    tcp_emit(&w, &h);
    if (raw_len > 0) {
        size_t padded = (raw_len + 3) & ~(size_t)3;
        writer_bytes(&w, raw, raw_len);
        writer_zero(&w, padded - raw_len);
        out[34 + 12] = (uint8_t)((20 + padded) / 4 << 4);
    }
    writer_bytes(&w, payload, len);
    assert(!w.failed);
    size_t l4 = writer_len(&w);
    uint64_t sum = checksum_pseudo4(FUZZ_GUEST, FUZZ_US, IPV4_TCP, (uint16_t)l4);
    put_u16(out + 34 + 16, (uint16_t)~checksum_fold(checksum_add(sum, out + 34, l4)));
    struct writer front = writer_of(out, 34);
    ether_emit(&front, &(struct ether_header){fuzz_our_mac, fuzz_guest_mac, ETHER_IPV4});
    ipv4_emit(&front, &(struct ipv4_header){.src = FUZZ_GUEST,
                                            .dst = FUZZ_US,
                                            .protocol = IPV4_TCP,
                                            .ttl = 64,
                                            .total_len = (uint16_t)(20 + l4)});
    return 34 + l4;
}

size_t
fuzz_arp(uint8_t out[FUZZ_FRAME])
{
    static const struct mac everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    struct writer w = writer_of(out, FUZZ_FRAME);
    ether_emit(&w, &(struct ether_header){everybody, fuzz_guest_mac, ETHER_ARP});
    arp_emit(&w, &(struct arp_packet){.op = ARP_REQUEST,
                                      .sender_mac = fuzz_guest_mac,
                                      .sender_ip = FUZZ_GUEST,
                                      .target_ip = FUZZ_US});
    return writer_len(&w);
}

// Where the checksum field of a protocol stands behind its header's beginning, 0: not known.
static size_t
field_of(uint8_t protocol)
{
    switch (protocol) {
    case IPV4_TCP:
        return 16;
    case IPV4_UDP:
        return 6;
    case IPV4_ICMP:
    case IPV6_ICMP:
        return 2;
    default:
        return 0;
    }
}

static void
mend6(uint8_t *frame, size_t len)
{
    struct cursor c = cursor_of(frame + 14, len - 14);
    struct ipv6_header ip;
    if (!ipv6_parse(&c, len - 14, &ip))
        return;
    size_t field = field_of(ip.protocol);
    uint8_t *l4 = frame + 14 + ip.header_len;
    if (field == 0 || ip.payload_len < field + 2)
        return;
    uint64_t sum = checksum_pseudo6(&ip.src, &ip.dst, ip.protocol, ip.payload_len);
    put_u16(l4 + field, 0);
    put_u16(l4 + field, (uint16_t)~checksum_fold(checksum_add(sum, l4, ip.payload_len)));
}

void
fuzz_mend(uint8_t *frame, size_t len)
{
    if (len >= 54 && get_u16(frame + 12) == ETHER_IPV6) {
        mend6(frame, len);
        return;
    }
    if (len < 34 || get_u16(frame + 12) != ETHER_IPV4)
        return;
    uint8_t *ip = frame + 14;
    size_t header = (ip[0] & 15u) * 4, total = get_u16(ip + 2);
    if (header < 20 || header > len - 14)
        return;
    put_u16(ip + 10, 0);
    put_u16(ip + 10, (uint16_t)~checksum_fold(checksum_add(0, ip, header)));
    size_t field = field_of(ip[9]);
    if (field == 0 || total > len - 14 || total < header + field + 2)
        return;
    size_t l4 = total - header;
    uint64_t sum = ip[9] == IPV4_ICMP
                       ? 0
                       : checksum_pseudo4(get_u32(ip + 12), get_u32(ip + 16), ip[9], (uint16_t)l4);
    put_u16(ip + header + field, 0);
    put_u16(ip + header + field, (uint16_t)~checksum_fold(checksum_add(sum, ip + header, l4)));
}

static void
expect_checksum(const struct frame *frame, const struct ipv4_header *ip, const uint8_t *l4,
                size_t l4_len)
{
    if (frame->csum != FRAME_CSUM_NONE)
        return;
    if (ip->protocol == IPV4_UDP && get_u16(l4 + 6) == 0)
        return;
    uint64_t sum = ip->protocol == IPV4_ICMP
                       ? 0
                       : checksum_pseudo4(ip->src, ip->dst, ip->protocol, (uint16_t)l4_len);
    assert(checksum_fold(checksum_add(sum, l4, l4_len)) == 0xffff);
}

// Behind the Ethernet header: true for a TCP segment.
static bool
check_ipv6(const struct frame *frame, struct cursor *c, struct tcp_header *tcp)
{
    struct ipv6_header ip;
    assert(ipv6_parse(c, c->left, &ip) && ip.header_len == IPV6_HEADER_LEN);
    assert(c->left == ip.payload_len && !ipv6_addr_is_multicast(&ip.src));
    assert(ip.protocol == IPV6_TCP || ip.protocol == IPV6_ICMP);
    uint64_t sum = checksum_pseudo6(&ip.src, &ip.dst, ip.protocol, ip.payload_len);
    if (frame->csum == FRAME_CSUM_NONE)
        assert(checksum_fold(checksum_add(sum, c->at, c->left)) == 0xffff);
    if (ip.protocol == IPV6_ICMP)
        return false;
    assert(ipv6_addr_eq(&ip.src, &fuzz_our_addr6) && tcp_parse(c, ip.payload_len, tcp));
    return true;
}

bool
fuzz_check_sent(const struct frame *frame, struct tcp_header *tcp, const uint8_t **payload,
                size_t *len)
{
    static uint8_t bytes[FRAME_MAX];
    size_t used = 0;
    assert(frame->iovcnt >= 1 && frame->iovcnt <= FRAME_IOV_MAX && frame->len <= FRAME_MAX);
    for (int i = 0; i < frame->iovcnt; i++) {
        assert(frame->iov[i].iov_len <= frame->len - used);
        memcpy(bytes + used, frame->iov[i].iov_base, frame->iov[i].iov_len);
        used += frame->iov[i].iov_len;
    }
    assert(used == frame->len);
    struct cursor c = cursor_of(bytes, used);
    struct ether_header eth;
    struct ipv4_header ip;
    struct arp_packet arp;
    assert(ether_parse(&c, &eth) && mac_eq(&eth.src, &fuzz_our_mac));
    if (eth.type == ETHER_ARP) {
        assert(arp_parse(&c, &arp) && arp.sender_ip == FUZZ_US);
        assert(mac_eq(&arp.sender_mac, &fuzz_our_mac));
        return false;
    }
    if (eth.type == ETHER_IPV6) {
        if (!check_ipv6(frame, &c, tcp))
            return false;
        *payload = c.at;
        *len = c.left;
        return true;
    }
    assert(eth.type == ETHER_IPV4 && ipv4_parse(&c, c.left, &ip) && ip.src == FUZZ_US);
    size_t l4 = (size_t)ip.total_len - ip.header_len;
    assert(l4 == c.left && !ip.is_fragment);
    expect_checksum(frame, &ip, c.at, l4);
    if (ip.protocol != IPV4_TCP)
        return false;
    assert(tcp_parse(&c, l4, tcp));
    *payload = c.at;
    *len = c.left;
    return true;
}
