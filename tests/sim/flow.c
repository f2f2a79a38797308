// SPDX-License-Identifier: BSD-3-Clause
// The applications and their judge. An application only writes, reads, pauses, finishes and aborts
// as its plan says; every callback of a node comes through here and is checked against what the
// other end did.

#include "flow.h"

#include "node.h"
#include "world.h"

#include <inttypes.h>
#include <string.h>

#define GRACE_US      400000000u // for an end whose peer is gone, when the news may be lost
#define PEER_FAULT_US 30000000u  // for both ends, after lwIP spoilt their connection

void
flow_init(struct flow *f, struct world *w, int index)
{
    *f = (struct flow){.world = w, .plan = &w->plan.flow[index], .index = index};
    f->host_port = f->plan->host_port;
    f->guest_port = f->plan->guest_port;
    for (int side = 0; side < 2; side++) {
        uint64_t actor = 1000 + (uint64_t)index * 2 + (uint64_t)side;
        struct end *e = &f->end[side];

        *e = (struct end){.flow = f, .side = (enum side)side, .plan = &f->plan->end[side]};
        e->node = w->node[side];
        e->rng = rng_fork(w->plan.seed, actor);
        e->key = rng_mix(w->plan.seed * 31 + actor);
        e->conn = UINT32_MAX;
        e->next_write_us = e->next_read_us = e->answer_at_us = e->doom_us = PLAN_NEVER;
        e->pauses_left_us = e->plan->pauses_us;
    }
}

struct end *
end_peer(struct end *e)
{
    return &e->flow->end[e->side == HOST ? GUEST : HOST];
}

const char *
end_result_name(enum end_result r)
{
    static const char *const names[] = {"running", "clean",   "reset",   "timed out",
                                        "refused", "aborted", "evicted", "rejected"};

    return names[r];
}

static const char *
side_name(const struct end *e)
{
    return e->side == HOST ? "host" : "guest";
}

