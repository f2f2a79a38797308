// SPDX-License-Identifier: BSD-3-Clause
// What the files of stack/ share: the tables, one connection, and the seams between the parts of
// TCP. Nobody outside of stack/ includes this.
#pragma once

#include "base/ring.h"
#include "base/wheel.h"
#include "stack/stack.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/tcp.h"

#include <assert.h>

// Limits and times. Those without a source are ours.
#define TCP_IW_SEGMENTS    10         // initial window, RFC 6928
#define TCP_RTO_INITIAL_US 1000000ull // RFC 6298 2.1
#define TCP_RTO_MIN_US     200000ull  // below RFC 6298's 1 s, as Linux and BSD: the link is one hop
#define TCP_RTO_MAX_US     60000000ull // RFC 6298 2.5
#define TCP_RETRIES_MAX    15          // then the guest is gone; 3 min and more (RFC 9293 3.8.3 R2)
#define TCP_SYN_RETRIES    6           // handshake, both ways
#define TCP_OPENING_US     90000000ull // no SYN for so long: Linux repeats it after 64 s at most
#define TCP_TIME_WAIT_US   10000000ull // 2 MSL for one hop that keeps nothing longer than 5 s
#define TCP_ORPHAN_US      60000000ull // FIN-WAIT-2 without a host end, as Linux's tcp_fin_timeout
#define TCP_ACK_DELAY_US   1000ull     // for an answer to ride on; RFC 9293 3.8.6.3
#define TCP_STRETCH_AFTER  65536u       // bytes, of a guest that gets fewer ACKs from then on:
#define TCP_STRETCH_SEGMENTS 8          // one for so many
#define TCP_QUICK_ACKS     16          // sent at once after one that waited for no answer
#define TCP_KEEPALIVE_US   7200000000ull // RFC 9293 3.8.4
#define TCP_KEEPALIVE_STEP 75000000ull   // between unanswered probes
#define TCP_KEEPALIVE_MAX  9             // unanswered probes
#define TCP_MSS_DEFAULT    536           // RFC 9293 3.7.1: no MSS option
#define TCP_MSS_DEFAULT6   1220          // likewise, by IPv6
#define TCP_MSS_MIN        64            // an advertised MSS below this is read as this
#define TCP_RANGES_MAX     16            // out-of-order runs kept; SACKed runs remembered
#define TCP_CHALLENGES     100           // challenge ACKs per second of a connection, RFC 5961 7
#define IP_PACKET_MAX      65535         // that we send, GSO or not
// What all bulk connections together may have on their way over a link of small frames: about what
// a guest's transmit queue holds (1 000 frames, with its ACKs among them). Beyond that it drops.
#define SHARED_BYTES     (1024u * 1024)
#define SHARE_MIN_BYTES  (32u * 1024) // of each
#define SHARE_MIN_FRAMES 4u           // likewise, where those are large
#define BULK_BYTES       (32u * 1024) // in an epoch: a bulk connection
#define EPOCH_SHIFT      16           // an epoch is 65 536 us
#define EPOCHS_KEPT      8            // a silence of so many is the end
#define PENDING_MAX      256          // payload runs of one turn
#define NEIGHBOURS_MAX   8
#define FRAME_IN_IOV_MAX 64 // a guest's frame in more pieces than this is dropped
#define SCRATCH_BYTES    (4 * SCRATCH_EACH)
#define SCRATCH_EACH     65536 // any packet

enum tcp_state {
    TCP_FREE,    // not in use (zero: untouched table pages)
    TCP_OPENING, // SYN came, the host end is being opened, nothing answered yet
    TCP_SYN_SENT,
    TCP_SYN_RECEIVED,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT_1,
    TCP_FIN_WAIT_2,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_LAST_ACK,
    TCP_DRAINING, // both FINs are acknowledged, the host has not taken every byte yet
    TCP_TIME_WAIT,
    TCP_RESETTING, // over for the user; the RST waits until the link takes it
};

