// SPDX-License-Identifier: BSD-3-Clause
// A TCP just good enough to talk to a kernel over a lossless link: answers ARP, accepts one
// connection, takes and gives a pattern of bytes, with partial checksums and super-frames. Shows
// what a link carries, without our stack.
#pragma once

#include "link/link.h"
#include "wire/arp.h"
#include "wire/checksum.h"
#include "wire/ether.h"
#include "wire/ipv4.h"
#include "wire/tcp.h"

#include "../test.h"

#define PEER_ADDR   0x0a000204u // 10.0.2.4
#define GUEST_ADDR  0x0a00020fu // 10.0.2.15
#define PEER_PORT   600
#define PEER_BYTES  (4u * 1024 * 1024) // each way
#define PEER_CHUNK  60000u
#define PEER_FLIGHT (512u * 1024)

#define PEER_PAYLOAD_AT (14 + 20 + 20)

struct tcp_peer {
    struct link *link;
    struct mac guest_mac;
    uint16_t guest_port;
    bool established;
    uint32_t rcv_nxt;
    uint32_t snd_una, snd_nxt; // ISN 1000
    uint32_t snd_wnd;          // scaled
    int snd_wscale;
    uint32_t received, sent;   // bytes of the pattern
    size_t largest_in;         // longest frame
    size_t partial_in, gso_in; // frames
    size_t unaligned_in;       // whose payload, behind plain headers, begins within a cache line
    size_t out_of_order;       // likewise
    bool refused, down;
    int batches;
    char why[160];
};

static const struct mac peer_mac = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

static inline uint8_t
pattern(uint32_t i)
{
    return (uint8_t)(i * 13 + (i >> 8) * 7 + (i >> 16));
}

static inline bool
peer_emit(struct tcp_peer *p, uint8_t flags, uint32_t payload)
{
    static uint8_t head[128], body[PEER_CHUNK];
    struct writer w = writer_of(head, sizeof(head));
    struct tcp_header tcp = {.src_port = PEER_PORT,
                             .dst_port = p->guest_port,
                             .seq = p->snd_nxt,
                             .ack = p->rcv_nxt,
                             .flags = flags,
                             .window = 65535,
                             .wscale = -1};
    if (flags & TCP_SYN) {
        tcp.mss = 1460;
        tcp.wscale = 4;
    }
    size_t l4 = (flags & TCP_SYN ? 28 : 20) + payload;
    ether_emit(&w, &(struct ether_header){p->guest_mac, peer_mac, 0x0800});
    ipv4_emit(&w, &(struct ipv4_header){.src = PEER_ADDR,
                                        .dst = GUEST_ADDR,
                                        .protocol = 6,
                                        .ttl = 64,
                                        .total_len = (uint16_t)(20 + l4),
                                        .dont_fragment = true});
    tcp.checksum = checksum_fold(checksum_pseudo4(PEER_ADDR, GUEST_ADDR, 6, (uint16_t)l4));
    tcp_emit(&w, &tcp);
    assert_int_equal(14 + 20 + l4 - payload, writer_len(&w));
    for (uint32_t i = 0; i < payload; i++)
        body[i] = pattern(p->sent + i);
    struct iovec iov[2] = {{head, writer_len(&w)}, {body, payload}};
    struct frame f = {.iov = iov,
                      .iovcnt = payload ? 2 : 1,
                      .len = writer_len(&w) + payload,
                      .csum = FRAME_CSUM_PARTIAL,
                      .l4_offset = 34,
                      .csum_offset = 16,
                      .header_len = (uint16_t)writer_len(&w)};
    if (payload > 1460) {
        f.gso = FRAME_GSO_TCP4;
        f.gso_size = 1460;
    }
    bool ok = link_send(p->link, &f);
    link_flush(p->link);
    return ok;
}

static inline void
peer_arp(struct tcp_peer *p, struct cursor *c)
{
    struct arp_packet arp;
    uint8_t bytes[60];
    if (!arp_parse(c, &arp) || arp.op != ARP_REQUEST || arp.target_ip != PEER_ADDR)
        return;
    struct writer w = writer_of(bytes, sizeof(bytes));
    p->guest_mac = arp.sender_mac;
    ether_emit(&w, &(struct ether_header){arp.sender_mac, peer_mac, 0x0806});
    arp_emit(&w,
             &(struct arp_packet){ARP_REPLY, peer_mac, arp.sender_mac, PEER_ADDR, arp.sender_ip});
    struct iovec iov = {bytes, writer_len(&w)};
    link_send(p->link, &(struct frame){.iov = &iov, .iovcnt = 1, .len = iov.iov_len});
    link_flush(p->link);
}

