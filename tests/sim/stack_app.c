// SPDX-License-Identifier: BSD-3-Clause
// The user of our stack in the simulation: its callbacks, each checked against what may happen, and
// what the ends ask of it. Turns and time are stack_node.c's.

#include "stack_node.h"

#include <assert.h>

static struct end *
end_of(struct stack_node *n, uint32_t conn, const char *callback)
{
    struct world *w = n->node.world;

    if (conn >= STACK_CONNS_MAX || n->slot[conn].use == SLOT_FREE)
        world_fail(w, "%s for conn %u, which is closed", callback, conn);
    if (n->slot[conn].use == SLOT_GHOST)
        world_fail(w, "%s for conn %u, which an old SYN made", callback, conn);
    return n->slot[conn].end;
}

// --- callbacks -----------------------------------------------------------------------------------

static bool
on_emit(void *ctx, const struct frame *f)
{
    bool was = guard_set(false), taken = stack_node_emit(ctx, f);

    guard_set(was);
    return taken;
}

static bool
on_port(void *ctx, uint16_t port)
{
    struct stack_node *n = ctx;

    if (n->node.side == HOST)
        return port >= PLAN_HOST_PORT && port <= PLAN_HOST_PORT_LAST;
    return port >= PLAN_GUEST_LISTEN && port < PLAN_GUEST_LISTEN + PLAN_FLOWS_MAX;
}

void
stack_app_answer(struct node *node, struct end *e, bool accept)
{
    struct stack_node *n = stack_node_of(node);
    uint32_t conn = e->conn;

    trace_line(&node->world->trace, node->world->now_us, "flow %d: %s", e->flow->index,
               accept ? "accept" : "reject");
    if (accept) {
        STACK_CALL(stack_accept(n->stack, conn, stack_node_now(n)));
        return;
    }
    n->slot[conn].use = SLOT_FREE;
    e->conn = STACK_NO_CONN;
    STACK_CALL(stack_reject(n->stack, conn, stack_node_now(n)));
    end_closed(e, END_REJECTED);
}

static void
opened(struct stack_node *n, uint32_t conn, const struct stack_peer *peer)
{
    struct world *w = n->node.world;
    struct flow *f;
    struct end *e;

    if (conn >= STACK_CONNS_MAX || n->slot[conn].use != SLOT_FREE)
        world_fail(w, "on_open for conn %u, which is in use", conn);
    f = n->node.side == HOST ? world_find_flow(w, peer->local_port, peer->port)
                             : world_find_flow(w, peer->port, peer->local_port);
    if (peer->addr != stack_node_addr(!n->node.side) || !f || f->plan->opener == n->node.side)
        world_fail(w, "on_open from nobody: port %u to %u", peer->port, peer->local_port);
    e = &f->end[n->node.side];
    if (e->result == END_REJECTED) { // the opener has not heard it yet
        STACK_CALL(stack_reject(n->stack, conn, stack_node_now(n)));
        return;
    }
    if (e->established || e->conn != STACK_NO_CONN) {
        n->slot[conn].use = SLOT_GHOST;
        trace_line(&w->trace, w->now_us, "flow %d: ghost conn %u", f->index, conn);
        STACK_CALL(stack_accept(n->stack, conn, stack_node_now(n)));
        return;
    }
    // a half-open one that timed out before is forgiven: the peer tries again
    e->result = END_RUNNING;
    end_peer(e)->doom_us = PLAN_NEVER;
    n->slot[conn] = (struct slot){.use = SLOT_END, .end = e};
    e->conn = conn;
    end_opened(e);
    if (f->plan->answer_delay_us)
        e->answer_at_us = w->now_us + f->plan->answer_delay_us;
    else
        stack_app_answer(&n->node, e, f->plan->fate == FATE_ACCEPTED);
}

static void
on_open(void *ctx, uint32_t conn, const struct stack_peer *peer)
{
    bool was = guard_set(false);

    opened(ctx, conn, peer);
    guard_set(was);
}

// The application's turn, inside the callback as often as after it.
static void
maybe_run(struct stack_node *n, struct end *e)
{
    if (rng_chance(&n->node.rng, 500000))
        end_run(e);
}

