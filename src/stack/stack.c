// SPDX-License-Identifier: BSD-3-Clause
// The stack's door: makes the tables, sorts frames to their protocol, and runs the turn (deliver,
// answer, send) and the timers. Protocols live in the files beside this one.
#include "stack/internal.h"

#include "wire/arp.h"
#include "wire/checksum.h"

#include <stdlib.h>
#include <string.h>

#define IP_HEADERS_MAX (IPV6_HEADER_LEN + IPV6_EXTENSIONS_MAX) // and more than IPv4's
#define HEADERS_MAX    (ETHER_HEADER_LEN + IP_HEADERS_MAX + TCP_HEADER_LEN_MAX)
#define TRIM_EVERY_US  1000000
#define TRIM_KEEP      8 // ring slots left populated, with their first pages

// --- making --------------------------------------------------------------------------------------

static bool
tables_alloc(struct stack *s)
{
    uint32_t n = s->config.max_conns;
    uint32_t buckets = 16;
    while (buckets < n)
        buckets *= 2;
    s->bucket_mask = buckets - 1;
    // Large callocs are untouched zero pages, so an idle stack costs what it uses.
    s->conns = calloc(n, sizeof *s->conns);
    s->buckets = calloc(buckets, sizeof *s->buckets);
    s->wheel_entries = calloc(n, sizeof *s->wheel_entries);
    if (!s->conns || !s->buckets || !s->wheel_entries)
        return false;
    wheel_init(&s->wheel, s->wheel_entries, n, s->now_us);
    return ring_pool_init(&s->send_pool, n, s->config.ring_bytes) == 0 &&
           ring_pool_init(&s->recv_pool, n, s->config.ring_bytes) == 0;
}

struct stack *
stack_new(const struct stack_config *config, const struct stack_ops *ops, void *ctx,
          uint64_t now_us)
{
    assert(config->max_conns > 0 && config->max_half_open > 0 && config->mtu >= 576);
    struct stack *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->config = *config;
    s->config.csum_offload |= config->tso || config->tso6;
    s->ops = ops;
    s->ctx = ctx;
    s->now_us = now_us;
    s->scratch = s->scratch_bytes;
    s->ephemeral = (uint16_t)siphash(&config->secret, "port", 4);
    if (!tables_alloc(s)) {
        stack_free(s);
        return NULL;
    }
    return s;
}

void
stack_free(struct stack *s)
{
    if (!s)
        return;
    ring_pool_fini(&s->send_pool);
    ring_pool_fini(&s->recv_pool);
    free(s->conns);
    free(s->buckets);
    free(s->wheel_entries);
    free(s);
}

// --- frames in -----------------------------------------------------------------------------------

bool
frame_copy(const struct frame *frame, size_t offset, void *out, size_t len)
{
    uint8_t *to = out;
    for (int i = 0; i < frame->iovcnt && len > 0; i++) {
        const struct iovec *v = &frame->iov[i];
        if (offset >= v->iov_len) {
            offset -= v->iov_len;
            continue;
        }
        size_t n = v->iov_len - offset;
        if (n > len)
            n = len;
        memcpy(to, (const uint8_t *)v->iov_base + offset, n);
        to += n;
        len -= n;
        offset = 0;
    }
    return len == 0;
}

// Sum over the frame's bytes [offset, offset + len).
static uint64_t
sum_frame(uint64_t sum, const struct frame *frame, size_t offset, size_t len)
{
    // A frame may be longer than its packet (padding): cut the last iovecs to fit.
    struct iovec iov[FRAME_IN_IOV_MAX];
    int count = 0;
    size_t end = offset + len;
    for (int i = 0; i < frame->iovcnt && end > 0; i++) {
        assert(count < FRAME_IN_IOV_MAX);
        iov[count] = frame->iov[i];
        if (iov[count].iov_len > end)
            iov[count].iov_len = end;
        end -= iov[count++].iov_len;
    }
    return checksum_add_iov(sum, iov, count, offset);
}

