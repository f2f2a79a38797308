// SPDX-License-Identifier: BSD-3-Clause
// Builds frames: Ethernet and IPv4 around an L4 packet, checksums done here or left to the link as
// it offered. What to send and when is decided elsewhere.
#include "stack/internal.h"

#include "wire/arp.h"
#include "wire/checksum.h"

#define L4_OFFSET       (ETHER_HEADER_LEN + IPV4_HEADER_LEN)
#define TCP_CSUM_OFFSET 16
#define HEADERS_MAX     (L4_OFFSET + TCP_HEADER_LEN_MAX)
#define TTL             64

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
emit_headers(struct stack *s, struct writer *w, const struct mac *dst_mac, uint32_t dst,
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

bool
output_ipv4(struct stack *s, const struct mac *dst_mac, uint32_t dst, uint8_t protocol,
            const void *l4, size_t l4_len)
{
    uint8_t headers[L4_OFFSET];
    struct writer w = writer_of(headers, sizeof headers);
    emit_headers(s, &w, dst_mac, dst, protocol, l4_len);

    const struct iovec iov[] = {
        {.iov_base = headers, .iov_len = sizeof headers},
        {.iov_base = (void *)(uintptr_t)l4, .iov_len = l4_len},
    };
    return emit(
        s, &(struct frame){
               .iov = iov, .iovcnt = 2, .len = sizeof headers + l4_len, .header_len = L4_OFFSET});
}

// The TCP checksum field's value: the whole sum, or the pseudo-header's when the link does the
// rest.
static uint16_t
tcp_checksum(const struct stack *s, uint32_t dst, const struct iovec *iov, int iovcnt,
             size_t l4_len)
{
    uint64_t sum = checksum_pseudo4(s->config.addr, dst, IPV4_TCP, (uint16_t)l4_len);
    if (s->config.csum_offload)
        return checksum_fold(sum);
    return (uint16_t)~checksum_fold(checksum_add_iov(sum, iov, iovcnt, L4_OFFSET));
}

// Header h and what stands in iov[1..] as one frame; iov[0] is filled here.
static bool
emit_tcp(struct stack *s, const struct mac *dst_mac, uint32_t dst, struct tcp_header *h,
         struct iovec *iov, int iovcnt, uint32_t len, uint16_t mss)
{
    uint8_t headers[HEADERS_MAX];
    struct writer w = writer_of(headers + L4_OFFSET, TCP_HEADER_LEN_MAX);
    h->checksum = 0;
    tcp_emit(&w, h);
    assert(!w.failed);

    size_t l4_len = h->header_len + len;
    struct writer front = writer_of(headers, L4_OFFSET);
    emit_headers(s, &front, dst_mac, dst, IPV4_TCP, l4_len);

    iov[0] = (struct iovec){.iov_base = headers, .iov_len = (size_t)L4_OFFSET + h->header_len};
    uint16_t sum = tcp_checksum(s, dst, iov, iovcnt, l4_len);
    headers[L4_OFFSET + TCP_CSUM_OFFSET] = (uint8_t)(sum >> 8);
    headers[L4_OFFSET + TCP_CSUM_OFFSET + 1] = (uint8_t)sum;

    // Every segment that the link cuts from it carries the options as well.
    uint16_t gso_size = (uint16_t)(mss - (h->header_len - TCP_HEADER_LEN));
    bool gso = len > gso_size;
    return emit(s, &(struct frame){
                       .iov = iov,
                       .iovcnt = iovcnt,
                       .len = L4_OFFSET + l4_len,
                       .csum = s->config.csum_offload ? FRAME_CSUM_PARTIAL : FRAME_CSUM_NONE,
                       .gso = gso ? FRAME_GSO_TCP4 : FRAME_GSO_NONE,
                       .gso_size = gso ? gso_size : 0,
                       .l4_offset = L4_OFFSET,
                       .csum_offset = TCP_CSUM_OFFSET,
                       .header_len = (uint16_t)(L4_OFFSET + h->header_len),
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
    h->src_port = c->peer.local_port;
    h->dst_port = c->peer.port;
    return emit_tcp(s, &c->peer_mac, c->peer.addr, h, iov, iovcnt, len, c->mss);
}

void
output_reset_for(struct stack *s, const struct segment *seg)
{
    if (seg->tcp.flags & TCP_RST)
        return;
    struct tcp_header h = {
        .src_port = seg->tcp.dst_port,
        .dst_port = seg->tcp.src_port,
        .flags = TCP_RST,
        .wscale = -1,
    };
    if (seg->tcp.flags & TCP_ACK) {
        h.seq = seg->tcp.ack;
    } else {
        // A SYN's RST carries ACK: without it the guest's connect hangs until its timeout.
        h.flags |= TCP_ACK;
        h.ack = seg->tcp.seq + seg->len + (seg->tcp.flags & TCP_SYN ? 1 : 0) +
                (seg->tcp.flags & TCP_FIN ? 1 : 0);
    }
    struct iovec iov[1];
    if (emit_tcp(s, &seg->src_mac, seg->src, &h, iov, 1, 0, UINT16_MAX))
        s->stats.resets_sent++;
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