struct seq_range {
    uint32_t left, right; // [left, right)
};

// Sorted, disjoint, non-adjacent runs of sequence space.
struct seq_ranges {
    struct seq_range at[TCP_RANGES_MAX];
    uint8_t count;
};

enum conn_queue {
    QUEUE_NONE,
    QUEUE_HALF_OPEN, // OPENING, SYN_RECEIVED: oldest first, to be evicted
    QUEUE_TIME_WAIT, // oldest first, to be reused
    QUEUE_COUNT,
};

struct conn {
    // identity
    struct stack_peer peer;
    struct mac peer_mac;
    uint32_t hash_next; // 1 + index of the next in the bucket, 0: end

    // lists (index + 1, 0: none)
    uint32_t queue_next, queue_prev;
    uint32_t ready_next;
    uint32_t touched_next;
    uint8_t queue; // enum conn_queue

    // state
    uint8_t state;   // enum tcp_state, set by conn_set_state alone
    bool attached;   // the user has not been told on_closed
    bool active;     // we opened it
    bool in_ready;   // on the ready list
    bool in_touched; // on this turn's list of conns that received something
    bool ack_now;    // owes the guest an ACK
    bool ack_later;  // owes one that may wait for an answer to ride on, until ack_due_us
    bool fin_queued; // stack_shutdown was called
    bool fin_seen;   // the guest's FIN is known, at fin_seq
    bool fin_taken;  // ... and in order: rcv_nxt is behind it
    bool abort_after_send;
    bool orphan;         // the host end is closed both ways
    bool want_write;     // owes on_writable
    bool sack_ok;        // both sides said SACK-permitted
    bool wscale_ok;      // both sides scale windows
    bool tell_readable;  // owes on_readable at the flush
    bool unresolved;     // SYN-SENT: the guest's MAC is not known yet
    bool time_wait_next; // DRAINING: TIME-WAIT follows

    // send side (RFC 9293 3.3.1); the ring's first byte is snd_base
    struct ring send;
    uint32_t iss, snd_una, snd_nxt, snd_base;
    uint32_t snd_wnd; // bytes, scaled
    uint32_t snd_wl1, snd_wl2;
    uint32_t max_wnd;   // largest snd_wnd seen
    uint16_t mss;       // payload of a full segment to the guest
    uint8_t snd_wscale; // the guest's shift

    // receive side; the ring's first byte is rcv_nxt - recv.used
    struct ring recv;
    uint32_t irs, rcv_nxt;
    uint32_t rcv_adv;                    // right edge last advertised
    uint32_t rcv_acked;                  // last ACK sent
    uint32_t fin_seq;                    // of the guest's FIN, when fin_seen
    uint32_t pending_bytes;              // accepted this turn, still in the caller's frames
    uint16_t pending_head, pending_tail; // index + 1 into stack.pending, 0: none
    uint8_t rcv_wscale;                  // our shift
    struct seq_ranges ooo;               // kept beyond rcv_nxt, in the ring
    uint32_t ooo_latest; // left edge of the run that changed last: first SACK block (RFC 2018 4)

    // its part in the traffic, see share.c
    uint32_t epoch, epoch_bytes;

    // loss recovery (RFC 5681, 6675, 6298)
    uint32_t cwnd, ssthresh; // bytes
    uint32_t high_rxt;       // retransmitted up to here in this recovery
    uint32_t lost_edge;      // what is not SACKed below here counts as lost
    uint32_t recover;        // recovery ends when this is acknowledged
    uint8_t dup_acks;
    bool in_recovery;         // fast recovery
    bool in_rto;              // recovering from a timeout
    struct seq_ranges sacked; // the guest holds these, beyond snd_una

    // RTT (RFC 6298), one sample at a time (Karn)
    bool rtt_running;
    uint32_t rtt_seq; // acknowledged: sample complete
    uint64_t rtt_start_us;
    uint32_t srtt_us, rttvar_us; // srtt 0: no sample yet
    uint32_t rto_us;

