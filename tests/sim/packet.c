// SPDX-License-Identifier: BSD-3-Clause
// Views of, and surgery on, simulated frames. Leaves to link.c when which of it happens.

#include "packet.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIN = 1,
    SYN = 2,
    RST = 4,
    PSH = 8,
    ACK = 16,
    IP_AT = PACKET_ETHER_LEN,
    TCP_CSUM_AT = 16,
};

struct packet *
packet_new(size_t len)
{
    struct packet *p = malloc(sizeof(*p) + len);

    assert(p);
    memset(p, 0, sizeof(*p));
    p->len = len;
    return p;
}

struct packet *
packet_copy(const struct packet *p)
{
    struct packet *q = packet_new(p->len);

    memcpy(q, p, sizeof(*p) + p->len);
    return q;
}

uint16_t
packet_get16(const struct packet *p, size_t at)
{
    assert(at + 2 <= p->len);
    return (uint16_t)(p->data[at] << 8 | p->data[at + 1]);
}

uint32_t
packet_get32(const struct packet *p, size_t at)
{
    return (uint32_t)packet_get16(p, at) << 16 | packet_get16(p, at + 2);
}

void
packet_put16(struct packet *p, size_t at, uint16_t v)
{
    assert(at + 2 <= p->len);
    p->data[at] = (uint8_t)(v >> 8);
    p->data[at + 1] = (uint8_t)v;
}

void
packet_put32(struct packet *p, size_t at, uint32_t v)
{
    packet_put16(p, at, (uint16_t)(v >> 16));
    packet_put16(p, at + 2, (uint16_t)v);
}

static uint64_t
sum_words(const struct packet *p, size_t at, size_t len)
{
    uint64_t sum = 0;

    for (size_t i = 0; i + 1 < len; i += 2)
        sum += packet_get16(p, at + i);
    if (len % 2)
        sum += (uint64_t)p->data[at + len - 1] << 8;
    return sum;
}

static uint16_t
fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static size_t
ip_header_len(const struct packet *p)
{
    return (size_t)(p->data[IP_AT] & 15) * 4;
}

static uint64_t
pseudo_sum(const struct packet *p, size_t l4_len)
{
    return sum_words(p, IP_AT + 12, 8) + p->data[IP_AT + 9] + l4_len;
}

static void
write_ip_csum(struct packet *p)
{
    packet_put16(p, IP_AT + 10, 0);
    packet_put16(p, IP_AT + 10, (uint16_t)~fold(sum_words(p, IP_AT, ip_header_len(p))));
}

static void
write_tcp_csum(struct packet *p, size_t l4, size_t l4_len)
{
    packet_put16(p, l4 + TCP_CSUM_AT, 0);
    packet_put16(p, l4 + TCP_CSUM_AT,
                 (uint16_t)~fold(sum_words(p, l4, l4_len) + pseudo_sum(p, l4_len)));
}

static bool
is_ipv4(const struct packet *p)
{
    return p->len >= IP_AT + 20 && packet_get16(p, 12) == 0x0800;
}

// NULL, or what is wrong between Ethernet and L4.
static const char *
ip_complaint(const struct packet *p)
{
    size_t header = ip_header_len(p), total = packet_get16(p, IP_AT + 2);

    if (p->data[IP_AT] >> 4 != 4 || header < 20)
        return "IP version or header length";
    if (total < header || total > p->len - IP_AT)
        return "IP total length";
    if (fold(sum_words(p, IP_AT, header)) != 0xffff)
        return "IP header checksum";
    if (packet_get16(p, IP_AT + 6) & 0x3fff)
        return "IP fragment";
    return NULL;
}

static void
read_options(const struct packet *p, size_t at, size_t end, struct tcp_view *v)
{
    while (at < end && p->data[at] != 0) {
        if (p->data[at] == 1) {
            at++;
            continue;
        }
        if (at + 2 > end || p->data[at + 1] < 2 || at + p->data[at + 1] > end)
            return;
        if (p->data[at] == 2 && p->data[at + 1] == 4)
            v->mss = packet_get16(p, at + 2);
        if (p->data[at] == 3 && p->data[at + 1] == 3)
            v->wscale = p->data[at + 2];
        if (p->data[at] == 5)
            v->sack_blocks = (p->data[at + 1] - 2) / 8;
        at += p->data[at + 1];
    }
}

