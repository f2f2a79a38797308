// SPDX-License-Identifier: BSD-3-Clause
// Draws a plan from a seed. Proportions matter here: most seeds must be fast and mostly healthy, so
// that a fault of the stack is not drowned in faults of the link.

#include "plan.h"

#include "rng.h"

#include <stdio.h>
#include <string.h>

#define MS 1000u
#define S  1000000u

static uint32_t
percent(struct rng *r, uint32_t max)
{
    return (uint32_t)rng_range(r, 0, (uint64_t)max * 10000);
}

static bool
one_in(struct rng *r, uint64_t n)
{
    return rng_below(r, n) == 0;
}

static void
draw_impairments(struct rng *r, struct link_plan *l, enum link_class class)
{
    uint32_t max = class == LINK_HARSH ? 30 : 3;

    if (class == LINK_CALM)
        return;
    if (!one_in(r, 4))
        l->loss_ppm = percent(r, max);
    if (one_in(r, 2))
        l->duplicate_ppm = percent(r, max);
    if (one_in(r, 2))
        l->reorder_ppm = percent(r, max);
    if (one_in(r, 3))
        l->corrupt_ppm = percent(r, max / 3);
    if (one_in(r, 6))
        l->truncate_ppm = percent(r, max / 3);
    l->in_order = one_in(r, 2);
    if (one_in(r, 4))
        l->queue_bytes = rng_log(r, 8192, 1 << 20);
    if (one_in(r, 8)) {
        l->blackout_from_us = rng_range(r, 0, 3 * S);
        l->blackout_until_us = l->blackout_from_us + rng_log(r, 10 * MS, 6 * S);
    }
}

static void
draw_link(struct rng *r, struct link_plan *l, enum link_class class)
{
    l->in_order = true;
    if (!one_in(r, 5))
        l->delay_us = rng_log(r, 10, 50 * MS);
    if (one_in(r, 2))
        l->jitter_us = rng_range(r, 0, l->delay_us);
    if (!one_in(r, 3))
        l->bytes_per_s = rng_log(r, 1000 * 1000, 1u << 30);
    if (one_in(r, 3))
        l->pad_ppm = percent(r, 50);
    if (one_in(r, 4)) {
        l->refuse_ppm = percent(r, 10);
        l->refuse_max_us = rng_log(r, 10, 20 * MS);
    }
    l->cut_gso = one_in(r, 2);
    l->merge = one_in(r, 3);
    l->partial = one_in(r, 4);
    draw_impairments(r, l, class);
}

static void
draw_node(struct rng *r, struct node_plan *n)
{
    static const uint16_t mtus[] = {576, 1280, 1400, 1492, 1500, 1500, 1500, 9000, 65520};

    n->mtu = mtus[rng_below(r, sizeof(mtus) / sizeof(mtus[0]))];
    n->csum_offload = one_in(r, 2);
    n->tso = n->csum_offload && one_in(r, 2);
    n->ring_bytes = 4096u << rng_below(r, 8);
    n->batch_us = one_in(r, 2) ? 0 : rng_log(r, 1, 2 * MS);
    n->timer_slack_us = one_in(r, 3) ? rng_log(r, 1, 10 * MS) : 0;
    n->early_timer_ppm = one_in(r, 3) ? percent(r, 20) : 0;
    n->split_iov = one_in(r, 3);
    n->late_gather = one_in(r, 2);
}

static uint64_t
draw_bytes(struct rng *r, enum link_class class)
{
    static const uint64_t most[] = {1 << 19, 1 << 17, 1 << 15};

    if (one_in(r, 8))
        return 0;
    return rng_log(r, 1, one_in(r, 4) ? most[class] : most[class] / 8);
}

static void
draw_end(struct rng *r, struct end_plan *e, enum link_class class)
{
    e->bytes = draw_bytes(r, class);
    e->write_max = one_in(r, 3) ? rng_log(r, 1, 2000) : rng_log(r, 500, 1 << 18);
    if (e->bytes / e->write_max > 3000)
        e->write_max = e->bytes / 3000;
    e->read_max = one_in(r, 3) ? rng_log(r, 1, 2000) : rng_log(r, 500, 1 << 18);
    if (one_in(r, 3)) {
        e->write_pause_ppm = percent(r, 100);
        e->write_pause_us = rng_log(r, 1, 500 * MS);
    }
    if (one_in(r, 3)) {
        e->read_pause_ppm = percent(r, 100);
        e->read_pause_us = rng_log(r, 1, one_in(r, 4) ? 20 * S : 500 * MS);
    }
    e->pauses_us = rng_log(r, 1 * S, 30 * S);
    if (class == LINK_CALM && one_in(r, 20)) { // a host program that hangs, and comes back
        e->read_pause_ppm = percent(r, 100);
        e->read_pause_us = 2000 * (uint64_t)S;
        e->pauses_us = 3000 * (uint64_t)S;
    }
    e->finish_delay_us = one_in(r, 3) ? rng_log(r, 1, 5 * S) : 0;
    e->finish = one_in(r, 3) ? FINISH_AFTER_PEER : FINISH_SHUTDOWN;
}