    // timers
    uint64_t rtx_start_us; // when the retransmission timer was (re)started
    uint64_t heard_us;     // last segment from the guest
    uint64_t ack_due_us;   // when ack_later; 0: the delay has not begun
    uint8_t quick_acks;    // ACKs that will not wait
    uint8_t retries;       // unanswered retransmissions or probes in a row
    uint8_t probes;        // persist back-off exponent

    // bounded answers
    uint32_t challenge_second; // which second the count is of
    uint8_t challenge_count;
};

struct pending_run {
    struct iovec iov;
    uint16_t next; // index + 1
};

struct neighbour {
    uint32_t addr; // 0: empty
    struct mac mac;
};

struct conn_list {
    uint32_t first, last; // index + 1, 0: empty
};

struct stack {
    struct stack_config config;
    const struct stack_ops *ops;
    void *ctx;
    uint64_t now_us;
    bool blocked; // the link took no more; cleared by stack_unblock
    struct stack_stats stats;

    // tables
    struct conn *conns;
    uint32_t conns_touched; // entries ever used; the rest are untouched zero pages
    uint32_t free_first;    // chain of freed entries by hash_next, index + 1
    uint32_t conn_count;    // all in use, TIME-WAIT included
    uint32_t half_open;
    uint32_t *buckets; // index + 1
    uint32_t bucket_mask;
    struct conn_list queues[QUEUE_COUNT];
    struct wheel_entry *wheel_entries;
    struct wheel wheel;
    struct ring_pool send_pool, recv_pool;
    bool trim_wanted; // rings were released since the last trim, at trim_due_us there is another
    uint64_t trim_due_us;

    // the turn
    struct conn_list ready;   // have something to send
    struct conn_list touched; // received something
    struct pending_run pending[PENDING_MAX];
    uint16_t pending_used;

    // who moves bulk, see share.c
    uint32_t epoch;
    uint32_t bulk_before, bulk_now; // connections, in the last epoch and in this one

    // numbers given out, and who is where
    uint16_t ip_id;
    uint16_t ephemeral; // last ephemeral port given out
    struct neighbour neighbours[NEIGHBOURS_MAX];
    uint32_t neighbour_next; // entry to be replaced next
    uint32_t unresolved;     // conns that wait for an ARP answer

    // Replies with a payload of their own (ICMP, DHCP): the link refers to those of this turn until
    // it is flushed, so the next one is made behind them, at `scratch`.
    uint8_t *scratch;
    uint8_t scratch_bytes[SCRATCH_BYTES];
};

// A TCP segment as it arrived: parsed header, and where its payload stands.
struct segment {
    struct tcp_header tcp;
    struct stack_peer peer; // whom it is from, and to which port
    struct mac src_mac;
    const struct frame *frame;
    size_t payload_at; // offset into the frame
    uint32_t len;      // payload bytes
};

// --- conn_table.c: allocation, lookup, lists -----------------------------------------------------
static inline uint32_t
conn_index(const struct stack *s, const struct conn *c)
{
    return (uint32_t)(c - s->conns);
}
// The live conn of that number (asserted: the caller holds a valid one).
struct conn *conn_at(const struct stack *s, uint32_t index);
struct conn *conn_find(const struct stack *s, const struct stack_peer *peer);
// A zeroed conn in the hash table, state still TCP_FREE; NULL when the table is full of live ones
// (the oldest in TIME-WAIT gives way).
struct conn *conn_new(struct stack *s, const struct stack_peer *peer);
// Takes it out of every list and table; no callback.
void conn_free(struct stack *s, struct conn *c);
// The one place where a state changes: keeps the half-open and TIME-WAIT queues right.
void conn_set_state(struct stack *s, struct conn *c, enum tcp_state state);
// on_closed to the user (once), then what is left of the conn goes: all of it, or all but
// TIME-WAIT.
void conn_close(struct stack *s, struct conn *c, enum stack_close_reason reason);
// RST to the guest, on_closed to the user (unless told already). A full link delays the RST alone.
void conn_reset(struct stack *s, struct conn *c, enum stack_close_reason reason);
void conn_ready(struct stack *s, struct conn *c);               // onto the ready list
void conn_touch(struct stack *s, struct conn *c);               // onto the turn's list
struct conn *conn_pop(struct stack *s, struct conn_list *list); // ready or touched; not empty

