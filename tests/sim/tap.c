// SPDX-License-Identifier: BSD-3-Clause
// Judges the wire at our stack's own port, so that a fault is seen where it is made and not where
// it has led to.

#include "tap.h"

#include "node.h"
#include "world.h"

#include <string.h>

enum {
    FIN = 1,
    SYN = 2,
    RST = 4,
    ACK = 16,
};

static struct tap_flow *
find(struct world *w, uint16_t host_port, uint16_t guest_port)
{
    for (int i = 0; i < TAP_FLOWS_MAX; i++) {
        struct tap_flow *t = &w->tap.flow[i];

        if (t->guest_port == 0)
            *t = (struct tap_flow){.host_port = host_port, .guest_port = guest_port};
        if (t->host_port == host_port && t->guest_port == guest_port)
            return t;
    }
    return NULL;
}

static struct tap_flow *
find_for(struct world *w, enum side from, const struct tcp_view *v)
{
    return from == HOST ? find(w, v->sport, v->dport) : find(w, v->dport, v->sport);
}

static void
note_syn(struct tap_flow *t, enum side from, const struct tcp_view *v)
{
    struct tap_way *way = &t->way[from];

    if (way->syn_seen && way->isn == v->seq)
        return;
    *way = (struct tap_way){.syn_seen = true, .isn = v->seq, .wscale = v->wscale};
    way->mss = v->mss ? v->mss : 536;
}

static uint32_t
edge_of(const struct tap_flow *t, enum side from, const struct tcp_view *v)
{
    bool scaled = t->way[HOST].wscale >= 0 && t->way[GUEST].wscale >= 0 && !(v->flags & SYN);

    return v->ack + ((uint32_t)v->window << (scaled ? t->way[from].wscale : 0));
}

static void
judge_frame(struct world *w, enum side from, const struct packet *p)
{
    const struct node_plan *plan = &w->plan.node[from];
    const char *complaint = packet_complaint(p);

    if (complaint)
        world_fail(w, "emitted frame is wrong: %s", complaint);
    if (p->csum == FRAME_CSUM_PARTIAL && !plan->csum_offload)
        world_fail(w, "partial checksum on a link that takes none");
    if (p->gso != FRAME_GSO_NONE && !plan->tso)
        world_fail(w, "super-frame on a link that takes none");
    if (packet_get16(p, 12) == 0x0800 && p->gso == FRAME_GSO_NONE &&
        packet_get16(p, 16) > plan->mtu)
        world_fail(w, "IP packet of %u bytes at MTU %u", packet_get16(p, 16), plan->mtu);
}

// The payload and the FIN must be the stream's.
static void
judge_payload(struct world *w, enum side from, const struct tap_way *way, const struct packet *p,
              const struct tcp_view *v)
{
    struct flow *f = from == HOST ? world_find_flow(w, v->sport, v->dport)
                                  : world_find_flow(w, v->dport, v->sport);
    uint32_t at = v->seq - way->isn - 1;
    struct end *e;

    if (!f || f->end[from].conn == UINT32_MAX)
        return;
    e = &f->end[from];
    if (v->payload_len > 0 && (uint64_t)at + v->payload_len > e->sent)
        world_fail(w, "flow %d: payload beyond what was written", f->index);
    if (end_check(e, at, p->data + v->payload, v->payload_len) < v->payload_len)
        world_fail(w, "flow %d: payload on the wire is not the stream's", f->index);
    if (v->flags & FIN && (!e->fin_sent || at + v->payload_len != (uint32_t)e->sent))
        world_fail(w, "flow %d: FIN in the wrong place", f->index);
}

static void
judge_sizes(struct world *w, const struct tap_way *peer, const struct packet *p,
            const struct tcp_view *v)
{
    uint32_t end = v->seq + (uint32_t)v->payload_len;

    if (!peer->syn_seen || v->payload_len == 0)
        return;
    if (p->gso == FRAME_GSO_NONE && v->payload_len > peer->mss)
        world_fail(w, "segment of %zu bytes, the peer's MSS is %u", v->payload_len, peer->mss);
    if (p->gso != FRAME_GSO_NONE && p->gso_size > peer->mss)
        world_fail(w, "GSO size %u, the peer's MSS is %u", p->gso_size, peer->mss);
    // one byte beyond is a window probe
    if (peer->edge_known && (int32_t)(end - peer->right_edge) > 1)
        world_fail(w, "%d bytes beyond the peer's window", (int32_t)(end - peer->right_edge));
}

static void
judge_window(struct world *w, enum side from, struct tap_flow *t, const struct tcp_view *v)
{
    struct tap_way *way = &t->way[from];
    struct flow *f = world_find_flow(w, t->host_port, t->guest_port);
    uint32_t edge = edge_of(t, from, v);
    int32_t slack = way->wscale > 0 ? 1 << way->wscale : 1;

    if (!(v->flags & ACK) || v->flags & RST)
        return;
    // a SYN has 16 bits for its window, whatever was said before it was sent again
    if (v->flags & SYN && way->told_known)
        return;
    // an end that will be reset takes nothing more
    if (f && f->end[from].plan->finish == FINISH_ABORT_AFTER_SEND)
        return;
    if (way->told_known && (int32_t)(edge - way->told_edge) < -slack)
        world_fail(w, "window's right edge moved back by %d", (int32_t)(way->told_edge - edge));
    way->told_edge = edge;
    way->told_known = true;
}

void
tap_emitted(struct world *w, enum side from, const struct packet *p)
{
    struct tcp_view v;
    struct tap_flow *t;

    judge_frame(w, from, p);
    if (!packet_tcp(p, &v))
        return;
    t = find_for(w, from, &v);
    if (!t)
        return;
    if (v.flags & SYN)
        note_syn(t, from, &v);
    // A RST may answer a connection that is no more, in that one's numbers.
    if (!t->way[from].syn_seen || v.flags & RST)
        return;
    judge_sizes(w, &t->way[!from], p, &v);
    judge_payload(w, from, &t->way[from], p, &v);
    judge_window(w, from, t, &v);
}

void
tap_delivered(struct world *w, enum side to, const struct packet *p)
{
    enum side from = to == HOST ? GUEST : HOST;
    struct tap_way *way;
    struct tap_flow *t;
    struct tcp_view v;
    uint32_t edge;

    if (packet_complaint(p) || !packet_tcp(p, &v))
        return;
    t = find_for(w, from, &v);
    if (!t)
        return;
    if (v.flags & SYN)
        note_syn(t, from, &v);
    if (!(v.flags & ACK) || v.flags & RST)
        return;
    way = &t->way[from];
    edge = edge_of(t, from, &v);
    if (!way->edge_known || (int32_t)(edge - way->right_edge) > 0)
        way->right_edge = edge;
    way->edge_known = true;
}
