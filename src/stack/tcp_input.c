// SPDX-License-Identifier: BSD-3-Clause
// A segment arrives (RFC 9293 3.10.7): which connection, is it acceptable, what does it change.
// Blind-injection rules of RFC 5961. Payload is tcp_receive.c's, acknowledgements tcp_loss.c's.
#include "stack/internal.h"

#include "base/log.h"

// Bounded for each connection: keep-alives and window probes of many may come together, and what
// one is asked is no reason to leave the others without an answer.
void
tcp_challenge_ack(struct stack *s, struct conn *c)
{
    uint32_t second = (uint32_t)(s->now_us / 1000000);
    if (second != c->challenge_second) {
        c->challenge_second = second;
        c->challenge_count = 0;
    }
    if (c->challenge_count >= TCP_CHALLENGES)
        return;
    c->challenge_count++;
    s->stats.challenge_acks++;
    if (!tcp_send_ack(s, c)) {
        c->ack_now = true;
        conn_ready(s, c);
    }
}

// --- no connection: LISTEN or CLOSED -------------------------------------------------------------

static void
evict_half_open(struct stack *s)
{
    struct conn *oldest = &s->conns[s->queues[QUEUE_HALF_OPEN].first - 1];
    log_debug("conn %u: evicted, %u half-open", conn_index(s, oldest), s->half_open);
    s->stats.conns_evicted++;
    conn_reset(s, oldest, STACK_EVICTED);
}

static void
take_syn_options(struct stack *s, struct conn *c, const struct tcp_header *h)
{
    tcp_set_mss(s, c, h->mss);
    c->wscale_ok = h->wscale >= 0;
    c->snd_wscale = (uint8_t)(c->wscale_ok ? h->wscale : 0);
    c->sack_ok = h->sack_permitted;
    c->snd_wnd = c->max_wnd = h->window; // not scaled in a SYN
    c->irs = h->seq;
    c->rcv_nxt = c->rcv_adv = h->seq + 1;
    c->snd_wl1 = h->seq;
}

static uint8_t
our_wscale(const struct stack *s)
{
    uint8_t shift = 0;
    while (shift < TCP_WSCALE_MAX && s->config.ring_bytes >> shift > UINT16_MAX)
        shift++;
    return shift;
}

void
tcp_start_send_side(struct stack *s, struct conn *c)
{
    c->iss = tcp_isn(s, &c->peer);
    c->snd_una = c->snd_nxt = c->iss;
    c->snd_base = c->iss + 1;
    c->rcv_wscale = our_wscale(s);
    c->rtx_start_us = s->now_us;
}

static void
passive_open(struct stack *s, const struct segment *seg)
{
    const struct stack_peer *peer = &seg->peer;
    if (!s->ops->on_port(s->ctx, peer->local_port)) {
        s->stats.conns_refused++;
        output_reset_for(s, seg);
        return;
    }
    if (s->half_open >= s->config.max_half_open)
        evict_half_open(s);
    struct conn *c = conn_new(s, peer);
    if (!c) {
        s->stats.conns_refused++;
        output_reset_for(s, seg);
        return;
    }
    c->peer_mac = seg->src_mac;
    take_syn_options(s, c, &seg->tcp);
    conn_set_state(s, c, TCP_OPENING);
    tcp_arm_timer(s, c);
    s->stats.conns_opened++;
    s->ops->on_open(s->ctx, conn_index(s, c), peer);
}

static void
input_without_conn(struct stack *s, const struct segment *seg)
{
    uint8_t flags = seg->tcp.flags;
    if (flags & TCP_RST)
        return;
    if ((flags & (TCP_SYN | TCP_ACK | TCP_FIN)) == TCP_SYN)
        passive_open(s, seg);
    else
        output_reset_for(s, seg);
}

// --- OPENING, SYN-SENT, TIME-WAIT ----------------------------------------------------------------

// The host end is being opened; nothing was promised to the guest yet.
static void
input_opening(struct stack *s, struct conn *c, const struct segment *seg)
{
    uint8_t flags = seg->tcp.flags;
    if (flags & TCP_RST) {
        if (seg->tcp.seq == c->rcv_nxt || seg->tcp.seq == c->irs)
            conn_close(s, c, STACK_RESET);
        return;
    }
    if (!(flags & TCP_SYN) || flags & TCP_ACK)
        return; // has no business before our answer
    if (seg->tcp.seq == c->irs) {
        c->heard_us = s->now_us; // the SYN again: the guest still waits
        return;
    }
    // The guest began anew on the same ports.
    conn_close(s, c, STACK_RESET);
    input_without_conn(s, seg);
}

