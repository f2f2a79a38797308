// SPDX-License-Identifier: BSD-3-Clause
// What acknowledgements tell: round-trip times (RFC 6298), the SACK scoreboard (RFC 2018, 6675),
// and the congestion window (RFC 5681, NewReno's partial acknowledgements RFC 6582 where the guest
// has no SACK). Decides which bytes count as lost; sending them is tcp_send.c's business.
//
// One picture serves fast recovery and timeouts: everything not SACKed in [snd_una, lost_edge)
// counts as lost, and of that [snd_una, high_rxt) has been sent again.
#include "stack/internal.h"

#include "base/log.h"

#define DUP_THRESHOLD 3 // RFC 5681 2

void
tcp_loss_init(struct conn *c)
{
    c->mss = TCP_MSS_DEFAULT;
    c->ssthresh = UINT32_MAX;
    c->cwnd = TCP_IW_SEGMENTS * TCP_MSS_DEFAULT;
}

// --- round-trip time -----------------------------------------------------------------------------

void
tcp_rtt_start(struct stack *s, struct conn *c, uint32_t end_seq)
{
    if (c->rtt_running)
        return;
    c->rtt_running = true;
    c->rtt_seq = end_seq;
    c->rtt_start_us = s->now_us;
}

// RFC 6298 2.2, 2.3
static void
rtt_sample(struct conn *c, uint64_t sample_us)
{
    uint32_t r = sample_us > TCP_RTO_MAX_US ? (uint32_t)TCP_RTO_MAX_US : (uint32_t)sample_us;
    if (c->srtt_us == 0) {
        c->srtt_us = r ? r : 1;
        c->rttvar_us = r / 2;
    } else {
        uint32_t delta = r > c->srtt_us ? r - c->srtt_us : c->srtt_us - r;
        c->rttvar_us = c->rttvar_us - c->rttvar_us / 4 + delta / 4;
        c->srtt_us = c->srtt_us - c->srtt_us / 8 + r / 8; // never 0 again: 1 - 1 / 8 is 1
    }
}

// The timeout without back-off.
static uint32_t
rto_base(const struct conn *c)
{
    if (c->srtt_us == 0)
        return (uint32_t)TCP_RTO_INITIAL_US;
    uint64_t rto = (uint64_t)c->srtt_us + 4ull * c->rttvar_us;
    if (rto < TCP_RTO_MIN_US)
        rto = TCP_RTO_MIN_US;
    if (rto > TCP_RTO_MAX_US)
        rto = TCP_RTO_MAX_US;
    return (uint32_t)rto;
}

// --- scoreboard ----------------------------------------------------------------------------------

// True if a block told something new. A block outside of [snd_una, snd_nxt] or inverted is ignored.
static bool
scoreboard_update(struct conn *c, const struct tcp_header *h)
{
    bool news = false;
    for (unsigned i = 0; i < h->sack_count && c->sack_ok; i++) {
        uint32_t left = h->sack[i].left, right = h->sack[i].right;
        if (!seq_lt(left, right) || seq_lt(left, c->snd_una) || seq_gt(right, c->snd_nxt))
            continue;
        if (ranges_bytes(&c->sacked, left, right) < right - left)
            news |= ranges_add(&c->sacked, left, right);
    }
    return news;
}

static uint32_t
unsacked(const struct conn *c, uint32_t left, uint32_t right)
{
    if (!seq_lt(left, right))
        return 0;
    return right - left - ranges_bytes(&c->sacked, left, right);
}

uint32_t
tcp_pipe(const struct conn *c)
{
    if (!c->in_recovery && !c->in_rto)
        return unsacked(c, c->snd_una, c->snd_nxt);
    uint32_t again = unsacked(c, c->snd_una, seq_min(c->high_rxt, c->lost_edge));
    uint32_t pipe = again + unsacked(c, seq_max(c->lost_edge, c->snd_una), c->snd_nxt);
    if (c->sack_ok || c->in_rto)
        return pipe;
    // Without SACK each duplicate ACK says that one segment has left (RFC 5681 3.2 step 4).
    uint32_t left = (uint32_t)c->dup_acks * c->mss;
    return pipe > left ? pipe - left : 0;
}

bool
tcp_next_lost(const struct conn *c, uint32_t *seq, uint32_t *len)
{
    if (!c->in_recovery && !c->in_rto)
        return false;
    uint32_t at = seq_max(c->high_rxt, c->snd_una);
    uint32_t end = c->lost_edge;
    for (unsigned i = 0; i < c->sacked.count; i++) {
        const struct seq_range *r = &c->sacked.at[i];
        if (seq_le(r->right, at))
            continue;
        if (seq_le(r->left, at)) {
            at = r->right;
            continue;
        }
        end = seq_min(end, r->left);
        break;
    }
    if (!seq_lt(at, end))
        return false;
    *seq = at;
    *len = end - at;
    return true;
}

// --- congestion window ---------------------------------------------------------------------------

