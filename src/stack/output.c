// SPDX-License-Identifier: BSD-3-Clause
// Builds frames: Ethernet and IP around an L4 packet, checksums done here or left to the link as
// it offered. What to send and when is decided elsewhere.
#include "stack/internal.h"

#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ndp.h"

#define L4_OFFSET4        (ETHER_HEADER_LEN + IPV4_HEADER_LEN)
#define L4_OFFSET_MAX     (ETHER_HEADER_LEN + IPV6_HEADER_LEN)
#define TCP_CSUM_OFFSET   16
#define ICMP6_CSUM_OFFSET 2
#define TTL               64

static void
put_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static bool
emit(struct stack *s, const struct frame *frame)
{
    if (s->blocked)
        return false;
    if (!s->ops->on_emit(s->ctx, frame)) {
        s->blocked = true;
        return false;
    }
    s->stats.frames_out++;
    return true;
}

static void
emit_headers4(struct stack *s, struct writer *w, const struct mac *dst_mac, uint32_t dst,
              uint8_t protocol, size_t l4_len)
{
    ether_emit(w,
               &(struct ether_header){.dst = *dst_mac, .src = s->config.mac, .type = ETHER_IPV4});
    ipv4_emit(w, &(struct ipv4_header){
                     .src = s->config.addr,
                     .dst = dst,
                     .protocol = protocol,
                     .ttl = TTL,
                     .total_len = (uint16_t)(IPV4_HEADER_LEN + l4_len),
                     .id = s->ip_id++,
                     .dont_fragment = true,
                 });
}

static void
emit_headers6(const struct stack *s, struct writer *w, const struct mac *dst_mac,
              const struct ipv6_addr *src, const struct ipv6_addr *dst, uint8_t protocol,
              size_t l4_len)
{
    ether_emit(w,
               &(struct ether_header){.dst = *dst_mac, .src = s->config.mac, .type = ETHER_IPV6});
    // What we say of neighbours must have passed no router (RFC 4861); it does no other any harm.
    ipv6_emit(w, &(struct ipv6_header){
                     .src = *src,
                     .dst = *dst,
                     .protocol = protocol,
                     .hop_limit = protocol == IPV6_ICMP ? NDP_HOP_LIMIT : TTL,
                     .payload_len = (uint16_t)l4_len,
                 });
}

// The packet stands in scratch memory, which is taken until the end of the turn.
static bool
emit_l4(struct stack *s, void *headers, size_t headers_len, size_t l4_len)
{
    assert(!scratch_is_full(s) && l4_len <= SCRATCH_EACH);
    const struct iovec iov[] = {
        {.iov_base = headers, .iov_len = headers_len},
        {.iov_base = s->scratch, .iov_len = l4_len},
    };
    if (!emit(s, &(struct frame){.iov = iov,
                                 .iovcnt = 2,
                                 .len = headers_len + l4_len,
                                 .header_len = (uint16_t)headers_len}))
        return false;
    s->scratch += l4_len;
    return true;
}

bool
output_ipv4(struct stack *s, const struct mac *dst_mac, uint32_t dst, uint8_t protocol,
            size_t l4_len)
{
    uint8_t headers[L4_OFFSET4];
    struct writer w = writer_of(headers, sizeof headers);
    emit_headers4(s, &w, dst_mac, dst, protocol, l4_len);
    return emit_l4(s, headers, sizeof headers, l4_len);
}

uint64_t
output_tcp_pseudo(const struct stack *s, const struct stack_peer *peer, uint16_t len)
{
    if (peer_is_ipv6(peer))
        return checksum_pseudo6(&s->config.addr6, &peer->addr6, IPV6_TCP, len);
    return checksum_pseudo4(s->config.addr, peer->addr, IPV4_TCP, len);
}

// The TCP checksum field's value: the whole sum, or the pseudo-header's when the link does the
// rest.
static uint16_t
tcp_checksum(const struct stack *s, const struct stack_peer *peer, const struct iovec *iov,
             int iovcnt, size_t l4_len)
{
    uint64_t sum = output_tcp_pseudo(s, peer, (uint16_t)l4_len);
    if (s->config.csum_offload)
        return checksum_fold(sum);
    size_t l4_at = ETHER_HEADER_LEN + peer_ip_header_len(peer);
    return (uint16_t)~checksum_fold(checksum_add_iov(sum, iov, iovcnt, l4_at));
}

// Header h and what stands in iov[1..] as one frame; iov[0] is filled here.
static bool
emit_tcp(struct stack *s, const struct mac *dst_mac, const struct stack_peer *peer,
         struct tcp_header *h, struct iovec *iov, int iovcnt, uint32_t len, uint16_t mss)
{
    uint8_t headers[L4_OFFSET_MAX + TCP_HEADER_LEN_MAX];
    bool is_ipv6 = peer_is_ipv6(peer);
    size_t l4_at = ETHER_HEADER_LEN + peer_ip_header_len(peer);
    struct writer w = writer_of(headers + l4_at, TCP_HEADER_LEN_MAX);
    h->src_port = peer->local_port;
    h->dst_port = peer->port;
    h->checksum = 0;
    tcp_emit(&w, h);
    assert(!w.failed);