static void
established(struct stack *s, struct conn *c)
{
    c->retries = 0;
    c->rto_us = (uint32_t)TCP_RTO_INITIAL_US;
    conn_set_state(s, c, c->fin_queued ? TCP_FIN_WAIT_1 : TCP_ESTABLISHED);
    conn_ready(s, c);
    s->ops->on_established(s->ctx, conn_index(s, c));
}

static void
input_syn_sent(struct stack *s, struct conn *c, const struct segment *seg)
{
    const struct tcp_header *h = &seg->tcp;
    bool ack_right = h->flags & TCP_ACK && h->ack == c->iss + 1;
    if (h->flags & TCP_ACK && !ack_right) {
        output_reset_for(s, seg);
        return;
    }
    if (h->flags & TCP_RST) {
        if (ack_right)
            conn_close(s, c, STACK_REFUSED);
        return;
    }
    if (!(h->flags & TCP_SYN))
        return;

    take_syn_options(s, c, h);
    if (!ack_right) { // simultaneous open
        conn_set_state(s, c, TCP_SYN_RECEIVED);
        c->rtx_start_us = s->now_us;
        tcp_send_syn(s, c);
        return;
    }
    c->snd_una = c->snd_nxt = h->ack;
    c->snd_wl2 = h->ack;
    c->ack_now = true;
    established(s, c);
}