#define FAIL(e, format, ...)                                                                       \
    world_fail((e)->flow->world, "flow %d, %s end: " format, (e)->flow->index, side_name(e),       \
               ##__VA_ARGS__)
#define TRACE(e, format, ...)                                                                      \
    trace_line(&(e)->flow->world->trace, (e)->flow->world->now_us, "flow %d %s: " format,          \
               (e)->flow->index, side_name(e), ##__VA_ARGS__)

bool
flow_is_done(const struct flow *f)
{
    if (!f->started)
        return false;
    for (int i = 0; i < 2; i++)
        if (f->end[i].opened && f->end[i].result == END_RUNNING)
            return false;
    return true;
}

void
end_fill(const struct end *e, uint64_t at, void *out, size_t len)
{
    uint8_t *bytes = out;

    for (size_t i = 0; i < len; i++) {
        uint64_t word = rng_mix(e->key + (at + i) / 8 * 0x9e3779b97f4a7c15u);
        uint64_t from = (at + i) % 8, n = 8 - from < len - i ? 8 - from : len - i;

        word >>= from * 8;
        memcpy(bytes + i, &word, n);
        i += n - 1;
    }
}

size_t
end_check(const struct end *e, uint64_t at, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint8_t want[256];

    for (size_t i = 0; i < len; i += sizeof(want)) {
        size_t n = len - i < sizeof(want) ? len - i : sizeof(want);

        end_fill(e, at + i, want, n);
        for (size_t j = 0; memcmp(bytes + i, want, n) != 0 && j < n; j++)
            if (bytes[i + j] != want[j])
                return i + j;
    }
    return len;
}

static uint64_t
draw_pause(struct end *e, uint32_t ppm, uint64_t max_us)
{
    uint64_t us = rng_chance(&e->rng, ppm) ? 1 + rng_below(&e->rng, max_us) : 0;

    if (us > e->pauses_left_us)
        us = e->pauses_left_us;
    e->pauses_left_us -= us;
    return us;
}

uint64_t
end_next_us(const struct end *e)
{
    uint64_t next = e->next_write_us;

    if (!e->opened || e->result != END_RUNNING)
        return PLAN_NEVER;
    if (e->abort_pending)
        return e->flow->world->now_us;
    if (e->answer_at_us != PLAN_NEVER)
        return e->answer_at_us;
    if (e->next_read_us < next)
        next = e->next_read_us;
    return e->doom_us < next ? e->doom_us : next;
}

// --- finishing -----------------------------------------------------------------------------------

static void
abort_now(struct end *e)
{
    TRACE(e, "abort after %" PRIu64 " sent, %" PRIu64 " received", e->sent, e->received);
    e->abort_pending = false;
    e->node->ops->abort(e->node, e);
    if (e->result == END_RUNNING)
        FAIL(e, "abort did not close the connection");
}

static bool
is_abort_due(const struct end *e)
{
    return e->plan->finish == FINISH_ABORT && e->established && e->result == END_RUNNING &&
           e->sent >= e->plan->abort_sent && e->received >= e->plan->abort_received;
}

static void
finish(struct end *e)
{
    if (e->fin_sent || e->result != END_RUNNING)
        return;
    switch (e->plan->finish) {
    case FINISH_ABORT:
        return; // is_abort_due tells
    case FINISH_AFTER_PEER:
        if (!e->eof)
            return;
        break;
    case FINISH_SHUTDOWN:
        break;
    case FINISH_ABORT_AFTER_SEND:
        TRACE(e, "abort after send of %" PRIu64, e->sent);
        e->fin_sent = true;
        e->node->ops->abort_after_send(e->node, e);
        return;
    case FINISH_ORPHAN:
        TRACE(e, "orphaned after %" PRIu64 " bytes", e->sent);
        e->fin_sent = true;
        e->node->ops->orphan(e->node, e);
        return;
    }
    TRACE(e, "shutdown after %" PRIu64 " bytes", e->sent);
    e->fin_sent = true;
    e->node->ops->shutdown(e->node, e);
}

// --- writing and reading -------------------------------------------------------------------------

static void
run_writer(struct end *e)
{
    uint64_t now = e->flow->world->now_us;

    while (e->result == END_RUNNING && !e->write_blocked && e->next_write_us <= now) {
        uint64_t left = e->plan->bytes - e->sent, want;
        size_t n;

        if (left == 0) {
            e->next_write_us = PLAN_NEVER;
            finish(e);
            return;
        }
        want = rng_range(&e->rng, 1, e->plan->write_max);
        n = e->node->ops->write(e->node, e, want < left ? want : left);
        e->sent += n;
        if (n == 0) {
            e->write_blocked = true;
            e->next_write_us = PLAN_NEVER;
            return;
        }
        e->next_write_us = now + draw_pause(e, e->plan->write_pause_ppm, e->plan->write_pause_us);
        if (e->sent == e->plan->bytes && e->plan->finish_delay_us)
            e->next_write_us = now + e->plan->finish_delay_us;
        if (is_abort_due(e))
            return;
    }
}

static void
run_reader(struct end *e)
{
    uint64_t now = e->flow->world->now_us;

    while (e->result == END_RUNNING && e->next_read_us <= now) {
        e->next_read_us = PLAN_NEVER;
        if (e->node->ops->read(e->node, e) && e->result == END_RUNNING &&
            e->next_read_us == PLAN_NEVER)
            e->next_read_us = now;
    }
}

static void
run_doom(struct end *e)
{
    struct world *w = e->flow->world;

    e->doom_us = PLAN_NEVER;
    // The news of a reset is one segment that may be lost, and an idle end never asks.
    if (w->plan.class == LINK_CALM && e->plan->read_pause_ppm == 0 && !w->excuse_resets &&
        !e->flow->peer_fault)
        FAIL(e, "still open although the peer's end is gone (%s)",
             end_result_name(end_peer(e)->result));
    abort_now(e);
}

static void
run_answer(struct end *e)
{
    e->answer_at_us = PLAN_NEVER;
    e->node->ops->answer(e->node, e, e->flow->plan->fate == FATE_ACCEPTED);
}

void
end_run(struct end *e)
{
    uint64_t now = e->flow->world->now_us;

    if (!e->opened || e->result != END_RUNNING)
        return;
    if (e->answer_at_us <= now)
        run_answer(e);
    run_reader(e);
    if (e->established)
        run_writer(e);
    if (e->abort_pending || is_abort_due(e))
        abort_now(e);
    if (e->result == END_RUNNING && e->doom_us <= now)
        run_doom(e);
}

// --- what nodes report ---------------------------------------------------------------------------

void
end_opened(struct end *e)
{
    if (e->result != END_RUNNING)
        FAIL(e, "opened after it was %s", end_result_name(e->result));
    e->opened = true;
}

void
end_established(struct end *e)
{
    uint64_t now = e->flow->world->now_us;

    TRACE(e, "established");
    if (e->established)
        FAIL(e, "established twice");
    if (e->flow->plan->fate != FATE_ACCEPTED)
        FAIL(e, "established although it was to be refused");
    e->established = true;
    e->next_write_us = now + draw_pause(e, e->plan->write_pause_ppm, e->plan->write_pause_us);
    if (e->plan->bytes == 0)
        e->next_write_us = now + e->plan->finish_delay_us;
    if (e->next_read_us == PLAN_NEVER)
        e->next_read_us = now;
}

void
end_writable(struct end *e)
{
    e->write_blocked = false;
    if (e->next_write_us == PLAN_NEVER)
        e->next_write_us = e->flow->world->now_us;
}

size_t
end_read_budget(struct end *e, size_t offered)
{
    uint64_t want = rng_range(&e->rng, 1, e->plan->read_max);

    if (e->next_read_us != PLAN_NEVER && e->next_read_us > e->flow->world->now_us)
        return 0;
    return want < offered ? want : offered;
}

void
end_bytes(struct end *e, const void *data, size_t len)
{
    struct end *peer = end_peer(e);
    size_t good = end_check(peer, e->received, data, len);

    if (!e->established)
        FAIL(e, "data before the connection is established");
    if (e->eof)
        FAIL(e, "%zu bytes behind the FIN", len);
    if (good < len)
        FAIL(e, "wrong byte at position %" PRIu64, e->received + good);
    e->received += len;
    if (e->received > peer->sent)
        FAIL(e, "%" PRIu64 " bytes received, only %" PRIu64 " were sent", e->received, peer->sent);
    if (is_abort_due(e))
        e->abort_pending = true;
}

void
end_read_done(struct end *e)
{
    uint64_t pause = draw_pause(e, e->plan->read_pause_ppm, e->plan->read_pause_us);

    if (e->next_read_us == PLAN_NEVER || e->next_read_us <= e->flow->world->now_us)
        e->next_read_us = pause ? e->flow->world->now_us + pause : PLAN_NEVER;
}

void
end_readable(struct end *e)
{
    if (e->next_read_us == PLAN_NEVER)
        e->next_read_us = e->flow->world->now_us;
}

void
end_eof(struct end *e)
{
    struct end *peer = end_peer(e);

    if (e->eof)
        return;
    TRACE(e, "end of stream after %" PRIu64 " bytes", e->received);
    if (!peer->fin_sent)
        FAIL(e, "FIN that the peer never sent");
    if (e->received != peer->sent && !e->flow->peer_fault)
        FAIL(e, "FIN after %" PRIu64 " of %" PRIu64 " bytes", e->received, peer->sent);
    e->eof = true;
    if (e->plan->finish == FINISH_AFTER_PEER && !e->fin_sent && !e->write_blocked &&
        e->next_write_us == PLAN_NEVER)
        e->next_write_us = e->flow->world->now_us;
}

void
end_closed(struct end *e, enum end_result result)
{
    struct world *w = e->flow->world;
    struct end *peer = end_peer(e);

    TRACE(e, "closed: %s (%" PRIu64 " sent, %" PRIu64 " received)", end_result_name(result),
          e->sent, e->received);
    if (e->result != END_RUNNING)
        FAIL(e, "closed twice: %s, then %s", end_result_name(e->result), end_result_name(result));
    if (result == END_CLEAN && (!e->fin_sent || !e->eof))
        FAIL(e, "closed in order with %s missing", e->fin_sent ? "the peer's FIN" : "our FIN");
    e->result = result;
    if (result != END_CLEAN && peer->result == END_RUNNING)
        peer->doom_us = w->now_us + GRACE_US;
}

void
flow_peer_fault(struct flow *f)
{
    if (f->peer_fault)
        return;
    TRACE(&f->end[GUEST], "lwIP's fault: excused");
    f->peer_fault = f->excused = true;
    for (int i = 0; i < 2; i++)
        f->end[i].doom_us = f->world->now_us + PEER_FAULT_US;
}

// --- the verdict ---------------------------------------------------------------------------------

static void
judge_refused(struct flow *f)
{
    struct end *opener = &f->end[f->plan->opener], *other = end_peer(opener);

    if (opener->result == END_REFUSED || f->excused)
        return;
    if (opener->result == END_TIMED_OUT && plan_is_lossy(&f->world->plan)) {
        f->excused = true;
        return;
    }
    FAIL(opener, "was to be refused, but is %s (other end: %s)", end_result_name(opener->result),
         end_result_name(other->result));
}

static bool
is_give_up(const struct end *e)
{
    return e->result == END_TIMED_OUT || e->result == END_RESET || e->result == END_REFUSED ||
           (e->opened && e->result == END_ABORTED) || !e->opened;
}

void
flow_judge(struct flow *f)
{
    struct end *h = &f->end[HOST], *g = &f->end[GUEST];
    bool aborts = false;

    for (int i = 0; i < 2; i++)
        aborts |= f->end[i].plan->finish >= FINISH_ABORT;
    if (f->plan->fate != FATE_ACCEPTED) {
        judge_refused(f);
        return;
    }
    if (f->excused)
        return;
    for (int i = 0; i < 2; i++) {
        struct end *e = &f->end[i];

        if (e->plan->finish == FINISH_ORPHAN && e->result == END_CLEAN &&
            end_peer(e)->plan->finish_delay_us == PLAN_ORPHAN_LATE_US &&
            end_peer(e)->plan->read_pause_ppm == 0 && f->world->plan.class == LINK_CALM)
            FAIL(e, "an orphan outlived its minute");
        if (e->plan->finish == FINISH_ABORT_AFTER_SEND && e->fin_sent && e->result == END_ABORTED &&
            end_peer(e)->received != e->sent && end_peer(e)->plan->read_pause_ppm == 0 &&
            f->world->plan.peer == PEER_LWIP)
            FAIL(e, "abort after send, but the peer got %" PRIu64 " of %" PRIu64 " bytes",
                 end_peer(e)->received, e->sent);
    }
    if (aborts || (h->result == END_CLEAN && g->result == END_CLEAN))
        return;
    if (plan_is_lossy(&f->world->plan) && (is_give_up(h) || is_give_up(g))) {
        f->excused = true;
        return;
    }
    FAIL(h, "unexpected end: host %s, guest %s", end_result_name(h->result),
         end_result_name(g->result));
}
