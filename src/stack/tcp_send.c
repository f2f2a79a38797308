// SPDX-License-Identifier: BSD-3-Clause
// What a connection sends and when: SYN, data, FIN, ACK, RST, window probes (RFC 9293 3.8). Works
// from the send ring; which bytes are lost is told by tcp_loss.c, when to ask again by tcp_timer.c.
#include "stack/internal.h"

#include "wire/arp.h"

#define SACK_LEAVES 8 // bytes of a segment

uint32_t
tcp_unsent(const struct conn *c)
{
    uint32_t end = c->snd_base + c->send.used;
    return seq_lt(c->snd_nxt, end) ? end - c->snd_nxt : 0;
}

bool
tcp_can_send(const struct conn *c)
{
    switch ((enum tcp_state)c->state) {
    case TCP_ESTABLISHED:
    case TCP_CLOSE_WAIT:
    case TCP_FIN_WAIT_1:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        return true;
    case TCP_FREE:
    case TCP_OPENING:
    case TCP_SYN_SENT:
    case TCP_SYN_RECEIVED:
    case TCP_FIN_WAIT_2:
    case TCP_DRAINING:
    case TCP_TIME_WAIT:
    case TCP_RESETTING:
        return false;
    }
    return false;
}

static bool
sends_super_frames(const struct stack *s, const struct conn *c)
{
    return peer_is_ipv6(&c->peer) ? s->config.tso6 : s->config.tso;
}

// Where a frame is many segments, a segment is whole lines of the cache: each frame then begins at
// a line, in our ring as in the guest's pages, which the kernel copies fastest from and to.
static uint16_t
our_mss(const struct stack *s, const struct conn *c)
{
    uint16_t mss = (uint16_t)(s->config.mtu - peer_ip_header_len(&c->peer) - TCP_HEADER_LEN);
    return sends_super_frames(s, c) && mss > CACHE_LINE ? (uint16_t)(mss - mss % CACHE_LINE) : mss;
}

void
tcp_set_mss(struct stack *s, struct conn *c, uint16_t advertised)
{
    uint16_t ours = our_mss(s, c);
    uint16_t assumed = peer_is_ipv6(&c->peer) ? TCP_MSS_DEFAULT6 : TCP_MSS_DEFAULT;
    uint16_t mss = advertised ? advertised : assumed;
    if (mss < TCP_MSS_MIN)
        mss = TCP_MSS_MIN;
    c->mss = mss < ours ? mss : ours;
    c->cwnd = TCP_IW_SEGMENTS * c->mss;
}

// The window field. The right edge stands still until it can move by a useful step (RFC 9293
// 3.8.6.2.2: or a guest would send a byte at a time), and never retreats by more than the rounding
// to our scale.
static uint16_t
window_field(struct stack *s, struct conn *c)
{
    uint32_t room = tcp_window_to_tell(s, c), window = room;
    uint32_t told = tcp_told_window(c);
    if (told < room && room - told < tcp_window_step(s, c))
        window = told;
    uint8_t shift = c->wscale_ok ? c->rcv_wscale : 0;
    uint32_t field = (window + (1u << shift) - 1) >> shift;
    if (field << shift > tcp_recv_window(s, c))
        field = window >> shift;
    if (field > UINT16_MAX)
        field = UINT16_MAX;
    if (c->abort_after_send)
        field = 0;
    c->rcv_adv = c->rcv_nxt + (field << shift);
    return (uint16_t)field;
}

// So many that a segment has room for a payload as well: an MTU may be 68 (RFC 791 3.2).
static unsigned
sack_blocks(const struct conn *c)
{
    unsigned n = c->ooo.count < TCP_SACK_MAX ? c->ooo.count : TCP_SACK_MAX;
    while (n > 0 && tcp_sack_bytes(n) + SACK_LEAVES > c->mss)
        n--;
    return c->sack_ok ? n : 0;
}

// SACK blocks of what is kept out of order, the latest first (RFC 2018 4).
static void
fill_sack(const struct conn *c, struct tcp_header *h)
{
    unsigned most = sack_blocks(c);
    if (most == 0)
        return;
    for (unsigned i = 0; i < c->ooo.count; i++) {
        if (c->ooo.at[i].left == c->ooo_latest)
            h->sack[h->sack_count++] = (struct tcp_sack_block){c->ooo_latest, c->ooo.at[i].right};
    }
    for (unsigned i = 0; i < c->ooo.count && h->sack_count < most; i++) {
        if (c->ooo.at[i].left != c->ooo_latest)
            h->sack[h->sack_count++] =
                (struct tcp_sack_block){c->ooo.at[i].left, c->ooo.at[i].right};
    }
}