// Two ends that wait for each other's FIN would wait for ever.
static void
settle_finish(struct rng *r, struct flow_plan *f, enum peer_kind peer)
{
    struct end_plan *e = &f->end[rng_below(r, 2)];

    if (f->end[0].finish == FINISH_AFTER_PEER && f->end[1].finish == FINISH_AFTER_PEER)
        e->finish = FINISH_SHUTDOWN;
    if (one_in(r, 8)) {
        e->finish = FINISH_ABORT;
        e->abort_sent = rng_range(r, 0, e->bytes);
        e->abort_received = rng_range(r, 0, f->end[e == f->end].bytes);
        e->abort_in_callback = one_in(r, 2);
        return;
    }
    e = peer == PEER_LWIP ? &f->end[HOST] : e;
    if (one_in(r, 16)) {
        e->finish = FINISH_ABORT_AFTER_SEND;
    } else if (one_in(r, 20)) {
        e->finish = FINISH_ORPHAN;
        e = &f->end[e == f->end];
        e->finish = FINISH_SHUTDOWN;
        e->finish_delay_us = one_in(r, 2) ? PLAN_ORPHAN_LATE_US : e->finish_delay_us;
    }
}

static void
draw_flow(struct rng *r, struct plan *p, int i)
{
    struct flow_plan *f = &p->flow[i];
    uint16_t n = (uint16_t)i;

    f->start_us = one_in(r, 2) ? 0 : rng_range(r, 0, 2 * S);
    f->opener = one_in(r, 3) ? HOST : GUEST;
    f->fate = one_in(r, 12) ? FATE_CLOSED_PORT : FATE_ACCEPTED;
    if (f->fate == FATE_ACCEPTED && one_in(r, 12))
        f->fate = FATE_REJECTED;
    f->answer_delay_us = one_in(r, 2) ? 0 : rng_log(r, 1, 3 * S);
    f->any_port = one_in(r, 4);
    f->guest_port = f->opener == HOST ? (uint16_t)(PLAN_GUEST_LISTEN + n)
                                      : (uint16_t)(20000 + n + rng_below(r, 1000) * 20);
    f->host_port = f->opener == GUEST ? (uint16_t)(PLAN_HOST_PORT + rng_below(r, 4))
                                      : (uint16_t)(30000 + n + rng_below(r, 1000) * 20);
    if (f->fate == FATE_CLOSED_PORT && f->opener == GUEST)
        f->host_port = PLAN_CLOSED_PORT;
    if (f->fate == FATE_CLOSED_PORT && f->opener == HOST)
        f->guest_port = (uint16_t)(PLAN_CLOSED_PORT - n);
    if (f->any_port && f->opener == GUEST)
        f->guest_port = 0;
    if (f->any_port && f->opener == HOST)
        f->host_port = 0;
    // a lwIP listener cannot hold an answer back, nor refuse but by not listening
    if (f->fate == FATE_REJECTED && f->opener == HOST && p->peer == PEER_LWIP)
        f->fate = FATE_ACCEPTED;
    draw_end(r, &f->end[HOST], p->class);
    draw_end(r, &f->end[GUEST], p->class);
    settle_finish(r, f, p->peer);
}

static void
draw_link_changes(struct rng *r, struct plan *p)
{
    p->link_down_us = one_in(r, 25) ? rng_log(r, 1, 3 * S) : PLAN_NEVER;
    p->set_link_us = one_in(r, 12) ? rng_log(r, 1, 3 * S) : PLAN_NEVER;
    p->link_after = p->node[HOST];
    p->link_after.csum_offload = one_in(r, 2);
    p->link_after.tso = p->link_after.csum_offload && one_in(r, 2);
    if (p->link_down_us != PLAN_NEVER) {
        p->set_link_us = p->link_down_us;
        p->link_after.mtu = one_in(r, 2) ? 576 : p->node[HOST].mtu;
    }
}

