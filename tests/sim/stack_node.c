// SPDX-License-Identifier: BSD-3-Clause
// Our stack as one side of the simulation. Drives it exactly as its header says and no further:
// time only by stack_next_deadline, frames poisoned after the flush, payload read as late as
// allowed. Callbacks and the user's side are stack_app.c's.

#include "stack_node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define IOV_MAX_IN      4
#define TIMER_RUNS_HERE 16 // timers() calls without the clock moving

// --- frames out ----------------------------------------------------------------------------------

static void
send_late(struct stack_node *n)
{
    for (int i = 0; i < n->late_count; i++) {
        struct late_frame *l = &n->late[i];
        size_t at = l->payload_at;

        for (int j = 0; j < l->payload_count; j++) {
            memcpy(l->packet->data + at, l->payload[j].iov_base, l->payload[j].iov_len);
            at += l->payload[j].iov_len;
        }
        world_emit(n->node.world, n->node.side, l->packet);
    }
    n->late_count = 0;
}

struct packet *
stack_node_packet(const struct frame *f)
{
    struct packet *p = packet_new(f->len);

    p->csum = f->csum;
    p->gso = f->gso;
    p->gso_size = f->gso_size;
    p->l4_offset = f->l4_offset;
    p->csum_offset = f->csum_offset;
    p->header_len = f->header_len;
    return p;
}

bool
stack_node_emit(struct stack_node *n, const struct frame *f)
{
    struct world *w = n->node.world;
    struct packet *p;
    bool late = n->node.plan->late_gather && n->flushing && n->late_count < STACK_TURN_MAX;
    size_t at = 0;

    if (f->iovcnt < 1 || f->iovcnt > FRAME_IOV_MAX)
        world_fail(w, "frame of %d iovecs", f->iovcnt);
    if (n->blocked || !link_takes(&w->link, n->node.side, w->now_us)) {
        n->blocked = true;
        return false;
    }
    p = stack_node_packet(f);
    for (int i = 0; i < f->iovcnt && !(late && i > 0); i++) {
        assert(at + f->iov[i].iov_len <= f->len);
        memcpy(p->data + at, f->iov[i].iov_base, f->iov[i].iov_len);
        at += f->iov[i].iov_len;
    }
    if (!late) {
        if (at != f->len)
            world_fail(w, "frame of %zu bytes says it has %zu", at, f->len);
        world_emit(w, n->node.side, p);
        return true;
    }
    n->late[n->late_count] = (struct late_frame){.packet = p, .payload_at = at};
    for (int i = 1; i < f->iovcnt; i++)
        n->late[n->late_count].payload[i - 1] = f->iov[i];
    n->late[n->late_count].payload_count = f->iovcnt - 1;
    n->late_count++;
    return true;
}

// --- what the world asks -------------------------------------------------------------------------

static void
release_turn(struct stack_node *n)
{
    for (int i = 0; i < n->turn_count; i++) {
        memset(n->turn[i]->data, 0xdb, n->turn[i]->len);
        free(n->turn[i]);
    }
    n->turn_count = 0;
}

static void
note_deadline(struct stack_node *n)
{
    uint64_t deadline = stack_next_deadline(n->stack);
    uint64_t was = n->deadline_us;

    n->deadline_us = deadline == UINT64_MAX          ? PLAN_NEVER
                     : deadline <= stack_node_now(n) ? n->node.world->now_us
                                                     : deadline - n->clock_offset;
    if (n->deadline_us != was)
        n->slack_us = rng_below(&n->node.rng, n->node.plan->timer_slack_us + 1);
}

static void
flush(struct node *node)
{
    struct stack_node *n = stack_node_of(node);

    n->flushing = true;
    STACK_CALL(stack_flush(n->stack, stack_node_now(n)));
    n->flushing = false;
    send_late(n);
    release_turn(n);
    note_deadline(n);
    if (guard_count() > 0)
        world_fail(node->world, "the stack allocates memory");
}

static void
input_one(struct stack_node *n, struct packet *p)
{
    struct iovec iov[IOV_MAX_IN];
    struct frame f = {.iov = iov,
                      .iovcnt = 1,
                      .len = p->len,
                      .csum = p->csum,
                      .gso = p->gso,
                      .gso_size = p->gso_size,
                      .l4_offset = p->l4_offset,
                      .csum_offset = p->csum_offset,
                      .header_len = p->header_len};
    size_t at = 0;

    tap_delivered(n->node.world, n->node.side, p);
    if (n->node.plan->split_iov)
        f.iovcnt = (int)rng_range(&n->node.rng, 1, IOV_MAX_IN);
    for (int i = 0; i < f.iovcnt; i++) {
        size_t left = p->len - at;
        size_t len = i == f.iovcnt - 1 ? left : rng_below(&n->node.rng, left + 1);

        iov[i] = (struct iovec){.iov_base = p->data + at, .iov_len = len};
        at += len;
    }
    STACK_CALL(stack_input(n->stack, &f, stack_node_now(n)));
}