static bool
send_at(struct stack *s, struct conn *c, uint32_t seq, uint32_t len, uint8_t flags)
{
    struct tcp_header h = {
        .seq = seq,
        .ack = c->rcv_nxt,
        .flags = (uint8_t)(flags | TCP_ACK),
        .window = window_field(s, c),
        .wscale = -1,
    };
    fill_sack(c, &h);
    if (!output_segment(s, c, &h, len ? seq - c->snd_base : 0, len))
        return false;
    c->ack_now = c->ack_later = false;
    c->ack_due_us = 0;
    c->rcv_acked = c->rcv_nxt;
    return true;
}

bool
tcp_send_ack(struct stack *s, struct conn *c)
{
    return send_at(s, c, c->snd_nxt, 0, 0);
}

bool
tcp_send_probe(struct stack *s, struct conn *c)
{
    // Below the window, so that the guest must answer with an ACK (RFC 9293 3.10.7.4).
    return send_at(s, c, c->snd_una - 1, 0, 0);
}

bool
tcp_send_syn(struct stack *s, struct conn *c)
{
    bool answer = c->state == TCP_SYN_RECEIVED && !c->active;
    uint32_t window = s->config.ring_bytes > UINT16_MAX ? UINT16_MAX : s->config.ring_bytes;
    struct tcp_header h = {
        .seq = c->iss,
        .ack = c->state == TCP_SYN_RECEIVED ? c->rcv_nxt : 0,
        .flags = (uint8_t)(TCP_SYN | (c->state == TCP_SYN_RECEIVED ? TCP_ACK : 0)),
        .window = (uint16_t)window, // never scaled in a SYN (RFC 7323 2.2)
        .mss = our_mss(s, c),
        .wscale = !answer || c->wscale_ok ? (int8_t)c->rcv_wscale : -1,
        .sack_permitted = !answer || c->sack_ok,
    };
    if (!output_segment(s, c, &h, 0, 0))
        return false;
    c->rcv_adv = c->rcv_nxt + window;
    c->rcv_acked = c->rcv_nxt;
    c->ack_now = false;
    return true;
}

bool
tcp_send_first_syn(struct stack *s, struct conn *c)
{
    const struct mac *mac = neighbour_find(s, c->peer.addr);
    if (mac) {
        if (c->unresolved)
            s->unresolved--;
        c->unresolved = false;
        c->peer_mac = *mac;
        return tcp_send_syn(s, c);
    }
    if (!c->unresolved)
        s->unresolved++;
    c->unresolved = true;
    return output_arp(s, &mac_broadcast, ARP_REQUEST, &(struct mac){{0}}, c->peer.addr);
}

// In OPENING snd_nxt is still 0, as RFC 9293 3.10.7.1 wants the RST that answers a SYN to be.
bool
tcp_send_reset(struct stack *s, struct conn *c)
{
    if (c->state == TCP_SYN_SENT)
        return true; // the guest knows nothing of it
    struct tcp_header h = {
        .seq = c->snd_nxt, .ack = c->rcv_nxt, .flags = TCP_RST | TCP_ACK, .wscale = -1};
    if (!output_segment(s, c, &h, 0, 0))
        return false;
    s->stats.resets_sent++;
    return true;
}

// --- data ----------------------------------------------------------------------------------------

// Payload of a full segment now: SACK blocks take their room from it (RFC 6691 2).
static uint32_t
effective_mss(const struct conn *c)
{
    return c->mss - tcp_sack_bytes(sack_blocks(c));
}

static uint32_t
segment_limit(const struct stack *s, const struct conn *c)
{
    uint32_t mss = effective_mss(c);
    if (!sends_super_frames(s, c))
        return mss;
    uint32_t most = IP_PACKET_MAX - peer_ip_header_len(&c->peer) - TCP_HEADER_LEN - (c->mss - mss);
    return most - most % mss;
}

// The FIN's sequence number; meaningful when fin_queued.
static uint32_t
fin_at(const struct conn *c)
{
    return c->snd_base + c->send.used;
}

// Sends again what counts as lost, as far as the congestion window allows.
static bool
resend_lost(struct stack *s, struct conn *c)
{
    uint32_t seq, len;
    while (tcp_next_lost(c, &seq, &len)) {
        uint32_t pipe = tcp_pipe(c);
        uint32_t mss = effective_mss(c);
        bool first = seq == c->snd_una; // always allowed: the ACK clock may have stopped
        if (!first && pipe + mss > c->cwnd)
            return true;

        uint32_t room = c->cwnd > pipe + mss ? c->cwnd - pipe : mss;
        uint32_t limit = segment_limit(s, c);
        uint32_t n = len < limit ? len : limit;
        if (n > room)
            n = room - room % mss;
        uint8_t flags = 0;
        uint32_t data = n;
        if (c->fin_queued && seq_gt(seq + n, fin_at(c))) {
            data = fin_at(c) - seq;
            flags = TCP_FIN;
        }
        if (data > 0)
            flags |= TCP_PSH;
        if (!send_at(s, c, seq, data, flags))
            return false;
        s->stats.retransmits++;
        c->high_rxt = seq + n;
        c->rtt_running = false;
    }
    return true;
}

