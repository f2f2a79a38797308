// SPDX-License-Identifier: BSD-3-Clause
// Chooses where sequence numbers begin without knowing how the stack makes them: asks a stack of
// the same secret, then picks the time at which it would give the wanted one.

#include "stack_node.h"

#include <stdlib.h>
#include <string.h>

struct isn_probe {
    uint32_t isn;
    bool seen;
};

static bool
probe_emit(void *ctx, const struct frame *f)
{
    struct isn_probe *probe = ctx;
    struct packet *p = stack_node_packet(f);
    struct tcp_view v;
    size_t at = 0;

    for (int i = 0; i < f->iovcnt; i++) {
        memcpy(p->data + at, f->iov[i].iov_base, f->iov[i].iov_len);
        at += f->iov[i].iov_len;
    }
    if (packet_tcp(p, &v) && v.flags & 2) {
        probe->isn = v.seq;
        probe->seen = true;
    }
    free(p);
    return true;
}

static void
probe_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    (void)ctx;
    (void)conn;
    (void)peer;
}

static bool
probe_port(void *ctx, uint16_t port)
{
    (void)ctx;
    (void)port;
    return true;
}

// The ISN that a stack with this secret gives flow 0 at this time. Learned by asking one.
static struct isn_probe
isn_at(const struct plan *plan, enum side side, uint64_t at_us)
{
    static const struct stack_ops probe_ops = {
        .on_emit = probe_emit, .on_open = probe_open, .on_port = probe_port};
    struct isn_probe probe = {0};
    const struct flow_plan *f = &plan->flow[0];
    struct stack_config config = stack_node_config(plan, side);
    struct stack *s = stack_new(&config, &probe_ops, &probe, at_us);
    uint8_t arp[42] = {2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2};
    struct iovec iov = {arp, sizeof(arp)};
    struct frame frame = {.iov = &iov, .iovcnt = 1, .len = sizeof(arp)};
    uint32_t from = stack_node_addr(!side), to = stack_node_addr(side);

    arp[5] = arp[37] = (uint8_t)(side + 1);
    arp[11] = arp[27] = (uint8_t)(!side + 1);
    arp[22] = arp[32] = 2;
    for (int i = 0; i < 4; i++) {
        arp[28 + i] = (uint8_t)(from >> (24 - 8 * i));
        arp[38 + i] = (uint8_t)(to >> (24 - 8 * i));
    }
    stack_input(s, &frame, at_us);
    stack_connect(s, from, side == HOST ? f->guest_port : f->host_port,
                  side == HOST ? f->host_port : f->guest_port, at_us);
    stack_flush(s, at_us);
    stack_free(s);
    return probe;
}

uint64_t
stack_node_wrap_offset(const struct plan *plan, enum side side)
{
    struct isn_probe first, second;
    uint64_t offset;

    if (!plan->wrap)
        return 0;
    first = isn_at(plan, side, plan->epoch_us);
    if (!first.seen)
        return 0;
    // the ISN's clock ticks every 4 us (RFC 9293 3.4.1)
    offset = (uint64_t)(uint32_t)(0u - plan->wrap_after - first.isn) * 4;
    second = isn_at(plan, side, plan->epoch_us + offset);
    return second.isn == 0u - plan->wrap_after ? offset : 0;
}