static void
input(struct node *node, struct packet **batch, int count)
{
    struct stack_node *n = stack_node_of(node);

    for (int i = 0; i < count; i++) {
        if (n->turn_count == STACK_TURN_MAX)
            flush(node);
        n->turn[n->turn_count++] = batch[i];
        input_one(n, batch[i]);
    }
}

static void
timers(struct node *node)
{
    struct stack_node *n = stack_node_of(node);
    struct world *w = node->world;

    if (n->timer_runs_at != w->now_us)
        n->timer_runs_here = 0;
    n->timer_runs_at = w->now_us;
    if (++n->timer_runs_here > TIMER_RUNS_HERE)
        world_fail(w, "stack_next_deadline stays in the past: spinning");
    STACK_CALL(stack_timers(n->stack, stack_node_now(n)));
}

static uint64_t
deadline(const struct node *node)
{
    const struct stack_node *n = (const struct stack_node *)node;

    return n->deadline_us == PLAN_NEVER ? PLAN_NEVER : n->deadline_us + n->slack_us;
}

static void
unblock(struct node *node)
{
    struct stack_node *n = stack_node_of(node);

    n->blocked = false;
    STACK_CALL(stack_unblock(n->stack));
}

static uint32_t
live(const struct node *node)
{
    return stack_conn_count(((const struct stack_node *)node)->stack);
}

static void
poll(struct node *node)
{
    (void)node;
}

static void
link_down(struct node *node)
{
    struct stack_node *n = stack_node_of(node);

    STACK_CALL(stack_link_down(n->stack));
    n->blocked = false;
    if (live(node) != 0)
        world_fail(node->world, "%u conns left after stack_link_down", live(node));
}

static void
set_link(struct node *node)
{
    const struct node_plan *p = node->plan;

    STACK_CALL(stack_set_link(stack_node_of(node)->stack, p->mtu, p->csum_offload, p->tso, false));
    stack_node_of(node)->blocked = false;
}

static void
settle(struct node *node)
{
    struct stack_node *n = stack_node_of(node);

    for (uint32_t i = 0; i < STACK_CONNS_MAX; i++)
        if (n->slot[i].use != SLOT_FREE)
            world_fail(node->world, "conn %u was never closed", i);
    uint64_t last = stack_next_deadline(n->stack); // it gives back the memory of its rings
    if (last != UINT64_MAX)
        STACK_CALL(stack_timers(n->stack, last));
    if (stack_next_deadline(n->stack) != UINT64_MAX)
        world_fail(node->world, "an idle stack has a deadline, %" PRId64 " us away",
                   (int64_t)(stack_next_deadline(n->stack) - stack_node_now(n)));
}

static void
node_free(struct node *node)
{
    struct stack_node *n = stack_node_of(node);

    release_turn(n);
    stack_free(n->stack);
    free(n);
}

static const struct node_ops ops = {
    .input = input,
    .timers = timers,
    .flush = flush,
    .deadline = deadline,
    .unblock = unblock,
    .live = live,
    .poll = poll,
    .link_down = link_down,
    .settle = settle,
    .free = node_free,
    .open = stack_app_open,
    .answer = stack_app_answer,
    .write = stack_app_write,
    .read = stack_app_read,
    .shutdown = stack_app_shutdown,
    .abort = stack_app_abort,
    .abort_after_send = stack_app_abort_after_send,
    .orphan = stack_app_orphan,
    .set_link = set_link,
};

struct stack_config
stack_node_config(const struct plan *plan, enum side side)
{
    const struct node_plan *p = &plan->node[side];

    return (struct stack_config){
        .mac = {{2, 0, 0, 0, 0, (uint8_t)(side + 1)}},
        .addr = stack_node_addr(side),
        .guest_addr = stack_node_addr(!side),
        .netmask = 0xffffff00,
        .mtu = p->mtu,
        .csum_offload = p->csum_offload,
        .tso = p->tso,
        .max_conns = PLAN_FLOWS_MAX + STACK_CONNS_RESERVE,
        .max_half_open = PLAN_FLOWS_MAX + STACK_CONNS_RESERVE,
        .ring_bytes = p->ring_bytes,
        .secret = {plan->secret[side][0], plan->secret[side][1]},
    };
}

struct node *
stack_node_new(struct world *w, enum side side)
{
    struct stack_node *n = calloc(1, sizeof(*n));
    struct stack_config config = stack_node_config(&w->plan, side);

    assert(n && config.max_conns <= STACK_CONNS_MAX);
    n->node = (struct node){.ops = &ops, .world = w, .side = side, .plan = &w->plan.node[side]};
    n->node.rng = rng_fork(w->plan.seed, 10 + (uint64_t)side);
    n->deadline_us = PLAN_NEVER;
    n->clock_offset = stack_node_wrap_offset(&w->plan, side);
    n->stack = stack_new(&config, &stack_node_callbacks, n, stack_node_now(n));
    assert(n->stack);
    return &n->node;
}