    size_t l4_len = h->header_len + len;
    struct writer front = writer_of(headers, l4_at);
    if (is_ipv6)
        emit_headers6(s, &front, dst_mac, &s->config.addr6, &peer->addr6, IPV6_TCP, l4_len);
    else
        emit_headers4(s, &front, dst_mac, peer->addr, IPV4_TCP, l4_len);

    iov[0] = (struct iovec){.iov_base = headers, .iov_len = l4_at + h->header_len};
    uint16_t sum = tcp_checksum(s, peer, iov, iovcnt, l4_len);
    put_u16(headers + l4_at + TCP_CSUM_OFFSET, sum);

    // Every segment that the link cuts from it carries the options as well.
    uint16_t gso_size = (uint16_t)(mss - (h->header_len - TCP_HEADER_LEN));
    bool gso = len > gso_size;
    return emit(s, &(struct frame){
                       .iov = iov,
                       .iovcnt = iovcnt,
                       .len = l4_at + l4_len,
                       .csum = s->config.csum_offload ? FRAME_CSUM_PARTIAL : FRAME_CSUM_NONE,
                       .gso = !gso      ? FRAME_GSO_NONE
                              : is_ipv6 ? FRAME_GSO_TCP6
                                        : FRAME_GSO_TCP4,
                       .gso_size = gso ? gso_size : 0,
                       .l4_offset = (uint16_t)l4_at,
                       .csum_offset = TCP_CSUM_OFFSET,
                       .header_len = (uint16_t)(l4_at + h->header_len),
                   });
}

bool
output_segment(struct stack *s, struct conn *c, struct tcp_header *h, uint32_t ring_offset,
               uint32_t len)
{
    struct iovec iov[FRAME_IOV_MAX];
    int iovcnt = 1;
    if (len > 0)
        iovcnt += ring_iov(&s->send_pool, &c->send, ring_offset, len, &iov[1]);
    return emit_tcp(s, &c->peer_mac, &c->peer, h, iov, iovcnt, len, c->mss);
}

void
output_reset_for(struct stack *s, const struct segment *seg)
{
    if (seg->tcp.flags & TCP_RST)
        return;
    struct tcp_header h = {.flags = TCP_RST, .wscale = -1};
    if (seg->tcp.flags & TCP_ACK) {
        h.seq = seg->tcp.ack;
    } else {
        // A SYN's RST carries ACK: without it the guest's connect hangs until its timeout.
        h.flags |= TCP_ACK;
        h.ack = seg->tcp.seq + seg->len + (seg->tcp.flags & TCP_SYN ? 1 : 0) +
                (seg->tcp.flags & TCP_FIN ? 1 : 0);
    }
    struct iovec iov[1];
    if (emit_tcp(s, &seg->src_mac, &seg->peer, &h, iov, 1, 0, UINT16_MAX))
        s->stats.resets_sent++;
}

bool
output_icmp6(struct stack *s, const struct mac *dst_mac, const struct ipv6_addr *src,
             const struct ipv6_addr *dst, size_t len)
{
    uint8_t *message = s->scratch;
    uint64_t sum = checksum_pseudo6(src, dst, IPV6_ICMP, (uint16_t)len);
    put_u16(message + ICMP6_CSUM_OFFSET, 0);
    put_u16(message + ICMP6_CSUM_OFFSET, (uint16_t)~checksum_fold(checksum_add(sum, message, len)));
    uint8_t headers[L4_OFFSET_MAX];
    struct writer w = writer_of(headers, sizeof headers);
    emit_headers6(s, &w, dst_mac, src, dst, IPV6_ICMP, len);
    return emit_l4(s, headers, sizeof headers, len);
}

bool
output_arp(struct stack *s, const struct mac *dst, uint16_t op, const struct mac *target_mac,
           uint32_t target_ip)
{
    uint8_t bytes[ETHER_HEADER_LEN + ARP_LEN];
    struct writer w = writer_of(bytes, sizeof bytes);
    ether_emit(&w, &(struct ether_header){.dst = *dst, .src = s->config.mac, .type = ETHER_ARP});
    arp_emit(&w, &(struct arp_packet){
                     .op = op,
                     .sender_mac = s->config.mac,
                     .sender_ip = s->config.addr,
                     .target_mac = *target_mac,
                     .target_ip = target_ip,
                 });
    const struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    return emit(s,
                &(struct frame){
                    .iov = &iov, .iovcnt = 1, .len = sizeof bytes, .header_len = ETHER_HEADER_LEN});
}