// --- what differs between IPv4 and IPv6 ---------------------------------------------------------
static inline bool
peer_is_ipv6(const struct stack_peer *p)
{
    return p->addr == 0;
}
static inline uint32_t
peer_ip_header_len(const struct stack_peer *p)
{
    return peer_is_ipv6(p) ? IPV6_HEADER_LEN : IPV4_HEADER_LEN;
}

// No room for one more reply in this turn: the guest asks again, as when the link is full.
static inline bool
scratch_is_full(const struct stack *s)
{
    return s->scratch - s->scratch_bytes > SCRATCH_BYTES - SCRATCH_EACH;
}

// --- output.c: frames ----------------------------------------------------------------------------
// Ethernet + IPv4 + the L4 bytes already in scratch, checksummed by the caller. What stands there
// is the link's until the end of the turn.
bool output_ipv4(struct stack *s, const struct mac *dst_mac, uint32_t dst, uint8_t protocol,
                 size_t l4_len);
// One TCP segment of a conn: header h (ports and checksum filled here) and len payload bytes of the
// send ring from ring_offset. False when the link is full.
bool output_segment(struct stack *s, struct conn *c, struct tcp_header *h, uint32_t ring_offset,
                    uint32_t len);
// Sum of the pseudo-header between a peer and us, for `len` bytes of TCP.
uint64_t output_tcp_pseudo(const struct stack *s, const struct stack_peer *peer, uint16_t len);
// RST for a segment that belongs to no conn (RFC 9293 3.10.7.1).
void output_reset_for(struct stack *s, const struct segment *seg);
// Likewise an ICMPv6 message, whose checksum is filled here.
bool output_icmp6(struct stack *s, const struct mac *dst_mac, const struct ipv6_addr *src,
                  const struct ipv6_addr *dst, size_t len);
bool output_arp(struct stack *s, const struct mac *dst, uint16_t op, const struct mac *target_mac,
                uint32_t target_ip);

// --- neighbour.c, icmp.c, dhcp_server.c, icmp6.c, ndp.c ------------------------------------------
void arp_input(struct stack *s, struct cursor *c);
void neighbour_learn(struct stack *s, uint32_t addr, const struct mac *mac);
void neighbour_forget(struct stack *s, uint32_t addr);
const struct mac *neighbour_find(const struct stack *s, uint32_t addr); // NULL: unknown
// Copies bytes of a frame from offset; out has room for len. False when the frame is shorter.
bool frame_copy(const struct frame *frame, size_t offset, void *out, size_t len);
void icmp_input(struct stack *s, const struct ether_header *eth, const struct ipv4_header *ip,
                const struct frame *frame, size_t offset);
void udp_input(struct stack *s, const struct ether_header *eth, const struct ipv4_header *ip,
               const struct frame *frame, size_t offset);

void icmp6_input(struct stack *s, const struct ether_header *eth, const struct ipv6_header *ip,
                 const struct frame *frame, size_t offset);
// Solicitations; c: behind the ICMPv6 header, in the scratch memory that the answer is made in.
void ndp_neighbour_solicited(struct stack *s, const struct ether_header *eth,
                             const struct ipv6_header *ip, struct cursor *c);
void ndp_router_solicited(struct stack *s, const struct ether_header *eth,
                          const struct ipv6_header *ip, struct cursor *c);
bool is_bad_source6(const struct stack *s, const struct ipv6_addr *src); // nobody may answer it

