// SPDX-License-Identifier: BSD-3-Clause
// The one timer of a connection. What it waits for follows from the connection's state, so there is
// nothing to keep in step: retransmission, window probe, keep-alive, FIN-WAIT-2, TIME-WAIT; beside
// that one, an ACK that was put off.
#include "stack/internal.h"

enum timer_kind {
    TIMER_NONE,
    TIMER_OPENING,   // a guest that no longer repeats its SYN has given up
    TIMER_HANDSHAKE, // SYN or SYN-ACK again
    TIMER_RETRANSMIT,
    TIMER_PROBE, // the guest's window is closed (RFC 9293 3.8.6.1)
    TIMER_KEEPALIVE,
    TIMER_ORPHAN,
    TIMER_TIME_WAIT,
};

static enum timer_kind
awaited(const struct conn *c)
{
    switch ((enum tcp_state)c->state) {
    case TCP_FREE:
    case TCP_DRAINING:
    case TCP_RESETTING:
        return TIMER_NONE;
    case TCP_OPENING:
        return TIMER_OPENING;
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
        return TIMER_HANDSHAKE;
    case TCP_TIME_WAIT:
        return TIMER_TIME_WAIT;
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        break;
    }
    if (c->snd_una != c->snd_nxt)
        return TIMER_RETRANSMIT;
    if (tcp_unsent(c) > 0)
        return TIMER_PROBE;
    if (c->orphan && c->state == TCP_FIN_WAIT_2)
        return TIMER_ORPHAN;
    return TIMER_KEEPALIVE;
}

static uint64_t
deadline_of(const struct conn *c, enum timer_kind kind)
{
    switch (kind) {
    case TIMER_NONE:
        return WHEEL_NEVER;
    case TIMER_OPENING:
        return c->heard_us + TCP_OPENING_US;
    case TIMER_HANDSHAKE:
    case TIMER_RETRANSMIT:
        return c->rtx_start_us + c->rto_us;
    case TIMER_PROBE: {
        uint64_t wait = (uint64_t)c->rto_us << (c->probes < 9 ? c->probes : 9);
        return c->rtx_start_us + (wait < TCP_RTO_MAX_US ? wait : TCP_RTO_MAX_US);
    }
    case TIMER_KEEPALIVE:
        return c->retries == 0 ? c->heard_us + TCP_KEEPALIVE_US
                               : c->rtx_start_us + TCP_KEEPALIVE_STEP;
    case TIMER_ORPHAN:
        return c->heard_us + TCP_ORPHAN_US;
    case TIMER_TIME_WAIT:
        return c->rtx_start_us + TCP_TIME_WAIT_US;
    }
    return WHEEL_NEVER;
}

void
tcp_arm_timer(struct stack *s, struct conn *c)
{
    if (c->state == TCP_FREE)
        return;
    uint32_t index = conn_index(s, c);
    uint64_t deadline = deadline_of(c, awaited(c));
    if (c->ack_due_us && c->ack_due_us < deadline)
        deadline = c->ack_due_us;
    // A deadline that moved away is found out when the old one expires: ACKs cost no wheel turn.
    if (deadline == WHEEL_NEVER)
        wheel_clear(&s->wheel, index);
    else if (deadline < wheel_deadline(&s->wheel, index))
        wheel_set(&s->wheel, index, deadline);
}

static void
handshake_again(struct stack *s, struct conn *c)
{
    if (c->retries++ >= TCP_SYN_RETRIES) {
        conn_reset(s, c, STACK_TIMED_OUT);
        return;
    }
    uint64_t rto = 2ull * c->rto_us;
    c->rto_us = rto > TCP_RTO_MAX_US ? (uint32_t)TCP_RTO_MAX_US : (uint32_t)rto;
    c->rtx_start_us = s->now_us;
    c->rtt_running = false; // Karn
    s->stats.retransmits++;
    if (c->state == TCP_SYN_SENT) {
        neighbour_forget(s, c->peer.addr); // it may have another MAC by now (RFC 1122 2.3.2.1)
        tcp_send_first_syn(s, c);
    } else {
        tcp_send_syn(s, c);
    }
}

static void
retransmit(struct stack *s, struct conn *c)
{
    // A closed window is answered for ever (RFC 9293 3.8.6.1), silence is not.
    if (c->retries++ >= TCP_RETRIES_MAX) {
        conn_reset(s, c, STACK_TIMED_OUT);
        return;
    }
    tcp_on_timeout(s, c);
    c->rtx_start_us = s->now_us;
    conn_ready(s, c);
}

static void
probe(struct stack *s, struct conn *c, uint8_t most)
{
    if (c->retries++ >= most) {
        conn_reset(s, c, STACK_TIMED_OUT);
        return;
    }
    if (c->probes < UINT8_MAX)
        c->probes++;
    c->rtx_start_us = s->now_us;
    // An open window by now (its update was lost, or this is a part of a segment that silly window
    // avoidance held back): then send what fits instead.
    uint32_t fits = c->snd_wnd < tcp_unsent(c) ? c->snd_wnd : tcp_unsent(c);
    if (fits > 0)
        conn_ready(s, c);
    else
        tcp_send_probe(s, c);
}

// No answer came for the ACK to ride on. A guest that waits for it before it sends more (Nagle)
// shall not wait again soon.
static void
ack_alone(struct stack *s, struct conn *c)
{
    c->ack_due_us = 0;
    c->ack_now = true;
    c->quick_acks = TCP_QUICK_ACKS;
    conn_ready(s, c);
}

void
tcp_timer_expired(struct stack *s, struct conn *c)
{
    if (c->ack_due_us && c->ack_due_us <= s->now_us)
        ack_alone(s, c);
    enum timer_kind kind = awaited(c);
    uint64_t deadline = deadline_of(c, kind);
    if (kind != TIMER_NONE && deadline <= s->now_us) {
        if (s->blocked && kind != TIMER_ORPHAN && kind != TIMER_TIME_WAIT) {
            c->rtx_start_us = c->heard_us = s->now_us; // the guest was not asked, so it is not late
            tcp_arm_timer(s, c);
            return;
        }
        switch (kind) {
        case TIMER_NONE:
            break;
        case TIMER_OPENING:
            conn_reset(s, c, STACK_TIMED_OUT);
            break;
        case TIMER_HANDSHAKE:
            handshake_again(s, c);
            break;
        case TIMER_RETRANSMIT:
            retransmit(s, c);
            break;
        case TIMER_PROBE:
            probe(s, c, TCP_RETRIES_MAX);
            break;
        case TIMER_KEEPALIVE:
            probe(s, c, TCP_KEEPALIVE_MAX);
            break;
        case TIMER_ORPHAN:
            conn_reset(s, c, STACK_CLOSED);
            break;
        case TIMER_TIME_WAIT:
            conn_free(s, c);
            break;
        }
    }
    tcp_arm_timer(s, c);
}