bool
packet_tcp(const struct packet *p, struct tcp_view *out)
{
    struct tcp_view v = {.wscale = -1};
    size_t end, header;

    if (!is_ipv4(p) || p->data[IP_AT] >> 4 != 4 || p->data[IP_AT + 9] != 6)
        return false;
    v.l4 = IP_AT + ip_header_len(p);
    end = IP_AT + (size_t)packet_get16(p, IP_AT + 2);
    if (end > p->len || v.l4 + 20 > end || packet_get16(p, IP_AT + 6) & 0x3fff)
        return false;
    header = (size_t)(p->data[v.l4 + 12] >> 4) * 4;
    if (header < 20 || v.l4 + header > end)
        return false;
    v.src = packet_get32(p, IP_AT + 12);
    v.dst = packet_get32(p, IP_AT + 16);
    v.sport = packet_get16(p, v.l4);
    v.dport = packet_get16(p, v.l4 + 2);
    v.seq = packet_get32(p, v.l4 + 4);
    v.ack = packet_get32(p, v.l4 + 8);
    v.flags = p->data[v.l4 + 13] & 63;
    v.window = packet_get16(p, v.l4 + 14);
    v.payload = v.l4 + header;
    v.payload_len = end - v.payload;
    read_options(p, v.l4 + 20, v.payload, &v);
    *out = v;
    return true;
}

static const char *
tcp_complaint(const struct packet *p, const struct tcp_view *v)
{
    size_t l4_len = v->payload - v->l4 + v->payload_len;

    if (p->csum == FRAME_CSUM_NONE && p->gso != FRAME_GSO_NONE)
        return "GSO without a partial checksum";
    if (p->gso != FRAME_GSO_NONE && p->gso_size == 0)
        return "GSO size 0";
    if (p->csum == FRAME_CSUM_NONE &&
        fold(sum_words(p, v->l4, l4_len) + pseudo_sum(p, l4_len)) != 0xffff)
        return "TCP checksum";
    if (p->csum != FRAME_CSUM_PARTIAL)
        return NULL;
    if (packet_get16(p, v->l4 + TCP_CSUM_AT) != fold(pseudo_sum(p, l4_len)))
        return "pseudo-header sum of a partial checksum";
    if (p->l4_offset != v->l4 || p->csum_offset != TCP_CSUM_AT || p->header_len != v->payload)
        return "offsets of a partial checksum";
    return NULL;
}

const char *
packet_complaint(const struct packet *p)
{
    struct tcp_view v;
    const char *complaint;

    if (p->len < PACKET_ETHER_LEN)
        return "shorter than an Ethernet header";
    if (packet_get16(p, 12) != 0x0800)
        return NULL;
    if (!is_ipv4(p))
        return "shorter than an IP header";
    complaint = ip_complaint(p);
    if (complaint)
        return complaint;
    if (p->data[IP_AT + 9] != 6)
        return NULL;
    return packet_tcp(p, &v) ? tcp_complaint(p, &v) : "TCP header length";
}

void
packet_complete_csum(struct packet *p)
{
    struct tcp_view v;

    if (p->csum != FRAME_CSUM_NONE && packet_tcp(p, &v))
        write_tcp_csum(p, v.l4, v.payload - v.l4 + v.payload_len);
    p->csum = FRAME_CSUM_NONE;
}

void
packet_make_partial(struct packet *p)
{
    struct tcp_view v;

    if (!packet_tcp(p, &v))
        return;
    packet_put16(p, v.l4 + TCP_CSUM_AT, fold(pseudo_sum(p, v.payload - v.l4 + v.payload_len)));
    p->csum = FRAME_CSUM_PARTIAL;
    p->l4_offset = (uint16_t)v.l4;
    p->csum_offset = TCP_CSUM_AT;
    p->header_len = (uint16_t)v.payload;
}

