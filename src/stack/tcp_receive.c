// SPDX-License-Identifier: BSD-3-Clause
// Bytes from the guest. In order and with nothing kept before them, they stay in the caller's
// frames until the flush and go to the host from there; else they go to the receive ring, at the
// place that their sequence number gives them. A byte is acknowledged only when one of the two has
// it.
#include "stack/internal.h"

uint32_t
tcp_recv_window(const struct stack *s, const struct conn *c)
{
    return s->config.ring_bytes - c->recv.used - c->pending_bytes;
}

uint32_t
tcp_window_to_tell(struct stack *s, const struct conn *c)
{
    uint32_t room = tcp_recv_window(s, c), told = tcp_told_window(c);
    uint32_t share = share_of(s);
    uint32_t most = told > share ? told : share;
    return room < most ? room : most;
}

uint32_t
tcp_told_window(const struct conn *c)
{
    return seq_lt(c->rcv_nxt, c->rcv_adv) ? c->rcv_adv - c->rcv_nxt : 0;
}

uint32_t
tcp_window_step(const struct stack *s, const struct conn *c)
{
    uint32_t half = s->config.ring_bytes / 2;
    return c->mss < half ? c->mss : half;
}

bool
tcp_recv_drained(const struct conn *c)
{
    return c->fin_taken && c->recv.used == 0; // a FIN is taken behind what was pending
}

static bool
is_gone(const struct conn *c)
{
    return c->state == TCP_FREE || !c->attached;
}

void
tcp_finish(struct stack *s, struct conn *c, bool time_wait)
{
    if (!tcp_recv_drained(c)) {
        c->time_wait_next = time_wait;
        conn_set_state(s, c, TCP_DRAINING);
        return;
    }
    if (time_wait) {
        c->rtx_start_us = s->now_us;
        conn_set_state(s, c, TCP_TIME_WAIT);
        conn_ready(s, c);
    }
    conn_close(s, c, STACK_CLOSED);
}

// --- in order ------------------------------------------------------------------------------------

// Chains [at, at + len) of the segment's frame to the conn's pending runs. False: no room for that
// many runs.
static bool
pending_add(struct stack *s, struct conn *c, const struct segment *seg, size_t at, uint32_t len)
{
    const struct frame *f = seg->frame;
    if (PENDING_MAX - s->pending_used < f->iovcnt)
        return false;
    uint32_t left = len;
    for (int i = 0; i < f->iovcnt && left > 0; i++) {
        if (at >= f->iov[i].iov_len) {
            at -= f->iov[i].iov_len;
            continue;
        }
        size_t n = f->iov[i].iov_len - at;
        if (n > left)
            n = left;
        s->pending[s->pending_used] = (struct pending_run){
            .iov = {.iov_base = (uint8_t *)f->iov[i].iov_base + at, .iov_len = n}};
        s->pending_used++;
        if (c->pending_tail)
            s->pending[c->pending_tail - 1].next = s->pending_used;
        else
            c->pending_head = s->pending_used;
        c->pending_tail = s->pending_used;
        left -= (uint32_t)n;
        at = 0;
    }
    c->pending_bytes += len;
    conn_touch(s, c);
    return true;
}

static void
place_in_ring(struct stack *s, struct conn *c, const struct segment *seg, size_t at,
              uint32_t offset, uint32_t len)
{
    const struct frame *f = seg->frame;
    for (int i = 0; i < f->iovcnt && len > 0; i++) {
        if (at >= f->iov[i].iov_len) {
            at -= f->iov[i].iov_len;
            continue;
        }
        size_t n = f->iov[i].iov_len - at;
        if (n > len)
            n = len;
        ring_place(&s->recv_pool, &c->recv, offset, (uint8_t *)f->iov[i].iov_base + at,
                   (uint32_t)n);
        offset += (uint32_t)n;
        len -= (uint32_t)n;
        at = 0;
    }
}

// Counts n in-order bytes in the ring, and what was kept out of order right behind them. They may
// reach over several such runs, and end within one.
static void
advance(struct stack *s, struct conn *c, uint32_t n)
{
    ring_commit(&s->recv_pool, &c->recv, n);
    c->rcv_nxt += n;
    ranges_trim_below(&c->ooo, c->rcv_nxt);
    if (c->ooo.count && c->ooo.at[0].left == c->rcv_nxt) {
        uint32_t right = c->ooo.at[0].right;
        ring_commit(&s->recv_pool, &c->recv, right - c->rcv_nxt);
        c->rcv_nxt = right;
        ranges_trim_below(&c->ooo, c->rcv_nxt);
    }
    s->stats.bytes_in += n;
    c->tell_readable = true;
    conn_touch(s, c);
}