static void
on_established(void *ctx, uint32_t conn)
{
    struct stack_node *n = ctx;
    bool was = guard_set(false);
    struct end *e = end_of(n, conn, "on_established");

    n->node.world->progress++;
    end_established(e);
    maybe_run(n, e);
    guard_set(was);
}

static size_t
total(const struct iovec *iov, int iovcnt)
{
    size_t len = 0;

    for (int i = 0; i < iovcnt; i++)
        len += iov[i].iov_len;
    return len;
}

static void
take(struct end *e, const struct iovec *iov, size_t len)
{
    for (int i = 0; len > 0; i++) {
        size_t n = iov[i].iov_len < len ? iov[i].iov_len : len;

        end_bytes(e, iov[i].iov_base, n);
        len -= n;
    }
}

static size_t
data(struct stack_node *n, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    struct end *e = end_of(n, conn, "on_data");
    size_t offered = total(iov, iovcnt), taken;
    struct iovec kept[2];

    if (offered == 0)
        world_fail(n->node.world, "flow %d: on_data without data", e->flow->index);
    if (stack_recv_iov(n->stack, conn, kept) != 0)
        world_fail(n->node.world, "flow %d: on_data while bytes are kept", e->flow->index);
    taken = end_read_budget(e, offered);
    if (taken > 0) {
        n->node.world->progress++;
        take(e, iov, taken);
        end_read_done(e);
        if (e->abort_pending && e->plan->abort_in_callback) {
            e->abort_pending = false;
            STACK_CALL(stack_abort(n->stack, conn, stack_node_now(n)));
            return 0;
        }
    }
    if (taken < offered)
        end_readable(e);
    return taken;
}

static size_t
on_data(void *ctx, uint32_t conn, const struct iovec *iov, int iovcnt)
{
    bool was = guard_set(false);
    size_t taken = data(ctx, conn, iov, iovcnt);

    guard_set(was);
    return taken;
}

static void
on_readable(void *ctx, uint32_t conn)
{
    bool was = guard_set(false);
    struct stack_node *n = ctx;
    struct end *e = end_of(n, conn, "on_readable");

    // the end itself is told here or by the last consume: on_closed may follow at once
    if (stack_recv_at_end(n->stack, conn))
        end_eof(e);
    end_readable(e);
    maybe_run(n, e);
    guard_set(was);
}

static void
on_writable(void *ctx, uint32_t conn)
{
    struct stack_node *n = ctx;
    bool was = guard_set(false);
    struct end *e = end_of(n, conn, "on_writable");

    if (!e->write_blocked)
        world_fail(n->node.world, "flow %d: on_writable that was not asked for", e->flow->index);
    end_writable(e);
    maybe_run(n, e);
    guard_set(was);
}

static enum end_result
result_of(struct stack_node *n, enum stack_close_reason reason)
{
    static const enum end_result results[] = {
        [STACK_CLOSED] = END_CLEAN,        [STACK_RESET] = END_RESET,
        [STACK_TIMED_OUT] = END_TIMED_OUT, [STACK_ABORTED] = END_ABORTED,
        [STACK_REFUSED] = END_REFUSED,     [STACK_EVICTED] = END_EVICTED,
    };

    if (reason == STACK_EVICTED)
        world_fail(n->node.world, "evicted although there is room");
    return results[reason];
}

static void
on_closed(void *ctx, uint32_t conn, enum stack_close_reason reason)
{
    struct stack_node *n = ctx;
    bool was = guard_set(false);
    struct end *e = NULL;

    if (conn >= STACK_CONNS_MAX || n->slot[conn].use != SLOT_GHOST)
        e = end_of(n, conn, "on_closed");
    else if (reason == STACK_CLOSED)
        world_fail(n->node.world, "the ghost of an old SYN closed in order");
    n->slot[conn] = (struct slot){.use = SLOT_FREE};
    n->node.world->progress++;
    if (e) {
        bool orphan = e->plan->finish == FINISH_ORPHAN && reason == STACK_CLOSED && !e->eof;

        e->conn = STACK_NO_CONN;
        end_closed(e, orphan ? END_ABORTED : result_of(n, reason));
        // A SYN-ACK nobody answers: the opener may still be trying.
        if (!e->established && e->flow->plan->opener != e->side &&
            (reason == STACK_TIMED_OUT || reason == STACK_RESET))
            e->opened = false;
    }
    guard_set(was);
}