// --- tcp_input.c ---------------------------------------------------------------------------------
void tcp_segment_input(struct stack *s, const struct segment *seg);
void tcp_challenge_ack(struct stack *s, struct conn *c);
void tcp_start_send_side(struct stack *s, struct conn *c); // ISN, our window scale, timer base

// --- tcp_receive.c: guest -> host ----------------------------------------------------------------
// bytes beyond rcv_nxt we can hold
uint32_t tcp_recv_window(const struct stack *s, const struct conn *c);
// the window to tell: of that the connection's share, but never less than told before
uint32_t tcp_window_to_tell(struct stack *s, const struct conn *c);
void stack_deliver_touched(struct stack *s);    // tcp_deliver for all that got something
uint32_t tcp_told_window(const struct conn *c); // bytes beyond rcv_nxt the guest may send
// the least gain worth telling
uint32_t tcp_window_step(const struct stack *s, const struct conn *c);
void tcp_receive(struct stack *s, struct conn *c, const struct segment *seg);
void tcp_deliver(struct stack *s, struct conn *c);       // hands this turn's bytes and the FIN over
void tcp_window_opened(struct stack *s, struct conn *c); // after a consume: is an update due?
bool tcp_recv_drained(const struct conn *c);
// Both FINs are acknowledged: closes, once the host has taken every byte.
void tcp_finish(struct stack *s, struct conn *c, bool time_wait);

// --- tcp_send.c: host -> guest -------------------------------------------------------------------
bool tcp_can_send(const struct conn *c);
// Sends what may be sent now: retransmissions, data, FIN, a due ACK. False when the link is full.
bool tcp_output(struct stack *s, struct conn *c);
bool tcp_send_ack(struct stack *s, struct conn *c); // a bare ACK now
bool tcp_send_syn(struct stack *s, struct conn *c); // SYN or SYN-ACK, by state
// the same, or ARP where the MAC is unknown
bool tcp_send_first_syn(struct stack *s, struct conn *c);
bool tcp_send_reset(struct stack *s, struct conn *c); // RST of a conn
// empty segment below snd_una (RFC 9293 3.8.4)
bool tcp_send_probe(struct stack *s, struct conn *c);
uint32_t tcp_unsent(const struct conn *c); // bytes in the ring beyond snd_nxt
void tcp_set_mss(struct stack *s, struct conn *c, uint16_t advertised);

// --- tcp_loss.c: acknowledgements, SACK scoreboard, congestion window ---------------------------
void tcp_loss_init(struct conn *c);
void tcp_on_ack(struct stack *s, struct conn *c, const struct segment *seg, bool window_changed);
void tcp_on_timeout(struct stack *s, struct conn *c);
uint32_t tcp_pipe(const struct conn *c); // bytes believed to be on their way
// The next lost bytes to be sent again, [*seq, *seq + *len) with len >= 1. False: none.
bool tcp_next_lost(const struct conn *c, uint32_t *seq, uint32_t *len);
void tcp_rtt_start(struct stack *s, struct conn *c, uint32_t end_seq);

// --- seq_ranges.c --------------------------------------------------------------------------------
// Adds a run, merging; false when the table is full and the run touches none (it is not added).
bool ranges_add(struct seq_ranges *r, uint32_t left, uint32_t right);
void ranges_trim_below(struct seq_ranges *r, uint32_t seq); // forgets what lies before seq
// covered in there
uint32_t ranges_bytes(const struct seq_ranges *r, uint32_t left, uint32_t right);

// --- share.c -------------------------------------------------------------------------------------
void share_note(struct stack *s, struct conn *c, uint32_t bytes); // moved, either way
// The most that a connection may have on its way, either way.
uint32_t share_of(struct stack *s);

// --- tcp_timer.c ---------------------------------------------------------------------------------
// after anything that may change what is awaited
void tcp_arm_timer(struct stack *s, struct conn *c);
void tcp_timer_expired(struct stack *s, struct conn *c);

// --- tcp_isn.c -----------------------------------------------------------------------------------
uint32_t tcp_isn(const struct stack *s, const struct stack_peer *peer);