// seg: whose address, src_mac and frame are known; l4_len bytes of TCP stand at offset, and at c.
static void
tcp_input(struct stack *s, struct segment *seg, struct cursor *c, size_t offset, size_t l4_len)
{
    if (!tcp_parse(c, l4_len, &seg->tcp)) {
        s->stats.dropped_malformed++;
        return;
    }
    if (seg->frame->csum == FRAME_CSUM_NONE) {
        uint64_t sum = output_tcp_pseudo(s, &seg->peer, (uint16_t)l4_len);
        if (checksum_fold(sum_frame(sum, seg->frame, offset, l4_len)) != 0xffff) {
            s->stats.dropped_checksum++;
            return;
        }
    }
    seg->peer.port = seg->tcp.src_port;
    seg->peer.local_port = seg->tcp.dst_port;
    seg->payload_at = offset + seg->tcp.header_len;
    seg->len = (uint32_t)(l4_len - seg->tcp.header_len);
    tcp_segment_input(s, seg);
}

// Sources that nobody may answer: this net, loopback, multicast, reserved, broadcast, and
// ourselves.
static bool
is_bad_source(const struct stack *s, uint32_t src)
{
    uint32_t top = src >> 24;
    uint32_t directed = (s->config.addr & s->config.netmask) | ~s->config.netmask;
    return src == s->config.addr || top == 0 || top == 127 || top >= 224 || src == directed;
}

static void
ipv4_input(struct stack *s, const struct ether_header *eth, struct cursor *c,
           const struct frame *frame)
{
    struct ipv4_header ip;
    if (!ipv4_parse(c, frame->len - ETHER_HEADER_LEN, &ip)) {
        s->stats.dropped_malformed++;
        return;
    }
    size_t offset = ETHER_HEADER_LEN + (size_t)ip.header_len;
    bool dhcp = ip.protocol == IPV4_UDP && (ip.dst == UINT32_MAX || ip.dst == s->config.addr);
    if (ip.is_fragment) {
        s->stats.dropped_not_for_us++;
    } else if (dhcp) {
        udp_input(s, eth, &ip, frame, offset);
    } else if (ip.dst != s->config.addr || is_bad_source(s, ip.src) || mac_is_group(&eth->dst)) {
        s->stats.dropped_not_for_us++;
    } else if (ip.protocol == IPV4_TCP) {
        struct segment seg = {.peer.addr = ip.src, .src_mac = eth->src, .frame = frame};
        tcp_input(s, &seg, c, offset, (size_t)ip.total_len - ip.header_len);
    } else if (ip.protocol == IPV4_ICMP) {
        icmp_input(s, eth, &ip, frame, offset);
    } else {
        s->stats.dropped_not_for_us++;
    }
}

// The same in IPv6: what is below 100::, :: and loopback among it, multicast, and ourselves.
bool
is_bad_source6(const struct stack *s, const struct ipv6_addr *src)
{
    return src->octet[0] == 0 || ipv6_addr_is_multicast(src) || ipv6_addr_eq(src, &s->config.addr6);
}

static void
ipv6_input(struct stack *s, const struct ether_header *eth, struct cursor *c,
           const struct frame *frame)
{
    struct ipv6_header ip;
    if (ipv6_addr_is_none(&s->config.addr6) || s->config.mtu < IPV6_MTU_MIN) {
        s->stats.dropped_not_for_us++;
        return;
    }
    if (!ipv6_parse(c, frame->len - ETHER_HEADER_LEN, &ip)) {
        s->stats.dropped_malformed++;
        return;
    }
    size_t offset = ETHER_HEADER_LEN + (size_t)ip.header_len;
    if (ip.protocol == IPV6_ICMP) {
        icmp6_input(s, eth, &ip, frame, offset);
    } else if (ip.protocol != IPV6_TCP || !ipv6_addr_eq(&ip.dst, &s->config.addr6) ||
               is_bad_source6(s, &ip.src) || mac_is_group(&eth->dst)) {
        s->stats.dropped_not_for_us++;
    } else {
        struct segment seg = {.peer.addr6 = ip.src, .src_mac = eth->src, .frame = frame};
        tcp_input(s, &seg, c, offset, ip.payload_len);
    }
}