// A new incarnation may follow at once (RFC 9293 3.6.1), a
// retransmitted FIN is answered and 2 MSL begin anew.
static void
input_time_wait(struct stack *s, struct conn *c, const struct segment *seg)
{
    uint8_t flags = seg->tcp.flags;
    if ((flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN &&
        seq_gt(seg->tcp.seq, c->rcv_nxt)) {
        conn_free(s, c);
        input_without_conn(s, seg);
        return;
    }
    if (flags & TCP_RST) // RFC 1337: an old RST must not cut TIME-WAIT short
        return;
    if (flags & TCP_FIN)
        c->rtx_start_us = s->now_us;
    tcp_challenge_ack(s, c);
    tcp_arm_timer(s, c);
}

// --- synchronised states -------------------------------------------------------------------------

// RFC 9293 3.10.7.4, first check. A closed window counts as one byte wide: a guest that probed it
// with a byte numbers its ACKs behind that byte, and they count even though the byte does not.
static bool
is_acceptable(uint32_t rcv_nxt, uint32_t window, const struct segment *seg)
{
    uint32_t seq = seg->tcp.seq;
    uint32_t len = seg->len + (seg->tcp.flags & TCP_FIN ? 1 : 0);
    uint32_t right = rcv_nxt + (window ? window : 1);
    if (len == 0)
        return seq_ge(seq, rcv_nxt) && seq_le(seq, right);
    return seq_lt(seq, right) && seq_gt(seq + len, rcv_nxt);
}

// Anything but RST and SYN that may go on: acceptable sequence, acceptable ACK.
static bool
checks_passed(struct stack *s, struct conn *c, const struct segment *seg)
{
    const struct tcp_header *h = &seg->tcp;
    uint32_t window = tcp_recv_window(s, c);
    if (h->flags & TCP_RST) {
        if (h->seq == c->rcv_nxt && c->state != TCP_DRAINING) {
            tcp_deliver(s, c); // what came before it
            if (c->state != TCP_FREE && c->attached)
                conn_close(s, c, STACK_RESET);
        } else if (seq_gt(h->seq, c->rcv_nxt) && seq_lt(h->seq, c->rcv_nxt + window)) {
            tcp_challenge_ack(s, c);
        }
        return false;
    }
    if (h->flags & TCP_SYN) {
        if (c->state == TCP_SYN_RECEIVED && h->seq == c->irs && !(h->flags & TCP_ACK))
            tcp_send_syn(s, c); // our SYN-ACK was lost
        else if (c->state != TCP_SYN_RECEIVED || !c->active)
            tcp_challenge_ack(s, c); // RFC 5961 4
        else if (h->flags & TCP_ACK && h->ack == c->iss + 1 && h->seq == c->irs)
            return true; // the other half of a simultaneous open
        return false;
    }
    if (!is_acceptable(c->rcv_nxt, window, seg)) {
        // Bytes again: our ACK was lost. An empty one is answered boundedly, or two stacks that
        // disagree would go on for ever.
        if (seg->len > 0 || h->flags & TCP_FIN) {
            c->ack_now = true;
            conn_ready(s, c);
        } else {
            tcp_challenge_ack(s, c);
        }
        return false;
    }
    return h->flags & TCP_ACK;
}

// Our FIN is acknowledged.
static void
fin_acked(struct stack *s, struct conn *c)
{
    if (c->state == TCP_FIN_WAIT_1) {
        conn_set_state(s, c, TCP_FIN_WAIT_2);
        conn_touch(s, c);
    } else if (c->state == TCP_CLOSING) {
        tcp_finish(s, c, true);
    } else if (c->state == TCP_LAST_ACK) {
        tcp_finish(s, c, false);
    }
}

// Drops acknowledged bytes from the send ring.
static void
release_acked(struct stack *s, struct conn *c)
{
    uint32_t data_end = c->snd_base + c->send.used;
    uint32_t upto = seq_min(c->snd_una, data_end);
    if (seq_gt(upto, c->snd_base)) {
        ring_consume(&s->send_pool, &c->send, upto - c->snd_base);
        c->snd_base = upto;
        if (c->send.used == 0) {
            ring_release(&s->send_pool, &c->send);
            s->trim_wanted = true;
        }
    }
    if (c->want_write && ring_space(&s->send_pool, &c->send) >= s->config.ring_bytes / 4)
        conn_ready(s, c);
}

// The SYN of a simultaneous open has a window that is not scaled (RFC 7323 2.2).
static uint32_t
window_of(const struct conn *c, const struct tcp_header *h)
{
    return h->flags & TCP_SYN ? h->window : (uint32_t)h->window << c->snd_wscale;
}

// False when the segment ends here: its ACK is impossible, or the conn is gone.
static bool
process_ack(struct stack *s, struct conn *c, const struct segment *seg)
{
    const struct tcp_header *h = &seg->tcp;
    if (seq_gt(h->ack, c->snd_nxt) || seq_lt(h->ack, c->snd_una - c->max_wnd)) { // RFC 5961 5.2
        tcp_challenge_ack(s, c);
        return false;
    }
    // RFC 9293 3.10.7.4, and where the ACK is new: such a segment is newer than any before, even if
    // it carries an old sequence number (a retransmission).
    uint32_t before = c->snd_wnd;
    if (seq_gt(h->ack, c->snd_una) ||
        (h->ack == c->snd_una &&
         (seq_lt(c->snd_wl1, h->seq) || (c->snd_wl1 == h->seq && seq_le(c->snd_wl2, h->ack))))) {
        c->snd_wnd = window_of(c, h);
        c->snd_wl1 = h->seq;
        c->snd_wl2 = h->ack;
        if (c->snd_wnd > c->max_wnd)
            c->max_wnd = c->snd_wnd;
    }
    tcp_on_ack(s, c, seg, c->snd_wnd != before);
    release_acked(s, c);
    conn_ready(s, c);

    if (c->snd_una == c->snd_nxt || c->snd_wnd == 0)
        c->retries = 0; // the guest is there
    if (c->snd_wnd > 0)
        c->probes = 0;
    bool fin_sent = c->fin_queued && seq_gt(c->snd_nxt, c->snd_base + c->send.used);
    if (fin_sent && c->snd_una == c->snd_nxt)
        fin_acked(s, c);
    return c->state != TCP_FREE && c->attached;
}

static void
input_synchronised(struct stack *s, struct conn *c, const struct segment *seg)
{
    if (!checks_passed(s, c, seg))
        return;
    c->heard_us = s->now_us;
    if (c->state == TCP_SYN_RECEIVED) {
        if (seg->tcp.ack != c->iss + 1) {
            output_reset_for(s, seg);
            return;
        }
        c->snd_una = c->snd_nxt = seg->tcp.ack;
        c->snd_wnd = window_of(c, &seg->tcp);
        c->snd_wl1 = seg->tcp.seq;
        c->snd_wl2 = seg->tcp.ack;
        established(s, c);
        if (c->state == TCP_FREE || !c->attached)
            return;
    }
    if (!process_ack(s, c, seg))
        return;
    if (c->abort_after_send && c->send.used == 0) {
        stack_abort(s, conn_index(s, c), s->now_us);
        return;
    }
    tcp_receive(s, c, seg);
}

void
tcp_segment_input(struct stack *s, const struct segment *seg)
{
    struct conn *c = conn_find(s, &seg->peer);
    if (!c) {
        input_without_conn(s, seg);
        return;
    }
    switch ((enum tcp_state)c->state) {
    case TCP_FREE:
        assert(false); // a free conn is in no bucket
        return;
    case TCP_OPENING:
        input_opening(s, c, seg);
        return;
    case TCP_SYN_SENT:
        input_syn_sent(s, c, seg);
        return;
    case TCP_TIME_WAIT:
        input_time_wait(s, c, seg);
        return;
    case TCP_RESETTING:
        return; // its RST is on the way
    case TCP_SYN_RECEIVED:
    case TCP_ESTABLISHED:
    case TCP_FIN_WAIT_1:
    case TCP_FIN_WAIT_2:
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
    case TCP_DRAINING:
        input_synchronised(s, c, seg);
        return;
    }
}