static void
halve(struct conn *c)
{
    uint32_t flight = c->snd_nxt - c->snd_una;
    uint32_t floor = 2u * c->mss;
    c->ssthresh = flight / 2 > floor ? flight / 2 : floor; // RFC 5681 (4)
}

static void
enter_recovery(struct stack *s, struct conn *c)
{
    halve(c);
    c->cwnd = c->ssthresh;
    c->in_recovery = true;
    c->recover = c->snd_nxt;
    c->high_rxt = c->snd_una;
    c->rtt_running = false; // Karn
    log_debug("conn %u: fast recovery at %u, %u in flight", conn_index(s, c), c->snd_una,
              c->snd_nxt - c->snd_una);
}

static void
leave_recovery(struct conn *c)
{
    if (c->in_recovery)
        c->cwnd = c->ssthresh;
    c->in_recovery = c->in_rto = false;
    c->dup_acks = 0;
}

static void
grow(const struct stack *s, struct conn *c, uint32_t acked)
{
    uint32_t more = acked; // slow start, by bytes: one ACK may stand for a whole GRO frame
    if (c->cwnd >= c->ssthresh) {
        uint64_t step = (uint64_t)c->mss * acked / c->cwnd;
        more = step ? (uint32_t)step : 1;
    }
    // No use in a window beyond what the ring can hold.
    uint32_t most = s->config.ring_bytes;
    c->cwnd = c->cwnd > most - (more < most ? more : most) ? most : c->cwnd + more;
}

static void
on_new_ack(struct stack *s, struct conn *c, uint32_t ack)
{
    uint32_t acked = ack - c->snd_una;
    if (c->rtt_running && seq_ge(ack, c->rtt_seq)) {
        rtt_sample(c, s->now_us - c->rtt_start_us);
        c->rtt_running = false;
    }
    c->rto_us = rto_base(c); // RFC 6298 5.7: an answer ends the back-off
    c->retries = 0;
    c->rtx_start_us = s->now_us;
    c->snd_una = ack;
    ranges_trim_below(&c->sacked, ack);

    if (!c->in_recovery && !c->in_rto) {
        c->dup_acks = 0;
        grow(s, c, acked);
        return;
    }
    if (seq_ge(ack, c->recover)) {
        leave_recovery(c);
        return;
    }
    if (c->in_rto) {
        grow(s, c, acked);
    } else if (!c->sack_ok) {
        // A partial acknowledgement: the next segment is lost as well (RFC 6582 3.2).
        uint32_t gone = acked / c->mss;
        c->dup_acks = (uint8_t)(c->dup_acks > gone ? c->dup_acks - gone : 0);
    }
}

// In fast recovery, how far loss is believed to reach.
static void
move_lost_edge(struct conn *c)
{
    if (!c->in_recovery)
        return;
    uint32_t edge = c->snd_una;
    if (c->sack_ok && c->sacked.count)
        edge = c->sacked.at[c->sacked.count - 1].right;
    else
        edge = c->snd_una + (uint32_t)seq_min(c->mss, c->snd_nxt - c->snd_una);
    c->lost_edge = seq_min(edge, c->snd_nxt);
}

static bool
loss_detected(const struct conn *c)
{
    if (c->dup_acks >= DUP_THRESHOLD)
        return true;
    if (c->sacked.count >= DUP_THRESHOLD)
        return true;
    uint32_t bytes = ranges_bytes(&c->sacked, c->snd_una, c->snd_nxt);
    return bytes > (DUP_THRESHOLD - 1u) * c->mss; // RFC 6675 IsLost
}

void
tcp_on_ack(struct stack *s, struct conn *c, const struct segment *seg, bool window_changed)
{
    uint32_t ack = seg->tcp.ack;
    bool outstanding = c->snd_una != c->snd_nxt;
    bool advanced = seq_gt(ack, c->snd_una);
    if (advanced)
        on_new_ack(s, c, ack);

    bool news = scoreboard_update(c, &seg->tcp);
    if (!advanced && outstanding && ack == c->snd_una && seg->len == 0 &&
        (news || (!c->sack_ok && !window_changed)) && c->dup_acks < UINT8_MAX)
        c->dup_acks++;
    if (outstanding && !c->in_recovery && !c->in_rto && c->snd_una != c->snd_nxt &&
        loss_detected(c))
        enter_recovery(s, c);
    move_lost_edge(c);
}

void
tcp_on_timeout(struct stack *s, struct conn *c)
{
    s->stats.timeouts++;
    if (!c->in_rto)
        halve(c);
    c->cwnd = c->mss;
    c->in_recovery = false;
    c->in_rto = true;
    c->recover = c->lost_edge = c->snd_nxt;
    c->high_rxt = c->snd_una;
    c->sacked.count = 0; // the guest may have reneged (RFC 2018 8)
    c->dup_acks = 0;
    c->rtt_running = false;
    uint64_t rto = 2ull * c->rto_us; // RFC 6298 5.5
    c->rto_us = rto > TCP_RTO_MAX_US ? (uint32_t)TCP_RTO_MAX_US : (uint32_t)rto;
}
