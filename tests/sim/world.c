// SPDX-License-Identifier: BSD-3-Clause
// The event loop of a simulated world. The clock jumps to the next thing that anybody has asked
// for; what nobody has asked for never happens, so a forgotten deadline is a hang, and is told.

#include "world.h"

#include "node.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX         64
#define STEPS_HERE_MAX    20000       // without the clock moving
#define IDLE_STEPS_MAX    200000      // without a byte or event of progress
#define SETTLE_US         200000000u  // TIME-WAIT and the like, after the last end has closed
#define MILD_PATIENCE_US  1000000000u // of a connection whose both ends are established
#define HARSH_PATIENCE_US 3000000000u
#define GRO_MAX_LEN       65000

void
world_fail(struct world *w, const char *format, ...)
{
    uint64_t us = w->now_us - w->plan.epoch_us;
    char plan[300];
    va_list args;

    if (w->last_emitted)
        trace_packet(&w->trace, w->now_us, w->last_from, "judged", w->last_emitted);
    plan_describe(&w->plan, plan, sizeof(plan));
    printf("seed %" PRIu64 ": at %" PRIu64 ".%06" PRIu64 " s: ", w->plan.seed, us / 1000000,
           us % 1000000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(" [%s]\n", plan);
    trace_fini(&w->trace);
    fflush(NULL);
    _Exit(1);
}

struct flow *
world_find_flow(struct world *w, uint16_t host_port, uint16_t guest_port)
{
    struct flow *unknown = NULL;

    for (int i = 0; i < w->plan.flow_count; i++) {
        struct flow *f = &w->flow[i];

        if (f->host_port == host_port && f->guest_port == guest_port)
            return f;
        // an ephemeral port is not known before the first frame has left
        if (f->started && ((f->host_port == 0 && f->guest_port == guest_port) ||
                           (f->guest_port == 0 && f->host_port == host_port)))
            unknown = f;
    }
    return unknown;
}

void
world_emit(struct world *w, enum side from, struct packet *p)
{
    if (from == HOST || w->plan.peer == PEER_STACK) {
        w->last_emitted = p;
        w->last_from = from;
        tap_emitted(w, from, p);
        w->last_emitted = NULL;
    }
    if (from == HOST)
        trace_capture(&w->trace, w->now_us, p);
    link_send(&w->link, from, p, w->now_us);
}

// --- one step ------------------------------------------------------------------------------------

static enum side
other(enum side s)
{
    return s == HOST ? GUEST : HOST;
}

static bool
is_ours(const struct world *w, enum side s)
{
    return s == HOST || w->plan.peer == PEER_STACK;
}

// Hands over what has arrived, in batches, neighbours merged where the plan has a NIC that does so.
static bool
deliver(struct world *w, enum side to)
{
    enum side from = other(to);
    struct packet *batch[BATCH_MAX], *p;
    int count = 0;

    while (count < BATCH_MAX && (p = link_receive(&w->link, from, w->now_us)) != NULL) {
        if (to == HOST)
            trace_capture(&w->trace, w->now_us, p);
        if (w->plan.link[from].merge && is_ours(w, to) && count > 0 &&
            packet_merge(&batch[count - 1], p, GRO_MAX_LEN))
            free(p);
        else
            batch[count++] = p;
    }
    if (count > 0)
        w->node[to]->ops->input(w->node[to], batch, count);
    return count > 0;
}

static void
start_flow(struct world *w, struct flow *f)
{
    struct end *e = &f->end[f->plan->opener];

    trace_line(&w->trace, w->now_us, "flow %d: %s opens, %s", f->index,
               f->plan->opener == HOST ? "host" : "guest",
               f->plan->fate == FATE_ACCEPTED ? "to be accepted" : "to be refused");
    f->started = true;
    end_opened(e);
    w->node[e->side]->ops->open(w->node[e->side], e);
}

static void
run_flows(struct world *w)
{
    for (int i = 0; i < w->plan.flow_count; i++) {
        struct flow *f = &w->flow[i];

        if (!f->started && w->plan.epoch_us + f->plan->start_us <= w->now_us)
            start_flow(w, f);
        for (int s = 0; s < 2; s++)
            if (end_next_us(&f->end[s]) <= w->now_us)
                end_run(&f->end[s]);
    }
}

static void
run_node(struct world *w, enum side s)
{
    struct node *n = w->node[s];
    bool early = is_ours(w, s) && rng_chance(&w->rng, n->plan->early_timer_ppm);
    bool timers_first = rng_chance(&w->rng, 500000);

    if (link_unblocks_at(&w->link, s) <= w->now_us) {
        link_unblocked(&w->link, s);
        n->ops->unblock(n);
    }
    if (timers_first && (early || n->ops->deadline(n) <= w->now_us))
        n->ops->timers(n);
    deliver(w, s);
    if (!timers_first && (early || n->ops->deadline(n) <= w->now_us))
        n->ops->timers(n);
}

static void
take_link_down(struct world *w)
{
    trace_line(&w->trace, w->now_us, "link down");
    w->plan.link_down_us = PLAN_NEVER;
    w->excuse_resets = true;
    for (int i = 0; i < w->plan.flow_count; i++)
        if (w->flow[i].started)
            w->flow[i].excused = true;
    w->node[HOST]->ops->link_down(w->node[HOST]);
}

static void
take_set_link(struct world *w)
{
    trace_line(&w->trace, w->now_us, "host link changes");
    w->plan.set_link_us = PLAN_NEVER;
    w->plan.node[HOST] = w->plan.link_after;
    w->node[HOST]->ops->set_link(w->node[HOST]);
}

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// The next instant that anybody wants.
static uint64_t
next_us(const struct world *w)
{
    uint64_t next = PLAN_NEVER;

    for (int s = 0; s < 2; s++) {
        uint64_t arrival = link_next_us(&w->link, other((enum side)s));

        next = earlier(next, w->node[s]->ops->deadline(w->node[s]));
        next = earlier(next, link_unblocks_at(&w->link, (enum side)s));
        if (arrival != PLAN_NEVER)
            next = earlier(next, arrival + w->plan.node[s].batch_us);
    }
    for (int i = 0; i < w->plan.flow_count; i++) {
        const struct flow *f = &w->flow[i];

        if (!f->started)
            next = earlier(next, w->plan.epoch_us + f->plan->start_us);
        next = earlier(next, end_next_us(&f->end[HOST]));
        next = earlier(next, end_next_us(&f->end[GUEST]));
    }
    if (w->plan.link_down_us != PLAN_NEVER)
        next = earlier(next, w->plan.epoch_us + w->plan.link_down_us);
    if (w->plan.set_link_us != PLAN_NEVER)
        next = earlier(next, w->plan.epoch_us + w->plan.set_link_us);
    return next;
}

static void
watch_for_spinning(struct world *w, uint64_t before_us, uint64_t progress)
{
    w->steps_here = w->now_us == before_us ? w->steps_here + 1 : 0;
    w->idle_steps = w->progress == progress ? w->idle_steps + 1 : 0;
    w->steps++;
    if (w->steps_here > STEPS_HERE_MAX)
        world_fail(w, "%d steps without the clock moving", STEPS_HERE_MAX);
    if (w->idle_steps > IDLE_STEPS_MAX)
        world_fail(w, "%d steps without progress", IDLE_STEPS_MAX);
}

static void
step(struct world *w)
{
    uint64_t before = w->now_us, progress = w->progress, next = next_us(w);

    if (next == PLAN_NEVER)
        world_fail(w, "nothing is left to happen, but connections are open");
    if (next > w->now_us)
        w->now_us = next;
    if (w->plan.link_down_us != PLAN_NEVER && w->plan.epoch_us + w->plan.link_down_us <= w->now_us)
        take_link_down(w);
    if (w->plan.set_link_us != PLAN_NEVER && w->plan.epoch_us + w->plan.set_link_us <= w->now_us)
        take_set_link(w);
    for (int s = 0; s < 2; s++)
        run_node(w, (enum side)s);
    run_flows(w);
    for (int s = 0; s < 2; s++) {
        w->node[s]->ops->flush(w->node[s]);
        w->node[s]->ops->poll(w->node[s]);
    }
    watch_for_spinning(w, before, progress);
}

// --- a run ---------------------------------------------------------------------------------------

static bool
is_done(const struct world *w)
{
    for (int i = 0; i < w->plan.flow_count; i++)
        if (!flow_is_done(&w->flow[i]))
            return false;
    return true;
}

static void
report_open(struct world *w)
{
    for (int i = 0; i < w->plan.flow_count; i++) {
        struct flow *f = &w->flow[i];

        for (int s = 0; s < 2; s++) {
            struct end *e = &f->end[s];

            if (e->opened && e->result == END_RUNNING)
                printf("flow %d %s: open, %" PRIu64 " of %" PRIu64 " sent, %" PRIu64 " of %" PRIu64
                       " received%s%s%s\n",
                       f->index, s == HOST ? "host" : "guest", e->sent, e->plan->bytes, e->received,
                       end_peer(e)->plan->bytes, e->fin_sent ? ", FIN sent" : "",
                       e->eof ? ", FIN seen" : "", e->write_blocked ? ", write blocked" : "");
        }
    }
}

// Keep-alive would rescue a connection whose other timers are forgotten, two hours later: so where
// both ends are there and nothing excuses them, patience is shorter than that.
static void
watch_patience(struct world *w)
{
    uint64_t patience_us = w->plan.class == LINK_MILD ? MILD_PATIENCE_US : HARSH_PATIENCE_US;

    if (w->plan.class == LINK_CALM) // plan_bound_us is tight there
        return;
    for (int i = 0; i < w->plan.flow_count; i++) {
        struct flow *f = &w->flow[i];
        bool waits = !f->excused;

        for (int s = 0; s < 2; s++) {
            struct end *e = &f->end[s];

            waits &= e->established && e->result == END_RUNNING && e->doom_us == PLAN_NEVER;
        }
        if (waits && w->now_us > w->plan.epoch_us + f->plan->start_us + patience_us) {
            report_open(w);
            world_fail(w, "flow %d: both ends are there, but it does not get on", i);
        }
    }
}

static void
run_to_end(struct world *w)
{
    uint64_t bound = w->plan.epoch_us + plan_bound_us(&w->plan);
    uint64_t bound_more = 0;

    while (!is_done(w)) {
        step(w);
        watch_patience(w);
        if (w->now_us > bound) {
            report_open(w);
            world_fail(w, "not finished in time");
        }
    }
    trace_line(&w->trace, w->now_us, "all connections have ended");
    for (int i = 0; i < w->plan.flow_count; i++)
        flow_judge(&w->flow[i]);
    bound_more = w->now_us + SETTLE_US;
    while (
        w->node[HOST]->ops->live(w->node[HOST]) + w->node[GUEST]->ops->live(w->node[GUEST]) > 0 ||
        link_next_us(&w->link, HOST) != PLAN_NEVER || link_next_us(&w->link, GUEST) != PLAN_NEVER) {
        step(w);
        if (w->now_us > bound_more)
            world_fail(w, "%u and %u connections remain", w->node[HOST]->ops->live(w->node[HOST]),
                       w->node[GUEST]->ops->live(w->node[GUEST]));
    }
    for (int s = 0; s < 2; s++)
        w->node[s]->ops->settle(w->node[s]);
}

int
world_run(uint64_t seed, const struct world_options *options)
{
    struct world *w = calloc(1, sizeof(*w));
    char plan[300];
    int excused = 0;

    if (!w)
        abort();
    plan_make(&w->plan, seed, options->with_lwip);
    w->now_us = w->plan.epoch_us;
    w->rng = rng_fork(seed, 3);
    if (!trace_init(&w->trace, options->trace, options->pcap, w->plan.epoch_us))
        world_fail(w, "cannot write %s", options->pcap);
    plan_describe(&w->plan, plan, sizeof(plan));
    trace_line(&w->trace, w->now_us, "seed %" PRIu64 ": %s", seed, plan);
    link_init(&w->link, &w->plan, &w->trace);
    w->node[HOST] = stack_node_new(w, HOST);
    w->node[GUEST] = w->plan.peer == PEER_LWIP ? lwip_node_new(w, GUEST) : stack_node_new(w, GUEST);
    for (int i = 0; i < w->plan.flow_count; i++)
        flow_init(&w->flow[i], w, i);
    run_to_end(w);
    for (int i = 0; i < w->plan.flow_count; i++)
        excused += w->flow[i].excused;
    for (int s = 0; s < 2; s++)
        w->node[s]->ops->free(w->node[s]);
    link_fini(&w->link);
    trace_fini(&w->trace);
    free(w);
    return excused;
}