static void
receive_in_order(struct stack *s, struct conn *c, const struct segment *seg, size_t at,
                 uint32_t len)
{
    if (c->recv.slot == RING_NO_SLOT) {
        if (pending_add(s, c, seg, at, len)) {
            c->rcv_nxt += len;
            s->stats.bytes_in += len;
            return;
        }
        stack_deliver_touched(s);
        if (is_gone(c))
            return;
        if (c->recv.slot == RING_NO_SLOT && pending_add(s, c, seg, at, len)) {
            c->rcv_nxt += len;
            s->stats.bytes_in += len;
            return;
        }
    }
    if (!ring_acquire(&s->recv_pool, &c->recv)) {
        s->stats.dropped_no_ring++;
        c->ack_now = true;
        return;
    }
    assert(len <= tcp_recv_window(s, c)); // cut by the caller; a delivery takes no room
    place_in_ring(s, c, seg, at, c->recv.used, len);
    advance(s, c, len);
}

// --- out of order --------------------------------------------------------------------------------

static void
receive_out_of_order(struct stack *s, struct conn *c, const struct segment *seg, size_t at,
                     uint32_t seq, uint32_t len)
{
    // Ring offsets count from rcv_nxt, so nothing may stand between it and the ring.
    tcp_deliver(s, c);
    if (is_gone(c))
        return;
    if (c->recv.slot == RING_NO_SLOT && !ring_acquire(&s->recv_pool, &c->recv)) {
        s->stats.dropped_no_ring++;
        return;
    }
    assert(seq_gt(seq, c->rcv_nxt)); // the delivery moves it back, if at all: no FIN is before seq
    if (!ranges_add(&c->ooo, seq, seq + len))
        return;
    place_in_ring(s, c, seg, at, c->recv.used + (seq - c->rcv_nxt), len);
    c->ooo_latest = seq;
    for (unsigned i = 0; i < c->ooo.count; i++) {
        if (seq_le(c->ooo.at[i].left, seq) && seq_lt(seq, c->ooo.at[i].right))
            c->ooo_latest = c->ooo.at[i].left;
    }
    // Each one is answered at once, so that a guest without SACK counts duplicates (RFC 5681 4.2).
    if (!tcp_send_ack(s, c))
        conn_ready(s, c);
}

// Remembers where the guest's stream ends. A FIN that contradicts what came before is ignored.
static void
note_fin(struct conn *c, uint32_t seq)
{
    assert(seq_ge(seq, c->rcv_nxt)); // or the segment would not have been acceptable
    if (c->fin_seen)
        return;
    if (c->ooo.count && seq_lt(seq, c->ooo.at[c->ooo.count - 1].right))
        return;
    c->fin_seen = true;
    c->fin_seq = seq;
}

// Whether the segment's ACK may wait for an answer, or for our FIN: all of it is new. What is out
// of order, fills a gap, was here before or finds no room is answered at once (RFC 5681 4.2).
static bool
may_wait(const struct stack *s, struct conn *c, const struct segment *seg)
{
    if (seg->tcp.seq != c->rcv_nxt || c->ooo.count || seg->len > tcp_recv_window(s, c) ||
        c->fin_seen || c->abort_after_send)
        return false;
    if (c->quick_acks == 0)
        return true;
    c->quick_acks--;
    return false;
}

void
tcp_receive(struct stack *s, struct conn *c, const struct segment *seg)
{
    // The SYN of a simultaneous open stands before the first byte.
    uint32_t seq = seg->tcp.seq + (seg->tcp.flags & TCP_SYN ? 1 : 0), len = seg->len;
    size_t at = seg->payload_at;
    uint32_t right = c->rcv_nxt + tcp_recv_window(s, c);
    bool fin = seg->tcp.flags & TCP_FIN;
    if (len == 0 && !fin)
        return;
    if (may_wait(s, c, seg))
        c->ack_later = true;
    else
        c->ack_now = true;
    conn_ready(s, c);

    if (fin && seq_le(seq + len, right)) {
        note_fin(c, seq + len);
        conn_touch(s, c);
    }
    if (seq_gt(seq + len, right))
        len = seq_lt(seq, right) ? right - seq : 0;
    if (c->fin_seen && seq_gt(seq + len, c->fin_seq))
        len = seq_lt(seq, c->fin_seq) ? c->fin_seq - seq : 0;
    if (seq_lt(seq, c->rcv_nxt)) {
        uint32_t old = c->rcv_nxt - seq;
        if (old >= len)
            return;
        at += old;
        seq += old;
        len -= old;
    }
    if (len == 0 || c->abort_after_send) // behind a FIN there are none
        return;
    share_note(s, c, len);
    if (seq == c->rcv_nxt)
        receive_in_order(s, c, seg, at, len);
    else
        receive_out_of_order(s, c, seg, at, seq, len);
}