// How many of `unsent` bytes may go in the next segment: the guest's window, the congestion window,
// and sender-side silly window avoidance (RFC 9293 3.8.6.2.1; without Nagle: what is written goes).
static uint32_t
sendable(struct stack *s, const struct conn *c, uint32_t unsent)
{
    uint32_t flight = c->snd_nxt - c->snd_una;
    uint32_t window = c->snd_wnd > flight ? c->snd_wnd - flight : 0;
    uint32_t pipe = tcp_pipe(c), share = share_of(s);
    uint32_t most = c->cwnd < share ? c->cwnd : share;
    uint32_t room = most > pipe ? most - pipe : 0;
    uint32_t limit = segment_limit(s, c);
    uint32_t mss = effective_mss(c);

    uint32_t n = unsent < window ? unsent : window;
    n = n < room ? n : room;
    n = n < limit ? n : limit;
    if (n == unsent)
        return n;
    if (n >= mss)
        return n - n % mss;
    // A part of a segment: worth it when the guest's whole window is that small, or nothing else is
    // on its way to bring an ACK.
    if (n > 0 && n == window && (n >= c->max_wnd / 2 || flight == 0))
        return n;
    return 0;
}

static bool
send_new(struct stack *s, struct conn *c)
{
    for (;;) {
        uint32_t unsent = tcp_unsent(c);
        bool fin_due = c->fin_queued && seq_le(c->snd_nxt, fin_at(c));
        uint32_t n = unsent ? sendable(s, c, unsent) : 0;
        bool fin = fin_due && n == unsent;
        if (n == 0 && !fin)
            return true;

        uint8_t flags = (uint8_t)((fin ? TCP_FIN : 0) | (n && n == unsent ? TCP_PSH : 0));
        if (!send_at(s, c, c->snd_nxt, n, flags))
            return false;
        if (c->snd_nxt == c->snd_una)
            c->rtx_start_us = s->now_us;
        c->snd_nxt += n + (fin ? 1 : 0);
        s->stats.bytes_out += n;
        share_note(s, c, n);
        tcp_rtt_start(s, c, c->snd_nxt);
    }
}

// Unacknowledged bytes that are answered at once: a segment. Of a guest that has sent a while, and
// so may have many on the way, several: an ACK is a frame, and an interrupt of the guest's. Should
// it be waiting for one, TCP_ACK_DELAY_US is what that costs it.
static uint32_t
ack_after(const struct conn *c)
{
    if (c->rcv_nxt - c->irs < TCP_STRETCH_AFTER)
        return c->mss;
    uint32_t most = tcp_told_window(c) / 4, several = TCP_STRETCH_SEGMENTS * c->mss;
    uint32_t bytes = several < most ? several : most;
    return bytes > c->mss ? bytes : c->mss;
}

// An ACK of less than a segment may wait for the host's answer (RFC 9293 3.8.6.3), or a FIN's for
// our own, so that it costs the guest and the link no frame. A guest that sends more in the
// meantime, or whose host is known to send nothing any more, gets it at once.
static void
decide_ack(struct stack *s, struct conn *c)
{
    if (!c->ack_later || c->ack_now)
        return;
    bool host_may_send = c->state == TCP_ESTABLISHED || c->state == TCP_CLOSE_WAIT;
    if (!host_may_send || c->rcv_nxt - c->rcv_acked >= ack_after(c))
        c->ack_now = true;
    else if (c->ack_due_us == 0)
        c->ack_due_us = s->now_us + TCP_ACK_DELAY_US;
}

bool
tcp_output(struct stack *s, struct conn *c)
{
    bool fits = true;
    if (c->state == TCP_RESETTING) {
        fits = tcp_send_reset(s, c);
        if (fits)
            conn_free(s, c);
        return fits;
    }
    if (tcp_can_send(c))
        fits = resend_lost(s, c) && send_new(s, c);
    decide_ack(s, c);
    if (fits && c->ack_now && c->state > TCP_SYN_RECEIVED)
        fits = tcp_send_ack(s, c);
    tcp_arm_timer(s, c);
    return fits;
}