// --- what ends ask -------------------------------------------------------------------------------

void
stack_app_open(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);
    struct flow *f = e->flow;
    bool host = node->side == HOST;
    uint16_t port = host ? f->guest_port : f->host_port;
    uint16_t local = host ? f->host_port : f->guest_port;
    struct stack_peer peer;

    STACK_CALL(e->conn = stack_connect(n->stack, stack_node_addr(!node->side), port, local,
                                       stack_node_now(n)));
    if (e->conn == STACK_NO_CONN || e->conn >= STACK_CONNS_MAX || n->slot[e->conn].use != SLOT_FREE)
        world_fail(node->world, "flow %d: stack_connect gives conn %u", f->index, e->conn);
    n->slot[e->conn] = (struct slot){.use = SLOT_END, .end = e};
    STACK_CALL(stack_peer_of(n->stack, e->conn, &peer));
    if (peer.addr != stack_node_addr(!node->side) || peer.port != port ||
        (local && peer.local_port != local))
        world_fail(node->world, "flow %d: stack_peer_of says something else", f->index);
    if (host)
        f->host_port = peer.local_port;
    else
        f->guest_port = peer.local_port;
}

size_t
stack_app_write(struct node *node, struct end *e, size_t len)
{
    struct stack_node *n = stack_node_of(node);
    struct iovec iov[2];
    size_t done = 0;
    int count;

    STACK_CALL(count = stack_send_iov(n->stack, e->conn, iov));
    if (count < 0 || count > 2 || (count > 0 && total(iov, count) == 0))
        world_fail(node->world, "flow %d: stack_send_iov gives %d", e->flow->index, count);
    for (int i = 0; i < count && done < len; i++) {
        size_t part = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;

        end_fill(e, e->sent + done, iov[i].iov_base, part);
        done += part;
    }
    if (done > 0) {
        node->world->progress++;
        STACK_CALL(stack_send_commit(n->stack, e->conn, done));
    }
    return done;
}

bool
stack_app_read(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);
    struct iovec iov[2];
    size_t offered, taken;
    int count;

    STACK_CALL(count = stack_recv_iov(n->stack, e->conn, iov));
    offered = total(iov, count);
    if (offered == 0)
        return false;
    if (stack_recv_at_end(n->stack, e->conn))
        world_fail(node->world, "flow %d: at end with bytes kept", e->flow->index);
    taken = end_read_budget(e, offered);
    take(e, iov, taken);
    node->world->progress++;
    STACK_CALL(stack_recv_consume(n->stack, e->conn, taken));
    end_read_done(e);
    if (stack_recv_at_end(n->stack, e->conn))
        end_eof(e);
    return true;
}

void
stack_app_shutdown(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);

    STACK_CALL(stack_shutdown(n->stack, e->conn));
    if (e->result == END_RUNNING && rng_chance(&node->rng, 100000))
        STACK_CALL(stack_shutdown(n->stack, e->conn));
}

void
stack_app_abort(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);

    STACK_CALL(stack_abort(n->stack, e->conn, stack_node_now(n)));
}

void
stack_app_abort_after_send(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);

    STACK_CALL(stack_abort_after_send(n->stack, e->conn, stack_node_now(n)));
}

void
stack_app_orphan(struct node *node, struct end *e)
{
    struct stack_node *n = stack_node_of(node);

    STACK_CALL(stack_shutdown(n->stack, e->conn));
    if (e->result == END_RUNNING)
        STACK_CALL(stack_orphan(n->stack, e->conn));
}

const struct stack_ops stack_node_callbacks = {
    .on_emit = on_emit,
    .on_port = on_port,
    .on_open = on_open,
    .on_established = on_established,
    .on_data = on_data,
    .on_readable = on_readable,
    .on_writable = on_writable,
    .on_closed = on_closed,
};