// --- delivery ------------------------------------------------------------------------------------

// Copies what the host did not take, `skip` bytes into the first run, to the ring; or takes its
// acceptance back, which is right because it was not acknowledged yet.
static void
keep_pending(struct stack *s, struct conn *c, size_t skip)
{
    uint32_t rest = c->pending_bytes;
    if (!ring_acquire(&s->recv_pool, &c->recv)) {
        c->rcv_nxt -= rest;
        c->ack_now = true;
        s->stats.bytes_in -= rest;
        s->stats.dropped_no_ring++;
    } else {
        for (uint16_t i = c->pending_head; i != 0; i = s->pending[i - 1].next) {
            const struct iovec *v = &s->pending[i - 1].iov;
            uint32_t n = (uint32_t)(v->iov_len - skip);
            ring_place(&s->recv_pool, &c->recv, c->recv.used, (uint8_t *)v->iov_base + skip, n);
            ring_commit(&s->recv_pool, &c->recv, n);
            skip = 0;
        }
    }
    c->pending_head = c->pending_tail = 0;
    c->pending_bytes = 0;
}

// Offers the pending runs to the user until all are taken or one call takes less than offered.
static void
offer_pending(struct stack *s, struct conn *c)
{
    while (c->pending_head) {
        struct iovec iov[PENDING_MAX];
        int count = 0;
        size_t total = 0;
        uint16_t next = c->pending_head;
        while (next) {
            iov[count] = s->pending[next - 1].iov;
            total += iov[count++].iov_len;
            next = s->pending[next - 1].next;
        }
        size_t taken = s->ops->on_data(s->ctx, conn_index(s, c), iov, count);
        if (is_gone(c))
            return;
        assert(taken <= total);
        c->pending_bytes -= (uint32_t)taken;
        if (taken < total) {
            int i = 0;
            while (taken >= iov[i].iov_len) {
                taken -= iov[i++].iov_len;
                c->pending_head = s->pending[c->pending_head - 1].next;
            }
            keep_pending(s, c, taken);
            return;
        }
        c->pending_head = next;
    }
    c->pending_tail = 0;
}

static void
take_fin(struct stack *s, struct conn *c)
{
    c->fin_taken = true;
    c->rcv_nxt++;
    c->ack_now |= !c->ack_later;
    c->tell_readable = true;
    conn_ready(s, c);
    if (c->state == TCP_ESTABLISHED)
        conn_set_state(s, c, TCP_CLOSE_WAIT);
    else if (c->state == TCP_FIN_WAIT_1)
        conn_set_state(s, c, TCP_CLOSING);
}

void
tcp_deliver(struct stack *s, struct conn *c)
{
    if (is_gone(c))
        return;
    offer_pending(s, c);
    if (is_gone(c))
        return;
    if (c->fin_seen && !c->fin_taken && c->fin_seq == c->rcv_nxt && !c->abort_after_send)
        take_fin(s, c);
    if (c->tell_readable) {
        c->tell_readable = false;
        s->ops->on_readable(s->ctx, conn_index(s, c));
        if (is_gone(c))
            return;
    }
    if (c->state == TCP_FIN_WAIT_2 && c->fin_taken)
        tcp_finish(s, c, true);
    else if (c->state == TCP_DRAINING && tcp_recv_drained(c))
        tcp_finish(s, c, c->time_wait_next);
}

void
stack_deliver_touched(struct stack *s)
{
    // One pass: a conn that a callback touches again waits for the next one.
    uint32_t last = s->touched.last;
    while (s->touched.first) {
        bool end = s->touched.first == last;
        tcp_deliver(s, conn_pop(s, &s->touched));
        if (end)
            break;
    }
    s->pending_used = 0;
}

void
tcp_window_opened(struct stack *s, struct conn *c)
{
    if (c->recv.used == 0 && c->ooo.count == 0) {
        ring_release(&s->recv_pool, &c->recv);
        s->trim_wanted = true;
    }
    if (c->state == TCP_DRAINING)
        conn_touch(s, c);
    // An update early enough that the guest need not stop, and no earlier than worth a segment.
    uint32_t window = tcp_window_to_tell(s, c);
    uint32_t told = tcp_told_window(c), step = tcp_window_step(s, c);
    uint32_t gain = window > told ? window - told : 0;
    uint32_t share = share_of(s);
    uint32_t most = share < s->config.ring_bytes ? share : s->config.ring_bytes;
    if (gain >= most / 4 || (told < step && gain >= step)) {
        c->ack_now = true;
        conn_ready(s, c);
    }
}
