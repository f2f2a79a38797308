// SPDX-License-Identifier: BSD-3-Clause
// The connection's user side: what the relay calls to answer, to send, to take and to end. All of
// it only moves state; segments go out at the flush (RST and SYN at once).
#include "stack/internal.h"

#define EPHEMERAL_FIRST 49152 // RFC 6335 6
#define EPHEMERAL_COUNT 16384

// --- opening -------------------------------------------------------------------------------------

void
stack_accept(struct stack *s, uint32_t conn, uint64_t now_us)
{
    struct conn *c = conn_at(s, conn);
    assert(c->state == TCP_OPENING);
    s->now_us = now_us;
    tcp_start_send_side(s, c);
    c->snd_nxt = c->iss + 1;
    conn_set_state(s, c, TCP_SYN_RECEIVED);
    tcp_send_syn(s, c);
    tcp_arm_timer(s, c);
}

void
stack_reject(struct stack *s, uint32_t conn, uint64_t now_us)
{
    struct conn *c = conn_at(s, conn);
    assert(c->state == TCP_OPENING);
    s->now_us = now_us;
    s->stats.conns_refused++;
    c->attached = false;
    conn_reset(s, c, STACK_ABORTED);
}

static bool
pick_ephemeral(struct stack *s, struct stack_peer *peer)
{
    for (unsigned i = 0; i < EPHEMERAL_COUNT; i++) {
        s->ephemeral = (uint16_t)((s->ephemeral + 1) % EPHEMERAL_COUNT);
        peer->local_port = (uint16_t)(EPHEMERAL_FIRST + s->ephemeral);
        if (!conn_find(s, peer))
            return true;
    }
    return false;
}

uint32_t
stack_connect(struct stack *s, uint32_t addr, uint16_t port, uint16_t local_port, uint64_t now_us)
{
    s->now_us = now_us;
    struct stack_peer peer = {.addr = addr, .port = port, .local_port = local_port};
    if (addr == 0)
        return STACK_NO_CONN;
    if (local_port == 0 ? !pick_ephemeral(s, &peer) : conn_find(s, &peer) != NULL)
        return STACK_NO_CONN;
    struct conn *c = conn_new(s, &peer);
    if (!c)
        return STACK_NO_CONN;
    c->active = true;
    tcp_start_send_side(s, c);
    c->snd_nxt = c->iss + 1;
    conn_set_state(s, c, TCP_SYN_SENT);
    s->stats.conns_opened++;
    tcp_send_first_syn(s, c);
    tcp_arm_timer(s, c);
    return conn_index(s, c);
}

void
stack_peer_of(const struct stack *s, uint32_t conn, struct stack_peer *out)
{
    *out = conn_at(s, conn)->peer;
}

// --- host -> guest -------------------------------------------------------------------------------

int
stack_send_iov(struct stack *s, uint32_t conn, struct iovec iov[2])
{
    struct conn *c = conn_at(s, conn);
    assert(!c->fin_queued);
    if (c->abort_after_send)
        return 0;
    int n = ring_acquire(&s->send_pool, &c->send) ? ring_free_iov(&s->send_pool, &c->send, iov) : 0;
    if (n == 0)
        c->want_write = true;
    return n;
}

void
stack_send_commit(struct stack *s, uint32_t conn, size_t n)
{
    struct conn *c = conn_at(s, conn);
    ring_commit(&s->send_pool, &c->send, (uint32_t)n);
    if (c->send.used == 0) {
        ring_release(&s->send_pool, &c->send);
        s->trim_wanted = true;
    }
    if (n > 0)
        conn_ready(s, c);
}

void
stack_shutdown(struct stack *s, uint32_t conn)
{
    struct conn *c = conn_at(s, conn);
    if (c->fin_queued)
        return;
    c->fin_queued = true;
    if (c->state == TCP_ESTABLISHED)
        conn_set_state(s, c, TCP_FIN_WAIT_1);
    else if (c->state == TCP_CLOSE_WAIT)
        conn_set_state(s, c, TCP_LAST_ACK);
    conn_ready(s, c);
}

// --- guest -> host -------------------------------------------------------------------------------

int
stack_recv_iov(const struct stack *s, uint32_t conn, struct iovec iov[2])
{
    const struct conn *c = conn_at(s, conn);
    if (c->recv.used == 0)
        return 0;
    return ring_iov(&s->recv_pool, &c->recv, 0, c->recv.used, iov);
}

void
stack_recv_consume(struct stack *s, uint32_t conn, size_t n)
{
    struct conn *c = conn_at(s, conn);
    ring_consume(&s->recv_pool, &c->recv, (uint32_t)n);
    tcp_window_opened(s, c);
}

bool
stack_recv_at_end(const struct stack *s, uint32_t conn)
{
    return tcp_recv_drained(conn_at(s, conn));
}

// --- ending --------------------------------------------------------------------------------------

void
stack_abort(struct stack *s, uint32_t conn, uint64_t now_us)
{
    struct conn *c = conn_at(s, conn);
    s->now_us = now_us;
    conn_reset(s, c, STACK_ABORTED);
}

void
stack_abort_after_send(struct stack *s, uint32_t conn, uint64_t now_us)
{
    struct conn *c = conn_at(s, conn);
    if (c->send.used == 0 || c->state == TCP_DRAINING) {
        stack_abort(s, conn, now_us);
        return;
    }
    c->abort_after_send = true;
    c->want_write = false;
}

void
stack_orphan(struct stack *s, uint32_t conn)
{
    struct conn *c = conn_at(s, conn);
    c->orphan = true;
    conn_ready(s, c);
}