int
packet_cut(const struct packet *p, struct packet **out, int max)
{
    struct tcp_view v;
    int n = 0;
    bool tcp = packet_tcp(p, &v);

    assert(tcp && p->gso_size > 0);
    for (size_t at = 0; at < v.payload_len || n == 0; at += p->gso_size) {
        size_t left = v.payload_len - at, take = left < p->gso_size ? left : p->gso_size;
        struct packet *q = packet_new(v.payload + take);
        bool last = take == left;

        assert(n < max);
        memcpy(q->data, p->data, v.payload);
        memcpy(q->data + v.payload, p->data + v.payload + at, take);
        packet_put16(q, IP_AT + 2, (uint16_t)(v.payload + take - IP_AT));
        packet_put16(q, IP_AT + 4, (uint16_t)(packet_get16(p, IP_AT + 4) + n));
        packet_put32(q, v.l4 + 4, v.seq + (uint32_t)at);
        if (!last)
            q->data[v.l4 + 13] &= (uint8_t) ~(FIN | PSH);
        write_ip_csum(q);
        write_tcp_csum(q, v.l4, v.payload - v.l4 + take);
        out[n++] = q;
    }
    return n;
}

// What GRO demands of two neighbours: same flow, same options, same ACK, no gap.
static bool
is_mergeable(const struct packet *a, const struct tcp_view *va, const struct packet *b,
             const struct tcp_view *vb)
{
    size_t header = va->payload - va->l4;

    if (va->src != vb->src || va->dst != vb->dst || va->sport != vb->sport ||
        va->dport != vb->dport || va->l4 != IP_AT + 20 || vb->l4 != IP_AT + 20)
        return false;
    if (va->seq + va->payload_len != vb->seq || va->ack != vb->ack || va->window != vb->window)
        return false;
    if (va->flags != ACK || (vb->flags & ~(PSH | FIN)) != ACK)
        return false;
    if (va->payload_len == 0 || vb->payload_len == 0 || vb->payload - vb->l4 != header)
        return false;
    return memcmp(a->data + va->l4 + 20, b->data + vb->l4 + 20, header - 20) == 0;
}

bool
packet_merge(struct packet **a, const struct packet *b, size_t max_len)
{
    struct tcp_view va, vb;
    struct packet *p = *a;
    size_t size;

    if (packet_complaint(p) || packet_complaint(b) || !packet_tcp(p, &va) || !packet_tcp(b, &vb))
        return false;
    size = p->gso == FRAME_GSO_NONE ? va.payload_len : p->gso_size;
    if (!is_mergeable(p, &va, b, &vb) || b->gso != FRAME_GSO_NONE || vb.payload_len > size ||
        va.payload_len % size != 0 || va.payload + va.payload_len + vb.payload_len > max_len)
        return false;
    p = realloc(p, sizeof(*p) + va.payload + va.payload_len + vb.payload_len);
    assert(p);
    p->len = va.payload + va.payload_len + vb.payload_len;
    memcpy(p->data + va.payload + va.payload_len, b->data + vb.payload, vb.payload_len);
    p->data[va.l4 + 13] |= vb.flags;
    p->gso = FRAME_GSO_TCP4;
    p->gso_size = (uint16_t)size;
    packet_put16(p, IP_AT + 2, (uint16_t)(p->len - IP_AT));
    write_ip_csum(p);
    packet_make_partial(p);
    *a = p;
    return true;
}

bool
packet_corrupt(struct packet *p, struct rng *r)
{
    size_t end, bits, at;
    uint64_t len = rng_range(r, 1, 15);

    if (p->csum != FRAME_CSUM_NONE || !is_ipv4(p))
        return false;
    end = IP_AT + (size_t)packet_get16(p, IP_AT + 2);
    if (end > p->len)
        return false;
    bits = (end - IP_AT) * 8;
    at = rng_below(r, bits);
    if (rng_chance(r, 500000) || at + len > bits)
        len = 1;
    // first and last bit of the burst flip, those between as chance has it
    for (uint64_t i = 0; i < len; i++)
        if (i == 0 || i == len - 1 || rng_chance(r, 500000))
            p->data[IP_AT + (at + i) / 8] ^= (uint8_t)(0x80 >> (at + i) % 8);
    return true;
}