void
plan_make(struct plan *p, uint64_t seed, bool with_lwip)
{
    struct rng r = rng_fork(seed, 1);
    uint64_t class = rng_below(&r, 10);

    memset(p, 0, sizeof(*p));
    p->seed = seed;
    p->class = class < 4 ? LINK_CALM : class < 7 ? LINK_MILD : LINK_HARSH;
    p->peer = with_lwip && !one_in(&r, 3) ? PEER_LWIP : PEER_STACK;
    p->epoch_us = rng_below(&r, (uint64_t)1 << 44);
    for (int i = 0; i < 4; i++)
        p->secret[i / 2][i % 2] = rng_next(&r);
    for (int i = 0; i < 2; i++) {
        draw_link(&r, &p->link[i], p->class);
        draw_node(&r, &p->node[i]);
    }
    // lwIP takes what its wire can carry: whole frames, complete checksums
    if (p->peer == PEER_LWIP) {
        p->link[HOST].cut_gso = true;
        p->link[HOST].partial = p->link[HOST].merge = false;
        // and forgets its own MTU when our SYN comes twice: it would send fragments
        if (p->node[HOST].mtu > p->node[GUEST].mtu)
            p->node[HOST].mtu = p->node[GUEST].mtu;
    }
    p->wrap = one_in(&r, 3);
    p->wrap_after = (uint32_t)rng_log(&r, 1, 65536) - 1;
    draw_link_changes(&r, p);
    p->flow_count = one_in(&r, 3) ? 1 : (int)rng_range(&r, 1, PLAN_FLOWS_MAX);
    for (int i = 0; i < p->flow_count; i++)
        draw_flow(&r, p, i);
}

static unsigned
worst_ppm(const struct plan *p, uint32_t (*get)(const struct link_plan *))
{
    uint32_t a = get(&p->link[0]), b = get(&p->link[1]);

    return a > b ? a : b;
}

static uint32_t
lost_ppm(const struct link_plan *l)
{
    return l->loss_ppm + l->corrupt_ppm + l->truncate_ppm;
}

void
plan_describe(const struct plan *p, char *out, unsigned long size)
{
    static const char *const classes[] = {"calm", "mild", "harsh"};

    snprintf(out, size,
             "%s %s, %d flows, loss %.1f/%.1f%%, delay %llu/%llu us, mtu %u/%u, ring %u/%u%s%s%s",
             p->peer == PEER_LWIP ? "lwip" : "self", classes[p->class], p->flow_count,
             lost_ppm(&p->link[0]) / 1e4, lost_ppm(&p->link[1]) / 1e4,
             (unsigned long long)p->link[0].delay_us, (unsigned long long)p->link[1].delay_us,
             p->node[0].mtu, p->node[1].mtu, p->node[0].ring_bytes, p->node[1].ring_bytes,
             p->node[0].tso            ? ", tso"
             : p->node[0].csum_offload ? ", csum"
                                       : "",
             p->wrap ? ", wrap" : "", p->link_down_us != PLAN_NEVER ? ", link down" : "");
}

bool
plan_is_lossy(const struct plan *p)
{
    return worst_ppm(p, lost_ppm) > 40000 || p->link[0].queue_bytes || p->link[1].queue_bytes ||
           (p->class != LINK_CALM &&
            p->link[0].blackout_until_us + p->link[1].blackout_until_us > 0);
}

static uint64_t
slowest_rate(const struct plan *p)
{
    uint64_t rate = (uint64_t)1 << 30;

    for (int i = 0; i < 2; i++)
        if (p->link[i].bytes_per_s && p->link[i].bytes_per_s < rate)
            rate = p->link[i].bytes_per_s;
    return rate;
}

uint64_t
plan_bound_us(const struct plan *p)
{
    // a small ring, or a receiver that delays its ACK of a lone segment, makes windows of 2 KiB
    uint64_t rtt_us = p->link[0].delay_us + p->link[1].delay_us + p->link[0].jitter_us +
                      p->link[1].jitter_us + p->node[0].batch_us + p->node[1].batch_us + 500 * MS;
    uint64_t us = 30 * (uint64_t)S, bytes, pauses;

    // a peer that vanished is noticed by keep-alive only, after two hours
    if (p->class != LINK_CALM)
        return 12000 * (uint64_t)S;
    if (p->link_down_us != PLAN_NEVER)
        us += 500 * (uint64_t)S; // an idle guest does not notice: GRACE_US
    for (int i = 0; i < p->flow_count; i++) {
        const struct flow_plan *f = &p->flow[i];

        bytes = f->end[0].bytes + f->end[1].bytes;
        pauses = f->end[0].pauses_us + f->end[1].pauses_us + f->end[0].finish_delay_us +
                 f->end[1].finish_delay_us + f->answer_delay_us + f->start_us;
        us += bytes * S / slowest_rate(p) * 4 + bytes / 2048 * rtt_us + pauses * 2;
    }
    return us;
}