void
stack_input(struct stack *s, const struct frame *frame, uint64_t now_us)
{
    s->now_us = now_us;
    s->stats.frames_in++;
    uint8_t headers[HEADERS_MAX];
    size_t have = frame->len < sizeof headers ? frame->len : sizeof headers;
    if (frame->len > FRAME_MAX || frame->iovcnt > FRAME_IN_IOV_MAX ||
        !frame_copy(frame, 0, headers, have)) {
        s->stats.dropped_malformed++;
        return;
    }
    struct cursor c = cursor_of(headers, have);
    struct ether_header eth;
    if (!ether_parse(&c, &eth) || mac_eq(&eth.src, &s->config.mac)) {
        s->stats.dropped_malformed++;
        return;
    }
    if (!mac_is_group(&eth.dst) && !mac_eq(&eth.dst, &s->config.mac)) {
        s->stats.dropped_not_for_us++;
        return;
    }
    if (eth.type == ETHER_ARP)
        arp_input(s, &c);
    else if (eth.type == ETHER_IPV4)
        ipv4_input(s, &eth, &c, frame);
    else if (eth.type == ETHER_IPV6)
        ipv6_input(s, &eth, &c, frame);
    else
        s->stats.dropped_not_for_us++;
}

// --- the turn ------------------------------------------------------------------------------------

static void
tell_writable(struct stack *s, struct conn *c)
{
    if (!c->want_write || !c->attached || c->fin_queued || c->state < TCP_ESTABLISHED)
        return;
    if (ring_space(&s->send_pool, &c->send) < s->config.ring_bytes / 4)
        return;
    c->want_write = false;
    s->ops->on_writable(s->ctx, conn_index(s, c));
}

static void
trim_rings(struct stack *s)
{
    if (!s->trim_wanted || s->now_us < s->trim_due_us)
        return;
    ring_pool_trim(&s->send_pool, TRIM_KEEP);
    ring_pool_trim(&s->recv_pool, TRIM_KEEP);
    s->trim_wanted = false;
    s->trim_due_us = s->now_us + TRIM_EVERY_US;
}

void
stack_flush(struct stack *s, uint64_t now_us)
{
    s->now_us = now_us;
    stack_deliver_touched(s);
    // A full link ends the pass: who met it goes to the end of the list, behind those who wait.
    while (s->ready.first && !s->blocked) {
        struct conn *c = conn_pop(s, &s->ready);
        if (c->state == TCP_FREE)
            continue;
        tell_writable(s, c);
        if (c->state != TCP_FREE && !tcp_output(s, c))
            conn_ready(s, c);
    }
    s->scratch = s->scratch_bytes; // the link is flushed before the next reply is made
    trim_rings(s);
}

void
stack_timers(struct stack *s, uint64_t now_us)
{
    s->now_us = now_us;
    uint32_t i;
    while ((i = wheel_pop(&s->wheel, now_us)) != WHEEL_NONE)
        tcp_timer_expired(s, &s->conns[i]);
    trim_rings(s);
}

uint64_t
stack_next_deadline(const struct stack *s)
{
    uint64_t deadline = wheel_next(&s->wheel);
    return s->trim_wanted && s->trim_due_us < deadline ? s->trim_due_us : deadline;
}

void
stack_unblock(struct stack *s)
{
    s->blocked = false;
}

void
stack_link_down(struct stack *s)
{
    s->blocked = true; // nobody listens; also spares the RSTs
    for (uint32_t i = 0; i < s->conns_touched; i++) {
        struct conn *c = &s->conns[i];
        if (c->state == TCP_TIME_WAIT)
            conn_free(s, c);
        else if (c->state != TCP_FREE)
            conn_close(s, c, STACK_ABORTED);
    }
    memset(s->neighbours, 0, sizeof s->neighbours);
    s->blocked = false;
}

void
stack_set_link(struct stack *s, uint16_t mtu, bool csum_offload, bool tso, bool tso6)
{
    s->config.mtu = mtu;
    s->config.tso = tso;
    s->config.tso6 = tso6;
    s->config.csum_offload = csum_offload || tso || tso6;
    s->blocked = false;
}

const struct stack_stats *
stack_stats_of(const struct stack *s)
{
    return &s->stats;
}

uint32_t
stack_conn_count(const struct stack *s)
{
    return s->conn_count;
}