static inline void
peer_tcp(struct tcp_peer *p, struct cursor *c, size_t ip_payload)
{
    struct tcp_header tcp;
    assert_true(tcp_parse(c, ip_payload, &tcp));
    if (tcp.flags & TCP_SYN) {
        p->guest_port = tcp.src_port;
        p->rcv_nxt = tcp.seq + 1;
        p->snd_una = p->snd_nxt = 1000;
        p->snd_wscale = tcp.wscale > 0 ? tcp.wscale : 0;
        peer_emit(p, TCP_SYN | TCP_ACK, 0);
        p->snd_nxt++;
        return;
    }
    p->established = true;
    p->snd_una = tcp.ack;
    p->snd_wnd = (uint32_t)tcp.window << p->snd_wscale;
    uint32_t len = (uint32_t)(ip_payload - tcp.header_len);
    if (len == 0)
        return;
    if (tcp.seq != p->rcv_nxt) {
        // veth reorders when the guest sends on two CPUs: let it see what is missing.
        p->out_of_order++;
        peer_emit(p, TCP_ACK, 0);
        return;
    }
    for (uint32_t i = 0; i < len; i++) {
        if (c->at[i] != pattern(p->received + i))
            fail_msg("byte %u differs", p->received + i);
    }
    p->received += len;
    p->rcv_nxt += len;
    peer_emit(p, TCP_ACK, 0);
}

static inline void
peer_frames(void *ctx, const struct frame *frames, size_t count)
{
    struct tcp_peer *p = ctx;
    p->batches++;
    for (size_t i = 0; i < count; i++) {
        const struct frame *f = &frames[i];
        struct cursor c = cursor_of(f->iov->iov_base, f->iov->iov_len);
        struct ether_header ether;
        struct ipv4_header ip;
        assert_int_equal(f->iovcnt, 1);
        if (!ether_parse(&c, &ether))
            continue;
        if (ether.type == 0x0806)
            peer_arp(p, &c);
        if (ether.type != 0x0800 || !ipv4_parse(&c, c.left, &ip) || ip.protocol != 6)
            continue;
        assert_int_equal(ip.dst, PEER_ADDR);
        if (f->len > p->largest_in)
            p->largest_in = f->len;
        p->partial_in += f->csum == FRAME_CSUM_PARTIAL;
        p->gso_in += f->gso == FRAME_GSO_TCP4;
        if (((uintptr_t)f->iov->iov_base + PEER_PAYLOAD_AT) % CACHE_LINE != 0)
            p->unaligned_in++;
        if (f->csum == FRAME_CSUM_PARTIAL) {
            assert_int_equal(f->l4_offset, 34);
            assert_int_equal(f->csum_offset, 16);
        }
        peer_tcp(p, &c, (size_t)ip.total_len - ip.header_len);
    }
}

// Sends as much of the pattern as the guest's window takes.
static inline void
peer_push(struct tcp_peer *p)
{
    while (p->established && !p->refused && p->sent < PEER_BYTES) {
        uint32_t flight = p->snd_nxt - p->snd_una;
        uint32_t room = p->snd_wnd < PEER_FLIGHT ? p->snd_wnd : PEER_FLIGHT;
        uint32_t n = PEER_BYTES - p->sent < PEER_CHUNK ? PEER_BYTES - p->sent : PEER_CHUNK;
        if (flight >= room)
            return;
        n = n < room - flight ? n : room - flight;
        if (!peer_emit(p, TCP_ACK | TCP_PSH, n)) {
            p->refused = true;
            return;
        }
        p->sent += n;
        p->snd_nxt += n;
    }
}

static inline void
peer_writable(void *ctx)
{
    struct tcp_peer *p = ctx;
    p->refused = false;
}

static inline void
peer_down(void *ctx, const char *why)
{
    struct tcp_peer *p = ctx;
    p->down = true;
    snprintf(p->why, sizeof(p->why), "%s", why);
    link_free(p->link);
    p->link = NULL;
}

static const struct link_events peer_events = {
    .on_frames = peer_frames,
    .on_writable = peer_writable,
    .on_down = peer_down,
};
